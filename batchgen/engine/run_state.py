"""What every part of a run has to know: whether it goes on, and whether the API answers."""

import asyncio
import logging
import math
import random
from dataclasses import replace
from typing import Any

from batchgen.clock import Clock
from batchgen.engine import backoff
from batchgen.engine.run_outcome import RUN_AGAIN, RunOutcome

log = logging.getLogger("batchgen")

OFFLINE_LIMIT_S = 6 * 3600.0


class RunState:
    """One for a run. Times are seconds since its start, on a clock that never jumps.

    ending: why nothing more is submitted; None while the run goes on.
    asking: whether accepted requests are still asked about.
    offline_until: no POST before this time.
    """

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self.clock = clock
        self.dice = dice
        self.ending: RunOutcome | None = None
        self.asking = True
        self.offline_tries = 0
        self.offline_until = 0.0
        self._start = clock.monotonic()
        self._last_answer = 0.0
        self._changes = asyncio.Event()

    def time(self) -> float:
        return self.clock.monotonic() - self._start

    def stop(self, ending: RunOutcome, *, asking: bool = True) -> None:
        """Submit nothing more; the first reason stays, unless it was a mere limit."""
        if self.ending is None or (self.ending.is_limit and not ending.calm):
            self.ending = replace(ending, said=True)
            log.warning("%s", ending.reason)
        self.asking = self.asking and asking
        self.changed()

    @property
    def may_send(self) -> bool:
        """Whether a row that was taken may still be sent."""
        return self.ending is None or self.ending.is_limit

    def changed(self) -> None:
        """Wake whoever pauses until something changes."""
        self._changes.set()

    async def pause(self, seconds: float) -> None:
        """Wait until something changes, `seconds` at the longest; infinite is allowed."""
        self._changes.clear()
        if not math.isfinite(seconds):
            await self._changes.wait()
            return
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._changes.wait()),
            asyncio.ensure_future(self.clock.punctual(seconds)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def offline(self, reason: str) -> None:
        """The API could not be reached. One notice an outage; the next try comes later."""
        if not self.offline_tries:
            log.warning("RunComfy cannot be reached (%s). Trying on; nothing is lost.", reason)
        if self.time() >= self.offline_until:  # many fail at once when an outage begins
            self.offline_tries += 1
            pause = backoff.backoff(self.offline_tries, self.dice)
            self.offline_until = self.time() + pause
        if self.time() - self._last_answer > OFFLINE_LIMIT_S:
            hours = OFFLINE_LIMIT_S / 3600
            reason = f"RunComfy stayed unreachable for {hours:.0f} hours."
            self.stop(RunOutcome(69, reason, RUN_AGAIN), asking=False)

    def online(self) -> None:
        """Some answer came."""
        if self.offline_tries:
            log.warning("RunComfy answers again.")
        self.offline_tries = 0
        self.offline_until = 0.0
        self._last_answer = self.time()
