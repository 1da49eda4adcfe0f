"""Looks after a batch that other machines have rows of: a sign of life, and what is left behind.

Once a second, in one transaction: runs that are gone are let go, ids that were handed in are
applied, accepted rows that nobody has are taken, and it is told how long requests have taken. Then
it is read what the others were told by
the API: to wait, what requests cost, and what became of them. So three answers in a row that are
lost stop all, whoever sent those requests; and three of one machine stop that one, although others
get theirs.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from batchgen.core.prices import read_seen
from batchgen.core.text import plural
from batchgen.engine.circuit_breaker import CircuitBreaker
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.poller import Poller
from batchgen.engine.run_outcome import MISTAKE, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.errors import BatchgenError
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.recovery import Recovery
from batchgen.journal.writer import Journal, Request

log = logging.getLogger(__name__)

MOST_ADOPTED = 20  # rows at a time: the others take theirs
COUNTING_SHARE = 0.05  # of the time, at most, is spent on counting the rows


@dataclass(eq=False)
class Peers:
    """slots: of the account; None where it has no other machine."""

    _journal: Journal
    _writes: WriteQueue
    _state: RunState
    slots: SharedSlots | None
    _poller: Poller
    awaits_somebody: bool = False  # a run with rows ended just now: they are free in a moment
    _count_at: float = field(default=0.0)
    _breaker: CircuitBreaker = field(default_factory=CircuitBreaker)  # of all machines together
    # The last events of the look before the last, and of the last one. Each is looked at twice: one
    # whose commit took longer is seen after later ones.
    _heard: tuple[int, int] = (0, 0)
    _seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        last = self._journal.last_event()
        self._heard = last, last

    async def run(self, start: Callable[[Request], None]) -> None:
        """Look until the task is cancelled. start: called with each row that is taken."""
        while True:
            await asyncio.sleep(self._state.timing.machine_look)
            try:
                for row in await self.take_accepted():
                    start(row)
                with self._journal.at_once():
                    self._look()
            except BatchgenError as error:
                if self._writes.passes(error):  # no harm: it is tried again
                    log.debug("%s", error.what)
                    continue
                self._state.stop(RunOutcome.under_way(error))
                if self._writes.failure is not None:
                    return
            except Exception as error:  # the others would let this run go
                log.error("A mistake in batchgen", exc_info=error)
                self._state.stop(MISTAKE)
                return

    async def take_accepted(self) -> list[Request]:
        """Let go of runs that are gone, and take what they had been accepted for."""
        taken: list[Request] = []
        unknown = told = 0

        def look() -> None:
            nonlocal taken, unknown, told
            found = Recovery(self._journal).recover([], 0, wait=False)
            unknown = found["unknown"]
            goes_on = self._state.outcome is None
            taken = self._journal.take_accepted(MOST_ADOPTED) if goes_on else []
            told = self._poller.share_times()

        await self._writes.enqueue(look, alone=True)
        self._poller.told(told)
        if unknown:
            rows = plural(unknown, "row")
            log.warning("Unknown, since another machine's run ended in mid-request: %s.", rows)
        return taken

    def _look(self) -> None:
        if self.slots is not None:
            self.slots.look()
        self._state.costs.learn(read_seen(self._journal.get_meta("costs")))
        self._hear()
        others = self._journal.other_machines()
        self.awaits_somebody = any(other.rows and not other.stands for other in others)
        began = self._state.time()
        if began >= self._count_at:
            self._journal.count_anew()
            took = self._state.time() - began
            self._count_at = began + took / COUNTING_SHARE
        self._state.notify()

    def _hear(self) -> None:
        """Stop where what became of the requests of all machines says so."""
        before, last = self._heard
        settled = self._journal.settled_requests(before)
        for one in settled:
            if one.seq not in self._seen:
                self._breaker.on_event(one.event, one.model, one.detail)
                where = f"{one.source}: row {one.id!r}"
                if self._breaker.stops_everything:
                    lost = self._breaker.unknown_in_a_row
                    self._state.stop_since_answers_are_lost(lost, where)
                cause = self._breaker.stopped_models.get(one.model)
                if cause is not None and one.model not in self._state.breaker.stopped_models:
                    self._state.report_halted(where, one.model, cause)
        self._seen = {one.seq for one in settled}
        self._heard = last, max([last, *self._seen])
