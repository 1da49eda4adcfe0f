"""The body of a paid request: JSON text, or pieces of it with files between, which are streamed.

A file goes out in base64 piece by piece, so that sixteen bodies of 64 MiB need no memory.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from batchgen.core.local_files import base64_size

READ_BYTES = 3 << 14  # a multiple of three, so that pieces of base64 join


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that nobody else can write to, and its size in bytes."""

    file: BinaryIO
    size: int

    def __len__(self) -> int:
        return base64_size(self.size)

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(0)
        while content := self.file.read(READ_BYTES):
            yield base64.b64encode(content)


class StreamedBody:
    """parts: in order. Its length is that of the body; it is to be closed."""

    def __init__(self, parts: Sequence[bytes | FilePart]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from part

    def close(self) -> None:
        for part in self._parts:
            if isinstance(part, FilePart):
                part.file.close()


Body = bytes | StreamedBody
