"""What all parts of a run share: how it waits for a change."""

import asyncio
import random

import pytest

from batchgen.clock import Clock
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.policy import Policy
from batchgen.engine.rate_limiter import RateLimiter
from batchgen.engine.run_state import RunState


class StandingClock(Clock):
    """Its time stands still, so that no busy computer moves the end of a wait."""

    waits = 0

    def monotonic(self) -> float:
        return 0.0

    async def punctual(self, seconds: float, *, rarely: bool) -> None:
        self.waits += 1
        await asyncio.sleep(seconds)


def state_of(clock: Clock) -> RunState:
    costs = CostEstimator({}, {}, limited=False)
    limiter = RateLimiter(1.0, 1.0)
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
