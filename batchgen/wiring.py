"""Putting a command together: manifest, folder, lock, journal, and the night."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen import __version__, config, event_loop, logs, models, prices
from batchgen.books import keep_apart, open_books, take_over
from batchgen.clock import Clock
from batchgen.collector import Keeping
from batchgen.config import Config, Flags
from batchgen.ending import Ending
from batchgen.errors import ManifestInvalid, ServiceUnreachable, UsageError
from batchgen.folder import Folder
from batchgen.intent import Report, check
from batchgen.listing import Listing
from batchgen.manifest import Manifest, open_manifest
from batchgen.models import Models
from batchgen.night import night
from batchgen.plan import Plan, Step, steps
from batchgen.prices import Price
from batchgen.reading import Reader
from batchgen.service import catalogue, rehearsal, service, warn_of_balance
from batchgen.states import State
from batchgen.submitter import Policy
from batchgen.unchanged import Reading, seal_of_list, seals_of_schemas

if TYPE_CHECKING:
    from batchgen.probe import Probed

log = logging.getLogger("batchgen")


def open_for(flags: Flags, path: str) -> tuple[Manifest, Config]:
    """Raises UsageError if there is no such file, or its form is not known."""
    stdin = sys.stdin.buffer if path == "-" else None
    secret = None
    with suppress(RuntimeError):  # no home, and so no token file there
        secret = config.token_file(os.environ)
    manifest = open_manifest(
        path,
        format=flags.format,
        columns=flags.columns,
        meta=flags.meta,
        stdin=stdin,
        allowed=flags.allow_path,
        secret=secret,
        use_schema=flags.schema is None,
    )
    file = None if path == "-" else Path(path)
    return manifest, config.merged(flags, manifest.settings, file, datetime.now())


def validate(
    flags: Flags, path: str, show: Report, *, check_urls: bool = False
) -> "tuple[int, Probed | None]":
    """Check a manifest without an account; return how many rows are good, and what of their URLs.

    show: called with each problem. Raises ManifestInvalid after the last, or UsageError.
    """
    manifest, settings = open_for(flags, path)
    kept = Folder(flags.out or config.default_out(path)).schemas
    known = Models(settings.model, settings.schema, kept, None)
    listing = Listing()
    try:
        problems = check(manifest, known, listing, show)
        probed = None
        if check_urls:
            from batchgen import probe  # here, since it brings httpx, and a run needs neither

            probed = probe.check_urls(listing, known, show)
        if problems := problems + (probed.problems if probed else 0):
            raise ManifestInvalid(manifest.file, problems, str(probed or ""))
        return len(listing), probed
    finally:
        listing.close()


def plan(flags: Flags, path: str, show: Report, step: Callable[[Step], None]) -> tuple[Plan, float]:
    """Tell what a run would do, calling `step` for each row; return the sum and POSTs per second.

    Nothing is sent. Raises as `run` does before its first POST.
    """
    manifest, settings = open_for(flags, path)
    folder = Folder(flags.out or config.default_out(path))
    known = Models(settings.model, settings.schema, folder.schemas, None)
    listing = Listing()
    try:
        _check_all(manifest, known, listing, show, flags)
        whole = Plan()
        seen = _prices_seen(folder)
        reopened = [State.FAILED] * flags.retry_failed
        reopened += [State.UNKNOWN] * (flags.on_unknown == "resubmit")
        price_of = partial(_price, settings, otherwise=seen.get)
        for found in steps(listing, folder, price_of, reopened):
            whole.add(found)
            step(found)
        return whole, settings.rate
    finally:
        listing.close()


def run(
    flags: Flags,
    path: str,
    show: Report,
    *,
    quiet: bool,
    verbose: bool,
    log_file: Path | None = None,
    clock: Clock | None = None,
) -> tuple[Ending, Folder]:
    """Run a manifest. Raises every BatchgenError; nothing was sent by then unless it says so.

    clock: None is the machine's own.
    """
    manifest, settings = open_for(flags, path)
    folder = Folder(flags.out or config.default_out(path))
    with ExitStack() as stack:
        claim = partial(_claim, stack, folder, log_file, quiet=quiet, verbose=verbose)
        if existed := folder.path.is_dir():
            claim()  # before anything that takes time: cron may have started a second run
        where = None if flags.sandbox else service(flags)
        listing = Listing()
        stack.callback(listing.close)
        fetch = None if where is None else catalogue(where)
        known = Models(settings.model, settings.schema, folder.schemas, fetch)
        reading = _reading(manifest, known, listing, show, flags, settings, folder)
        reading.unless_listed_in(folder.journal)
        if not existed:
            claim()
            known.keep(folder.schemas)
        if where is None:
            where = stack.enter_context(rehearsal(folder, settings.schema))
        journal, receipts = open_books(stack, folder, clock or Clock())
        keep_apart(journal, folder, rehearsing=flags.sandbox)
        take_over(journal, receipts, reading, flags)
        seen = prices.remembered(journal.remembered("prices"))
        known_prices = _prices(journal.pending_models(), settings, catalogue(where), seen)
        _refuse_unpriced(settings, known_prices)
        warn_of_balance(where, partial(journal.pending_cost, known_prices))
        memory = {model: price and price.memory() for model, price in known_prices.items()}
        journal.start_run(manifest.file, {"prices": memory})
        log.info("batchgen %s runs %s into %s", __version__, manifest.file, folder.path)
        policy = _policy(settings, known_prices)
        keeping = Keeping(not flags.no_provenance, flags.sidecars, not flags.no_thumbnails)
        ending = event_loop.run(night(journal, receipts, folder, where, policy, keeping, quiet))
    return ending, folder


def _refuse_unpriced(settings: Config, known: Mapping[str, Price | None]) -> None:
    if settings.limits.any() and None in known.values():
        unpriced = ", ".join(model for model, price in known.items() if price is None)
        raise UsageError(
            f"--max-cost needs to know the price of a request, and RunComfy gives none for"
            f" {unpriced}. Nothing was sent.",
            "Write it in a YAML manifest, in USD, e.g. price: 0.06",
        )


def _check_all(
    manifest: Manifest, known: Models, listing: Listing, show: Report, flags: Flags
) -> int:
    """Return how many problems were shown. Raises ManifestInvalid if there may be none."""
    problems = check(manifest, known, listing, show)
    if problems and not flags.skip_invalid:
        remedy = "Mend them, or run the other rows with --skip-invalid."
        raise ManifestInvalid(manifest.file, problems, remedy)
    return problems


def _reading(
    manifest: Manifest,
    known: Models,
    listing: Listing,
    show: Report,
    flags: Flags,
    settings: Config,
    folder: Folder,
) -> Reading:
    """What reads the manifest where that is needed, and keeps the schemas that it fetched."""

    def read() -> int:
        problems = _check_all(manifest, known, listing, show, flags)
        if folder.path.is_dir():  # a new one is made when the list is known to be good
            known.keep(folder.schemas)
        return problems

    options = {
        "format": flags.format,
        "columns": dict(flags.columns),
        "meta": flags.meta,
        "model": settings.model,
        "schema": settings.schema and str(settings.schema),
    }
    seal = None if manifest.problems else seal_of_list(manifest.sources, options)
    schemas = partial(seals_of_schemas, settings.schema, folder.schemas, models.schemas_folder())
    return Reading(manifest.file, listing, seal, schemas, read)


def _claim(
    stack: ExitStack, folder: Folder, log_file: Path | None, *, quiet: bool, verbose: bool
) -> None:
    """Make the folder, keep others out of it, and begin to log there."""
    folder.create()
    stack.enter_context(folder.locked())
    logs.set_up(folder.log, log_file, quiet=quiet, verbose=verbose)
    stack.callback(logs.close)


def _prices(
    sending: Iterable[str],
    settings: Config,
    fetch: Callable[[str], dict[str, Any] | None],
    seen: Mapping[str, Price | None],
) -> dict[str, Price | None]:
    """The price of each model to be submitted; said out loud where nobody knows it.

    seen: what they cost when this batch last ran, for the time that the API is away.
    """
    known: dict[str, Price | None] = {}
    for model in sending:
        why = "RunComfy gives no price for a request"
        try:
            price = _price(settings, model, lambda model: models.price(fetch(model) or {}))
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


def _prices_seen(folder: Folder) -> dict[str, Price | None]:
    """What models cost when this batch last ran; the catalogue is not asked for a plan."""
    if not folder.journal.is_file():
        return {}
    reader = Reader(folder.journal)
    try:
        return reader.prices()
    finally:
        reader.close()


def _price(settings: Config, model: str, otherwise: Callable[[str], Price | None]) -> Price | None:
    """The manifest's word on a model's price, USD a request; else another's."""
    usd = settings.prices.get(model, settings.price)
    return otherwise(model) if usd is None else Price(usd)


def _policy(settings: Config, known: Mapping[str, Price | None]) -> Policy:
    return Policy(
        rate=settings.rate,
        concurrency=settings.concurrency,
        limit=settings.limit,
        limits=settings.limits,
        prices=known,
        stop_after=settings.stop_after,
        until=settings.until,
    )
