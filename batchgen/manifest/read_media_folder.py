"""A folder of pictures, videos or sounds: one row for each, with the file as the input of a model.

A `.txt` file of the same name, `heron.txt` beside `heron.png`, is the row's prompt, as tools that
train models have it. The files themselves are looked at later, like any that a row names.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchgen.core.limits import Limits
from batchgen.core.rows import Place, Problem
from batchgen.core.text import is_text, show_undecoded
from batchgen.files import FileRefused
from batchgen.manifest.decoding import decode_whole
from batchgen.manifest.records import Item, Record, Unreadable

# By their names; those that cannot be sent are problems, all other files are no rows.
MEDIA_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("png", "jpg", "jpeg", "jfif", "webp", "gif", "avif", "heic", "heif", "bmp", "tif"),
        *("tiff", "mp4", "m4v", "mov", "webm", "mkv", "avi", "wav", "mp3", "m4a", "ogg", "flac"),
    )
)


def media_files(folder: Path) -> list[str]:
    """Return the names of a folder's own pictures, videos and sounds, sorted."""
    paths = (path for path in folder.iterdir() if path.suffix.lower() in MEDIA_SUFFIXES)
    return sorted(path.name for path in paths if not path.name.startswith("."))


def captions(folder: Path) -> list[str]:
    """Return the names of the `.txt` files that are prompts of these files, sorted."""
    wanted = {f"{Path(name).stem}.txt" for name in media_files(folder)}
    return sorted(path.name for path in folder.iterdir() if path.name in wanted)


def read_media_folder(
    folder: Path,
    file: str,
    input: str,
    prompt: str,
    below: Path,
    open: Callable[[Path], BinaryIO],
    limits: Limits,
) -> Iterator[Item]:
    """Yield a record for each of a folder's own media files, in the order of their names.

    input: which the file is. prompt: which the text beside it is. below: what its path is relative
    to. open: opens a text. A FileRefused of it is a Problem of that file.
    """
    texts = {*captions(folder)}
    for name in media_files(folder):
        place = Place(f"{file.rstrip('/')}/{show_undecoded(name)}")
        if not is_text(name):
            yield Problem(place, "its name is not UTF-8, so it cannot be noted", "Rename it.")
            continue
        path = folder / name
        values = {input: str(path.relative_to(below) if path.is_relative_to(below) else path)}
        text = f"{path.stem}.txt"
        if text in texts:
            shown = f"{file.rstrip('/')}/{text}"
            try:
                with open(folder / text) as stream:
                    values[prompt] = decode_whole(stream, shown, limits, prompt=True).strip("\r\n")
            except Unreadable as error:
                yield error.problem
                continue
            except FileRefused as error:
                yield Problem(Place(shown), f"it {error.what}", error.remedy)
                continue
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                yield Problem(Place(shown), f"the file cannot be read: {reason}")
                continue
        yield Record(place, values)
