"""One run over an open journal: each row under way has a task that submits, polls and collects it.

Nothing that was paid for is dropped: if a task is cancelled or fails, its row stays in the journal
in the state that it had, and the next run goes on from there.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batchgen.api.service import Services
from batchgen.core.expiry import expiry_warning, is_urgent
from batchgen.core.states import State
from batchgen.engine.collector import Collector
from batchgen.engine.dispatcher import Dispatcher
from batchgen.engine.machines.peers import Peers
from batchgen.engine.poll_schedule import write_durations
from batchgen.engine.poller import Poller
from batchgen.engine.run_outcome import MISTAKE, NO_MEMORY, RUN_AGAIN, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.submitter import Submitter
from batchgen.errors import BatchgenError, JournalLocked, disk_full, out_of_memory
from batchgen.journal.writer import Journal, Request

log = logging.getLogger(__name__)


AGAIN_S = 0.5  # after which it is seen again what other machines have left


@dataclass(eq=False)
class Engine:
    """_peers: the other machines; None where none may have rows of the batch."""

    _journal: Journal
    _dispatcher: Dispatcher
    _submitter: Submitter
    _poller: Poller
    _collector: Collector
    _state: RunState
    _services: Services
    _changed: Callable[[], None]  # called after each change of a row's state
    _peers: Peers | None = None
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _draining: bool = False

    async def run(self) -> None:
        """Collect what earlier runs submitted, submit what is missing, and wait for all of it."""
        try:
            left = await self._left_behind()
            for row in left:
                self.collect(row)
            await self._collect_urgent(left)
            await self._dispatcher.run(self._start, self._submitter.waits_for_costs)
            while self._may_go_on():
                await self._state.wait_for_change(AGAIN_S if self._peers else math.inf)
                await self._dispatcher.run(self._start, self._submitter.waits_for_costs)
        except Exception as error:  # noqa: BLE001  # what is under way is still collected
            self.stop_for(error, "the next row")
        finally:
            while self._tasks:
                await asyncio.wait(self._tasks.values())

    async def _left_behind(self) -> list[Request]:
        """Return what earlier runs, or other machines, had accepted and have not collected."""
        if self._peers is not None:
            try:
                return await self._peers.take_accepted()
            except JournalLocked as locked:  # no harm: they are looked for again
                log.debug("%s", locked.what)
                return []
        return self._journal.requests_in(State.COMPLETED) + self._journal.requests_in(
            State.SUBMITTED
        )

    def collect(self, row: Request) -> None:
        """Go on with a row that was accepted before."""
        if row.state is State.SUBMITTED:
            self._state.in_flight.add(row.key)
            self._state.left.discard(row.key)
            self._state.costs.on_started(row.model)
        self._start(row)

    def _may_go_on(self) -> bool:
        """Whether rows may become due although none is: a person may move the limit that stopped
        the run, until all that was sent is collected; and another machine may leave some.
        """
        if self._state.outcome is not None:
            return bool(self._tasks and self._state.outcome.setting)
        if self._peers is None:
            return False
        others_may = self._peers.awaits_somebody or self._dispatcher.awaits_first
        return bool(self._tasks) or others_may

    async def _collect_urgent(self, left: list[Request]) -> None:
        """Wait until old results are collected, before anything new is paid for."""
        now = self._state.clock.now()
        ages = {row.key: now - row.submitted_at for row in left if row.submitted_at is not None}
        kept_s = {row.key: self._services.of(row.model).capabilities.results_kept_s for row in left}
        for kept in sorted(set(kept_s.values())):
            alike = [age for key, age in ages.items() if kept_s[key] == kept]
            if words := expiry_warning(alike, kept):
                log.warning("%s", words)
        urgent = {key: self._tasks[key] for key, age in ages.items() if is_urgent(age, kept_s[key])}

        def is_settled(key: str) -> bool:
            return urgent[key].done() or key in self._state.waiting

        while self._state.outcome is None and not all(map(is_settled, urgent)):
            await self._state.wait_for_change(math.inf)

    def stop(self, outcome: RunOutcome) -> None:
        """Submit nothing more, and collect what is in flight."""
        self._state.stop(outcome)

    def drain(self, outcome: RunOutcome) -> None:
        """Wait for the answers of open POSTs only; the next run collects what is in flight."""
        self._state.stop(outcome)
        self._draining = True
        for key, task in self._tasks.items():
            if key not in self._state.open_posts:
                task.cancel()

    def abort(self, outcome: RunOutcome) -> None:
        """End now. An open POST is recorded by what has come of it so far."""
        self._state.stop(outcome)
        self._draining = True
        for task in self._tasks.values():
            task.cancel()

    def memory(self) -> dict[str, Any]:
        """Return what the next run needs in order not to burst, nor to learn everything anew."""
        return {
            **self._state.rate_memory(),
            **self._state.costs.memory(),
            **write_durations(self._poller.durations),
            "takes_files": sorted(self._state.breaker.takes_files),
        }

    def _start(self, row: Request) -> None:
        task = asyncio.create_task(self._guard(row))
        self._tasks[row.key] = task
        task.add_done_callback(lambda done: self._forget(row.key, done))

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:  # a row that was given back may have been started again
            del self._tasks[key]
        self._state.notify()

    async def _guard(self, row: Request) -> None:
        """Process a row; an error of its own stops the run and costs no other row its output."""
        try:
            await self._process_row(row)
        except asyncio.CancelledError:
            pass  # the journal has the row where it was; the next run goes on from there
        except Exception as error:  # noqa: BLE001
            self.stop_for(error, row.where)
        finally:
            self._changed()

    def stop_for(self, error: Exception, where: str) -> None:
        """Submit nothing more, since something failed that no other row would fare better with."""
        if isinstance(error, BatchgenError):
            self._state.stop(RunOutcome.under_way(error))
        elif isinstance(error, OSError):
            remedy = "Make room on the disk. " if disk_full(error) else ""
            reason = f"{where}: {error.strerror or error}."
            self._state.stop(RunOutcome(75, reason, f"{remedy}{RUN_AGAIN}", fault=True))
        elif out_of_memory(error):
            self._state.stop(NO_MEMORY)
        else:
            log.error("%s: a mistake in batchgen", where, exc_info=error)
            self._state.stop(MISTAKE)

    async def _process_row(self, row: Request) -> None:
        resumed = row.state is State.SUBMITTED
        paying = resumed or row.state is State.PENDING
        try:
            if row.state is State.PENDING:
                row = await self._submitter.submit(row)
                self._changed()
            if row.state is State.SUBMITTED and not self._draining:
                row = await self._poller.poll_until_ended(row, at_once=resumed)
                if row.state is State.FAILED:
                    self._state.report_failure(row.model, row.error or "")
                elif row.state is State.COMPLETED:
                    self._state.breaker.on_completed(row.model)
        finally:
            # A request that is not asked about any more still runs, so it keeps its place.
            if row.state is State.SUBMITTED:
                self._state.left.add(row.key)
            else:
                self._state.free_place(row.key)
            if paying:
                self._state.costs.on_left(row.model)
            self._state.notify()
            self._changed()
        if row.state is State.COMPLETED and not self._draining:
            await self._collector.collect(row)
