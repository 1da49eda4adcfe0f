"""What the requests of a run cost: by the person, the catalogue, or an earlier run.

And what holds for the deployments that make them, which is asked at the same time.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from batchgen.api.catalogue import Catalogue
from batchgen.api.credentials import serverless_url
from batchgen.api.deployment_schema import Conditions
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions, Source
from batchgen.core.budget import Spending, active_limits, tightest, what_is_left
from batchgen.core.prices import DURATION_INPUT, Price, SeenCost, Unit, estimate
from batchgen.core.states import State
from batchgen.core.terms import REHEARSAL, RowTerms, Terms
from batchgen.core.text import plural, shell_path
from batchgen.engine.other_batches import OtherBatches
from batchgen.errors import ServiceUnreachable, UsageError
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.writer import Journal
from batchgen.log import warn
from batchgen.operations.known_batches import KnownBatches
from batchgen.operations.take_over import states_to_send

log = logging.getLogger(__name__)


def find_prices(
    models: Collection[str],
    options: RunOptions,
    catalogue: Catalogue,
    before: Mapping[str, Price | None],
    seen: Mapping[str, SeenCost],
) -> dict[str, Price | None]:
    """Return the price of each model; log a warning where none is known, nor what requests cost.

    That of a person takes the place of RunComfy's; that of a list, which may be somebody else's,
    counts where RunComfy gives none.
    before: the prices when this batch last ran, which are used where the API cannot be reached.
    seen: what the requests of this batch have cost.
    Raises ServiceUnreachable if a cost limit needs a price that neither has.
    """
    of_person, of_list = {}, {}
    for model in models:
        of_person[model], of_list[model] = said_prices(options, model)
    known = {**of_person}
    missing = [model for model, price in known.items() if price is None]
    why = "no price is known before billing"
    unreachable: ServiceUnreachable | None = None
    try:
        known |= catalogue.prices(missing)
    except ServiceUnreachable as error:
        unreachable = error
        why = "RunComfy cannot be asked what a request costs"
        known |= {model: told_before(before.get(model), of_list[model]) for model in missing}
    for model, price in known.items():
        if price is None:
            known[model] = of_list[model]
        elif of_person[model] is None and of_list[model] not in (None, price):
            what = "%s: RunComfy's price counts, not that of the list. --price takes its place."
            log.info(what, model)
    # The run waits until the API is back, but a cost limit cannot do without a price.
    if unreachable is not None and options.limits.any() and None in known.values():
        raise unreachable
    for model, price in known.items():
        if price is None and seen.get(model, SeenCost()).request is None:
            log.warning("%s: %s, so estimates and limits leave it out.", model, why)
    return known


def said_prices(options: RunOptions, model: str) -> tuple[Price | None, Price | None]:
    """Return what the person says that a request of `model` costs, and what a list says."""
    said = _written_price(options.price, model)
    if options.sources.get("price") is not Source.MANIFEST:
        return said, None
    return _written_price(options.own_price, model), said


def told_before(before: Price | None, said: Price | None) -> Price | None:
    """Return what counts where RunComfy cannot be asked: its own word of before, if any."""
    return before if said is None or (before is not None and before.at) else said


def _written_price(written: float | Mapping[str, float] | None, model: str) -> Price | None:
    usd = written.get(model, written.get("*")) if isinstance(written, Mapping) else written
    return None if usd is None else Price(usd)


def tell_of_unused_prices(options: RunOptions, models: Callable[[], Collection[str]]) -> None:
    """Warn of a price that is for no row, as of a mistyped model. models: returns those of rows."""
    if isinstance(options.price, Mapping):
        unused = options.price.keys() - {"*", *models()}
        for model in sorted(unused):
            warn(f"The price of {model} is for no row: none has this model.")


def find_conditions(
    journal: Journal, catalogue: Catalogue, options: RunOptions
) -> dict[str, Conditions]:
    """Return what holds now for the deployments whose rows are due, or under way.

    Nothing where RunComfy cannot be reached: the run waits until it can. Raises TokenRefused.
    """
    with suppress(ServiceUnreachable):
        states = [*states_to_send(options), State.SUBMITTED]  # what these took is learned, too
        return catalogue.conditions(journal.due_models(states))
    return {}


def prices_per_second(
    options: RunOptions, conditions: Mapping[str, Conditions]
) -> dict[str, float]:
    """Return what the person says that a second costs, in USD by deployment."""
    said = options.price_per_second
    if said is None:
        return {}
    by_hardware = said if isinstance(said, Mapping) else {"*": said}
    found = {
        model: by_hardware.get(one.hardware, by_hardware.get("*"))
        for model, one in conditions.items()
    }
    return {model: usd for model, usd in found.items() if usd is not None}


def follow_instances(
    options: RunOptions, conditions: Mapping[str, Conditions], due: Collection[str]
) -> RunOptions:
    """Return the options with as many requests at once as the instances of deployments take.

    More would gain nothing, and fill a queue that may refuse. What a person says holds, and beside
    rows of models, which take more, the default is the least. due: the models of rows to send.
    """
    numbers = [one.at_once for one in conditions.values() if not one.closed]
    said = options.sources.get("concurrency", Source.DEFAULT) != Source.DEFAULT
    if said or not numbers or None in numbers:
        return options
    least = 0 if conditions.keys() >= {*due} else options.concurrency
    return replace(options, concurrency=max(sum(filter(None, numbers)), least))


def asked_services(options: RunOptions, *, rehearsal: bool) -> tuple[str, str]:
    """Return the addresses of the models' service and of the deployments', as `Terms` has them."""
    if rehearsal:
        return REHEARSAL, REHEARSAL
    return options.base_url, options.serverless_url or serverless_url(options.base_url) or ""


def agreed_terms(
    journal: Journal,
    prices: Mapping[str, Price | None],
    seen: Mapping[str, SeenCost],
    options: RunOptions,
    now: datetime,
    others: Callable[[str], float],
) -> Terms:
    """Return what the run is about to do, as `plan` says it.

    now, others: as `expected_spending` has them.
    """
    rows = RowTerms()
    for key, model in journal.due_keys(states_to_send(options), options.limit):
        rows.add(key, model)
    service, serverless = asked_services(options, rehearsal=options.sandbox)
    left = what_is_left(active_limits(options.limits, now, others), journal.committed_usd)
    return rows.terms(service, prices, seen, left, options.limit, serverless)


def require_agreed(agreed: Terms, found: Terms, manifest: str) -> None:
    """Raise UsageError where a run would do something else than was agreed to."""
    if differences := agreed.differences(found):
        raise UsageError(
            f"{manifest} is no longer what was agreed to. What differs:"
            f" {'; '.join(differences)}. Nothing was sent.",
            "Look at what it would do now, with the options of the run, and agree to that:"
            f" batchgen plan {shell_path(manifest)} --json",
        )


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
    limits, states = active_limits(options.limits, now, others), states_to_send(options)
    by_input = [m for m, price in prices.items() if price and price.unit is not Unit.REQUEST]
    requests, unpriced, usd, floor, example = 0, 0, 0.0, False, ""
    for model, rows, input, id, source in journal.due_rows(states, by_input, options.limit):
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


def other_batches(
    batches: KnownBatches, folder: Folder, options: RunOptions, account: Account | None = None
) -> OtherBatches:
    """Return the batches that a limit of the configuration counts beside that in a folder.

    account: whose batches in the same database count, wherever they were run.
    """

    def folders() -> list[Path]:
        here = folder.path.resolve()
        return [] if options.sandbox else [path for path in batches.paid_here() if path != here]

    return OtherBatches(folders, account, folder.database.url if folder.database else None)
