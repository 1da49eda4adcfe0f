"""The models the sandbox serves: their schemas, and whether an input fits one.

A schema file is an object `{"model_id", "input", "output", ...}`. Schemas in the live catalogue
are not strict JSON Schema (`type: "float"`, `format: "image_uri"`, a `validations` keyword); what
has no standard meaning is not checked.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from batchgen.errors import UsageError
from batchgen.files import FileRefused, open_regular
from batchgen.resources import schemas_folder
from batchgen.sandbox.media import output_count

JSON_SCHEMA_TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}
DEFAULT_MODEL = Path("ideogram") / "ideogram-v2" / "generate.json"
MAX_SCHEMA_BYTES = 16 * 2**20
MISSING_PROPERTY = re.compile(r"^'(.*)' is a required property")


def standard_schema(schema: Any) -> Any:
    """Return a copy of a schema in which every `type` is one of JSON Schema."""
    if isinstance(schema, list):
        return [standard_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: standard_schema(part) for name, part in schema.items()}
    kind = result.get("type")
    if kind == "float":
        result["type"] = "number"
    elif isinstance(kind, str) and kind not in JSON_SCHEMA_TYPES:
        del result["type"]
    return result


def model_kind(model_id: str) -> str:
    """`image`, `video` or `audio`, judged by the id."""
    last = model_id.rpartition("/")[2].lower()
    if "video" in last and not last.endswith("image"):
        return "video"
    if any(word in model_id.lower() for word in ("audio", "music", "speech")):
        return "audio"
    return "image"


def request_cost(model_id: str, price: float, given: dict[str, Any]) -> float:
    """Return what a request costs, USD, at the price that the catalogue shows."""
    return round(price * (output_count(given) if model_kind(model_id) == "image" else 1), 6)


@dataclass(frozen=True)
class SandboxModel:
    """described: the schema file as it is. validator: None accepts any object."""

    id: str
    described: dict[str, Any]
    validator: Draft202012Validator | None

    def problems(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the problems of an input, in the form of a 422's `detail`."""
        if self.validator is None or self.validator.is_valid(given):
            return []
        errors = sorted(
            self.validator.iter_errors(given), key=lambda error: list(map(str, error.path))
        )
        return [problem(error) for error in errors]

    def shown(self, price: float) -> dict[str, Any]:
        """The catalogue's entry; price in USD, per output of an image model, else per request."""
        kind = model_kind(self.id)
        return {
            "model_id": self.id,
            "display_name": self.described.get("display_name", self.id),
            "categories": self.described.get("categories", [f"{kind}-generation"]),
            "base_price_usd": price,
            "price_unit": "output" if kind == "image" else "request",
            "pricing_note": "Pretend money: this is the sandbox.",
            "input": self.described.get("input"),
            "output": self.described.get("output"),
        }


def problem(error: ValidationError) -> dict[str, Any]:
    """One entry of a 422's `detail`: `{loc, msg, type}`."""
    place = ["body", *error.absolute_path]
    kind = str(error.validator)
    if kind == "required" and (found := MISSING_PROPERTY.match(error.message)):
        return {"loc": [*place, found[1]], "msg": "Field required", "type": "missing"}
    if kind == "type":
        kind = f"{error.validator_value}_type"
    return {"loc": place, "msg": error.message, "type": kind}


def load_model(path: Path) -> SandboxModel:
    """Read a schema file. Raises UsageError for one that is not regular or that is too large."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_SCHEMA_BYTES + 1)
    except FileRefused as error:
        raise UsageError(f"{path} {error.what}.", error.remedy) from None
    if len(content) > MAX_SCHEMA_BYTES:
        what = f"{path} is no schema: it is larger than {MAX_SCHEMA_BYTES // 2**20} MiB."
        raise UsageError(what, "Name another file.")
    described = json.loads(content.decode())
    schema = described.get("input")
    validator = None if schema is None else Draft202012Validator(standard_schema(schema))
    return SandboxModel(described["model_id"], described, validator)


class Catalogue:
    """files: schemas beside the bundled one. any_model: serve every id, unchecked."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        default = schemas_folder() / DEFAULT_MODEL
        found = map(load_model, (*([default] if default.is_file() else []), *files))
        self.models = {model.id: model for model in found}

    def find(self, model_id: str, *, any_model: bool) -> SandboxModel | None:
        """Return the model of this id; with any_model a model that takes any input."""
        known = self.models.get(model_id)
        if any_model:
            return SandboxModel(model_id, known.described if known else {}, None)
        return known
