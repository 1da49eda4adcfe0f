"""Validation of entries against a model's input schema: rows to send, or all of their problems.

jsonschema decides. Two steps come before it: text cells are converted to the schema's types, and a
row of plain values that surely fits is accepted without jsonschema, since a million rows have to
pass within a minute (a test compares the two). Beyond the schema, a row is refused for a name that
is no input of the model (the API would ignore it, and bill), a required text that is blank, a URL
that the API cannot fetch, and text that cannot be sent unchanged.

Defaults of a schema are never added: the catalogue has sample prompts as defaults.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from batchgen.core.limits import DEFAULT_LIMITS, Limits, how_to_raise, say_limit
from batchgen.core.local_files import (
    KINDS,
    MAX_BODY_BYTES,
    FileUnusable,
    FindFile,
    LocalFile,
    is_local_file,
    is_path,
)
from batchgen.core.messages import MOST_UNKNOWN, explain_schema_error, unknown_name_problem
from batchgen.core.rows import Entry, Problem, Row
from batchgen.core.text import is_text, plural, quote_value, show_bytes
from batchgen.errors import UsageError
from batchgen.validation.bounded import BoundedValidator, TooMuchWork
from batchgen.validation.convert import CellConverter, CellNotConverted, make_converter
from batchgen.validation.model_schema import InputSchema, parts

_ANNOTATIONS = {"title", "description", "default", "examples", "format"}
_PLAIN = _ANNOTATIONS | {"type", "enum", "minimum", "maximum", "minLength", "maxLength"}

# What Excel, LibreOffice and Google Sheets write for a formula without a result.
SPREADSHEET_ERRORS = frozenset(
    f"#{name}"
    for name in (
        *("NULL!", "DIV/0!", "VALUE!", "REF!", "NAME?", "NUM!", "N/A", "SPILL!", "CALC!", "ERROR!"),
        *("FIELD!", "GETTING_DATA", "BLOCKED!", "CONNECT!", "UNKNOWN!", "BUSY!", "PYTHON!"),
    )
)

MAX_OTHER_BYTES = 1 << 20  # of a body with local files, for all that is none

MOST_OF_A_ROW = 100  # problems; a schema can require a million names

QuickCheck = Callable[[Any], bool]


class Validator:
    """Checks entries against one model's input schema.

    properties: the schema of each input by name; also the names that a manifest may use.
    required: names that every row needs.
    hosted: the kind of file behind each input that is a URL, or a list of them: `image`, `video`,
        `audio`, or "" where the schema does not say.
    quick: whether plain values that surely fit are passed without jsonschema.
    limits: what checking a row may take.
    """

    def __init__(
        self, schema: InputSchema, *, quick: bool = True, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.properties: Mapping[str, dict[str, Any]] = schema.properties
        kinds = ((name, hosted_kind(one)) for name, one in schema.properties.items())
        self.hosted = {name: kind for name, kind in kinds if kind is not None}
        self.required = schema.required
        self._limits = limits
        self._schema = BoundedValidator(schema.document, limits.schema_steps)
        self._converters: dict[str, CellConverter] = {}
        for name, one in schema.properties.items():
            fits = partial(self._schema.is_valid, schema=one)
            if (converter := make_converter(one, fits)) is not None:
                self._converters[name] = converter
        # Anything beside these at the top, e.g. allOf, may bind several inputs together.
        plain = schema.document.keys() <= _ANNOTATIONS | {"type", "properties", "required"}
        checks = {name: _quick_check(one) for name, one in schema.properties.items()}
        self._quick = {
            name: (self._converters.get(name), check)
            for name, check in checks.items()
            if check is not None and plain and quick
        }

    def check_entry(
        self, entry: Entry, *, default_model: str, find_file: FindFile | None = None
    ) -> Row | list[Problem]:
        """Return the row to send, or the problems of this entry, MOST_OF_A_ROW at most.

        find_file: finds and checks a local file; None where none may be sent.
        Raises UsageError where the rows so far have taken too long.
        """
        values = self._quick_values(entry)
        if values is None:
            if not self._schema.begin_row():
                limit = say_limit(self._limits, "schema_steps")
                raise UsageError(
                    f"Checking the rows by the model's schema takes too many steps; {limit} for a"
                    " row, and a fiftieth of it in the long run. Nothing was sent.",
                    how_to_raise("schema_steps", 100 * self._limits.schema_steps),
                )
            values = dict(entry.values)
            unfit = self._convert(entry, values)
            files: dict[str, Any] = {}
            found: set[str] = set()
            if find_file is not None and not self.hosted.keys().isdisjoint(values):
                more, files, found = self._take_files(entry, values, find_file)
                unfit += more
            fields = {problem.field for problem in unfit}
            others = (p for p in self._problems(entry, values, found) if p.field not in fields)
            problems = [*unfit, *islice(others, MOST_OF_A_ROW)]
            if problems:
                return problems
            values |= files
        model = default_model if entry.model is None else entry.model
        return Row(entry.position, entry.place.source, entry.id, model, values, entry.meta)

    def _convert(self, entry: Entry, values: dict[str, Any]) -> list[Problem]:
        """Convert the text cells among `values` in place; return the problems of the others."""
        problems = []
        for name, convert in self._converters.items():
            if name in values and name in entry.cells:
                try:
                    values[name] = convert(values[name])
                except CellNotConverted as error:
                    problems.append(_problem(entry, name, error.what, error.remedy))
        return problems

    def _take_files(
        self, entry: Entry, values: dict[str, Any], find_file: FindFile
    ) -> tuple[list[Problem], dict[str, Any], set[str]]:
        """Find the local files that `values` name.

        Each path in `values` becomes a short text of the form that is sent, for the schema to be
        checked against.
        Returns the problems of those that cannot be sent, the values with what stands for the
        files, and the fields in which there are files.
        """
        problems: list[Problem] = []
        files: dict[str, Any] = {}
        found: dict[str, LocalFile] = {}
        for name in [name for name in values if name in self.hosted]:
            value = values[name]
            many = isinstance(value, list)
            fields = [f"{name}[{n}]" for n in range(1, len(value) + 1)] if many else [name]
            parts = dict(zip(fields, value if many else [value], strict=True))
            here: dict[str, LocalFile] = {}
            for field, part in parts.items():
                if isinstance(part, str) and is_text(part) and is_path(part):
                    if part in SPREADSHEET_ERRORS and name in entry.cells:
                        continue
                    try:
                        here[field] = find_file(part, self.hosted[name])
                    except FileUnusable as error:
                        problems.append(_problem(entry, field, error.what, error.remedy))
            if here:
                stands = [here[f].input if f in here else part for f, part in parts.items()]
                samples = [here[f].sample if f in here else part for f, part in parts.items()]
                files[name] = stands if many else stands[0]
                values[name] = samples if many else samples[0]
                found |= here
        problems += self._too_long(entry, found)
        return problems, files, {*found}

    def _too_long(self, entry: Entry, found: Mapping[str, LocalFile]) -> Iterator[Problem]:
        """Yield the problems of files, by their fields, that are too long as they are sent."""
        for field, file in found.items():
            schema = self.properties[field.partition("[")[0]]
            items = schema.get("items")
            limits = [schema, items if isinstance(items, Mapping) else {}]
            most = min(one.get("maxLength", math.inf) for one in limits)
            if file.sent_chars > most:
                what = f"{quote_value(file.path)} is sent as {file.sent_chars} characters, and"
                remedy = "Give a public https:// address."
                yield _problem(entry, field, f"{what} the model takes {most}", remedy)
        total = sum(file.sent_chars for file in found.values())
        if total > MAX_BODY_BYTES - MAX_OTHER_BYTES:
            what = f"its local files come to {show_bytes(total)} in base64, and a request takes"
            remedy = "Make them smaller, or give public https:// addresses."
            yield _problem(entry, "", f"{what} {show_bytes(MAX_BODY_BYTES)}", remedy)

    def _quick_values(self, entry: Entry) -> dict[str, Any] | None:
        """Return the converted values of a row that surely fits; else None."""
        if not _is_storable(entry):
            return None
        values, cells = dict(entry.values), entry.cells
        try:
            for name, value in entry.values.items():
                convert, check = self._quick[name]
                if name in cells:
                    if value.startswith("#") and value in SPREADSHEET_ERRORS:
                        return None
                    if convert is not None:
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

    def _problems(
        self, entry: Entry, values: dict[str, Any], found: Collection[str]
    ) -> Iterator[Problem]:
        """found: the fields in which local files stand."""
        for what, remedy in _label_problems(entry):
            yield _problem(entry, "", what, remedy)
        unknown = [name for name in values if name not in self.properties]
        for name in unknown[:MOST_UNKNOWN]:
            place = entry.places.get(name, entry.place)
            yield unknown_name_problem(name, [*self.properties, "id", "model"], place, entry.id)
        if len(unknown) > MOST_UNKNOWN:
            more = plural(len(unknown) - MOST_UNKNOWN, "more name")
            remedy = "To carry all of them along unsent, add --meta '*'."
            yield _problem(entry, "", f"{more} of the row are no inputs of the model", remedy)
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
            if name in entry.cells and isinstance(value, str) and value in SPREADSHEET_ERRORS:
                unfit.add(name)
                what = f"{value} is a spreadsheet's error, not what was meant"
                yield _problem(entry, name, what, "Correct the cell in the spreadsheet.")
                continue
            for field, what, remedy in self._value_problems(name, value, found):
                unfit.add(name)
                yield _problem(entry, field, what, remedy)
        yield from self._schema_problems(entry, {n: v for n, v in known.items() if n not in unfit})

    def _value_problems(
        self, name: str, value: Any, found: Collection[str]
    ) -> Iterator[tuple[str, str, str]]:
        """Yield (field, what, remedy) for text, URLs and numbers that cannot be sent or fetched."""
        hosted = name in self.hosted
        for field, part in _parts(name, value):
            if isinstance(part, str) and not is_text(part):
                yield field, *_unsendable(part)
            elif field in found:
                continue
            elif isinstance(part, str) and hosted and (wrong := _url_problem(part)):
                remedy = "Give a public https:// address; the service fetches it without a login."
                yield field, f"{quote_value(part)} {wrong}", remedy
            elif is_local_file(part):
                what = "an object of file and sha256 is how batchgen notes a local file"
                yield field, what, "Give the path of the file as a text."
            elif isinstance(part, float) and not math.isfinite(part):
                yield field, f"{part} is not a number that can be sent", "Write a number."

    def _schema_problems(self, entry: Entry, values: dict[str, Any]) -> Iterator[Problem]:
        try:
            errors = self._schema.errors(values)
        except TooMuchWork as found:
            what = "checking it by the model's schema has no end"
            remedy = "Write it shorter and less nested, or name a simpler schema with --schema."
            if found.has_end:
                what = "checking it by the model's schema takes too many steps"
                what += f"; {say_limit(self._limits, 'schema_steps')}"
                remedy += f"\n{how_to_raise('schema_steps', 100 * self._limits.schema_steps)}"
            yield _problem(entry, "", what, remedy)
            return
        told = entry.values.keys() | set(self.required)
        for error in errors:
            # An input that has a problem of its own was left out, and is not missing.
            top = error.validator == "required" and not error.absolute_path
            if top and told.issuperset(error.validator_value):
                continue
            name, *inside = error.absolute_path or [""]
            yield _problem(entry, _path(str(name), inside), *explain_schema_error(error))


def _quick_check(schema: dict[str, Any]) -> QuickCheck | None:
    """Return a test that passes only what jsonschema passes too; None if there is none."""
    kind = schema.get("type")
    if schema.keys() - _PLAIN or hosted_kind(schema) is not None:
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


def hosted_kind(schema: Mapping[str, Any]) -> str | None:
    """Return `image` for the format `image_uri` or `image_uris`, also of a list's items.

    "" where it is a URL of anything else. None where the value is no URL, or need not be one.
    """
    for one in (schema, schema.get("items")):
        form = one.get("format") if isinstance(one, Mapping) else None
        if isinstance(form, str) and form.lower().endswith(("uri", "uris")):
            kind = form.lower().rpartition("_")[0]
            return kind if kind in KINDS else ""
    either = {hosted_kind(one) for one in parts(schema, "anyOf", "oneOf")}
    kinds = {hosted_kind(one) for one in parts(schema, "allOf")} - {None}
    kinds |= either if None not in either else set()
    return None if not kinds else kinds.pop() if len(kinds) == 1 else ""


def _problem(entry: Entry, field: str, what: str, remedy: str) -> Problem:
    name = field.partition("[")[0].partition(".")[0]
    place = entry.places.get(field) or entry.places.get(name) or entry.place
    return Problem(place, what, remedy, entry.id, field)


def _path(name: str, inside: list[str | int]) -> str:
    return name + "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in inside)


def _parts(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield a value and all values and names in it, each with its path: `image[2]`, `a.b`."""
    yield name, value
    if depth > 100:
        return  # jsonschema reports that it is nested too deeply, if it is
    if isinstance(value, list):
        for number, one in enumerate(value, start=1):
            yield from _parts(f"{name}[{number}]", one, depth + 1)
    elif isinstance(value, dict):
        for inner, one in value.items():
            if not is_text(inner):
                yield name, inner
            yield from _parts(f"{name}.{inner}", one, depth + 1)


def _is_storable(entry: Entry) -> bool:
    """Whether the id and the metadata can be stored as UTF-8; most rows have neither."""
    if not entry.meta:
        return entry.id is None or is_text(entry.id)
    return not any(True for _ in _label_problems(entry))


def _label_problems(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield (what, remedy) for each text of id and metadata that cannot be stored as UTF-8."""
    if entry.id is not None and not is_text(entry.id):
        yield _unsendable(entry.id)
    for name, value in entry.meta.items():
        for _, part in _parts(name, value):
            if isinstance(part, str) and not is_text(part):
                yield _unsendable(part)


def _unsendable(text: str) -> tuple[str, str]:
    kind = "a NUL character" if "\0" in text else "half of a surrogate pair"
    what = f"{quote_value(text)} holds {kind}, which cannot be sent"
    return what, "Take it out, or write it whole."


def _url_problem(text: str) -> str | None:
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
