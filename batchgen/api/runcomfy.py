"""RunComfy's services behind one account: the Model API, and the deployments of its person."""

from contextlib import AsyncExitStack

from batchgen.api.deployment_api import DeploymentApi
from batchgen.api.model_api import ModelApi
from batchgen.api.service import Capabilities
from batchgen.core.targets import deployment_id


def capabilities_of(model: str) -> Capabilities:
    """Return what the service can do that rows with this model are sent to."""
    of_models = deployment_id(model) is None
    return ModelApi.capabilities if of_models else DeploymentApi.capabilities


class RunComfy:
    """To be entered and left. models, deployments: the services, each over a client of its own."""

    def __init__(self, models: ModelApi, deployments: DeploymentApi) -> None:
        self.models = models
        self.deployments = deployments
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "RunComfy":
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.models)
            await stack.enter_async_context(self.deployments)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def of(self, model: str) -> ModelApi | DeploymentApi:
        """Return the service that a row with this model is sent to."""
        return self.models if deployment_id(model) is None else self.deployments
