"""The commands about models' schemas."""

from pathlib import Path
from typing import Any

import click

from batchgen.cli.options import (
    FILE,
    SERVICE,
    Commands,
    find_batch,
    options_without_manifest,
    runtime,
)


@click.group(cls=Commands, short_help="List, show and fetch model schemas.")
def models() -> None:
    """List, show and fetch the schemas that rows are checked against."""


@models.command("list")
@click.option("--search", default="", help="Only models whose name contains this.")
@click.option("--online", is_flag=True, help="List those of RunComfy's catalogue; needs a token.")
@SERVICE
def models_list(search: str, online: bool, **given: Any) -> None:
    """List the models that come with batchgen, or those of RunComfy's catalogue.

    \b
    Examples:
        batchgen models list
        batchgen models list --online --search seedream
    \b
    Exit codes:
        0    listed
        69   RunComfy could not be reached
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.operations.models import list_models

    options = options_without_manifest() if online else None
    for line in list_models(search, options, runtime().timing):
        output.line(line)


@models.command("show")
@click.argument("model")
@click.option("--batch", help="Look among this batch's schemas first.")
def models_show(model: str, batch: str | None) -> None:
    """Show the inputs that MODEL takes.

    \b
    Examples:
        batchgen models show ideogram/ideogram-v2/generate
    \b
    Exit codes:
        0    shown
        2    there is no schema of that model here
    """
    from batchgen.cli import output
    from batchgen.validation.schema_registry import SchemaRegistry

    kept = find_batch(batch).schemas if batch else None
    output.model(model, SchemaRegistry(model, None, kept, None).validator(model))


@models.command("fetch")
@click.argument("model")
@click.option("-o", "--out", type=FILE, help="The file to write.  [default: <model>.json]")
@SERVICE
def models_fetch(model: str, out: Path | None, **given: Any) -> None:
    """Fetch MODEL's schema from RunComfy's catalogue into a file for --schema; needs a token.

    \b
    Examples:
        batchgen models fetch openai/gpt-image-2/text-to-image -o gpt.json
    \b
    Exit codes:
        0    written
        69   RunComfy could not be reached, or has no such model
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.operations.models import fetch_model

    output.line(fetch_model(model, out, options_without_manifest(), runtime().timing))
