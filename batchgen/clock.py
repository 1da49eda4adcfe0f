"""The clock, as an argument: everything that waits or takes the time is handed one of these."""

import time
from datetime import UTC, datetime
from functools import lru_cache

WAKE_UP_MARGIN_S = 0.0015  # seconds that a sleep may last too long


class Clock:
    """The machine's own. Waits are monotonic; stored times are wall-clock UTC."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio  # here, since `status` needs the stamps only

        await asyncio.sleep(seconds)

    async def punctual(self, seconds: float, *, rarely: bool) -> None:
        """Sleep, and be back on time: the event loop waits in whole milliseconds, and a limiter
        never gets that back.

        rarely: the last millisecond holds up everything else, and costs no CPU time. Otherwise it
        is spent in turns of the event loop, in which others go on.
        """
        until = self.monotonic() + seconds
        await self.sleep(max(seconds - WAKE_UP_MARGIN_S, 0.0))
        if rarely:
            time.sleep(max(until - self.monotonic(), 0.0))
        while self.monotonic() < until:
            await self.sleep(0)


def to_iso(now: float) -> str:
    """Return `now`, seconds since the epoch, as the journal writes it: ISO 8601, UTC."""
    second, micro = divmod(round(now * 1_000_000), 1_000_000)
    return f"{_iso_second(second)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=8)  # a row has nine stamps, and a second may have hundreds of rows
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


def show_time(at: float) -> str:
    """Return `2026-11-26 01:30:05 (00:30:05 UTC)` for people; UTC alone where clocks here show it.

    at: seconds since the epoch.
    """
    utc, local = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(at).astimezone()
    if not local.utcoffset():
        return f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    day = "" if utc.date() == local.date() else f"{utc:%Y-%m-%d} "
    return f"{local:%Y-%m-%d %H:%M:%S} ({day}{utc:%H:%M:%S} UTC)"


def from_iso(text: str) -> float:
    """Return a stamp as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
