"""`run --expect-plan`: just what `plan --json` said is done, or nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import PATIENT, change, many, query, states, table, tally
from sandbox_client import Control

Digest = Callable[..., str]


@pytest.fixture
def digest(batchgen: Command, folder: Path, reach: list[str]) -> Digest:
    """What `plan` of list.csv says: `digest("--limit", 1)`."""

    def ask(*options: object) -> str:
        outcome = batchgen("plan", "list.csv", "--out", folder, *reach, "--json", *options)
        assert (outcome.code, outcome.stderr) == (0, "")
        return str(json.loads(outcome.stdout)["digest"])

    return ask


@pytest.fixture(autouse=True)
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


def test_what_was_agreed_to_is_done_without_a_question_and_once(
    run: Command, digest: Digest, sandbox: Control, folder: Path
) -> None:
    agreed = digest()
    outcome = run("list.csv", "--ask-above", "0.01", "--expect-plan", agreed)

    assert outcome.code == 0
    assert tally(folder) == {"saved": 3}
    again = run("list.csv", "--expect-plan", agreed)
    assert (again.code, sandbox.posts) == (2, 3)


def test_a_plan_says_the_same_twice_and_what_dry_run_says(
    run: Command, digest: Digest, folder: Path
) -> None:
    first = digest("--max-cost", 5)

    assert digest("--max-cost", 5) == first
    dry = run("list.csv", "--max-cost", 5, "--dry-run", "--json")
    assert json.loads(dry.stdout)["digest"] == first
    assert not folder.exists()


def test_a_dry_run_refuses_what_the_run_would_refuse(
    run: Command, digest: Digest, sandbox: Control
) -> None:
    agreed = digest()

    assert run("list.csv", "--dry-run", "--expect-plan", agreed).code == 0
    dry = run("list.csv", "--limit", 1, "--dry-run", "--expect-plan", agreed)
    assert (dry.code, sandbox.posts) == (2, 0)
    assert "What differs: the rows (3 requests then, 1 request now)" in dry.stderr


@pytest.mark.parametrize(
    ("before", "options", "differs"),
    [
        ({"row-4": "a row more"}, [], "the rows (3 requests then, 4 requests now)"),
        ({"row-2": "another prompt"}, [], "the rows (3 requests then, 3 requests now)"),
        ({}, ["--price", "0.06"], "what a request costs"),
        ({}, ["--max-cost", "5"], "the limits"),
        ({}, ["--limit", "2"], "the rows (3 requests then, 2 requests now)"),
    ],
)
def test_anything_else_sends_nothing_and_says_what_differs(
    run: Command,
    digest: Digest,
    write: Write,
    sandbox: Control,
    before: dict[str, str],
    options: list[str],
    differs: str,
) -> None:
    agreed = digest()
    write("list.csv", table({**many(3), **before}))

    outcome = run("list.csv", *options, "--expect-plan", agreed)

    assert (outcome.code, sandbox.posts) == (2, 0)
    assert f"What differs: {differs}" in outcome.stderr
    assert "Nothing was sent." in outcome.stderr
    assert "batchgen plan list.csv --json" in outcome.stderr


def test_a_plan_with_limits_is_for_a_run_with_the_same_ones(
    run: Command, digest: Digest, sandbox: Control
) -> None:
    agreed = digest("--limit", 2, "--max-cost", 5, "--max-cost-per-day", 1)

    outcome = run("list.csv", "--limit", 2, "--max-cost", 5, "--expect-plan", agreed)
    assert (outcome.code, sandbox.posts) == (2, 0)
    same = ["--limit", 2, "--max-cost", 5, "--max-cost-per-day", 1]
    outcome = run("list.csv", *same, "--expect-plan", agreed)
    assert (outcome.code, sandbox.posts) == (75, 2)


def test_each_state_that_changes_what_is_sent_or_spent_changes_the_digest(
    run: Command, batchgen: Command, digest: Digest, sandbox: Control, folder: Path
) -> None:
    seen = [digest("--max-cost", 5)]
    sandbox.fault("lost", match="number 2")
    run("list.csv", "--limit", 2, "--max-cost", 5)
    assert states(folder) == {"row-1": "saved", "row-2": "unknown", "row-3": "pending"}
    seen.append(digest("--max-cost", 5))
    batchgen("resolve", folder, "--id", "row-2", "--send-again", "-y")
    seen.append(digest("--max-cost", 5))
    batchgen("retry", folder, "--state", "saved", "--id", "row-1")
    seen.append(digest("--max-cost", 5))
    change(folder, "UPDATE spending SET usd = usd + 1 WHERE key = ?", _key(folder, "row-1"))
    seen.append(digest("--max-cost", 5))

    assert len({*seen}) == len(seen)


def _key(folder: Path, id: str) -> str:
    ((key,),) = query(folder, "SELECT key FROM requests WHERE id = ?", id)
    return str(key)


def test_failed_rows_that_were_not_agreed_to_stay_failed(
    run: Command, digest: Digest, sandbox: Control, folder: Path
) -> None:
    sandbox.fault("422", match="number 2")
    run("list.csv")
    agreed = digest()  # of nothing

    outcome = run("list.csv", "--retry-failed", "--expect-plan", agreed)
    assert (outcome.code, sandbox.posts) == (2, 3)
    assert states(folder)["row-2"] == "failed"
    outcome = run("list.csv", "--retry-failed", "--expect-plan", digest("--retry-failed"))
    assert (outcome.code, sandbox.posts) == (0, 4)


@PATIENT
def test_an_agreement_to_a_rehearsal_is_none_to_pay(
    run: Command, batchgen: Command, sandbox: Control
) -> None:
    rehearsal = batchgen("run", "list.csv", "--sandbox", "--dry-run", "--json")
    agreed = json.loads(rehearsal.stdout)["digest"]

    outcome = run("list.csv", "--expect-plan", agreed)
    assert (outcome.code, sandbox.posts) == (2, 0)
    again = ["--sandbox", "--out", "rehearsal", "--rate", "1000/s"]
    outcome = batchgen("run", "list.csv", *again, "--expect-plan", agreed)
    assert outcome.code == 0


def test_what_is_no_digest_is_refused(run: Command, sandbox: Control) -> None:
    outcome = run("list.csv", "--expect-plan", "sha256:abc")

    assert (outcome.code, sandbox.posts) == (2, 0)
    assert "is not a digest" in outcome.stderr


def test_a_plan_says_what_a_limit_leaves(batchgen: Command, folder: Path, reach: list[str]) -> None:
    said = batchgen("plan", "list.csv", "--out", folder, *reach, "--max-cost", "0.05").stdout

    assert "for $0.09, of which --max-cost leaves $0.05;" in said


def test_a_limit_of_rows_is_kept_in_a_plan(
    batchgen: Command, folder: Path, reach: list[str]
) -> None:
    told = batchgen("plan", "list.csv", "--out", folder, *reach, "--limit", 2, "--json").stdout

    assert (json.loads(told)["sends"], json.loads(told)["cost"]) == (2, 0.06)


def test_no_other_row_is_sent_in_the_place_of_one_that_could_not_be(
    run: Command, digest: Digest, sandbox: Control, folder: Path
) -> None:
    sandbox.fault("firewall", times=None, match="number 2")
    options = ("--limit", 2, "--concurrency", 1)

    outcome = run("list.csv", *options, "--expect-plan", digest("--limit", 2))
    assert (outcome.code, sandbox.accepted) == (75, 1)
    assert "Not every row that was agreed to was sent, and no other is." in outcome.stderr
    assert states(folder)["row-3"] == "pending"
    run("list.csv", *options)  # as before, where nothing was agreed to
    assert sandbox.accepted == 2


def test_where_all_that_was_agreed_to_is_sent_the_limit_is_the_end(
    run: Command, digest: Digest, sandbox: Control, folder: Path
) -> None:
    outcome = run("list.csv", "--limit", 2, "--expect-plan", digest("--limit", 2))

    assert (outcome.code, tally(folder)) == (75, {"saved": 2, "pending": 1})
    assert "The limit of 2 submissions is reached." in outcome.stderr


def test_what_is_kept_for_later_runs_is_part_of_a_plan(
    run: Command, batchgen: Command, digest: Digest, sandbox: Control, folder: Path
) -> None:
    run("list.csv", "--limit", 1)
    before = digest()
    batchgen("set", folder, "max-cost=0.07", "--keep")

    outcome = run("list.csv", "--expect-plan", before)
    assert (outcome.code, sandbox.posts) == (2, 1)
    assert "the limits, or what they leave" in outcome.stderr
    outcome = run("list.csv", "--expect-plan", digest())
    assert (outcome.code, sandbox.posts) == (75, 2)


def test_rows_of_a_paused_batch_stay_failed_though_they_were_asked_for(
    run: Command, batchgen: Command, sandbox: Control, folder: Path
) -> None:
    sandbox.fault("422", match="number 2")
    run("list.csv")
    batchgen("pause", folder)

    assert run("list.csv", "--retry-failed").code == 1
    assert states(folder)["row-2"] == "failed"
