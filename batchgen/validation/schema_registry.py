"""Model schemas: those that come with us, those kept in a batch folder, and the catalogue's.

Source: api.md: `GET /models/{model_id}` is not in RunComfy's published page, so it is a help where
it answers and never needed. Schemas drift; each stored one carries the date it was fetched.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchgen.errors import UsageError
from batchgen.files import remove_temporary_files, write_whole
from batchgen.resources import schemas_folder as schemas_folder
from batchgen.validation.model_schema import (
    SchemaUnusable,
    find_input_schema,
    load_schema,
    normalize_schema,
)
from batchgen.validation.validator import Validator

SchemaLookup = Callable[[str], dict[str, Any] | None]


class NoSchema(UsageError):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"There is no schema for {model}, so its rows cannot be checked. Nothing was sent.",
            f"Get it with: batchgen models fetch {model}\nor name a file with --schema.",
        )


def bundled_schemas() -> Iterator[Path]:
    """The files of the schemas that come with batchgen."""
    yield from sorted(schemas_folder().glob("*/**/*.json"))


def schema_path(folder: Path, model: str) -> Path:
    """Where the schema of `model` is kept below `folder`."""
    return folder.joinpath(*model.split("/")).with_name(model.split("/")[-1] + ".json")


class SchemaRegistry:
    """Validators by model id, each made once.

    default: the model of rows that name none; `given` is a schema file for it, or None.
    kept: the folder of the batch's own schemas; `fetch` asks the API, None = do not ask.
    """

    def __init__(
        self, default: str, given: Path | None, kept: Path | None, fetch: SchemaLookup | None
    ) -> None:
        self.default = default
        self._given = given
        self._kept = kept
        self._fetch = fetch
        self._validators: dict[str, Validator] = {}
        self.fetched: dict[str, dict[str, Any]] = {}

    def validator(self, model: str | None) -> Validator:
        """Raises NoSchema, or UsageError for a file that is no schema."""
        name = model or self.default
        if name not in self._validators:
            self._validators[name] = self._load(name)
        return self._validators[name]

    def properties(self, model: str | None) -> Collection[str]:
        return self.validator(model).properties

    def _load(self, model: str) -> Validator:
        if model == self.default and self._given is not None:
            return Validator(load_schema(self._given))
        folders = [folder for folder in (self._kept, schemas_folder()) if folder is not None]
        for path in (schema_path(folder, model) for folder in folders):
            if path.is_file():
                return Validator(load_schema(path))
        found = self._fetch(model) if self._fetch is not None else None
        if found is None:
            raise NoSchema(model)
        try:
            validator = Validator(normalize_schema(find_input_schema(found)))
        except SchemaUnusable as error:
            raise UsageError(
                f"RunComfy's schema of {model} cannot be used: {error}. Nothing was sent.",
                "Write one that can, and name it with --schema.",
            ) from error
        self.fetched[model] = found
        return validator

    def keep(self, folder: Path) -> None:
        """Store what was fetched, so that the next run checks against the same."""
        for model, found in self.fetched.items():
            path = schema_path(folder, model)
            remove_temporary_files(path.parent)
            write_schema(path, model, found)


def write_schema(path: Path, model: str, found: Mapping[str, Any]) -> None:
    """Store a schema with the date it was fetched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"model_id": model, "fetched_at": datetime.now(UTC).date().isoformat(), **found}
    with write_whole(path) as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")
