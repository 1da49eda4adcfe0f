"""The small picture of a file that leaves this disk, made while it is here.

It is made in the middle of a run, so one at a time, and none of a picture that takes much memory:
`report --media download` makes these.
"""

import asyncio
from pathlib import Path

from batchgen import files
from batchgen.media.check import CheckedFile
from batchgen.media.thumbnails import make_thumbnail, thumbnail_path

MAX_PIXELS = 25_000_000  # to four bytes each
MAX_BYTES = 32 << 20  # a decoder may hold all of a file's other data


class ThumbnailMaker:
    """folder: the batch's, where the gallery looks. wanted: whether any is made."""

    def __init__(self, folder: Path, *, wanted: bool) -> None:
        self._folder = folder
        self._wanted = wanted
        self._one_by_one = asyncio.Lock()

    async def make(self, file: CheckedFile) -> None:
        """Make the thumbnail of a file that gets one, if it is not there."""
        thumbnail = thumbnail_path(
            kind=file.format.kind,
            sha256=file.sha256,
            size=file.bytes,
            width=file.width,
            height=file.height,
        )
        if self._wanted and thumbnail is not None and file.bytes <= MAX_BYTES:
            async with self._one_by_one:
                await asyncio.to_thread(self._make, file.part, self._folder / "report" / thumbnail)

    def _make(self, picture: Path, thumbnail: Path) -> None:
        if not thumbnail.exists():
            for place in (thumbnail.parents[1], thumbnail.parent):
                files.make_folder(place, self._folder)
            make_thumbnail(MAX_PIXELS, picture, thumbnail)
