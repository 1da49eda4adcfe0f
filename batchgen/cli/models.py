"""The commands about models' schemas."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from batchgen.cli import completion, manners
from batchgen.cli.options import (
    JSON,
    MODEL,
    NAMED_FILE,
    RAISE_LIMIT,
    SERVICE,
    Commands,
    find_batch,
    options_without_manifest,
    runtime,
)
from batchgen.core.targets import deployment_id


@click.group(cls=Commands, short_help="List, show, fetch and forget model schemas.")
def models() -> None:
    """List, show, fetch and forget the schemas that rows are checked against.

    The first that there is, is used: the file of --schema; the batch's own copy, which no later
    fetch changes; what `models fetch` keeps for you; what comes with batchgen. If there is none,
    `run`, `plan` and `validate` ask RunComfy's catalogue.

    \b
    Examples:
        batchgen models list --online --search seedream
        batchgen models show ideogram/ideogram-v2/generate

    \b
    Exit codes:
        0    done
        2    there is no such model, file or batch
        69   RunComfy could not be reached, or has no such model
        77   the token is missing or was refused
    """


@models.command("list")
@click.option("--search", default="", help="Only models whose name contains this.")
@click.option("--online", is_flag=True, help="List those of RunComfy's catalogue; needs a token.")
@click.option("--deployments", is_flag=True, help="List your own deployments; needs a token.")
@RAISE_LIMIT
@JSON
@SERVICE
def models_list(search: str, online: bool, deployments: bool, as_json: bool, **given: Any) -> None:
    """List the models whose schemas are here, or with --online those of RunComfy's catalogue.

    A line for each: the id, then what is known of name, price, what it makes, and the date. Of a
    deployment: name, status, hardware, instances, and the version of its workflow.

    \b
    Examples:
        batchgen models list
        batchgen models list --online --search seedream
        batchgen models list --deployments

    \b
    Exit codes:
        0    listed
        69   RunComfy could not be reached
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.operations.models import list_deployments, list_models

    options, timing = options_without_manifest(), runtime().timing
    found: list[Any] = []
    if deployments:
        found += list_deployments(search, options, timing)
    else:
        found += list_models(search, options, timing, online=online)
    with manners.paged():
        if as_json:
            output.as_json([asdict(one) for one in found])
        else:
            output.models(found)


@models.command("show")
@MODEL
@click.option(
    "--batch",
    shell_complete=completion.batch,
    help="Look among this batch's schemas first.",
)
@RAISE_LIMIT
@JSON
@SERVICE
def models_show(model: str, batch: str | None, as_json: bool, **given: Any) -> None:
    """Show the inputs that MODEL takes; of deployments/ID, which RunComfy is asked about, too.

    \b
    Examples:
        batchgen models show ideogram/ideogram-v2/generate
        batchgen models show deployments/11111111-1111-4111-8111-111111111111

    \b
    Exit codes:
        0    shown
        2    there is no schema of that model here
        69   RunComfy could not be reached
        77   the token was refused
    """
    from batchgen.cli import output
    from batchgen.operations.models import CatalogueIfAllowed, schema_folders
    from batchgen.validation.schema_registry import SchemaRegistry

    folders = schema_folders(find_batch(batch) if batch else None)
    options = options_without_manifest()
    source = None
    if deployment_id(model) is not None:
        source = CatalogueIfAllowed(options, runtime().timing)
    validator = SchemaRegistry(model, None, folders, source, options.reading).validator(model)
    with manners.paged():
        if as_json:
            inputs = dict(validator.properties)
            required = [name for name in inputs if name in validator.required]
            output.as_json({"model": model, "required": required, "inputs": inputs})
        else:
            output.model(model, validator)


@models.command("fetch")
@MODEL
@click.option(
    "-o", "--out", type=NAMED_FILE, help="Write this file, for --schema, and keep nothing."
)
@JSON
@SERVICE
def models_fetch(model: str, out: Path | None, as_json: bool, **given: Any) -> None:
    """Fetch MODEL's schema from RunComfy's catalogue, and keep it for every later command.

    Needs a token. Prints the file's path. A schema that was kept before is replaced; batches that
    have begun keep the one that they began with.

    \b
    Examples:
        batchgen models fetch openai/gpt-image-2/text-to-image
        batchgen models fetch openai/gpt-image-2/text-to-image -o gpt.json

    \b
    Exit codes:
        0    written
        2    that is no model id, or there is no place to keep it
        69   RunComfy could not be reached, or has no such model
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.operations.models import fetch_model

    path = fetch_model(model, out, options_without_manifest(), runtime().timing)
    output.path(path, as_json=as_json)


@models.command("forget")
@MODEL
@JSON
def models_forget(model: str, as_json: bool) -> None:
    """Delete the schema of MODEL that `models fetch` kept; batches that have begun have their own.

    \b
    Examples:
        batchgen models forget openai/gpt-image-2/text-to-image

    \b
    Exit codes:
        0    deleted
        2    no schema of that model was fetched
    """
    from batchgen.cli import output
    from batchgen.operations.models import forget_model

    output.path(forget_model(model), as_json=as_json)
