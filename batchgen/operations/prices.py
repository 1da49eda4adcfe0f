"""What the requests of a run cost, by manifest, catalogue or an earlier run."""

import logging
from collections.abc import Callable, Iterable, Mapping

from batchgen.config import RunSettings
from batchgen.core.prices import Price
from batchgen.errors import ServiceUnreachable, UsageError

log = logging.getLogger("batchgen")


def require_prices(settings: RunSettings, known: Mapping[str, Price | None]) -> None:
    if settings.limits.any() and None in known.values():
        unpriced = ", ".join(model for model, price in known.items() if price is None)
        raise UsageError(
            f"--max-cost needs to know the price of a request, and RunComfy gives none for"
            f" {unpriced}. Nothing was sent.",
            "Write it in a YAML manifest, in USD, e.g. price: 0.06",
        )


def find_prices(
    sending: Iterable[str],
    settings: RunSettings,
    lookup: Callable[[str], Price | None],
    seen: Mapping[str, Price | None],
) -> dict[str, Price | None]:
    """The price of each model to be submitted; said out loud where nobody knows it.

    seen: what they cost when this batch last ran, for the time that the API is away.
    """
    known: dict[str, Price | None] = {}
    for model in sending:
        why = "RunComfy gives no price for a request"
        try:
            price = price_of(settings, model, lookup)
        except ServiceUnreachable:
            # An outage, which the run itself waits out; but not without the price of its limit.
            why = "RunComfy cannot be asked what a request costs"
            price = seen.get(model)
            if price is None and settings.limits.any():
                raise
        if price is None:
            log.warning("%s: %s; it is not counted.", model, why)
        known[model] = price
    return known


def price_of(
    settings: RunSettings, model: str, otherwise: Callable[[str], Price | None]
) -> Price | None:
    """The manifest's word on a model's price, USD a request; else another's."""
    usd = settings.prices.get(model, settings.price)
    return otherwise(model) if usd is None else Price(usd)
