"""The slots of an account that several machines share: taken in the database, before a row goes.

Slots are taken some at a time, as many as a quarter of a second has, so that a fast run asks
rarely. They begin when the database will have answered, as far as its last answers tell. One that
was missed is given up: by then another machine has the next. So is one whose request was held up
on its way, as by a server that was away: what waited would leave all at once.
"""

from bisect import insort
from collections import deque
from dataclasses import replace
from statistics import median

from batchgen.engine.machines.account_rate import (
    Answer,
    after_answers,
    read_limiter,
    take_slots,
    write_limiter,
)
from batchgen.engine.rate_limiter import RateLimiter
from batchgen.engine.run_state import MISSED_S, RunState
from batchgen.errors import StorageDamaged
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.postgres.accounts import Account

AHEAD_S = 0.25
MOST_AHEAD = 50
MOST_LATENCY_S = 1.0  # that is counted on


class SharedSlots:
    """Times are seconds since the run's start, but for those of the database."""

    def __init__(self, account: Account, writes: WriteQueue, run_state: RunState) -> None:
        self._account = account
        self._writes = writes
        self._state = run_state
        self._slots: deque[float] = deque()
        self._answers: list[Answer] = []
        self._paused_until = float("-inf")
        # Seconds, of the database's last answers; the middle one counts, whatever held one up.
        self._latencies = deque([0.0], maxlen=5)

    def has_any(self) -> bool:
        """Whether there are slots in hand, of which the first may be some time ahead."""
        missed = self._state.time() - MISSED_S
        while self._slots and (self._slots[0] < missed or self._slots[0] < self._paused_until):
            self._slots.popleft()
        return bool(self._slots)

    def delay(self) -> float:
        """Return the seconds until the first of those in hand."""
        return max(self._slots[0] - self._state.time(), 0.0)

    def use(self) -> None:
        self._slots.popleft()

    async def take(self, most: int) -> None:
        """Take slots, `most` at the most, and one at least. Raises as a write does."""
        count = max(min(int(self._state.limiter.rate * AHEAD_S), most, MOST_AHEAD), 1)
        self._slots.extend(await self._take(count))

    async def another_if_late(self, dispatched_at: float, within: float) -> float | None:
        """Take another slot for a request that was held up since it was dispatched, on its way.

        Returns the seconds until it: 0.0 where the request is not late, None where that is later
        than `within` seconds. Then the slot is kept for the next request.
        """
        # What each request waits for does no harm, since it moves none together with another.
        if self._state.time() - dispatched_at <= self._state.usual_delay + self._latency:
            return 0.0
        (slot,) = await self._take(1)
        delay = max(slot - self._state.time(), 0.0)
        if delay > within:
            insort(self._slots, slot)
            return None
        return delay

    async def _take(self, count: int) -> list[float]:
        found: list[float] = []
        began = 0.0

        def take() -> None:
            nonlocal found, began
            limiter, now, ahead = self._limiter()
            began = now - ahead
            first = now + self._latency
            limiter, slots = take_slots(limiter, first, self._state.policy.rate, count)
            self._account.keep(write_limiter(limiter))
            self._learn(limiter, ahead)
            found = [slot - ahead for slot in slots]

        answers = len(self._answers)
        await self._writes.enqueue(take)
        del self._answers[:answers]
        self._latencies.append(self._state.time() - began)
        return found

    @property
    def _latency(self) -> float:
        return min(median(self._latencies), MOST_LATENCY_S)

    async def tell(self) -> None:
        """Tell the other machines at once what this one was answered."""

        def tell() -> None:
            limiter, _, ahead = self._limiter()
            self._account.keep(write_limiter(limiter))
            self._learn(limiter, ahead)

        answers = len(self._answers)
        await self._writes.enqueue(tell)
        del self._answers[:answers]

    async def hold(self, seconds: float) -> None:
        """Give no slot to any machine for so long; those in hand are given up."""
        self._slots.clear()

        def hold() -> None:
            limiter, now, _ = self._limiter()
            until = max(limiter.next_at, now + seconds)
            self._account.keep(write_limiter(replace(limiter, next_at=until)))

        await self._writes.enqueue(hold)

    def look(self) -> None:
        """See whether another machine was told to wait."""
        text, now = self._account.rate()
        if text is not None:
            self._learn(self._read(text, now), now - self._state.time())

    def on_accepted(self, sent_at: float) -> None:
        self._answers.append(Answer(sent_at))

    def on_429(self, sent_at: float, retry_after: float | None) -> None:
        self._answers.append(Answer(sent_at, self._state.time(), retry_after))

    def _limiter(self) -> tuple[RateLimiter, float, float]:
        """Take the account. Returns its limiter with all answers of this run, the time by the
        database's clock, and how far that is ahead of the run's.
        """
        text, now = self._account.take()
        ahead = now - self._state.time()
        answers = [
            replace(
                answer,
                sent_at=answer.sent_at + ahead,
                throttled_at=None if answer.throttled_at is None else answer.throttled_at + ahead,
            )
            for answer in self._answers
        ]
        return after_answers(self._read(text, now), answers), now, ahead

    def _read(self, text: str | None, now: float) -> RateLimiter:
        ahead = now - self._state.time()
        mine = self._state.limiter
        begun = replace(
            mine,
            max_rate=self._state.policy.rate,
            next_at=mine.next_at + ahead,
            paused_until=mine.paused_until + ahead,
            throttled_at=mine.throttled_at + ahead,
        )
        try:
            return read_limiter(text, begun, now)
        except (ValueError, TypeError):
            raise StorageDamaged(
                f"The table batchgen.accounts has a rate that is not batchgen's: {text!r:.200}.",
                "See who has changed it; without its rows the rate begins anew.",
            ) from None

    def _learn(self, limiter: RateLimiter, ahead: float) -> None:
        """Take over what all machines have learned, but for when this run's next one may go."""
        state = self._state
        self._paused_until = limiter.paused_until - ahead
        state.limiter = replace(
            limiter,
            max_rate=state.policy.rate,
            rate=min(limiter.rate, state.policy.rate),
            next_at=max(state.limiter.next_at, self._paused_until),
            paused_until=self._paused_until,
            throttled_at=limiter.throttled_at - ahead,
        )
