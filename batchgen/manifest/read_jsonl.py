"""JSON Lines, streamed, and what it shares with JSON manifests.

What a lenient parser would choose or change is a problem: a name that is written twice, NaN,
Infinity, and a number that is too large.
"""

import json
from collections.abc import Iterator
from typing import Any

from batchgen.core.limits import Limits
from batchgen.core.rows import EMPTY, Place, Problem
from batchgen.core.strict_json import (
    LENIENT_DECODER,
    STRICT_DECODER,
    JsonRefused,
    is_deeper,
    lower_first,
)
from batchgen.core.text import quote_value
from batchgen.manifest.decoding import DecodedLines
from batchgen.manifest.records import Item, Record, Unreadable, file_problem, over_limit
from batchgen.manifest.separators import KnowsAny


def read_jsonl(lines: DecodedLines, knows_any: KnowsAny | None = None) -> Iterator[Item]:
    is_first = True
    for line in lines:
        if lines.has_errors:
            yield from lines.new_problems()
        if lines.is_undecodable(line) or line.isspace():
            continue
        place = Place(lines.file, lines.number)
        item: Item
        try:
            value = STRICT_DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            item = json_problem(error, place)
        else:
            if isinstance(value, dict):
                if len(value) > lines.limits.row_values:
                    raise too_many_names(lines.limits, place, len(value))
                refuse_deep(lines.limits, place, value)
            item = make_record(value, place)
        if is_first and isinstance(item, Problem):
            _refuse_json(line.strip(), place)
        is_first = False
        yield item


def _refuse_json(first: str, place: Place) -> None:
    """Raise Unreadable if the first line is one of JSON over several lines, or of an array."""
    if first.startswith("["):
        what = "a JSON array begins here, and JSON Lines are an object in each line"
        raise Unreadable(file_problem(place, what, "Name the file .json, or add --format json."))
    try:
        LENIENT_DECODER.decode(first)
    except json.JSONDecodeError as error:
        if first.startswith("{") and error.pos >= len(first):
            what = "an object begins here that goes on in the next line"
            remedy = "Write each object on one line; or put all in one array, [{…}, {…}], and name"
            raise Unreadable(file_problem(place, what, f"{remedy} the file .json.")) from None
    except (ValueError, RecursionError):
        pass


def too_many_names(limits: Limits, place: Place, names: int | None = None) -> Unreadable:
    """Return the exception for an object with more names than a row, or settings, may have.

    names: how many; None where they were not counted to the end.
    """
    counted = f"{names:,}" if names else "too many"
    return over_limit(limits, "row_values", place, f"there are {counted} names here", names)


def refuse_deep(limits: Limits, place: Place, value: Any) -> None:
    """Raise Unreadable for lists and objects that are deeper inside one another than allowed."""
    if isinstance(value, list | dict) and is_deeper(value, limits.depth):
        what = "values are nested too deeply"
        raise over_limit(limits, "depth", place, what, remedy="No model's input is so deep.")


def make_record(
    value: Any, place: Place, places: dict[str, Place] | None = None
) -> Record | Problem:
    """Return a record of a value: an object of inputs, or a text that is the prompt."""
    if isinstance(value, dict | str):
        return Record(place, value, places=places or EMPTY)
    remedy = 'Write an object, {"prompt": "…"}, or the prompt alone, in quotes.'
    return Problem(place, f"the entry is {quote_value(value)}", remedy)


def repeated_name(place: Place, name: str, first_line: int) -> Problem:
    """Return the problem of a name that an object has twice."""
    what = f"the name is written twice, the first time on line {first_line}"
    return Problem(place, what, "Take one of the two out.", field=name)


def json_problem(error: Exception, place: Place, *, whole: bool = False) -> Problem:
    """Return the problem for an exception of the parser; the text begins at `place`."""
    if isinstance(error, JsonRefused):
        return Problem(place, error.what, error.remedy, field=error.field, whole=whole)
    if isinstance(error, json.JSONDecodeError):
        what = f"this is not JSON: {lower_first(error.msg)}"
        return Problem(Place(place.file, place.line, error.colno), what, whole=whole)
    if isinstance(error, RecursionError):
        return Problem(place, "the value is nested too deeply to be read", whole=whole)
    return Problem(place, "a number has more digits than can be read", whole=whole)
