"""Journal rows, streamed -> the files that people open, each replaced atomically.

What stands in the journal came from outside. A spreadsheet must not run it, so cells that begin
like a formula get an apostrophe; a browser must not either, so the page escapes everything, has no
script, and forbids itself every request beyond the batch folder.
"""

import csv
import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, select_autoescape

from batchgen.folder import Folder, replaced
from batchgen.reading import Reader, summary
from batchgen.states import State

FORMULA = ("=", "+", "-", "@", "\t", "\r")
ROWS_A_PAGE = 1000
COLUMNS = (
    "position", "id", "state", "files", "model", "request_id", "attempts", "price", "cost",
    "error_code", "error", "submitted_at", "completed_at", "saved_at", "source", "listed",
    "width", "height", "bytes", "sha256",
)  # fmt: skip


def write(folder: Folder, journal: Path | None = None, damaged: str = "") -> dict[str, Any]:
    """Write every report of a batch from its journal alone; return the summary.

    journal: read instead of the batch's own, which is `damaged` in these words.
    """
    reader = Reader(journal or folder.journal)
    try:
        numbers = summary(reader)
        if damaged:
            numbers["damaged"] = damaged
        with replaced(folder.path / "results.jsonl") as file:
            for row in reader.rows():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        with replaced(folder.path / "results.csv") as file:
            table = csv.writer(file)
            table.writerows(as_table(reader))
        _write_gallery(folder.path / "report", reader, numbers)
        with replaced(folder.path / "summary.json") as file:
            json.dump(numbers, file, indent=2, ensure_ascii=False)
            file.write("\n")
    finally:
        reader.close()
    return numbers


def as_table(reader: Reader) -> Iterator[list[str]]:
    """Yield the header of results.csv and then its rows."""
    inputs, metas = reader.names_in("input"), reader.names_in("meta")
    yield [*COLUMNS, *(f"input.{name}" for name in inputs), *(f"meta.{name}" for name in metas)]
    for row in reader.rows():
        files = [output for output in row["outputs"] if output["path"]]
        flat = {**row, "files": " ".join(output["path"] for output in files)}
        flat |= {name: files[0][name] for name in ("width", "height", "bytes", "sha256") if files}
        cells = [flat.get(name) for name in COLUMNS]
        cells += [row["input"].get(name) for name in inputs]
        cells += [row["meta"].get(name) for name in metas]
        yield [cell(value) for value in cells]


def cell(value: Any) -> str:
    """Return a CSV cell that a spreadsheet shows and does not run."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA) else value
    return dumped(value)


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_gallery(folder: Path, reader: Reader, numbers: dict[str, Any]) -> None:
    """Write report/index.html and, for long batches, page-2.html and so on."""
    folder.mkdir(exist_ok=True, mode=0o700)
    environment = Environment(
        loader=PackageLoader("batchgen"), autoescape=select_autoescape(), trim_blocks=True
    )
    environment.filters["shown"] = lambda value: value if isinstance(value, str) else dumped(value)
    environment.filters["fileurl"] = lambda path: quote(f"../{path}")
    page = environment.get_template("report.html")
    (shown,) = reader.query("SELECT COUNT(*) AS n FROM requests WHERE listed = 1 OR attempts > 0")
    pages = [page_name(n) for n in range(1, max(1, math.ceil(shown["n"] / ROWS_A_PAGE)) + 1)]
    rows = reader.rows()
    for number, name in enumerate(pages, 1):
        text = page.generate(
            numbers=numbers,
            states=[state for state in State if numbers["counts"][state]],
            rows=islice(rows, ROWS_A_PAGE),
            pages=pages,
            number=number,
        )
        with replaced(folder / name) as file:
            file.writelines(text)
    style, _, _ = PackageLoader("batchgen").get_source(environment, "report.css")
    with replaced(folder / "report.css") as file:
        file.write(style)
    for old in folder.glob("page-*.html"):
        if old.name not in pages:
            old.unlink()


def page_name(number: int) -> str:
    return "index.html" if number == 1 else f"page-{number}.html"
