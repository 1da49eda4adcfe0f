"""What a run with --quiet says, night after night: cron mails it, so it is nothing, or all."""

import re
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import change, many, query, table, tally
from sandbox_client import Control

NOBODY = "http://127.0.0.1:9/v1"  # a closed port


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(4)))


@pytest.fixture
def night(run: Command, manifest: str) -> Command:
    """`night("--max-cost", 1)`: what cron mails, and the exit code."""

    def one_night(*options: object) -> tuple[int, str]:
        outcome = run(manifest, "-q", *options)
        assert outcome.stdout == ""
        return outcome.code, outcome.stderr

    return one_night  # type: ignore[return-value]


def test_an_api_that_is_down_until_the_time_limit_is_told(night: Command, folder: Path) -> None:
    code, said = night("--base-url", NOBODY, "--max-time", "2h")

    assert code == 69
    assert re.search(r"RunComfy could not be reached since \d{4}-\d\d-\d\d .*:9", said)
    assert "4 pending" in said


def test_a_time_limit_that_let_nothing_through_is_told_and_one_that_did_is_not(
    night: Command, sandbox: Control
) -> None:
    assert night("--concurrency", 1, "--max-time", "1h") == (75, "")

    sandbox.fault("429", times=None, value="600")
    code, said = night("--max-time", "1h")
    assert code == 75
    assert "429" in said


def test_rows_that_failed_before_the_time_limit_are_told(night: Command, sandbox: Control) -> None:
    sandbox.fault("422", match="number 1")
    code, said = night("--concurrency", 1, "--rate", "1/m", "--max-time", "90s")

    assert code == 75
    assert "1 failed" in said
    assert "new since you were told last: 1 failed" in said


def test_the_same_trouble_is_told_once_and_other_trouble_again(
    night: Command, sandbox: Control, folder: Path
) -> None:
    sandbox.fault("422", match="number 1", times=None)
    sandbox.fault("lost", match="number 2")
    assert night("--limit", 2)[0] == 75  # told

    assert night("--limit", 1) == (75, "")
    sandbox.fault("422", match="number 4")
    code, said = night()
    assert code == 1
    assert "2 failed" in said
    assert "new since you were told last: 1 failed" in said
    assert night() == (1, "")


def test_a_row_that_fails_again_for_the_same_cause_is_told_once(
    night: Command, sandbox: Control
) -> None:
    sandbox.fault("failed", match="number 1", times=None, value="no memory for request 12345")
    assert "1 failed" in night()[1]
    sandbox.fault("failed", match="number 1", times=None, value="no memory for request 67890")
    assert night("--retry-failed") == (1, "")
    sandbox.fault("422", match="number 1", times=None)
    assert "1 failed" in night("--retry-failed")[1]


def test_a_row_that_may_be_billed_a_second_time_is_told_a_second_time(
    night: Command, sandbox: Control
) -> None:
    sandbox.fault("lost", match="number 1", times=None)
    assert "1 unknown" in night()[1]
    assert night() == (1, "")
    assert "1 unknown" in night("--on-unknown", "resubmit")[1]


def test_what_a_person_saw_on_the_terminal_is_not_mailed(
    run: Command, night: Command, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("422", match="number 1")
    assert "1 failed" in run(manifest).stderr

    assert night() == (1, "")


def test_what_a_person_did_is_no_news(
    night: Command, batchgen: Command, folder: Path, sandbox: Control
) -> None:
    sandbox.fault("lost", match="number 1")
    night()
    batchgen("resolve", folder, "--all", "--write-off")

    assert night() == (0, "")


def test_a_row_whose_file_is_not_to_be_had_makes_one_mail(night: Command, sandbox: Control) -> None:
    sandbox.fault("media-500", match="number 1", times=None)
    code, said = night()

    assert (code, "1 completed" in said) == (1, True)
    assert night() == (1, "")


def test_a_cap_of_the_day_is_routine_and_one_of_the_batch_is_told_once_for_each_sum(
    night: Command, folder: Path
) -> None:
    assert night("--max-cost-per-day", 0.04) == (75, "")
    assert night("--max-cost-per-day", 0.04) == (75, "")
    assert tally(folder) == {"saved": 1, "pending": 3}

    assert "--max-cost" in night("--max-cost", 0.04)[1]
    assert night("--max-cost", 0.04) == (75, "")
    assert "--max-cost" in night("--max-cost", 0.07)[1]


def test_invalid_rows_that_are_skipped_are_told_once(
    run: Command, write: Write, sandbox: Control
) -> None:
    rows = {"a": "a heron", "b": "", "c": " "}
    outcome = run(write("list.csv", table(rows)), "-q", "--skip-invalid")
    assert "2 invalid" in outcome.stderr

    rows["d"] = "a fox"
    outcome = run(write("list.csv", table(rows)), "-q", "--skip-invalid")
    assert (outcome.code, outcome.stderr) == (1, "")


def test_a_journal_that_does_not_know_what_was_told_tells(
    night: Command, sandbox: Control, folder: Path
) -> None:
    sandbox.fault("422", match="number 1")
    night()
    change(folder, "DELETE FROM memory WHERE name = 'told'")

    assert "1 failed" in night()[1]


def test_a_mail_is_short_and_whole_by_itself(
    batchgen: Command, folder: Path, here: Path, reach: list[str], write: Write, sandbox: Control
) -> None:
    prompts = {f"r{n}": f"a heron, number {n} [[failed]]" for n in range(40)}
    sandbox.fault("failed", times=None, value="x" * 2000 + "\n" * 30)
    name = write("my list.csv", table(prompts))
    words = ["run", name, "-q", "--out", "out/my list", *reach, "--limit", "12"]
    said = batchgen(*words).stderr

    where = here / "out" / "my list"
    assert len(said.splitlines()) <= 40
    assert max(map(len, said.splitlines())) < 500
    assert f"batchgen retry '{where}'" in said
    assert str(where / "report" / "index.html") in said
    assert str(where / "batchgen.log") in said
    assert f"cd {here} && batchgen run 'my list.csv' -q" in said


def test_a_mail_about_a_list_with_many_problems_is_short(
    batchgen: Command, here: Path, reach: list[str], write: Write
) -> None:
    rows = [f"a heron,{n}a" for n in range(200)]
    name = write("list.csv", "\n".join(["prompt,seed", *rows]) + "\n")
    outcome = batchgen("run", name, "-q", *reach)

    assert outcome.code == 65
    assert len(outcome.stderr.splitlines()) <= 40
    assert "and 188 more problems" in outcome.stderr
    assert f"cd {here} && batchgen run list.csv -q" in outcome.stderr


def test_a_run_of_before_whose_ending_nobody_saw_is_told_by_the_next(
    night: Command, folder: Path, sandbox: Control
) -> None:
    sandbox.fault("422", match="number 1")
    assert "1 failed" in night()[1]
    # As if it had been killed before it told.
    change(folder, "DELETE FROM memory WHERE name = 'told'")
    change(folder, "UPDATE runs SET ended_at = NULL")

    assert "1 failed" in night()[1]
    assert query(folder, "SELECT COUNT(*) FROM memory WHERE name = 'told'") == [(1,)]


def test_a_file_that_is_said_not_to_exist_yet_makes_no_mail(
    night: Command, sandbox: Control, folder: Path
) -> None:
    sandbox.fault("media-404", match="number 1", times=None)

    assert night() == (75, "")
    assert night() == (75, "")
    assert tally(folder) == {"saved": 3, "completed": 1}
