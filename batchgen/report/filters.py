"""Which rows of a batch its gallery shows: conditions of --where, and the file of --picks. Pure.

Values are compared as the gallery shows them: a text as it is, numbers and booleans as in JSON, and
what a row does not have as an empty text.
"""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from batchgen.core.text import closest_match, escape_unprintable, list_choices, quote_value
from batchgen.errors import UsageError
from batchgen.report.cells import unescape_formulas

ReportRow = Mapping[str, Any]
ROW_FIELDS = ("state", "id", "model", "error", "error_code", "cost", "source")
VERDICTS = ("pick", "reject", "")
MAX_RATING = 5
MAX_NOTE = 1000  # characters
MAX_SHOWN_IDS = 10

_CONDITION = re.compile(r"(.+?)(!=|=|~)(.*)", re.DOTALL)


def comparable_text(value: Any) -> str:
    """Return a value of a row as conditions compare it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_condition(
    text: str, inputs: Collection[str], metas: Collection[str]
) -> Callable[[ReportRow], bool]:
    """Return a test of rows for `NAME=VALUE`, `NAME!=VALUE` or `NAME~TEXT`.

    inputs, metas: the names that the rows of the batch have. Raises UsageError for any other.
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise UsageError(
            f"--where {quote_value(text)} is not a condition.",
            "Write NAME=VALUE, NAME!=VALUE or, for a part of a text, NAME~TEXT.",
        )
    name, sign, wanted = found.groups()
    value = _value_of(name, inputs, metas)
    if sign == "~":
        folded = wanted.casefold()
        return lambda row: folded in comparable_text(value(row)).casefold()
    return lambda row: (comparable_text(value(row)) == wanted) is (sign == "=")


def _value_of(
    name: str, inputs: Collection[str], metas: Collection[str]
) -> Callable[[ReportRow], Any]:
    if name in ROW_FIELDS:
        return itemgetter(name)
    places = {"input": inputs, "meta": metas}
    having = [place for place, names in places.items() if name in names]
    if len(having) > 1:
        raise UsageError(
            f"--where: {quote_value(name)} is the name of an input and of metadata.",
            f"Write input.{name} or meta.{name}.",
        )
    place, _, inner = (having[0], "", name) if having else name.partition(".")
    if inner not in places.get(place, ()):
        known = dict.fromkeys((*ROW_FIELDS, *inputs, *metas))
        near = closest_match(name, known)
        meant = f"Did you mean {escape_unprintable(near)}? " if near else ""
        remedy = f"{meant}The names of this batch: {list_choices([*known])}."
        raise UsageError(f"--where: no row has anything named {quote_value(name)}.", remedy)
    return lambda row: row[place].get(inner)


class Choice(NamedTuple):
    """A person's choice for a row. verdict: of VERDICTS. rating: 1 to 5; 0 is none.

    note: what the person says of it, of at most MAX_NOTE characters; in a file of picks, a
    stranger's text.
    """

    verdict: str
    rating: int
    note: str = ""


class Picks(NamedTuple):
    """The choices in a file of picks: by request_id where the file has one, else by id.

    file: its name in messages. The number of an output, from 1, follows the name; None means the
    row with all of its outputs.
    """

    file: str
    by_request: dict[tuple[str, int | None], Choice]
    by_id: dict[tuple[str, int | None], Choice]

    def choice_of(self, row: ReportRow, n: int | None = None) -> Choice | None:
        """Return the choice for a row, or for its output `n` alone; None if the file has none."""
        found = self.by_request.get((row["request_id"], n))
        return found or self.by_id.get((row["id"], n))

    def require_rows(self, known: Iterable[tuple[str, str | None, int]]) -> None:
        """Raise UsageError unless all rows and outputs of the file are among `known`.

        known: id, request_id and the number of outputs of each row.
        """
        ids, requests = {*self.by_id}, {*self.by_request}
        for id, request_id, outputs in known:
            for n in (None, *range(1, outputs + 1)):
                ids.discard((id, n))
                requests.discard((request_id or "", n))
        if missing := sorted(ids, key=_in_order) + sorted(requests, key=_in_order):
            shown = ", ".join(
                quote_value(name) if n is None else f"{quote_value(name)} with an output {n}"
                for name, n in missing[:MAX_SHOWN_IDS]
            )
            rest = len(missing) - MAX_SHOWN_IDS
            more = f" and {rest} more" if rest > 0 else ""
            raise UsageError(
                f"{self.file}: this batch has no row {shown}{more}.",
                "Take them out of the file, or name the batch that the picks were exported from.",
            )


def _in_order(named: tuple[str, int | None]) -> tuple[str, int]:
    return named[0], named[1] or 0


def read_picks(lines: Sequence[str], file: str) -> Picks:
    """Read a CSV file of picks, with at least a column `id` or `request_id`. Raises UsageError."""
    found = Picks(file, {}, {})
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)  # spreadsheets use the one of their country
    # Of the whole process; a prompt may be longer than the usual 128 KiB.
    csv.field_size_limit(max(csv.field_size_limit(), sum(map(len, lines))))
    table = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        if not {"id", "request_id"} & {*(table.fieldnames or ())}:
            raise _refused(f"{file}:1", "it has neither a column id nor a column request_id")
        for row in table:
            _add(found, row, f"{file}:{table.line_num}")
    except csv.Error as error:
        raise _refused(f"{file}:{table.line_num}", f"it is no CSV: {error}") from None
    return found


def _add(found: Picks, row: Mapping[str, str | None], place: str) -> None:
    id, request_id = (unescape_formulas(row.get(name) or "") for name in ("id", "request_id"))
    verdict, rating = ((row.get(name) or "").strip() for name in ("verdict", "rating"))
    if verdict not in VERDICTS:
        raise _refused(place, f"the verdict {quote_value(verdict)} is neither pick nor reject")
    if rating not in ("", *map(str, range(MAX_RATING + 1))):
        raise _refused(place, f"the rating {quote_value(rating)} is none of 0 to {MAX_RATING}")
    output = (row.get("output") or "").strip()
    if output and not re.fullmatch("[1-9][0-9]{0,8}", output):
        raise _refused(place, f"the output {quote_value(output)} is no number from 1")
    note = unescape_formulas(row.get("note") or "").replace("\r\n", "\n").strip()
    if len(note) > MAX_NOTE:
        raise _refused(place, f"the note has more than {MAX_NOTE:,} characters")
    if not id and not request_id:
        raise _refused(place, "it names no row: id and request_id are empty")
    names, name = (found.by_request, request_id) if request_id else (found.by_id, id)
    names[name, int(output) if output else None] = Choice(verdict, int(rating or 0), note)


def _refused(place: str, what: str) -> UsageError:
    return UsageError(f"{place}: {what}.", "Export the picks from the gallery again.")


class Filter(NamedTuple):
    """Which rows the gallery shows. where: conditions that all have to hold."""

    where: tuple[str, ...] = ()
    picks: Picks | None = None

    @property
    def description(self) -> str | None:
        """The conditions and the file, for messages; None where the whole batch is shown."""
        return ", ".join((*self.where, *([self.picks.file] if self.picks else []))) or None

    def choice_of(self, row: ReportRow, n: int | None = None) -> Choice | None:
        """Return the choice for a row, or its output `n` alone, in the file of picks, if any."""
        return self.picks.choice_of(row, n) if self.picks is not None else None

    def outputs_of(self, row: ReportRow) -> list[Mapping[str, Any]]:
        """Return the outputs of a row that are shown: those that the file of picks names."""
        outputs: list[Mapping[str, Any]] = row["outputs"]
        if self.picks is None or self.choice_of(row):
            return outputs
        return [output for output in outputs if self.choice_of(row, output["n"])]

    def predicate(
        self, inputs: Collection[str], metas: Collection[str]
    ) -> Callable[[ReportRow], bool]:
        """Return a test of whether a row is shown. Raises UsageError as parse_condition does."""
        conditions = [parse_condition(text, inputs, metas) for text in self.where]
        if self.picks is not None:
            conditions.append(lambda row: bool(self.choice_of(row) or self.outputs_of(row)))
        return lambda row: all(holds(row) for holds in conditions)


EVERYTHING = Filter()
