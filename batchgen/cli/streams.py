"""Standard output and standard error that never stop a command in its work.

A reader may leave before the end, as `head` does, or the disk behind a redirection may be full. A
command goes on without them, since it may be in the middle of paying or saving.
"""

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Stream(io.FileIO):
    """The raw side of a standard stream: what cannot be written is dropped.

    error: the first error other than that the reader has left; None without.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None
        self._gone = False

    def write(self, content: "ReadableBuffer", /) -> int:
        if not self._gone:
            try:
                return super().write(content)
            except OSError as error:
                self._gone = True
                self.error = None if error.errno == errno.EPIPE else error
        return memoryview(content).nbytes


def reserve_standard_descriptors() -> None:
    """Let no file of ours take the number of a standard stream that is closed.

    A library, or a child process, would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def wrap(stream: io.TextIOWrapper) -> tuple[Stream, io.TextIOWrapper]:
    """Return the raw side, and a stream of UTF-8 to the same descriptor, whatever LANG says."""
    stream.flush()
    raw = Stream(stream.fileno())
    text = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )
    return raw, text


def reader_left() -> bool:
    """Whether nobody reads standard output any more, where it is a pipe."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return False


def set_up() -> Stream | None:
    """Replace the standard streams; return the raw side of standard output, None if it is closed.

    A stream that somebody has put in their place, as a test does, is left alone.
    """
    reserve_standard_descriptors()
    if isinstance(sys.stderr, io.TextIOWrapper):
        _, sys.stderr = wrap(sys.stderr)
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return None
    raw, sys.stdout = wrap(sys.stdout)
    return raw
