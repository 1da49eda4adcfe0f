"""Results that grow old are fetched before anything new is paid for; money that will not last is
said at the start.
"""

import json
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import NEVER_ASKING, PretendClock, change, query, states, table
from sandbox_client import Control

from batchgen.clock import Clock, from_iso, to_iso
from batchgen.core.expiry import DAY_S, expiry_warning, is_urgent


@pytest.mark.parametrize(
    ("days", "is_pressing"), [(0, False), (4.9, False), (5, True), (6.5, True), (30, True)]
)
def test_a_result_is_pressing_two_days_before_it_expires(days: float, is_pressing: bool) -> None:
    assert is_urgent(days * DAY_S) is is_pressing


def test_nothing_is_said_of_young_results() -> None:
    assert expiry_warning([]) == ""
    assert expiry_warning([0.0, 4 * DAY_S]) == ""


def test_the_warning_counts_the_old_ones_and_names_the_oldest() -> None:
    assert expiry_warning([DAY_S, 5.5 * DAY_S, 6 * DAY_S]).startswith(
        "2 rows submitted up to 6 days ago"
    )
    assert expiry_warning([6 * DAY_S]).startswith("1 row submitted up to 6 days ago")


def test_an_old_result_is_fetched_before_anything_new_is_submitted(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, write: Write
) -> None:
    sandbox.fault("media-500", times=5)
    run(write("list.csv", table({"old": "an old heron"})))
    assert states(folder) == {"old": "completed"}

    clock.ahead += 6 * DAY_S
    sandbox.fault("media-500", times=1)
    outcome = run(write("list.csv", table({"new": "a new heron", "old": "an old heron"})))

    ((saved_at,),) = query(folder, "SELECT saved_at FROM requests WHERE id = 'old'")
    ((submitted_at,),) = query(folder, "SELECT submitted_at FROM requests WHERE id = 'new'")
    assert saved_at < submitted_at
    assert "1 row submitted up to 6 days ago" in outcome.stderr


def test_an_old_result_whose_file_is_not_there_holds_up_nothing(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, write: Write
) -> None:
    sandbox.fault("media-404", times=None, match="old")
    run(write("list.csv", table({"old": "an old heron"})))
    assert states(folder) == {"old": "completed"}

    clock.ahead += 6 * DAY_S
    run(write("list.csv", table({"new": "a new heron", "old": "an old heron"})))

    ((started,),) = query(folder, "SELECT MAX(started_at) FROM runs")
    ((sent,),) = query(folder, "SELECT submitted_at FROM requests WHERE id = 'new'")
    assert states(folder) == {"old": "completed", "new": "saved"}
    assert from_iso(sent) - from_iso(started) < 200  # of the 300 s that the old one is waited for


@pytest.mark.parametrize("late", ["completed", "submitted"])
def test_status_counts_from_the_submission_until_when_results_are_kept(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    clock: PretendClock,
    write: Write,
    late: str,
) -> None:
    """And not from the moment at which a run heard that they are done, which may be days later."""
    if late == "completed":
        sandbox.fault("media-500", times=None)
        run(write("list.csv", table({"heron": "a heron"})))
    else:
        run(write("list.csv", table({"heron": "a heron"})), timing=NEVER_ASKING)
    assert states(folder) == {"heron": late}
    change(folder, "UPDATE requests SET submitted_at = ?", to_iso(Clock().now() - 4 * DAY_S))

    assert "results not fetched yet may expire from 3 d on" in batchgen("status", folder).stdout
    watched = json.loads(batchgen("status", folder, "--watch", "--until-done", "--json").stdout)
    assert 2.9 * DAY_S < watched["first_expires_in_seconds"] <= 3 * DAY_S

    change(folder, "UPDATE requests SET submitted_at = ?", to_iso(Clock().now() - 8 * DAY_S))
    assert "results not fetched yet may be gone already" in batchgen("status", folder).stdout


def test_status_is_not_alarmed_by_what_is_under_way(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron"})), timing=NEVER_ASKING)
    assert states(folder) == {"heron": "submitted"}

    assert "expire" not in batchgen("status", folder).stdout


def test_a_balance_that_will_not_last_is_said_at_the_start(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(balance=0.07)
    outcome = run(write("list.csv", table({"a": "one", "b": "two", "c": "three"})))

    assert "The balance is $0.07 and the pending rows cost about $0.09" in outcome.stderr
    assert outcome.code == 75
    assert sorted(states(folder).values()) == ["pending", "saved", "saved"]


def test_a_balance_that_lasts_is_no_matter(run: Command, sandbox: Control, write: Write) -> None:
    sandbox.set(balance=1.0)

    assert "The balance" not in run(write("list.csv", table({"a": "one"}))).stderr


def test_a_balance_that_nobody_knows_is_no_matter(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("500", times=None, on="balance")
    outcome = run(write("list.csv", table({"a": "one"})))

    assert outcome.code == 0
    assert "The balance" not in outcome.stderr
