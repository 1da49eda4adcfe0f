"""Decoding of UTF-8, strictly, by lines or as a whole file.

Nothing is replaced or guessed: a prompt is sent with exactly the characters of the file, or not at
all.
"""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.rows import Place, Problem
from batchgen.core.text import is_text
from batchgen.manifest.file_kinds import kind_of_bytes
from batchgen.manifest.records import Unreadable, file_problem, over_limit

READ_BYTES = 2**20  # bytes
SAVE_AS_UTF8 = "Save the file as UTF-8 (in a spreadsheet: “CSV UTF-8”), then run this again."
NO_LIST = "Look at the line ends, and at --format: this does not look like a list of prompts."
# UTF-32 first, since its little-endian mark begins with that of UTF-16.
_OTHER_MARKS = dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32")
_OTHER_MARKS |= dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16")


_LATER_MARK = re.compile("^\ufeff", re.MULTILINE)


class DecodedLines:
    """The lines of a UTF-8 stream, with their ends, decoded one by one.

    number: of the line that was yielded last, from 1. has_errors: whether a line so far is not
        UTF-8, has a NUL or begins with a byte order mark that is not the file's.

    A file in another encoding has one problem, not one in every line: `new_problems` yields the
    first only. An undecodable line is yielded with surrogates in place of its wrong bytes, by which
    `is_undecodable` recognizes it, so that a reader can leave it out.
    """

    def __init__(self, stream: BinaryIO, file: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.file = file
        self.limits = limits
        self.number = 0
        self._stream = stream
        self._offset = 0
        self.has_errors = False
        self._unreported: Problem | None = None

    def __iter__(self) -> Iterator[str]:
        longest = self.limits.row_bytes
        while line := self._stream.readline(longest + 1):
            self.number += 1
            if len(line) > longest:
                place = Place(self.file, self.number)
                raise over_limit(
                    self.limits, "row_bytes", place, "the line is too long", remedy=NO_LIST
                )
            whole = len(line)
            if self.number == 1:
                line = _strip_byte_order_mark(line, self.file)
                self._offset = whole - len(line)
            if line.startswith(codecs.BOM_UTF8):
                self._note(_mark_problem(self.file, self.number))
                line = line.removeprefix(codecs.BOM_UTF8)
                self._offset += len(codecs.BOM_UTF8)
            yield self._decode(line)
            self._offset += len(line)

    def new_problems(self) -> Iterator[Problem]:
        """Yield the problem that was found since the last call, if any."""
        if self._unreported:
            problem, self._unreported = self._unreported, None
            yield problem

    def is_undecodable(self, *texts: str) -> bool:
        """Whether one of these pieces of the stream could not be decoded."""
        return self.has_errors and not all(map(is_text, texts))

    def _decode(self, line: bytes) -> str:
        try:
            text = line.decode()
            if "\0" not in text:
                return text
        except UnicodeDecodeError:
            text = line.decode(errors="surrogateescape")
        if self.has_errors:  # told once; a file in another encoding has millions of such lines
            return text
        self._note(_decoding_problem(line, self.file, self.number, self._offset))
        return text

    def _note(self, problem: Problem) -> None:
        if not self.has_errors:
            self._unreported = problem
        self.has_errors = True


def decode_whole(
    stream: BinaryIO, file: str, limits: Limits = DEFAULT_LIMITS, *, prompt: bool = False
) -> str:
    """Return the whole stream as text. prompt: whether it is one prompt. Raises Unreadable."""
    limit = "row_bytes" if prompt else "file_bytes"
    most = getattr(limits, limit)
    # In pieces: one read of all that may be there would allocate that much memory at once.
    parts = []
    size = 0
    while size <= most and (part := stream.read(READ_BYTES)):
        parts.append(part)
        size += len(part)
    if size > most:
        remedy = "" if prompt else "Write it as CSV, TSV or JSONL, which are read row by row."
        raise over_limit(limits, limit, Place(file), "the file is too large", remedy=remedy)
    data = _strip_byte_order_mark(b"".join(parts), file)
    try:
        text = data.decode()
        if mark := _LATER_MARK.search(text):
            raise Unreadable(_mark_problem(file, text.count("\n", 0, mark.start()) + 1))
        if "\0" not in text:
            return text
        at = data.index(0)
    except UnicodeDecodeError as error:
        at = error.start
    start = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at) + 1 or len(data)
    line = data.count(b"\n", 0, start) + 1
    raise Unreadable(_decoding_problem(data[start:end], file, line, start + size - len(data)))


def _strip_byte_order_mark(data: bytes, file: str) -> bytes:
    """Remove the mark of UTF-8.

    Raises Unreadable for the marks of UTF-16 and UTF-32, and for what is known to be no text.
    """
    if kind := kind_of_bytes(data[:64]):
        raise Unreadable(file_problem(Place(file), f"the file is {kind.name}", kind.remedy))
    for mark, encoding in _OTHER_MARKS.items():
        if data.startswith(mark):
            what = f"the file is {encoding} (its first bytes are {mark.hex(' ').upper()})"
            raise Unreadable(file_problem(Place(file, 1), what, SAVE_AS_UTF8))
    return data.removeprefix(codecs.BOM_UTF8)


def _mark_problem(file: str, line: int) -> Problem:
    what = "the line begins with a byte order mark (U+FEFF), as lists do that were joined"
    remedy = "Join them without their marks and headers, or run each alone."
    return file_problem(Place(file, line), what, remedy)


def _decoding_problem(line: bytes, file: str, number: int, offset: int) -> Problem:
    """Return a problem with the first wrong byte of a line.

    number: the line's, from 1. offset: of the line's first byte in the file.
    """
    try:
        line.decode()
        at = line.index(0)
        what = f"a NUL character, byte {offset + at + 1} of the file"
        remedy = f"No model takes one. Take it out, or, if the file is UTF-16: {SAVE_AS_UTF8}"
    except UnicodeDecodeError as error:
        at = error.start
        what = f"byte {offset + at + 1} of the file, 0x{line[at]:02X}, is not UTF-8"
        remedy = SAVE_AS_UTF8
    column = len(line[:at].decode(errors="replace")) + 1
    return file_problem(Place(file, number, column), what, remedy)
