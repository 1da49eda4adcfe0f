"""A JSON manifest: an array of rows, or an object with settings and `rows`.

The text is held as a whole; its rows are parsed one at a time, so that each has its line and is
freed after it.
"""

import json
import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.rows import Place, Problem
from batchgen.core.strict_json import LENIENT_DECODER, STRICT_DECODER, JsonRefused, lower_first
from batchgen.core.text import quote_value
from batchgen.manifest.document import Document
from batchgen.manifest.read_jsonl import (
    json_problem,
    make_record,
    refuse_deep,
    repeated_name,
    too_many_names,
)
from batchgen.manifest.records import Item, Record, Unreadable, file_problem, over_limit

T = TypeVar("T")

_CUT_CHARS = 16  # of a number, a word or an escape
_SPACE = re.compile(r"[ \t\r\n]*")


def read_json(text: str, file: str, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Read an array of rows, or an object with settings and `rows`. Raises Unreadable."""
    return _Scanner(text, file, limits).document()


class _Scanner:
    """Parses the outer two levels of a JSON text, for their places; `json` parses the inner ones.

    at: the position in the text.
    """

    def __init__(self, text: str, file: str, limits: Limits) -> None:
        self.text = text
        self.file = file
        self.limits = limits
        self.at = 0
        self._window, self._window_start = "", 0
        self._line, self._counted, self._line_start = 1, 0, 0

    def document(self) -> Document:
        self._skip_space()
        if self.text.startswith("[", self.at):
            # Parsed while it is iterated, so that a row's objects are freed after the row.
            return Document({}, {(): self._place()}, self._array)
        if not self.text.startswith("{", self.at):
            what = "this is neither an array of rows nor an object with rows"
            remedy = 'Begin with [ for rows alone, or with {"rows": [ for rows with settings.'
            raise Unreadable(file_problem(self._place(), what, remedy))
        places: dict[tuple[str | int, ...], Place] = {(): self._place()}
        settings: dict[str, Any] = {}
        rows: Callable[[], Iterator[Item]] | None = None
        for name, place in self._members():
            places[(name,)] = place
            if name == "rows" and self.text.startswith("[", self.at):
                rows = partial(_rows_from, copy(self))
                for _ in self._rows():
                    pass  # a mistake behind them is told before any of them
            else:
                settings[name] = self._value()
        self._end()
        return Document(settings, places, rows)

    def _array(self) -> Iterator[Item]:
        """Read a document that is an array of rows."""
        again = _Scanner(self.text, self.file, self.limits)
        again._skip_space()
        yield from again._rows()
        again._end()

    def _rows(self) -> Iterator[Item]:
        for place in self._items("]", self._place):
            start = self.at
            problems: list[Problem] = []
            if not self.text.startswith("{", self.at):
                value = self._value(problems)
                yield from problems
                if not problems:
                    yield make_record(value, place)
                continue
            values: dict[str, Any] = {}
            places: dict[str, Place] = {}
            for name, where in self._members(problems):
                values[name] = self._value(problems)
                places[name] = where
                if self.at - start > self.limits.row_bytes:
                    raise self._too_long(place)
            yield from problems
            if not problems:
                yield Record(place, values, places=places)

    def _members(self, problems: list[Problem] | None = None) -> Iterator[tuple[str, Place]]:
        """Step through an object; the caller reads the value after each name.

        problems: gets names that are written twice; None raises Unreadable for them.
        """
        seen: dict[str, Place] = {}
        for name, place in self._items("}", self._name):
            if name in seen:
                problem = repeated_name(place, name, seen[name].line)
                if problems is None:
                    raise Unreadable(replace(problem, whole=True))
                problems.append(problem)
            seen.setdefault(name, place)
            if len(seen) > self.limits.row_values:
                raise too_many_names(self.limits, place)
            yield name, place

    def _items(self, closing: str, head: Callable[[], T]) -> Iterator[T]:
        """Step through an array or an object; the caller reads the value after each head."""
        self.at += 1
        self._skip_space()
        if self.text.startswith(closing, self.at):
            self.at += 1
            return
        while True:
            yield head()
            self._skip_space()
            mark = self.text[self.at : self.at + 1]
            self._expect(closing if mark == closing else ",")
            if mark == closing:
                return
            self._skip_space()

    def _name(self) -> tuple[str, Place]:
        place = self._place()
        if not self.text.startswith('"', self.at):
            raise self._unreadable("expecting a name in double quotes")
        name = self._value()
        self._skip_space()
        self._expect(":")
        self._skip_space()
        return name, place

    def _value(self, problems: list[Problem] | None = None) -> Any:
        """Return the value that begins here. problems: as for `_members`."""
        place = self._place()
        try:
            value = self._decode(STRICT_DECODER)
            refuse_deep(self.limits, place, value)
            return value
        except JsonRefused as error:
            problem = json_problem(error, place, whole=problems is None)
            if problems is None:
                raise Unreadable(problem) from None
            problems.append(problem)
            return self._decode(LENIENT_DECODER)

    def _decode(self, decoder: json.JSONDecoder) -> Any:
        try:
            value, self.at = self._decode_bounded(decoder)
        except JsonRefused:
            raise
        except json.JSONDecodeError as error:
            self.at = error.pos
            raise self._unreadable(lower_first(error.msg)) from None
        except (ValueError, RecursionError) as error:
            raise Unreadable(json_problem(error, self._place(), whole=True)) from None
        return value

    def _decode_bounded(self, decoder: json.JSONDecoder) -> tuple[Any, int]:
        """Return the value here and where it ends. Raises Unreadable for a very long one.

        The parser sees no more of the text than a row may have: it would make objects of all of it
        before anybody could count them.
        """
        most = self.limits.row_bytes
        if len(self.text) - self.at <= most:
            return decoder.raw_decode(self.text, self.at)
        if not 0 <= self.at - self._window_start <= len(self._window) - most:
            self._window_start = self.at
            self._window = self.text[self.at : self.at + most + most // 4]
        at = self.at - self._window_start
        try:
            value, end = decoder.raw_decode(self._window, at)
        except json.JSONDecodeError as error:
            # What the end of the window cuts off is told as a mistake near the end, or at the
            # beginning of the text that has no closing quote.
            if error.pos < at + most - _CUT_CHARS and not error.msg.startswith("Unterminated"):
                pos = error.pos + self._window_start
                raise json.JSONDecodeError(error.msg, self.text, pos) from None
            raise self._too_long() from None
        if end - at >= most:
            raise self._too_long()
        return value, self._window_start + end

    def _too_long(self, place: Place | None = None) -> Unreadable:
        what = "the value that begins here is too long"
        return over_limit(self.limits, "row_bytes", place or self._place(), what)

    def _expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise self._unreadable(f"expecting {quote_value(mark)}")
        self.at += 1

    def _end(self) -> None:
        self._skip_space()
        if self.text.startswith("{", self.at) and not self.text.lstrip().startswith("["):
            what = "a second object begins here, as in JSON Lines"
            remedy = "Name the file .jsonl, or add --format jsonl."
            raise Unreadable(file_problem(self._place(), what, remedy))
        if self.at < len(self.text):
            raise self._unreadable("there is more after the end")

    def _skip_space(self) -> None:
        if space := _SPACE.match(self.text, self.at):
            self.at = space.end()

    def _place(self) -> Place:
        # Counted from the last place on: a list may be one line of many megabytes.
        if breaks := self.text.count("\n", self._counted, self.at):
            self._line += breaks
            self._line_start = self.text.rfind("\n", self._counted, self.at) + 1
        self._counted = max(self._counted, self.at)
        return Place(self.file, self._line, self.at - self._line_start + 1)

    def _unreadable(self, reason: str) -> Unreadable:
        remedy = "Look at the place just before, too."
        here = self.text[self.at : self.at + 2]
        if here in ("//", "/*") or here.startswith("#"):
            reason, remedy = "a comment", "Take it out; a YAML list can have comments."
        elif here[:1] in ("]", "}") and self.text[: self.at].rstrip().endswith(","):
            reason, remedy = f"a comma stands before {here[:1]}", "Take the comma out."
        elif here.startswith("'"):
            reason, remedy = "a single quote", 'Put texts and names in double quotes: "…".'
        return Unreadable(file_problem(self._place(), f"this is not JSON: {reason}", remedy))


def _rows_from(start: _Scanner) -> Iterator[Item]:
    return copy(start)._rows()
