"""How figures are told: tables in plain text, medians, and what stands in the JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]

# (figure, heading, how it is written)
COLUMNS = (
    ("seconds", "wall s", "{:.2f}"),
    ("rows_per_second", "rows/s", "{:.1f}"),
    ("times_ideal", "× ideal", "{:.3f}"),
    ("cpu_ms", "CPU ms/row", "{:.2f}"),
    ("peak_mib", "peak MiB", "{:.0f}"),
    ("polls", "polls/row", "{:.2f}"),
    ("lag", "lag s", "{:.3f}"),
    ("throttled", "429s", "{:.0f}"),
    ("paid_twice", "paid twice", "{:.0f}"),
    ("lost", "lost", "{:.0f}"),
    ("unanswered", "unanswered", "{:.0f}"),
    ("saved", "saved", "{:.1%}"),
    ("wrong", "wrong", "{:.0f}"),
    ("sandbox_busy", "sandbox busy", "{:.0%}"),
)


def medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of each figure; one that is None in any round, or no number, is None."""
    found: dict[str, Any] = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        numbers = all(isinstance(value, int | float) for value in values)
        found[name] = median(values) if numbers else None
    return found


def written(form: str, value: Any) -> str:
    return "–" if value is None else form.format(value)


def table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Columns as wide as what is in them; the first to the left, the others to the right."""
    every = [list(headings), *map(list, lines)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    told = []
    for line in every:
        first, *rest = (
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        told.append("  ".join([first, *rest]).rstrip())
    return "\n".join(told)


def scenario_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """found: the medians of each contender by its name."""
    lines = [
        [name, *(written(form, figures[key]) for key, _, form in COLUMNS)]
        for name, figures in found.items()
    ]
    return table(["", *(heading for _, heading, _ in COLUMNS)], lines)


def commit() -> str:
    """The git commit of this tree, with `+` where files differ from it; "" where there is none."""
    try:
        asked = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def circumstances() -> dict[str, Any]:
    """Where and when it was measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def place() -> str:
    """One line of where it is measured."""
    there = circumstances()
    changed = " with changes" if there["commit"].endswith("+") else ""
    return (
        f"Commit {there['commit'][:10]}{changed}, Python {there['python']}, {there['system']},"
        f" {there['cpus']} cores, load {there['load']:.1f}"
    )


def keep(file: Path | None, kind: str, figures: Any) -> None:
    """Write figures as JSON, beside those of other kinds that the file has already."""
    if file is None:
        return
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known |= {kind: figures, "circumstances": circumstances()}
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
