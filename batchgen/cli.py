"""Words in, words and an exit code out. Only this module prints errors.

Imports are made where they are needed: `--help` is answered without httpx, Pillow and the rest.
"""

import sys
from collections.abc import Callable
from contextlib import closing
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import batchgen
from batchgen import units
from batchgen.errors import BatchgenError, UsageError
from batchgen.sandbox.command import sandbox

if TYPE_CHECKING:
    from batchgen.config import Flags
    from batchgen.folder import Folder

FORMATS = ("csv", "tsv", "json", "jsonl", "yaml", "text")
FILE = click.Path(path_type=Path)


class Notation(click.ParamType[Any]):
    """An option in one of the notations that manifests have too."""

    def __init__(self, name: str, parse: Callable[[str], float | time]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | time:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


RATE = Notation("rate", units.rate)
DURATION = Notation("duration", units.duration)
CLOCK = Notation("HH:MM", units.clock_time)


def read_columns(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Turn `prompt=Prompt`, given any number of times, into a dictionary."""
    columns: dict[str, str] = {}
    for text in values:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise click.BadParameter(f"{text!r} is not INPUT=COLUMN, as prompt=Prompt")
        columns[name] = source
    return columns


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


reading = options(
    click.option("-o", "--out", type=FILE, help="Output folder.  [default: out/<manifest>/]"),
    click.option("--model", help="Model of rows that name none.  [default: Ideogram 2.0]"),
    click.option("--schema", type=FILE, help="That model's schema, if not RunComfy's."),
    click.option("--format", type=click.Choice(FORMATS), help="The manifest's, whatever its name."),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="INPUT=COLUMN",
        callback=read_columns,
        help="Take an input from a column of another name; repeatable.",
    ),
    click.option(
        "--meta",
        multiple=True,
        metavar="COLUMN",
        help="Carry a column along, unsent; '*' is every unknown one; repeatable.",
    ),
)
reaching = options(
    click.option("--base-url", metavar="URL", help="Another API; ends in /v1."),
    click.option(
        "--media-host",
        "media_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="Accept media from this host too; repeatable.",
    ),
)


class Commands(click.Group):
    """Commands in the order of a batch's life, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(batchgen.__version__, prog_name="batchgen")
def cli() -> None:
    """Turn a list of prompts into pictures through RunComfy's Model API, overnight.

    Each row is paid for once: whatever happens, a row that may have been billed is never sent again
    unasked.

    \b
    Try it without an account or cost:
        batchgen run manifests/quickstart.yaml --sandbox
    Then for real, every night at 1:30 (crontab):
        30 1 * * *  cd /home/me/pictures && batchgen run list.csv -q
    """


@cli.command(short_help="Submit what is missing, wait, download, report.")
@click.argument("manifest")
@reading
@click.option("--rate", type=RATE, metavar="N/s|m|h|d", help="Submit so fast at most.  [60/m]")
@click.option(
    "--concurrency", type=click.IntRange(1), metavar="N", help="Unfinished requests at most.  [16]"
)
@click.option("--limit", type=click.IntRange(0), metavar="N", help="Submit so many rows at most.")
@click.option(
    "--max-cost", type=click.FloatRange(0), metavar="USD", help="The whole batch's cost at most."
)
@click.option(
    "--max-cost-per-day", type=click.FloatRange(0), metavar="USD", help="All runs of a day at most."
)
@click.option(
    "--max-cost-per-month", type=click.FloatRange(0), metavar="USD", help="The same of a month."
)
@click.option("--max-time", type=DURATION, metavar="6h", help="Then submit nothing more.")
@click.option("--until", type=CLOCK, metavar="07:00", help="Then submit nothing more.")
@click.option("--retry-failed", is_flag=True, help="Send failed rows again; they may be billed.")
@click.option(
    "--on-unknown",
    type=click.Choice(["hold", "resubmit"]),
    default="hold",
    help="What to do with rows that may have been billed without an answer.  [hold]",
)
@click.option("--skip-invalid", is_flag=True, help="Run the rows that are valid.")
@click.option("--new-list", is_flag=True, help="Let this list replace the folder's other one.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, as `plan` does.")
@reaching
@click.option("--sandbox", is_flag=True, help="Rehearse: no account, no cost, placeholders.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what needs a person.")
@click.option("-v", "--verbose", is_flag=True, help="Say everything.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@click.option("--log-file", type=FILE, help="The log.  [default: batchgen.log in the folder]")
def run(
    manifest: str,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    log_file: Path | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Submit every row of MANIFEST that is not saved yet, and collect the pictures.

    Run it again to go on; a row that may have been billed is never sent again unasked. MANIFEST is
    CSV, TSV, JSON, JSONL, YAML, text, a folder of .txt files, or - with --format.

    \b
    Examples:
        batchgen run list.csv
        batchgen run list.csv --rate 20/m --max-cost 15 --until 07:00
        batchgen run prompts.tsv --column prompt=Prompt --meta Category
    \b
    Exit codes:
        0    every row is saved
        1    finished, but some rows failed, are invalid or unknown
        2    the command's words are off
        65   the manifest is invalid; nothing was sent
        69   RunComfy could not be reached
        74   the journal or the disk is damaged; nothing was sent
        75   stopped early (limit, balance, another run): run it again to go on
        77   the token is missing or was refused
        129, 130, 143   interrupted by SIGHUP, SIGINT, SIGTERM: run it again to go on
    """
    from batchgen import wiring, words

    if dry_run:
        _tell_plan(_flags(given), manifest, as_json)
        return
    with closing(words.Problems()) as problems:
        ending, folder = wiring.run(
            _flags(given), manifest, problems.show, quiet=quiet, verbose=verbose, log_file=log_file
        )
    if as_json:
        _print_summary(folder)
    if not (quiet and ending.calm):
        words.after_run(folder, ending, quiet=quiet)
    sys.exit(ending.code)


@cli.command(short_help="Check every row; nothing is sent.")
@click.argument("manifest")
@reading
def validate(manifest: str, **given: Any) -> None:
    """Check every row of MANIFEST against its model's schema; nothing is sent.

    All problems are shown at once, each with its file and line.

    \b
    Examples:
        batchgen validate list.csv
        batchgen validate list.csv --model openai/gpt-image-2/text-to-image --schema gpt.json
    \b
    Exit codes:
        0    every row is valid
        2    there is no such file, or no schema for its model
        65   there are problems
    """
    from batchgen import wiring, words

    with closing(words.Problems()) as problems:
        rows = wiring.validate(_flags(given), manifest, problems.show)
    click.echo(f"{rows} rows in {manifest}, all valid.")


@cli.command(short_help="Tell what a run would do; nothing is sent.")
@click.argument("manifest")
@reading
@click.option("--rate", type=RATE, metavar="N/s|m|h|d", help="As `run` would have it.  [60/m]")
@click.option("--skip-invalid", is_flag=True, help="As `run` would have it.")
@click.option("--json", "as_json", is_flag=True, help="Print the sum as JSON.")
def plan(manifest: str, as_json: bool, **given: Any) -> None:
    """Tell what `run MANIFEST` would do: which rows it would send, why, and what that costs.

    Each row that is not saved gets a line: new, changed (and which input), pending, failed,
    unknown, or no longer listed. Nothing is sent.

    \b
    Examples:
        batchgen plan list.csv
        batchgen plan list.csv --json | jq .cost
    \b
    Exit codes:
        0    told
        2    there is no such file, or no schema for its model
        65   there are problems
    """
    _tell_plan(_flags(given), manifest, as_json)


@cli.command(short_help="Show how far a batch is, also while it runs.")
@click.argument("batch")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(batch: str, as_json: bool) -> None:
    """Show how far BATCH is, also while it runs. BATCH is an output folder or its manifest.

    \b
    Examples:
        batchgen status out/list
        batchgen status list.csv --json | jq .counts.saved
    \b
    Exit codes:
        0    shown
        2    there is no such batch
        74   its journal is damaged
    """
    from batchgen import words

    folder = find_batch(batch)
    if as_json:
        _print_summary(folder)
    else:
        words.status(folder)


@cli.command(short_help="Put failed rows back to pending.")
@click.argument("batch")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this row; repeatable.")
@click.option("--cause", metavar="TEXT", help="Only rows whose error contains this.")
@click.option(
    "--state",
    type=click.Choice(["failed", "cancelled", "unknown", "saved"]),
    default="failed",
    help="The rows to reopen.  [failed]",
)
def retry(batch: str, ids: tuple[str, ...], cause: str | None, state: str) -> None:
    """Put rows of BATCH that failed back to pending; the next run sends and pays for them again.

    An unknown row may have been billed already: look for it in your account first (`batchgen
    resolve`), and name it. A saved row is made anew; its old file stays.

    \b
    Examples:
        batchgen retry out/list
        batchgen retry out/list --cause "content policy"
        batchgen retry out/list --state unknown --id heron
    \b
    Exit codes:
        0    done, or nothing to do
        2    there is no such batch or row
        75   a run holds the batch
    """
    from batchgen import upkeep

    if state in ("unknown", "saved") and not ids:
        raise UsageError(
            f"--state {state} needs --id: these rows were or may have been billed already.",
            "Name each one.",
        )
    folder = find_batch(batch)
    reopened = upkeep.retry(folder, state, ids, cause)
    click.echo(f"{reopened} rows are pending again. Run the manifest to send them.")


@cli.command(short_help="Settle rows that may have been billed.")
@click.argument("batch")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this row; repeatable.")
@click.option("--all", "every", is_flag=True, help="Every unknown row.")
@click.option("--attach", metavar="REQUEST_ID", help="The request that you found for --id.")
@click.option("--write-off", is_flag=True, help="Give the rows up.")
@click.option("--send-again", is_flag=True, help="Send the rows again; they are paid again.")
@click.option("--json", "as_json", is_flag=True, help="List the rows as JSON.")
@reaching
def resolve(
    batch: str,
    ids: tuple[str, ...],
    every: bool,
    attach: str | None,
    write_off: bool,
    send_again: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Settle the unknown rows of BATCH: requests that may or may not have been accepted.

    Without an option they are listed with the time and the input to look for in your RunComfy
    account; on a terminal each is then asked about. What they may have cost stays counted.

    \b
    Examples:
        batchgen resolve out/list
        batchgen resolve out/list --id heron --attach 5e3c9a52-8f7d-4c52-a6a3-0d7c3a1f2b11
        batchgen resolve out/list --id heron --id fox --write-off
        batchgen resolve out/list --all --send-again
    \b
    Exit codes:
        0    done, or nothing to do
        1    rows are still unknown
        2    there is no such batch, row or request
        69   RunComfy could not be reached
        75   a run holds the batch
        77   the token is missing or was refused
    """
    from batchgen import words
    from batchgen.resolve import settle

    chosen = [
        name
        for name, on in (("attach", attach), ("write-off", write_off), ("send-again", send_again))
        if on
    ]
    if len(chosen) > 1:
        raise UsageError("Choose one of --attach, --write-off and --send-again.")
    if attach and len(ids) != 1:
        raise UsageError("--attach needs one --id: the row that the request belongs to.")
    if (write_off or send_again) and not ids and not every:
        raise UsageError(f"--{chosen[0]} needs --id, once a row, or --all.")
    folder = find_batch(batch)
    flags = _flags(given)
    left = settle(folder, chosen[0] if chosen else "", ids, attach, flags)
    if not chosen:
        words.unknown_rows(left, folder, as_json)
        if not as_json and sys.stdin.isatty() and sys.stdout.isatty():
            for row in left:
                action, found = words.ask_about(row)
                if action:
                    left = settle(folder, action, (row.id,), found, flags)
    sys.exit(1 if left else 0)


@cli.command(short_help="Check every file; fetch again, unpaid, what is broken.")
@click.argument("batch")
@reaching
def verify(batch: str, **given: Any) -> None:
    """Hash and decode every file of BATCH again; fetch again, unpaid, what is missing or damaged.

    A damaged file is put aside beside its successor. What RunComfy hosts no longer is named: it
    would have to be paid for again.

    \b
    Examples:
        batchgen verify out/list
    \b
    Exit codes:
        0    every file is whole, or is again
        1    files are lost: they would have to be paid for again
        2    there is no such batch
        75   a run holds the batch
        77   something has to be fetched, and the token is missing or was refused
    """
    from batchgen import words
    from batchgen.verify import verify as verify_files

    folder = find_batch(batch)
    found = verify_files(folder, _flags(given), lambda line: click.echo(line))
    click.echo(f"{found.whole} whole, {found.restored} restored, {len(found.lost)} lost.")
    if found.lost:
        words.lost_files(folder, found.lost)
        sys.exit(1)


@cli.command(short_help="Cancel what is still in RunComfy's queue.")
@click.argument("batch")
@reaching
def cancel(batch: str, base_url: str | None, media_hosts: tuple[str, ...]) -> None:
    """Cancel what BATCH has in RunComfy's queue.

    A request that is in progress cannot be cancelled; the next run collects it. A batch made with
    --sandbox cancels there.

    \b
    Examples:
        batchgen cancel out/list
    \b
    Exit codes:
        0    asked for every request in flight
        2    there is no such batch
        69   RunComfy could not be reached
        75   a run holds the batch: interrupt that first
        77   the token is missing or was refused
    """
    from batchgen import upkeep

    folder = find_batch(batch)
    flags = _flags({"base_url": base_url, "media_hosts": media_hosts})
    done = upkeep.cancel(folder, flags)
    click.echo(
        f"{done.cancelled} cancelled, {done.running} already in progress,"
        f" {done.unclear} without a clear answer."
    )
    if done.unclear:
        sys.exit(69)


@cli.command(short_help="Write the report again from the journal.")
@click.argument("batch")
def report(batch: str) -> None:
    """Write results.csv, results.jsonl, summary.json and the gallery of BATCH again.

    They are made from the journal alone; nothing is sent.

    \b
    Examples:
        batchgen report out/list
    \b
    Exit codes:
        0    written
        2    there is no such batch
        74   its journal is damaged, or the disk is full
    """
    from batchgen import report as reports

    folder = find_batch(batch)
    reports.write(folder)
    click.echo(folder.path / "report" / "index.html")


@cli.group(cls=Commands, short_help="List, show and fetch model schemas.")
def models() -> None:
    """List, show and fetch the schemas that rows are checked against."""


@models.command("list")
@click.option("--search", default="", help="Only models with this in their name.")
@click.option("--online", is_flag=True, help="Ask RunComfy's catalogue; needs a token.")
@reaching
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
    from batchgen import upkeep

    for line in upkeep.list_models(search, _flags(given) if online else None):
        click.echo(line)


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
    from batchgen import words
    from batchgen.models import Models

    kept = find_batch(batch).schemas if batch else None
    words.model(model, Models(model, None, kept, None).validator(model))


@models.command("fetch")
@click.argument("model")
@click.option("-o", "--out", type=FILE, help="The file to write.  [default: <model>.json]")
@reaching
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
    from batchgen import upkeep

    click.echo(upkeep.fetch_model(model, out, _flags(given)))


cli.add_command(sandbox)


def _tell_plan(flags: "Flags", manifest: str, as_json: bool) -> None:
    import json

    from batchgen import wiring, words

    with closing(words.Problems()) as problems:
        tell = (lambda step: None) if as_json else words.step
        whole, rate = wiring.plan(flags, manifest, problems.show, tell)
    if as_json:
        told = {**whole.as_json(), "seconds": round(whole.seconds(rate), 1)}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        words.plan(whole, rate)


def find_batch(text: str) -> "Folder":
    """The folder that BATCH means: itself, or a manifest's default folder. Raises UsageError."""
    from batchgen.config import default_out
    from batchgen.folder import Folder

    for path in (Path(text), default_out(text)):
        if (path / "batch.db").exists():
            return Folder(path)
    raise UsageError(
        f"There is no batch in {text}, nor in {default_out(text)}.",
        "Name an output folder, or a manifest that was run from this folder.",
    )


def _flags(given: dict[str, Any]) -> "Flags":
    from batchgen.config import Flags

    return Flags(**given)


def _print_summary(folder: "Folder") -> None:
    import json

    from batchgen.reading import Reader, summary

    reader = Reader(folder.journal)
    try:
        click.echo(json.dumps(summary(reader), indent=2, ensure_ascii=False))
    finally:
        reader.close()


def main() -> None:
    """Run the command line: every error of ours becomes words and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Prompts are UTF-8 whatever LANG says.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except BatchgenError as error:
        from batchgen import words

        words.error(error)
        code = error.exit_code
    except OSError as error:
        click.echo(f"{error.filename or 'the disk'}: {error.strerror or error}.", err=True)
        code = 74
    sys.exit(code)
