"""CSV and TSV: a header, then a row for each record, streamed.

CSV is RFC 4180: a cell in quotes may hold commas, line breaks and doubled quotes. A row's line is
the one where it starts. Rows of blank or missing cells only are skipped, as spreadsheets add them
at the end; any other row must have a cell for each column, since half a row is mostly due
to an unquoted line break in a prompt, and half a prompt costs as much as a whole one.

A TSV may be quoted in the same way or not at all, and nothing in the file says which. See
`is_quoted`.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from batchgen.core.rows import Place, Problem
from batchgen.core.text import plural
from batchgen.manifest.decoding import MAX_LINE_BYTES, DecodedLines
from batchgen.manifest.records import Header, Item, Record, Unreadable, file_problem

SNIFF_CHARS = 2**20  # characters of a TSV that are looked at to tell whether it is quoted
_TOO_FEW = (
    "Put quotes around a cell that holds a line break; write an empty cell for what is left out."
)
_TOO_MANY = "Put quotes around a cell that holds a comma or a tab."

_QUOTED_CELL = re.compile(r'(?:^|(?<=\t))"((?:[^"]|"")*+)"(?=\t|\r?$)', re.MULTILINE)
_CUT_OFF_CELL = re.compile(r'(?:^|\t)"(?:[^"]|"")*+\Z', re.MULTILINE)


def read_csv(lines: DecodedLines) -> Iterator[Item]:
    return _read(lines, iter(lines), ",", quoted=True)


def read_tsv(lines: DecodedLines) -> Iterator[Item]:
    source = iter(lines)
    head: list[str] = []
    size = 0
    for line in source:
        head.append(line)
        size += len(line)
        if size >= SNIFF_CHARS:
            break
    quoted = is_quoted("".join(head), cut_off=size >= SNIFF_CHARS)
    return _read(lines, chain(head, source), "\t", quoted=quoted)


def is_quoted(head: str, *, cut_off: bool = False) -> bool:
    """Whether quotes in this beginning of a TSV are marks around cells, or part of the text.

    They are marks if the whole header is quoted; or if every quote is one that a program would
    have written: around a cell that holds a tab, a line break or a doubled quote, or a comma while
    no bare cell holds one (spreadsheets quote those). A prompt that merely begins with a quote, or
    is all in quotes, keeps them.

    cut_off: whether the file goes on, so that the last quoted cell may be cut short.
    """
    header = head.lstrip("\r\n").partition("\n")[0].rstrip("\r").split("\t")
    if all(len(name) > 1 and name[0] == name[-1] == '"' for name in header):
        return True
    cells = _QUOTED_CELL.findall(head)
    bare = _QUOTED_CELL.sub("", head)
    if cut_off:
        bare = _CUT_OFF_CELL.sub("", bare)
    if not cells or '"' in bare:
        return False
    return any(
        "\t" in cell or "\n" in cell or '""' in cell or ("," in cell and "," not in bare)
        for cell in cells
    )


def _read(
    lines: DecodedLines, source: Iterable[str], delimiter: str, *, quoted: bool
) -> Iterator[Item]:
    # A process-wide setting of the csv module; its own 128 KiB would refuse a long cell.
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(
        source,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    names: list[str | None] = []
    while True:
        place = Place(lines.file, reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            yield from lines.new_problems()
            return
        except csv.Error as error:
            yield from lines.new_problems()
            yield _malformed(place, str(error))
            continue
        if lines.has_errors:
            yield from lines.new_problems()
        if lines.has_errors and lines.is_undecodable(*cells):
            if not names:
                return  # without a header the cells have no names
            continue
        if not any(cells):
            continue
        if not names:
            names = [cell.strip() or None for cell in cells]
            yield from _header(place, names)
        else:
            yield _row(place, names, cells)


def _header(place: Place, names: list[str | None]) -> Iterator[Item]:
    for number, name in enumerate(names, start=1):
        if name is not None and name in names[: number - 1]:
            first = names.index(name) + 1
            what = f"columns {first} and {number} have the same name"
            remedy = "Rename one of them, or take it out."
            where = Place(place.file, place.line, number)
            raise Unreadable(file_problem(where, what, remedy, name))
    yield Header(place, names)


def _row(place: Place, names: list[str | None], cells: list[str]) -> Record | Problem:
    if len(cells) != len(names):
        what = f"the row has {plural(len(cells), 'cell')}, the header {len(names)}"
        return Problem(place, what, _TOO_FEW if len(cells) < len(names) else _TOO_MANY)
    values = {name: cell for name, cell in zip(names, cells) if cell and name}  # noqa: B905
    nameless = (n for n, name in enumerate(names, start=1) if name is None and cells[n - 1])
    if None in names and (number := next(nameless, 0)):
        where = Place(place.file, place.line, number)
        what = f"there is a cell in column {number}, which has no name"
        return Problem(where, what, "Name the column in the header, or empty the cell.")
    return Record(place, values, cells=True)


def _malformed(place: Place, error: str) -> Problem:
    """Return the problem for an error of the csv module, which only its message tells.

    Raises Unreadable where the rest of the file was read as one cell.
    """
    if "field larger" in error or "unexpected end" in error:
        remedy = 'Close it, or double a quote that is part of the text: "".'
        problem = file_problem(place, "a quote opens in this row and never closes", remedy)
        if "field larger" in error:
            raise Unreadable(problem)
        return problem
    if "expected after" in error:
        remedy = 'Double a quote that is part of a quoted cell: "".'
        return Problem(place, "text follows a closing quote", remedy)
    if "new-line character" in error:
        remedy = "Save the file with LF or CRLF line ends."
        return Problem(place, "a carriage return stands in a cell", remedy)
    return Problem(place, f"the row cannot be read: {error}")
