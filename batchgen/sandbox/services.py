"""The two APIs, and which of them a request was made to."""

import json

from batchgen.sandbox.deployments.service import DeploymentService
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.models import ModelService
from batchgen.sandbox.service import Service
from batchgen.sandbox.state import SandboxState

MODELS: Service = ModelService()
DEPLOYMENTS: Service = DeploymentService()


def service_of(row: LedgerRow) -> Service:
    """Return the API that a request was made to."""
    return DEPLOYMENTS if row.model.startswith(DEPLOYMENTS.prefix) else MODELS


def text_of(state: SandboxState, row: LedgerRow) -> str:
    """Return the texts of a request, as far as faults may need them."""
    if not state.faults.hooks and "[[" not in row.input:
        return ""
    return service_of(row).text(json.loads(row.input))
