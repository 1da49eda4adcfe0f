"""The command that writes a first manifest."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from batchgen.cli import completion
from batchgen.cli.options import (
    DEPLOYMENT,
    FILE,
    JSON,
    RAISE_LIMIT,
    SERVICE,
    given_options,
    options_without_manifest,
    read_columns,
    runtime,
)
from batchgen.core.text import plural, shell_path, shell_quote
from batchgen.core.timing import Timing
from batchgen.errors import UsageError
from batchgen.manifest.formats import FORMATS


@click.command(short_help="Write a first manifest, for a model or for a list that you have.")
@click.argument("out", required=False)
@click.option(
    "--model",
    shell_complete=completion.model,
    help="The model that it is for.  [default: Ideogram 2.0]",
)
@DEPLOYMENT
@click.option("--schema", type=FILE, help="File with that model's input schema.")
@click.option("--csv", "as_table", is_flag=True, help="Write a table for a spreadsheet.")
@click.option(
    "--from",
    "listed",
    metavar="LIST",
    help="Write a manifest for this file or folder of prompts, and guess its columns.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="INPUT=COLUMN",
    callback=read_columns,
    help="With --from: this column is this input, or `id`; repeatable.",
)
@click.option(
    "--format", type=click.Choice([*FORMATS]), help="With --from: read the list as this format."
)
@RAISE_LIMIT
@JSON
@SERVICE
def init(out: str | None, listed: str | None, as_table: bool, as_json: bool, **given: Any) -> None:
    """Write a manifest that is valid as it stands, with every input of the model as a comment.

    A comment says the type, the choices, the bounds and the model's default. OUT is list.yaml where
    it is not given, list.csv with --csv, and a file beside LIST with --from; - is standard output.
    A file that is there is never overwritten. An editor with a YAML language server completes the
    file by the schema that its first line names.

    With --from, the whole list is read, and what each column was taken for is shown: an input whose
    name it has and whose values fit, the prompt, the id where each value comes once, or metadata,
    which is carried along and not sent. The list itself stays as it is. What was written is then
    checked as `validate` does.

    \b
    Examples:
        batchgen init
        batchgen init clips.yaml --model openai/gpt-image-2/text-to-image
        batchgen init --deployment 11111111-1111-4111-8111-111111111111
        batchgen init --csv
        batchgen init --from prompts.tsv
        batchgen init --from prompts.tsv --column prompt=Caption

    \b
    Exit codes:
        0    written
        2    the file is there already, there is no such list, or no schema for the model
        65   the list cannot be read, or has rows that are not valid; fix them there
        69   no schema is here, and RunComfy could not be asked for it
        77   the same, and the token was refused
    """
    from batchgen.cli import output
    from batchgen.library.frontend import problems_kept
    from batchgen.operations.init import manifest_for_list, new_manifest, write_new

    if listed is not None and as_table:
        raise UsageError("--csv writes a table, and --from a manifest for one: choose one of them.")
    if listed is None and given_options().keys() & {"columns", "format"}:
        raise UsageError("--column and --format say how a list is read; name it with --from.")
    if as_json and out == "-":
        raise UsageError("- prints the manifest itself: leave --json out.")
    options, timing = options_without_manifest(), runtime().timing
    most = options.reading.problems
    with (
        output.Problems(most, as_json=as_json) as problems,
        problems_kept(problems.show, most) as kept,
    ):
        if listed is None:
            made = new_manifest(out, options, timing, csv=as_table)
        else:
            made = manifest_for_list(out, listed, options, timing, kept.show)
    if made.guess is not None and not as_json:
        output.guess(str(listed), made.guess, made.rows or 0, made.needed, to_stderr=not made.path)
    if made.path is None:
        click.echo(made.text, nl=False)
        return
    write_new(made.path, made.text)
    if as_json:
        rows = made.rows if listed is None else _valid_rows(made.path, timing, as_json=True)
        uses = [] if made.guess is None else [asdict(use) for use in made.guess.uses]
        told = {"path": str(made.path), "rows": rows, "columns": uses, "needed": [*made.needed]}
        output.as_json(told)
        return
    shown = shell_path(str(made.path))
    if listed is None:
        # A table says its model in a column, and cannot say where that model's schema is.
        names = ("model", "schema") if as_table and options.schema else ()
        words = [f"--{name} {shell_quote(str(getattr(options, name)))}" for name in names]
        more = " ".join(["", *words])
        output.note(f"{made.path} is written. Check it, and rehearse it:")
        output.note(f"  batchgen validate {shown}{more}")
        output.note(f"  batchgen run {shown}{more} --sandbox --out rehearsal")
        return
    output.note(f"{made.path} is written. Look at it, then rehearse it:")
    output.note(f"  batchgen run {shown} --sandbox --out rehearsal")
    output.note(f"{plural(_valid_rows(made.path, timing, as_json=False), 'row')}, all valid.")


def _valid_rows(path: Path, timing: Timing, *, as_json: bool) -> int:
    """Return how many rows the new manifest has. Raises what `validate` does."""
    from batchgen.cli import output
    from batchgen.library.check import validate
    from batchgen.library.frontend import Frontend

    most = options_without_manifest().reading.problems
    with output.Problems(most, as_json=as_json) as problems:
        frontend = Frontend(problem=problems.show, owns_process=True, timing=timing)
        return validate(path, frontend=frontend, **given_around()).rows


def given_around() -> dict[str, Any]:
    """The options that no manifest has: which service is asked for a schema, and the limits."""
    kept = ("base_url", "serverless_url", "media_hosts", "raise_limit")
    return {name: value for name, value in given_options().items() if name in kept}
