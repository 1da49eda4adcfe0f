"""How a problem with a value is put: what is wrong, and what would be right.

Texts that came from outside are shown short and with every control, invisible or bidirectional
character escaped: a message is often read in a terminal.
"""

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from batchgen.rows import Place, Problem

SHOWN_CHARS = 60
SHOWN_CHOICES = 24


def show(value: Any) -> str:
    """Return a value in the form of a message: a text in quotes, everything else as JSON."""
    if isinstance(value, str):
        return repr(cut(value))
    # Only the beginning is shown, and a list can be long.
    shortened = value[:SHOWN_CHARS] if isinstance(value, list) else value
    text = cut(json.dumps(shortened, ensure_ascii=False, default=str))
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, longest: int = SHOWN_CHARS) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Return the known word that was most likely meant, whatever its case; None if none is near."""
    by_fold = {word.casefold(): word for word in known}
    close = difflib.get_close_matches(text.casefold()[:SHOWN_CHARS], by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


def choices(allowed: Sequence[Any]) -> str:
    shown = [str(c) if isinstance(c, str) else json.dumps(c) for c in allowed[:SHOWN_CHOICES]]
    more = ["…"] if len(allowed) > SHOWN_CHOICES else []
    return ", ".join([*map(cut, shown), *more])


def unknown_name(
    name: str, known: Collection[str], place: Place, row: str | None = None, *, whole: bool = False
) -> Problem:
    """Say that the model has no input of this name, and the ways out."""
    near = nearest(name, known)
    # A column is named once for all rows, so another name for it is the likelier wish.
    renamed = f" If so, add --column {near}={name}." if near and whole else ""
    meant = f"Did you mean {near}?{renamed} " if near else ""
    remedy = f"{meant}To carry it along unsent, add --meta {name}, or begin the name with _."
    what = "the model has no input of this name"
    return Problem(place, what, _printable(remedy), row, name, whole)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


TYPES = {
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


def sentence(error: Any) -> tuple[str, str]:
    """Return what is wrong and the remedy for a jsonschema ValidationError."""
    put = _SENTENCES.get(error.validator)
    if put is None:
        return cut(_printable(error.message), 160), ""
    return put(error.instance, error.validator_value)


def wrong_type(value: Any, wanted: Any) -> tuple[str, str]:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    kinds = " or ".join(TYPES.get(name, name) for name in names)
    if value is None:
        return "nothing is written here (null)", f"Write {kinds}, or take the name out."
    remedy = _TYPE_REMEDIES.get(names[0], "").replace("{shown}", show(value).strip("'"))
    if names[0] == "string" and isinstance(value, list | dict):
        remedy = "Write a text."
    return f"{show(value)} is not {kinds}", remedy


def not_allowed(value: Any, allowed: Sequence[Any]) -> tuple[str, str]:
    """Put an enum's refusal, with the nearest value first."""
    texts = {c if isinstance(c, str) else json.dumps(c): c for c in allowed}
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    same = text in texts
    near = text if same else nearest(text, texts)
    if same:
        form = "in quotes" if isinstance(texts[text], str) else "without quotes"
        return f"{show(value)} is not allowed as written", f"Write it {form}."
    meant = f"Did you mean {near}? " if near else ""
    return f"{show(value)} is not allowed", f"{meant}Allowed: {choices(allowed)}."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


_SENTENCES: dict[str, Callable[[Any, Any], tuple[str, str]]] = {
    "type": wrong_type,
    "enum": not_allowed,
    "const": lambda v, only: (f"{show(v)} is not allowed", f"Write {show(only)}."),
    "minimum": lambda v, low: (f"{show(v)} is too small", f"The least allowed is {low}."),
    "maximum": lambda v, high: (f"{show(v)} is too large", f"The most allowed is {high}."),
    "exclusiveMinimum": lambda v, low: (f"{show(v)} is too small", f"Write more than {low}."),
    "exclusiveMaximum": lambda v, high: (f"{show(v)} is too large", f"Write less than {high}."),
    "multipleOf": lambda v, step: (
        f"{show(v)} does not fit the steps of {step}",
        f"Write a multiple of {step}.",
    ),
    "minLength": lambda v, least: (
        f"it has {_plural(len(v), 'character')}, too few",
        f"Write at least {least}.",
    ),
    "maxLength": lambda v, most: (
        f"it has {_plural(len(v), 'character')}, too many",
        f"Shorten it to {most} or fewer.",
    ),
    "minItems": lambda v, least: (
        f"the list has {_plural(len(v), 'value')}, too few",
        f"Give at least {least}.",
    ),
    "maxItems": lambda v, most: (
        f"the list has {_plural(len(v), 'value')}, too many",
        f"Give {most} or fewer.",
    ),
    "uniqueItems": lambda v, _: (
        "a value is in the list more than once",
        "Take the repetition out.",
    ),
    "required": lambda v, names: (
        f"{choices([n for n in names if n not in v])} is missing",
        "Write it, or leave out what needs it.",
    ),
    "pattern": lambda v, form: (
        f"{show(v)} does not have the form the model wants",
        f"It has to match {cut(show(form), 80)}.",
    ),
    "anyOf": lambda v, _: (f"{show(v)} is none of the forms the model takes", ""),
    "oneOf": lambda v, _: (f"{show(v)} is not exactly one of the forms the model takes", ""),
    "false schema": lambda v, _: ("the model takes nothing here", "Take it out."),
}
