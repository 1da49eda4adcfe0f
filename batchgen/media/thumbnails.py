"""Small pictures for the gallery, each made once and named by the hash of what it was made from.

They are a convenience: one that cannot be made is left out, and the gallery shows the picture
itself. Each is whole or not there, whatever interrupts us.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from batchgen.files import is_regular_file, open_regular, remove_temporary_files, write_whole_bytes
from batchgen.media.formats import MAX_PIXELS

FOLDER = "thumbs"
MAX_SIDE_PX = 480  # pixels
MIN_SOURCE_BYTES = 64 * 1024  # a smaller picture is its own thumbnail
SCALABLE = ("RGB", "RGBA", "L", "CMYK")  # others would be scaled without regard to colours
THREADS = 4
QUEUE_LENGTH = 256  # pictures that wait for a thread
_OURS = re.compile(rf"{FOLDER}/[0-9a-f]{{16}}\.webp")


def thumbnail_path(output: dict[str, Any]) -> str | None:
    """Return where the thumbnail of an output belongs, as seen from report/; None: it needs none.

    output: as the journal has it.
    """
    if (
        output["kind"] != "image"
        or not output["sha256"]
        or (output["bytes"] or 0) <= MIN_SOURCE_BYTES
    ):
        return None
    width, height = output["width"] or MAX_SIDE_PX + 1, output["height"] or MAX_SIDE_PX + 1
    if max(width, height) <= MAX_SIDE_PX or width * height > MAX_PIXELS:
        return None
    return f"{FOLDER}/{output['sha256'][:16]}.webp"


def is_ours(thumbnail: str) -> bool:
    """Whether a path, as seen from report/, is one that `name` gives."""
    return _OURS.fullmatch(thumbnail) is not None


def make_thumbnails(report: Path, named: Iterable[tuple[str, str]], *, tidy: bool) -> None:
    """Make the thumbnails that are not there yet.

    named: (picture, thumbnail), as seen from the batch folder and from `report` in it.
    tidy: remove all others of ours.
    """
    folder = report / FOLDER
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    wanted: set[str] = set()

    def todo() -> Iterator[tuple[Path, Path]]:
        for picture, thumbnail in named:
            path = report / thumbnail
            if path.name not in wanted:
                wanted.add(path.name)
                if path.name not in there:
                    yield report.parent / picture, path

    _make_all(folder, todo())
    if tidy:
        remove_temporary_files(folder)
        for old in there - wanted:
            if is_ours(f"{FOLDER}/{old}") and is_regular_file(folder / old):
                (folder / old).unlink(missing_ok=True)


def _make_all(folder: Path, todo: Iterator[tuple[Path, Path]]) -> None:
    if not (some := list(islice(todo, QUEUE_LENGTH))):
        return
    # Here, as Pillow below: only who makes some needs to wait for it.
    from batchgen.threads import Threads

    # No room on the disk, no memory for a thread: another time.
    with suppress(OSError, MemoryError), Threads(min(THREADS, os.cpu_count() or 1)) as pool:
        folder.mkdir(exist_ok=True, mode=0o700)
        try:
            while some:
                for _ in pool.map(_make, *zip(*some, strict=True)):
                    pass
                some = list(islice(todo, QUEUE_LENGTH))
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C, too, only what is begun is ended


def _make(picture: Path, thumbnail: Path) -> None:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # we look at the size ourselves before anything is decoded
    # Pillow raises nearly anything on a file that is broken or odd.
    with suppress(Exception), open_regular(picture) as source, Image.open(source) as image:
        if image.width * image.height > MAX_PIXELS:
            return
        small: Image.Image = image
        if image.mode not in SCALABLE:
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
        # Decodes a JPEG at a fraction of its size, and takes a third of the time of a finer filter,
        # for a difference that nobody sees in a tile.
        small.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.HAMMING, reducing_gap=1.0)
        ImageOps.exif_transpose(small, in_place=True)
        with write_whole_bytes(thumbnail) as file:
            small.save(file, "WEBP", quality=80, method=1)
