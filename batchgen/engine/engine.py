"""The loop: ask a decider, act, record, repeat.

Each row under way is seen through by one task: submit, watch, collect. Nothing that was paid for is
dropped: whoever cancels a task, its row stands in the journal where it was.
"""

import asyncio
import errno
import logging
import math
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from typing import Any

from batchgen.core.states import State
from batchgen.engine import expiry
from batchgen.engine.collector import Collector
from batchgen.engine.poller import Poller
from batchgen.engine.run_outcome import NO_MEMORY, RUN_AGAIN, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.submitter import Submitter
from batchgen.errors import BatchgenError, out_of_memory
from batchgen.journal.writer import Journal, Request

log = logging.getLogger("batchgen")

FULL = {errno.ENOSPC, errno.EDQUOT}


class Engine:
    """One run over an open journal. `changed` is called after each change of state."""

    def __init__(
        self,
        journal: Journal,
        submitter: Submitter,
        watcher: Poller,
        collector: Collector,
        situation: RunState,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._submitter = submitter
        self._watcher = watcher
        self._collector = collector
        self._situation = situation
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._hurrying = False

    async def run(self) -> None:
        """Collect what the journal holds, submit what is missing, and see everything through."""
        left = self._journal.requests_in(State.COMPLETED) + self._journal.requests_in(
            State.SUBMITTED
        )
        for row in left:
            if row.state is State.SUBMITTED:
                self._submitter.in_flight.add(row.key)
            self._begin(row)
        try:
            await self._fetch_what_expires(left)
            await self._submitter.run(self._begin)
        finally:
            while self._tasks:
                await asyncio.wait(self._tasks.values())

    async def _fetch_what_expires(self, left: list[Request]) -> None:
        """Let old results be collected before anything new is paid for."""
        now = self._situation.clock.now()
        ages = {row.key: now - row.submitted_at for row in left if row.submitted_at is not None}
        if words := expiry.expiry_warning(list(ages.values())):
            log.warning("%s", words)
        tasks = [self._tasks[key] for key, age in ages.items() if expiry.is_urgent(age)]
        while self._situation.ending is None and not all(task.done() for task in tasks):
            await self._situation.pause(math.inf)

    def stop(self, ending: RunOutcome) -> None:
        """Submit nothing more, and collect what is in flight."""
        self._situation.stop(ending)

    def hurry(self, ending: RunOutcome) -> None:
        """Wait for the answers of open POSTs only; the next run collects what is in flight."""
        self._situation.stop(ending)
        self._hurrying = True
        for key, task in self._tasks.items():
            if key not in self._submitter.open:
                task.cancel()

    def leave(self, ending: RunOutcome) -> None:
        """Go now. An open POST is recorded by what has come of it so far."""
        self._situation.stop(ending)
        self._hurrying = True
        for task in self._tasks.values():
            task.cancel()

    def memory(self) -> dict[str, Any]:
        """What the next run should know, so that it neither bursts nor learns everything anew."""
        times = {model: astuple(times) for model, times in self._watcher.times.items()}
        return {**self._submitter.memory(), "times": times}

    def _begin(self, row: Request) -> None:
        task = asyncio.create_task(self._guarded(row))
        self._tasks[row.key] = task
        task.add_done_callback(partial(self._forget, row.key))

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:  # a row that came back may have been begun again
            del self._tasks[key]

    async def _guarded(self, row: Request) -> None:
        """A mistake of ours, or a full disk, costs no other row what was paid for it."""
        try:
            await self._see_through(row)
        except asyncio.CancelledError:
            pass  # the journal has the row where it was; the next run goes on from there
        except BatchgenError as error:
            self._situation.stop(RunOutcome.under_way(error))
        except OSError as error:
            reason = f"{row.source}: row {row.id!r}: {error.strerror or error}."
            remedy = "Make room on the disk. " if error.errno in FULL else ""
            self._situation.stop(RunOutcome(75, reason, f"{remedy}{RUN_AGAIN}"))
        except Exception as error:
            if out_of_memory(error):
                self._situation.stop(NO_MEMORY)
                return
            log.exception("%s: row %r: a mistake in batchgen", row.source, row.id)
            reason = "A mistake in batchgen stopped the run; batchgen.log has the details."
            self._situation.stop(RunOutcome(75, reason, RUN_AGAIN))
        finally:
            self._situation.changed()
            self._changed()

    async def _see_through(self, row: Request) -> None:
        resumed = row.state is State.SUBMITTED
        try:
            if row.state is State.PENDING:
                row = await self._submitter.submit(row)
                self._changed()
            if row.state is State.SUBMITTED and not self._hurrying:
                row = await self._watcher.watch(row, at_once=resumed)
                if row.state is State.FAILED:
                    self._submitter.model_failed(row, row.error or "")
                elif row.state is State.COMPLETED:
                    self._submitter.breaker.succeeded(row.model)
        finally:
            # A request that patience gave up on still runs, so it keeps its place.
            if row.state is not State.SUBMITTED:
                self._submitter.in_flight.discard(row.key)
            self._situation.changed()
            self._changed()
        if row.state is State.COMPLETED and not self._hurrying:
            await self._collector.collect(row)
