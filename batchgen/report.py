"""Journal rows, streamed -> the files that people open, each replaced atomically.

What stands in the journal came from outside. A spreadsheet must not run it, so cells that begin
like a formula get an apostrophe; a browser must not either, so the page escapes everything, has no
script, and forbids itself every request beyond the batch folder.
"""

import csv
import filecmp
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from batchgen.folder import Folder, replaced, sync_file, sync_folder
from batchgen.reading import Reader, summary
from batchgen.states import State

FORMULA = ("=", "+", "-", "@", "\t", "\r")
ROWS_A_PAGE = 1000
LEAPS = (0, 1, 2, 10, 50, 200)  # so many pages ahead and back are a link away
PIECES = 4096  # of a page's text, written at once
COLUMNS = (
    "position", "id", "state", "files", "model", "request_id", "attempts", "price", "cost",
    "error_code", "error", "submitted_at", "completed_at", "saved_at", "source", "listed",
    "width", "height", "bytes", "sha256",
)  # fmt: skip
NO_FILE = dict.fromkeys(("width", "height", "bytes", "sha256"))
# What the csv module writes just as JSON would; nearly every cell is one of these, or text.
AS_IT_IS = {type(None), int}
# json.dumps would make an encoder for each row.
dumped = json.JSONEncoder(ensure_ascii=False).encode


class Article(NamedTuple):
    """A row as the gallery shows it.

    files: kind, URL as seen from the page, width and height in pixels.
    inputs: names and words, without the prompt. about: the same of what was not sent.
    """

    state: str
    id: str
    prompt: Any
    error: str | None
    files: list[tuple[str, str, int | None, int | None]]
    inputs: list[tuple[str, str]]
    about: list[tuple[str, str]]


def write(folder: Folder, journal: Path | None = None, damaged: str = "") -> dict[str, Any]:
    """Write every report of a batch from its journal alone; return the summary.

    journal: read instead of the batch's own, which is `damaged` in these words.
    """
    reader = Reader(journal or folder.journal)
    try:
        with (
            reader.one_moment(),
            replaced(folder.path / "results.jsonl") as lines,
            replaced(folder.path / "results.csv") as table,
        ):
            numbers = summary(reader)
            if damaged:
                numbers["damaged"] = damaged
            # Read once: on its way to the gallery a row passes through the two others.
            rows = _through_table(_through_lines(reader.rows(), lines), reader, table)
            _write_gallery(folder.path / "report", rows, reader.shown(), numbers)
        with replaced(folder.path / "summary.json") as file:
            json.dump(numbers, file, indent=2, ensure_ascii=False)
            file.write("\n")
    finally:
        reader.close()
    return numbers


def _through_lines(rows: Iterable[dict[str, Any]], file: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows again, each when it is a line of results.jsonl."""
    for row in rows:
        file.write(dumped(row) + "\n")
        yield row


def _through_table(
    rows: Iterable[dict[str, Any]], reader: Reader, file: IO[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows again, each when it is a line of results.csv, below the header."""
    inputs, metas = reader.names_in("input"), reader.names_in("meta")
    add = csv.writer(file).writerow
    fixed = itemgetter(*COLUMNS)
    add([*COLUMNS, *(f"input.{name}" for name in inputs), *(f"meta.{name}" for name in metas)])
    for row in rows:
        files = [output for output in row["outputs"] if output["path"]]
        flat = {**row, **(files[0] if files else NO_FILE)}
        flat["files"] = " ".join([output["path"] for output in files])
        cells = [
            *fixed(flat),
            *map(row["input"].get, inputs),
            *map(row["meta"].get, metas),
        ]
        add([value if type(value) in AS_IT_IS else cell(value) for value in cells])
        yield row


def cell(value: Any) -> str:
    """Return a CSV cell, other than AS_IT_IS, that a spreadsheet shows and does not run."""
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA) else value
    if isinstance(value, bool):  # this and the next as below, and much faster
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return dumped(value)


def _write_gallery(
    folder: Path, rows: Iterator[dict[str, Any]], shown: int, numbers: dict[str, Any]
) -> None:
    """Write report/index.html and, for long batches, page-2.html and so on.

    rows: taken to the last. shown: how many they are.
    """
    # Here, so that the first POST of a run does not wait for it.
    from jinja2 import Environment, PackageLoader, select_autoescape

    folder.mkdir(exist_ok=True, mode=0o700)
    templates = PackageLoader("batchgen")
    environment = Environment(loader=templates, autoescape=select_autoescape(), trim_blocks=True)
    environment.filters["page"] = page_name
    page = environment.get_template("report.html")
    last = max(1, math.ceil(shown / ROWS_A_PAGE))
    for number in range(1, last + 1):
        pieces = page.generate(
            numbers=numbers,
            states=[state for state in State if numbers["counts"][state]],
            articles=map(article, islice(rows, ROWS_A_PAGE)),
            number=number,
            last=last,
            linked=linked(number, last),
        )
        with _rewritten(folder / page_name(number)) as file:
            while text := "".join(islice(pieces, PIECES)):
                file.write(text)
    deque(rows, maxlen=0)
    style, _, _ = templates.get_source(environment, "report.css")
    with _rewritten(folder / "report.css") as file:
        file.write(style)
    names = {page_name(number) for number in range(1, last + 1)}
    for old in folder.glob("page-*.html"):
        if old.name not in names:
            old.unlink()
    sync_folder(folder)


def article(row: dict[str, Any]) -> Article:
    about = [(name, shown(v)) for name, v in row["meta"].items() if v not in ("", None)]
    if row["cost"] is not None:
        about.append(("cost", f"${row['cost']}"))
    if not row["listed"]:
        about.append(("manifest", "no longer listed"))
    return Article(
        row["state"],
        row["id"],
        row["input"].get("prompt"),
        row["error"],
        [
            (output["kind"], quote(f"../{output['path']}"), output["width"], output["height"])
            for output in row["outputs"]
            if output["path"]
        ],
        [(name, shown(value)) for name, value in row["input"].items() if name != "prompt"],
        about,
    )


def shown(value: Any) -> str:
    return value if isinstance(value, str) else dumped(value)


def linked(number: int, last: int) -> list[int]:
    """The pages that a page links to, itself among them: of a thousand, any is a few links away."""
    near = {number + way * leap for leap in LEAPS for way in (-1, 1)}
    return sorted({1, last} | {n for n in near if 1 <= n <= last})


def page_name(number: int) -> str:
    return "index.html" if number == 1 else f"page-{number}.html"


@contextmanager
def _rewritten(path: Path) -> Iterator[IO[str]]:
    """As `replaced`, but a file that would stay the same is left alone, and the folder unsynced.

    For a thousand pages of which one has changed, or none.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            if path.exists() and filecmp.cmp(part, path, shallow=False):
                return
            sync_file(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
