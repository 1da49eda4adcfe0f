"""Journal rows, streamed -> the files that people open, each replaced atomically.

The journal's texts came from outside, and a spreadsheet must not run them: what begins like a
formula gets an apostrophe. gallery.py protects the browser.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from batchgen import log
from batchgen.batch_folder import Folder
from batchgen.clock import Clock, to_iso
from batchgen.core.text import shell_quote
from batchgen.files import remove_temporary_files, write_json, write_whole
from batchgen.journal.reader import Reader, find_holder, summary
from batchgen.report import gallery, statistics
from batchgen.report.cells import escape_formulas
from batchgen.report.filters import EVERYTHING, Filter
from batchgen.report.inputs import model_inputs

BYTE_ORDER_MARK = "\ufeff"  # without it Excel reads UTF-8 as the text of an older Windows
COLUMNS = (
    "position", "id", "state", "files", "model", "request_id", "attempts", "price", "cost",
    "error_code", "error", "submitted_at", "completed_at", "saved_at", "source", "listed",
    "width", "height", "duration", "bytes", "sha256", "note",
)  # fmt: skip
NO_FILE = dict.fromkeys(("width", "height", "duration", "bytes", "sha256", "note"))
# The csv module writes these as JSON does; most cells are of these types, or text.
PLAIN_TYPES = {type(None), int}
# Made once: json.dumps makes an encoder for each call.
to_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class ExcelFormat:
    """What Excel expects of a CSV, by the region that the system is set to.

    Where a number is written 0,5 the cells are separated by semicolons, else by commas.
    """

    separator: str = ","
    decimal_mark: str = "."


IN_ENGLISH = ExcelFormat()
WITH_DECIMAL_COMMA = ExcelFormat(";", ",")


def write_report_files(
    folder: Folder,
    journal: Path | None = None,
    damaged: str = "",
    *,
    view: Filter = EVERYTHING,
    thumbnails: bool = True,
    excel: ExcelFormat | None = None,
    size: gallery.GallerySize = gallery.DEFAULT_SIZE,
    stop: Callable[[], bool] | None = None,
) -> int:
    """Write every report of a batch from its journal alone; return how many rows the gallery shows.

    journal: read instead of the batch's own, in which `damaged` says what is wrong.
    view: which rows the gallery shows; the tables always hold all.
    excel: how results-excel.csv is written; None writes none, and leaves the one that is there.
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
            remove_temporary_files(place, folder.path)
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
                folder.path.absolute(), facts, numbers, reader, view, thumbnails, size
            )
            with ExitStack() as files:
                # The rows are read once, and written to all of these on the way.
                lines = files.enter_context(write_whole(folder.path / "results.jsonl"))
                table = files.enter_context(write_whole(folder.path / "results.csv"))
                rows = _through_table(_through_lines(reader.rows(), lines), names, table)
                if excel is not None:
                    sheet = files.enter_context(write_whole(folder.path / "results-excel.csv"))
                    sheet.write(BYTE_ORDER_MARK)
                    rows = _through_table(rows, names, sheet, excel)
                facts = gallery.write_gallery(about, filter(shows, rows))
        write_json(folder.path / "summary.json", numbers)
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
        "running": _is_running(folder, reader),
        "schemas": model_inputs(
            folder.schemas, [model["model"] for model in numbers["totals"]["models"]]
        ),
        "workflows": str(folder.workflows.resolve()),
        "command": f"batchgen report {shell_quote(str(folder.path.absolute()))}",
    }


def _is_running(folder: Folder, reader: Reader) -> bool:
    """Whether the last run goes on, in another process: this one writes after its run has ended."""
    run, holder = reader.last_run() or {}, find_holder(folder)
    return bool(not run.get("ended_at") and holder and holder.is_process(run.get("process")))


def _through_lines(rows: Iterable[dict[str, Any]], file: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield each row after writing it as a line of results.jsonl."""
    for row in rows:
        file.write(to_json(row) + "\n")
        yield row


def _through_table(
    rows: Iterable[dict[str, Any]],
    names: tuple[list[str], list[str]],
    file: IO[str],
    form: ExcelFormat = IN_ENGLISH,
) -> Iterator[dict[str, Any]]:
    """Write the header of a table; yield each row after writing it as a line.

    names: those of all inputs, and of all metadata.
    """
    inputs, metas = names
    add = csv.writer(file, delimiter=form.separator).writerow
    fixed = itemgetter(*COLUMNS)
    named = [*(f"input.{name}" for name in inputs), *(f"meta.{name}" for name in metas)]
    add([*COLUMNS, *(csv_cell(name, form) for name in named)])
    for row in rows:
        files = [output for output in row["outputs"] if output["path"]]
        flat = {**row, **(files[0] if files else NO_FILE)}
        flat["files"] = " ".join([output["path"] for output in files])
        flat["note"] = next((output["note"] for output in files if output["note"]), None)
        cells = [*fixed(flat), *map(row["input"].get, inputs), *map(row["meta"].get, metas)]
        add([value if type(value) in PLAIN_TYPES else csv_cell(value, form) for value in cells])
        yield row


def csv_cell(value: Any, form: ExcelFormat = IN_ENGLISH) -> str:
    """Return a value that is not of PLAIN_TYPES as a cell that a spreadsheet does not run."""
    if isinstance(value, bool):  # as `to_json` does, but much faster
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return repr(value).replace(".", form.decimal_mark)
    return escape_formulas(value if isinstance(value, str) else to_json(value), form.separator)
