"""What a command asks the catalogue and the wallet before anything is paid for."""

import logging
from collections.abc import Callable
from typing import Any

from batchgen.api.endpoint import Endpoint
from batchgen.core.prices import Price
from batchgen.core.timing import Timing

log = logging.getLogger(__name__)


def schema_lookup(endpoint: Endpoint, timing: Timing) -> Callable[[str], dict[str, Any] | None]:
    """Return what asks for a model's catalogue entry, which has its schema. See `describe`."""
    return lambda model: endpoint.ask(lambda service: service.describe(model), timing)


def price_lookup(endpoint: Endpoint, timing: Timing) -> Callable[[str], Price | None]:
    """Return what asks for a model's price. See `Service.price`."""
    return lambda model: endpoint.ask(lambda service: service.price(model), timing)


def warn_of_low_balance(endpoint: Endpoint, cost: Callable[[], float], timing: Timing) -> None:
    """Say now that the money will not last; where nobody knows the balance, say nothing.

    cost: gives the USD of the pending rows; called only where the balance is known.
    """
    if endpoint.service().knows_balance and (usd := cost()):
        balance = endpoint.ask(lambda service: service.balance(), timing)
        if balance is not None and balance < usd:
            log.warning(
                "The balance is $%.2f and the pending rows cost about $%.2f: the run stops when it"
                " is used up.",
                balance,
                usd,
            )
