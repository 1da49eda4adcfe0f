"""Model schemas as the catalogue has them, normalized to JSON Schema Draft 2020-12.

The catalogue's schemas deviate from the standard: `type: "float"`, a keyword named `validations`,
formats of their own, arrays without `items`, `required: true` on a property. What has an evident
meaning gets its standard form. What has none is dropped: the API decides in the end, and a row must
not be refused for a keyword that is unknown here. Nothing is ever fetched: a `$ref` has to point
into the schema itself.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen.core.limits import DEFAULT_LIMITS, Limits, how_to_raise, say_limit
from batchgen.core.text import truncate
from batchgen.errors import UsageError
from batchgen.files import FileRefused, open_regular
from batchgen.validation.bounded import MOST_PATTERNS, compile_pattern

_USE_ANOTHER = "Fetch it again with batchgen models, or name another file with --schema."

_TYPES = {name: name for name in ("string", "integer", "number", "boolean", "array", "object")} | {
    **dict.fromkeys(("str", "text"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "null": "null",
}
_SCHEMA_KEYWORDS = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
)
_SCHEMA_LIST_KEYWORDS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAP_KEYWORDS = (*("properties", "$defs", "definitions", "dependentSchemas"),)
_COUNT_KEYWORDS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
_NUMBER_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COPIED_KEYWORDS = (
    *("$ref", "title", "description", "default", "examples", "format", "const", "uniqueItems"),
)
_PARTS = ("anyOf", "oneOf", "allOf", "items")  # of an input, that say what it takes
# Of these `_normal` leaves nothing that is wrong, but for what `_is_simple` looks at.
_SIMPLE_KEYWORDS = {
    *("type", "enum", "pattern", "required", "properties", "items"),
    *(*_COUNT_KEYWORDS, *_NUMBER_KEYWORDS, *_COPIED_KEYWORDS),
} - {"$ref"}


class SchemaUnusable(ValueError):
    """A model schema that rows cannot be checked against; its text says why. remedy: or ""."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class InputSchema:
    """document: a valid Draft 2020-12 schema of an object.

    properties: the schema of each input by its name, also those behind a `$ref` or `allOf`.
    required: names that every row needs.
    unchecked: the patterns that rows are not checked against, because RE2 does not compile them.
    """

    document: dict[str, Any]
    properties: dict[str, dict[str, Any]]
    required: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


def load_schema(path: Path) -> InputSchema:
    """Read a model's schema from a file. Raises UsageError if it cannot be used."""
    return parse_schema(read_schema(path), path)


def parse_schema(document: Any, place: Path | str, limits: Limits = DEFAULT_LIMITS) -> InputSchema:
    """Return the input schema in a document. Raises UsageError if there is none.

    place: of the document, for messages.
    """
    try:
        return normalize_schema(find_input_schema(document), limits)
    except (ValueError, RecursionError) as error:
        raise _unusable(place, error) from None


def read_schema(path: Path, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return the JSON in a schema's file.

    Raises UsageError, also for a file that is not regular or too large.
    """
    most = limits.schema_bytes
    try:
        with open_regular(path) as file:
            content = file.read(most + 1)
            size = max(os.fstat(file.fileno()).st_size, len(content))
        if size > most:
            remedy = how_to_raise("schema_bytes", size)
            raise UsageError(f"{path} is too large; {say_limit(limits, 'schema_bytes')}.", remedy)
        return json.loads(content.decode("utf-8-sig"))
    except FileRefused as error:
        raise UsageError(f"{path} {error.what}.", error.remedy) from None
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}"
        raise UsageError(what, _USE_ANOTHER) from None
    except (ValueError, RecursionError) as error:
        raise _unusable(path, error) from None


def _unusable(place: Path | str, error: Exception) -> UsageError:
    why = truncate(str(error), 160)
    if isinstance(error, RecursionError):
        why = "it is nested too deeply"
    elif why.startswith("Exceeds the limit"):  # Python's own, for whole numbers
        why = "it has a number of more digits than can be read"
    remedy = error.remedy if isinstance(error, SchemaUnusable) and error.remedy else _USE_ANOTHER
    return UsageError(f"{place} is not a usable model schema: {why}", remedy)


def find_input_schema(doc: Any) -> dict[str, Any]:
    """Return the schema of the input in a stored schema, or in a response of the catalogue.

    It is the document itself if that describes an object, or stands under `input`,
    `input_schema`, or either of them inside `schema`. Raises SchemaUnusable.
    """
    found = doc
    for _ in range(4):
        if not isinstance(found, Mapping):
            break
        for name in ("input", "input_schema", "schema"):
            inner = found.get(name)
            # An input can itself be named "input"; then it stands among the properties.
            if isinstance(inner, Mapping) and "properties" not in found:
                found = inner
                break
        else:
            if {"properties", "$ref", "allOf"} & found.keys() or found.get("type") == "object":
                return dict(found)
            break
    raise SchemaUnusable("it holds no input schema: no “input” and no “properties”")


def normalize_schema(doc: Mapping[str, Any], limits: Limits = DEFAULT_LIMITS) -> InputSchema:
    """Normalise a model's input schema. Raises SchemaUnusable."""
    try:
        _refuse_many_parts(doc, limits)
        unchecked: list[str] = []
        document = _normal(doc, unchecked)
        if not isinstance(document, dict):
            raise SchemaUnusable("it is not an object")
        document.setdefault("type", "object")
        if document["type"] != "object":
            raise SchemaUnusable(f"it describes {document['type']}, not an object")
        references = dict.fromkeys(_references(document))
        links = {reference: _resolve(document, reference) for reference in references}
        if not _is_simple(document):
            _check(document)
        properties: dict[str, dict[str, Any]] = {}
        required: dict[str, None] = {}
        _collect(document, links, properties, required, set())
        properties = _with_linked_parts(properties, links)
    except RecursionError:
        raise SchemaUnusable("it is nested too deeply") from None
    if not properties:
        raise SchemaUnusable("it names no properties")
    return InputSchema(document, properties, tuple(required), tuple(dict.fromkeys(unchecked)))


def _is_simple(schema: Any) -> bool:
    """Whether what `_normal` returned is surely valid, so that jsonschema need not be imported."""
    if isinstance(schema, bool):
        return True
    return (
        schema.keys() <= _SIMPLE_KEYWORDS
        and all(isinstance(schema.get(name, ""), str) for name in ("title", "description"))
        and isinstance(schema.get("examples", []), list)
        and all(map(_is_simple, schema.get("properties", {}).values()))
        and _is_simple(schema.get("items", True))
    )


def _check(document: dict[str, Any]) -> None:
    """Raise SchemaUnusable for what is no schema of Draft 2020-12."""
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError

    try:
        # Python's `re` is not asked which patterns there are: RE2 has others.
        Draft202012Validator.check_schema(document, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise SchemaUnusable(f"at {place}: {truncate(error.message, 120)}") from None


def _refuse_many_parts(doc: Any, limits: Limits) -> None:
    """Raise SchemaUnusable for a schema that it takes long to prepare.

    Objects and lists stand for the schemas in it; names that a row needs count as well.
    """
    parts = 0
    patterns: set[str] = set()
    level = [doc]
    while level:
        parts += len(level)
        for one in level:
            if isinstance(one, Mapping):
                parts += len(one["required"]) if isinstance(one.get("required"), list) else 0
                patterns |= {one["pattern"]} if isinstance(one.get("pattern"), str) else set()
        if parts > limits.schema_parts:
            what = f"it has too many parts; {say_limit(limits, 'schema_parts')}"
            raise SchemaUnusable(what, how_to_raise("schema_parts", 10 * limits.schema_parts))
        inside = (one.values() if isinstance(one, Mapping) else one for one in level)
        level = [one for values in inside for one in values if isinstance(one, Mapping | list)]
    if len(patterns) > MOST_PATTERNS:
        raise SchemaUnusable(f"it has {len(patterns)} patterns, more than {MOST_PATTERNS}")


def _normal(schema: Any, unchecked: list[str]) -> dict[str, Any] | bool:
    """Return the standard form of a schema and of those in it; True (any value) if it is none.

    unchecked: is given the patterns that no row can be checked against.
    """
    if isinstance(schema, bool) or not isinstance(schema, Mapping):
        return schema if isinstance(schema, bool) else True
    result: dict[str, Any] = {name: schema[name] for name in _COPIED_KEYWORDS if name in schema}
    if (types := _types(schema.get("type"))) is not None:
        result["type"] = types
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        result["enum"] = schema["enum"]
    for name in _SCHEMA_KEYWORDS:
        if isinstance(schema.get(name), Mapping | bool):
            result[name] = _normal(schema[name], unchecked)
    for name in _SCHEMA_LIST_KEYWORDS:
        if isinstance(schema.get(name), list) and schema[name]:
            result[name] = [_normal(one, unchecked) for one in schema[name]]
    if isinstance(schema.get("items"), list):  # a tuple, as drafts before 2020-12 wrote it
        result["prefixItems"] = [_normal(one, unchecked) for one in schema["items"]]
    for name in _SCHEMA_MAP_KEYWORDS:
        if isinstance(schema.get(name), Mapping):
            result[name] = {str(key): _normal(one, unchecked) for key, one in schema[name].items()}
    result.update(_limits(schema))
    if isinstance(pattern := schema.get("pattern"), str):
        if compile_pattern(pattern) is not None:
            result["pattern"] = pattern
        else:
            unchecked.append(pattern)
    if required := _required(schema):
        result["required"] = required
    for name, allowed in (("uniqueItems", bool), ("format", str), ("$ref", str)):
        if not isinstance(result.get(name, allowed()), allowed):
            del result[name]
    return result


def _types(written: Any) -> str | list[str] | None:
    """Return the standard types, or None where one is unknown and anything may be meant."""
    if isinstance(written, str):
        return _TYPES.get(written.lower())
    if isinstance(written, list) and written:
        types = [_TYPES.get(str(one).lower()) for one in written]
        known = list(dict.fromkeys(one for one in types if one))
        return known if None not in types else None
    return None


def _limits(schema: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    limits = {name: one for name, one in schema.items() if not isinstance(one, bool)}
    for name in _COUNT_KEYWORDS:
        if isinstance(limit := limits.get(name), int) and limit >= 0:
            result[name] = limit
    for name in _NUMBER_KEYWORDS:
        limit = limits.get(name)
        if isinstance(limit, int) or (isinstance(limit, float) and math.isfinite(limit)):
            result[name] = limit
    # In Draft 4 the exclusive limits were booleans that changed the others.
    for exclusive, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(exclusive) is True and plain in result:
            result[exclusive] = result.pop(plain)
    if result.get("multipleOf", 1) <= 0:
        del result["multipleOf"]
    return result


def _required(schema: Mapping[str, Any]) -> list[str]:
    listed = schema.get("required")
    names = [n for n in listed if isinstance(n, str)] if isinstance(listed, list) else []
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        marked = (n for n, one in properties.items() if isinstance(one, Mapping))
        names += [n for n in marked if properties[n].get("required") is True]
    return list(dict.fromkeys(names))


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [reference for one in schema for reference in _references(one)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [reference for one in schema.values() for reference in _references(one)]


def _resolve(document: Mapping[str, Any], reference: str) -> Any:
    """Return what a local reference points to. Raises SchemaUnusable for any other."""
    if not reference.startswith("#"):
        raise SchemaUnusable(f"it refers to {truncate(reference)}, and nothing is fetched")
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    whole: Registry[Any] = Registry()
    try:
        found = whole.resolver_with_root(DRAFT202012.create_resource(document)).lookup(reference)
    except Unresolvable:
        what = f"it refers to {truncate(reference)}, which it does not hold"
        raise SchemaUnusable(what) from None
    return found.contents


def _collect(
    schema: Any,
    links: Mapping[str, Any],
    properties: dict[str, dict[str, Any]],
    required: dict[str, None],
    followed: set[str],
) -> None:
    """Add the inputs of `schema`, also behind `$ref` and `allOf`, and the required names.

    links: what each reference points to. followed: the references that were followed; none is
        followed twice, so that loops end.
    """
    if not isinstance(schema, Mapping):
        return
    for name, one in schema.get("properties", {}).items():
        properties.setdefault(name, _with_linked(one, links) if isinstance(one, dict) else {})
    required.update(dict.fromkeys(schema.get("required", [])))
    if (reference := schema.get("$ref")) is not None and reference not in followed:
        followed.add(reference)
        _collect(links[reference], links, properties, required, followed)
    for one in schema.get("allOf", []):
        _collect(one, links, properties, required, followed)


def _with_linked(schema: dict[str, Any], links: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with what its reference points to beside it."""
    linked = links.get(schema.get("$ref", ""), {})
    return linked | schema if isinstance(linked, dict) else schema


def _with_linked_parts(
    properties: Mapping[str, dict[str, Any]], links: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the inputs with what the references of their alternatives and items point to.

    It tells what cells and files are for; rows are checked by the whole document. Pydantic writes
    `anyOf` for an input that may be null, and `allOf` for one of a class of its own.
    """
    known: dict[int, list[Any]] = {}  # by identity: many inputs can refer to the same long list

    def linked(part: Any) -> Any:
        if isinstance(part, dict):
            return _with_linked(part, links)
        if not isinstance(part, list):
            return part
        if id(part) not in known:
            known[id(part)] = [*map(linked, part)]
        return known[id(part)]

    return {
        name: schema | {word: linked(schema[word]) for word in _PARTS if word in schema}
        for name, schema in properties.items()
    }


def parts(schema: Mapping[str, Any], *keywords: str) -> list[Mapping[str, Any]]:
    """Return the schemas under these keywords, each of which has a list, without that of null."""
    found = [one for keyword in keywords for one in schema.get(keyword, [])]
    return [one for one in found if isinstance(one, Mapping) and one.get("type") != "null"]
