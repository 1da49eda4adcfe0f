"""Model schemas: those of the package, those stored in a batch folder, and the catalogue's.

`GET /models/{model_id}` is not in RunComfy's published documentation, so that nothing may depend on
it. Schemas change; each stored one has the date on which it was fetched. Source:
docs/maintainers/wire.md.
"""

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchgen.core.text import quote_value
from batchgen.errors import UsageError
from batchgen.files import remove_temporary_files, write_whole
from batchgen.log import warn
from batchgen.resources import schemas_folder
from batchgen.validation.model_schema import (
    InputSchema,
    SchemaUnusable,
    find_input_schema,
    load_schema,
    normalize_schema,
)
from batchgen.validation.validator import Validator

SchemaLookup = Callable[[str], dict[str, Any] | None]


class NoSchema(UsageError):
    """A model whose schema is nowhere to be found."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"There is no schema for {model}, so its rows cannot be checked. Nothing was sent.",
            f"Get it with: batchgen models fetch {model}\nor name a file with --schema.",
        )


def bundled_schemas() -> list[Path]:
    """Return the schema files of the package, sorted."""
    return sorted(schemas_folder().glob("*/**/*.json"))


def schema_path(folder: Path, model: str) -> Path:
    """Return the path of the schema of `model` below `folder`."""
    return folder.joinpath(*model.split("/")).with_name(model.split("/")[-1] + ".json")


class SchemaRegistry:
    """Validators by model id, each made once.

    default: the model of rows that name none. given: a schema file for it, or None.
    stored: the folder of the batch's own schemas, or None.
    fetch: asks the catalogue, and returns None for a model that it does not have; None: do not ask.
    fetched: the catalogue's documents, by model.
    """

    def __init__(
        self, default: str, given: Path | None, stored: Path | None, fetch: SchemaLookup | None
    ) -> None:
        self.default = default
        self._given = given
        self._stored = stored
        self._fetch = fetch
        self._validators: dict[str, Validator] = {}
        self.fetched: dict[str, dict[str, Any]] = {}

    def validator(self, model: str | None) -> Validator:
        """Return a model's validator. Raises NoSchema, and UsageError for an unusable schema."""
        name = model or self.default
        if name not in self._validators:
            schema = self._load(name)
            for pattern in schema.unchecked:
                warn(f"{name}: values are not checked against the pattern {quote_value(pattern)}.")
            self._validators[name] = Validator(schema)
        return self._validators[name]

    def properties(self, model: str | None) -> Collection[str]:
        return self.validator(model).properties

    def _load(self, model: str) -> InputSchema:
        if model == self.default and self._given is not None:
            return load_schema(self._given)
        for folder in (self._stored, schemas_folder()):
            if folder is not None and (path := schema_path(folder, model)).is_file():
                return load_schema(path)
        found = self._fetch(model) if self._fetch is not None else None
        if found is None:
            raise NoSchema(model)
        try:
            schema = normalize_schema(find_input_schema(found))
        except SchemaUnusable as error:
            raise UsageError(
                f"RunComfy's schema of {model} cannot be used: {error}. Nothing was sent.",
                "Write one that can, and name it with --schema.",
            ) from error
        self.fetched[model] = found
        return schema

    def store_fetched(self, folder: Path) -> None:
        """Store the fetched schemas, so that the next run checks against the same."""
        for model, found in self.fetched.items():
            path = schema_path(folder, model)
            remove_temporary_files(path.parent)
            write_schema(path, model, found)


def write_schema(path: Path, model: str, found: Mapping[str, Any]) -> None:
    """Write a schema with today as the date on which it was fetched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"model_id": model, "fetched_at": datetime.now(UTC).date().isoformat(), **found}
    with write_whole(path) as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")
