"""Where the schemas of models are, and what lists, fetches and forgets them.

They are with a batch, a person, batchgen, or in the catalogue. What asks the catalogue is imported
late, since most commands need nothing of it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen import resources
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.limits import Limits
from batchgen.core.messages import model_id_problem
from batchgen.core.targets import DEPLOYMENTS, deployment_id
from batchgen.core.text import closest_match, terminal_safe, truncate
from batchgen.core.timing import Timing
from batchgen.errors import ServiceUnreachable, TokenRefused, UsageError
from batchgen.validation.model_schema import read_schema
from batchgen.validation.schema_registry import (
    SchemaSource,
    fetched_today,
    require_model_id,
    schema_date,
    schema_path,
    stored_schemas,
    write_schema,
)

if TYPE_CHECKING:
    from batchgen.api.catalogue import Catalogue
    from batchgen.api.endpoint import Endpoint
    from batchgen.api.runcomfy import RunComfy

# A catalogue that never ends is none.
MAX_PAGES = 200


def schema_folders(batch: Folder | None) -> tuple[Path, ...]:
    """Return where schemas are looked for, in this order; a batch's own folder comes first."""
    bundled = resources.schemas_folder()
    kept = resources.user_schemas_folder(os.environ)
    persons = () if kept is None else (kept,)
    if batch is None:
        return (*persons, bundled)
    # Earlier versions copied no bundled schema into a batch. Its rows were checked against that
    # one, and a newer one that the person fetched could make other rows of them.
    rest = (bundled, *persons) if batch.has_journal() else (*persons, bundled)
    return (batch.schemas, *rest)


def kept_schemas_folder() -> Path:
    """Return where `models fetch` keeps schemas. Raises UsageError if there is no such place."""
    folder = resources.user_schemas_folder(os.environ)
    if folder is None:
        what = "There is no home folder, and so no place to keep schemas."
        raise UsageError(what, "Name a folder in XDG_CACHE_HOME, or a file with --out.")
    return folder


def stored_versions(batch: Folder, catalogue: "SchemaSource | None") -> dict[str, str]:
    """Return the version of each deployment that a batch has the workflow of.

    Today's, if it can be asked for, else the stored one: a list is read again when one has changed.
    catalogue: None where nobody is asked.
    """
    from batchgen.api.deployment_schema import conditions_of

    found = {}
    for model, path in stored_schemas(batch.schemas).items():
        if deployment_id(model) is None:
            continue
        document = None
        with suppress(ServiceUnreachable, TokenRefused):
            document = None if catalogue is None else catalogue.describe(model)
        if document is None:
            with suppress(UsageError):
                stored = read_schema(path)
                document = stored if isinstance(stored, dict) else {}
        found[model] = conditions_of(document or {}).version
    return found


class CatalogueIfAllowed:
    """Asks the catalogue, as `SchemaSource`; nobody where there is no token, or in a rehearsal."""

    def __init__(
        self, options: RunOptions, timing: Timing, node_classes: tuple[str, ...] = ()
    ) -> None:
        """node_classes: as `Endpoint` has them."""
        self._options = options
        self._timing = timing
        self._node_classes = node_classes

    def describe(self, model: str) -> dict[str, Any] | None:
        """Raises ServiceUnreachable where no answer came, TokenRefused where the API refuses."""
        with self._open() as catalogue:
            return None if catalogue is None else catalogue.describe(model)

    def newer(self, model: str, stored: dict[str, Any]) -> dict[str, Any] | None:
        with self._open() as catalogue:
            return None if catalogue is None else catalogue.newer(model, stored)

    def similar(self, model: str) -> str | None:
        with self._open() as catalogue:
            return None if catalogue is None else catalogue.similar(model)

    @contextmanager
    def _open(self) -> "Iterator[Catalogue | None]":
        try:
            endpoint = None if self._options.sandbox else _find_endpoint(self._options)
        except TokenRefused:
            endpoint = None
        if endpoint is None:
            yield None
        else:
            endpoint = replace(endpoint, node_classes=self._node_classes)
            with closing(_catalogue(endpoint, self._timing)) as catalogue:
                yield catalogue


def _find_endpoint(options: RunOptions) -> "Endpoint":
    from batchgen.api.endpoint import find_endpoint

    return find_endpoint(options)


def _catalogue(endpoint: "Endpoint", timing: Timing) -> "Catalogue":
    from batchgen.api.catalogue import Catalogue

    return Catalogue(endpoint, timing)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """name, price, makes: in the catalogue's words, each on one line; "" where it does not say.

    schema: where the schema that is here is from, and its date; "" for one of the catalogue.
    """

    id: str
    name: str = ""
    price: str = ""
    makes: str = ""
    schema: str = ""


@dataclass(frozen=True, slots=True)
class ListedDeployment:
    """A deployment of the account, in words, each on one line; "" where RunComfy does not say."""

    id: str
    name: str
    status: str
    hardware: str
    instances: str
    version: str


def list_deployments(search: str, options: RunOptions, timing: Timing) -> list[ListedDeployment]:
    """Return the deployments of the account. Raises ServiceUnreachable and TokenRefused."""

    async def ask(services: "RunComfy") -> list[dict[str, Any]]:
        return await services.deployments.list_deployments()

    words = search.lower()
    found = map(_listed_deployment, _find_endpoint(options).ask(ask, timing))
    return [one for one in found if words in f"{one.id} {one.name}".lower()]


def _listed_deployment(entry: Mapping[str, Any]) -> ListedDeployment:
    hardware, most = entry.get("hardware"), entry.get("max_instances")
    kinds = hardware if isinstance(hardware, list) else [hardware]
    instances = f"{entry.get('min_instances', 0)} to {most}" if isinstance(most, int) else ""
    return ListedDeployment(
        f"{DEPLOYMENTS}{_one_line(entry.get('id'))}",
        _one_line(entry.get("name")),
        "disabled" if entry.get("is_enabled") is False else _one_line(entry.get("status")),
        _one_line(", ".join(kind for kind in kinds if isinstance(kind, str))),
        f"{_one_line(instances)} instances" if instances else "",
        _one_line(entry.get("workflow_version")),
    )


def list_models(
    search: str, options: RunOptions, timing: Timing, *, online: bool
) -> list[ListedModel]:
    """Return the models whose schemas are here, or those of the catalogue.

    options: how to reach the catalogue, and how large a schema may be.
    """
    if online:
        return _models_there(search, options, timing)
    return _models_here(search, options.reading)


def _models_here(search: str, limits: Limits) -> list[ListedModel]:
    found: dict[str, ListedModel] = {}
    bundled = resources.schemas_folder()
    for folder in reversed(schema_folders(None)):  # the first has precedence
        for id, path in stored_schemas(folder).items():
            document = read_schema(path, limits)
            entry = document if isinstance(document, dict) else {}
            origin = "comes with batchgen" if folder == bundled else "fetched"
            date = _one_line(schema_date(entry))
            found[id] = replace(_listed(id, entry), schema=f"{origin} ({date})")
    words = search.lower()
    return [one for _, one in sorted(found.items()) if words in f"{one.id} {one.name}".lower()]


def _models_there(search: str, options: RunOptions, timing: Timing) -> list[ListedModel]:
    import asyncio

    async def ask(services: "RunComfy") -> list[ListedModel]:
        found: dict[str, ListedModel] = {}
        offset = 0
        try:
            async with asyncio.timeout(timing.catalogue_total):
                for _ in range(MAX_PAGES):
                    if not (page := await services.models.list_models(search, offset)):
                        break
                    offset += len(page)
                    for entry in page:
                        id = entry.get("model_id") if isinstance(entry, dict) else None
                        if isinstance(id, str) and not model_id_problem(id):
                            found[id] = _listed(id, entry)
        except TimeoutError:
            raise ServiceUnreachable(
                f"RunComfy's catalogue was not read in {timing.catalogue_total:g} s.",
                "Look for fewer models, by a word of their name: batchgen models list --online"
                " --search WORD",
            ) from None
        return list(found.values())

    return _find_endpoint(options).ask(ask, timing)


def _listed(id: str, entry: Mapping[str, Any]) -> ListedModel:
    name, categories = entry.get("display_name"), entry.get("categories")
    makes = categories if isinstance(categories, list) else [categories or ""]
    return ListedModel(
        id,
        "" if name is None or name == id else _one_line(name),
        _price(entry),
        _one_line(", ".join(word for word in makes if isinstance(word, str))),
    )


def _price(entry: Mapping[str, Any]) -> str:
    """Return `$0.06 per output`; a price with a note is the least that a request costs."""
    from batchgen.api.catalogue_price import base_price, has_note

    if (usd := base_price(entry)) is None:
        return ""
    least = "from " if has_note(entry) else ""
    return f"{least}${usd:.6g} per {_one_line(entry.get('price_unit')) or 'request'}"


def _one_line(text: object) -> str:
    """Return a text as one printable line; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    return terminal_safe(truncate(" ".join(text.split())))


def fetch_model(model: str, out: Path | None, options: RunOptions, timing: Timing) -> Path:
    """Write the catalogue's schema of `model` into a file; return its path.

    out: None is the place where every later command finds it.
    """
    require_model_id(model)
    path = out or schema_path(kept_schemas_folder(), model)
    with closing(_catalogue(_find_endpoint(options), timing)) as catalogue:
        found = catalogue.describe(model)
        near = catalogue.similar(model) if found is None else None
    if found is None:
        remedy = (
            "Check the model's name; its page has the schema, which --schema takes from a file."
        )
        raise ServiceUnreachable(
            f"RunComfy's catalogue has no answer about {model}.",
            f"Did you mean {near}?" if near else remedy,
        )
    write_schema(path, model, fetched_today(found))
    return path


def forget_model(model: str) -> Path:
    """Delete the schema that `fetch_model` kept of a model; return its path."""
    kept = stored_schemas(kept_schemas_folder())
    require_model_id(model, kept)
    if model not in kept:
        bundled = model in stored_schemas(resources.schemas_folder())
        near = closest_match(model, kept)
        raise UsageError(
            f"No schema of {model} was fetched.",
            "The one that comes with batchgen stays."
            if bundled
            else (f"Did you mean {near}?" if near else ""),
        )
    kept[model].unlink()
    return kept[model]
