"""What `batchgen validate` takes for lists of the shortest rows, the most that a size can have."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .measure import Figures, launched
from .table import table, written

MODEL = "ideogram/ideogram-v2/generate"
SIZE = 10_000_000  # bytes
# name: the file, its beginning, a row
LISTS = {
    "texts of a letter": ("a.txt", "", "a\n"),
    "CSV": ("a.csv", "prompt\n", "a\n"),
    "JSONL": ("a.jsonl", "", '{"prompt":"a"}\n'),
    "YAML, texts": ("a.yaml", "", "- a\n"),
    "YAML, texts under rows:": ("a.yaml", "rows:\n", "- a\n"),
    "YAML, names and values": ("a.yaml", "", "- prompt: a\n"),
    "YAML, rows with a problem": ("a.yaml", "", "- 1\n"),
}
COLUMNS = (
    ("rows", "rows", "{:,}"),
    ("cpu_seconds", "CPU s", "{:.1f}"),
    ("cpu_us", "CPU µs/row", "{:.1f}"),
    ("peak_mib", "peak MiB", "{:.0f}"),
)


def reading(size: int = SIZE) -> dict[str, Figures]:
    """rows; cpu_seconds; cpu_us: CPU microseconds a row, the start too; peak_mib."""
    found = {}
    for name, (file, beginning, row) in LISTS.items():
        rows = (size - len(beginning)) // len(row)
        with tempfile.TemporaryDirectory(prefix="batchgen-bench-") as folder:
            (Path(folder) / file).write_text(beginning + rows * row, encoding="utf-8")
            words = [sys.executable, "-m", "batchgen", "validate", file, "--model", MODEL]
            used = launched(words, Path(folder))
        found[name] = {
            "rows": rows,
            "cpu_seconds": used["cpu_seconds"],
            "cpu_us": 1e6 * used["cpu_seconds"] / rows,
            "peak_mib": used["peak_bytes"] / 2**20,
        }
    return found


def reading_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        [name, *(written(form, figures[key]) for key, _, form in COLUMNS)]
        for name, figures in found.items()
    ]
    return table(["", *(heading for _, heading, _ in COLUMNS)], lines)
