"""Plain text: a prompt a line, or a folder with a prompt in each `.txt` file.

Every character counts: a line that begins with `#` or a space is a prompt that begins so. Only
blank lines, and the line end itself, are no part of a prompt.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.rows import Place, Problem
from batchgen.core.text import is_text, show_undecoded
from batchgen.files import FileRefused
from batchgen.manifest.decoding import DecodedLines, decode_whole
from batchgen.manifest.records import Item, Record, Unreadable, file_problem
from batchgen.manifest.separators import SEPARATORS, KnowsAny, split_names

# What is looked at, at most, to tell a table or JSON from a text.
LOOK_LINES = 100
LOOK_CHARS = 2**20


def read_text_lines(lines: DecodedLines, knows_any: KnowsAny | None = None) -> Iterator[Item]:
    """Read whatever stands there: every line is a prompt."""
    return _prompts(lines, enumerate(lines, start=1))


def read_text_unless_other(lines: DecodedLines, knows_any: KnowsAny) -> Iterator[Item]:
    """Read a file that is a text by its name only. Raises Unreadable for a table or JSON."""
    source = enumerate(lines, start=1)
    head: list[tuple[int, str]] = []
    size = 0
    for number, line in source:
        head.append((number, line))
        size += len(line)
        if len(head) == LOOK_LINES or size > LOOK_CHARS:
            break
    filled = [line for _, line in head if line.strip()]
    if form := _other_form(filled, knows_any, lines.limits.row_values):
        name, format = form
        remedy = f"Add --format {format}; or, if every line is a prompt, --format text."
        raise Unreadable(file_problem(Place(lines.file, 1), f"this looks like {name}", remedy))
    yield from _prompts(lines, chain(head, source))


def _other_form(head: list[str], knows_any: KnowsAny, most_cells: int) -> tuple[str, str] | None:
    """Return what a text seems to be, and its format, by its first lines; None if a text."""
    first = head[0].strip() if head else ""
    if first in ("[", "{") or first.startswith(('{"', "[{", '["')):
        lines = [line.strip() for line in head]
        if first.startswith("{") and len(first) > 1 and all(line[0] == "{" for line in lines):
            return "JSON Lines", "jsonl"
        return "JSON", "json"
    for separator, name in SEPARATORS.items() if len(head) > 1 else ():
        if not 0 < first.count(separator) < most_cells:
            continue
        names = split_names(first.lower(), separator)
        if len(names) < 2:
            continue
        widths = {len(split_names(line, separator)) for line in head}
        if knows_any(names) and widths == {len(names)}:
            return f"a table with {name}", "tsv" if separator == "\t" else "csv"
    # One column needs no separator; a prompt that says only “prompt” is no likely one.
    is_name = len(head) > 1 and first.lower() in PROMPT_NAMES and knows_any([first.lower()])
    return ("a table of one column", "csv") if is_name else None


def _prompts(lines: DecodedLines, source: Iterable[tuple[int, str]]) -> Iterator[Item]:
    """source: the lines with their numbers."""
    for number, line in source:
        place = Place(lines.file, number)
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


def read_folder(
    folder: Path,
    file: str,
    open: Callable[[Path], BinaryIO],
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Item]:
    """Read a folder's own `.txt` files in the order of their names; hidden ones are left out.

    The file's name without `.txt` is the id. One line end at the very end is not part of it.

    open: opens one of them. A FileRefused of it is a Problem of that file.
    """
    for name in text_files(folder):
        shown = f"{file.rstrip('/')}/{show_undecoded(name)}"
        if not is_text(name):
            yield Problem(
                Place(shown), "its name is not UTF-8, so it cannot be an id", "Rename it."
            )
            continue
        try:
            with open(folder / name) as stream:
                text = decode_whole(stream, shown, limits, prompt=True)
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
