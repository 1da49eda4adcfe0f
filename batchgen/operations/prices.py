"""What the requests of a run cost, by manifest, catalogue or an earlier run."""

import logging
from collections.abc import Callable, Iterable, Mapping

from batchgen.config import RunOptions
from batchgen.core.prices import Price
from batchgen.errors import ServiceUnreachable, UsageError

log = logging.getLogger(__name__)


def require_prices(options: RunOptions, known: Mapping[str, Price | None]) -> None:
    if options.limits.any() and None in known.values():
        unpriced = ", ".join(model for model, price in known.items() if price is None)
        raise UsageError(
            f"--max-cost needs to know the price of a request, and RunComfy gives none for"
            f" {unpriced}. Nothing was sent.",
            "Write it in a YAML manifest, in USD, e.g. price: 0.06",
        )


def find_prices(
    sending: Iterable[str],
    options: RunOptions,
    lookup: Callable[[str], Price | None],
    seen: Mapping[str, Price | None],
) -> dict[str, Price | None]:
    """Return the price of each model in `sending`; log a warning where none is known.

    lookup: asks the catalogue. seen: the prices when this batch last ran, which are used where the
        API cannot be reached. Raises ServiceUnreachable if a cost limit needs a price that neither
        has.
    """
    known: dict[str, Price | None] = {}
    for model in sending:
        why = "no price is known before billing"
        try:
            price = price_of(options.price, model, lookup)
        except ServiceUnreachable:
            # The run waits until the API is back, but a cost limit cannot do without a price.
            why = "RunComfy cannot be asked what a request costs"
            price = seen.get(model)
            if price is None and options.limits.any():
                raise
        if price is None:
            log.warning("%s: %s, so estimates and limits leave it out.", model, why)
        known[model] = price
    return known


def price_of(
    written: float | Mapping[str, float] | None,
    model: str,
    otherwise: Callable[[str], Price | None],
) -> Price | None:
    """Return what `model` costs. written: by the manifest, USD of a request, for all or by model.

    otherwise: asked where the manifest says nothing about this model.
    """
    usd = written.get(model) if isinstance(written, Mapping) else written
    return otherwise(model) if usd is None else Price(usd)
