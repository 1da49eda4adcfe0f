"""What every part of a run shares: whether it goes on, how fast, and what is under way."""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from batchgen.clock import Clock, show_time
from batchgen.core.timing import Timing
from batchgen.engine.backoff import backoff_delay
from batchgen.engine.circuit_breaker import (
    MAX_SAME_CAUSE,
    MAX_UNKNOWN_IN_A_ROW,
    UNKNOWN_CAUSE,
    CircuitBreaker,
)
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.held_rows import HeldRows
from batchgen.engine.policy import Policy
from batchgen.engine.rate_limiter import WINDOW_S, RateLimiter
from batchgen.engine.run_outcome import RUN_AGAIN, Headway, RunOutcome

MOST_CHANGED_TOLD = 5  # rows that are told of on the terminal
MISSED_S = 0.1  # so late after its turn, a request is held up
SAME_END_S = 0.0005  # between the ends of two waits that are the same
RUSH_RATE = 100.0  # submissions per second; below it, each may hold the event loop up for 1.5 ms

log = logging.getLogger(__name__)


class RunState:
    """One for a run. Times are seconds since its start, on a clock that never jumps.

    outcome: why nothing more is submitted; None while the run goes on.
    polling: whether accepted requests are still asked about.
    offline_tries: failures in a row to reach the API. offline_until: no submission before then.
    unreachable: since when and why the API cannot be reached; "" if it can.
    throttled: whether a submission was answered with a rate limit.
    limiter: replaced with each submission and answer. breaker: the circuit breaker.
    costs: what each row is expected to cost. held: rows that something before the API refused.
    policy: what the person allows now. paused_since: as the journal writes it; "" if nothing is.
    recent: when the latest submissions left, as `RateLimiter.at_most` takes them.
    in_flight: keys of the rows that take up one of the run's places at the API.
    left: keys of those of them that are not asked about any more in this run; they still run.
    rows_wait: whether any row is still to be submitted.
    waiting: keys of the rows whose result or file is said not to exist, so far; they take no place.
    open_posts: keys of the rows whose POST has no outcome yet.
    not_whole: how many files were saved although they are damaged or cut short.
    changed_files: why rows were not sent whose local files are not what was checked.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        timing: Timing,
        policy: Policy,
        limiter: RateLimiter,
        costs: CostEstimator,
        recent: Iterable[float] = (),
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.timing = timing
        self.policy = policy
        self.paused_since = ""
        self.limiter = limiter
        self.recent = deque(recent)
        self.costs = costs
        self.breaker = CircuitBreaker()
        self.held = HeldRows()
        self.in_flight: set[str] = set()
        self.left: set[str] = set()
        self.rows_wait = False
        self.waiting: set[str] = set()
        self.open_posts: set[str] = set()
        self.not_whole = 0
        self.changed_files: list[str] = []
        self.outcome: RunOutcome | None = None
        self.polling = True
        self.offline_tries = 0
        self.offline_until = 0.0
        self.unreachable = ""
        self.throttled = False
        self._start = clock.monotonic()
        self._left_at = -math.inf  # the last submission, as if none had left before its turn
        self._offline_since = 0.0
        self._freed_at = 0.0  # a place of a request
        self._saved_rate = math.inf  # submissions per second; none is saved yet
        self._changes = asyncio.Event()
        self._alarm: asyncio.Task[None] | None = None  # it notifies at `_alarm_at`
        self._alarm_at = math.inf
        self._stopped = asyncio.Event()

    def time(self) -> float:
        return self.clock.monotonic() - self._start

    def backoff(self, tries: int) -> float:
        """Return the seconds to wait after the `tries`-th failure in a row."""
        timing = self.timing
        return backoff_delay(tries, self.rng, timing.backoff_first, timing.backoff_max)

    def stop(self, outcome: RunOutcome, *, polling: bool = True) -> None:
        """Submit nothing more. The first reason stays, unless it yields to this one."""
        if self.outcome is None or self.outcome.yields_to(outcome):
            self.outcome = replace(outcome, said=True)
            log.log(logging.INFO if outcome.calm else logging.WARNING, "%s", outcome.reason)
        elif self.outcome.setting != outcome.setting:
            self.outcome = replace(self.outcome, setting="")  # another reason stays
        self.polling = self.polling and polling
        if not self.may_submit:
            self._stopped.set()
        self.notify()

    @property
    def may_submit(self) -> bool:
        """Whether a row that was taken may still be submitted."""
        return self.outcome is None or self.outcome.is_limit

    @property
    def places(self) -> int:
        """How many requests more may be in progress at once; negative where fewer may than are."""
        return self.policy.concurrency - len(self.in_flight)

    @property
    def is_stuck(self) -> bool:
        """Whether all places are taken by requests that are not asked about any more."""
        return self.places <= 0 and self.in_flight <= self.left

    @property
    def under_way(self) -> set[str]:
        """Keys of the rows whose requests this run sends or asks about: each of them ends."""
        return (self.in_flight | self.waiting) - self.left

    @property
    def asks_on(self) -> bool:
        """Whether a request is asked about although its time is over: rows wait for its place, and
        others have ended in the same time.
        """
        wanted = self.outcome is None and (self.rows_wait or self.places <= 0)
        return wanted and self.time() - self._freed_at < self.timing.max_polling

    def free_place(self, key: str) -> None:
        """A request does not take up a place any more."""
        self.in_flight.discard(key)
        self._freed_at = self.time()

    def lift(self, setting: str) -> None:
        """The person has moved a limit; if it had stopped the run, submissions go on."""
        if self.outcome is not None and setting and self.outcome.setting == setting:
            self.outcome = None
            self._stopped.clear()
        self.notify()

    def note_submission(self) -> None:
        """A submission is about to leave."""
        now = self.time()
        self.limiter = self.limiter.after_submission(now)
        self.recent.append(now)
        while self.recent[0] < now - WINDOW_S:
            self.recent.popleft()

    @property
    def usual_delay(self) -> float:
        """Seconds that a request may leave after its turn: at a slow rate, less than an interval
        does no harm.
        """
        return max(MISSED_S, 1 / self.limiter.rate)

    def leave(self, within: float) -> float | None:
        """Give a request its turn to leave, whose connection is made and which is recorded.

        Returns the seconds until then: 0.0, unless others were held up together with it. None where
        that is later than `within` seconds: then it has no turn. No other is dispatched before all
        that were held up have left.
        """
        now = self.time()
        # It is no further ahead, unless the rate was raised since.
        self._left_at = min(self._left_at, now + max(self.timing.claim, self.usual_delay))
        turn = max(now, self._left_at + 1 / self.limiter.rate)
        if turn - now <= self.usual_delay:
            self._left_at = turn
            return 0.0
        self.limiter = replace(self.limiter, next_at=max(self.limiter.next_at, turn))
        if turn - now > within:
            return None
        self._left_at = turn
        self.limiter = self.limiter.after_submission(now)
        return turn - now

    def notify(self) -> None:
        """Wake what waits for a change."""
        self._changes.set()

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until something changes, `seconds` at the longest; infinite is allowed.

        For one waiter at a time. A wait for the same end as the one before needs no new timer: of a
        row that ends, nothing changes the time of the next submission.
        """
        self._changes.clear()
        end = self.time() + seconds
        if self._alarm is None or self._alarm.done() or abs(end - self._alarm_at) > SAME_END_S:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            if math.isfinite(seconds):
                self._alarm = asyncio.create_task(self._notify_in(seconds))
                self._alarm_at = end
        await self._changes.wait()

    async def _notify_in(self, seconds: float) -> None:
        await self.clock.punctual(seconds, rarely=self.limiter.rate < RUSH_RATE)
        self.notify()

    async def sleep_unless_stopped(self, seconds: float) -> None:
        """Sleep, but no longer than rows are submitted; a limit of the person's cuts nothing."""
        await _first_of(self._stopped.wait(), self.clock.sleep(seconds))

    def wait_for(self, key: str) -> None:
        """The result or the file of this row is said not to exist: others may take its place."""
        self.waiting.add(key)
        self.free_place(key)
        self.notify()

    def report_offline(self, reason: str) -> None:
        """The API could not be reached. One notice for an outage; the next try comes later."""
        if not self.offline_tries:
            self._offline_since = self.time()
            self.unreachable = f"since {show_time(self.clock.now())} ({reason})"
            log.warning("RunComfy cannot be reached (%s). Trying on; nothing is lost.", reason)
        if self.time() >= self.offline_until:  # many fail at once when an outage begins
            self.offline_tries += 1
            self.offline_until = self.time() + self.backoff(self.offline_tries)
        limit = self.timing.offline_limit
        if self.time() - self._offline_since > limit:
            reason = f"RunComfy stayed unreachable for {limit / 3600:.0f} hours."
            self.stop(RunOutcome(69, reason, RUN_AGAIN), polling=False)

    def report_online(self) -> None:
        """An answer came, whatever it says."""
        if self.offline_tries:
            log.info("RunComfy answers again.")
        self.offline_tries = 0
        self.offline_until = 0.0
        self.unreachable = ""

    def headway(self, *, moved: bool) -> Headway:
        """Return what came of the run. moved: whether any row changed its state."""
        return Headway(
            moved,
            self.throttled,
            self.unreachable,
            self.breaker.stopped_models,
            tuple(self.changed_files),
        )

    def report_changed_file(self, where: str, reason: str) -> None:
        """A row was not sent, since a local file is not what was checked."""
        self.changed_files.append(f"{where}: {reason}")
        # A folder that is gone, as a stick that was pulled, is told of once, and not for each row.
        level = logging.WARNING if len(self.changed_files) <= MOST_CHANGED_TOLD else logging.DEBUG
        log.log(level, "%s: %s. It was not sent, and stays pending.", where, reason)

    # -- what the circuit breaker is told ----------------------------------------------------------

    def report_failure(self, model: str, cause: str) -> None:
        """A row was rejected, or its request failed: many alike in a row stop the model."""
        known = self.breaker.stopped_models
        self.breaker.on_failed(model, cause)
        self._log_if_stopped(model, known)

    def report_halted(self, where: str, model: str, reason: str) -> None:
        """The API takes no row of this model. where: the row that it said so about."""
        if model not in self.breaker.stopped_models:
            log.warning("%s: %s. The other rows of %s stay pending.", where, reason, model)
        self.breaker.on_halted(model, reason)

    def hold_closed(self) -> None:
        """Submit nothing of the models that are known to take nothing."""
        for model, reason in self.policy.closed.items():
            log.warning("%s: %s. Its rows stay pending.", model, reason)
            self.breaker.on_halted(model, reason)

    def report_unknown(self, where: str, model: str) -> None:
        """A request may have been accepted or not: a few in a row stop the model, or the run."""
        known = self.breaker.stopped_models
        self.breaker.on_unknown(model)
        if self.breaker.stops_everything:
            self.stop_since_answers_are_lost(self.breaker.unknown_in_a_row, where)
        else:
            self._log_if_stopped(model, known)

    def stop_since_answers_are_lost(self, in_a_row: int, where: str) -> None:
        """where: the row of which the last one was lost."""
        reason = (
            f"{in_a_row} answers in a row were lost, and each of those requests may have been"
            f" billed: nothing more is submitted. The last was {where}."
        )
        self.stop(RunOutcome(75, reason, RUN_AGAIN))

    def stop_since_nothing_ends(self) -> None:
        """No place becomes free any more."""
        count = len(self.in_flight)
        requests = "1 request has" if count == 1 else f"{count} requests have"
        reason = (
            f"{requests} not ended in an hour of asking, and no more may be under way at once:"
            " nothing more is submitted."
        )
        self.stop(RunOutcome(75, reason, RUN_AGAIN))

    def _log_if_stopped(self, model: str, known: Mapping[str, str]) -> None:
        cause = self.breaker.stopped_models.get(model)
        if cause is not None and model not in known:
            log.warning(
                "%s: %d rows in a row failed with %r. Its other rows stay pending.",
                model,
                MAX_UNKNOWN_IN_A_ROW if cause == UNKNOWN_CAUSE else MAX_SAME_CAUSE,
                cause,
            )

    # -- what the next run is told -----------------------------------------------------------------

    def rate_memory(self) -> dict[str, Any]:
        """Return what keeps the next run from a burst, for the journal."""
        self._saved_rate = rate = self.limiter.rate
        now, limiter = self.clock.now(), self.limiter
        learned = None if limiter.refused_rate is None else rate
        pace = {"rate": rate, "learned": learned, "next_at": now + limiter.delay(self.time())}
        return {"pace": {**pace, "paused_until": now + limiter.pause(self.time())}}

    def changed_rate_memory(self) -> dict[str, Any]:
        """Return the same where the rate has changed by 1 % since, else nothing.

        That a submission went out is an event of the journal in any case.
        """
        return self.rate_memory() if abs(self.limiter.rate / self._saved_rate - 1) > 0.01 else {}


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them has ended, and end the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
