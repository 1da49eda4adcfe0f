"""List the models of the catalogue, and fetch their schemas."""

from contextlib import closing
from pathlib import Path

from batchgen import event_loop, resources
from batchgen.api import endpoint
from batchgen.api.catalogue import Catalogue
from batchgen.config import RunOptions
from batchgen.core.timing import Timing
from batchgen.errors import ServiceUnreachable
from batchgen.validation import schema_registry


def list_models(search: str, online: RunOptions | None, timing: Timing) -> list[str]:
    """Return the ids of models: those that come with batchgen, or those of the catalogue.

    online: how to reach the catalogue; None asks for those that come with batchgen.
    """
    if online is None:
        here = resources.schemas_folder()
        paths = schema_registry.bundled_schemas()
        ids = [path.relative_to(here).with_suffix("").as_posix() for path in paths]
        return [id for id in ids if search.lower() in id.lower()]
    where = endpoint.find_endpoint(online)

    async def ask() -> list[str]:
        found: list[str] = []
        async with where.service(timing) as service:
            while page := await service.list_models(search, offset=len(found)):
                found += [str(entry.get("model_id")) for entry in page if isinstance(entry, dict)]
            return found

    return event_loop.run(ask())


def fetch_model(model: str, out: Path | None, options: RunOptions, timing: Timing) -> Path:
    """Write the catalogue's schema of `model` into a file; return its path."""
    with closing(Catalogue(endpoint.find_endpoint(options), timing)) as catalogue:
        found = catalogue.describe(model)
    if found is None:
        raise ServiceUnreachable(
            f"RunComfy's catalogue has no answer about {model}.",
            "Check the model's name; its page has the schema, which --schema takes from a file.",
        )
    path = out or Path(model.replace("/", "-") + ".json")
    schema_registry.write_schema(path, model, found)
    return path
