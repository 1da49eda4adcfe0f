"""The texts of problems with values: what is wrong, and what would be right.

Texts that came from outside are shown short and with every control, invisible or bidirectional
character escaped: a message is often read in a terminal.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from batchgen.core.rows import Place, Problem
from batchgen.core.text import (
    closest_match,
    escape_unprintable,
    list_choices,
    plural,
    quote_value,
    shell_quote,
    truncate,
    yaml_escaped,
)

MOST_UNKNOWN = 10  # names that are told one by one
MAX_NAME_CHARS = 200  # of one that anybody would type or paste
_NO_SUCH_INPUT = "the model has no input of this name"


def unknown_name_problem(
    name: str, known: Collection[str], place: Place, row: str | None = None, *, whole: bool = False
) -> Problem:
    """Say that the model has no input of this name, and the ways out."""
    if len(name) > MAX_NAME_CHARS:
        remedy = "Take it out, or begin the name with _ to carry it along unsent."
        return Problem(place, _NO_SUCH_INPUT, remedy, row, truncate(name), whole)
    near = closest_match(name, known)
    # A column is named once for all rows, so another name for it is the likelier wish.
    renamed = f" If so, add {option_of('--column', f'{near}={name}')}." if near and whole else ""
    meant = f"Did you mean {escape_unprintable(near)}?{renamed} " if near else ""
    carried = option_of("--meta", name)
    remedy = f"{meant}To carry it along unsent, add {carried}, or begin the name with _."
    return Problem(place, _NO_SUCH_INPUT, remedy, row, name, whole)


def unknown_columns_problems(
    columns: Sequence[tuple[str, Place]], known: Collection[str]
) -> Iterator[Problem]:
    """Yield a problem for each column of a table that is no input; the last has one way out of all.

    columns: their names and places.
    """
    for name, place in columns:
        if len(name) > MAX_NAME_CHARS:
            yield unknown_name_problem(name, known, place, whole=True)
    columns = [one for one in columns if len(one[0]) <= MAX_NAME_CHARS]
    if not columns:
        return
    if len(columns) == 1:
        yield unknown_name_problem(*(columns[0][0], known, columns[0][1]), whole=True)
        return
    meant = {name: closest_match(name, known) for name, _ in columns}
    for name, place in columns:
        near = meant[name]
        remedy = f"Did you mean {escape_unprintable(near)}?" if near else ""
        if name == columns[-1][0]:
            remedy = "\n".join(filter(None, [remedy, _way_out(meant)]))
        yield Problem(place, _NO_SUCH_INPUT, remedy, None, name, True)


def _way_out(meant: Mapping[str, str | None]) -> str:
    """Return the options, and the YAML, that settle columns. meant: by name, None for metadata."""
    renamed = {near: name for name, near in meant.items() if near}
    carried = [name for name in meant if name not in renamed.values()]
    options = [option_of("--column", f"{near}={name}") for near, name in renamed.items()]
    options += [option_of("--meta", name) for name in carried]
    settings = {"columns": renamed, "meta": carried}
    flow = [
        f"{name}: {yaml_escaped(json.dumps(value, ensure_ascii=False))}"
        for name, value in settings.items()
        if value
    ]
    return (
        f"To settle all at once, add {' '.join(options)}\n"
        "or carry along, unsent, every column that is no input with --meta '*'.\n"
        "In a YAML manifest:\n" + "\n".join(flow)
    )


def option_of(option: str, value: str) -> str:
    """Return an option with a value from a list, to be pasted into a shell."""
    if value.startswith("-"):  # else it is taken for an option
        return shell_quote(f"{option}={value}")
    return f"{option} {shell_quote(value)}"


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
    value, limit = error.instance, error.validator_value
    if texts := _TEMPLATES.get(error.validator):
        size = len(value) if isinstance(value, str | list) else 0
        facts = {"value": quote_value(value), "limit": quote_value(limit)}
        facts |= {"characters": plural(size, "character"), "values": plural(size, "value")}
        return texts[0].format(**facts), texts[1].format(**facts)
    match error.validator:
        case None:  # the schema is `false`
            return "the model's schema allows nothing here", "Take it out."
        case "type":
            return explain_type(value, limit)
        case "enum":
            return explain_enum(value, limit)
        case "const":
            return f"{quote_value(value)} is not allowed", f"Write {quote_value(limit)}."
        case "required":
            missing = list_choices([name for name in limit if name not in value])
            return f"{missing} is missing", "Write it, or leave out what needs it."
        case "pattern":
            what = f"{quote_value(value)} does not have the form the model wants"
            return what, f"It has to match {truncate(quote_value(limit), 80)}."
    return truncate(escape_unprintable(error.message), 160), ""


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
    """Explain a value that an enum does not allow; the nearest allowed value comes first."""
    texts = {c if isinstance(c, str) else json.dumps(c): c for c in allowed}
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text in texts:
        form = "in quotes" if isinstance(texts[text], str) else "without quotes"
        return f"{quote_value(value)} is not allowed as written", f"Write it {form}."
    near = closest_match(text, texts)
    meant = f"Did you mean {escape_unprintable(near)}? " if near else ""
    return f"{quote_value(value)} is not allowed", f"{meant}Allowed: {list_choices(allowed)}."


# What is wrong and the remedy, as templates.
_TEMPLATES = {
    "minimum": ("{value} is too small", "The least allowed is {limit}."),
    "maximum": ("{value} is too large", "The most allowed is {limit}."),
    "exclusiveMinimum": ("{value} is too small", "Write more than {limit}."),
    "exclusiveMaximum": ("{value} is too large", "Write less than {limit}."),
    "multipleOf": ("{value} does not fit the steps of {limit}", "Write a multiple of {limit}."),
    "minLength": ("it has {characters}, too few", "Write at least {limit}."),
    "maxLength": ("it has {characters}, too many", "Shorten it to {limit} or fewer."),
    "minItems": ("the list has {values}, too few", "Give at least {limit}."),
    "maxItems": ("the list has {values}, too many", "Give {limit} or fewer."),
    "uniqueItems": ("a value is in the list more than once", "Take the repetition out."),
    "anyOf": ("{value} is none of the forms the model takes", ""),
    "oneOf": ("{value} is not exactly one of the forms the model takes", ""),
}


_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){1,5}")


def model_id_problem(text: str) -> str | None:
    """Say what is wrong with a model id; None if it can stand in the API's path.

    Ids have two to six parts, three or four in practice; dots and upper case occur.
    Source: docs/maintainers/wire.md.
    """
    if _MODEL_ID.fullmatch(text) and len(text) <= 200 and ".." not in text:
        return None
    return f"{quote_value(text)} is not a model id"


def duplicate_id_problem(place: Place, id: str, first_source: str) -> Problem:
    """Say that an id was given before. first_source: `file:line` of the row that has it."""
    remedy = "Give one of the two rows another id, or none."
    return Problem(place, f"this id was given before, in {first_source}", remedy, id, "id")
