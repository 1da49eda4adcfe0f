"""Two files of figures, made at two commits -> the ratios between them, and what got worse."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from .table import table

WORDS = "ratio > 1: the second is larger. noise: how far the rounds of either lie apart."
# Of all others less is better, but for those that say what was measured.
MORE_IS_BETTER = {"rows_per_second", "requests_per_second", "requests_per_cpu_second", "saved"}
NEITHER = {"ideal_seconds", "sandbox_busy", "exit_code", "rows"}
USUAL_NOISE = 0.1  # of figures that were measured once


class Figure(NamedTuple):
    """noise: the largest of the rounds less the least, as a share of the median; None for one."""

    value: float
    noise: float | None = None


def numbers(figures: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Figure]]:
    """Every number in nested dictionaries by its path; rounds give it its noise."""
    if isinstance(figures, Mapping):
        rounds = figures.get("rounds", ())
        for name, value in figures.items():
            if name in ("rounds", "circumstances"):
                continue
            for inner, figure in numbers(value, (*path, str(name))):
                yield inner, figure._replace(noise=noise_of(rounds, name) or figure.noise)
    elif isinstance(figures, int | float) and not isinstance(figures, bool):
        yield " ".join(path), Figure(float(figures))


def noise_of(rounds: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [one.get(name) for one in rounds]
    known = [value for value in values if isinstance(value, int | float)]
    if len(known) < 2 or not (middle := median(known)):
        return None
    return (max(known) - min(known)) / abs(middle)


def change(name: str, first: Figure, second: Figure) -> str:
    """`worse` or `better` where the second differs by more than the noise of both, else ""."""
    what = name.rpartition(" ")[2]
    if what in NEITHER:
        return ""
    noise = max(USUAL_NOISE if one.noise is None else one.noise for one in (first, second))
    less, more = sorted((first.value, second.value))
    if more <= less * (1 + noise):
        return ""
    return "better" if (second.value > first.value) == (what in MORE_IS_BETTER) else "worse"


def compared(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """A table of what both have: the two values, second / first, its noise, and what got worse."""
    a, b = dict(numbers(first)), dict(numbers(second))
    lines = []
    for name in [name for name in a if name in b and (a[name].value or b[name].value)]:
        one, other = a[name], b[name]
        noise = max((n for n in (one.noise, other.noise) if n is not None), default=None)
        lines.append(
            [
                name,
                f"{one.value:.3f}",
                f"{other.value:.3f}",
                f"{other.value / one.value:.2f}" if one.value else "–",
                "–" if noise is None else f"{noise:.0%}",
                change(name, one, other),
            ]
        )
    heads = [str(of.get("circumstances", {}).get("commit", ""))[:10] for of in (first, second)]
    worse = sum(line[-1] == "worse" for line in lines)
    told = table(["", heads[0] or "first", heads[1] or "second", "ratio", "noise", ""], lines)
    return f"{told}\n{worse} of {len(lines)} got worse by more than the noise."
