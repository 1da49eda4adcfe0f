"""An end for an exchange that comes to none: time-outs for silence are met by a byte now and then.

A server that sends a byte a second, headers that never end, or one 1xx answer after the other is
never silent. So every exchange has a time that does not begin anew with each byte.
"""

import asyncio
from types import TracebackType


class Deadline:
    """Around an exchange: raises TimeoutError there once its time is over. None runs at first."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._begun = self._total = self._grace = 0.0
        self._size = self._bytes_per_s = 0

    async def __aenter__(self) -> "Deadline":
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._timeout.__aexit__(kind, error, traceback)

    @property
    def expired(self) -> bool:
        """Whether the exchange was ended for its time."""
        return self._timeout.expired()

    def within(self, seconds: float) -> None:
        """Give what comes now so many seconds, whatever is received meanwhile."""
        self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)

    def at_speed(self, bytes_per_s: int, *, grace: float, total: float) -> None:
        """Give what comes now `grace` seconds, and longer while it moves at such a speed.

        total: seconds at most. What has come is told by `received`.
        """
        self._begun = asyncio.get_running_loop().time()
        self._size, self._bytes_per_s, self._grace, self._total = 0, bytes_per_s, grace, total
        self.received(0)

    def received(self, size: int) -> None:
        """So many bytes more have come, which counts since `at_speed`."""
        if not self._bytes_per_s:
            return
        self._size += size
        allowed = allowed_seconds(
            self._size, self._bytes_per_s, grace=self._grace, total=self._total
        )
        self._timeout.reschedule(self._begun + allowed)

    def stop(self) -> None:
        """What comes now is not the other side's to do, and has no such end."""
        self._timeout.reschedule(None)


def allowed_seconds(size: int, bytes_per_s: int, *, grace: float, total: float) -> float:
    """Return the time that an exchange may have taken when it has brought `size` bytes. Pure."""
    return min(max(grace, size / bytes_per_s), total)
