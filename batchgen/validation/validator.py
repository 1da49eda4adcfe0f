"""Entries and the model's input schema -> rows to send, or every problem that each has.

jsonschema is the judge. Two things come before it: text cells get the type that the schema wants,
and a row of plain values that surely fits is let through unjudged, since a million rows have to
pass within a minute; a test holds the two to the same verdict. Beyond the schema, a row is refused
for a name that the model does not know (the API would ignore it, and bill), a required text that is
blank, a URL that the API cannot fetch, and text that cannot be sent as it stands.

Defaults of a schema are never added: the catalogue holds sample prompts as defaults.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator
from referencing import Registry

from batchgen.core.messages import explain_schema_error, unknown_name_problem
from batchgen.core.rows import Entry, Problem, Row
from batchgen.core.text import is_text, quote_value
from batchgen.validation.convert import CellConverter, CellNotConverted, make_converter
from batchgen.validation.model_schema import InputSchema

_NOTHING_FETCHED: Registry[Any] = Registry()
_ANNOTATIONS = {"title", "description", "default", "examples", "format"}
_PLAIN = _ANNOTATIONS | {"type", "enum", "minimum", "maximum", "minLength", "maxLength"}

QuickCheck = Callable[[Any], bool]


class Validator:
    """Checks entries against one model's input schema.

    properties: the schema of each input by name; also the names that a manifest may use.
    required: names that every row needs.
    hosted: the kind of file behind each input that is a URL, or a list of them: `image`, `video`,
        `audio`, or "" where the schema does not say.
    quick: whether plain values that surely fit are passed without jsonschema.
    """

    def __init__(self, schema: InputSchema, *, quick: bool = True) -> None:
        self.properties: Mapping[str, dict[str, Any]] = schema.properties
        kinds = ((name, _hosted(one)) for name, one in schema.properties.items())
        self.hosted = {name: kind for name, kind in kinds if kind is not None}
        self.required = schema.required
        self._judge = _validator(schema.document)
        self._converters = {
            name: made
            for name, one in schema.properties.items()
            if (made := self._converter(one, schema.document)) is not None
        }
        # Anything beside these at the top, e.g. allOf, may bind several inputs together.
        plain = schema.document.keys() <= _ANNOTATIONS | {"type", "properties", "required"}
        checks = {name: _quick_check(one) for name, one in schema.properties.items()}
        self._quick = {
            name: (self._converters.get(name), check)
            for name, check in checks.items()
            if check is not None and plain and quick
        }

    def check(self, entry: Entry, *, default_model: str) -> Row | list[Problem]:
        """Return the row to send, or all problems of this entry; pure, and nothing is kept."""
        quickly = self._surely_valid(entry)
        values = dict(entry.values) if quickly is None else quickly
        if quickly is None:
            unfit = self._convert(entry, values)
            fields = {problem.field for problem in unfit}
            problems = unfit + [p for p in self._problems(entry, values) if p.field not in fields]
            if problems:
                return problems
        model = default_model if entry.model is None else entry.model
        source = entry.place.source
        return Row(entry.position, source, entry.id, model, values, entry.meta)

    def _convert(self, entry: Entry, values: dict[str, Any]) -> list[Problem]:
        """Turn the text cells among `values` into what the schema wants, in place."""
        problems = []
        for name, convert in self._converters.items():
            if name in values and name in entry.cells:
                try:
                    values[name] = convert(values[name])
                except CellNotConverted as error:
                    problems.append(_problem(entry, name, error.what, error.remedy))
        return problems

    def _surely_valid(self, entry: Entry) -> dict[str, Any] | None:
        """Return the values, converted, of a row so plain that no judge is needed; else None."""
        if not _keepable(entry):
            return None
        values, cells = dict(entry.values), entry.cells
        try:
            for name, value in entry.values.items():
                convert, check = self._quick[name]
                if convert is not None and name in cells:
                    value = values[name] = convert(value)
                if not check(value):
                    return None
        except (KeyError, CellNotConverted):
            return None
        for name in self.required:
            value = values.get(name)
            if value is None or (isinstance(value, str) and (not value or value.isspace())):
                return None
        return values

    def _problems(self, entry: Entry, values: dict[str, Any]) -> Iterator[Problem]:
        for what, remedy in _texts_of_entry(entry):
            yield _problem(entry, "", what, remedy)
        for name in values:
            if name not in self.properties:
                place = entry.places.get(name, entry.place)
                yield unknown_name_problem(name, self.properties, place, entry.id)
        for name in self.required:
            if name not in values:
                remedy = f"Write {name} in this row, or under defaults: for every row."
                yield _problem(entry, name, "it is missing, and the model needs it", remedy)
            elif isinstance(values[name], str) and not values[name].strip():
                remedy = "Write one, or take the row out."
                yield _problem(entry, name, "it is blank, and the model needs it", remedy)
        known = {name: value for name, value in values.items() if name in self.properties}
        unfit = set()
        for name, value in known.items():
            for field, what, remedy in self._flaws(name, value):
                unfit.add(name)
                yield _problem(entry, field, what, remedy)
        yield from self._judged(entry, {n: v for n, v in known.items() if n not in unfit})

    def _flaws(self, name: str, value: Any) -> Iterator[tuple[str, str, str]]:
        """Yield (field, what, remedy) for what no schema says: text and URLs that cannot work."""
        hosted = name in self.hosted
        for field, part in _parts(name, value):
            if isinstance(part, str) and not is_text(part):
                yield field, *_unsendable(part)
            elif isinstance(part, str) and hosted and (wrong := _url_flaw(part)):
                remedy = "Give a public https:// address; the service fetches it without a login."
                yield field, f"{quote_value(part)} {wrong}", remedy
            elif isinstance(part, float) and not math.isfinite(part):
                yield field, f"{part} is not a number that can be sent", "Write a number."

    def _judged(self, entry: Entry, values: dict[str, Any]) -> Iterator[Problem]:
        try:
            told = entry.values.keys() | set(self.required)
            for error in self._judge.iter_errors(values):
                # Missing here is also what was left out because it has a problem of its own.
                top = error.validator == "required" and not error.absolute_path
                if top and told.issuperset(error.validator_value):
                    continue
                name, *inside = error.absolute_path or [""]
                yield _problem(entry, _path(str(name), inside), *explain_schema_error(error))
        except RecursionError:
            yield _problem(entry, "", "the values are nested too deeply to be checked", "")

    def _converter(self, one: dict[str, Any], document: dict[str, Any]) -> CellConverter | None:
        judge = _validator({**one, "$defs": document.get("$defs", {})})
        return make_converter(one, judge.is_valid)


def _validator(schema: dict[str, Any]) -> Any:
    return Draft202012Validator(schema, registry=_NOTHING_FETCHED)


def _quick_check(schema: dict[str, Any]) -> QuickCheck | None:
    """Return a test that passes only values that the judge would pass too; None without one."""
    kind = schema.get("type")
    if schema.keys() - _PLAIN or _hosted(schema) is not None:
        return None
    enum = schema.get("enum")
    if enum is not None:
        if kind != "string" or not all(isinstance(v, str) and is_text(v) for v in enum):
            return None
        known = frozenset(enum)
        return lambda value: type(value) is str and value in known
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        if not least and most == math.inf:
            return lambda v: type(v) is str and is_text(v)
        return lambda v: type(v) is str and least <= len(v) <= most and is_text(v)
    if kind == "integer":
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        return lambda v: type(v) is int and low <= v <= high
    if kind == "boolean":
        return lambda v: type(v) is bool
    return None


def _hosted(schema: Mapping[str, Any]) -> str | None:
    """Return what `image_uri` or `image_uris` names, also of a list's items; None for no URL."""
    for one in (schema, schema.get("items")):
        form = one.get("format") if isinstance(one, Mapping) else None
        if isinstance(form, str) and form.lower().endswith(("uri", "uris")):
            return form.lower().rpartition("_")[0]
    return None


def _problem(entry: Entry, field: str, what: str, remedy: str) -> Problem:
    name = field.partition("[")[0].partition(".")[0]
    place = entry.places.get(field) or entry.places.get(name) or entry.place
    return Problem(place, what, remedy, entry.id, field)


def _path(name: str, inside: list[str | int]) -> str:
    return name + "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in inside)


def _parts(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield a value and all in it, names too, each with where it is: `image[2]`, `a.b`."""
    yield name, value
    if depth > 100:
        return  # the judge says that it is too deep, if it is
    if isinstance(value, list):
        for number, one in enumerate(value, start=1):
            yield from _parts(f"{name}[{number}]", one, depth + 1)
    elif isinstance(value, dict):
        for inner, one in value.items():
            if not is_text(inner):
                yield name, inner
            yield from _parts(f"{name}.{inner}", one, depth + 1)


def _keepable(entry: Entry) -> bool:
    """Say whether the id and what is carried along can be kept; most rows have neither."""
    if not entry.meta:
        return entry.id is None or is_text(entry.id)
    return not any(True for _ in _texts_of_entry(entry))


def _texts_of_entry(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield (what, remedy) for each text of the row, its inputs apart, that cannot be kept."""
    if entry.id is not None and not is_text(entry.id):
        yield _unsendable(entry.id)
    for name, value in entry.meta.items():
        for _, part in _parts(name, value):
            if isinstance(part, str) and not is_text(part):
                yield _unsendable(part)


def _unsendable(text: str) -> tuple[str, str]:
    kind = "a NUL character" if "\0" in text else "half of a surrogate pair"
    return (
        f"{quote_value(text)} holds {kind}, which cannot be sent",
        "Take it out, or write it whole.",
    )


def _url_flaw(text: str) -> str | None:
    try:
        url = urlsplit(text)
        host = url.hostname
        _ = url.port
    except ValueError:
        return "is not a URL"
    if url.scheme == "http":
        return "begins with http://, and the service fetches https:// only"
    if not text.lower().startswith("https://") or not host:
        return "is not an https:// URL"
    if any(c.isspace() or not c.isprintable() for c in text):
        return "holds a space or an invisible character"
    return None
