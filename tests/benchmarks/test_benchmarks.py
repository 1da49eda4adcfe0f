"""The benchmarks run to their table, and what they promise to notice they notice. Nothing timed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import ROOT

from benchmarks.__main__ import benchmarks
from benchmarks.compare import compared
from benchmarks.pictures import expected, look
from benchmarks.races import faults
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.simulation import Seen, best_possible, fixed, watched

TINY = Scenario("tiny", 2, picture_size=32)
GOOD = {"wrong": 0, "lost": 0, "paid_twice": 0, "saved": 1.0, "exit_code": 0}


def test_a_scenario_runs_to_its_table(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    words = ["--scenario", "overhead", "--contender", "batchgen"]
    more = ["--rows", "3", "--rounds", "1", "--json", str(file)]

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *words, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "The sandbox alone:" in done.stdout
    assert "overhead: 3 rows, 40 at once\n" in done.stdout
    assert "\nbatchgen  " in done.stdout
    found = json.loads(file.read_text())
    assert found["circumstances"]["python"]
    assert found["scenarios"]["overhead"]["batchgen"]["saved"] == 1
    assert found["scenarios"]["overhead"]["batchgen"]["polls"] >= 1


def test_a_picture_of_another_row_is_found(tmp_path: Path) -> None:
    prompts = TINY.prompts()
    first, second = prompts
    (tmp_path / f"{first}.png").write_bytes(expected(TINY, prompts[first]))
    (tmp_path / f"{second}.png").write_bytes(expected(TINY, prompts[first]))
    (tmp_path / "nobody.png").write_bytes(expected(TINY, prompts[second]))

    assert look(TINY, prompts, tmp_path) == ({first}, {second, "nobody"}, set())
    assert look(TINY, prompts, tmp_path / "absent") == (set(), set(), {first, second})


@pytest.mark.parametrize("what", ["wrong", "lost", "paid_twice"])
def test_what_must_not_be_fails_the_program(what: str) -> None:
    bad: dict[str, Any] = {"rounds": [GOOD, GOOD | {what: 1}]}
    troubled = replace(TINY, troubles=("lost",))

    assert faults(TINY, {"batchgen": {"rounds": [GOOD]}}) == []
    assert faults(TINY, {"httpx": bad}) == [f"tiny, httpx, round 2: 1 {what}"]
    assert faults(troubled, {"batchgen": bad}) == [f"tiny, batchgen, round 2: 1 {what}"]
    assert faults(troubled, {"httpx": bad}) == []


def test_a_picture_that_is_missing_without_trouble_fails_the_program() -> None:
    (said,) = faults(TINY, {"batchgen": {"rounds": [GOOD | {"saved": 0.5, "exit_code": 75}]}})

    assert said == "tiny, batchgen, round 1: 50.0% saved (exit code 75)"


def test_the_ideal_is_what_places_and_rate_leave() -> None:
    in_turn = Scenario("a", 10, seconds=2.0, slots=1)
    at_a_rate = Scenario("b", 11, seconds=0.5, slots=40, allowed=5.0)

    assert in_turn.ideal() == pytest.approx(20.0)
    assert at_a_rate.ideal() == pytest.approx(10 / 5 + 0.5)
    assert TINY.ideal() is None
    assert [one.name for one in SCENARIOS if one.ideal() is None] == [
        *("overhead", "bigmedia", "faulty")
    ]


def test_schedules_are_simulated_as_they_would_ask() -> None:
    assert watched(2.5, lambda age: 1.0) == Seen(polls=3, at=3.0, before=2.0)
    assert fixed([0.5, 2.5], 1.5, first=1.0, every=1.0) == (2.0, pytest.approx(0.5 / 1.5))

    few, many = best_possible(0.3, 0.1), best_possible(0.3, 0.01)
    assert few.polls < many.polls
    assert few.lag > many.lag


def test_two_commits_are_compared_by_their_ratios() -> None:
    first = {"circumstances": {"commit": "aaa"}, "startup": {"batchgen --help": 100.0}}
    second = {"circumstances": {"commit": "bbb"}, "startup": {"batchgen --help": 50.0}}

    heading, line, _ = compared(first, second).splitlines()

    assert heading.split() == ["aaa", "bbb", "ratio", "noise"]
    assert line.split()[-5:] == ["100.000", "50.000", "0.50", "–", "better"]


def rounds_of(name: str, *values: float) -> dict[str, Any]:
    return {"rush": {name: median(values), "rounds": [{name: one} for one in values]}}


@pytest.mark.parametrize(
    ("name", "first", "second", "said"),
    [
        ("cpu_ms", (4.0, 4.1, 4.2), (4.4, 4.5, 4.6), "worse"),
        ("cpu_ms", (3.0, 4.0, 5.0), (4.0, 4.5, 5.0), ""),  # no more than the rounds differ
        ("rows_per_second", (90.0, 91.0), (110.0, 111.0), "better"),
        ("rows_per_second", (110.0, 111.0), (90.0, 91.0), "worse"),
        ("ideal_seconds", (1.0, 1.0), (2.0, 2.0), ""),
    ],
)
def test_what_got_worse_is_told_where_it_is_more_than_the_noise(
    name: str, first: tuple[float, ...], second: tuple[float, ...], said: str
) -> None:
    _, line, last = compared(rounds_of(name, *first), rounds_of(name, *second)).splitlines()

    assert line.split()[6:] == [*filter(None, [said])]
    assert last.startswith("1 of 1 " if said == "worse" else "0 of 1 ")


@pytest.mark.parametrize("command", ["budget --quick", "startup --quick --times 1"])
def test_a_benchmark_of_batchgen_alone_comes_to_its_table(command: str) -> None:
    done = CliRunner().invoke(benchmarks, command, catch_exceptions=False)

    assert done.exit_code == 0, done.output
    said = {"budget": "\ntogether  ", "startup": "to its first POST  "}
    assert said[command.split()[0]] in done.stdout
