"""The settings that a YAML or JSON manifest carries beside its rows.

They are checked by `schemas/manifest.schema.json`, the file that editors use too, and by the
parsers that the options of the same names use. What decides where the token goes or whether a row
may be paid for again is not among them: a list that came from somewhere else must not be able to.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from batchgen.core import units
from batchgen.core.messages import explain_schema_error
from batchgen.core.rows import Place, Problem
from batchgen.core.text import closest_match, plural
from batchgen.manifest.document import Document
from batchgen.resources import schemas_folder

MAX_MATRIX = 100

_ONLY_OPTIONS = {
    "allow_path": "Use --allow-path. A list decides nothing about what else is read and sent.",
    "base_url": "Use --base-url. A list decides nothing about where your token is sent.",
    "media_host": "Use --media-host. A list decides nothing about what is fetched from where.",
    "on_unknown": "Use --on-unknown. A list does not spend your money twice.",
    "out": "Use --out. A list decides nothing about where files are written.",
}
_NEVER = "Set RUNCOMFY_TOKEN in the environment. A list is shared and copied; a token is not."
_TOKENS = ("token", "api_key", "access_token")


# How a setting that is not written as it is meant becomes its value.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "rate": units.parse_rate,
    "max_time": units.parse_duration,
    "until": units.parse_clock_time,
}


@dataclass
class Settings:
    """What a manifest sets; None or empty where it says nothing.

    defaults, matrix: inputs by name. columns: the name in the file by the input's name.
    from_: the file with the rows, and schema: the model's schema; as written, relative to the
        manifest.
    of_run: the options of a run that are written, parsed, by the name that `RunOptions` has.
    place: where the settings stand; places: of each that is written.
    """

    schema: str | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    matrix: dict[str, list[Any]] = field(default_factory=dict)
    max_matrix: int = MAX_MATRIX
    columns: dict[str, str] = field(default_factory=dict)
    meta: list[str] = field(default_factory=list)
    from_: str | None = None
    format: str | None = None
    of_run: dict[str, Any] = field(default_factory=dict)
    place: Place = field(default_factory=lambda: Place(""))
    places: dict[str, Place] = field(default_factory=dict)

    def run_options(self, folder: Path) -> dict[str, Any]:
        """Return the options of a run that are written. folder: the manifest's own."""
        return (
            self.of_run if self.schema is None else self.of_run | {"schema": folder / self.schema}
        )


# What says how the manifest is read, and the field that holds it.
_OF_READING = {
    **{name: name for name in ("schema", "defaults", "matrix", "max_matrix", "columns", "meta")},
    **{"format": "format", "from": "from_"},
}


def read_settings(document: Document) -> tuple[Settings, list[Problem]]:
    """Return the settings that are right, and the problems with the others."""
    problems = list(document.problems)
    told: set[str] = set()
    shape = {**document.settings, **({} if document.rows is None else {"rows": []})}
    for error in _judge().iter_errors(shape):
        name = str(error.absolute_path[0]) if error.absolute_path else ""
        problems += [p for p in _problems(error, document) if p not in problems]
        told.add(name)
    settings = Settings(place=document.place())
    settings.places = {str(p[0]): place for p, place in document.places.items() if len(p) == 1}
    for name, value in document.settings.items():
        if name in told:
            continue
        try:
            _set(settings, name, value)
        except ValueError as error:
            place = document.place((name,))
            problems.append(
                Problem(place, "this cannot be read", str(error), field=name, whole=True)
            )
    problems += _contradictions(settings, document)
    return settings, sorted(problems, key=lambda problem: problem.place)


def _set(settings: Settings, name: str, value: Any) -> None:
    """Take one setting over. Raises ValueError with a sentence."""
    value = _PARSERS[name](value) if name in _PARSERS else value
    if name in _OF_READING:
        setattr(settings, _OF_READING[name], value)
    else:
        settings.of_run[name] = value


def _problems(error: Any, document: Document) -> list[Problem]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and not path:
        known = error.schema["properties"]
        return [
            _unknown(name, list(known), document) for name in error.instance if name not in known
        ]
    if error.validator == "oneOf" and not path:
        what = "there are no rows" if "rows" not in error.instance else "rows stand beside from:"
        remedy = "Write either rows: with a list, or from: with the name of a file."
        return [Problem(document.place(), what, remedy, whole=True)]
    what, remedy = explain_schema_error(error)
    if error.validator in ("anyOf", "oneOf"):
        remedy = str(error.schema.get("description", ""))
    field = ".".join(str(p + 1 if isinstance(p, int) else p) for p in path)
    return [Problem(document.place(path), what, remedy, field=field, whole=True)]


def _unknown(name: str, known: list[str], document: Document) -> Problem:
    place = document.place((name,))
    if name in _TOKENS:
        return Problem(place, "a token does not belong here", _NEVER, field=name, whole=True)
    option = name.replace("-", "_")
    if option in _ONLY_OPTIONS:
        what = "a manifest cannot set this"
        return Problem(place, what, _ONLY_OPTIONS[option], field=name, whole=True)
    near = closest_match(name, known)
    remedy = f"Did you mean {near}?" if near else f"Settings are {', '.join(known)}."
    return Problem(place, "there is no setting of this name", remedy, field=name, whole=True)


def _contradictions(settings: Settings, document: Document) -> list[Problem]:
    problems = []
    size = 1
    for values in settings.matrix.values():
        size *= len(values)
    if size > settings.max_matrix:
        requests = plural(size, "request")
        what = f"the matrix makes {requests} of every row, more than {settings.max_matrix}"
        remedy = f"If all of them are meant and to be paid for, write max_matrix: {size}."
        place = document.place(("matrix",))
        problems.append(Problem(place, what, remedy, field="matrix", whole=True))
        settings.matrix = {}
    return problems


@cache
def _judge() -> Any:
    path = schemas_folder() / "manifest.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    settings = {"$ref": "#/$defs/settings", "$defs": schema["$defs"]}
    nothing_fetched: Registry[Any] = Registry()
    return Draft202012Validator(settings, registry=nothing_fetched)
