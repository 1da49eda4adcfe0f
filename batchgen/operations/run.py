"""Putting a command together: manifest, folder, lock, journal, and the night."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchgen import __version__, config, event_loop, resources
from batchgen.api.catalogue import schema_lookup, warn_of_low_balance
from batchgen.api.endpoint import find_endpoint
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.config import RunOptions, RunSettings
from batchgen.core import prices
from batchgen.core.prices import Price
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.collector import OutputOptions
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import RunOutcome
from batchgen.journal.recovery import open_journal
from batchgen.journal.staging import StagedRows
from batchgen.log import close, set_up
from batchgen.manifest.manifest import Manifest
from batchgen.operations.batch import start_rehearsal
from batchgen.operations.execute import ShowProgress, execute
from batchgen.operations.open_manifest import ProblemSink, open_manifest_for, require_valid_rows
from batchgen.operations.prices import find_prices, require_prices
from batchgen.operations.take_over import refuse_mixed_batch, take_over
from batchgen.operations.unchanged import ManifestImport, manifest_fingerprint, schema_fingerprints
from batchgen.validation.schema_registry import SchemaRegistry

if TYPE_CHECKING:
    pass

log = logging.getLogger("batchgen")


def run(
    flags: RunOptions,
    path: str,
    show: ProblemSink,
    show_progress: ShowProgress,
    *,
    quiet: bool,
    verbose: bool,
    log_file: Path | None = None,
    clock: Clock | None = None,
    timing: Timing = DEFAULT_TIMING,
) -> tuple[RunOutcome, Folder]:
    """Run a manifest. Raises every BatchgenError; nothing was sent by then unless it says so.

    clock: None is the machine's own.
    """
    manifest, settings = open_manifest_for(flags, path)
    folder = Folder(flags.out or config.default_out(path))
    with ExitStack() as stack:
        claim = partial(_claim, stack, folder, log_file, quiet=quiet, verbose=verbose)
        if existed := folder.path.is_dir():
            claim()  # before anything that takes time: cron may have started a second run
        where = None if flags.sandbox else find_endpoint(flags)
        listing = StagedRows()
        stack.callback(listing.close)
        fetch = None if where is None else schema_lookup(where)
        known = SchemaRegistry(settings.model, settings.schema, folder.schemas, fetch)
        reading = _reading(manifest, known, listing, show, flags, settings, folder)
        reading.unless_listed_in(folder.journal)
        if not existed:
            claim()
            known.keep(folder.schemas)
        if where is None:
            where = stack.enter_context(start_rehearsal(folder, settings.schema))
        journal, receipts = open_journal(stack, folder, clock or Clock())
        refuse_mixed_batch(journal, folder, rehearsing=flags.sandbox)
        take_over(journal, receipts, reading, flags)
        seen = prices.remembered(journal.get_meta("prices"))
        known_prices = find_prices(journal.pending_models(), settings, schema_lookup(where), seen)
        require_prices(settings, known_prices)
        warn_of_low_balance(where, partial(journal.pending_cost, known_prices))
        memory = {model: price and price.memory() for model, price in known_prices.items()}
        journal.start_run(manifest.file, {"prices": memory})
        log.info("batchgen %s runs %s into %s", __version__, manifest.file, folder.path)
        policy = _policy(settings, known_prices)
        keeping = OutputOptions(not flags.no_provenance, flags.sidecars, not flags.no_thumbnails)
        ending = event_loop.run(
            execute(journal, receipts, folder, where, policy, keeping, show_progress, timing=timing)
        )
    return ending, folder


def _reading(
    manifest: Manifest,
    known: SchemaRegistry,
    listing: StagedRows,
    show: ProblemSink,
    flags: RunOptions,
    settings: RunSettings,
    folder: Folder,
) -> ManifestImport:
    """What reads the manifest where that is needed, and keeps the schemas that it fetched."""

    def read() -> int:
        problems = require_valid_rows(manifest, known, listing, show, flags)
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
    seal = None if manifest.problems else manifest_fingerprint(manifest.sources, options)
    schemas = partial(
        schema_fingerprints, settings.schema, folder.schemas, resources.schemas_folder()
    )
    return ManifestImport(manifest.file, listing, seal, schemas, read)


def _claim(
    stack: ExitStack, folder: Folder, log_file: Path | None, *, quiet: bool, verbose: bool
) -> None:
    """Make the folder, keep others out of it, and begin to log there."""
    folder.create()
    stack.enter_context(folder.locked())
    set_up(folder.log, log_file, quiet=quiet, verbose=verbose)
    stack.callback(close)


def _policy(settings: RunSettings, known: Mapping[str, Price | None]) -> Policy:
    return Policy(
        rate=settings.rate,
        concurrency=settings.concurrency,
        limit=settings.limit,
        limits=settings.limits,
        prices=known,
        stop_after=settings.stop_after,
        until=settings.until,
    )
