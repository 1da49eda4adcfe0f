"""What the readers, the validator and the journal hand to each other: places, rows and problems.

What there is one of in every row is a named tuple, which is made in a third of the time.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Place(NamedTuple):
    """Where in a person's file something stands; `line` and `column` count from 1, 0 is unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])

    @property
    def source(self) -> str:
        """`file:line`, the form the journal keeps."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a person has to put right, with all that is needed to do it.

    row: the row's id, or None where it has none or the problem is not a row's.
    field: the input property, column or setting; "" where it is the whole row or file.
    what: what is wrong, without place, row and field.
    remedy: a sentence that says what would be right.
    whole: True where it is the file's and not one row's, so that leaving out rows cannot help.
    """

    place: Place
    what: str
    remedy: str = ""
    row: str | None = None
    field: str = ""
    whole: bool = False


class Entry(NamedTuple):
    """One entry of a manifest as it was written, after defaults and matrix, before the schema.

    position: from 1, in the order of the manifest, after the matrix.
    values: input properties by name; a CSV cell is a str whatever it means.
    cells: names in `values` whose str came from a text cell and is still to be converted.
    places: the places of single values, where the format knows better than the row's own.
    """

    position: int
    place: Place
    id: str | None
    model: str | None
    values: dict[str, Any]
    cells: Set[str] = frozenset()
    meta: Mapping[str, Any] = EMPTY
    places: Mapping[str, Place] = EMPTY


class Row(NamedTuple):
    """A valid row: `input` is exactly the JSON object that will be sent to `model`."""

    position: int
    source: str
    id: str | None
    model: str
    input: dict[str, Any]
    meta: Mapping[str, Any]
