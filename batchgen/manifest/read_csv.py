"""CSV and TSV: a header, then a row for each record, streamed.

CSV is RFC 4180: a cell in quotes may hold commas, line breaks and doubled quotes. A row's line is
the one where it starts. Rows of blank or missing cells only are skipped, as spreadsheets add them
at the end; any other row must have a cell for each column, since half a row is mostly due
to an unquoted line break in a prompt, and half a prompt costs as much as a whole one.

A first line `sep=;` says what separates the cells, as spreadsheets read it; else see
`find_separators`.

A TSV may be quoted in the same way or not at all, and nothing in the file says which. See
`is_quoted`.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from batchgen.core.rows import Place, Problem
from batchgen.core.text import plural, quote_value
from batchgen.manifest.decoding import DecodedLines
from batchgen.manifest.records import Header, Item, Record, Unreadable, file_problem, over_limit
from batchgen.manifest.separators import SEPARATORS, KnowsAny, find_separators

SNIFF_CHARS = 2**20  # characters of a file that are looked at to tell how it is to be read
SNIFF_ROWS = 100  # that have to fit the header, where the separator is not the format's own
_TOO_FEW = (
    "Put quotes around a cell that holds a line break; write an empty cell for what is left out."
)
_UNCLOSED = 'If a quote opens in it and never closes, close it; a quote in a text is doubled: "".'
_QUOTE_ALL = (
    "If they are marks, quote the names in the header as well; if they are part of the text, save"
    " the list as CSV or JSON lines."
)
_SAVE_WITH_COMMAS = "Save it with commas and quotes (in a spreadsheet: “CSV UTF-8”), and run that."

# The first line that Excel and LibreOffice read as the separator of the file.
_DECLARATION = re.compile(r'("?)sep=(?P<separator>.?)\1\s*', re.IGNORECASE)
_NOTHING = re.compile(r'[\s,;|"]*')  # a line that can be no header
_QUOTED_CELL = re.compile(r'(?:^|(?<=\t))"((?:[^"]|"")*+)"(?=\t|\r?$)', re.MULTILINE)
_CUT_OFF_CELL = re.compile(r'(?:^|\t)"(?:[^"]|"")*+\Z', re.MULTILINE)


def read_csv(lines: DecodedLines, knows_any: KnowsAny) -> Iterator[Item]:
    return _read(lines, ",", knows_any)


def read_tsv(lines: DecodedLines, knows_any: KnowsAny) -> Iterator[Item]:
    return _read(lines, "\t", knows_any)


def is_quoted(head: str, *, cut_off: bool = False) -> bool | None:
    """Whether quotes in this beginning of a TSV are marks around cells, or part of the text.

    They are marks if the whole header is quoted; or if every quote is one that a program would
    have written: around a cell that holds a tab, a line break or a doubled quote, or a comma
    (spreadsheets quote those). A prompt that merely begins with a quote, or is all in quotes, keeps
    them. None if nobody can tell: cells with a comma stand in quotes and without them, cells stand
    in quotes with a comma and without one, as where a line was added by hand, or the quotes around
    a line break may be one at the beginning of a text and one at the end of the next row's.

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
    if any('""' in cell for cell in cells):
        return True
    if any("\t" in cell or "\n" in cell for cell in cells):
        # Where each line has a cell for each name, a line break in quotes may be the end of a row.
        lines = [line for line in head.split("\n") if line.strip()]
        may_be_rows = len(header) > 1 and all(line.count("\t") + 1 == len(header) for line in lines)
        return None if may_be_rows else True
    with_comma = sum("," in cell for cell in cells)
    if not with_comma:
        return False
    return True if with_comma == len(cells) and "," not in bare else None


def _read(lines: DecodedLines, usual: str, knows_any: KnowsAny) -> Iterator[Item]:
    # A process-wide setting of the csv module; its own 128 KiB would refuse a long cell.
    csv.field_size_limit(lines.limits.row_bytes)
    source = _of_few_cells(lines)
    head = _take(source, lambda line: not _NOTHING.fullmatch(line))
    header = head[-1] if head else ""
    skipped = 0
    if declared := _DECLARATION.fullmatch(header):
        separator = declared["separator"]
        if separator not in SEPARATORS:
            what = f"the file says that {quote_value(separator)} separates its cells"
            raise Unreadable(file_problem(Place(lines.file, len(head)), what, _SAVE_WITH_COMMAS))
        skipped, head = len(head), []
    else:
        separator, *more = find_separators(header, usual, knows_any)
        if more:
            names = " or ".join(SEPARATORS[one] for one in (separator, *more))
            what = f"the cells may be separated by {names}"
            raise Unreadable(file_problem(Place(lines.file, len(head)), what, _SAVE_WITH_COMMAS))
    quoted = True
    if separator == "\t":
        head += _take(source, lambda _: False, sum(map(len, head)))
        marks = is_quoted("".join(head), cut_off=sum(map(len, head)) >= SNIFF_CHARS)
        if marks is None:
            what = "quotes may be marks around cells or part of the texts: they stand around some"
            what += " cells and not around all that are alike, or around the break of a line"
            raise Unreadable(file_problem(Place(lines.file, 1), what, _QUOTE_ALL))
        quoted = marks
    if separator != usual and not skipped:
        head += _check_first_rows(lines.file, head, source, separator, quoted)
    found = SEPARATORS[separator] if separator != usual or skipped else ""
    for item in _rows(lines, chain(head, source), separator, quoted, skipped):
        yield replace(item, separator=found) if isinstance(item, Header) else item


def _of_few_cells(lines: DecodedLines) -> Iterator[str]:
    """Yield the lines. Raises Unreadable before one of them becomes a million cells."""
    most = lines.limits.row_values
    for line in lines:
        if len(line) >= most:
            for separator, name in SEPARATORS.items():
                if (cells := line.count(separator) + 1) > most:
                    place = Place(lines.file, lines.number)
                    what = f"the line has {cells:,} cells, if {name} separate them"
                    raise over_limit(lines.limits, "row_values", place, what, cells)
        yield line


def _take(source: Iterator[str], is_last: Callable[[str], bool], size: int = 0) -> list[str]:
    """Return the next lines, up to the last, or to SNIFF_CHARS of which `size` are there."""
    taken = []
    for line in source:
        taken.append(line)
        size += len(line)
        if is_last(line) or size >= SNIFF_CHARS:
            break
    return taken


def _check_first_rows(
    file: str, head: list[str], source: Iterator[str], separator: str, quoted: bool
) -> list[str]:
    """Return the lines read of `source`; raise Unreadable where a row does not fit the header."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        yield from head
        for line in source:
            taken.append(line)
            yield line

    reader = _reader(lines(), separator, quoted)
    widths: list[int] = []
    try:
        while len(widths) <= SNIFF_ROWS and sum(map(len, taken)) < SNIFF_CHARS:
            place = Place(file, reader.line_num + 1)
            cells = next(reader, None)
            if cells is None:
                break
            widths += [len(cells)] if any(cells) else []
            if widths and widths[-1] != widths[0]:
                what = f"the cells seem to be separated by {SEPARATORS[separator]}, but here are"
                what += f" {plural(widths[-1], 'cell')}, and in the header {widths[0]}"
                raise Unreadable(file_problem(place, what, _SAVE_WITH_COMMAS))
    except csv.Error:
        pass  # told with its place when it is read as a row
    return taken


def _reader(source: Iterable[str], separator: str, quoted: bool) -> Any:
    return csv.reader(
        source,
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )


def _rows(
    lines: DecodedLines, source: Iterable[str], separator: str, quoted: bool, skipped: int
) -> Iterator[Item]:
    """skipped: how many lines were read before `source`."""
    record: list[str] = []  # the lines of the record that is being read
    size, most = 0, lines.limits.row_bytes

    def recorded() -> Iterator[str]:
        nonlocal size
        for line in source:
            size += len(line)
            if size > most:
                what = "the row that begins here is too long"
                raise over_limit(lines.limits, "row_bytes", place, what, remedy=_UNCLOSED)
            record.append(line)
            yield line

    reader = _reader(recorded(), separator, quoted)
    names: list[str | None] = []
    while True:
        place = Place(lines.file, skipped + reader.line_num + 1)
        record.clear()
        size = 0
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
        if quoted and _quote_after_blank(cells, record, separator):
            what = "a blank stands before a quote, so that the quote is part of the text"
            remedy = 'Take the blanks between separator and quote out: heron,"A heron, grey".'
            yield file_problem(place, what, remedy)
        elif not names:
            names = [cell.strip() or None for cell in cells]
            yield from _header(place, names)
        else:
            yield _row(place, names, cells, separator)


def _quote_after_blank(cells: list[str], record: list[str], separator: str) -> bool:
    """Whether a cell that is not quoted begins with a blank and a quote.

    Some programs take this for a quoted cell, and RFC 4180 for a text with quotes in it. Nothing
    in the file says what is meant, and what is not meant costs as much.
    """
    if not any(' "' in line or '\t"' in line for line in record):  # nearly all; quick
        return False
    if separator != "\t":  # the csv module skips blanks, and no tabs
        record = [line.replace("\t", " ") for line in record]
        cells = [cell.replace("\t", " ") for cell in cells]
    if not any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in cells):
        return False
    lenient = csv.reader(record, delimiter=separator, strict=True, skipinitialspace=True)
    try:
        read = [cell.lstrip(" ") for cell in next(lenient, [])]
    except csv.Error:
        return True
    # In a quoted cell blanks are text for both.
    return read != [cell.lstrip(" ") for cell in cells]


def _header(place: Place, names: list[str | None]) -> Iterator[Item]:
    numbers: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name is None:
            continue
        if (first := numbers.setdefault(name, number)) != number:
            what = f"columns {first} and {number} have the same name"
            remedy = "Rename one of them, or take it out."
            where = Place(place.file, place.line, number)
            raise Unreadable(file_problem(where, what, remedy, name))
    yield Header(place, names)


def _row(
    place: Place, names: list[str | None], cells: list[str], separator: str
) -> Record | Problem:
    if len(cells) != len(names):
        what = f"the row has {plural(len(cells), 'cell')}, the header {len(names)}"
        kind = SEPARATORS[separator].removesuffix("s")
        too_many = f"Put quotes around a cell that holds a {kind}."
        return Problem(place, what, _TOO_FEW if len(cells) < len(names) else too_many)
    if (cells[0].strip() or None) == names[0] and [cell.strip() or None for cell in cells] == names:
        what = "the row repeats the header, as in lists that were joined"
        return file_problem(place, what, "Take every header but the first out.")
    values = {name: cell for name, cell in zip(names, cells) if cell and name}  # noqa: B905
    nameless = (n for n, name in enumerate(names, start=1) if name is None and cells[n - 1])
    if None in names and (number := next(nameless, 0)):
        where = Place(place.file, place.line, number)
        what = f"there is a cell in column {number}, which has no name"
        return Problem(where, what, "Name the column in the header, or empty the cell.")
    return Record(place, values, cells=True)


def _malformed(place: Place, error: str) -> Problem:
    """Return the problem for an error of the csv module, which only its message tells."""
    if "unexpected end" in error:
        remedy = 'Close it, or double a quote that is part of the text: "".'
        return file_problem(place, "a quote opens in this row and never closes", remedy)
    if "expected after" in error:
        remedy = 'Double a quote that is part of a quoted cell: "".'
        return Problem(place, "text follows a closing quote", remedy)
    if "new-line character" in error:
        remedy = "Save the file with LF or CRLF line ends."
        return Problem(place, "a carriage return stands in a cell", remedy)
    return Problem(place, f"the row cannot be read: {error}")
