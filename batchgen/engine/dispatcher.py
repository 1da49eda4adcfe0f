"""Which row is submitted next, and when.

Rows go in the order of the manifest. The next one goes when all of these allow it: the person's
limits of time and number, and those of cost once one is nearly reached, the concurrency, the rate
limiter, the rate that is shared with other batches of the account, the circuit breaker of its
model, and the connection. Where other machines submit to the account too, a slot of the account is
taken for each as well.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from batchgen.clock import Clock
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.rate_limiter import WINDOW_S, RateLimiter, resume_rate_limiter
from batchgen.engine.run_outcome import RUN_AGAIN, TIME_LIMIT, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.recovery import IMPORT_META
from batchgen.journal.writer import Journal, Request

log = logging.getLogger(__name__)

LONG_OVER_S = 60.0  # a connection that takes so long was made by a computer that slept


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
class PendingRows:
    """The rows that may be submitted, in the order of the manifest. Some are read ahead.

    Here of a batch that no other machine works through: batchgen/engine/machines/shared_rows.py has
    those of the others.
    """

    _journal: Journal
    _state: RunState
    _writes: WriteQueue
    _page: list[Request] = field(default_factory=list)  # read ahead; the next one last
    _given_back: list[Request] = field(default_factory=list)  # in the same order; they go first
    _read_to: int = 0  # the position up to which rows were taken

    # Rows are left, until another machine has tried their model; or may be, if nobody could look.
    awaits_first = False

    async def next_row(self) -> Request | None:
        """Return the next row; it stays where it is until `take`.

        Raises StorageDamaged or one of its subclasses.
        """
        await self._drop_stopped()
        if not self._given_back and not self._page:
            await self._read_ahead()
            await self._drop_stopped()
        return next(reversed(self._given_back or self._page), None)

    async def _read_ahead(self) -> None:
        stopped, last = self._state.breaker.stopped_models, self._state.policy.last_position
        self._page = self._journal.next_pending(self._read_to, stopped, last)[::-1]

    async def _drop_stopped(self) -> None:
        stopped = self._state.breaker.stopped_models
        for rows in (self._given_back, self._page):
            while rows and rows[-1].model in stopped:
                rows.pop()

    def take(self) -> Request:
        """Return the row that `next_row` returned last: it is submitted now."""
        if self._given_back:
            return self._given_back.pop()
        row = self._page.pop()
        self._read_to = row.position
        return row

    def give_back(self, row: Request) -> None:
        """Put a row back that was taken: it is submitted again, in its order."""
        self._given_back = sorted([*self._given_back, row], key=lambda back: -back.position)

    async def put_back(self, row: Request) -> None:
        """Put a row back of which an id came in: whoever takes it looks at that first."""
        self.give_back(row)

    async def leave(self, row: Request) -> None:
        """Leave a row pending that cannot be sent from here: the next run checks the list anew."""
        await self._writes.enqueue(lambda: self._journal.set_meta({IMPORT_META: None}))

    async def close(self) -> None:
        """Put back what was read ahead. Raises StorageDamaged or one of its subclasses."""


@dataclass(eq=False)
class Dispatcher:
    """Hands out one row at a time. _slots: of the account; None where it has no other machine."""

    _rows: PendingRows
    _state: RunState
    _shared_rate: SharedRateLimit
    _slots: SharedSlots | None
    _submitted: int = 0  # in this run; a row that came back unaccepted does not count
    _told: set[str] = field(default_factory=set)  # the models of which it was said that they wait

    @property
    def awaits_first(self) -> bool:
        """As of its rows: whether there may be some later."""
        return self._rows.awaits_first

    async def run(
        self, start: Callable[[Request], None], waits_for_costs: Callable[[Request], bool]
    ) -> None:
        """Call `start` with each row when it may go, until none is left or the run stops.

        waits_for_costs: whether a row has no room below a limit of cost, and may have some when
            others have ended; each end of one is a change.
        Raises StorageDamaged or one of its subclasses.
        """
        try:
            await self._hand_out(start, waits_for_costs)
        finally:
            self._state.rows_wait = False
            await self._rows.close()

    async def _hand_out(
        self, start: Callable[[Request], None], waits_for_costs: Callable[[Request], bool]
    ) -> None:
        while self._state.outcome is None:
            row = await self._rows.next_row()
            self._state.rows_wait = row is not None
            if row is None and not self._state.open_posts:
                if self.awaits_first or self._state.policy.last_position is not None:
                    self._stop_at_a_limit(none_left=not self.awaits_first)
                return
            if row is not None and self._state.is_stuck:
                self._state.stop_since_nothing_ends()
                return
            delay = math.inf if row is None else self._delay(row)
            if row is not None and delay > 0:
                self._say_if_it_waits_for_a_cost(row.model)
            if delay > 0:
                await self._state.wait_for_change(delay)
            elif row is not None and not self._stop_at_a_limit():
                if waits_for_costs(row):  # before it takes a turn, which others could use
                    await self._state.wait_for_change(self.time_left())
                    continue
                if self._slots is not None and not self._slots.has_any():
                    await self._slots.take(self._state.places)
                    continue  # much may have changed meanwhile
                wait = self._wait_for_slot()
                if wait > 0:
                    await self._state.wait_for_change(min(wait, self.time_left()))
                    continue
                self._take()
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

    async def put_back(self, row: Request) -> None:
        """Take a row of which an id came in before it was sent."""
        self.uncount()
        await self._rows.put_back(row)

    async def leave(self, row: Request) -> None:
        """Take a row that cannot be sent from here: it stays pending."""
        self.uncount()
        await self._rows.leave(row)

    def uncount(self) -> None:
        """Take a row out of the count that was surely not accepted, and is not sent again now."""
        self._submitted -= 1

    def give_back(self, row: Request) -> None:
        """Take a row that was surely not accepted: it is submitted again, in its order."""
        self.uncount()
        self._rows.give_back(row)

    def _delay(self, row: Request) -> float:
        """Return the seconds until `row` may go, at most until the person's limit of time."""
        state = self._state
        left = self.time_left()
        full = state.places <= 0
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

    def time_left(self) -> float:
        """Return seconds until the time limit."""
        return max(self._until_limit(), 0.0)

    def is_long_over(self) -> bool:
        """Say whether the time limit passed more than a minute ago."""
        return self._until_limit() < -LONG_OVER_S

    def _until_limit(self) -> float:
        """Return seconds; by both clocks, since one may stand still while the computer sleeps."""
        stop_after, until = self._state.policy.stop_after, self._state.policy.until
        by_stop_after = math.inf if stop_after is None else stop_after - self._state.time()
        by_until = math.inf if until is None else until - self._state.clock.now()
        return min(by_stop_after, by_until)

    def _may_reach_the_limit(self) -> bool:
        """Whether the limit is reached unless an open POST comes back unaccepted."""
        limit = self._state.policy.limit
        return limit is not None and self._submitted >= limit and bool(self._state.open_posts)

    def _stop_at_a_limit(self, *, none_left: bool = False) -> bool:
        """none_left: whether every row that may be sent was taken."""
        limit, agreed = self._state.policy.limit, self._state.policy.last_position is not None
        if self.time_left() <= 0:
            self._state.stop(TIME_LIMIT)
        elif limit is not None and self._submitted >= limit:
            reason = f"The limit of {limit} submissions is reached."
            self._state.stop(RunOutcome(75, reason, RUN_AGAIN, calm=True))
        elif none_left and agreed:
            reason = "Not every row that was agreed to was sent, and no other is."
            remedy = "Make a plan of what is left, and agree to that."
            self._state.stop(RunOutcome(75, reason, remedy))
        return self._state.outcome is not None

    def _take(self) -> None:
        row = self._rows.take()
        state = self._state
        self._submitted += 1
        state.open_posts.add(row.key)
        state.in_flight.add(row.key)
        state.breaker.on_submitting(row.model, files=bool(row.local_files))
        state.costs.on_started(row.model)
        state.note_submission()
