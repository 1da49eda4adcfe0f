"""Model schemas by model id, from folders and the catalogue, and the copies that a batch keeps.

A schema decides the types of cells, and so which rows are new: one that changed would have rows
paid for again. So the first folder is the batch's own, and whatever schema its rows were checked
against is copied there, with the date on which it was fetched.

`GET /models/{model_id}` is not in RunComfy's published documentation, so that nothing may depend on
it. Source: docs/maintainers/wire.md.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.messages import MOST_UNKNOWN, model_id_problem
from batchgen.core.text import closest_match, quote_value, shell_quote
from batchgen.errors import UsageError
from batchgen.files import remove_temporary_files, write_json
from batchgen.log import warn
from batchgen.validation.model_schema import (
    InputSchema,
    SchemaUnusable,
    find_input_schema,
    normalize_schema,
    parse_schema,
    read_schema,
)
from batchgen.validation.validator import Validator


class SchemaSource(Protocol):
    """What is asked for a schema that no folder has."""

    def describe(self, model: str) -> dict[str, Any] | None:
        """Return the document of a model; None where there is none."""

    def newer(self, model: str, stored: dict[str, Any]) -> dict[str, Any] | None:
        """Return the document that has to take the place of a stored one; None where none has."""

    def similar(self, model: str) -> str | None:
        """Return the id that was most likely meant; None if none is near."""


class NoSchema(UsageError):
    """A model whose schema is nowhere to be found. near: the id that was likely meant."""

    def __init__(self, model: str, near: str | None = None) -> None:
        fetch = f"batchgen models fetch {shell_quote(model)}"
        super().__init__(
            f"There is no schema for {model}, so its rows cannot be checked. Nothing was sent.",
            (f"Did you mean {near}?\n" if near else "")
            + f"Get it with: {fetch}\nor name a file: batchgen run LIST --schema FILE",
        )


def stored_schemas(folder: Path) -> dict[str, Path]:
    """Return the schema files below a folder by the ids that their paths stand for, sorted."""
    paths = sorted(folder.glob("*/**/*.json"))
    ids = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    return {id: path for id, path in ids.items() if model_id_problem(id) is None}


def schema_path(folder: Path, model: str) -> Path:
    """Return the path of the schema of `model` below `folder`."""
    return folder.joinpath(*model.split("/")).with_name(model.split("/")[-1] + ".json")


def require_model_id(model: str, known: Collection[str] = ()) -> None:
    """Raise UsageError for a text that is no model's id, and so no path either."""
    if what := model_id_problem(model):
        near = closest_match(model, known)
        ways = f"Did you mean {near}?" if near else "Write it as the model's page does."
        raise UsageError(f"{what}. Nothing was sent.", ways)


class SchemaRegistry:
    """Validators by model id, each made once.

    default: the model of rows that name none. given: its schema, or a file with it, or None.
    folders: where schemas are looked for, in this order; the first is the batch's own.
    source: asked last; None: nobody is asked. limits: what a schema may take.
    adapt: makes of the document of a model the one that rows are checked by.
    """

    def __init__(
        self,
        default: str,
        given: Path | Mapping[str, Any] | None,
        folders: Sequence[Path],
        source: SchemaSource | None = None,
        limits: Limits = DEFAULT_LIMITS,
        adapt: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda model, document: document,
    ) -> None:
        self.default = default
        self._given = given
        self._folders = folders
        self._source = source
        self._limits = limits
        self._adapt = adapt
        self._validators: dict[str, Validator] = {}
        # What was used and is not in the first folder, by model.
        self._uncopied: dict[str, dict[str, Any]] = {}

    def validator(self, model: str | None) -> Validator:
        """Return a model's validator. Raises NoSchema, and UsageError for an unusable schema."""
        name = model or self.default
        if name not in self._validators:
            schema = self._load(name)
            for pattern in schema.unchecked[:MOST_UNKNOWN]:
                warn(f"{name}: values are not checked against the pattern {quote_value(pattern)}.")
            self._validators[name] = Validator(schema, limits=self._limits)
        return self._validators[name]

    def properties(self, model: str | None) -> Collection[str]:
        return self.validator(model).properties

    def _load(self, model: str) -> InputSchema:
        if model == self.default and self._given is not None:
            given, document = self._read_given(model, self._given)
            if model_id_problem(model) is None:
                self._uncopied[model] = document
            return given
        known = [id for folder in self._folders for id in stored_schemas(folder)]
        require_model_id(model, known)
        for folder in self._folders:
            path = schema_path(folder, model)
            if _is_file(path):
                document = read_schema(path, self._limits)
                newer = None
                if self._source is not None and isinstance(document, dict):
                    newer = self._source.newer(model, document)
                if newer is not None:
                    document = fetched_today(newer)
                found_there = parse_schema(self._adapted(model, document), path, self._limits)
                if folder != self._folders[0] or newer is not None:
                    self._uncopied[model] = document
                return found_there
        found = None if self._source is None else self._source.describe(model)
        if found is None:
            similar = None if self._source is None else self._source.similar(model)
            raise NoSchema(model, similar or closest_match(model, known))
        try:
            schema = normalize_schema(find_input_schema(self._adapted(model, found)), self._limits)
        except SchemaUnusable as error:
            raise UsageError(
                f"RunComfy's schema of {model} cannot be used: {error}. Nothing was sent.",
                error.remedy or "Write one that can, and name it with --schema.",
            ) from error
        self._uncopied[model] = fetched_today(found)
        return schema

    def _read_given(self, model: str, given: Path | Mapping[str, Any]) -> tuple[InputSchema, Any]:
        """Return the schema that was given for a model, and its document."""
        if isinstance(given, Path):
            document = read_schema(given, self._limits)
            return parse_schema(self._adapted(model, document), given, self._limits), document
        shown = "The mapping under schema:"
        return parse_schema(self._adapted(model, given), shown, self._limits), given

    def _adapted(self, model: str, document: Any) -> Any:
        return self._adapt(model, document) if isinstance(document, dict) else document

    def copy_used(self, folder: Path) -> None:
        """Copy the schemas that were used, so that the next run checks against the same."""
        for model, document in self._uncopied.items():
            path = schema_path(folder, model)
            remove_temporary_files(path.parent)
            write_schema(path, model, document)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # another user's cache
        return False


def fetched_today(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a catalogue's document with the date, whatever it says of one."""
    return {**found, "fetched_at": datetime.now(UTC).date().isoformat()}


def schema_date(document: Mapping[str, Any]) -> str:
    """Return when a stored document was fetched or written, as a date; "" where it does not say."""
    return str(document.get("fetched_at") or document.get("date") or "")


def write_schema(path: Path, model: str, document: Mapping[str, Any]) -> None:
    """Write the document of a model's schema into a file that is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = {"model_id": model, "fetched_at": schema_date(document)}
    rest = {name: value for name, value in document.items() if name not in first}
    write_json(path, first | rest)
