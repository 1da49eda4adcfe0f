"""The settings that a YAML or JSON manifest carries beside its rows.

They are checked by `schemas/manifest.schema.json`, the file that editors use too, and by the
parsers that the options of the same names use. What decides where the token goes or whether a row
may be paid for again is not among them: a list that came from somewhere else must not be able to.
Whom it lets be told of a run, and what it lets be run, holds only where the person trusts it.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from batchgen.core import units
from batchgen.core.addresses import parse_notify_urls, parse_ping_url
from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.limits import DEFAULT_LIMITS, MEANT, Limits, how_to_raise, say_limit
from batchgen.core.messages import MOST_UNKNOWN, explain_schema_error
from batchgen.core.rows import Problem
from batchgen.core.targets import deployment_target, parse_node_input
from batchgen.core.text import closest_match, plural
from batchgen.manifest.document import Document
from batchgen.manifest.records import file_problem
from batchgen.resources import schemas_folder
from batchgen.templates.id_template import IdTemplate, parse_id_template

MOST_ERRORS = 100  # that are looked at: a setting can have a mistake in each of a million values
MIN_VALUE_BYTES = 64  # that a value counts as: handling it takes as long as some bytes more

_ONLY_OPTIONS = {
    "allow_hooks": "Use --allow-hooks. A list does not say whether it is trusted.",
    "allow_shared_folder": "Use --allow-shared-folder. A list does not say whom you trust.",
    "ask_above": "Use --ask-above. A list decides nothing about when you are asked.",
    "allow_path": "Use --allow-path. A list decides nothing about what else is read and sent.",
    "serverless_url": "Use --serverless-url. A list decides nothing about where a token is sent.",
    "base_url": "Use --base-url. A list decides nothing about where your token is sent.",
    "media": "Use --media. A list decides nothing about where files are written.",
    "media_host": "Use --media-host. A list decides nothing about what is fetched from where.",
    "on_unknown": "Use --on-unknown. A list does not spend your money twice.",
    "raise_limit": "Use --raise-limit. The limits are against what a list could do to you.",
    "out": "Use --out. A list decides nothing about where files are written.",
    "window": "Use --window, or until: for the end alone.",
    "yes": "Use --yes. A list decides nothing about when you are asked.",
}
_NEVER = (
    "Store it with batchgen login, or set RUNCOMFY_TOKEN. A list is shared and copied; a token is"
    " not."
)
_OF_ROWS = {"id", *PROMPT_NAMES}  # names that tell a row from settings
_TOKENS = ("token", "api_key", "access_token")


# How a setting that is not written as it is meant becomes its value.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "id": parse_id_template,
    "deployment": deployment_target,
    "outputs": lambda nodes: tuple(map(str, nodes)),
    "nodes": lambda nodes: {name: parse_node_input(one) for name, one in nodes.items()},
    "rate": units.parse_rate,
    "max_time": units.parse_duration,
    "until": units.parse_clock_time,
    "ping": parse_ping_url,
    "notify": parse_notify_urls,
    "on_finish": lambda command: command if isinstance(command, str) else tuple(command),
}


@dataclass
class Settings:
    """What a manifest sets; None or empty where it says nothing.

    defaults, matrix: inputs by name. columns: the name in the file by the input's name.
    nodes: the input of a node, as `6.text`, by the name that the manifest has for it.
    id: what ids are made of.
    input: what each file of the folder `from_` is.
    expand: whether prompts unfold. samples: of each that has more, drawn by sample_seed; None is
        all.
    from_: the file with the rows, schema: the model's schema, and workflow: one that is sent to a
        deployment; as written, relative to the manifest. A schema may also stand here itself.
    of_run: the options of a run that are written, parsed, by the name that `RunOptions` has.
    not_obeyed: the names of those that hold only where the person trusts the manifest.
    """

    schema: str | dict[str, Any] | None = None
    workflow: str | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    matrix: dict[str, list[Any]] = field(default_factory=dict)
    max_matrix: int | None = None
    columns: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    meta: list[str] = field(default_factory=list)
    id: IdTemplate | None = None
    expand: bool = False
    samples: int | None = None
    sample_seed: int = 0
    from_: str | None = None
    format: str | None = None
    input: str | None = None
    of_run: dict[str, Any] = field(default_factory=dict)
    not_obeyed: tuple[str, ...] = ()

    def disobey(self, names: Iterable[str]) -> None:
        """Leave out these options of a run, as far as they are written."""
        self.not_obeyed = tuple(name for name in names if name in self.of_run)
        for name in self.not_obeyed:
            del self.of_run[name]

    def run_options(self, folder: Path) -> dict[str, Any]:
        """Return the options of a run that are written. folder: the manifest's own."""
        files = {"schema": self.schema, "workflow": self.workflow}
        return self.of_run | {
            name: folder / one if isinstance(one, str) else one
            for name, one in files.items()
            if one
        }


# What says how the manifest is read, and the field that holds it.
_OF_READING = {
    **{name: name for name in ("schema", "defaults", "matrix", "max_matrix", "columns", "meta")},
    **{name: name for name in ("nodes", "workflow", "expand", "samples", "sample_seed")},
    **{"id": "id", "format": "format", "from": "from_", "input": "input"},
}
# What a run has under another name.
_OTHER_NAMES = {"deployment": "model", "outputs": "output_nodes"}


def value_bytes(value: Any) -> int:
    """Return what a value counts as where it is added to many rows."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return max(len(text.encode(errors="replace")), MIN_VALUE_BYTES)


def read_settings(
    document: Document, limits: Limits = DEFAULT_LIMITS
) -> tuple[Settings, list[Problem]]:
    """Return the settings that are right, and the problems with the others."""
    names = document.settings.keys()
    if document.rows is None and "from" not in names and names & _OF_ROWS:
        remedy = "Put it in a list: in brackets, [{…}], in JSON; after “- ” in YAML."
        what = "this is a row, not a list of rows"
        return Settings(), [file_problem(document.place(), what, remedy)]
    # First, since what comes after takes time by the size of the settings.
    too_large = {one.field: one for one in _too_large(document, limits)}
    problems = [*document.problems, *too_large.values()]
    told: set[str] = set(too_large)
    shape = {**document.settings, **({} if document.rows is None else {"rows": []})}
    shape = {name: value for name, value in shape.items() if name not in told}
    errors = list(islice(_validator().iter_errors(shape), MOST_ERRORS))
    for error in errors:
        name = str(error.absolute_path[0]) if error.absolute_path else ""
        problems += [p for p in _problems(error, document) if p not in problems]
        told.add(name)
    if len(errors) == MOST_ERRORS:  # the rest is unchecked
        told.update(document.settings)
    settings = Settings()
    known = _validator().schema["$defs"]["settings"]["properties"]
    for name, value in document.settings.items():
        if name in told or name not in known:
            continue
        try:
            read = _PARSERS[name](value) if name in _PARSERS else value
        except ValueError as error:
            place = document.place((name,))
            problems.append(file_problem(place, "this cannot be read", str(error), name))
        else:
            if name in _OTHER_NAMES:
                settings.of_run[_OTHER_NAMES[name]] = read
            elif name in _OF_READING:
                setattr(settings, _OF_READING[name], read)
            else:
                settings.of_run[name] = read
    size = math.prod(map(len, settings.matrix.values()))
    if settings.max_matrix is not None and size > settings.max_matrix:
        made = plural(size, "request")
        what = f"the matrix makes {made} of every row, more than max_matrix: {settings.max_matrix}"
        remedy = "If all of them are meant and to be paid for, take max_matrix: out."
        problems.append(file_problem(document.place(("matrix",)), what, remedy, "matrix"))
        settings.matrix = {}
    return settings, sorted(problems, key=lambda problem: problem.place)


def _too_large(document: Document, limits: Limits) -> Iterator[Problem]:
    """Yield the problem of each setting that takes more than the limits allow."""

    def over(limit: str, name: str, what: str, needed: int, meant: str = MEANT) -> Problem:
        what = f"{what}; {say_limit(limits, limit)}"
        return file_problem(document.place((name,)), what, how_to_raise(limit, needed, meant), name)

    most = document.settings.get("max_matrix")
    if isinstance(most, int) and most > limits.matrix_rows:
        what = "a manifest can lower a limit, and raise none"
        meant = "Take it out. If so many requests of a row are meant"
        yield over("matrix_rows", "max_matrix", what, most, meant)
    matrix = document.settings.get("matrix")
    values = matrix.values() if isinstance(matrix, dict) else ()
    axes = [axis for axis in values if isinstance(axis, list)]
    size = math.prod(map(len, axes))
    if size > limits.matrix_rows:
        what = f"the matrix makes {plural(size, 'request')} of every row"
        meant = "If all of them are meant and to be paid for"
        yield over("matrix_rows", "matrix", what, size, meant)
    elif (added := sum(_longest(axis) for axis in axes)) > limits.default_bytes:
        yield over("default_bytes", "matrix", f"it adds {added:,} bytes to every row", added)
    schema = document.settings.get("schema")
    if isinstance(schema, dict) and (size := value_bytes(schema)) > limits.schema_bytes:
        yield over("schema_bytes", "schema", f"it has {size:,} bytes", size)
    defaults = document.settings.get("defaults")
    if isinstance(defaults, dict):
        added = sum(map(value_bytes, defaults.values()))
        if added > limits.default_bytes:
            yield over("default_bytes", "defaults", f"they add {added:,} bytes to every row", added)


def _longest(axis: list[Any]) -> int:
    return max(map(value_bytes, axis), default=0)


def _problems(error: Any, document: Document) -> list[Problem]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and not path:
        known = list(error.schema["properties"])
        unknown = [name for name in error.instance if name not in known]
        found = [_unknown(name, known, document) for name in unknown[:MOST_UNKNOWN]]
        if (more := len(unknown) - MOST_UNKNOWN) > 0:
            what = f"{plural(more, 'more name')} that are no settings"
            found.append(file_problem(document.place((unknown[MOST_UNKNOWN],)), what))
        return found
    if error.validator == "oneOf" and not path:
        what = "there are no rows" if "rows" not in error.instance else "rows stand beside from:"
        remedy = "Write either rows: with a list, or from: with the name of a file."
        return [file_problem(document.place(), what, remedy)]
    what, remedy = explain_schema_error(error)
    if error.validator in ("anyOf", "oneOf"):
        remedy = str(error.schema.get("description", ""))
    field = ".".join(str(p + 1 if isinstance(p, int) else p) for p in path)
    return [file_problem(document.place(path), what, remedy, field)]


def _unknown(name: str, known: list[str], document: Document) -> Problem:
    place = document.place((name,))
    if name in _TOKENS:
        return file_problem(place, "a token does not belong here", _NEVER, name)
    option = name.replace("-", "_")
    if option in _ONLY_OPTIONS:
        return file_problem(place, "a manifest cannot set this", _ONLY_OPTIONS[option], name)
    near = closest_match(name, known)
    remedy = f"Did you mean {near}?" if near else f"Settings are {', '.join(known)}."
    return file_problem(place, "there is no setting of this name", remedy, name)


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # most lists have no settings
    from referencing import Registry

    path = schemas_folder() / "manifest.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    settings = {"$ref": "#/$defs/settings", "$defs": schema["$defs"]}
    nothing_fetched: Registry[Any] = Registry()
    return Draft202012Validator(settings, registry=nothing_fetched)
