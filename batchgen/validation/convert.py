"""Conversion of text cells to the types of a property's schema.

A cell stays text unless the schema has another type: `42` is "42" where a text is expected. Nothing
is guessed: `yes` is no boolean and `5.0` no whole number, since a wrong guess is paid for as well.
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from batchgen.core.strict_json import parse_json
from batchgen.core.text import quote_value, truncate
from batchgen.validation.model_schema import parts

_WHOLE = re.compile(r"[-+]?[0-9]{1,400}")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,4})?")
_LEAVE_EMPTY = ", or leave the cell empty to let the model choose."


class CellNotConverted(ValueError):
    """A cell that has no value of the schema's type. what, remedy: as in Problem."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


CellConverter = Callable[[str], Any]


def make_converter(schema: Mapping[str, Any], fits: Callable[[Any], bool]) -> CellConverter | None:
    """Return the converter of a property's cells; None where they stay text.

    fits: whether a value is valid. Where the schema allows several types, the first valid one of
        text, whole number, number, boolean, list and object is taken, else the first.
    The converter raises CellNotConverted.
    """
    types = _types(schema)
    candidates = [_CONVERTERS[name] for name in _CONVERTERS if name in types]
    if "array" in types:
        lists = (schema, *parts(schema, "anyOf", "oneOf", "allOf"))
        items = next((one["items"] for one in lists if "items" in one), None)
        inner = make_converter(items, fits=lambda _: True) if isinstance(items, Mapping) else None
        candidates = [c if c is not _list else lambda text: _list(text, inner) for c in candidates]
    if not candidates or types == {"string"}:
        return None
    if len(candidates) == 1:
        return candidates[0]

    def first_that_fits(text: str) -> Any:
        values = []
        for candidate in candidates:
            with suppress(CellNotConverted):
                values.append(candidate(text))
                if fits(values[-1]):
                    return values[-1]
        return values[0] if values else candidates[0](text)

    return first_that_fits


def _types(schema: Mapping[str, Any]) -> set[str]:
    """Return the types of a property: those it names, or those of its values or alternatives."""
    written = schema.get("type")
    if written is not None:
        return {written} if isinstance(written, str) else set(written)
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    types = {_TYPE_NAMES[type(value)] for value in values if type(value) in _TYPE_NAMES}
    return types.union(*map(_types, parts(schema, "anyOf", "oneOf", "allOf")))


def _whole(text: str) -> int:
    written = text.strip()  # of more than `int` takes off, such as U+001F
    if not _WHOLE.fullmatch(written):
        remedy = f"Write digits only{_LEAVE_EMPTY}"
        raise CellNotConverted(f"{quote_value(text)} is not a whole number", remedy)
    return int(written)


def _number(text: str) -> int | float:
    written = text.strip()
    if _WHOLE.fullmatch(written):
        return int(written)
    if re.fullmatch(r"[-+]?[0-9]{1,40},[0-9]{1,40}", written):
        remedy = f"Write {written.replace(',', '.')}, with a point for the decimals."
        if re.fullmatch(r"[-+]?[1-9][0-9]{0,2},[0-9]{3}", written):  # so are thousands, in English
            remedy = (
                f"Write {written.replace(',', '')}; if it has decimals, write them after a point."
            )
        raise CellNotConverted(f"{quote_value(text)} is not a number", remedy)
    number = float(written) if _NUMBER.fullmatch(written) else math.inf
    if not math.isfinite(number):
        remedy = f"Write digits, with a point for the decimals, like 0.5{_LEAVE_EMPTY}"
        raise CellNotConverted(f"{quote_value(text)} is not a number", remedy)
    return number


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        remedy = f"Write true or false{_LEAVE_EMPTY}"
        raise CellNotConverted(f"{quote_value(text)} is not true or false", remedy)
    return word == "true"


def _list(text: str, inner: CellConverter | None = None) -> list[Any]:
    """Return a list from a JSON array, or of the cell alone: `https://…` is `["https://…"]`."""
    if not text.lstrip().startswith("["):
        return [inner(text) if inner else text]
    return list(_json(text, "a list", '["one", "two"]'))


def _object(text: str) -> dict[str, Any]:
    value = _json(text, "an object", '{"name": "value"}')
    if not isinstance(value, dict):
        remedy = 'Write it as JSON: {"name": "value"}.'
        raise CellNotConverted(f"{quote_value(text)} is not an object", remedy)
    return value


def _json(text: str, kind: str, example: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        what = f"{quote_value(text)} is not {kind} in JSON: {truncate(str(error))}"
        raise CellNotConverted(what, f"Write it like {example}.") from None


_CONVERTERS: dict[str, CellConverter] = {
    "string": str,
    "integer": _whole,
    "number": _number,
    "boolean": _boolean,
    "array": _list,
    "object": _object,
}
_TYPE_NAMES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_TYPE_NAMES |= {list: "array", dict: "object"}
