"""Rows, streamed -> report/: a page with its script, and pieces of rows that it loads on demand.

A page that is opened from disk may load scripts but not data, so each piece is a script: a call
with JSON. The journal's texts came from outside. In a script they are JSON without "<"; on the page
the template escapes them; the page's content security policy forbids requests beyond the batch, and
every script but the page's own and what that loads.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from batchgen.core.local_files import with_paths
from batchgen.core.states import State
from batchgen.core.text import unturned
from batchgen.files import (
    is_regular_file,
    make_folder,
    open_regular,
    remove_file,
    sync_folder,
    write_whole,
)
from batchgen.journal import stored_values
from batchgen.journal.reader import Reader
from batchgen.media import formats, thumbnails
from batchgen.report import next_steps, statistics, summary_text, timeline
from batchgen.report.filters import MAX_NOTE, Filter

if TYPE_CHECKING:
    from jinja2 import Template

FILES_INDEX = 6  # of the list of files in a row
CHUNKS_PER_WRITE = 4096  # of the page's text
TEMPLATES = Path(__file__).with_name("templates")
# In the order in which they need each other.
SCRIPTS = (
    *("store", "search", "tiles", "grid", "choose", "exports", "zoom", "detail", "facets"),
    *("matrix", "compare", "cull", "picks", "origin", "address", "gallery"),
)
# Made once: json.dumps makes an encoder for each call.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# Characters that can end a script or a line of it; JSON has them in its strings only.
_ESCAPES = (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


class GallerySize(NamedTuple):
    """How many rows a data file holds, and how many data files the gallery has at most."""

    rows_per_piece: int = 1000
    max_pieces: int = 100


DEFAULT_SIZE = GallerySize()


class GalleryContent(NamedTuple):
    """What the gallery shows of a batch besides its rows.

    batch: its folder, absolute where commands name it: a page is opened from anywhere. facts:
    values for the script, without the counts of what is written; `narrowed` there is the filter in
    words, None for the whole batch.
    view: which rows are shown, and what a file of picks says about them.
    thumbs: whether rows name thumbnails. paths: of the files that are shown; None for all.
    """

    batch: Path
    facts: Mapping[str, Any]
    numbers: Mapping[str, Any]
    reader: Reader
    view: Filter
    thumbs: bool
    size: GallerySize = DEFAULT_SIZE
    paths: Collection[str] | None = None


def write_gallery(gallery: GalleryContent, rows: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Write report/ from the rows that it is to show; return the facts of data/batch.js.

    rows: read to the end, so that those beyond the gallery's size are counted. A file that would
    stay the same is not written again.
    """
    report = gallery.batch / "report"
    data = report / "data"
    for folder in (report, data):
        make_folder(folder, gallery.batch)
    shown = pictures = named = 0
    entries = (gallery_row(row, gallery) for row in rows)
    pieces: set[str] = set()
    while len(pieces) < gallery.size.max_pieces and (first := next(entries, None)):
        piece = chain([first], islice(entries, gallery.size.rows_per_piece - 1))
        path = data / f"rows-{len(pieces) + 1}.js"
        with write_whole(path, inside=gallery.batch, keep_if_same=True) as file:
            counts = _write_piece(file, len(pieces) + 1, piece)
        shown, pictures, named = map(sum, zip((shown, pictures, named), counts, strict=True))
        pieces.add(path.name)
    words = json.loads((TEMPLATES / "words.json").read_text(encoding="utf-8"))
    facts = {
        **gallery.facts,
        "rows": shown,
        "pictures": pictures,
        "pieces": len(pieces),
        "size": gallery.size.rows_per_piece,
        "most_note": MAX_NOTE,
        "left_out": sum(1 for _ in rows),
        "thumbnails": named,
        "words": words,
    }
    with write_whole(data / "batch.js", inside=gallery.batch, keep_if_same=True) as file:
        file.write(f"gallery.open({to_script_json(facts)});\n")
    _write_page(report, gallery, facts)
    earlier = [report / f"{name}.js" for name in SCRIPTS]
    earlier += [*report.glob("page-*.html"), *report.glob("report.css"), *data.glob("rows-*.js")]
    for old in earlier:
        if old.name not in pieces and is_regular_file(old):
            remove_file(old, gallery.batch)
    for folder in (data, report):
        sync_folder(folder)
    return facts


def _write_piece(file: IO[str], number: int, entries: Iterable[list[Any]]) -> tuple[int, int, int]:
    """Write a piece; return the numbers of its rows, of the tiles that they have, one for each file
    and one for a row without any, and of the thumbnails that it names.
    """
    count = pictures = named = 0
    file.write(f"gallery.rows({number},[")
    for count, one in enumerate(entries, 1):
        pictures += len(one[FILES_INDEX]) or 1
        named += sum([thumb is not None for *_, thumb in one[FILES_INDEX]])
        file.write(("\n" if count == 1 else ",\n") + to_script_json(one))
    file.write("\n]);\n")
    return count, pictures, named


def to_script_json(value: Any) -> str:
    """Return a value as JSON that is safe inside a script element."""
    text = _encode(value)
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def gallery_row(row: Mapping[str, Any], gallery: GalleryContent) -> list[Any]:
    """Return a row as the array that templates/store.js reads."""
    state, listed = row["state"], row["listed"]
    several = len(row["outputs"]) > 1
    files = [
        [
            output["path"],
            _shown_kind(output),
            *map(output.get, ("width", "height", "duration", "bytes", "sha256", "note")),
            output["n"] if several else None,
            gallery.view.choice_of(row, output["n"]),
            _thumbnail(output) if gallery.thumbs else None,
        ]
        for output in gallery.view.outputs_of(row)
        if output["path"] and (gallery.paths is None or output["path"] in gallery.paths)
    ]
    return [
        *map(row.get, ("position", "id", "state", "model")),
        with_paths(row["input"]),  # as an export of the gallery, a manifest, has to have them
        row["meta"],
        files,
        *map(row.get, ("request_id", "cost", "price", "error_code", "error")),
        *map(row.get, ("submitted_at", "completed_at", "saved_at", "attempts")),
        int(listed),
        row["source"],
        gallery.view.choice_of(row),
        next_steps.command_for_row(
            str(gallery.batch), state, row["id"], listed, row["error"] or ""
        ),
    ]


def _shown_kind(output: Mapping[str, Any]) -> str:
    """Return as what the gallery shows a file; `file` if it does not open it at all."""
    kind = formats.shown_kind(output["path"])
    pixels = (output["width"] or 0) * (output["height"] or 0)
    return "file" if kind == "image" and pixels > formats.MAX_PIXELS else kind


def _thumbnail(output: Mapping[str, Any]) -> str | None:
    return thumbnails.thumbnail_path(
        kind=_shown_kind(output),
        sha256=output["sha256"],
        size=output["bytes"] or 0,
        width=output["width"],
        height=output["height"],
    )


@cache
def _page_template() -> "Template":
    # Imported here, so that the first POST of a run does not wait for it.
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # for one page, optimizing takes longer than it saves
        finalize=lambda value: unturned(value) if type(value) is str else value,
    )
    return environment.get_template("index.html")


def _write_page(report: Path, gallery: GalleryContent, facts: Mapping[str, Any]) -> None:
    from markupsafe import Markup

    numbers, batch = gallery.numbers, str(gallery.batch)
    causes = [
        cause | {"command": next_steps.command_for_cause(batch, cause["state"], cause["cause"])}
        for cause in numbers["causes"]
    ]
    money = numbers.get("money_usd") or {}  # that of somebody else's batch is not told
    drawing = "" if facts.get("shared") else _timeline(gallery.reader, facts["words"]["timeline"])
    # A page from disk may not load a script by its hash, so ours stands in the page. It alone may
    # load others: a file that somebody put into the batch folder is no script of the page.
    script = "".join((TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    digest = hashlib.sha256(script.encode()).digest()
    page = _page_template().generate(
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
        numbers={**numbers, "causes": causes},
        spread=summary_text.spread(money.get("estimated_least"), money.get("estimated_most")),
        states=[state for state in State if numbers["counts"][state]],
        facts=facts,
        timeline=Markup(unturned(drawing)),  # `draw_timeline` has escaped it
        words=facts["words"],
    )
    with write_whole(report / "index.html", inside=gallery.batch, keep_if_same=True) as file:
        while text := "".join(islice(page, CHUNKS_PER_WRITE)):
            file.write(text)
    for asset in TEMPLATES.glob("*.css"):
        with write_whole(report / asset.name, inside=gallery.batch, keep_if_same=True) as file:
            file.write(asset.read_text(encoding="utf-8"))


def _timeline(reader: Reader, words: Mapping[str, Any]) -> str:
    counts, stops = statistics.activity(reader), statistics.run_stops(reader)
    return timeline.draw_timeline(counts, stops, words, statistics.run_changes(reader))


def make_thumbnails(report: Path) -> None:
    """Make the thumbnails that the data files in `report` name and that do not exist yet.

    If the gallery shows the whole batch, thumbnails that no data file names are removed.
    """
    # If the reports could not be written, the files there may be of any form.
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
    """Return the JSON in a data file: the facts of batch.js, or the rows of a piece."""
    with open_regular(path) as file:
        text = file.read().decode()
    begin = min(at for at in (text.find("["), text.find("{")) if at >= 0)
    return json.loads(text[begin : text.rindex(")")])
