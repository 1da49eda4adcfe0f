"""Run a manifest: open it, lock its folder, open the journal, and submit what is missing."""

import logging
import math
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from batchgen import __version__, event_loop, resources
from batchgen.api.catalogue import Catalogue
from batchgen.api.deployment_schema import Conditions
from batchgen.api.endpoint import find_endpoint
from batchgen.batch_folder import Folder, Note
from batchgen.clock import Clock, from_iso, show_time
from batchgen.config import RunOptions, Source, view, with_kept
from batchgen.core import prices
from batchgen.core.assignments import in_words
from batchgen.core.budget import Spending, show_usd
from batchgen.core.rows import Problem
from batchgen.core.run_words import GIVEN, OPTIONS, UNTOLD, are_kept_options
from batchgen.core.states import State
from batchgen.core.text import list_choices, plural
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.collector import OutputOptions
from batchgen.engine.other_batches import OtherBatches
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import LATE, RUN_AGAIN, News, RunOutcome
from batchgen.engine.stop import Stop
from batchgen.engine.tell import tell
from batchgen.engine.watchdog import Watchdog
from batchgen.errors import (
    BatchgenError,
    Declined,
    OutsideWindow,
    ServiceUnreachable,
    StoppedEarly,
    StorageDamaged,
    TokenRefused,
    UsageError,
)
from batchgen.inputs.find_files import LocalFiles
from batchgen.inputs.workflow import OwnWorkflow
from batchgen.journal import command_table
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.recovery import open_journal
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal
from batchgen.log import refuse_foreign_log, set_up, write_stderr
from batchgen.manifest.manifest import Manifest
from batchgen.notify.announcer import Announcer
from batchgen.operations.batch import media_place, open_destination, start_rehearsal
from batchgen.operations.execute import ShowProgress, execute, how_to_resume
from batchgen.operations.find_batch import (
    Ask,
    ask_nobody,
    find_folder,
    keep_model,
    known_batches,
    model_memory,
    refuse_other_run,
    run_folder,
)
from batchgen.operations.machines.joined import AlreadyListed, join, options_memory
from batchgen.operations.models import schema_folders, stored_versions
from batchgen.operations.open_manifest import (
    ProblemSink,
    open_manifest_for,
    open_workflow,
    require_valid_rows,
    schemas_for,
)
from batchgen.operations.prices import (
    agreed_terms,
    expected_spending,
    find_conditions,
    find_prices,
    follow_instances,
    other_batches,
    prices_per_second,
    require_agreed,
    tell_of_unused_prices,
)
from batchgen.operations.take_over import (
    refuse_mixed_batch,
    refuse_renamed,
    reopen,
    states_to_send,
    take_over,
)
from batchgen.operations.unchanged import ManifestImport, manifest_fingerprint, schema_fingerprints
from batchgen.storage.place import KEPT
from batchgen.validation.schema_registry import SchemaRegistry

log = logging.getLogger(__name__)

ROWS_A_NOTE = 1000
CLOCKS_AGREE_S = 2.0
# The options that decide what rows a list has, beside `columns` and `schema`.
_OF_READING = (
    *("format", "fit", "input_name", "meta", "id_template", "expand", "samples", "sample_seed"),
    "model",
)


def run(
    flags: Mapping[str, Any],
    path: str,
    show: ProblemSink,
    show_progress: ShowProgress,
    show_ending: Callable[[Folder, RunOutcome, Counter[State]], None],
    ask: Ask,
    announcer: Announcer,
    *,
    clock: Clock | None = None,
    timing: Timing = DEFAULT_TIMING,
    stop: Stop | None = None,
    owns_process: bool = True,
    joins: bool = False,
) -> tuple[RunOutcome, Folder]:
    """Run a manifest. Raises every BatchgenError; nothing was sent by then unless it says so.

    flags: as `open_manifest_for` has them. show: called with each problem of the manifest.
    show_ending: called once with how the run ended, and the rows that are newly in trouble; with
        --quiet only if a person is to be told.
    ask: asks the person, before anything is sent; returns None if there is none.
    announcer: tells others of the run. Whoever made it lets it finish, which closes the log.
    clock: None is the machine's own. stop: by which the program that called can end it.
    owns_process: whether a run that does not come to its end may end the process.
    joins: `path` is no list, but the name of a batch whose list another machine has read in.
    """
    clock, stop = clock or Clock(), stop or Stop()
    listed: AlreadyListed | None = None
    if joins:
        manifest, options, listed = join(flags, path, timing)
    else:
        manifest, options = open_manifest_for(flags, path)
    announcer.use(options)
    announcer.require_usable()
    # --until counts from here: reading a long manifest takes a while.
    now = datetime.now()
    _refuse_outside_window(options, now)
    if options.yes:  # a yes to what the list costs, which is none to paying for it twice
        ask = ask_nobody
    batches = known_batches()
    before = batches.folders_of(path)
    place = options.out if joins else find_folder(path, options, batches, ask)
    # A mail is read elsewhere, so it names places by their whole paths.
    place = place.absolute() if options.quiet else place
    folder = run_folder(place, path, options)
    announcer.at(folder)
    if options.quiet and options.skip_invalid:
        show = _ignore  # the ending tells of invalid rows, and of the same ones once
    ending = _Ending()
    patience = timing.closing if owns_process else math.inf
    with ending, Watchdog(patience) as watchdog, ExitStack() as stack:
        folder.refuse_foreign_files()
        for source in manifest.sources:
            if source.path is not None:
                folder.refuse_as_manifest(source.path)
        if options.log_file is not None:
            _refuse_log(options.log_file, manifest, folder)
        # Before anything that takes time: cron may have started a second run.
        note = _claim(stack, folder, options, to_program=not owns_process)
        options = keep_model(options, folder)
        stack.push(partial(_record_refusal, folder, manifest.file, clock, timing))
        _tell_of_hooks(manifest)
        workflow = open_workflow(manifest, options)
        endpoint = None if options.sandbox else find_endpoint(options)
        catalogue = None
        if endpoint is not None:
            endpoint = replace(endpoint, node_classes=workflow.classes if workflow else ())
            catalogue = stack.enter_context(closing(Catalogue(endpoint, timing, clock.now)))
        listing = StagedRows()
        stack.callback(listing.close)
        schemas = schemas_for(options, schema_folders(folder), catalogue, workflow)
        files = LocalFiles(manifest.allowed)
        versions = stored_versions(folder, catalogue)
        reading = listed or _manifest_import(
            manifest, schemas, listing, show, options, folder, note, files, stop, versions, workflow
        )
        reading.unless_listed_in(folder.journal)
        if workflow is not None:
            workflow.keep(folder.workflows)
        if endpoint is None or catalogue is None:
            endpoint = stack.enter_context(start_rehearsal(folder))
            catalogue = stack.enter_context(closing(Catalogue(endpoint, timing, clock.now)))
        if folder.path != options.out:
            log.info("Going on in %s, which holds the batch of %s.", folder.path, manifest.file)
        endpoint = replace(endpoint, output_nodes=options.output_nodes)
        journal, receipts = open_journal(stack, folder, clock, timing)
        stack.callback(watchdog.begin)
        refuse_mixed_batch(journal, receipts, folder, rehearsing=options.sandbox)
        if listed is None and journal.get_meta("manifest") is None:
            refuse_renamed(listing, path, folder, options, batches, ask)
        take_over(journal, receipts, reading, options, ask, timing)
        # Each machine has a sandbox of its own, which knows nothing of another's requests.
        journal.store.let_others_start("running", alone=options.sandbox)
        folder.keep_journal_place()
        media = media_place(journal, folder, batches, options)
        with _telling_of_results(journal):
            destination = open_destination(media, folder, timing)
        batches.remember(
            "-" if joins else path,
            folder.path,
            rehearsal=options.sandbox,
            at=journal.now(),
            media=media,
        )
        if listed is None:
            refuse_other_run(path, options, folder, batches, before)
        _tell_of_other_computer(journal, folder)
        _tell_of_clock(journal)
        account = None
        if journal.is_shared and endpoint.account:
            account = Account(journal, endpoint.account)
        others = other_batches(batches, folder, options, account)
        written = options
        options = _with_kept(journal, options, now)
        paused = _settle_commands(journal, folder)
        conditions: dict[str, Conditions] = {}
        if paused is None:
            conditions = find_conditions(journal, catalogue, options)
            known = _agreed_prices(journal, catalogue, manifest.file, options, ask, now, others)
            reopen(journal, options)
        else:
            known = prices.read_prices(journal.get_meta("prices"))
        catalogue.close()
        stop.check()
        memory = {model: price and price.stored() for model, price in known.items()}
        by_time = {*prices_per_second(options, conditions), *(journal.get_meta("by_time") or ())}
        costs = {"prices": memory, "by_time": sorted(by_time)}
        told = {} if joins else {**options_memory(written), GIVEN: _given(written)}
        journal.start_run(reading.file, {**costs, **told, **model_memory(options), KEPT: media})
        announcer.begin()
        note("running")
        log.debug("batchgen %s runs %s into %s", __version__, manifest.file, folder.path)
        log.debug("options: %s", ", ".join(options.given()) or "the defaults")
        options = follow_instances(options, conditions, known)
        written = follow_instances(written, conditions, known)
        last = None
        if options.expect_plan is not None and options.limit is not None:
            last = journal.due_position(states_to_send(options), options.limit)
        policy = _policy(options, known, now, conditions, last)
        output = view(OutputOptions, options)
        running = execute(
            journal,
            receipts,
            folder,
            endpoint,
            policy,
            output,
            show_progress,
            files=files,
            timing=timing,
            destination=destination,
            others=others,
            account=account,
            on_collected=partial(ending.collected, watchdog),
            written=_policy(written, known, now, conditions, last),
            stopped=paused,
            stop=stop,
        )
        ending.outcome = outcome = event_loop.run(running)
        ending.news = tell(journal, outcome, partial(show_ending, folder), quiet=options.quiet)
    announcer.ended(outcome, news=ending.news)
    return outcome, folder


def _given(options: RunOptions) -> dict[str, Any] | None:
    """Return what the command of the next run has to say as well, as `set_meta` takes it.

    None where that cannot be said: a journal may come from somebody else, so no address of a
    service and no file that is read is taken from it.
    """
    said = {name for name, source in options.sources.items() if source == Source.FLAG}
    given = {name: _as_json(getattr(options, name)) for name in OPTIONS if name in said}
    return None if said & UNTOLD or not are_kept_options(given) else given


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return [*value] if isinstance(value, tuple) else value


def _policy(
    options: RunOptions,
    known: Mapping[str, prices.Price | None],
    now: datetime,
    conditions: Mapping[str, Conditions],
    last_position: int | None,
) -> Policy:
    return view(
        Policy,
        options,
        last_position=last_position,
        prices=known,
        versions={model: one.version for model, one in conditions.items() if one.version},
        closed={model: one.closed for model, one in conditions.items() if one.closed},
        per_second=prices_per_second(options, conditions),
        stop_after=options.stop_after(now),
        until=options.ends_at(now),
    )


def _with_kept(journal: Journal, options: RunOptions, now: datetime) -> RunOptions:
    """Return the options with what a person kept for later runs, and say so."""
    kept = command_table.kept(journal)
    if kept:
        log.info("Kept by batchgen set: %s.", in_words(kept))
    return with_kept(options, kept, now)


def _settle_commands(journal: Journal, folder: Folder) -> RunOutcome | None:
    """Return why nothing is submitted where the batch is paused; None if it is not."""
    since, missed = command_table.settle(journal)
    if missed:
        names = list_choices(sorted({*missed}))
        log.warning("What was to be set (%s) came after its run, and is not set now.", names)
    if not since:
        return None
    reason = f"The batch is paused since {show_time(from_iso(since))}: nothing is submitted."
    return RunOutcome(StoppedEarly.exit_code, reason, how_to_resume(folder), once=f"paused {since}")


@contextmanager
def _telling_of_results(journal: Journal) -> Iterator[None]:
    """Let an error of the block tell of results that wait meanwhile, and not for ever."""
    try:
        yield
    except (ServiceUnreachable, StorageDamaged) as error:
        waiting = sum(journal.state_counts[state] for state in LATE)
        if waiting:
            rows = plural(waiting, "row")
            error.what += f" {rows} paid for and not fetched yet; RunComfy keeps results a week."
        raise


def _tell_of_clock(journal: Journal) -> None:
    """The rate is kept over the machines that go on with a batch by the times in its journal."""
    off = journal.clock_is_off_by()
    if off > CLOCKS_AGREE_S:
        log.warning(
            "The clock of this computer and that of %s differ by %.0f s: set it by NTP, or the rate"
            " may be passed where another machine goes on.",
            journal.path,
            off,
        )


def _tell_of_other_computer(journal: Journal, folder: Folder) -> None:
    """As of a folder that was copied, or is on a disk that two computers have."""
    where = None if journal.is_shared else journal.last_computer()
    if where not in (None, socket.gethostname()):
        log.info(
            "%s was last run on %s. If it is run there too, rows are paid for twice: a lock does"
            " not reach another computer.",
            folder.path,
            where,
        )


class _Ending:
    """How a run ends, whatever fails once it has collected: 74 would say that nothing was sent.

    outcome: None until it is known. news: what a person is to be told of it.
    """

    def __init__(self) -> None:
        self.outcome: RunOutcome | None = None
        self.news = News(any=True)
        self._has_collected = False

    def collected(self, watchdog: Watchdog) -> None:
        self._has_collected = True
        watchdog.begin()

    def __enter__(self) -> "_Ending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: object
    ) -> bool:
        if not (self._has_collected and isinstance(error, OSError | BatchgenError)):
            return False
        why = error.what if isinstance(error, BatchgenError) else f"{error.strerror or error}."
        if self.outcome is None:
            raise StoppedEarly(f"{why} Nothing that was sent is lost.", RUN_AGAIN) from error
        write_stderr(why)
        return True


def _agreed_prices(
    journal: Journal,
    catalogue: Catalogue,
    manifest: str,
    options: RunOptions,
    ask: Ask,
    now: datetime,
    others: OtherBatches,
) -> dict[str, prices.Price | None]:
    """Return the prices of the models whose rows are due, after a person was told what they come
    to.

    Raises what `find_prices`, `require_agreed`, `expected_spending` and `_agree_to` raise.
    """
    tell_of_unused_prices(options, journal.listed_models)
    before = prices.read_prices(journal.get_meta("prices"))
    due = journal.due_models(states_to_send(options))
    seen = prices.read_seen(journal.get_meta("costs"))
    known = find_prices(due, options, catalogue, before, seen)
    if options.expect_plan is not None:
        found = agreed_terms(journal, known, seen, options, now, others.committed_usd)
        require_agreed(options.expect_plan, found, manifest)
    spending = expected_spending(journal, known, seen, options, now, others.committed_usd)
    if spending.requests:
        balance = None if options.sandbox else catalogue.balance()
        _agree_to(replace(spending, balance=balance), options, ask)
    return known


def _agree_to(spending: Spending, options: RunOptions, ask: Ask) -> None:
    """Say what is about to be spent. Raises Declined if a person does not want that."""
    log.info("%s%s.", spending, ", all pretend" if options.sandbox else "")
    balance = spending.balance
    if balance is not None and balance < spending.at_most:
        log.warning(
            "The balance is %s and the pending rows cost %s %s: the run stops when it is used up.",
            show_usd(balance),
            "at least" if spending.floor else "about",
            show_usd(spending.at_most),
        )
    agreed = options.sandbox or options.expect_plan is not None
    asks = spending.is_above(options.ask_above) and not agreed
    if asks and ask(spending.question) is False:
        raise Declined


def _ignore(problem: Problem) -> None:
    pass


def _manifest_import(
    manifest: Manifest,
    schemas: SchemaRegistry,
    listing: StagedRows,
    show: ProblemSink,
    options: RunOptions,
    folder: Folder,
    note: Note,
    files: LocalFiles,
    stop: Stop,
    versions: Mapping[str, str],
    workflow: OwnWorkflow | None,
) -> ManifestImport:
    """Return what reads the manifest where that is needed, and keeps the schemas it used.

    versions: as `stored_versions` returns them.
    """

    def count(rows: int) -> None:
        stop.check()
        if rows % ROWS_A_NOTE == 0:
            note(f"reading {manifest.file}, {rows:,} rows so far")

    def read() -> int:
        problems = require_valid_rows(
            manifest, schemas, listing, show, options, count, workflow=workflow
        )
        fitted, example = listing.fitted()
        if fitted:
            made = plural(fitted, "picture")
            log.info("%s: %s made smaller to be sent, e.g. %s.", manifest.file, made, example)
        note(f"listing the rows of {manifest.file}")
        schemas.copy_used(folder.schemas)
        return problems

    decisive = {name: getattr(options, name) for name in _OF_READING}
    decisive |= {"columns": dict(options.columns), "nodes": dict(options.nodes)}
    inline = isinstance(options.schema, Mapping)  # then it is the manifest's, as its rows are
    decisive |= {"schema": None if inline or options.schema is None else str(options.schema)}
    decisive |= {"workflow": workflow and workflow.digest}
    decisive |= {"limits": asdict(options.reading), "versions": versions}
    fingerprint = None if manifest.problems else manifest_fingerprint(manifest.sources, decisive)
    folders = (folder.schemas, resources.schemas_folder())
    schema_files = partial(schema_fingerprints, options.schema, *folders)
    return ManifestImport(
        *(manifest.file, listing, fingerprint, schema_files, files.seen, read),
        manifest.wildcards,
    )


def _claim(stack: ExitStack, folder: Folder, options: RunOptions, *, to_program: bool) -> Note:
    """Make the folder, keep others out of it, and begin to log there.

    A folder that was made for nothing, as for an invalid list, is gone again at the end.
    """
    made = folder.create()
    note = stack.enter_context(folder.locked())
    note("starting a run")
    stack.callback(folder.discard, made)
    set_up(
        *(folder.log, options.log_file),
        quiet=options.quiet,
        verbose=options.verbose,
        to_program=to_program,
    )
    if warning := folder.examine_file_system():
        log.warning("%s", warning)
    return note


def _refuse_log(file: Path, manifest: Manifest, folder: Folder) -> None:
    """Raise UsageError for a log whose lines would be in something else: in prompts, to be paid."""
    place = file.resolve()
    for source in manifest.sources:
        read = source.path and source.path.resolve()
        if read in (place, place.parent):
            raise UsageError(
                f"--log-file {file} is read as the list {source.file}. Nothing was sent.",
                "Choose a file that the list has nothing to do with.",
            )
    folder.refuse_as_log(file)
    refuse_foreign_log(file)


def _tell_of_hooks(manifest: Manifest) -> None:
    """Tell what the manifest would have run or told others, if it were trusted."""
    names = manifest.settings.not_obeyed
    if names:
        log.warning(
            "%s: %s %s not obeyed, since a list neither runs commands nor sends messages unless you"
            " trust it: add --allow-hooks, or its folder to `trusted` (batchgen config path).",
            manifest.file,
            ", ".join(names),
            "is" if len(names) == 1 else "are",
        )


def _refuse_outside_window(options: RunOptions, now: datetime) -> None:
    """Raise OutsideWindow where the night of a run is over, as on a computer that slept."""
    window = options.window
    if window is not None and window.window_end(now) is None:
        raise OutsideWindow(
            f"It is {now:%a %H:%M}, outside the window {window.window()}. Nothing was sent.",
            f"The next window begins {window.next_start(now):%a %Y-%m-%d %H:%M}. To run all the"
            " same, leave out --window.",
        )


def _record_refusal(
    folder: Folder,
    manifest: str,
    clock: Clock,
    timing: Timing,
    kind: type[BaseException] | None,
    error: BaseException | None,
    at: TracebackType | None,
) -> None:
    """Let `status` tell why a run sent nothing, also a list's first one. As an exit callback."""
    if isinstance(error, TokenRefused | ServiceUnreachable):
        with suppress(BatchgenError), ExitStack() as stack:
            if isinstance(folder.journal, Path) and folder.journal.is_file():
                journal = stack.enter_context(closing(Journal(folder.journal, clock, timing)))
            else:  # refused where files of a lost journal are
                journal, _ = open_journal(stack, folder, clock, timing)
            file = journal.last_manifest() or manifest
            journal.refuse_run(file, error.exit_code, error.what)
