"""The commands that read a manifest: run, validate, plan."""

import sys
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from batchgen.cli import manners
from batchgen.cli.options import (
    AMOUNT,
    CLOCK,
    DURATION,
    FILE,
    JOURNAL,
    JSON,
    MANIFEST,
    MEDIA,
    NEW_BATCH,
    NOTIFY,
    OUT,
    PING,
    PRICE,
    PRICE_PER_SECOND,
    RATE,
    READING,
    SERVICE,
    SHARED,
    TERMS,
    WINDOW,
    SectionedCommand,
    given_options,
    join_urls,
    limits_given,
    runtime,
    section,
)
from batchgen.core.text import plural
from batchgen.errors import BatchgenError, ManifestInvalid, StoppedEarly
from batchgen.log import use_json_lines, write_stderr

if TYPE_CHECKING:
    from batchgen.library.frontend import Frontend

amount_option = partial(click.option, type=AMOUNT, metavar="USD")
rate_option = partial(click.option, "--rate", type=RATE, metavar="N/s|m|h|d")
# What decides which rows a run sends, and what may be spent: what `plan` has to know as well.
SENDING = section(
    "What to run",
    click.option(
        "--limit", type=click.IntRange(0), metavar="N", help="Submit at most N rows in this run."
    ),
    click.option("--skip-invalid", is_flag=True, help="Leave out the rows that are not valid."),
    click.option("--retry-failed", is_flag=True, help="Submit failed rows again; paid again."),
    click.option(
        "--on-unknown",
        type=click.Choice(["hold", "resubmit"]),
        help="Rows that may have been billed without an answer: hold them until you settle them,"
        " or submit and perhaps pay them again.  [default: hold]",
    ),
)
# Options of `work`, too.
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
MAX_TIME = click.option(
    "--max-time",
    type=DURATION,
    metavar="6h",
    help="Stop submitting after this time; what is in flight is still collected.",
)
UNTIL = click.option(
    "--until",
    type=CLOCK,
    metavar="07:00",
    help="Stop submitting at this local time; what is in flight is still collected.",
)
QUIET = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    callback=manners.remember,
    help="Print nothing unless you have to act.",
)
VERBOSE = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    callback=manners.remember,
    help="Print every step of every row.",
)
LIMITS = section(
    "Money",
    amount_option("--max-cost", help="Never let the whole batch cost more than this."),
    amount_option("--max-cost-per-day", help="Most this list may cost per calendar day."),
    amount_option("--max-cost-per-month", help="Most this list may cost per calendar month."),
    PRICE,
    PRICE_PER_SECOND,
)


@click.command(cls=SectionedCommand, short_help="Submit what is missing, wait, download, report.")
@MANIFEST
@READING
@SENDING
@section(
    "What to run",
    click.option(
        "--new-list",
        is_flag=True,
        help="Use this list in a folder that belongs to another list; paid files stay.",
    ),
    click.option(
        "--allow-changed",
        is_flag=True,
        help="Pay for rows again that were paid for under other ids or before a journal was lost.",
    ),
    click.option("--dry-run", is_flag=True, help="Show what would be done, as `plan` does."),
)
@section(
    "Pace",
    rate_option(help="Highest submission rate.  [default: 60/m]"),
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        metavar="N",
        help="Most requests in progress at once.  [default: 16]",
    ),
)
@LIMITS
@section(
    "Money",
    click.option(
        "--expect-plan",
        type=TERMS,
        metavar="DIGEST",
        help="Do just what `plan --json` with this digest said, or nothing; asks nobody.",
    ),
    amount_option(
        "--ask-above",
        help="At a terminal, ask before a run that costs more.  [default: $BATCHGEN_ASK_ABOVE, else"
        " 25.00]",
    ),
    YES,
)
@section(
    "Time",
    MAX_TIME,
    UNTIL,
    click.option(
        "--window",
        type=WINDOW,
        metavar="01:30-07:00",
        help="Submit only between these local times, or mon-fri 22:00-06:00; started outside, do"
        " nothing.",
    ),
)
@OUT
@MEDIA
@SHARED
@JOURNAL
@NEW_BATCH
@section(
    "Files",
    click.option(
        "--no-provenance",
        "provenance",
        flag_value=False,
        help="Do not write prompt and settings into the pictures.",
    ),
    click.option("--sidecars", is_flag=True, help="Write them into a .json file beside each."),
    click.option(
        "--max-outputs",
        type=click.IntRange(1),
        metavar="N",
        help="Most files to fetch for a row.  [default: 100]",
    ),
    click.option(
        "--output-node",
        "output_nodes",
        multiple=True,
        metavar="NODE",
        help="Of a deployment, keep the outputs of this node only; repeatable.  [default: all]",
    ),
    click.option(
        "--no-thumbnails",
        "thumbnails",
        flag_value=False,
        help="Make no small pictures for the gallery; it loads the large ones.",
    ),
)
@section(
    "Output",
    QUIET,
    VERBOSE,
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout."),
    click.option(
        "--progress",
        type=click.Choice(["auto", "json"]),
        default="auto",
        help="With json, each line on stderr is a JSON object, of how far the run is at most one a"
        " second.  [default: auto: a bar at a terminal, else a line a minute]",
    ),
    click.option("--log-file", type=FILE, help="The log.  [default: batchgen.log in the folder]"),
)
@section(
    "Being told",
    click.option(
        "--ping",
        type=PING,
        metavar="URL",
        help="Tell a monitor that the run begins and how it ends: healthchecks.io, Uptime Kuma,"
        " Cronitor.  [default: $BATCHGEN_PING, else that of your configuration, which no list of"
        " processes shows]",
    ),
    click.option(
        "--notify",
        multiple=True,
        type=NOTIFY,
        callback=join_urls,
        metavar="URL",
        help="Send a message at the end, by mail, ntfy, Slack, Telegram, to the desktop, …;"
        " repeatable; needs the extra `notify`.  [default: $BATCHGEN_NOTIFY, else those of your"
        " configuration]",
    ),
    click.option("--no-ping", is_flag=True, help="Ping nobody, whatever is configured."),
    click.option("--no-notify", is_flag=True, help="Send no message, whatever is configured."),
    click.option(
        "--notify-when",
        type=click.Choice(["problems", "always"]),
        help="Send it when you have to know something new, as with -q, or after each run."
        "  [default: problems]",
    ),
    click.option(
        "--notify-pictures", is_flag=True, help="Send a sheet of the first pictures along."
    ),
    click.option(
        "--on-finish",
        metavar="COMMAND",
        help="Run this in a shell when the run has ended, with the summary as JSON on its standard"
        " input, for a minute at most.",
    ),
    click.option(
        "--allow-hooks",
        is_flag=True,
        help="Let the manifest say whom to tell, and what to run, as if you trusted its folder.",
    ),
)
@SERVICE
@section(
    "Service",
    click.option(
        "--sandbox", is_flag=True, help="Rehearse: no account, no cost, placeholder pictures."
    ),
)
def run(manifest: str, dry_run: bool, as_json: bool, progress: str, **given: Any) -> None:
    """Submit every row of MANIFEST that is not saved yet, and collect the pictures.

    Run it again to go on; a row that may have been billed is never sent again unasked. MANIFEST is
    CSV, TSV, JSON, JSONL, YAML, text, a folder of .txt files or of pictures, or - with --format.

    \b
    Examples:
        batchgen run list.csv
        batchgen run list.csv --rate 20/m --max-cost 15 --until 07:00
        batchgen run prompts.tsv --column prompt=Prompt --meta Category
        batchgen run photos/ --model MODEL --input image

    \b
    Exit codes:
        0    every row is saved or written off
        1    finished, but some rows failed, are invalid or unknown
        2    wrong option or argument
        65   the manifest is invalid; nothing was sent
        69   RunComfy could not be reached
        74   the journal or the disk is damaged; nothing was sent
        75   stopped early (limit, balance, another run): run it again to go on
        77   the token is missing or was refused
        129, 130, 143   interrupted by SIGHUP, SIGINT, SIGTERM: run it again to go on
    """
    from batchgen.cli import output
    from batchgen.cli.progress import write_json
    from batchgen.library.run import run

    use_json_lines(wanted=progress == "json")
    if dry_run:
        _print_plan(manifest, as_json)
        return
    flags = given_options()
    quiet = flags.get("quiet", False)
    in_json = progress == "json"
    with output.Problems(limits_given().problems, for_mail=quiet, as_json=as_json) as problems:
        shown = frontend_of_run(quiet=quiet, problem=problems.show)
        told = None
        if in_json:
            shown = replace(shown, progress=None)
            told = partial(write_json, clock=runtime().clock)
        try:
            result = run(manifest, on_progress=told, check=False, frontend=shown, **flags)
        except BatchgenError as error:
            if quiet:
                error.remedy = "\n".join([error.remedy, output.how_to_run_again()]).lstrip()
            raise
    code = result.code
    if as_json:
        try:
            output.as_json(result.batch.status())
        except (BatchgenError, OSError) as error:  # after something was sent, which 74 denies
            write_stderr(f"The summary cannot be read now: {error}")
            code = code if code > 1 else StoppedEarly.exit_code
    sys.exit(code)


def frontend_of_run(*, quiet: bool, **more: Any) -> "Frontend":
    """Return what shows a run at a terminal, with `more` of its fields."""
    from batchgen.cli import output
    from batchgen.cli.progress import Progress
    from batchgen.cli.terminal import ask
    from batchgen.library.frontend import Frontend

    around = runtime()
    return Frontend(
        progress=partial(Progress, quiet=quiet),
        ending=partial(output.after_run, quiet=quiet),
        ask=ask,
        program=output.program(),
        last=around.last,
        owns_process=True,
        clock=around.clock,
        timing=around.timing,
        **more,
    )


@click.command(short_help="Check every row; nothing is sent.")
@MANIFEST
@OUT
@READING
@click.option("--check-urls", is_flag=True, help="Check also the URLs in the rows.")
@JSON
@SERVICE
def validate(manifest: str, check_urls: bool, as_json: bool, **given: Any) -> None:
    """Check every row of MANIFEST against its model's schema; nothing is sent to RunComfy.

    All problems are shown at once, each with its file and line.

    With --check-urls, each URL that RunComfy would fetch is requested once, for its headers or its
    first byte, without your token. A URL that RunComfy cannot fetch is a problem: a private
    address, no such name, no valid certificate, 404, a login, a web page instead of a file. What
    may pass (no answer in time, 429, 5xx), or a file larger than RunComfy recommends, is a warning
    and does not change the exit code.

    \b
    Examples:
        batchgen validate list.csv
        batchgen validate clips.yaml --check-urls
        batchgen validate list.csv --model openai/gpt-image-2/text-to-image --schema gpt.json

    \b
    Exit codes:
        0    every row is valid
        2    there is no such file, or no schema for its model
        65   there are problems; nothing was sent
        69   no schema is here, and RunComfy could not be asked for it
        77   the same, and the token was refused
    """
    from batchgen.cli import output
    from batchgen.library.check import validate
    from batchgen.library.frontend import Frontend

    around, flags = runtime(), given_options()
    checked: dict[str, Any] = {"manifest": manifest, "valid": True, "rows": None, "urls": None}
    try:
        with output.Problems(limits_given().problems, as_json=as_json) as problems:
            found = validate(
                manifest,
                check_urls=check_urls,
                frontend=Frontend(problem=problems.show, owns_process=True, timing=around.timing),
                open_probe=around.open_probe,
                **flags,
            )
    except ManifestInvalid as error:
        if not as_json:
            raise
        # To find them is what the command is for, so they are its result and no error.
        told = output.problems_as_json(error.problems)
        wrong = {"problem_count": error.count, "problems": told}
        output.as_json(checked | {"valid": False} | wrong)
        sys.exit(error.exit_code)
    if as_json:
        checked |= {"rows": found.rows, "urls": found.urls and asdict(found.urls)}
        warnings = output.problems_as_json(found.warnings)
        output.as_json(checked | {"problem_count": 0, "problems": warnings})
        return
    urls = f" {found.urls}" if found.urls else ""
    output.note(f"{plural(found.rows, 'row')} in {manifest}, all valid.{urls}")


@click.command(cls=SectionedCommand, short_help="Show what a run would do; nothing is sent.")
@MANIFEST
@READING
@SENDING
@section("Pace", rate_option(help="Submission rate to reckon with.  [default: 60/m]"))
@LIMITS
@OUT
@JOURNAL
@NEW_BATCH
@JSON
@SERVICE
def plan(manifest: str, as_json: bool, **given: Any) -> None:
    """Show what `run MANIFEST` would do: which rows it would send, why, and what that costs.

    Each row that is not saved gets a line: new, changed (and which input), renamed, pending,
    failed, unknown, or no longer listed. Nothing is sent.

    With --json there are the totals, and a digest of what a run with the same options would do:
    its rows, what they cost, and the limits that hold. `run --expect-plan DIGEST` does just that,
    or nothing.

    \b
    Examples:
        batchgen plan list.csv
        batchgen plan list.csv --max-cost 20 --json | jq -r .digest

    \b
    Exit codes:
        0    plan printed
        2    there is no such file, or no schema for its model
        65   there are problems
        69   no schema is here, and RunComfy could not be asked for it
        77   the same, and the token was refused
    """
    _print_plan(manifest, as_json)


def _print_plan(manifest: str, as_json: bool) -> None:
    from batchgen.cli import output
    from batchgen.library.check import plan
    from batchgen.library.frontend import Frontend

    most = limits_given().problems
    with manners.paged(), output.Problems(most, as_json=as_json) as problems:
        show_row = (lambda row: None) if as_json else output.step
        frontend = Frontend(problem=problems.show, owns_process=True, timing=runtime().timing)
        whole = plan(manifest, on_row=show_row, frontend=frontend, **given_options())
        if as_json:
            output.as_json(whole.as_json())
        else:
            output.plan(whole)
