"""One module per form of manifest. Each turns bytes into a stream and judges nothing but form.

A reader yields, in the order of the file,

    Header   the names of a table's columns, once, before its first record
    Record   one entry as it was written: names and values, or the text of a prompt alone
    Problem  what could not be read; `whole` where the rest of the file cannot be trusted

and raises Unreadable(problem) where it cannot go on. What the names mean is `naming.py`'s, what
the values have to be is the model's schema's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from batchgen.core.rows import EMPTY, Place, Problem


@dataclass(frozen=True, slots=True)
class Header:
    """names: of a table's columns, in order; None for one that has no name."""

    place: Place
    names: list[str | None]

    def column(self, name: str) -> Place:
        """Where a column is named: the header's line, and the column counted from 1."""
        return Place(self.place.file, self.place.line, self.names.index(name) + 1)


class Record(NamedTuple):
    """One entry as it was written.

    values: by the names in the file, or a str where the entry is only a prompt.
    cells: whether the values are text cells, whose type is still to be decided.
    places: of single values, where the reader knows them; the record's own stands for the others.
    """

    place: Place
    values: Mapping[str, Any] | str
    cells: bool = False
    id: str | None = None
    places: Mapping[str, Place] = EMPTY


Item = Header | Record | Problem


class Unreadable(Exception):
    """Raised inside a reader where nothing after this place can be trusted."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem
