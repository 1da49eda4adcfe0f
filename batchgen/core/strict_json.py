"""JSON, strictly: what a lenient parser would choose or change is refused. Pure."""

import json
import math
from typing import Any

from batchgen.core.text import show


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


def lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
