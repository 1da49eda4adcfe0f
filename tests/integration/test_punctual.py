"""Waits of the machine's own clock."""

import asyncio

from batchgen.clock import Clock


class CountingClock(Clock):
    sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


def test_the_end_of_a_rare_wait_takes_no_turns_of_the_event_loop():
    """Turn after turn, it cost a calm run more CPU time than its journal did."""
    clock = CountingClock()
    start = clock.monotonic()

    asyncio.run(clock.punctual(0.03, rarely=True))

    assert clock.monotonic() - start >= 0.03
    assert clock.sleeps <= 2


def test_the_end_of_a_frequent_wait_lets_others_go_on():
    clock = CountingClock()
    start = clock.monotonic()
    turns = []

    async def wait_beside_another() -> None:
        other = asyncio.ensure_future(take_turns())
        await clock.punctual(0.001, rarely=False)  # shorter than the margin: turns alone
        other.cancel()

    async def take_turns() -> None:
        while True:
            turns.append(clock.monotonic() - start)
            await asyncio.sleep(0)

    asyncio.run(wait_beside_another())

    assert clock.monotonic() - start >= 0.001
    assert turns
