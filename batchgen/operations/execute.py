"""Execute a run over an open journal: its parts, its signals, its progress, its reports."""

import asyncio
import logging
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Protocol

from batchgen.api.endpoint import Endpoint
from batchgen.batch_folder import Folder
from batchgen.core.prices import read_seen
from batchgen.core.states import State
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.collector import Collector, OutputOptions
from batchgen.engine.command_reader import CommandReader
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.dispatcher import Dispatcher, PendingRows, restore_rate_limiter
from batchgen.engine.engine import Engine
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.machines.peers import Peers
from batchgen.engine.machines.shared_rows import SharedRows
from batchgen.engine.other_batches import OtherBatches
from batchgen.engine.policy import Policy
from batchgen.engine.poller import Poller
from batchgen.engine.run_outcome import (
    NO_MEMORY,
    RunOutcome,
    final_outcome,
    with_files_not_whole,
)
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.engine.stop import Stop, ended_by, heard
from batchgen.engine.submitter import LONG_PAUSE_S, Submitter
from batchgen.errors import (
    BatchgenError,
    JournalLocked,
    JournalUnreachable,
    StoppedEarly,
    StorageDamaged,
    disk_full,
)
from batchgen.inputs.find_files import LocalFiles
from batchgen.inputs.payload import Payloads
from batchgen.inputs.workflow import KeptWorkflows
from batchgen.journal import command_table
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.writer import Journal
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.media.destination import Destination
from batchgen.media.download import DEFAULT_LIMITS, Downloader, DownloadLimits
from batchgen.media.local_folder import LocalFolder
from batchgen.report import tables
from batchgen.report.next_steps import command

log = logging.getLogger(__name__)


class Progress(Protocol):
    """What shows how far a run is."""

    def changed(self) -> None:
        """Called after each change of state."""

    def close(self) -> None:
        """Called once, when no more will change."""


# For (rows by state, committed USD, requests per second), whenever they are shown.
Numbers = Callable[[], tuple[Mapping[State, int], float, float]]
# From the numbers, and from a clock in seconds.
ShowProgress = Callable[[Numbers, Callable[[], float]], Progress]


async def execute(
    journal: Journal,
    receipts: ReceiptLog,
    folder: Folder,
    endpoint: Endpoint,
    policy: Policy,
    output_options: OutputOptions,
    show_progress: ShowProgress,
    *,
    files: LocalFiles | None = None,
    timing: Timing = DEFAULT_TIMING,
    destination: Destination | None = None,
    limits: DownloadLimits = DEFAULT_LIMITS,
    others: OtherBatches | None = None,
    account: Account | None = None,
    on_collected: Callable[[], None] = lambda: None,
    written: Policy | None = None,
    stopped: RunOutcome | None = None,
    stop: Stop | None = None,
) -> RunOutcome:
    """Run what the open journal holds, until it is done or stops, and write the reports.

    files: the local files that rows may have sent; None is those below the batch folder.
    destination: of the files; None is the batch folder. others: count for limits of all batches;
        None are none. account: that other machines submit to, by the journal's database; None where
        there is none. on_collected: called when no submission is
        open any more and nothing is collected: what follows only closes and reports.
    written: what the command line and the list allow, where the batch keeps something else.
    stopped: why nothing is submitted at all; what was sent before is collected.
    stop: by which the program that called can end it.
    """
    clock = journal.clock
    stop = stop or Stop()
    destination = destination or LocalFolder(folder.path)
    limiter, recent = restore_rate_limiter(journal, clock, policy.rate)
    costs = CostEstimator(
        policy.prices, read_seen(journal.get_meta("costs")), limited=policy.limits.any()
    )
    run_state = RunState(clock, random.Random(), timing, policy, limiter, costs, recent)
    run_state.hold_closed()
    run_state.breaker.takes_files.update(journal.get_meta("takes_files") or ())
    if stopped is not None:
        run_state.stop(stopped)
    elif limiter.delay(0.0) > LONG_PAUSE_S:
        log.info("By the rate, the next submission may go in %.0f s.", limiter.delay(0.0))
    run_state.paused_since = command_table.paused_since(journal)
    counts_before = journal.state_counts.copy()
    async with (
        endpoint.services(timing, clock.now) as services,
        Downloader(
            destination,
            endpoint.download_hosts(),
            endpoint.use_proxy,
            timing,
            limits,
            folder.path / "report" if output_options.thumbnails else None,
        ) as downloader,
    ):
        destination.clear_scratch()
        shared_rate = SharedRateLimit(endpoint.shared_rate_file)
        writes = WriteQueue(journal, receipts, timing)
        payloads = Payloads(
            files or LocalFiles(AllowedPaths(folder.path)),
            folder.path,
            KeptWorkflows(folder.workflows).read,
        )
        slots = None if account is None else SharedSlots(account, writes, run_state)
        rows = (SharedRows if journal.is_shared else PendingRows)(journal, run_state, writes)
        dispatcher = Dispatcher(rows, run_state, shared_rate, slots)
        submitter = Submitter(
            *(journal, folder, services, run_state, shared_rate, writes, dispatcher),
            others or OtherBatches(list),
            payloads,
            account,
            slots,
        )
        poller = Poller(journal, writes, services, run_state, policy.rate)
        collector = Collector(
            journal, writes, destination, downloader, poller, run_state, output_options,
            services,
        )  # fmt: skip
        committed = journal.committed_usd()

        def numbers() -> tuple[Mapping[State, int], float, float]:
            nonlocal committed
            if not writes.is_away:
                with suppress(JournalLocked, JournalUnreachable), journal.at_once():
                    committed = journal.committed_usd()
            return journal.state_counts, committed, run_state.limiter.rate

        progress = show_progress(numbers, clock.monotonic)
        peers = Peers(journal, writes, run_state, slots, poller) if journal.is_shared else None
        engine = Engine(
            journal,
            dispatcher,
            submitter,
            poller,
            collector,
            run_state,
            services,
            progress.changed,
            peers,
        )
        reader = CommandReader(
            journal, writes, run_state, poller, shared_rate, written or policy,
            command_table.kept(journal), slots,
        )  # fmt: skip
        beside = [asyncio.create_task(reader.run())]
        if peers is not None:
            beside.append(asyncio.create_task(peers.run(engine.collect)))
        with ended_by(engine, stop, timing.drain), ExitStack() as stack:
            try:
                await engine.run()
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                signals = stack.enter_context(heard(stop))
                try:
                    # Each, whatever comes of the others; the last one first.
                    with ExitStack() as closing:
                        closing.callback(writes.close)
                        closing.callback(payloads.close)
                        closing.callback(shared_rate.close)
                        closing.callback(progress.close)
                        closing.callback(on_collected)
                except Exception as error:  # noqa: BLE001  # as of what shows the progress
                    engine.stop_for(error, "the end of the run")
            elsewhere = 0
            with suppress(BatchgenError):  # of a database that is gone
                journal.count_anew()
                elsewhere = sum(sum(one.rows.values()) for one in journal.other_machines())
            moved = journal.state_counts != counts_before
            counts = journal.state_counts
            outcome = _outcome(counts, run_state, folder, moved=moved, elsewhere=elsewhere)
            thumbnails = output_options.thumbnails
            return _record_end(
                journal, folder, outcome, engine.memory(), signals, thumbnails=thumbnails
            )


def how_to_resume(folder: Folder) -> str:
    return f"To go on: {command('resume', str(folder.path))}, then run the same command again."


def _outcome(
    counts: Mapping[State, int],
    run_state: RunState,
    folder: Folder,
    *,
    moved: bool,
    elsewhere: int,
) -> RunOutcome:
    """Say how the run ends. counts: rows by state. moved: whether any row changed its state.

    elsewhere: rows that other machines have.
    """
    waiting = len(run_state.waiting)
    headway = run_state.headway(moved=moved)
    outcome = final_outcome(counts, run_state.outcome, run_state.held, waiting, headway, elsewhere)
    outcome = replace(with_files_not_whole(outcome, run_state.not_whole), waiting=waiting)
    if run_state.paused_since and outcome.code == StoppedEarly.exit_code:
        return replace(outcome, remedy=how_to_resume(folder))
    return outcome


def _record_end(
    journal: Journal,
    folder: Folder,
    outcome: RunOutcome,
    memory: dict[str, Any],
    heard: list[signal.Signals],
    *,
    thumbnails: bool,
) -> RunOutcome:
    """Write the run's end into the journal, and the reports; return what became of the outcome.

    memory: as `Journal.end_run` takes it. heard: the signals that have come since.
    """
    log.debug("ended with exit code %d: %s", outcome.code, outcome.reason)
    try:
        journal.end_run(outcome.code, outcome.reason, memory)
    except StorageDamaged as error:
        outcome = RunOutcome.under_way(error) if outcome.code in (0, 1) else outcome
    except MemoryError:
        outcome = NO_MEMORY if outcome.code in (0, 1) else outcome
    try:
        tables.write_report_files(folder, thumbnails=thumbnails, stop=lambda: bool(heard))
    except (OSError, BatchgenError, MemoryError, ImportError) as error:
        # Short of memory, a compiled module of a template's cannot be imported.
        if not heard:
            log.error("The reports could not be written: %s", _why(error))
            outcome = _without_reports(outcome, folder, error)
    return _interrupted(outcome, folder, heard[0]) if heard else outcome


def _why(error: Exception) -> object:
    if isinstance(error, BatchgenError):
        return error.what
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return getattr(error, "strerror", None) or error


def _without_reports(ending: RunOutcome, folder: Folder, error: Exception) -> RunOutcome:
    """Nothing that was paid for is lost, but it is no success either."""
    if ending.code not in (0, 1):
        return ending
    room = "Make room on the disk, then: " if disk_full(error) else ""
    remedy = f"{room}{command('report', str(folder.path))}"
    return RunOutcome(75, f"{ending.reason} Its reports could not be written.", remedy)


def _interrupted(ending: RunOutcome, folder: Folder, number: signal.Signals) -> RunOutcome:
    """A run that a signal told to leave while its reports were written, which its end is not."""
    reason = f"{ending.reason} Interrupted by {number.name} while the reports were written."
    how = f"The next run writes them, or: {command('report', str(folder.path))}"
    remedy = "\n".join(filter(None, (ending.remedy, how)))
    code = max(ending.code, 128 + number)
    return replace(ending, code=code, reason=reason, remedy=remedy, said=False)
