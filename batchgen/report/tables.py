"""Journal rows, streamed -> the files that people open, each replaced atomically.

The journal's texts came from outside, and a spreadsheet must not run them: a cell that begins like
a formula gets an apostrophe. gallery.py protects the browser.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from batchgen import log
from batchgen.batch_folder import Folder
from batchgen.clock import Clock, to_iso
from batchgen.core.text import shell_quote
from batchgen.files import remove_temporary_files, write_whole
from batchgen.journal.reader import Reader, summary
from batchgen.report import gallery, statistics
from batchgen.report.filters import EVERYTHING, Filter
from batchgen.report.inputs import model_inputs

FORMULA_STARTS = {"=", "+", "-", "@", "\t", "\r"}
COLUMNS = (
    "position", "id", "state", "files", "model", "request_id", "attempts", "price", "cost",
    "error_code", "error", "submitted_at", "completed_at", "saved_at", "source", "listed",
    "width", "height", "bytes", "sha256", "note",
)  # fmt: skip
NO_FILE = dict.fromkeys(("width", "height", "bytes", "sha256", "note"))
# The csv module writes these as JSON does; most cells are of these types, or text.
PLAIN_TYPES = {type(None), int}
# Made once: json.dumps makes an encoder for each call.
to_json = json.JSONEncoder(ensure_ascii=False).encode


def write_report_files(
    folder: Folder,
    journal: Path | None = None,
    damaged: str = "",
    *,
    view: Filter = EVERYTHING,
    thumbnails: bool = True,
    size: gallery.GallerySize = gallery.DEFAULT_SIZE,
    stop: Callable[[], bool] | None = None,
) -> int:
    """Write every report of a batch from its journal alone; return how many rows the gallery shows.

    journal: read instead of the batch's own, in which `damaged` says what is wrong.
    view: which rows the gallery shows; the tables always hold all.
    thumbnails: whether the gallery names thumbnails; `make_thumbnails` makes them.
    stop: asked while the journal is read; a yes ends that with StorageDamaged, and the files that
        are not replaced by then stay as they were.
    Raises UsageError, before anything is written, if `view` names what the batch does not have, and
    LeadsOutside if a folder in the batch is a link.
    """
    folder.refuse_links()
    reader = Reader(journal or folder.journal, stop=stop)
    try:
        for place in (folder.path, folder.path / "report", folder.path / "report" / "data"):
            remove_temporary_files(place)
        with reader.one_moment():
            names = reader.names_in("input"), reader.names_in("meta")
            shows = view.predicate(*names)
            if view.picks is not None:
                view.picks.require_rows(reader.ids())
            numbers = {**summary(reader), "totals": statistics.totals(reader)}
            if damaged:
                numbers["damaged"] = damaged
            facts = _facts(folder, reader, numbers) | {"narrowed": view.description}
            about = gallery.GalleryContent(
                folder.path, facts, numbers, reader, view, thumbnails, size
            )
            with (
                write_whole(folder.path / "results.jsonl") as lines,
                write_whole(folder.path / "results.csv") as table,
            ):
                # The rows are read once, and written to all three on the way.
                rows = _through_table(_through_lines(reader.rows(), lines), names, table)
                facts = gallery.write_gallery(about, filter(shows, rows))
        with write_whole(folder.path / "summary.json") as file:
            json.dump(numbers, file, indent=2, ensure_ascii=False)
            file.write("\n")
    finally:
        reader.close()
    if reader.left_out:
        log.warn(f"{folder.journal}: {reader.left_out}")
    shown: int = facts["rows"]
    return shown


def make_thumbnails(folder: Folder) -> None:
    """Make the thumbnails that the gallery names and that are missing. Needs no journal or lock."""
    folder.refuse_links()
    gallery.make_thumbnails(folder.path / "report")


def _facts(folder: Folder, reader: Reader, numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "batch": folder.path.resolve().name,
        "batch_id": statistics.batch_id(reader),
        "manifest": numbers["run"]["manifest"],
        # The time of the last change, so that the same journal gives the same files.
        "written_at": statistics.changed_at(reader) or to_iso(Clock().now()),
        "rehearsal": numbers["rehearsal"],
        "schemas": model_inputs(
            folder.schemas, [model["model"] for model in numbers["totals"]["models"]]
        ),
        "command": f"batchgen report {shell_quote(str(folder.path))}",
    }


def _through_lines(rows: Iterable[dict[str, Any]], file: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield each row after writing it as a line of results.jsonl."""
    for row in rows:
        file.write(to_json(row) + "\n")
        yield row


def _through_table(
    rows: Iterable[dict[str, Any]], names: tuple[list[str], list[str]], file: IO[str]
) -> Iterator[dict[str, Any]]:
    """Write the header of results.csv; yield each row after writing it as a line.

    names: those of all inputs, and of all metadata.
    """
    inputs, metas = names
    add = csv.writer(file).writerow
    fixed = itemgetter(*COLUMNS)
    add([*COLUMNS, *(f"input.{name}" for name in inputs), *(f"meta.{name}" for name in metas)])
    for row in rows:
        files = [output for output in row["outputs"] if output["path"]]
        flat = {**row, **(files[0] if files else NO_FILE)}
        flat["files"] = " ".join([output["path"] for output in files])
        flat["note"] = next((output["note"] for output in files if output["note"]), None)
        cells = [*fixed(flat), *map(row["input"].get, inputs), *map(row["meta"].get, metas)]
        add([value if type(value) in PLAIN_TYPES else csv_cell(value) for value in cells])
        yield row


def csv_cell(value: Any) -> str:
    """Return a value that is not of PLAIN_TYPES as a cell that a spreadsheet does not run."""
    if isinstance(value, str):
        return "'" + value if value[:1] in FORMULA_STARTS else value
    if isinstance(value, bool):  # as `to_json` does, but much faster
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return to_json(value)
