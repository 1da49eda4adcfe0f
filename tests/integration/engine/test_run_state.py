"""What all parts of a run share: how it waits for a change, and when requests leave."""

import asyncio
import random
from heapq import heappop, heappush

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.clock import Clock
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.policy import Policy
from batchgen.engine.rate_limiter import RateLimiter
from batchgen.engine.run_outcome import TIME_LIMIT
from batchgen.engine.run_state import RunState

HOUR = 3600.0


class StandingClock(Clock):
    """Its time stands still, so that no busy computer moves the end of a wait."""

    waits = 0

    def monotonic(self) -> float:
        return 0.0

    async def punctual(self, seconds: float, *, rarely: bool) -> None:
        self.waits += 1
        await asyncio.sleep(seconds)


def state_of(clock: Clock, rate: float = 1.0) -> RunState:
    costs = CostEstimator({}, {}, limited=False)
    limiter = RateLimiter(rate, rate)
    return RunState(clock, random.Random(0), DEFAULT_TIMING, Policy(), limiter, costs)


async def notified(state: RunState, seconds: float) -> None:
    """Wait for a change that comes at once, in place of `seconds`."""
    waiting = asyncio.create_task(state.wait_for_change(seconds))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    state.notify()
    await waiting


def test_a_change_that_moves_no_time_takes_no_new_timer() -> None:
    async def wait() -> int:
        clock = StandingClock()
        state = state_of(clock)
        for _ in range(3):
            await notified(state, 0.01)
        await state.wait_for_change(0.01)
        return clock.waits

    assert asyncio.run(wait()) == 1


def test_a_wait_that_ends_earlier_than_the_one_before_ends_in_time() -> None:
    async def wait() -> None:
        state = state_of(Clock())
        await notified(state, 60.0)
        async with asyncio.timeout(30.0):
            await state.wait_for_change(0.01)

    asyncio.run(wait())


def test_a_wait_for_a_change_alone_is_not_ended_by_the_time_of_the_one_before() -> None:
    async def wait() -> None:
        state = state_of(Clock())
        await notified(state, 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await state.wait_for_change(float("inf"))

    asyncio.run(wait())


# -- when requests leave ---------------------------------------------------------------------------


class SetClock(Clock):
    """Shows what it is set to."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


def leave(rate: float, held_up: list[float], within: float = 2.0) -> tuple[list[float], float]:
    """Dispatch requests as they may be, each of which is held up for so many seconds.

    Those that have no turn are dispatched again, and not held up any more. Returns when each left,
    in order, and the longest that one waited for its turn.
    """
    clock = SetClock()
    state = state_of(clock, rate)
    waiting, arriving, left = held_up[::-1], list[float](), list[float]()
    longest = 0.0
    while waiting or arriving:
        dispatch = max(state.limiter.next_at, clock.at)
        if waiting and (not arriving or dispatch <= arriving[0]):
            clock.at = dispatch
            state.note_submission()
            heappush(arriving, clock.at + waiting.pop())
            continue
        clock.at = heappop(arriving)
        delay = state.leave(within)
        if delay is None:
            waiting.append(0.0)
        else:
            longest = max(longest, delay)
            left.append(clock.at + delay)
    return sorted(left), longest


RATES = st.sampled_from([0.01, 0.5, 1.0, 4.0, 30.0, 400.0])


@example(4.0, [6.0 - n / 4 for n in range(24)] + [0.0] * 40)
@given(RATES, st.lists(st.sampled_from([0.0, 0.05, 0.3, 3.0, 9.0]), min_size=1, max_size=60))
def test_no_window_holds_more_than_the_rate_allows_whatever_holds_requests_up(
    rate: float, held_up: list[float]
) -> None:
    left, longest = leave(rate, held_up)

    assert len(left) == len(held_up)
    assert longest <= 2.0
    usual = max(0.1, 1 / rate)
    for n, first in enumerate(left):
        for count, last in enumerate(left[n:], 1):
            assert count <= rate * (last - first + usual) + 1 + 1e-6


@given(RATES, st.floats(0.0, 10.0))
def test_where_all_connections_take_as_long_none_waits_for_its_turn(
    rate: float, takes: float
) -> None:
    left, longest = leave(rate, [takes] * 20)

    assert longest == 0.0
    assert left[-1] == pytest.approx(19 / rate + takes)


@pytest.mark.parametrize("rate", [1.0, 50.0])
def test_a_rate_that_is_raised_frees_those_that_were_held_up_at_a_slow_one(rate: float) -> None:
    clock = SetClock()
    state = state_of(clock, 0.001)
    assert [state.leave(2.0) for _ in range(3)] == [0.0, 0.0, None]

    state.limiter = RateLimiter(rate, rate)

    assert state.leave(2.0) != 0.0
    clock.at = 2.0
    assert state.leave(2.0) == 0.0


def test_a_slow_rate_is_kept_however_often_one_asks() -> None:
    clock = SetClock()
    state = state_of(clock, 0.001)
    left = []
    for clock.at in range(0, 5000, 10):
        if state.leave(2.0) == 0.0:
            left.append(clock.at)

    assert left == [0, 10, 1000, 2000, 3000, 4000]


def test_an_outage_begins_with_the_first_failure_however_long_nothing_was_asked() -> None:
    """After a night's pause, one failure ended the run as if the API had been away all night."""
    clock = SetClock()
    state = state_of(clock)
    state.report_online()
    clock.at = 7 * HOUR
    state.report_offline("no name")
    first = state.outcome
    clock.at += 5 * HOUR
    state.report_offline("no name")
    second = state.outcome
    clock.at += 2 * HOUR
    state.report_offline("no name")

    assert (first, second) == (None, None)
    assert state.outcome is not None
    assert "unreachable for 6 hours" in state.outcome.reason


def test_a_request_is_asked_about_for_longer_while_rows_wait_and_others_end() -> None:
    clock = SetClock()
    state = state_of(clock)
    state.in_flight = {"slow", "quick"}
    alone = state.asks_on
    state.rows_wait = True
    clock.at = HOUR - 1
    waited_for = state.asks_on
    state.free_place("quick")
    clock.at = 2 * HOUR - 2
    others_end = state.asks_on
    clock.at += 2
    nothing_ends = state.asks_on
    state.free_place("another")
    state.stop(TIME_LIMIT)

    assert (alone, waited_for, others_end, nothing_ends) == (False, True, True, False)
    assert not state.asks_on


def test_a_run_is_stuck_if_nothing_asks_about_the_requests_that_take_all_places() -> None:
    state = state_of(SetClock())
    state.policy = Policy(concurrency=2)
    state.in_flight, state.left = {"a"}, {"a"}
    free = state.is_stuck
    state.in_flight = {"a", "b"}
    asked = state.is_stuck
    state.left = {"a", "b"}

    assert (free, asked, state.is_stuck) == (False, False, True)
