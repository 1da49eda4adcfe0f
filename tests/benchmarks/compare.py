"""Two files of figures, made at two commits -> the ratios between them."""

from collections.abc import Iterator, Mapping
from typing import Any

from .table import table

WORDS = "ratio > 1: the second is larger"


def numbers(figures: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Every number in nested dictionaries by its path; single rounds are left out."""
    if isinstance(figures, Mapping):
        for name, value in figures.items():
            if name not in ("rounds", "circumstances"):
                yield from numbers(value, (*path, str(name)))
    elif isinstance(figures, int | float) and not isinstance(figures, bool):
        yield " ".join(path), float(figures)


def compared(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """A table of what both have: the figure, its two values, and second / first."""
    a, b = dict(numbers(first)), dict(numbers(second))
    lines = [
        [name, f"{a[name]:.3f}", f"{b[name]:.3f}", f"{b[name] / a[name]:.2f}" if a[name] else "–"]
        for name in a
        if name in b and (a[name] or b[name])
    ]
    heads = [str(of.get("circumstances", {}).get("commit", ""))[:10] for of in (first, second)]
    return table(["", heads[0] or "first", heads[1] or "second", "ratio"], lines)
