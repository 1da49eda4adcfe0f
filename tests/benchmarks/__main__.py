"""`python -m tests.benchmarks`: the command line of the benchmarks."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from . import compare as comparing
from .budget import PACES, budget, budget_table
from .contenders import CONTENDERS
from .gallery import ROWS as GALLERY_ROWS
from .gallery import gallery, gallery_table
from .growth import (
    AT_ONCE,
    FORMATS,
    IN_FLIGHT,
    IN_FLIGHT_S,
    WITH_FILES,
    crowded,
    grown,
    growth_table,
    in_flight,
)
from .growth import ROWS as GROWTH_ROWS
from .limits import LONG, limits, limits_table
from .races import faults, race, sandbox_alone
from .reading import SIZE, reading, reading_table
from .scenarios import SCENARIOS, chosen
from .simulation import MEANS, SPREADS, frontier, frontier_table
from .startup import FEW_ROWS, start_up_table, start_ups
from .startup import ROWS as START_UP_ROWS
from .table import keep, place, scenario_table
from .waiting import waiting, waiting_table

QUICK = 0.05  # share of the rows
JSON = click.option("--json", "file", type=click.Path(path_type=Path), help="Keep all figures.")
QUICK_OPTION = click.option("--quick", is_flag=True, help="Small sizes, to try it out.")
say = partial(click.echo, err=True)


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1), default=3, help="In turn; medians are told.")
@click.option("--scenario", "names", multiple=True, type=click.Choice([s.name for s in SCENARIOS]))
@click.option(
    "--contender", "who", multiple=True, type=click.Choice([one.name for one in CONTENDERS])
)
@click.option("--rows", type=click.IntRange(1), help="So many in every scenario.")
@QUICK_OPTION
@JSON
@click.pass_context
def benchmarks(
    context: click.Context,
    rounds: int,
    names: tuple[str, ...],
    who: tuple[str, ...],
    rows: int | None,
    quick: bool,
    file: Path | None,
) -> None:
    """Run every scenario against the sandbox, batchgen and the others in turn, and tell the table.

    Exits with 1 where a picture is not its row's, or a row is lost or paid twice that must not be.
    """
    if context.invoked_subcommand is not None:
        return
    click.echo(place())
    for one in CONTENDERS:
        if one.missing:
            click.echo(f"without {one.name}: {one.missing}")
    alone = sandbox_alone(rows or (200 if quick else 2000))
    click.echo(
        f"The sandbox alone: {alone['requests_per_second']:.0f} requests/s,"
        f" {alone['requests_per_cpu_second']:.0f} on a core of its own."
    )
    found: dict[str, Any] = {"sandbox": alone}
    wrong: list[str] = []
    for scenario in chosen(names, QUICK if quick else 1.0, rows):
        present = [c for c in CONTENDERS if c.takes_part(scenario) and (not who or c.name in who)]
        found[scenario.name] = race(scenario, present, 1 if quick else rounds, say)
        ideal = scenario.ideal()
        words = "" if ideal is None else f", ideal {ideal:.2f} s"
        click.echo(f"\n{scenario.name}: {scenario.rows} rows, {scenario.at_once} at once{words}")
        click.echo(scenario_table(found[scenario.name]))
        wrong += faults(scenario, found[scenario.name])
        keep(file, "scenarios", found)
    for line in wrong:
        say(f"WRONG: {line}")
    sys.exit(1 if wrong else 0)


@benchmarks.command()
@click.option("--rows", type=click.IntRange(10), multiple=True, default=GROWTH_ROWS)
@click.option("--format", "forms", multiple=True, default=FORMATS, type=click.Choice(FORMATS))
@click.option("--at-once", multiple=True, type=click.IntRange(1), default=AT_ONCE)
@click.option("--no-at-once", is_flag=True, help="Only the growing lists.")
@QUICK_OPTION
@JSON
def growth(
    rows: tuple[int, ...],
    forms: tuple[str, ...],
    at_once: tuple[int, ...],
    no_at_once: bool,
    quick: bool,
    file: Path | None,
) -> None:
    """Let lists grow to a million rows, and requests under way to 10,000; batchgen alone."""
    click.echo(place())
    found: dict[str, Any] = {}
    for n in (200, 1000) if quick else rows:
        for form in forms:
            found[f"{n} {form}"] = grown(n, form)
            say(f"{n} rows of {form}: done")
            keep(file, "growth", found)
    n = 200 if quick else WITH_FILES
    found[f"{n} csv, its files there"] = grown(n, "csv", with_files=True)
    keep(file, "growth", found)
    click.echo(growth_table(found))
    if no_at_once:
        return
    for n in (1, 40) if quick else at_once:
        found[f"{n} at once"] = crowded(n, 60 if quick else 1000)
        keep(file, "growth", found)
    n, seconds = (100, 0.2) if quick else (IN_FLIGHT, IN_FLIGHT_S)
    found[f"{n} for {seconds:g} s each, at once"] = in_flight(n, seconds)
    keep(file, "growth", found)
    crowds = {name: figures for name, figures in found.items() if name.endswith("at once")}
    click.echo("\n" + scenario_table(crowds))


@benchmarks.command()
@click.option("--requests", type=click.IntRange(100), default=4000, help="For each line.")
@QUICK_OPTION
@JSON
def polling(requests: int, quick: bool, file: Path | None) -> None:
    """Simulate when a request's end is seen, and after how many questions. No HTTP, no waiting."""
    found = {
        f"mean {mean:g} s, sigma {spread:g}": frontier(mean, spread, 400 if quick else requests)
        for mean in MEANS
        for spread in SPREADS
    }
    for name, schedules in found.items():
        click.echo(f"\n{name}")
        click.echo(frontier_table(schedules))
    keep(file, "polling", found)


@benchmarks.command("limits")
@QUICK_OPTION
@JSON
def limits_command(quick: bool, file: Path | None) -> None:
    """Simulate the limiter beside APIs that allow less than was told. No HTTP, no waiting."""
    found = limits(600.0 if quick else LONG)
    click.echo(limits_table(found))
    keep(file, "limits", found)


@benchmarks.command("budget")
@QUICK_OPTION
@JSON
def budget_command(quick: bool, file: Path | None) -> None:
    """Say what a row's CPU is spent on, in a rush and at 20 rows a second; batchgen alone."""
    click.echo(place())
    paces = [replace(one, rows=20) for one in PACES] if quick else PACES
    found = {one.name: budget(one) for one in paces}
    click.echo(budget_table(found))
    keep(file, "budget", found)


@benchmarks.command("reading")
@QUICK_OPTION
@JSON
def reading_command(quick: bool, file: Path | None) -> None:
    """What 10 MB of the shortest rows take to be read and checked, by their form."""
    click.echo(place())
    found = reading(SIZE // 100 if quick else SIZE)
    click.echo(reading_table(found))
    keep(file, "reading", found)


@benchmarks.command()
@click.option("--times", type=click.IntRange(1), default=10, help="Medians are told.")
@QUICK_OPTION
@JSON
def startup(times: int, quick: bool, file: Path | None) -> None:
    """How long short commands take, and a run to its first POST, as multiples of `python`."""
    click.echo(place())
    found = start_ups(times, FEW_ROWS if quick else START_UP_ROWS)
    click.echo(start_up_table(found))
    keep(file, "startup", found)


@benchmarks.command("gallery")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Visits; medians are told.")
@QUICK_OPTION
@JSON
def gallery_command(rounds: int, quick: bool, file: Path | None) -> None:
    """How fast the gallery answers in Chromium, by its number of rows."""
    click.echo(place())
    found = gallery(GALLERY_ROWS[:1] if quick else GALLERY_ROWS, 1 if quick else rounds)
    click.echo(gallery_table(found))
    keep(file, "gallery", found)


@benchmarks.command("claims")
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=10.0, help="Each is measured so long."
)
@JSON
def claims_command(seconds: float, file: Path | None) -> None:
    """Count the claims a second, in a file and in a database. Needs `test-anywhere`."""
    from .claims import claims, claims_table

    click.echo(place())
    found = claims(seconds)
    click.echo(claims_table(found))
    keep(file, "claims", found)


@benchmarks.command("waiting")
@click.option("--seconds", type=click.FloatRange(1), default=60.0, help="So long it is watched.")
@JSON
def waiting_command(seconds: float, file: Path | None) -> None:
    """Count the wake-ups of a run that was told to come back in an hour. Linux alone."""
    click.echo(place())
    found = waiting(seconds)
    click.echo(waiting_table(found))
    keep(file, "waiting", found)


@benchmarks.command()
@click.argument("first", type=click.File(encoding="utf-8"))
@click.argument("second", type=click.File(encoding="utf-8"))
def compare(first: Any, second: Any) -> None:
    """Print the ratios between the figures of two commits, and what got worse."""
    click.echo(comparing.compared(json.load(first), json.load(second)))
    click.echo(comparing.WORDS)


if __name__ == "__main__":
    benchmarks(prog_name="python -m tests.benchmarks")
