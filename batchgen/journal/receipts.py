"""receipts.log: every request_id that the API gave us, one line each, fsynced.

It stands beside the journal so that a full disk, a deleted journal or an old backup cannot lose a
paid request. Room is taken ahead, so that a line can be written when the disk is full.
"""

import contextlib
import errno
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from batchgen.files import open_in_place, sync_file

PREALLOCATED_BYTES = 64 * 1024
MAX_LINE_BYTES = 256  # bytes of a line


@dataclass(frozen=True, slots=True)
class Receipt:
    """attempt: counts from 1; `request_id` is what the attempt-th POST of row `key` was given."""

    key: str
    attempt: int
    request_id: str
    at: str

    def line(self) -> bytes:
        words = f"{self.key} {self.attempt} {self.request_id} {self.at}"
        return f"{words} {zlib.crc32(words.encode()):08x}\n".encode()


def parse_receipt(line: bytes) -> Receipt | None:
    """Return the receipt on `line`; None if it is torn: a power cut may halve the last one."""
    try:
        words, _, checksum = line.decode("ascii").rpartition(" ")
        key, attempt, request_id, at = words.split(" ")
        whole = int(checksum, 16) == zlib.crc32(words.encode())
        return Receipt(key, int(attempt), request_id, at) if whole else None
    except ValueError:
        return None


class ReceiptLog:
    """Open receipts.log for appending. Raises OSError or LeadsOutside where it cannot be."""

    def __init__(self, path: Path) -> None:
        self._handle = open_in_place(path)
        self._room = os.fstat(self._handle).st_size
        self.end = self._find_end()
        self._make_room()

    def __enter__(self) -> "ReceiptLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def _find_end(self) -> int:
        """The room taken ahead is zero bytes; the last other byte ends the last line."""
        end = self._room
        while end > 0:
            start = max(0, end - PREALLOCATED_BYTES)
            block = os.pread(self._handle, end - start, start).rstrip(b"\0")
            if block:
                return start + len(block)
            end = start
        return 0

    def _make_room(self) -> None:
        if self._room - self.end < PREALLOCATED_BYTES // 2:
            self._room += os.pwrite(self._handle, bytes(PREALLOCATED_BYTES), self._room)
            sync_file(self._handle)

    def append(self, *receipts: Receipt) -> None:
        """Write a line for each and make them durable."""
        lines = b"".join([receipt.line() for receipt in receipts])
        # A torn last line must not swallow the first of these.
        lines = lines if self._ends_whole() else b"\n" + lines
        if os.pwrite(self._handle, lines, self.end) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_file(self._handle)
        self.end += len(lines)
        self._room = max(self._room, self.end)
        # On a full disk the lines are safe all the same, and the next start says so.
        with contextlib.suppress(OSError):
            self._make_room()

    def _ends_whole(self) -> bool:
        return self.end == 0 or os.pread(self._handle, 1, self.end - 1) == b"\n"

    def since(self, offset: int) -> Iterator[Receipt]:
        """Yield the receipts that stand after byte `offset`, skipping torn lines."""
        with open(self._handle, "rb", closefd=False) as file:
            file.seek(min(max(offset, 0), self.end))
            for line in file:
                if found := parse_receipt(line.strip(b"\n\0")):
                    yield found
