"""A YAML or JSON manifest that was read: its settings with their places, and its rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.core.rows import Place, Problem
from batchgen.manifest.records import Item

# Names and indices (from 0) that lead from the document to a setting; () is the document.
SettingPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """settings: all names but `rows`; empty where the document is a list of rows.

    places: of settings and their parts, as far as they are known.
    rows: yields the Records and Problems, from the start at each call; None without `rows`.
    problems: found beside the rows.
    """

    settings: dict[str, Any]
    places: Mapping[SettingPath, Place]
    rows: Callable[[], Iterator[Item]] | None
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: SettingPath = ()) -> Place:
        """Return the place of a part, or of the nearest part around it that is known."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]
