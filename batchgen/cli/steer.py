"""The commands that steer a run under way: pause, resume, set."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from batchgen.cli.options import BATCH, JSON, SHARED, find_batch, runtime
from batchgen.core.assignments import read_assignments
from batchgen.errors import UsageError

if TYPE_CHECKING:
    from batchgen.batch_folder import Folder
    from batchgen.operations.steer import Steered


@click.command(short_help="Submit nothing more until `resume`, also in the next runs.")
@BATCH
@JSON
@SHARED
def pause(batch: str, as_json: bool, **given: Any) -> None:
    """Submit nothing more of BATCH until `batchgen resume`.

    A run under way goes on asking about what was sent, and downloads it; it waits for `resume`. If
    it ends meanwhile, or none goes on, the next run collects what was sent, submits nothing and
    ends with 75.

    \b
    Examples:
        batchgen pause out/list
        batchgen pause list.csv

    \b
    Exit codes:
        0    paused, by the run under way within two seconds
        2    there is no such batch
        74   its journal is damaged
        75   the run has not taken it yet, and does so as soon as it can; or the journal was
             locked or away, and nothing was asked
    """
    from batchgen.operations.steer import pause

    folder = find_batch(batch)
    _tell(folder, pause(folder, runtime().timing), _paused, as_json=as_json)


@click.command(short_help="Go on after `pause`.")
@BATCH
@JSON
@SHARED
def resume(batch: str, as_json: bool, **given: Any) -> None:
    """Take a pause of BATCH back: the run under way, or the next one, submits again.

    \b
    Examples:
        batchgen resume out/list

    \b
    Exit codes:
        0    not paused any more
        2    there is no such batch
        74   its journal is damaged
        75   the run has not taken it yet, and does so as soon as it can; or the journal was
             locked or away, and nothing was asked
    """
    from batchgen.operations.steer import resume

    folder = find_batch(batch)
    _tell(folder, resume(folder, runtime().timing), _resumed, as_json=as_json)


@click.command("set", short_help="Change rate, concurrency, cost limit or end of a run under way.")
@BATCH
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option("--keep", is_flag=True, help="Let it hold for later runs of this batch too.")
@JSON
@SHARED
def set_(batch: str, settings: tuple[str, ...], keep: bool, as_json: bool, **given: Any) -> None:
    """Change what the run under way in BATCH keeps to, within two seconds.

    NAME is rate, concurrency, max-cost or until; each VALUE is written as for `run`, or is
    `default` for what the command line or the list says. It holds for this run only. With --keep it
    holds for later runs too, as far as it does not loosen an option that they are given, or any
    limit of cost.

    \b
    Examples:
        batchgen set out/list rate=20/m
        batchgen set out/list concurrency=8 max-cost=30 until=06:00
        batchgen set out/list rate=20/m --keep
        batchgen set out/list rate=default --keep

    \b
    Exit codes:
        0    set
        2    wrong name or value, no such batch, or no run goes on in it; nothing was changed
        74   its journal is damaged
        75   the run has not taken it yet, and does so as soon as it can; or the journal was
             locked or away, and nothing was asked
    """
    from batchgen.operations.steer import change

    try:
        asked = read_assignments(settings)
    except ValueError as error:
        raise UsageError(f"{error} Nothing was changed.") from None
    folder = find_batch(batch)
    _tell(folder, change(folder, asked, runtime().timing, keep=keep), _set, as_json=as_json)


def _tell(
    folder: "Folder", found: "Steered", say: "Callable[[Folder, Steered], None]", *, as_json: bool
) -> None:
    """Print what came of a command; leave with 75 where the run has not taken it."""
    from batchgen.cli import output

    pending = bool(found.holder) and not found.answers
    if as_json:
        output.as_json(
            {
                "batch": str(folder.path),
                "run": found.holder or None,
                "taken": not pending,
                "answers": [{"event": one.event, "detail": one.detail} for one in found.answers],
                "paused_since": found.paused_since or None,
                "kept": dict(found.kept),
            }
        )
    elif pending:
        output.line(f"{found.holder} holds the batch and has not taken it yet.")
    else:
        say(folder, found)
    if pending:
        click.get_current_context().exit(75)


def _paused(folder: "Folder", found: "Steered") -> None:
    from batchgen.cli import output
    from batchgen.clock import from_iso, show_time
    from batchgen.report.next_steps import command

    if found.holder:
        output.line("Paused: nothing more is submitted; what was sent is still collected.")
    else:
        since = show_time(from_iso(found.paused_since))
        output.line(f"Paused since {since}: the next run submits nothing and ends with 75.")
    output.line(f"To go on: {command('resume', str(folder.path))}")


def _resumed(folder: "Folder", found: "Steered") -> None:
    from batchgen.cli import output

    output.line("Resumed." if found.holder else "Not paused: the next run submits.")


def _set(folder: "Folder", found: "Steered") -> None:
    from batchgen.cli import output
    from batchgen.core.assignments import in_words

    for answer in found.answers:
        output.line(answer.detail)
    if found.kept:
        output.line(f"Kept for later runs: {in_words(found.kept)}.")
    elif not found.holder:
        output.line("Nothing is kept for later runs.")
