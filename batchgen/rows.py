"""What the readers, the validator and the journal hand to each other: places, rows and problems."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Place:
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


@dataclass(frozen=True, slots=True)
class Entry:
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
    cells: frozenset[str] = frozenset()
    meta: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row: `input` is exactly the JSON object that will be sent to `model`."""

    position: int
    source: str
    id: str | None
    model: str
    input: dict[str, Any]
    meta: dict[str, Any]
