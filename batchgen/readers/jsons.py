"""JSON values and JSONL, strictly: what a lenient parser would choose or change is a problem.

A name written twice, NaN, Infinity and a number too large for any reader are refused, not settled
silently. JSONL is streamed.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from batchgen.readers import Item, Record
from batchgen.readers.lines import Lines
from batchgen.rows import NOTHING, Place, Problem
from batchgen.wording import show


class Refused(ValueError):
    """Valid for Python's parser, not for us."""

    def __init__(self, what: str, remedy: str, field: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.field = field


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _twice(name)
            seen.add(name)
    return result


def _twice(name: str) -> Refused:
    return Refused("the name is written twice", "Take one of the two out.", name)


def _constant(text: str) -> float:
    raise Refused(f"{text} is not a number that JSON knows", "Write a number, or leave it out.")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refused(f"{show(text)} is too large a number", "Write a smaller one.")
    return number


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


# Finds where a value ends that the strict one refuses, so that reading can go on after it.
LENIENT = json.JSONDecoder()


def parse(text: str) -> Any:
    """Return the value of a JSON text, such as a cell's. Raises ValueError with a sentence."""
    try:
        return DECODER.decode(text)
    except Refused as error:
        named = f"{show(error.field)}: " if error.field else ""
        raise ValueError(f"{named}{error.what}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(lowered(error.msg)) from None


def read_lines(lines: Lines) -> Iterator[Item]:
    for line in lines:
        if lines.faulty:
            yield from lines.faults()
        if lines.spoilt(line) or line.isspace():
            continue
        place = Place(lines.file, lines.number)
        try:
            yield record(DECODER.decode(line), place)
        except (ValueError, RecursionError) as error:
            yield problem_of(error, place)


def record(value: Any, place: Place, places: dict[str, Place] | None = None) -> Record | Problem:
    """Make an entry of a value: an object of inputs, or a text that is the prompt."""
    if isinstance(value, dict | str):
        return Record(place, value, places=places or NOTHING)
    return Problem(
        place,
        f"the entry is {show(value)}",
        'Write an object, {"prompt": "…"}, or the prompt alone, in quotes.',
    )


def problem_of(error: Exception, place: Place, *, whole: bool = False) -> Problem:
    """Turn what the parser raised about a text that begins at `place` into a problem."""
    if isinstance(error, Refused):
        return Problem(place, error.what, error.remedy, field=error.field, whole=whole)
    if isinstance(error, json.JSONDecodeError):
        what = f"this is not JSON: {lowered(error.msg)}"
        return Problem(Place(place.file, place.line, error.colno), what, whole=whole)
    if isinstance(error, RecursionError):
        return Problem(place, "the value is nested too deeply to be read", whole=whole)
    return Problem(place, "a number has more digits than can be read", whole=whole)


def lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
