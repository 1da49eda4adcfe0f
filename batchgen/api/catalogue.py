"""What a command asks the catalogue and the wallet before anything is paid for."""

import logging
from collections.abc import Callable
from typing import Any

from batchgen import event_loop
from batchgen.api.endpoint import Endpoint
from batchgen.core.prices import Price
from batchgen.core.timing import DEFAULT_TIMING, Timing

log = logging.getLogger(__name__)


def schema_lookup(
    endpoint: Endpoint, timing: Timing = DEFAULT_TIMING
) -> Callable[[str], dict[str, Any] | None]:
    """Return what asks for a model's catalogue entry, which has its schema. See `describe`."""

    async def ask(model: str) -> dict[str, Any] | None:
        async with endpoint.service(timing) as service:
            return await service.describe(model)

    return lambda model: event_loop.run(ask(model))


def price_lookup(
    endpoint: Endpoint, timing: Timing = DEFAULT_TIMING
) -> Callable[[str], Price | None]:
    """Return what asks for a model's price. See `Service.price`."""

    async def ask(model: str) -> Price | None:
        async with endpoint.service(timing) as service:
            return await service.price(model)

    return lambda model: event_loop.run(ask(model))


def warn_of_low_balance(
    endpoint: Endpoint, cost: Callable[[], float], timing: Timing = DEFAULT_TIMING
) -> None:
    """Say now that the money will not last; where nobody knows the balance, say nothing.

    cost: gives the USD of the pending rows; called only where the balance is known.
    """

    async def ask() -> float | None:
        async with endpoint.service(timing) as service:
            return await service.balance()

    if endpoint.service().knows_balance and (usd := cost()):
        balance = event_loop.run(ask())
        if balance is not None and balance < usd:
            log.warning(
                "The balance is $%.2f and the pending rows cost about $%.2f: the run stops when it"
                " is used up.",
                balance,
                usd,
            )
