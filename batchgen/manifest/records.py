"""What the readers of manifests yield, in the order of the file.

    Header   the names of a table's columns, once, before its first record
    Record   one entry as it was written: names and values, or the text of a prompt alone
    Problem  something that could not be read; `whole` where the rest of the file is unreliable

A reader raises Unreadable(problem) where it cannot go on. It checks the syntax only: `columns.py`
decides what names mean, the model's schema what values are valid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from batchgen.core.limits import Limits, how_to_raise, say_limit
from batchgen.core.rows import EMPTY, Place, Problem


@dataclass(frozen=True, slots=True)
class Header:
    """names: of a table's columns, in order; None for one that has no name.

    separator: of the cells, in words, where it is not the format's own.
    """

    place: Place
    names: list[str | None]
    separator: str = ""

    def column(self, name: str) -> Place:
        """Return the place of a column's name: the header's line, and the column from 1."""
        return Place(self.place.file, self.place.line, self.names.index(name) + 1)


class Record(NamedTuple):
    """One entry as it was written.

    values: by the names in the file, or a str where the entry is only a prompt.
    cells: whether the values are text cells, to be converted by the model's schema.
    id: where the format has one beside the values, as a file's name.
    places: of single values, where the reader knows them; else the record's own place holds.
    """

    place: Place
    values: Mapping[str, Any] | str
    cells: bool = False
    id: str | None = None
    places: Mapping[str, Place] = EMPTY


Item = Header | Record | Problem


def file_problem(place: Place, what: str, remedy: str = "", field: str = "") -> Problem:
    """Return a problem of the whole file."""
    return Problem(place, what, remedy, field=field, whole=True)


class Unreadable(Exception):
    """A file that cannot be read on. problem: what is wrong, with its place."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def over_limit(
    limits: Limits,
    limit: str,
    place: Place,
    what: str,
    needed: int | None = None,
    *,
    remedy: str = "",
    field: str = "",
) -> Unreadable:
    """Return the exception for what is more than one of the limits allows.

    what: what is too much: `the line is too long`. needed: how much it is; None where that is not
        known. remedy: what else can be done.
    """
    option = how_to_raise(limit, needed or 2 * getattr(limits, limit))
    remedy = "\n".join(line for line in (remedy, option) if line)
    return Unreadable(file_problem(place, f"{what}; {say_limit(limits, limit)}", remedy, field))
