"""One rate for all batches of an account on this computer: two cron entries must not add up.

A small file in the person's state folder holds when the account's next POST may go. The token is
not in it, nor in its name: that is a hash. Where the file cannot be had, a batch keeps to its own
rate alone.
"""

import fcntl
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("batchgen")

CLOCK_TOLERANCE_S = 0.001  # seconds: two clocks of one computer do not agree any better
_TIMES = struct.Struct("<dd")  # when the next POST may go, and when that was written


class SharedRateLimit:
    """The turns of one account. Times are seconds of the clock that all processes of a computer
    share and nobody sets; it begins anew when the computer does.

    path: None is a batch that shares with nobody, such as a rehearsal.
    """

    def __init__(self, path: Path | None) -> None:
        self._handle: int | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.info("%s: %s: other batches are not seen.", path, error.strerror)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def take(self, now: float, interval: float) -> float:
        """Take the next turn: return 0.0, and no other comes within `interval` seconds.

        Otherwise return the seconds until it may be tried again; nothing is taken then.
        """
        with self._next(now) as turn:
            if turn[0] - now > CLOCK_TOLERANCE_S:
                return turn[0] - now
            turn[0] = now + interval
        return 0.0

    def hold(self, now: float, seconds: float) -> None:
        """Let nobody send for so long: the API asked to wait."""
        with self._next(now) as turn:
            turn[0] = max(turn[0], now + seconds)

    @contextmanager
    def _next(self, now: float) -> Iterator[list[float]]:
        """Hold the file; yield the next time in a list of one, to be changed in place."""
        turn = [0.0]
        if self._handle is None:
            yield turn
            return
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            found = os.pread(self._handle, _TIMES.size, 0)
            if len(found) == _TIMES.size:
                next_at, written_at = _TIMES.unpack(found)
                turn[0] = next_at if written_at <= now else 0.0  # else of another start
            before = turn[0]
            yield turn
            if turn[0] != before:
                os.pwrite(self._handle, _TIMES.pack(turn[0], now), 0)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)
