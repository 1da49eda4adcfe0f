"""Strict JSON: a name written twice, NaN, Infinity and a number too large are refused. Pure."""

import json
import math
from typing import Any

from batchgen.core.text import quote_value


class JsonRefused(ValueError):
    """JSON that Python's parser would accept. field: the name that is written twice, or ""."""

    def __init__(self, what: str, remedy: str, field: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.field = field


MOST_DEPTH = 150  # that every Python can read, check and write again


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise JsonRefused("the name is written twice", "Take one of the two out.", name)
            seen.add(name)
    return result


def _constant(text: str) -> float:
    raise JsonRefused(f"{text} is not a number that JSON knows", "Write a number, or leave it out.")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonRefused(f"{quote_value(text)} is too large a number", "Write a smaller one.")
    return number


STRICT_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
)
# Finds the end of a value that the strict one refuses, so that reading can go on after it.
LENIENT_DECODER = json.JSONDecoder()


def is_deeper(value: Any, most: int) -> bool:
    """Whether lists and objects are deeper inside one another than `most`.

    Python's own parser goes as deep as the stack, which is not the same everywhere: what it can
    still read here may be too deep to be written there.
    """
    level: list[Any] = [[value]]
    for _ in range(most + 1):
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for values in inside for one in values if isinstance(one, list | dict)]
        if not level:
            return False
    return True


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, such as a cell's. Raises ValueError, which says why not."""
    try:
        value = STRICT_DECODER.decode(text)
        if is_deeper(value, MOST_DEPTH):
            raise ValueError("it is nested too deeply")
        return value
    except JsonRefused as error:
        named = f"{quote_value(error.field)}: " if error.field else ""
        raise ValueError(f"{named}{error.what}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(lower_first(error.msg)) from None


def lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]
