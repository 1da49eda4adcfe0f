"""Which row is submitted next, and when.

Rows go in the order of the manifest. The next one goes when all of these allow it: the person's
limits of time and number, the concurrency, the rate limiter, the rate that is shared with other
batches of the account, the circuit breaker of its model, and the connection.

Where other machines work through the same batch, rows are taken for this run before they are sent,
some at a time, so that the others find some too; and slots of the account are taken for them.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from batchgen.clock import Clock
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.machines.first_rows import FirstRows, TriedModel
from batchgen.engine.rate_limiter import WINDOW_S, RateLimiter, resume_rate_limiter
from batchgen.engine.run_outcome import RUN_AGAIN, TIME_LIMIT, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.writer import Journal, Request

log = logging.getLogger(__name__)

TAKEN_AHEAD_S = 0.5  # of rows, which other machines cannot have meanwhile
MOST_TAKEN = 50
LOOK_AGAIN_S = 0.5  # for rows, after none was free


def restore_rate_limiter(
    journal: Journal, clock: Clock, max_rate: float
) -> tuple[RateLimiter, list[float]]:
    """Return the rate limiter of a new run: what was learned holds, and nothing bursts.

    Also when the latest submissions left, as `RateLimiter.at_most` takes them, on a clock that
    begins at 0 with the run. max_rate: submissions per second, as the person allowed them.
    """
    now = clock.now()
    # A run that was killed has not saved when its next submission was due. None is later than now:
    # the clock may have been set back.
    recent = [min(at - now, 0.0) for at in journal.submissions_since(now - WINDOW_S)]
    saved = journal.get_meta("pace")
    if not saved:
        return resume_rate_limiter(max_rate, None, recent=recent), recent
    paused = None if saved.get("paused_until") is None else saved["paused_until"] - now
    known = saved["learned"], saved["next_at"] - now
    return resume_rate_limiter(max_rate, known, recent=recent, paused=paused), recent


@dataclass(eq=False)
class Dispatcher:
    """Reads due rows ahead, and hands out one at a time.

    _writes: by which rows are taken, where other machines may. _slots: of the account; None where
    it has no other machine.
    """

    _journal: Journal
    _state: RunState
    _shared_rate: SharedRateLimit
    _writes: WriteQueue
    _slots: SharedSlots | None
    _submitted: int = 0  # in this run; a row that came back unaccepted does not count
    _page: list[Request] = field(default_factory=list)  # due rows, read ahead; the next one last
    _given_back: list[Request] = field(default_factory=list)  # in the same order
    _told: set[str] = field(default_factory=set)  # the models of which it was said that they wait
    _read_to: int = 0  # the position up to which rows were taken
    _left: set[str] = field(default_factory=set)  # keys of rows that are left to other machines
    _look_at: float = 0.0  # when rows are looked for again
    awaits_first: bool = False  # free rows are left, until another machine has tried their model

    def __post_init__(self) -> None:
        state = self._state
        self._first_rows = FirstRows(
            state.breaker.has_accepted, state.costs.needs_cost, state.timing.machine_first
        )

    async def run(self, start: Callable[[Request], None]) -> None:
        """Call `start` with each row when it may go, until none is left or the run stops.

        Raises StorageDamaged or one of its subclasses.
        """
        try:
            await self._hand_out(start)
        finally:
            if self._journal.is_shared and (self._page or self._given_back):
                await self._let_go_of([*self._page, *self._given_back])
                self._page, self._given_back = [], []

    async def _hand_out(self, start: Callable[[Request], None]) -> None:
        while self._state.outcome is None:
            if self._journal.is_shared:
                await self._leave_when_offline()
                await self._take_ahead()
            row = self._next_row()
            if row is None and not self._state.open_posts:
                if self.awaits_first:
                    self._stop_at_a_limit()
                return
            delay = math.inf if row is None else self._delay(row)
            if row is not None and delay > 0:
                self._say_if_it_waits_for_a_cost(row.model)
            if delay > 0:
                await self._state.wait_for_change(delay)
            elif row is not None and not self._stop_at_a_limit():
                if self._slots is not None and not self._slots.has_any():
                    await self._slots.take(self._places())
                    continue  # much may have changed meanwhile
                wait = self._wait_for_slot()
                if wait > 0:
                    await self._state.wait_for_change(min(wait, self._time_left()))
                    continue
                self._take(row)
                start(row)

    def _wait_for_slot(self) -> float:
        """Use a slot of the account, and return 0.0; else return the seconds until there is one."""
        if self._slots is not None and (wait := self._slots.delay()) > 0:
            return wait
        state = self._state
        wait = self._shared_rate.acquire(state.clock.monotonic(), 1 / state.limiter.rate)
        if self._slots is not None and wait <= 0:
            self._slots.use()
        return wait

    def _places(self) -> int:
        return self._state.policy.concurrency - len(self._state.in_flight)

    async def _take_ahead(self) -> None:
        """Take rows for this run, where it has none in hand and none was free just now."""
        state, now = self._state, self._state.time()
        if self._page or self._given_back or now < self._look_at or self._places() <= 0:
            return
        count = max(min(math.ceil(state.limiter.rate * TAKEN_AHEAD_S), MOST_TAKEN), 1)
        if state.offline_tries:  # it may last, and the others can send them
            if state.open_posts:
                return
            count = 1
        found: list[Request] = []
        left: set[str] = set()

        def take() -> None:
            nonlocal found, left
            tried = map(TriedModel._make, self._journal.tried_by_others())
            left = self._first_rows.left_to_others(tried, now)
            skip = {*state.breaker.stopped_models, *left}
            found = self._journal.take_pending(count, skip, self._left)
            self.awaits_first = not found and self._journal.has_free(left)

        # Alone: who waits for his turn has nothing that others may wait for.
        await self._writes.enqueue(take, alone=True)
        self._page = found[::-1]
        if not found:
            self._look_at = now + LOOK_AGAIN_S
        if self.awaits_first:
            for model in sorted(left - self._told):
                log.info("%s: another machine tries its first row; the others wait.", model)
            self._told |= left

    async def _leave_when_offline(self) -> None:
        """Leave rows to machines that reach the API, all but one, by which this one finds out."""
        if self._state.offline_tries and len(self._page) + len(self._given_back) > 1:
            rows = [*self._page, *self._given_back]
            self._page, self._given_back = [], []
            await self._let_go_of(rows)

    async def leave(self, row: Request) -> None:
        """Leave a row to other machines: it cannot be sent from here."""
        self._left.add(row.key)
        await self._let_go_of([row])

    async def _let_go_of(self, rows: list[Request]) -> None:
        def let_go() -> None:
            for row in rows:
                self._journal.let_go_of(row.key)

        await self._writes.enqueue(let_go)

    def uncount(self) -> None:
        """Take a row out of the count that was surely not accepted, and is not sent again now."""
        self._submitted -= 1

    def give_back(self, row: Request) -> None:
        """Take a row that was surely not accepted: it is submitted again, in its order."""
        self.uncount()
        self._given_back = sorted([*self._given_back, row], key=lambda back: -back.position)

    def _next_row(self) -> Request | None:
        """Return the next row; it stays where it is until `_take`."""
        stopped = self._state.breaker.stopped_models
        for rows in (self._given_back, self._page):
            while rows and rows[-1].model in stopped:
                rows.pop()
        if not self._given_back and not self._page and not self._journal.is_shared:
            self._page = self._journal.next_pending(self._read_to, stopped)[::-1]
        return next(reversed(self._given_back or self._page), None)

    def _delay(self, row: Request) -> float:
        """Return the seconds until `row` may go, at most until the person's limit of time."""
        state = self._state
        left = self._time_left()
        full = self._places() <= 0
        # In an outage one request finds out for all whether it is over.
        probing = bool(state.offline_tries and state.open_posts)
        if (
            state.paused_since
            or full
            or probing
            or self._may_reach_the_limit()
            or not state.breaker.may_submit(row.model, files=bool(row.local_files))
            or not state.costs.may_submit(row.model)
        ):
            return left
        now = state.time()
        return min(left, max(state.limiter.delay(now), state.offline_until - now, 0.0))

    def _say_if_it_waits_for_a_cost(self, model: str) -> None:
        if model not in self._told and not self._state.costs.may_submit(model):
            self._told.add(model)
            log.info("%s: the first row goes alone until its cost is known.", model)

    def _time_left(self) -> float:
        """Return seconds; by both clocks, since one may stand still while the computer sleeps."""
        stop_after, until = self._state.policy.stop_after, self._state.policy.until
        by_stop_after = math.inf if stop_after is None else stop_after - self._state.time()
        by_until = math.inf if until is None else until - self._state.clock.now()
        return max(min(by_stop_after, by_until), 0.0)

    def _may_reach_the_limit(self) -> bool:
        """Whether the limit is reached unless an open POST comes back unaccepted."""
        limit = self._state.policy.limit
        return limit is not None and self._submitted >= limit and bool(self._state.open_posts)

    def _stop_at_a_limit(self) -> bool:
        limit = self._state.policy.limit
        if self._time_left() <= 0:
            self._state.stop(TIME_LIMIT)
        elif limit is not None and self._submitted >= limit:
            reason = f"The limit of {limit} submissions is reached."
            self._state.stop(RunOutcome(75, reason, RUN_AGAIN, calm=True))
        return self._state.outcome is not None

    def _take(self, row: Request) -> None:
        if self._given_back:
            self._given_back.pop()
        else:
            self._page.pop()
            self._read_to = row.position
        state = self._state
        self._submitted += 1
        state.open_posts.add(row.key)
        state.in_flight.add(row.key)
        state.breaker.on_submitting(row.model, files=bool(row.local_files))
        state.costs.on_started(row.model)
        state.note_submission()
