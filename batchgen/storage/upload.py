"""The report of a batch -> its store, beside the files, so that the gallery can be opened there.

Links of the gallery are relative, so it works wherever `report/` lies beside `images/`. What stands
there and is no report of this batch stays.
"""

from collections.abc import Iterator
from pathlib import Path

from batchgen import files
from batchgen.core.text import shell_quote
from batchgen.errors import UsageError
from batchgen.files import is_regular_file
from batchgen.media.thumbnails import is_ours
from batchgen.storage.object_store import ObjectStore

TABLES = ("results.csv", "results.jsonl", "results-excel.csv", "summary.json")
PAGE = "report/index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".webp": "image/webp",
}


async def upload_report(store: ObjectStore, folder: Path, batch_id: str) -> None:
    """Put the report that lies in the batch folder, the page last.

    batch_id: what tells this batch's report from others'. Raises UsageError where another report or
    file has the name of one, and StoreUnreachable.
    """
    for path in _paths(folder):
        # A thumbnail is named by its content.
        whose = "thumbnail" if is_ours(path.removeprefix("report/")) else f"report {batch_id}"
        with files.open_regular(folder / path, follow=False) as file:
            content = file.read()
        kind = _TYPES[Path(path).suffix]
        if not await store.put_ours(path, content, kind, whose):
            raise UsageError(
                f"{store.place}/{path} is not from a report of this batch, and stays. The rest of"
                " the report is not put there.",
                "Two batches that share a place cannot both have their report there. A copy goes"
                f" to a folder with: batchgen report {shell_quote(str(folder))} --to FOLDER",
            )


def _paths(folder: Path) -> Iterator[str]:
    """Yield what is there of a report, the page last: whoever opens it finds the rest."""
    for name in TABLES:
        if is_regular_file(folder / name):
            yield name
    for found in sorted((folder / "report").rglob("*")):
        path = found.relative_to(folder).as_posix()
        shown = found.suffix in _TYPES and not found.name.startswith(".")
        if shown and path != PAGE and is_regular_file(found):
            yield path
    yield PAGE
