"""Rows, streamed -> report/: a page, its script, and the data in pieces that it loads on demand.

It opens from disk, where a page may load scripts but not data, so the data are scripts: calls with
JSON. What stands in the journal came from outside; in a script it is harmless as JSON without "<",
on the page the template escapes it, and the page forbids itself every request beyond the batch.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from batchgen.core.states import State
from batchgen.files import is_regular_file, open_regular, sync_folder, write_whole
from batchgen.journal import stored_values
from batchgen.media import thumbnails
from batchgen.report import next_steps, timeline
from batchgen.report.filters import Choice

ROWS_PER_PIECE = 1000
MAX_PIECES = 100
FILES_INDEX = 6  # their place in a row
CHUNKS_PER_WRITE = 4096  # of the page's text, written at once
TEMPLATES = Path(__file__).with_name("templates")
# json.dumps would make an encoder for each row.
_dumped = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# Nothing in a script may end it, nor a line of it; outside its texts JSON has none of these.
_HARMLESS = (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


class GalleryContent(NamedTuple):
    """What is told of a batch besides its rows.

    batch: its folder, as a command names it. facts: those of the contract with the script, without
    the numbers of what is written. narrowed: by what, in words; None is the whole batch.
    mark: what a file of picks says about a row. thumbs: whether the pieces name thumbnails.
    """

    batch: Path
    facts: Mapping[str, Any]
    numbers: Mapping[str, Any]
    counts: list[timeline.ActivityCount]
    stops: list[timeline.RunStop]
    mark: Callable[[Mapping[str, Any]], Choice | None]
    thumbs: bool


def write_gallery(gallery: GalleryContent, rows: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Write report/ from the rows that it is to show; return the facts.

    rows: taken to the last. A file that would stay the same is left alone.
    """
    report = gallery.batch / "report"
    data = report / "data"
    for folder in (report, data):
        folder.mkdir(exist_ok=True, mode=0o700)
    shown = named = 0
    entries = (gallery_row(row, gallery) for row in rows)
    pieces: set[str] = set()
    while len(pieces) < MAX_PIECES and (first := next(entries, None)):
        piece = chain([first], islice(entries, ROWS_PER_PIECE - 1))
        path = data / f"rows-{len(pieces) + 1}.js"
        with write_whole(path, keep_if_same=True) as file:
            ours = _write_piece(file, len(pieces) + 1, piece)
        shown, named = shown + ours[0], named + ours[1]
        pieces.add(path.name)
    words = json.loads((TEMPLATES / "words.json").read_text(encoding="utf-8"))
    facts = {
        **gallery.facts,
        "rows": shown,
        "pieces": len(pieces),
        "size": ROWS_PER_PIECE,
        "left_out": sum(1 for _ in rows),
        "thumbnails": named,
        "words": words,
    }
    with write_whole(data / "batch.js", keep_if_same=True) as file:
        file.write(f"gallery.open({to_script_json(facts)});\n")
    _write_page(report, gallery, facts)
    for old in (*report.glob("page-*.html"), *report.glob("report.css"), *data.glob("rows-*.js")):
        if old.name not in pieces and is_regular_file(old):
            old.unlink()
    for folder in (data, report):
        sync_folder(folder)
    return facts


def _write_piece(file: IO[str], number: int, entries: Iterable[list[Any]]) -> tuple[int, int]:
    """Write a piece; return how many rows it has and how many thumbnails it names."""
    count = named = 0
    file.write(f"gallery.rows({number},[")
    for count, one in enumerate(entries, 1):
        named += sum([thumb is not None for *_, thumb in one[FILES_INDEX]])
        file.write(("\n" if count == 1 else ",\n") + to_script_json(one))
    file.write("\n]);\n")
    return count, named


def to_script_json(value: Any) -> str:
    """Return a value as JSON that is harmless in a script."""
    text = _dumped(value)
    for character, escape in _HARMLESS:
        text = text.replace(character, escape)
    return text


def gallery_row(row: Mapping[str, Any], gallery: GalleryContent) -> list[Any]:
    """Return a row as the script takes it: an array, in the order that it knows."""
    state, listed = row["state"], row["listed"]
    files = [
        [
            *map(output.get, ("path", "kind", "width", "height", "bytes", "sha256")),
            thumbnails.thumbnail_path(output) if gallery.thumbs else None,
        ]
        for output in row["outputs"]
        if output["path"]
    ]
    return [
        *map(row.get, ("position", "id", "state", "model", "input", "meta")),
        files,
        *map(row.get, ("request_id", "cost", "price", "error_code", "error")),
        *map(row.get, ("submitted_at", "completed_at", "saved_at", "attempts")),
        int(listed),
        row["source"],
        gallery.mark(row),
        next_steps.command_for_row(str(gallery.batch), state, row["id"], listed),
    ]


def _write_page(report: Path, gallery: GalleryContent, facts: Mapping[str, Any]) -> None:
    # Here, so that the first POST of a run does not wait for it.
    from jinja2 import Environment, FileSystemLoader, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # for a page that is made once, it takes longer than it saves
    )
    numbers = gallery.numbers
    causes = [
        {
            **cause,
            "command": next_steps.command_for_cause(
                str(gallery.batch), cause["state"], cause["cause"]
            ),
        }
        for cause in numbers["causes"]
    ]
    drawing = timeline.draw_timeline(gallery.counts, gallery.stops, facts["words"]["timeline"])
    page = environment.get_template("index.html").generate(
        numbers={**numbers, "causes": causes},
        states=[state for state in State if numbers["counts"][state]],
        facts=facts,
        timeline=Markup(drawing),  # escaped where it was drawn
        words=facts["words"],
    )
    with write_whole(report / "index.html", keep_if_same=True) as file:
        while text := "".join(islice(page, CHUNKS_PER_WRITE)):
            file.write(text)
    for asset in (*TEMPLATES.glob("*.css"), *TEMPLATES.glob("*.js")):
        with write_whole(report / asset.name, keep_if_same=True) as file:
            file.write(asset.read_text(encoding="utf-8"))


def make_thumbnails(report: Path) -> None:
    """Make what the pieces in `report` name and what is not there yet; they need no journal.

    Of a whole batch, thumbnails that no piece names are removed.
    """
    # Where the reports could not be written, there may be what is no gallery of ours.
    with suppress(ValueError, LookupError, TypeError):
        facts = read_data_file(report / "data" / "batch.js")
        if not facts["thumbnails"] and not (report / thumbnails.FOLDER).is_dir():
            return
        whole = facts["narrowed"] is None and not facts["left_out"]
        thumbnails.make_thumbnails(report, _thumbnails_named(report), tidy=whole)


def _thumbnails_named(report: Path) -> Iterator[tuple[str, str]]:
    for piece in report.glob("data/rows-*.js"):
        for row in read_data_file(piece):
            for path, *_, thumb in row[FILES_INDEX]:
                if thumb and thumbnails.is_ours(thumb) and stored_values.is_path(path):
                    yield path, thumb


def read_data_file(path: Path) -> Any:
    """Return the JSON in one of the data files: the facts, or the rows of a piece."""
    with open_regular(path) as file:
        text = file.read().decode()
    begin = min(at for at in (text.find("["), text.find("{")) if at >= 0)
    return json.loads(text[begin : text.rindex(")")])
