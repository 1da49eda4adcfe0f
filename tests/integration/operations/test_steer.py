"""pause, resume and set: what a run under way makes of them, and a batch in which none goes on."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Once, Write
from helpers import (
    NEVER_ASKING,
    change,
    many,
    query,
    table,
    tally,
    until,
)
from sandbox_client import Control

from batchgen.core.timing import Timing

# A run on a busy computer takes its time to take a command.
pytestmark = pytest.mark.timing(command_wait=30.0)
Start = Callable[..., Any]
EVENTS = "SELECT event, detail FROM events WHERE key IS NULL ORDER BY seq"


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(400)))


@pytest.fixture
def going_on(start: Start, manifest: str, sandbox: Control) -> Any:
    """A run of 400 rows that has begun to submit five a second."""
    process = start(manifest, "--rate", "5/s")
    until(process, lambda: sandbox.posts >= 2)
    return process


def posted(process: Any, sandbox: Control, more: int) -> bool:
    """Whether a run goes on until it has submitted so many more."""
    before = sandbox.posts
    until(process, lambda: sandbox.posts >= before + more)
    return sandbox.posts >= before + more


def looked(process: Any, folder: Path, batchgen: Command) -> None:
    """Wait until the run has looked for commands once more."""
    assert batchgen("set", folder, "concurrency=16").code == 0


# -- a run under way -------------------------------------------------------------------------------


def test_a_pause_holds_every_submission_until_it_is_resumed_and_outlives_a_kill(
    going_on: Any, folder: Path, batchgen: Command, run: Command, manifest: str, sandbox: Control
) -> None:
    paused = batchgen("pause", folder)
    before = sandbox.posts
    for _ in range(2):
        looked(going_on, folder, batchgen)

    assert paused.code == 0
    assert f"batchgen resume {folder}" in paused.stdout
    assert sandbox.posts == before
    assert batchgen("resume", folder).code == 0
    assert posted(going_on, sandbox, 2)
    found = [event for event, _ in query(folder, EVENTS)]
    assert found == ["paused", "set", "set", "resumed"]

    batchgen("pause", folder)
    going_on.kill()
    going_on.wait()
    before = sandbox.posts
    ended = run(manifest)
    assert ended.code == 75
    assert "The batch is paused since " in ended.stderr
    assert f"batchgen resume {folder}" in ended.stderr
    assert sandbox.posts == before


def test_while_it_is_paused_what_was_sent_is_collected(
    start: Start, folder: Path, batchgen: Command, sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=8)
    process = start(write("list.csv", table(many(6))), "--rate", "5/s", "--concurrency", "3")
    until(process, lambda: sandbox.accepted == 3)

    assert batchgen("pause", folder).code == 0
    until(process, lambda: tally(folder).get("saved") == 3, every=0.25)

    assert tally(folder) == {"saved": 3, "pending": 3}
    assert process.poll() is None


def test_set_changes_the_run_says_what_it_was_and_holds_for_that_run_only(
    start: Start, folder: Path, batchgen: Command, run: Command, write: Write, sandbox: Control
) -> None:
    manifest = write("list.csv", table(many(40)))
    going_on = start(manifest, "--rate", "0.5/s")  # which would take longer than is waited for
    until(going_on, lambda: sandbox.posts >= 1)
    done = batchgen("set", folder, "rate=1000/s", "concurrency=100")

    assert done.code == 0
    assert done.stdout.splitlines() == [
        "rate 1000/s (was 30/m)",
        "concurrency 100 (was 16)",
    ]
    assert going_on.wait(timeout=60) == 0
    assert tally(folder) == {"saved": 40}
    assert "Kept" not in run(manifest).stderr


def test_max_cost_below_what_is_spent_stops_as_the_limit_does(
    going_on: Any, folder: Path, batchgen: Command, sandbox: Control
) -> None:
    assert batchgen("set", folder, "max-cost=0.05").code == 0

    assert going_on.wait(timeout=60) == 75
    words = going_on.stderr.read()
    assert "would pass the limit of $0.05 for the batch, --max-cost ($" in words


def test_max_cost_that_is_raised_before_all_is_collected_goes_on(
    start: Start, folder: Path, batchgen: Command, sandbox: Control, write: Write
) -> None:
    rows = {**many(1), "slow": "[[slow:15]] a fox", **many(5)}
    log = folder / "batchgen.log"
    process = start(write("list.csv", table(rows)), "--max-cost", "0.06")
    waits = "rows wait for the costs of requests under way"
    until(process, lambda: sandbox.accepted == 2 and waits in log.read_text())

    assert batchgen("set", folder, "max-cost=1").code == 0

    assert process.wait(timeout=60) == 0, process.stderr.read()
    assert tally(folder) == {"saved": 6}


def test_below_the_new_concurrency_nothing_is_submitted_before_requests_have_ended(
    start: Start, folder: Path, batchgen: Command, sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=1)
    sandbox.fault("slow", times=6, value=6.0)  # longer than a busy computer takes to the command
    process = start(write("list.csv", table(many(12))), "--concurrency", "6")
    until(process, lambda: sandbox.accepted == 6)

    assert batchgen("set", folder, "concurrency=2").code == 0

    assert process.wait(timeout=60) == 0
    assert tally(folder) == {"saved": 12}
    assert most_in_flight(sandbox.ledger()[6:]) <= 2


def most_in_flight(requests: list[dict[str, Any]]) -> int:
    """Of these requests, how many were accepted and not seen to have ended at one time."""
    return max(
        sum(one["accepted_at"] <= at["accepted_at"] < one["seen_at"] for one in requests)
        for at in requests
    )


def test_a_command_of_somebody_else_is_left_out_and_harms_nothing(
    going_on: Any, folder: Path, batchgen: Command, sandbox: Control
) -> None:
    add = "INSERT INTO commands (at, run, command, value, keep) VALUES (?, ?, ?, ?, ?)"
    for row in [
        ("2026-11-26T00:00:00.000Z", 1, "rate", "nan", 0),
        ("2026-11-26T00:00:00.000Z", 1, "token_file", "/etc/passwd", 0),
        ("2026-11-26T00:00:00.000Z", 7, "max-cost", "1000", 0),  # of another run
        ("now", b"\0", 1.5, b"\xff", "yes"),
    ]:
        change(folder, add, *row)

    assert batchgen("set", folder, "concurrency=8").code == 0
    assert query(folder, "SELECT COUNT(*) FROM commands") == [(0,)]
    assert [event for event, _ in query(folder, EVENTS)] == [*["not set"] * 4, "set"]
    assert posted(going_on, sandbox, 2)


def test_json_tells_what_the_run_made_of_it_and_a_run_that_stands_still_is_told_of(
    going_on: Any, folder: Path, batchgen: Command, timing: Timing
) -> None:
    found = json.loads(batchgen("set", folder, "rate=1/s", "--keep", "--json").stdout)

    assert found["taken"] is True
    assert found["run"] == f"process {going_on.pid}"
    assert found["answers"] == [{"event": "set", "detail": "rate 1/s and kept (was 300/m)"}]
    assert found["kept"] == {"rate": "1/s"}

    os.kill(going_on.pid, signal.SIGSTOP)
    try:
        done = batchgen("pause", folder, timing=replace(timing, command_wait=0.2))
    finally:
        os.kill(going_on.pid, signal.SIGCONT)

    assert done.code == 75
    assert "has not taken it yet" in done.stdout or "locked" in done.stderr  # in a transaction


# -- no run goes on --------------------------------------------------------------------------------


@pytest.fixture
def begun(run: Command, write: Write, sandbox: Control, once: Once) -> str:
    """A list of three rows, of which one was submitted and saved; the sandbox has forgotten it."""

    def begin() -> None:
        assert run(write("list.csv", table(many(3))), "--limit", 1).code == 75
        sandbox.reset()

    once("begun", begin)
    return "list.csv"


def test_a_batch_that_is_paused_sends_nothing_until_it_is_resumed(
    begun: str, run: Command, batchgen: Command, folder: Path, sandbox: Control
) -> None:
    paused = batchgen("pause", begun)
    ended = run(begun)

    assert paused.code == 0
    assert "the next run submits nothing and ends with 75" in paused.stdout
    assert ended.code == 75
    assert sandbox.posts == 0
    assert "paused since" in batchgen("status", folder).stdout
    assert batchgen("resume", begun).code == 0
    assert run(begun).code == 0
    assert [event for event, _ in query(folder, EVENTS)] == ["paused", "resumed"]


def test_a_plan_the_doctor_and_retry_tell_of_a_pause(
    begun: str, batchgen: Command, folder: Path, reach: list[str], sandbox: Control, run: Command
) -> None:
    def doctor() -> dict[str, Any]:
        words = ("doctor", begun, "--json", "--", *reach, "--out", folder)
        found = json.loads(batchgen(*words).stdout)["findings"]
        return {one["check"]: one for one in found}

    def plan(*words: str) -> str:
        return str(batchgen("plan", begun, "--out", folder, *words).stdout)

    assert "paused" not in plan()
    assert "paused" not in doctor()
    sandbox.fault("422", times=1)
    run(begun, "--limit", 1)
    batchgen("pause", begun)

    resume = f"batchgen resume {folder}"
    assert "until it goes on, a run sends nothing." in plan()
    assert resume in plan()
    assert json.loads(plan("--json"))["paused_since"]
    found = doctor()["paused"]
    assert (found["status"], found["remedy"]) == ("warn", f"To go on: {resume}")
    told = batchgen("retry", folder).stdout
    assert f"The batch is paused. First: {resume}" in told
    assert "The next run submits them" not in told


def test_a_paused_batch_is_told_of_once_under_quiet(
    begun: str, run: Command, batchgen: Command
) -> None:
    batchgen("pause", begun)

    first, second = run(begun, "-q"), run(begun, "-q")

    assert (first.code, second.code) == (75, 75)
    assert "batchgen resume" in first.stderr
    assert second.stderr == ""


def test_a_run_of_a_paused_batch_collects_what_was_sent(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest, "--limit", 1, timing=NEVER_ASKING)
    assert tally(folder) == {"submitted": 1, "pending": 2}
    batchgen("pause", folder)

    assert run(manifest).code == 75
    assert tally(folder) == {"saved": 1, "pending": 2}


def test_pausing_and_resuming_twice_is_no_error_and_leaves_one_event(
    begun: str, batchgen: Command, folder: Path
) -> None:
    codes = [batchgen(word, folder).code for word in ("pause", "pause", "resume", "resume")]

    assert codes == [0, 0, 0, 0]
    assert [event for event, _ in query(folder, EVENTS)] == ["paused", "resumed"]


def test_set_without_a_run_is_refused_and_nothing_is_written(
    begun: str, batchgen: Command, folder: Path
) -> None:
    before = (folder / "batch.db").read_bytes()
    done = batchgen("set", folder, "rate=20/m")

    assert done.code == 2
    assert f"No run goes on in {folder}" in done.stderr
    assert f"batchgen set {folder} rate=20/m --keep" in done.stderr
    assert (folder / "batch.db").read_bytes() == before


def test_without_a_run_no_option_is_advised_that_is_none(
    begun: str, batchgen: Command, folder: Path
) -> None:
    mixed = batchgen("set", folder, "rate=20/m", "until=default").stderr
    assert "Give the next run the options --rate 20/m, or set it for" in mixed

    alone = batchgen("set", folder, "max-cost=default", "until=default").stderr
    assert "The next run has it so, unless something else is kept. To keep nothing:" in alone
    assert f"batchgen set {folder} max-cost=default until=default --keep" in alone


def test_a_wrong_name_or_value_is_refused_and_nothing_is_written(
    begun: str, batchgen: Command, folder: Path
) -> None:
    before = (folder / "batch.db").read_bytes()

    for words in (["rat=20/m"], ["rate=0"], ["rate=1/s", "rate=2/s"], ["out=/tmp"], ["rate"]):
        done = batchgen("set", folder, "concurrency=4", *words, "--keep")
        assert done.code == 2, words
        assert "Nothing was changed." in done.stderr
        assert (folder / "batch.db").read_bytes() == before


def test_what_is_kept_holds_for_the_next_run_which_says_so(
    begun: str, batchgen: Command, run: Command, folder: Path
) -> None:
    assert batchgen("set", folder, "max-cost=0.05", "concurrency=8", "--keep").code == 0

    ended = run(begun, "--max-cost", "5")

    assert ended.code == 75
    assert "Kept by batchgen set: max-cost 0.05, concurrency 8" in ended.stderr
    assert "the limit of $0.05 for the batch, max-cost of batchgen set (" in ended.stderr
    assert "Raise --max-cost" not in ended.stderr
    assert "to lift it: batchgen set BATCH max-cost=default --keep." in ended.stderr
    assert "kept" in batchgen("status", folder).stdout
    assert batchgen("set", folder, "max-cost=default", "--keep").stdout.startswith("Kept for later")
    assert run(begun).code == 0


def test_what_was_left_for_a_run_that_is_over_is_not_set_but_a_pause_holds(
    begun: str, batchgen: Command, run: Command, folder: Path, sandbox: Control
) -> None:
    add = "INSERT INTO commands (at, run, command, value, keep) VALUES (?, 2, ?, ?, 1)"
    for command, value in [("max-cost", "1000"), ("pause", ""), ("rate", "9/s")]:
        change(folder, add, "2026-11-26T01:00:00.000Z", command, value)

    ended = run(begun, "--max-cost", "0.03")

    assert ended.code == 75
    assert "What was to be set (max-cost, rate) came after its run" in ended.stderr
    assert "The batch is paused since 2026-11-26 01:00:00 UTC" in ended.stderr
    assert sandbox.posts == 0
    assert query(folder, "SELECT COUNT(*) FROM commands") == [(0,)]
    assert query(folder, "SELECT value FROM memory WHERE name = 'kept'") == []


def test_what_somebody_planted_as_kept_raises_nothing(
    begun: str, run: Command, folder: Path, sandbox: Control
) -> None:
    kept = json.dumps({"max-cost": "1000", "rate": "9999/s", "concurrency": "9999"})
    change(folder, "INSERT INTO memory VALUES ('kept', ?)", kept)

    ended = run(begun, "--max-cost", "0.03", "--rate", "10/s")

    assert ended.code == 75
    assert "Kept by batchgen set: max-cost 1000" in ended.stderr
    assert "limit of $0.03" in ended.stderr
    assert sandbox.posts == 0


def test_what_cannot_have_been_kept_is_named_and_nothing_is_sent(
    begun: str, run: Command, folder: Path, sandbox: Control
) -> None:
    change(folder, "INSERT INTO memory VALUES ('kept', ?)", '{"base-url": "https://evil"}')

    ended = run(begun)

    assert ended.code == 74
    assert "'kept'" in ended.stderr
    assert sandbox.posts == 0


@pytest.mark.parametrize("words", [["pause"], ["resume"], ["set", "rate=1/s"]], ids=str)
def test_without_a_batch_there_is_nothing_to_steer(
    batchgen: Command, here: Path, words: list[str]
) -> None:
    (here / "empty").mkdir()

    done = batchgen(words[0], here / "empty", *words[1:])

    assert done.code == 2
    assert [*(here / "empty").iterdir()] == []
