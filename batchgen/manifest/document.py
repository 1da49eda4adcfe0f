"""What a YAML or JSON manifest comes to: settings that know their places, and rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.core.rows import Place, Problem
from batchgen.manifest.records import Item

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """settings: all names but `rows`; empty where the document is a list of rows.

    places: where a setting or a part of one stands, by its path; `()` is the document.
    rows: gives the Records and Problems, from the start each time; None without `rows`.
    """

    settings: dict[str, Any]
    places: Mapping[Path, Place]
    rows: Callable[[], Iterator[Item]] | None
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path = ()) -> Place:
        """Where this part stands, or the nearest part around it that is known."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]
