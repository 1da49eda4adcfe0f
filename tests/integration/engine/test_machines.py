"""Several machines at once on one list: what each does, says and leaves to the others."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from databases import Database
from helpers import PretendClock, many, table
from sandbox_client import Control

from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.prices import Estimate, SeenCost
from batchgen.core.states import Event, State
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.poll_schedule import DurationModel, read_durations, write_durations
from batchgen.journal.writer import Journal

PATIENCE_S = 60


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(4)))


@pytest.fixture
def where(database: Database) -> tuple[str, str]:
    return ("--journal", database.url)


@contextmanager
def another_machine(database: Database) -> Iterator[Journal]:
    """One that works through the list, and has no row of it yet."""
    with closing(Journal(JournalAddress(database.url, "list"), Clock())) as journal:
        journal.store.let_others_start("running")
        journal.start_run("list.csv", {})
        yield journal


@pytest.fixture
def other(run: Command, manifest: str, database: Database, where: Any) -> Iterator[Journal]:
    """Another machine, which works through the list and has one row of it."""
    assert run(manifest, *where, "--limit", 0).code == 75
    with another_machine(database) as journal:
        with journal.transaction():
            (row,) = journal.take_pending(1, [], [])
        journal.record_submitting(row, Estimate(0.03), [], {})
        yield journal


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_run_does_what_is_left_and_says_what_another_has(
    run: Command, manifest: str, other: Journal, where: Any, sandbox: Control
) -> None:
    found = run(manifest, *where)

    assert found.code == 75, found
    assert "Nothing is left for this machine: others have 1 row." in found.stderr
    assert sandbox.posts == 3


def test_status_shows_each_machine_and_what_it_has(
    batchgen: Command, manifest: str, other: Journal, where: Any
) -> None:
    shown = batchgen("status", manifest, *where)
    told = json.loads(batchgen("status", manifest, *where, "--json").stdout)
    (machine,) = told["machines"]

    assert "running for" in shown.stdout
    assert "1 submitting" in shown.stdout
    assert told["run"]["running"] is True
    assert machine["rows"] == {"submitting": 1}
    assert machine["reached"] is True


def test_what_a_machine_had_that_died_is_done_by_the_next(
    run: Command, manifest: str, other: Journal, where: Any, database: Database, sandbox: Control
) -> None:
    with other.transaction():
        other.take_pending(2, [], [])
    other.connection.raw.close()  # as of a process that was killed
    found = run(manifest, *where)

    assert found.code == 1, found
    assert "has ended: waiting" in found.stderr
    assert sandbox.posts == 3
    states = database.query("SELECT state, COUNT(*) FROM batchgen_list.requests GROUP BY state")
    assert dict(states) == {"saved": 3, "unknown": 1}


def test_resolve_tells_of_a_row_that_a_machine_left_which_died_and_not_of_one_at_work(
    batchgen: Command, manifest: str, other: Journal, where: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert batchgen("resolve", manifest, *where).code == 0
    assert "left `submitting`" not in caplog.text

    other.connection.raw.close()  # as of a process that was killed
    assert batchgen("resolve", manifest, *where).code == 0
    assert "1 row was left `submitting`" in caplog.text


def test_another_version_of_a_list_that_others_work_through_is_refused(
    run: Command, write: Write, other: Journal, where: Any, sandbox: Control
) -> None:
    longer = run(write("list.csv", table(many(5))), *where)
    shorter = run(write("list.csv", table(many(3))), *where)

    assert longer.code == shorter.code == 75
    assert "has new rows" in longer.stderr
    assert "lacks rows" in shorter.stderr
    assert sandbox.posts == 0


def test_the_same_list_elsewhere_joins_whatever_its_place_and_time(
    run: Command, write: Write, other: Journal, where: Any, sandbox: Control
) -> None:
    elsewhere = write("elsewhere/list.csv", table(many(4)))
    found = run(elsewhere, *where, "-o", "there")

    assert found.code == 75, found
    assert sandbox.posts == 3


def test_rows_are_settled_and_sent_again_from_anywhere_while_others_work(
    run: Command, batchgen: Command, manifest: str, where: Any, sandbox: Control,
    other: Journal, database: Database,
) -> None:  # fmt: skip
    sandbox.fault("lost", match="number 2")
    sandbox.fault("422", match="number 3")
    run(manifest, *where)
    gone = batchgen("resolve", manifest, "--write-off", "--all", "--yes", *where)
    again = batchgen("retry", manifest, "--state", "failed", *where)
    states = database.query("SELECT state, COUNT(*) FROM batchgen_list.requests GROUP BY state")

    assert (gone.code, again.code) == (0, 0), (gone, again)
    assert dict(states) == {"saved": 1, "submitting": 1, "written_off": 1, "pending": 1}


def test_a_rehearsal_is_run_by_one_machine_at_a_time(
    run: Command, manifest: str, database: Database, where: Any
) -> None:
    with closing(Journal(JournalAddress(database.url, "list"), Clock())) as journal:
        journal.store.let_others_start("running", alone=True)
        found = run(manifest, *where)

    assert found.code == 75
    assert "in use by another run" in found.stderr


@pytest.mark.timing(command_wait=30.0)
def test_what_is_asked_reaches_every_machine(
    start: Callable[..., Any], batchgen: Command, write: Write, where: Any, here: Path,
    database: Database, sandbox: Control,
) -> None:  # fmt: skip
    manifest = write("list.csv", table(many(200)))
    runs = [
        start(manifest, *where, "--rate", "5/s", "--concurrency", "2", "-o", f"out-{n}")
        for n in (1, 2)
    ]
    taking = "SELECT COUNT(*) FROM batchgen_list.machines WHERE read_to IS NOT NULL"
    until(lambda: sandbox.posts > 2 and database.query(taking) == [(2,)])
    faster = batchgen("set", manifest, "rate=8/s", *where)
    paused = batchgen("pause", manifest, *where)
    for one in runs:
        one.kill()
    events = "SELECT event, COUNT(DISTINCT run) FROM batchgen_list.events WHERE key IS NULL"
    told = dict(database.query(f"{events} GROUP BY event"))

    assert (faster.code, paused.code) == (0, 0), (faster, paused)
    assert faster.stdout.count("rate 8/s") == 1
    assert told == {"set": 2, "paused": 2}


@pytest.mark.timing(machine_first=3600.0, machine_lease=3600.0)
def test_a_model_is_left_to_the_machine_that_tries_it_first(
    run: Command, manifest: str, other: Journal, where: Any, sandbox: Control
) -> None:
    waited = run(manifest, *where, "--max-time", "3s")
    before = sandbox.posts
    (row,) = other.requests_in(State.SUBMITTING)
    other.record_accepted(row, "5f3a")
    found = run(manifest, *where)

    assert (waited.code, before) == (75, 0), waited
    assert waited.stderr.count("another machine tries its first row") == 1
    assert (found.code, sandbox.posts) == (75, 3), found


def test_who_tries_it_and_cannot_send_is_not_waited_for_long(
    run: Command, manifest: str, other: Journal, where: Any, sandbox: Control, clock: PretendClock
) -> None:
    began = clock.now()
    run(manifest, *where)

    assert sandbox.posts == 3
    assert 30 <= clock.now() - began < 60


@pytest.mark.timing(machine_lease=3600.0)
def test_below_a_limit_nothing_goes_before_it_is_known_what_another_machine_pays(
    run: Command, manifest: str, other: Journal, where: Any, sandbox: Control
) -> None:
    (row,) = other.requests_in(State.SUBMITTING)
    other.record_accepted(row, "5f3a")
    limited = [manifest, *where, "--max-cost", "0.11"]
    waited = run(*limited, "--max-time", "3s")
    before = sandbox.posts
    with other.transaction():
        other.set_meta(CostEstimator({}, {row.model: SeenCost(0.05)}, limited=True).memory())
    found = run(*limited)

    assert (waited.code, before) == (75, 0), waited
    assert (found.code, sandbox.posts) == (75, 2), (
        found
    )  # $0.09 with the other's; $0.05 more is too much


def test_a_machine_that_reaches_no_api_leaves_its_rows_to_the_others(
    start: Callable[..., Any], run: Command, write: Write, where: Any, database: Database
) -> None:
    manifest = write("list.csv", table(many(40)))
    assert run(manifest, *where, "--limit", 0).code == 75
    one = start(manifest, *where, "--base-url", "http://127.0.0.1:9/v1", "--price", "0.03")
    # It takes all forty, and keeps the one by which it finds out when the API is back.
    taken = "SELECT COUNT(*) FROM batchgen_list.requests WHERE owner IS NOT NULL"
    until(lambda: database.query(taken) == [(1,)])

    assert one.poll() is None


def test_what_one_machine_learns_of_the_times_all_go_by(
    start: Callable[..., Any], run: Command, write: Write, where: Any, database: Database,
    sandbox: Control,
) -> None:  # fmt: skip
    manifest = write("list.csv", table(many(8)))
    assert run(manifest, *where, "--limit", 0).code == 75
    with another_machine(database) as other:
        one = start(manifest, *where, "--rate", "2/s")
        until(lambda: sandbox.posts > 0)
        (model,) = other.due_models([State.PENDING])
        with other.transaction():
            other.set_meta(write_durations({model: DurationModel(seen=1000)}))
        _, said = one.communicate(timeout=PATIENCE_S)
        times = read_durations(other.get_meta("times"))

    assert one.returncode == 0, said
    assert 1001 < times[model].seen <= 1008


def lose_answers(journal: Journal, times: int) -> None:
    with journal.transaction():
        for row in journal.take_pending(times, [], []):
            journal.record_submitting(row, Estimate(0.03), [], {})
            journal.record_not_accepted(row, Event.OUTCOME_UNKNOWN, None, "no answer")


def test_answers_that_another_machine_lost_stop_this_one(
    start: Callable[..., Any], run: Command, write: Write, where: Any, database: Database,
    sandbox: Control,
) -> None:  # fmt: skip
    manifest = write("list.csv", table(many(300)))
    assert run(manifest, *where, "--limit", 0).code == 75
    with another_machine(database) as other:
        one = start(manifest, *where, "--rate", "5/s")
        until(lambda: sandbox.posts > 2)
        lose_answers(other, 6)  # of which one that is accepted leaves three in a row
        _, said = one.communicate(timeout=PATIENCE_S)

    assert one.returncode == 75, said
    assert "answers in a row were lost" in said
    assert sandbox.posts < 290


def test_two_runs_with_a_limit_for_all_batches_do_not_pass_it_together(
    run: Command, write: Write, where: Any, sandbox: Control, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name in ("one", "two"):
        listed = write(f"{name}.csv", table(many(3, f"a {name}")))
        own = tmp_path / name / "batchgen" / "config.toml"  # each machine has one
        own.parent.mkdir(parents=True, mode=0o700)
        own.write_text("max_cost_per_day = 0.10\n")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / name))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / name))
        found = run(listed, *where, "-o", name)

    assert found.code == 75, found
    assert sandbox.billed_usd <= 0.10
