"""One rate for all batches of an account on this computer: two cron entries must not add up.

A small file in the person's state folder holds when the account's next submission may go. The token
is not in it; its name has a hash of the token. Where the file cannot be had, a batch keeps to its
own rate alone.
"""

import fcntl
import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchgen.engine.rate_limiter import LONGEST_S

log = logging.getLogger(__name__)

CLOCK_TOLERANCE_S = 0.001  # two readings of one computer's clock do not agree any better
_RECORD = struct.Struct("<dd")  # when the next submission may go, and when that was written


class SharedRateLimit:
    """The slots of one account, one for each submission.

    path: of the file; None for a batch that shares with nobody, such as a rehearsal.
    Times are seconds of the system's monotonic clock, which all processes share and nobody sets; it
    begins anew when the computer starts.
    """

    def __init__(self, path: Path | None) -> None:
        self._handle: int | None = None
        self._written: float | None = None  # by this batch; None where it has written nothing
        self._others = 0.0  # the slot in whose place it did so: another batch's doing
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.debug("%s: %s: other batches are not seen.", path, error.strerror)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def acquire(self, now: float, interval: float) -> float:
        """Take the next slot and return 0.0: no other batch gets one for `interval` seconds.

        Otherwise return the seconds until it may be tried again; nothing is taken then.
        """
        with self._next_slot(now, max(interval, LONGEST_S)) as slot:
            if slot[0] - now > CLOCK_TOLERANCE_S:
                return slot[0] - now
            self._write(slot, now + interval)
        return 0.0

    def pause(self, now: float, seconds: float) -> None:
        """Give no slot to any batch for so long: the API asked to wait."""
        with self._next_slot(now) as slot:
            if now + seconds > slot[0]:
                self._write(slot, now + seconds)

    def change(self, now: float, seconds: float) -> None:
        """The rate of this batch was changed: its next submission may go in `seconds`.

        What the account's next slot waits for is shortened only if it is this batch's own doing.
        """
        with self._next_slot(now) as slot:
            if slot[0] == self._written:
                self._write(slot, max(now + seconds, self._others))
            elif now + seconds > slot[0]:
                self._write(slot, now + seconds)

    def _write(self, slot: list[float], at: float) -> None:
        if slot[0] != self._written:
            self._others = slot[0]
        self._written = slot[0] = at

    @contextmanager
    def _next_slot(self, now: float, longest: float = LONGEST_S) -> Iterator[list[float]]:
        """Lock the file; yield the time of the next slot, in a list of one that may be changed.

        longest: seconds after it was written that it may lie, unless this batch has written it.
        More is of a damaged file, or of a batch that keeps to a slower rate by itself.
        """
        slot = [0.0]
        if self._handle is None:
            yield slot
            return
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            found = os.pread(self._handle, _RECORD.size, 0)
            if len(found) == _RECORD.size:
                next_at, written_at = _RECORD.unpack(found)
                if next_at != self._written:
                    next_at = min(written_at + longest, next_at)
                # Written in the future: before the computer was started again. Where it has run for
                # longer since than it had before, nothing tells, and `longest` is the limit.
                slot[0] = next_at if written_at <= now else 0.0
            before = slot[0]
            yield slot
            if slot[0] != before:
                os.pwrite(self._handle, _RECORD.pack(slot[0], now), 0)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)
