"""The values that manifest, validation and journal share: places, entries, rows and problems.

What every row has is a named tuple: making one takes a third of the time of a dataclass.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

RESERVED = ("id", "model", "deployment")  # names in a manifest that are no inputs
EMPTY: Mapping[str, Any] = MappingProxyType({})


class Place(NamedTuple):
    """A place in a file. line, column: from 1; 0 is unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])

    @property
    def source(self) -> str:
        """`file:line`, as the journal has it."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a manifest that a person has to correct.

    row: the row's id, or None where it has none or the problem is not a row's.
    field: the input property, column or setting; "" where it is the whole row or file.
    what: what is wrong, without place, row and field.
    remedy: a sentence that says what would be right.
    whole: whether it is the file's and not one row's, so that leaving out rows does not help.
    """

    place: Place
    what: str
    remedy: str = ""
    row: str | None = None
    field: str = ""
    whole: bool = False


class Entry(NamedTuple):
    """An entry of a manifest, after defaults and matrix, before it is checked.

    position: from 1, in the order of the manifest, after the matrix.
    values: input properties by name; a CSV cell is a str whatever it means.
    cells: names in `values` whose str is a text cell that is still to be converted.
    places: of single values, where the format has them; else the entry's own place holds.
    meta: metadata, which is never sent.
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
    """A valid row. input: exactly the JSON object that will be sent to `model`."""

    position: int
    source: str
    id: str | None
    model: str
    input: dict[str, Any]
    meta: Mapping[str, Any]
