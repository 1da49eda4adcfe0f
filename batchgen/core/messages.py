"""How a problem with a value is put: what is wrong, and what would be right.

Texts that came from outside are shown short and with every control, invisible or bidirectional
character escaped: a message is often read in a terminal.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from batchgen.core.rows import Place, Problem
from batchgen.core.text import (
    closest_match,
    escape_unprintable,
    list_choices,
    plural,
    quote_value,
    truncate,
)


def unknown_name_problem(
    name: str, known: Collection[str], place: Place, row: str | None = None, *, whole: bool = False
) -> Problem:
    """Say that the model has no input of this name, and the ways out."""
    near = closest_match(name, known)
    # A column is named once for all rows, so another name for it is the likelier wish.
    renamed = f" If so, add --column {near}={name}." if near and whole else ""
    meant = f"Did you mean {near}?{renamed} " if near else ""
    remedy = f"{meant}To carry it along unsent, add --meta {name}, or begin the name with _."
    what = "the model has no input of this name"
    return Problem(place, what, escape_unprintable(remedy), row, name, whole)


TYPE_NAMES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_TYPE_REMEDIES = {
    "string": 'Put it in quotes to send it as a text, like "{shown}".',
    "integer": "Write digits only, without quotes, or leave it out to let the model choose.",
    "number": "Write a number like 0.5, without quotes, or leave it out to let the model choose.",
    "boolean": "Write true or false, without quotes, or leave it out to let the model choose.",
    "array": "Write a list, like [a, b].",
    "object": "Write an object, like {name: value}.",
}


def explain_schema_error(error: Any) -> tuple[str, str]:
    """Return what is wrong and the remedy for a jsonschema ValidationError."""
    put = _EXPLANATIONS.get(error.validator)
    if put is None:
        return truncate(escape_unprintable(error.message), 160), ""
    return put(error.instance, error.validator_value)


def explain_type(value: Any, wanted: Any) -> tuple[str, str]:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    kinds = " or ".join(TYPE_NAMES.get(name, name) for name in names)
    if value is None:
        return "nothing is written here (null)", f"Write {kinds}, or take the name out."
    remedy = _TYPE_REMEDIES.get(names[0], "").replace("{shown}", quote_value(value).strip("'"))
    if names[0] == "string" and isinstance(value, list | dict):
        remedy = "Write a text."
    return f"{quote_value(value)} is not {kinds}", remedy


def explain_enum(value: Any, allowed: Sequence[Any]) -> tuple[str, str]:
    """Put an enum's refusal, with the nearest value first."""
    texts = {c if isinstance(c, str) else json.dumps(c): c for c in allowed}
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    same = text in texts
    near = text if same else closest_match(text, texts)
    if same:
        form = "in quotes" if isinstance(texts[text], str) else "without quotes"
        return f"{quote_value(value)} is not allowed as written", f"Write it {form}."
    meant = f"Did you mean {near}? " if near else ""
    return f"{quote_value(value)} is not allowed", f"{meant}Allowed: {list_choices(allowed)}."


_EXPLANATIONS: dict[str, Callable[[Any, Any], tuple[str, str]]] = {
    "type": explain_type,
    "enum": explain_enum,
    "const": lambda v, only: (f"{quote_value(v)} is not allowed", f"Write {quote_value(only)}."),
    "minimum": lambda v, low: (f"{quote_value(v)} is too small", f"The least allowed is {low}."),
    "maximum": lambda v, high: (f"{quote_value(v)} is too large", f"The most allowed is {high}."),
    "exclusiveMinimum": lambda v, low: (
        f"{quote_value(v)} is too small",
        f"Write more than {low}.",
    ),
    "exclusiveMaximum": lambda v, high: (
        f"{quote_value(v)} is too large",
        f"Write less than {high}.",
    ),
    "multipleOf": lambda v, step: (
        f"{quote_value(v)} does not fit the steps of {step}",
        f"Write a multiple of {step}.",
    ),
    "minLength": lambda v, least: (
        f"it has {plural(len(v), 'character')}, too few",
        f"Write at least {least}.",
    ),
    "maxLength": lambda v, most: (
        f"it has {plural(len(v), 'character')}, too many",
        f"Shorten it to {most} or fewer.",
    ),
    "minItems": lambda v, least: (
        f"the list has {plural(len(v), 'value')}, too few",
        f"Give at least {least}.",
    ),
    "maxItems": lambda v, most: (
        f"the list has {plural(len(v), 'value')}, too many",
        f"Give {most} or fewer.",
    ),
    "uniqueItems": lambda v, _: (
        "a value is in the list more than once",
        "Take the repetition out.",
    ),
    "required": lambda v, names: (
        f"{list_choices([n for n in names if n not in v])} is missing",
        "Write it, or leave out what needs it.",
    ),
    "pattern": lambda v, form: (
        f"{quote_value(v)} does not have the form the model wants",
        f"It has to match {truncate(quote_value(form), 80)}.",
    ),
    "anyOf": lambda v, _: (f"{quote_value(v)} is none of the forms the model takes", ""),
    "oneOf": lambda v, _: (f"{quote_value(v)} is not exactly one of the forms the model takes", ""),
    "false schema": lambda v, _: ("the model takes nothing here", "Take it out."),
}


_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){1,5}")


def model_id_problem(text: str) -> str | None:
    """Say what is wrong with a model id; None if it can stand in the API's path.

    Ids have two to six parts, three or four in practice; dots and upper case occur. Source:
    docs/maintainers/wire.md.
    """
    if _MODEL_ID.fullmatch(text) and len(text) <= 200 and ".." not in text:
        return None
    return f"{quote_value(text)} is not a model id"


def duplicate_id_problem(place: Place, id: str, first_source: str) -> Problem:
    """Say that an id was given before. first_source: `file:line` of the row that has it."""
    return Problem(
        place,
        f"this id was given before, in {first_source}",
        "Give one of the two rows another id, or none.",
        id,
        "id",
    )
