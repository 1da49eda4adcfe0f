"""`batchgen doctor`: whether tonight's run will go well."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from batchgen.cli import completion, manners
from batchgen.cli.options import given_options, runtime
from batchgen.cli.run import run

if TYPE_CHECKING:
    from batchgen.doctor.finding import Finding


@click.command(short_help="Tell whether tonight's run will go well; nothing is sent.")
@click.argument("manifest", required=False, shell_complete=completion.manifest)
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN OPTIONS]")
@click.option(
    "--as-scheduled",
    is_flag=True,
    help="Look from the folder, with the options and in the environment that the schedule of"
    " MANIFEST gives its run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    manifest: str | None, run_options: tuple[str, ...], as_scheduled: bool, as_json: bool
) -> None:
    """Look at all that a run of MANIFEST needs, and tell what would keep it from going well.

    That is: settings, who is told, token, service, clock, folder, lock, journal, receipts, the list
    itself, its prices, limit of cost, room on the disk, balance, schedule. Each is told as ok, warn
    or fail, with what to do about it. Nothing is paid for, and nothing in the batch changes. What
    follows `--` are options of `run`. Without MANIFEST all that needs no list is looked at.

    \b
    Examples:
        batchgen doctor list.csv
        batchgen doctor list.csv -- --max-cost 20 --out /mnt/disk/list
        batchgen doctor list.csv --as-scheduled
        batchgen doctor --json

    \b
    Exit codes:
        0    nothing that would keep the run from going well; there may be warnings
        1    something else is wrong
        2    wrong option, there is no such list, or --as-scheduled and no schedule
        69   RunComfy could not be reached
        77   the token is missing or was refused
    """
    from batchgen.cli import output
    from batchgen.doctor.examine import Examination, impatient
    from batchgen.doctor.finding import Status, exit_code
    from batchgen.schedule import schedules

    if as_scheduled:
        if run_options:
            raise click.UsageError("--as-scheduled has the options of the schedule: give no other.")
        sys.exit(_as_scheduled(manifest, as_json))
    flags = {}
    if manifest is not None:
        schedules.check_manifest(manifest)
        with run.make_context("batchgen run", [manifest, *run_options]) as context:
            flags = given_options(context)
    around = runtime()
    examination = Examination(flags, manifest, around.clock, impatient(around.timing))
    found = [*_shown(examination.findings(), silent=as_json)]
    code = exit_code(found)
    if as_json:
        output.as_json({"findings": [one.as_json() for one in found], "exit_code": code})
    else:
        faults = sum(one.status is Status.FAIL for one in found)
        warnings = sum(one.status is Status.WARN for one in found)
        output.note(f"{faults} failed, {warnings} to look at. Nothing was sent.")
    sys.exit(code)


def _shown(findings: "Iterator[Finding]", *, silent: bool) -> "Iterator[Finding]":
    """Print each as it is found."""
    from batchgen.cli import output
    from batchgen.doctor.finding import Status

    for one in findings:
        if not silent and not (manners.is_quiet() and one.status is Status.OK):
            output.state_line("", f"{one.status:4}", f"  {one.check:8}  {one.said}")
            for line in one.remedy.splitlines():
                output.line(f"                {line}")
        yield one


def _as_scheduled(manifest: str | None, as_json: bool) -> int:
    """Run this command as the schedule of a list would run it; return its exit code."""
    from batchgen.errors import UsageError
    from batchgen.schedule import schedules, system

    if manifest is None:
        raise UsageError(
            "--as-scheduled is about the schedule of one list.",
            "Name it: batchgen doctor list.csv --as-scheduled",
        )
    entry = schedules.find(manifest)
    words = [*entry.program, "doctor", entry.manifest, *(["--json"] if as_json else [])]
    words += ["--quiet"] if manners.is_quiet() else []
    return system.run_in(
        entry.folder, [*words, "--", *entry.options], schedules.environment_of(entry)
    )
