"""The commands about lists that run by themselves, every night."""

import os
import sys
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchgen.cli.options import CLOCK, DAYS, DURATION, JSON, MANIFEST, Commands
from batchgen.cli.run import run
from batchgen.core.text import shell_quote

if TYPE_CHECKING:
    from batchgen.core.timetable import Timetable
    from batchgen.schedule.entry import Entry
    from batchgen.schedule.schedules import Health


@click.group(cls=Commands, short_help="Run a list every night, by systemd or cron.")
def schedule() -> None:
    """Run a list by itself, every night: by a timer of your systemd, else by your crontab.

    Lines of your crontab that batchgen did not write stay as they are. The token is the one that
    `batchgen login` stored; no line and no unit holds it.

    \b
    Examples:
        batchgen schedule install list.csv --at 01:30 --until 07:00
        batchgen schedule check

    `batchgen schedule install --help` tells its options, and each command its exit codes.
    """


@schedule.command("install")
@MANIFEST
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN OPTIONS]")
@click.option("--at", type=CLOCK, required=True, metavar="01:30", help="Start at this local time.")
@click.option("--days", type=DAYS, metavar="mon-fri", help="Start on these days.  [default: daily]")
@click.option(
    "--until",
    type=CLOCK,
    metavar="07:00",
    help="Stop submitting at this time; a start that comes later, as of a computer that slept,"
    " sends nothing until the next night.",
)
@click.option("--name", help="Name of the schedule.  [default: that of the file]")
@click.option(
    "--by",
    type=click.Choice(["systemd", "cron"]),
    help="What starts it.  [default: systemd where you have one, else cron]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be written; change nothing.")
@JSON
def install(
    manifest: str,
    run_options: tuple[str, ...],
    at: time,
    days: frozenset[int] | None,
    until: time | None,
    name: str | None,
    by: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run MANIFEST by itself from now on, from the current folder, as `batchgen run` would.

    What follows `--` are options of `run`. A schedule of the same list and name is replaced. The
    run prints nothing unless you have to act; cron mails that, systemd keeps it in its journal.

    \b
    Examples:
        batchgen schedule install list.csv --at 01:30 --until 07:00
        batchgen schedule install list.csv --at 22:00 --days mon-fri -- --max-cost 20

    \b
    Exit codes:
        0    installed
        1    crontab or systemctl refused
        2    wrong option, there is no such list, or another list has that name
        74   what is kept of a schedule cannot be read
    """
    from batchgen.cli import output
    from batchgen.configuration.file import read_configuration
    from batchgen.core.timetable import EVERY_DAY, Timetable
    from batchgen.schedule import schedules, system
    from batchgen.schedule.entry import Entry, carried, check_name, check_words, name_of

    path = schedules.check_manifest(manifest)
    with run.make_context("batchgen run", [path, *run_options]) as context:
        out: Path | None = context.params["out"] or None  # not an empty text
        _refuse_secrets(context.params)
        timetable = Timetable(at, EVERY_DAY if days is None else days, until)
        _refuse_idle_nights(context.params, timetable)
    own = read_configuration(os.environ).of_run
    there, left_out = carried(os.environ, system.account_home())
    entry = Entry(
        name=check_name(name or name_of(path)),
        manifest=path,
        folder=os.getcwd(),  # noqa: PTH109
        timetable=timetable,
        by=by or ("systemd" if system.has_systemd() else "cron"),
        program=_program(),
        since=datetime.now(),
        options=run_options,
        out=None if out is None else str(out.absolute()),
        environment=there,
        limited={"max_cost_per_day", "max_cost_per_month"} & own.keys() != set(),
    )
    if dry_run:
        check_words(entry)
    else:
        schedules.install(entry)
    if as_json:
        files = {str(place): text for place, text in schedules.files(entry).items()}
        output.as_json(_as_json(entry) | {"installed": not dry_run, "files": files})
    elif dry_run:
        _show_files(entry)
    else:
        output.note(f"{path} runs {entry.timetable.describe()}, by {entry.by}.")
        output.note(f"Next start: {entry.timetable.next_start(entry.since):%a %Y-%m-%d %H:%M}.")
        output.note(f"See it with: batchgen schedule show {entry.name}")
    _warn(entry, left_out)


@schedule.command("list")
@JSON
def schedule_list(as_json: bool) -> None:
    """List what is scheduled: a line for each, with its times, its next start and its list.

    \b
    Examples:
        batchgen schedule list

    \b
    Exit codes:
        0    listed
        74   what is kept of a schedule cannot be read
    """
    from batchgen.cli import output
    from batchgen.log import write_stderr
    from batchgen.schedule import schedules

    now, entries = datetime.now(), schedules.entries()
    if as_json:
        output.as_json([_as_json(entry) for entry in entries])
        return
    if not entries:
        write_stderr("Nothing is scheduled.")
    for entry in entries:
        when = entry.timetable
        output.line(
            f"{entry.name}  {when.describe()}  next {when.next_start(now):%a %Y-%m-%d %H:%M}"
            f"  by {entry.by}  {entry.manifest}"
        )


@schedule.command("show")
@click.argument("name")
@JSON
def schedule_show(name: str, as_json: bool) -> None:
    """Show the schedule NAME, or that of a list: its lines, its log, its environment.

    Nothing is changed.

    \b
    Examples:
        batchgen schedule show list

    \b
    Exit codes:
        0    shown
        2    there is no such schedule
        74   what is kept of a schedule cannot be read
    """
    from batchgen.cli import output
    from batchgen.schedule import schedules

    entry = schedules.find(name)
    log = schedules.log_of(entry)
    if as_json:
        files = {str(place): text for place, text in schedules.files(entry).items()}
        more = {"files": files, "log": log and str(log), "environment": dict(entry.environment)}
        output.as_json(_as_json(entry) | more)
        return
    _show_files(entry)
    output.line(f"log: {log or 'none yet; batchgen.log in the output folder'}")
    if entry.by == "systemd":
        output.line(f"output: journalctl --user -u batchgen-{entry.name}")
    else:
        output.line("output: in the mail that cron sends")
    output.line(f"environment: {_environment(entry)}")
    output.line(f"next start: {entry.timetable.next_start(datetime.now()):%a %Y-%m-%d %H:%M}")


@schedule.command("check")
@click.argument("name", required=False)
@click.option(
    "--grace",
    type=DURATION,
    default="15m",
    metavar="15m",
    help="How late a start may be.  [default: 15m]",
)
@JSON
def schedule_check(name: str | None, grace: float, as_json: bool) -> None:
    """Tell whether the runs of all schedules, or of NAME, began when they were due. For monitors.

    A run that was due and did not begin is told, and a schedule that is gone from the crontab or
    from systemd. How a run ended is told by `batchgen status`.

    \b
    Examples:
        batchgen schedule check
        batchgen schedule check list --grace 2h

    \b
    Exit codes:
        0    every run began when it was due, or none was due yet
        1    one did not, or its schedule is gone
        2    there is no such schedule, or none at all
        74   what is kept of a schedule cannot be read
    """
    from batchgen.cli import output
    from batchgen.errors import UsageError
    from batchgen.schedule import schedules

    chosen = [schedules.find(name)] if name else schedules.entries()
    if not chosen:
        raise UsageError("Nothing is scheduled.", "See batchgen schedule install --help")
    now, slack = datetime.now(), timedelta(seconds=grace)
    found = [schedules.look_after(entry, now, slack) for entry in chosen]
    if as_json:
        output.as_json([_health_as_json(health) for health in found])
    for health in () if as_json else found:
        _show_health(health)
    sys.exit(1 if any(health.wrong for health in found) else 0)


@schedule.command("remove")
@click.argument("name")
@JSON
def schedule_remove(name: str, as_json: bool) -> None:
    """Remove the schedule NAME, or that of a list. A run that is under way goes on.

    \b
    Examples:
        batchgen schedule remove list

    \b
    Exit codes:
        0    removed
        1    crontab or systemctl refused
        2    there is no such schedule
        74   what is kept of a schedule cannot be read
    """
    from batchgen.cli import output
    from batchgen.schedule import schedules

    entry = schedules.find(name)
    schedules.remove(entry)
    if as_json:
        output.as_json({"name": entry.name, "manifest": entry.manifest})
    else:
        output.note(f"{entry.manifest} no longer runs by itself.")


def _as_json(entry: "Entry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "manifest": entry.manifest,
        "folder": entry.folder,
        "by": entry.by,
        "when": entry.timetable.describe(),
        "next_start": entry.timetable.next_start(datetime.now()).isoformat(timespec="minutes"),
        "command": entry.command(),
    }


def _health_as_json(health: "Health") -> dict[str, Any]:
    return {
        "name": health.entry.name,
        "manifest": health.entry.manifest,
        "wrong": health.wrong or None,
        "began": health.began and health.began.isoformat(timespec="seconds"),
        "next_start": health.next_start.isoformat(timespec="minutes"),
    }


def _refuse_secrets(options: Mapping[str, Any]) -> None:
    """Raise UsageError for an option of a run that no line and no unit may hold."""
    from batchgen.errors import UsageError

    named = [f"--{name}" for name in ("ping", "notify") if options[name]]
    if named:
        raise UsageError(
            f"{' and '.join(named)} cannot stand in a schedule: lists of processes would show the"
            " address, which is a secret. Nothing was installed.",
            "Write it into your configuration, where each run finds it:\n"
            'nano "$(batchgen config path)"',
        )


def _refuse_idle_nights(options: Mapping[str, Any], timetable: "Timetable") -> None:
    """Raise UsageError for options of a run by which no night would send anything."""
    from batchgen.errors import UsageError

    window: Timetable | None = options["window"]
    start = timetable.next_start(datetime.now())
    if options["dry_run"]:
        what, remedy = "--dry-run sends nothing, so no night would.", "Leave it out after `--`."
    elif window is not None and timetable.until is not None:
        what = "--until of the schedule and --window of its runs say the same twice."
        remedy = "Leave one of them out."
    elif window is not None and window.window_end(start) is None:
        what = f"A run at {timetable.at:%H:%M} is outside of its window {window.window()}."
        remedy = "Begin within the window, or leave --window out."
    else:
        return
    raise UsageError(f"{what} Nothing was installed.", remedy)


def _program() -> tuple[str, ...]:
    """Return the words that start this batchgen, whatever PATH there is."""
    script = Path(sys.executable).with_name("batchgen")
    if os.access(script, os.X_OK) and "PYTHONPATH" not in os.environ:
        return (str(script),)
    # -P: not with what lies in the folder of the lists.
    return (sys.executable, "-P", "-m", "batchgen")


def _show_files(entry: "Entry") -> None:
    from batchgen.cli import output
    from batchgen.schedule import schedules

    for place, text in schedules.files(entry).items():
        output.line(f"{place}:")
        for line in text.splitlines():
            output.line(f"  {line}")


def _environment(entry: "Entry") -> str:
    words = [f"{name}={shell_quote(value)}" for name, value in entry.environment.items()]
    return " ".join(words) or f"nothing but what {entry.by} gives"


def _show_health(health: "Health") -> None:
    from batchgen.cli import output

    began = f"last run {health.began:%Y-%m-%d %H:%M}" if health.began else "no run yet"
    said = health.wrong or f"{began}, next {health.next_start:%a %Y-%m-%d %H:%M}"
    output.line(f"{health.entry.name}: {said} ({health.entry.manifest})")


def _warn(entry: "Entry", left_out: list[str]) -> None:
    """Tell what keeps the first night from going well."""
    from batchgen.api.credentials import find_token
    from batchgen.core.addresses import ADDRESS_VARIABLES
    from batchgen.errors import TokenRefused
    from batchgen.log import write_stderr
    from batchgen.schedule import system

    for name in left_out:
        write_stderr(f"{name} is not given to the run: it may hold a secret.")
        if name in ADDRESS_VARIABLES.values():
            write_stderr("  Write it into your configuration: batchgen config path")
    if not entry.is_rehearsal():
        try:
            find_token({"HOME": system.account_home(), **entry.environment})
        except TokenRefused as error:
            write_stderr(f"The run will not start: {error.what}")
            write_stderr("  Store it: batchgen login")
    if entry.by == "systemd" and not system.lingers():
        write_stderr(
            "systemd starts it only while you are logged in. For every night:"
            " loginctl enable-linger"
        )
    if entry.by == "cron" and system.cron_runs() is False:
        write_stderr("No cron daemon runs on this computer, so nothing will start.")
