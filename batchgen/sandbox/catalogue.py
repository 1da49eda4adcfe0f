"""The models the sandbox serves: their schemas, and whether an input fits one.

A schema file is an object `{"model_id", "input" or "input_schema", ...}`; what it says of price,
categories and name holds, so that a model that was fetched is rehearsed as it is. Schemas there
are not strict JSON Schema (`type: "float"`, `format: "image_uri"`, a `validations` keyword); what
has no standard meaning is not checked.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from batchgen.errors import UsageError
from batchgen.files import FileRefused, open_regular
from batchgen.resources import schemas_folder
from batchgen.sandbox.media import output_count
from batchgen.sandbox.options import SandboxOptions

JSON_SCHEMA_TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}
DEFAULT_MODEL = Path("ideogram") / "ideogram-v2" / "generate.json"
MODEL_PAGE = "https://www.runcomfy.com/models/"
USUAL_SECONDS = 5.0  # of a video or sound, where neither its input nor its schema says
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

    @property
    def unit(self) -> str:
        """What its price is for, as the catalogue says it: `output` or `second`."""
        own = "output" if model_kind(self.id) == "image" else "second"
        return str(self.described.get("price_unit") or own)

    def price(self, usual: float) -> float:
        """Return the USD of a unit: the schema file's own, else the usual one."""
        return float(self.described.get("base_price_usd", usual))

    def cost(self, options: SandboxOptions, given: dict[str, Any]) -> float:
        """Return what a request costs, USD."""
        cost = self.price(options.price) * options.cost_factor
        if self.unit in ("output", "second"):
            cost *= output_count(given)
        if self.unit == "second":
            cost *= self.seconds(given)
        return round(cost, 6)

    def seconds(self, given: dict[str, Any]) -> float:
        """Return the seconds of an output: the input's, else those that the model takes itself."""
        own = input_schema(self.described).get("properties", {}).get("duration", {}).get("default")
        wanted: tuple[Any, ...] = (given.get("duration"), own)
        for value in wanted:
            with suppress(TypeError, ValueError):
                return max(float(value), 0.0)
        return USUAL_SECONDS

    def shown(self, options: SandboxOptions) -> dict[str, Any]:
        """The catalogue's entry."""
        return {
            "model_id": self.id,
            "display_name": self.described.get("display_name", self.id),
            "categories": self.described.get("categories", [f"{model_kind(self.id)}-generation"]),
            "base_price_usd": self.price(options.price),
            "price_unit": self.unit,
            "pricing_note": self.described.get("pricing_note", options.pricing_note),
            "input_schema": input_schema(self.described),
            "model_url": self.described.get("model_url", MODEL_PAGE + self.id),
        }


def input_schema(described: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the input in a schema file, whether it is the catalogue's or not."""
    return described.get("input_schema") or described.get("input") or {}


def problem(error: ValidationError) -> dict[str, Any]:
    """One entry of a 422's `detail`: `{loc, msg, type}`."""
    place = ["body", *error.absolute_path]
    kind = str(error.validator)
    if kind == "required" and (found := MISSING_PROPERTY.match(error.message)):
        return {"loc": [*place, found[1]], "msg": "Field required", "type": "missing"}
    if kind == "type":
        kind = f"{error.validator_value}_type"
    return {"loc": place, "msg": error.message, "type": kind}


def read_described(path: Path) -> Any:
    """Read a JSON file; None if it is none. Raises UsageError for one that is not regular or is too
    large.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_SCHEMA_BYTES + 1)
    except FileRefused as error:
        raise UsageError(f"{path} {error.what}.", error.remedy) from None
    if len(content) > MAX_SCHEMA_BYTES:
        what = f"{path} is larger than {MAX_SCHEMA_BYTES // 2**20} MiB."
        raise UsageError(what, "Name another file.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def load_model(path: Path) -> SandboxModel:
    """Read a schema file. Raises UsageError for one that does not say which model it is of, and
    what read_described raises.
    """
    described = read_described(path)
    if not isinstance(described, dict) or not isinstance(described.get("model_id"), str):
        what = f"{path} is no schema: it does not say which model it is of."
        raise UsageError(what, 'Write it as {"model_id": "…", "input": {…}}.')
    schema = input_schema(described)
    validator = Draft202012Validator(standard_schema(schema)) if schema else None
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
