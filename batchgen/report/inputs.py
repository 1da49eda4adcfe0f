"""What the inputs of a batch's models may hold, from the schemas that the batch keeps.

The gallery checks an export against them, and its command names a schema that nobody else has.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchgen import resources
from batchgen.core.messages import model_id_problem
from batchgen.errors import UsageError

# What templates/exports.js checks a value against.
CHECKED = ("type", "enum", "minimum", "maximum")


def model_inputs(schemas: Path, models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is known of each model that has a usable schema in the folder `schemas`.

    fields: the CHECKED keywords of each input, by its name. file: the schema's absolute path if a
    run has to be told of it, because batchgen brings no such schema for the model; else None.
    """
    # Imported here, since it brings jsonschema: a command that writes no report needs none.
    from batchgen.validation.model_schema import InputSchema, load_schema
    from batchgen.validation.schema_registry import schema_path

    def load(folder: Path, model: str) -> InputSchema | None:
        with suppress(UsageError, OSError):
            return load_schema(schema_path(folder, model))
        return None

    found = {}
    for model in models:
        if model_id_problem(model) or (schema := load(schemas, model)) is None:
            continue
        ours = load(resources.schemas_folder(), model)
        fields = {
            name: {keyword: field[keyword] for keyword in CHECKED if keyword in field}
            for name, field in schema.properties.items()
        }
        brought = ours is not None and ours.document == schema.document
        path = None if brought else str(schema_path(schemas.resolve(), model))
        found[model] = {"fields": fields, "file": path}
    return found
