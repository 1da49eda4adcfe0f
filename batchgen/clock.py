"""The clock, as an argument: everything that waits or takes the time is handed one of these."""

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The machine's own. Waits are monotonic; stored times are wall-clock UTC."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def stamp(now: float) -> str:
    """Return `now`, seconds since the epoch, as the journal writes it: ISO 8601, UTC."""
    text = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def seconds(text: str) -> float:
    """Return a stamp as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
