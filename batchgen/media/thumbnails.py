"""Small pictures for the gallery, each made once and named by the hash of its picture.

A thumbnail that cannot be made is left out, and the gallery shows the picture itself. A thumbnail
file is whole or does not exist.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from batchgen.files import (
    is_regular_file,
    make_folder,
    open_regular,
    remove_file,
    remove_temporary_files,
    write_whole_bytes,
)
from batchgen.media.check import CheckedFile
from batchgen.media.containers import webp_size
from batchgen.media.formats import MAX_PIXELS, PILLOW_FORMATS, SIGNATURE_BYTES, WEBP

if TYPE_CHECKING:
    from PIL import Image

FOLDER = "thumbs"
MAX_SIDE_PX = 768  # sharp in a tile of the usual size, also with two pixels for each of the page's
MIN_SOURCE_PX = 480  # a smaller picture is its own thumbnail, and so is one of fewer bytes
MIN_SOURCE_BYTES = 64 * 1024
SCALABLE_MODES = ("RGB", "RGBA", "L", "CMYK")  # Pillow scales other modes without interpolation
THREADS = 4
QUEUE_LENGTH = 256  # pictures that wait for a thread
_OURS = re.compile(rf"{FOLDER}/[0-9a-f]{{16}}\.webp")


def thumbnail_path(
    *, kind: str, sha256: str | None, size: int, width: int | None, height: int | None
) -> str | None:
    """Return the path of an output's thumbnail, relative to report/; None if it gets none.

    kind: `image`, `video` or `audio`. size: bytes. width, height: pixels; None if unknown.
    """
    if kind != "image" or not sha256 or size <= MIN_SOURCE_BYTES:
        return None
    width, height = width or MIN_SOURCE_PX + 1, height or MIN_SOURCE_PX + 1
    if max(width, height) <= MIN_SOURCE_PX or width * height > MAX_PIXELS:
        return None
    return f"{FOLDER}/{sha256[:16]}.webp"


def keep_thumbnail(report: Path, file: CheckedFile, picture: "Image.Image") -> None:
    """Make the thumbnail of a checked file of which `picture` was decoded, if it gets one.

    One that cannot be made now is made with the reports.
    """
    path = thumbnail_path(
        kind=file.format.kind,
        sha256=file.sha256,
        size=file.bytes,
        width=file.width,
        height=file.height,
    )
    if path is None or (report / path).exists():
        return
    with suppress(Exception):  # Pillow raises exceptions of any type
        for folder in (report, (report / path).parent):
            make_folder(folder, report.parent)
        save_thumbnail(picture, report / path)


def is_ours(thumbnail: str) -> bool:
    """Whether a path relative to report/ is of the form that `thumbnail_path` returns."""
    return _OURS.fullmatch(thumbnail) is not None


def make_thumbnails(
    report: Path,
    pictures: Iterable[tuple[str, str]],
    *,
    tidy: bool,
    max_pixels: int = MAX_PIXELS,
    queue_length: int = QUEUE_LENGTH,
) -> None:
    """Make the thumbnails that do not exist yet.

    pictures: (picture, thumbnail): paths relative to the batch folder and to `report` in it.
    tidy: remove all other thumbnails. max_pixels: of a picture that is decoded.
    """
    folder = report / FOLDER
    existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    wanted: set[str] = set()

    def missing() -> Iterator[tuple[Path, Path]]:
        for picture, thumbnail in pictures:
            path = report / thumbnail
            if path.name not in wanted:
                wanted.add(path.name)
                if path.name not in existing:
                    yield report.parent / picture, path

    _make_all(folder, missing(), max_pixels, queue_length)
    if tidy:
        remove_temporary_files(folder, report.parent)
        for name in existing - wanted:
            if is_ours(f"{FOLDER}/{name}") and is_regular_file(folder / name):
                remove_file(folder / name, report.parent)


def _make_all(
    folder: Path, missing: Iterator[tuple[Path, Path]], max_pixels: int, queue_length: int
) -> None:
    if not (queue := list(islice(missing, queue_length))):
        return
    # Imported here, as Pillow below, since many reports make no thumbnail.
    from batchgen.threads import Threads

    make = partial(make_thumbnail, max_pixels)
    # Where disk or memory are full, a later report makes them.
    with suppress(OSError, MemoryError), Threads(min(THREADS, os.cpu_count() or 1)) as pool:
        make_folder(folder, folder.parent.parent)
        try:
            while queue:
                for _ in pool.map(make, *zip(*queue, strict=True)):
                    pass
                queue = list(islice(missing, queue_length))
        finally:
            pool.shutdown(cancel_futures=True)  # also after Ctrl-C, those under way are finished


def make_thumbnail(max_pixels: int, picture: Path, thumbnail: Path) -> None:
    """Make the thumbnail of a picture, of no more than `max_pixels`; none of what is no picture."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is compared with `max_pixels` before decoding
    # Pillow raises exceptions of any type for a broken file.
    with (
        suppress(Exception),
        open_regular(picture, follow=False) as source,
    ):
        width, height = webp_size(source.read(SIGNATURE_BYTES))
        if width * height > min(max_pixels, WEBP.max_pixels):
            return  # Pillow would make room for its pixels before it says how many there are
        source.seek(0)
        image = Image.open(source, formats=PILLOW_FORMATS)
        if image.width * image.height <= max_pixels:
            save_thumbnail(image, thumbnail)


def save_thumbnail(image: "Image.Image", thumbnail: Path) -> None:
    """Scale a picture down in place and write it. Pillow raises exceptions of any type."""
    from PIL import Image, ImageOps

    if image.mode not in SCALABLE_MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    # `reducing_gap` decodes a JPEG at a fraction of its size. HAMMING takes a third of the time of
    # a finer filter, without a visible difference at this size.
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.HAMMING, reducing_gap=1.0)
    ImageOps.exif_transpose(image, in_place=True)
    # In thumbs/ of report/ of the batch folder.
    with write_whole_bytes(thumbnail, inside=thumbnail.parents[2]) as file:
        image.save(file, "WEBP", quality=75, method=1)
