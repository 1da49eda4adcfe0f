"""receipts.log: a durable line for every request_id, independent of the journal.

With it a paid request is not lost with the journal: when the disk is full, or batch.db is deleted,
damaged, or restored from an old backup (docs/maintainers/specification.md, "What is written when").
The file is grown by zero bytes ahead of its lines, so that a line fits when the disk is full.
"""

import contextlib
import errno
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchgen.files import open_in_place, open_regular, sync_file

PREALLOCATED_BYTES = 64 * 1024
MAX_LINE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Receipt:
    """key: of the row. attempt: of its submissions, from 1, the one that got `request_id`.

    at: when, as the journal writes it.
    """

    key: str
    attempt: int
    request_id: str
    at: str

    def line(self) -> bytes:
        """Return the line, with a checksum of what stands before it and a newline."""
        words = f"{self.key} {self.attempt} {self.request_id} {self.at}"
        return f"{words} {zlib.crc32(words.encode()):08x}\n".encode()


def parse_receipt(line: bytes) -> Receipt | None:
    """Return the receipt on a line; None if the line is not whole, as after a power cut."""
    try:
        words, _, checksum = line.decode("ascii").rpartition(" ")
        key, attempt, request_id, at = words.split(" ")
        whole = int(checksum, 16) == zlib.crc32(words.encode())
        return Receipt(key, int(attempt), request_id, at) if whole else None
    except ValueError:
        return None


def is_receipt_log(path: Path) -> bool:
    """Say whether a file may be a receipts.log: it is missing or empty, or begins with receipts."""
    try:
        with open_regular(path, follow=False) as file:
            lines = file.read(PREALLOCATED_BYTES).strip(b"\0").splitlines()
    except FileNotFoundError:
        return True
    return not lines or any(parse_receipt(line) for line in lines)


def count_receipts(path: Path) -> tuple[int, int]:
    """Return how many lines of a receipts.log are whole, and how many are not. Raises OSError."""
    whole = torn = 0
    with open_regular(path, follow=False) as file:
        for line in file:
            if text := line.strip(b"\n\0"):
                whole, torn = (whole + 1, torn) if parse_receipt(text) else (whole, torn + 1)
    return whole, torn


class ReceiptLog:
    """Open receipts.log for appending, mode 0600. Raises OSError or LeadsOutside.

    end: the byte after the last line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = open_in_place(path)
        self._file_bytes = os.fstat(self._handle).st_size
        self.end = self._find_end()
        self._preallocate()

    def __enter__(self) -> "ReceiptLog":
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._handle)

    def _find_end(self) -> int:
        """Return the place after the last byte that is not zero, reading backwards."""
        end = self._file_bytes
        while end > 0:
            start = max(0, end - PREALLOCATED_BYTES)
            block = os.pread(self._handle, end - start, start).rstrip(b"\0")
            if block:
                return start + len(block)
            end = start
        return 0

    def _preallocate(self) -> None:
        if self._file_bytes - self.end < PREALLOCATED_BYTES // 2:
            zeros = bytes(PREALLOCATED_BYTES)
            self._file_bytes += os.pwrite(self._handle, zeros, self._file_bytes)
            sync_file(self._handle)

    def append(self, *receipts: Receipt) -> None:
        """Write a line for each receipt; they are durable on return. Raises OSError."""
        lines = b"".join([receipt.line() for receipt in receipts])
        # Else the first of them would be read as part of a last line that is not whole.
        if self.end and os.pread(self._handle, 1, self.end - 1) != b"\n":
            lines = b"\n" + lines
        if os.pwrite(self._handle, lines, self.end) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_file(self._handle)
        self.end += len(lines)
        self._file_bytes = max(self._file_bytes, self.end)
        # The lines are durable even if the disk is too full for more; the next start raises then.
        with contextlib.suppress(OSError):
            self._preallocate()

    def since(self, offset: int) -> Iterator[Receipt]:
        """Yield the receipts after byte `offset`, without lines that are not whole."""
        with open(self._handle, "rb", closefd=False) as file:
            file.seek(min(max(offset, 0), self.end))
            for line in file:
                if found := parse_receipt(line.strip(b"\n\0")):
                    yield found
