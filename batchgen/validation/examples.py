"""What an input takes, in words, and values that fit it: for a manifest that is yet to be written.

Every value that is returned was checked by the model's `Validator`. A schema has no end of ways to
ask for what nobody can guess, such as a pattern; where no value fits, there is none.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.local_files import KINDS
from batchgen.core.rows import Entry, Place, Row
from batchgen.core.text import is_text
from batchgen.validation.validator import Validator, hosted_kind

PROMPTS = {
    "lighthouse": "A lighthouse at dawn, long exposure, the sea gone to mist",
    "paper-boat": "A paper boat on a puddle that reflects a whole city",
}
MAX_TRIED = 60  # values for one input
MAX_DEPTH = 6  # of the values that are tried
MAX_CHARS = 2000  # of a text that is made as long as a schema wants it
MAX_NAME_CHARS = 100  # in an object: YAML has a limit for names
_FILES = {"image": "picture.png", "video": "film.mp4", "audio": "sound.mp3"}
_BOUNDS = (
    *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems"),
)


class NoExample(Exception):
    """No row was found that fits. names: the inputs without a value; empty where each has one."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(", ".join(self.names))


def describe_input(schema: Mapping[str, Any]) -> str:
    """Return what an input takes: `integer, minimum 0, maximum 9`."""
    kind = schema.get("type") or "anything"
    words = " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    if options := schema.get("enum"):
        words += ", one of " + ", ".join(json.dumps(one, ensure_ascii=False) for one in options)
    if (kind := hosted_kind(schema)) is not None:
        words += f", the path of {KINDS.get(kind, 'a file')} or an https:// address"
    return ", ".join([words, *(f"{name} {schema[name]}" for name in _BOUNDS if name in schema)])


def example_rows(validator: Validator, *, cells: bool = False) -> dict[str, dict[str, Any]]:
    """Return rows by id that have what the model needs, and a prompt if it takes one.

    cells: the values are texts of a table, as `cell_of` writes them. Raises NoExample.
    """
    prompt = next((name for name in PROMPT_NAMES if name in validator.properties), None)
    names = list(dict.fromkeys([*([prompt] if prompt else []), *validator.required]))
    needed = {name: example_value(validator, name) for name in names}
    if lacking := [n for n, value in needed.items() if value is None and n in validator.required]:
        raise NoExample(lacking)
    first = {name: value for name, value in needed.items() if value is not None}
    rows: dict[str, dict[str, Any]] = {}
    for id, text in PROMPTS.items():
        values = dict(first)
        if prompt in first and _fits(validator, {prompt: text}, prompt):
            values[prompt] = text
        if cells:
            values = {name: cell_of(value) for name, value in values.items()}
        if not isinstance(_check(validator, values, cells=cells), Row):
            raise NoExample([])
        if values not in rows.values():
            rows[id] = values
    return rows


def example_value(validator: Validator, name: str) -> Any:
    """Return a value that fits an input; None where none was found.

    The schema's own default comes first, except for a prompt: the catalogue's are samples.
    """
    found = (v for v in _candidates(validator, name) if _is_plain(v))
    return next((v for v in islice(found, MAX_TRIED) if _fits(validator, {name: v}, name)), None)


def cell_of(value: Any) -> str:
    """Return a value as a table's cell."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def value_fits(validator: Validator, name: str, value: Any, *, cell: bool) -> bool:
    """Say whether a value of a list is valid as this input. cell: whether it is a table's."""
    return _fits(validator, {name: value}, name, cells=cell)


def _candidates(validator: Validator, name: str) -> Iterator[Any]:
    schema = validator.properties.get(name, {})
    if (kind := validator.hosted.get(name)) is not None:
        url = f"https://example.com/{_FILES.get(kind, 'file')}"
        yield from (url, [url])
        yield from _of_schema({**schema, "items": {"const": url}}, 0)
    if name in PROMPT_NAMES:
        yield from PROMPTS.values()
    yield from _of_schema(schema, 0)


def _of_schema(schema: Any, depth: int) -> Iterator[Any]:
    """Yield values that may fit, the most likely first."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        yield from ("text", 1)
        return
    for name in ("default", "const"):
        if schema.get(name) is not None:
            yield schema[name]
    for name in ("examples", "enum"):
        if isinstance(schema.get(name), list):
            yield from schema[name]
    for name in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(name, []):
            yield from islice(_of_schema(one, depth + 1), 8)
    written = schema.get("type", ["string", "integer", "boolean"])
    for kind in [written] if isinstance(written, str) else written:
        yield from _OF_TYPE[kind](schema, depth)


def _texts(schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
    least, most = schema.get("minLength", 1), schema.get("maxLength", MAX_CHARS)
    text = "text"
    if least <= MAX_CHARS:
        text = (text * (least // len(text) + 1))[: max(least, min(len(text), most))]
    yield from (text, "1", "a b", "https://example.com/file")


def _numbers(schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
    bounds = [schema[n] for n in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
              if n in schema]  # fmt: skip
    step = schema.get("multipleOf", 1)
    for bound in bounds:
        nearest = round(bound / step) if abs(bound / step) < 1e15 else 0
        yield from (bound, bound + 1, bound - 1, *((nearest + n) * step for n in (0, 1, -1)))
    if len(bounds) > 1:
        yield (min(bounds) + max(bounds)) / 2
    yield from (1, 0, step, 0.5)


def _lists(schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
    first = [next(_of_schema(one, depth + 1), "text") for one in schema.get("prefixItems", [])]
    items = schema.get("items", {})
    size = max(schema.get("minItems", 1), 1) if items is not False else len(first)
    if size > 100:
        return
    values = list(islice(_of_schema(items, depth + 1), MAX_TRIED))
    different = [v for n, v in enumerate(values) if v not in values[:n]]
    different += [n for n in range(size) if n not in different]
    for value in [*values[:10]]:
        yield [*first, *[value] * (size - len(first))]
    yield [*first, *different[: max(size - len(first), 0)]]
    yield first
    yield []


def _objects(schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
    properties = schema.get("properties", {})
    needed = schema.get("required", [])
    yield {name: next(_of_schema(properties.get(name), depth + 1), "text") for name in needed}


_OF_TYPE: dict[str, Callable[[Mapping[str, Any], int], Iterator[Any]]] = {
    "string": _texts,
    "integer": _numbers,
    "number": _numbers,
    "boolean": lambda schema, depth: iter((True, False)),
    "array": _lists,
    "object": _objects,
    "null": lambda schema, depth: iter(()),
}


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value comes back from YAML and JSON as it was written, and is short."""
    if isinstance(value, str):
        return is_text(value) and len(value) <= MAX_CHARS
    if isinstance(value, list):
        return depth < MAX_DEPTH and all(_is_plain(one, depth + 1) for one in value)
    if isinstance(value, dict):
        named = all(is_text(n) and len(n) <= MAX_NAME_CHARS and n != "<<" for n in value)
        inner = [named, *(_is_plain(v, depth + 1) for v in value.values())]
        return depth < MAX_DEPTH and all(inner)
    if isinstance(value, int | float):
        return abs(value) < 1e300
    return False  # null: an input that has no value is left out


def _check(validator: Validator, values: dict[str, Any], *, cells: bool = False) -> Any:
    names = frozenset(values) if cells else frozenset[str]()
    entry = Entry(1, Place("", 1), None, None, values, names)
    return validator.check_entry(entry, default_model="")


def _fits(validator: Validator, values: dict[str, Any], name: str, *, cells: bool = False) -> bool:
    found = _check(validator, values, cells=cells)
    return isinstance(found, Row) or not any(_top(p.field, name) for p in found)


def _top(field: str, name: str) -> bool:
    return field == name or field.startswith((f"{name}[", f"{name}."))
