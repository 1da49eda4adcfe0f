"""What the inputs of a batch's models may hold, from the schemas that the batch keeps.

The gallery checks an export against them, which carries a schema along that nobody else has.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchgen import resources
from batchgen.core.messages import model_id_problem
from batchgen.core.text import is_text
from batchgen.errors import UsageError

# What templates/exports.js checks a value against.
CHECKED = ("type", "enum", "minimum", "maximum")
MAX_INLINE = 1 << 18  # characters of a schema that an export carries along


def model_inputs(schemas: Path, models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is known of each model that has a usable schema in the folder `schemas`.

    fields: the CHECKED keywords of each input, by its name. file: the schema's absolute path if a
    run has to be told of it, because batchgen brings no such schema for the model; else None.
    inline: that schema's document as JSON, as text, since a browser rounds long numbers; None if
    there is no `file`, or it is longer than MAX_INLINE. given: whether it was given with the list,
    so that RunComfy may not know it.
    """
    # Imported here, since it brings jsonschema: a command that writes no report needs none.
    from batchgen.validation.model_schema import InputSchema, parse_schema, read_schema
    from batchgen.validation.schema_registry import schema_date, schema_path

    def load(folder: Path, model: str) -> tuple[Any, InputSchema] | None:
        path = schema_path(folder, model)
        with suppress(UsageError, OSError):
            document = read_schema(path)
            return document, parse_schema(document, path)
        return None

    found = {}
    for model in models:
        if model_id_problem(model) or (kept := load(schemas, model)) is None:
            continue
        document, schema = kept
        brought = load(resources.schemas_folder(), model)
        fields = {
            name: {keyword: field[keyword] for keyword in CHECKED if keyword in field}
            for name, field in schema.properties.items()
        }
        path = text = None
        if brought is None or brought[1].document != schema.document:
            path = str(schema_path(schemas.resolve(), model))
            text = json.dumps(document, ensure_ascii=False)  # YAML has no halves of pairs
            text = text if is_text(text) else None
        inline = text if text and len(text) <= MAX_INLINE else None
        given = path is not None and not schema_date(document)
        found[model] = {"fields": fields, "file": path, "inline": inline, "given": given}
    return found
