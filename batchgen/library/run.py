"""Run a list, as a program calls it: in the main thread, in another, or awaited."""

import asyncio
import os
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from os import fspath
from typing import Any, Unpack

from batchgen.config import merge_options
from batchgen.configuration.file import read_configuration
from batchgen.engine.run_outcome import RunOutcome
from batchgen.engine.stop import Stop
from batchgen.errors import (
    BatchgenError,
    Interrupted,
    ServiceUnreachable,
    StoppedEarly,
    TokenRefused,
    UsageError,
)
from batchgen.library.batch import Batch
from batchgen.library.frontend import PROGRAM, Frontend, answering, problems_kept
from batchgen.library.keywords import AnyPath, Options, most_problems, read_options
from batchgen.library.progress import OnProgress, Progress, ProgressCalls
from batchgen.notify.announcer import Announcer
from batchgen.operations import run as running
from batchgen.report import tables
from batchgen.threads import Threads

_one_at_a_time = threading.Lock()  # a process has one log, and so one run
_ERRORS = {kind.exit_code: kind for kind in (ServiceUnreachable, TokenRefused)}


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    code: what `batchgen run` ends with: 0, or 1 if it came to its end and rows failed, are invalid
    or unknown; with `check=False` also that of a run that stopped early.
    reason: what happened. remedy: what to do next; "" for nothing. batch: its rows and numbers.
    """

    code: int
    reason: str
    remedy: str
    batch: Batch

    @property
    def complete(self) -> bool:
        """Whether every row is saved, or was written off."""
        return self.code == 0


def run(
    manifest: AnyPath,
    *,
    on_progress: OnProgress | None = None,
    check: bool = True,
    frontend: Frontend = PROGRAM,
    **options: Unpack[Options],
) -> RunResult:
    """Submit every row of a list that is not saved yet, and collect the files.

    Call it again to go on; a row that may have been billed is never sent again unasked.

    on_progress: called with a `Progress` at the beginning, at most once a second, and at the end.
        What it raises ends the run as SIGTERM does, and is raised then.
    check: raise an error also for a run that began and stopped early.
    frontend: what the command line adds.
    In the main thread SIGINT, SIGTERM and SIGHUP end the run in order, and what handled them before
    does so again afterwards. Another thread touches no signal.

    Raises ManifestInvalid, UsageError, StorageDamaged, ServiceUnreachable, TokenRefused,
    StoppedEarly or one of its subclasses: see docs/guide/python.md. TypeError for a keyword that is
    no option.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise UsageError(
            "batchgen.run would hold up the event loop that runs in this thread.",
            "Write: await batchgen.run_async(…)",
        )
    return _run(manifest, on_progress, frontend, Stop(), options, check=check)


async def run_async(
    manifest: AnyPath,
    *,
    on_progress: OnProgress | None = None,
    check: bool = True,
    frontend: Frontend = PROGRAM,
    **options: Unpack[Options],
) -> RunResult:
    """As `run`, without holding up the event loop, and without touching signals.

    on_progress: called in the event loop.
    If the task is cancelled the run ends as by SIGTERM: nothing more is submitted, and what an open
    submission has come to is recorded, within 75 s. Cancelled again, it ends at once, and an open
    submission becomes unknown. The task ends when that is on disk.
    """
    loop, stop = asyncio.get_running_loop(), Stop()
    in_loop = on_progress and _InLoop(loop, on_progress, stop)
    call = partial(_run, manifest, in_loop, frontend, stop, options, check=check)
    cancelled: asyncio.CancelledError | None = None
    with Threads(1) as threads:
        future = loop.run_in_executor(threads, call)
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                stop.ask()
    own = cancelled or (in_loop and in_loop.error)
    if own:
        future.exception()  # which follows from it
        raise own
    return future.result()


class _InLoop:
    """Calls a program with progress in its event loop. error: what that raised."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: OnProgress, stop: Stop) -> None:
        self.error: Exception | None = None
        self._loop, self._told, self._stop = loop, call, stop

    def __call__(self, progress: Progress) -> None:
        self._loop.call_soon_threadsafe(self._tell, progress)

    def _tell(self, progress: Progress) -> None:
        if self.error is not None:
            return
        try:
            self._told(progress)
        except Exception as error:  # noqa: BLE001  # the program's own, which it gets back
            self.error = error
            self._stop.ask()


def _run(
    manifest: AnyPath,
    on_progress: OnProgress | None,
    frontend: Frontend,
    stop: Stop,
    options: Any,
    *,
    check: bool,
) -> RunResult:
    flags, path = read_options(options), fspath(manifest)
    if not _one_at_a_time.acquire(blocking=False):
        raise StoppedEarly(
            "This process runs another batch now. Nothing was sent.",
            "Run one after the other, or each in a process of its own.",
        )
    calls = ProgressCalls(on_progress or (lambda progress: None), stop)
    with ExitStack() as own:
        own.callback(_one_at_a_time.release)
        own.enter_context(answering(frontend))
        last = own if frontend.last is None else frontend.last
        known = merge_options(flags, {}, os.environ, read_configuration(os.environ).of_run, {})
        announcer = Announcer(known, path, frontend.timing, frontend.program)
        last.callback(announcer.finish)
        try:
            with problems_kept(frontend.problem, most_problems(flags)) as kept:
                outcome, folder = running.run(
                    *(flags, path, kept.show, frontend.progress or calls.begin),
                    *(frontend.ending, frontend.ask, announcer),
                    clock=frontend.clock,
                    timing=frontend.timing,
                    stop=stop,
                    owns_process=frontend.owns_process,
                    joins=frontend.joins,
                )
        except Exception as error:
            announcer.broke_off(error)
            raise
        if outcome.code < 128 and flags.get("thumbnails", True):
            # Last, since the next start may have the folder again and a person knows the outcome.
            last.callback(_make_thumbnails, folder)
    if calls.error is not None:
        raise calls.error
    if check and outcome.code not in (0, 1):
        raise _error_of(outcome)
    return RunResult(outcome.code, outcome.reason, outcome.remedy, Batch(folder))


def _error_of(outcome: RunOutcome) -> BatchgenError:
    """Return how a run that began stopped early, as an error."""
    if outcome.code >= 128:
        return Interrupted(outcome.reason, outcome.remedy, outcome.code)
    return _ERRORS.get(outcome.code, StoppedEarly)(outcome.reason, outcome.remedy)


def _make_thumbnails(folder: Any) -> None:
    with suppress(KeyboardInterrupt, OSError, BatchgenError):
        tables.make_thumbnails(folder)
