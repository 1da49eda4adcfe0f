"""The small picture of a file that leaves this disk, made while it is here."""

from pathlib import Path

from batchgen import files
from batchgen.media.check import CheckedFile
from batchgen.media.formats import MAX_PIXELS
from batchgen.media.thumbnails import make_thumbnail, thumbnail_path


def make_thumbnail_of(file: CheckedFile, folder: Path) -> None:
    """Make the thumbnail where the gallery of a batch folder looks for it, if it gets one."""
    thumbnail = thumbnail_path(
        kind=file.format.kind,
        sha256=file.sha256,
        size=file.bytes,
        width=file.width,
        height=file.height,
    )
    if thumbnail is None:
        return
    target = folder / "report" / thumbnail
    if not target.exists():
        for place in (target.parents[1], target.parent):
            files.make_folder(place, folder)
        make_thumbnail(MAX_PIXELS, file.part, target)
