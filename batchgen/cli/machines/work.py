"""`work`: join the machines that work through a batch, where its list is not at hand."""

import sys
from typing import Any

import click

from batchgen.cli.options import (
    BATCH,
    MEDIA,
    OUT,
    SERVICE,
    SHARED,
    SectionedCommand,
    database_said,
    given_options,
    section,
)
from batchgen.cli.run import (
    LIMITS,
    MAX_TIME,
    QUIET,
    UNTIL,
    VERBOSE,
    YES,
    frontend_of_run,
    rate_option,
)


@click.command(cls=SectionedCommand, short_help="Join a batch in a database, without its list.")
@BATCH
@section(
    "What to run",
    click.option(
        "--limit", type=click.IntRange(0), metavar="N", help="Submit at most N rows in this run."
    ),
)
@section(
    "Pace",
    rate_option(help="Highest submission rate.  [default: that of the list's run]"),
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        metavar="N",
        help="Most requests in progress at once, from here.  [default: that of the list's run]",
    ),
)
@LIMITS
@section("Money", YES)
@section("Time", MAX_TIME, UNTIL)
@OUT
@MEDIA
@SHARED
@section("Output", QUIET, VERBOSE)
@SERVICE
def work(batch: str, **given: Any) -> None:
    """Work through BATCH beside other machines. BATCH is its name in the database, or its list.

    The rows are those that a `run` with the list has read in, also one that has ended. Its rate,
    limits of cost, prices and files hold here too, unless an option says else. Rows that send local
    files are left to machines that have them.

    \b
    Examples:
        batchgen work spring --journal postgresql://batchgen@db.example/batches
        batchgen work spring --media s3://studio-media/spring --until 07:00

    \b
    Exit codes:
        0    every row is saved or written off
        1    finished, but some rows failed, are invalid or unknown
        2    wrong option or argument, or no such batch
        69   RunComfy could not be reached
        74   the journal or the disk is damaged; nothing was sent
        75   stopped early, or other machines have the rows that are left: run it again to go on
        77   the token is missing or was refused
        129, 130, 143   interrupted by SIGHUP, SIGINT, SIGTERM: run it again to go on
    """
    from batchgen.library.run import run

    flags = given_options()
    flags = {name: value for name, value in flags.items() if name != "batch"}
    if (database := database_said()) is not None:
        flags["journal"] = database
    shown = frontend_of_run(quiet=flags.get("quiet", False), joins=True)
    sys.exit(run(batch, check=False, frontend=shown, **flags).code)
