"""What the requests of a run cost: by the person, the catalogue, or an earlier run."""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

from batchgen.api.catalogue import Catalogue
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.budget import Spending, active_limits, tightest
from batchgen.core.prices import DURATION_INPUT, Price, SeenCost, Unit, estimate
from batchgen.core.text import plural
from batchgen.engine.other_batches import OtherBatches
from batchgen.errors import ServiceUnreachable, UsageError
from batchgen.journal.writer import Journal
from batchgen.operations.known_batches import KnownBatches

log = logging.getLogger(__name__)


def find_prices(
    models: Collection[str],
    options: RunOptions,
    catalogue: Catalogue,
    before: Mapping[str, Price | None],
) -> dict[str, Price | None]:
    """Return the price of each model; log a warning where none is known.

    before: the prices when this batch last ran, which are used where the API cannot be reached.
    Raises ServiceUnreachable if a cost limit needs a price that neither has.
    """
    known = {model: written_price(options.price, model) for model in models}
    missing = [model for model, price in known.items() if price is None]
    why = "no price is known before billing"
    try:
        known |= catalogue.prices(missing)
    except ServiceUnreachable:
        # The run waits until the API is back, but a cost limit cannot do without a price.
        why = "RunComfy cannot be asked what a request costs"
        known |= {model: before.get(model) for model in missing}
        if options.limits.any() and None in known.values():
            raise
    for model, price in known.items():
        if price is None:
            log.warning("%s: %s, so estimates and limits leave it out.", model, why)
    return known


def written_price(written: float | Mapping[str, float] | None, model: str) -> Price | None:
    """Return what the person says that a request of `model` costs, for all models or by model."""
    usd = written.get(model, written.get("*")) if isinstance(written, Mapping) else written
    return None if usd is None else Price(usd)


def expected_spending(
    journal: Journal,
    prices: Mapping[str, Price | None],
    seen: Mapping[str, SeenCost],
    options: RunOptions,
    now: datetime,
    others: Callable[[str], float],
) -> Spending:
    """Return what the run is about to spend. now, others: as `active_limits` takes them.

    Raises UsageError if there is a limit of cost, and a row whose price is not known.
    """
    limits = active_limits(options.limits, now, others)
    by_input = [m for m, price in prices.items() if price and price.unit is not Unit.REQUEST]
    requests, unpriced, usd, floor, example = 0, 0, 0.0, False, ""
    for model, rows, input, id, source in journal.due_rows(by_input, options.limit):
        expected = estimate(prices.get(model), seen.get(model), input)
        requests += rows
        floor = floor or expected.floor
        if expected.usd is not None:
            usd += expected.usd * rows
            continue
        unpriced += rows
        example = example or f"row {id!r} ({source}) has no {DURATION_INPUT}"
        if prices.get(model) is None:
            example = f"RunComfy gives no price for {model}"
    if unpriced and limits:
        names = " and ".join(limit.name for limit in limits)
        raise UsageError(
            f"{names} needs to know the price of each request, and {example}"
            f" ({plural(unpriced, 'row')} in all). Nothing was sent.",
            "Say it in USD for a request: --price 0.06, or in a YAML manifest price: 0.06",
        )
    if unpriced and None not in prices.values():
        rows_alike = plural(unpriced, "row")
        log.warning("%s, so its price is not known (%s in all).", example, rows_alike)
    return Spending(requests, usd, floor, unpriced, tightest(limits, journal.committed_usd))


def other_batches(batches: KnownBatches, folder: Folder, options: RunOptions) -> OtherBatches:
    """Return the batches that a limit of the configuration counts beside that in a folder."""

    def folders() -> list[Path]:
        here = folder.path.resolve()
        return [] if options.sandbox else [path for path in batches.paid_here() if path != here]

    return OtherBatches(folders)
