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

from batchgen.core.rows import Place, Problem
from batchgen.core.strict_json import LENIENT_DECODER, STRICT_DECODER, JsonRefused, lower_first
from batchgen.core.text import quote_value
from batchgen.manifest.document import Document
from batchgen.manifest.read_jsonl import json_problem, make_record, repeated_name
from batchgen.manifest.records import Item, Record, Unreadable, file_problem

T = TypeVar("T")

_SPACE = re.compile(r"[ \t\r\n]*")


def read_json(text: str, file: str) -> Document:
    """Read an array of rows, or an object with settings and `rows`. Raises Unreadable."""
    return _Scanner(text, file).document()


class _Scanner:
    """Parses the outer two levels of a JSON text, for their places; `json` parses the inner ones.

    at: the position in the text.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self._line, self._counted, self._line_start = 1, 0, 0

    def document(self) -> Document:
        self._skip_space()
        if self.text.startswith("[", self.at):
            # Parsed while it is iterated, so that a row's objects are freed after the row.
            return Document({}, {(): self._place()}, lambda: _Scanner(self.text, self.file).array())
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

    def array(self) -> Iterator[Item]:
        """Read a document that is an array of rows."""
        self._skip_space()
        yield from self._rows()
        self._end()

    def _rows(self) -> Iterator[Item]:
        for place in self._items("]", self._place):
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
        try:
            return self._decode(STRICT_DECODER)
        except JsonRefused as error:
            problem = json_problem(error, self._place(), whole=problems is None)
            if problems is None:
                raise Unreadable(problem) from None
            problems.append(problem)
            return self._decode(LENIENT_DECODER)

    def _decode(self, decoder: json.JSONDecoder) -> Any:
        try:
            value, self.at = decoder.raw_decode(self.text, self.at)
        except JsonRefused:
            raise
        except json.JSONDecodeError as error:
            self.at = error.pos
            raise self._unreadable(lower_first(error.msg)) from None
        except (ValueError, RecursionError) as error:
            raise Unreadable(json_problem(error, self._place(), whole=True)) from None
        return value

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
