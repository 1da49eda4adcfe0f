"""Plain text: a prompt a line, or a folder with a prompt in each `.txt` file.

Every character counts: a line that begins with `#` or a space is a prompt that begins so. Only
blank lines, and the line end itself, are no part of a prompt.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchgen.core.rows import Place, Problem
from batchgen.files import FileRefused
from batchgen.manifest.decoding import DecodedLines, decode_whole
from batchgen.manifest.records import Item, Record, Unreadable


def read_text_lines(lines: DecodedLines) -> Iterator[Item]:
    for line in lines:
        place = Place(lines.file, lines.number)
        yield from lines.new_problems()
        prompt = line.removesuffix("\n").removesuffix("\r")
        if lines.is_undecodable(prompt) or not prompt.strip():
            continue
        if "\r" in prompt:
            remedy = "Save the file with LF or CRLF line ends."
            yield Problem(place, "a carriage return stands inside the line", remedy)
        else:
            yield Record(place, prompt)


def text_files(folder: Path) -> list[str]:
    """The names of a folder's own `.txt` files, sorted."""
    paths = (path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    return sorted(path.name for path in paths if not path.name.startswith("."))


def read_folder(folder: Path, file: str, open: Callable[[Path], BinaryIO]) -> Iterator[Item]:
    """Read a folder's own `.txt` files in the order of their names; hidden ones are left out.

    The file's name without `.txt` is the id. One line end at the very end is not part of it.

    open: opens one of them. A FileRefused of it is a Problem of that file.
    """
    for name in text_files(folder):
        shown = f"{file.rstrip('/')}/{name}"
        try:
            with open(folder / name) as stream:
                text = decode_whole(stream, shown)
        except Unreadable as error:
            yield error.problem
        except FileRefused as error:
            yield Problem(Place(shown), f"it {error.what}", error.remedy)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            yield Problem(Place(shown), f"the file cannot be read: {reason}")
        else:
            prompt = text.removesuffix("\n").removesuffix("\r")
            yield Record(Place(shown, 1), prompt, id=name[: -len(".txt")])
