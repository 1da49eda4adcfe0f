"""Model schemas: those that come with us, those kept in a batch folder, and the catalogue's.

Source: api.md: `GET /models/{model_id}` is not in RunComfy's published page, so it is a help where
it answers and never needed. Schemas drift; each stored one carries the date it was fetched.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchgen.errors import UsageError
from batchgen.files import clear_parts, write_whole
from batchgen.inputschema import schemas_folder as schemas_folder
from batchgen.prices import COUNTS, Price, count
from batchgen.validation import SchemaUnusable, Validator, input_schema, load_schema, prepare

_BY_REQUEST = {"request", "generation", "run", "call", "video", "song"}
_BY_OUTPUT = {"output", "outputs", "image", "images"}
_BESIDE = {"per", "each", "api", "generated", "usd"}

Fetch = Callable[[str], dict[str, Any] | None]


class NoSchema(UsageError):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"There is no schema for {model}, so its rows cannot be checked. Nothing was sent.",
            f"Get it with: batchgen models fetch {model}\nor name a file with --schema.",
        )


def bundled() -> Iterator[Path]:
    """The files of the schemas that come with batchgen."""
    yield from sorted(schemas_folder().glob("*/**/*.json"))


def stored(folder: Path, model: str) -> Path:
    """Where the schema of `model` is kept below `folder`."""
    return folder.joinpath(*model.split("/")).with_name(model.split("/")[-1] + ".json")


class Models:
    """Validators by model id, each made once.

    default: the model of rows that name none; `given` is a schema file for it, or None.
    kept: the folder of the batch's own schemas; `fetch` asks the API, None = do not ask.
    """

    def __init__(
        self, default: str, given: Path | None, kept: Path | None, fetch: Fetch | None
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
        for path in (stored(folder, model) for folder in folders):
            if path.is_file():
                return Validator(load_schema(path))
        found = self._fetch(model) if self._fetch is not None else None
        if found is None:
            raise NoSchema(model)
        try:
            validator = Validator(prepare(input_schema(found)))
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
            path = stored(folder, model)
            clear_parts(path.parent)
            write(path, model, found)


def write(path: Path, model: str, found: Mapping[str, Any]) -> None:
    """Store a schema with the date it was fetched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"model_id": model, "fetched_at": datetime.now(UTC).date().isoformat(), **found}
    with write_whole(path) as file:
        json.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")


def price(found: Mapping[str, Any]) -> Price | None:
    """Return a model's price by its catalogue entry; None where that cannot be known.

    A price by the second, token or megapixel says nothing about a request before it has run.
    """
    usd = found.get("base_price_usd")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < 1e6:
        return None
    unit = str(found.get("price_unit") or "request").lower()
    words = set(re.findall(r"[a-z]+", unit)) - _BESIDE
    # `output` is a price and `output_token` is none, so no word may be unknown.
    if not words or not words <= _BY_REQUEST | _BY_OUTPUT:
        return None
    return Price(float(usd), _outputs(found) if words & _BY_OUTPUT else None)


def _outputs(found: Mapping[str, Any]) -> dict[str, int]:
    """How many outputs a model makes unasked, by the inputs that say so; 1 is left out."""
    try:
        properties = prepare(input_schema(found)).properties
    except SchemaUnusable:
        return {}
    unasked = {name: count(properties.get(name, {}).get("default")) for name in COUNTS}
    return {name: most for name, most in unasked.items() if most > 1}
