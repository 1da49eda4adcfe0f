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
        *("tiff", "mp4", "m4v", "mov", "qt", "3gp", "webm", "mkv", "avi", "ogv", "mpg", "mpeg"),
        *("wmv", "wav", "mp3", "m4a", "m4b", "ogg", "oga", "opus", "flac", "mka", "aac", "aif"),
        *("aiff", "wma"),
    )
)


def media_files(folder: Path) -> list[str]:
    """Return the names of a folder's own pictures, videos and sounds, sorted."""
    paths = (path for path in folder.iterdir() if path.suffix.lower() in MEDIA_SUFFIXES)
    return sorted(path.name for path in paths if not path.name.startswith("."))


def captions(folder: Path) -> list[str]:
    """Return the names of the `.txt` files that are prompts of these files, sorted."""
    stems = {Path(name).stem for name in media_files(folder)}
    paths = (path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    return sorted(path.name for path in paths if path.stem in stems)


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
    texts: dict[str, list[str]] = {}
    for text in captions(folder):
        texts.setdefault(Path(text).stem, []).append(text)
    for name in media_files(folder):
        place = Place(f"{file.rstrip('/')}/{show_undecoded(name)}")
        if not is_text(name):
            yield Problem(place, "its name is not UTF-8, so it cannot be noted", "Rename it.")
            continue
        path = folder / name
        values = {input: str(path.relative_to(below) if path.is_relative_to(below) else path)}
        beside = texts.get(path.stem)
        if beside and len(beside) > 1:
            what = f"{' and '.join(map(show_undecoded, beside))} are both its prompt"
            yield Problem(place, what, "Take one of them away.")
            continue
        if beside:
            text = beside[0]
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
