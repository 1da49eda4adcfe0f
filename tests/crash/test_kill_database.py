"""Killed at a sample of all steps with the journal in a database; what goes on is another machine.

`BATCHGEN_STEPS=all python -m pytest tests/crash/test_kill_database.py` kills at every step, with
both services; here few are with deployments: a journal is kept alike whatever is sent.
"""

import os
from itertools import count
from pathlib import Path

import pytest
from databases import Database
from sandbox_client import Control

from crash import (
    DEPLOYMENTS,
    GO_ON,
    KILLED,
    MODELS,
    Api,
    DatabaseBatch,
    Fault,
    Pipe,
    check_the_books,
    fault,
)

ALL_STEPS = os.environ.get("BATCHGEN_STEPS") == "all"
# Whether the next run is on another machine; the first step; every so many steps.
WAYS = [(MODELS, True, 10, 19), (MODELS, False, 1, 19), (DEPLOYMENTS, True, 6, 25)]
if ALL_STEPS:
    WAYS = [(api, elsewhere, 1, 1) for api in (MODELS, DEPLOYMENTS) for elsewhere in (True, False)]


@pytest.fixture
def api() -> Api:
    """Where batches are sent; a test may have others."""
    return MODELS


@pytest.fixture
def kit(
    here: Path, reach: list[str], sandbox: Control, database: Database, api: Api
) -> DatabaseBatch:
    return DatabaseBatch(here / "batch", reach, sandbox, database, api=api)


@pytest.mark.parametrize(("api", "elsewhere", "first", "stride"), WAYS, ids=str)
def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(
    kit: DatabaseBatch, elsewhere: bool, first: int, stride: int
) -> None:
    names = []
    for n in count(first, stride):
        kit.forget()
        name = kit.killed_at(n)
        if name is None:
            break
        names.append(name)
        if elsewhere:
            kit.move()
        kit.finish()
        check_the_books(kit)

    assert len(names) > 3


def killed_in_mid_request(batch: DatabaseBatch, *mistake: Fault) -> None:
    assert batch.run(fault("kill_at_answer", n=2), *mistake) == KILLED
    batch.move()
    batch.finish(*mistake)
    check_the_books(batch)


@pytest.mark.parametrize("mistake", ["start_up_resets_submitting", "nothing_before_the_post"])
def test_a_mistake_upsets_the_books(kit: DatabaseBatch, mistake: str) -> None:
    killed_in_mid_request(kit)
    kit.forget()

    with pytest.raises(AssertionError, match=r"paid more than once|knows nothing"):
        killed_in_mid_request(kit, fault(mistake))


def killed_with_its_body_on_the_wire(batch: DatabaseBatch, *mistake: Fault) -> None:
    step = fault("kill_at", n=2, note=str(batch.root / "step"), only="the body is on the wire")
    assert batch.run(*mistake, step) == KILLED
    batch.until(lambda: batch.sandbox.posts >= 2)
    batch.move()
    batch.finish()
    check_the_books(batch)


def test_a_commit_after_the_first_byte_upsets_the_books(kit: DatabaseBatch) -> None:
    killed_with_its_body_on_the_wire(kit)
    kit.forget()

    with pytest.raises(AssertionError, match="paid more than once"):
        killed_with_its_body_on_the_wire(kit, fault("the_body_leaves_before_its_commit"))


@pytest.mark.parametrize("mistake", [None, "writes_name_no_owner"])
def test_whoever_slept_writes_into_no_row_that_another_has_since(
    kit: DatabaseBatch, here: Path, mistake: str | None
) -> None:
    """A person has sent the row again, which the sleeper had sent before."""
    pipes = [Pipe(here / name) for name in ("arrived-1", "go-on-1", "arrived-2", "go-on-2")]
    waits = [
        fault("wait_at_answer", n=1, note=str(arrived.path), go_on=str(go_on.path))
        for arrived, go_on in (pipes[:2], pipes[2:])
    ]
    asleep = kit.start(waits[0], *([fault(mistake)] if mistake else []))
    pipes[0].wait()
    kit.until(lambda: kit.query("SELECT MIN(seen) < now() - interval '5 s' FROM machines")[0][0])
    other = kit.elsewhere(2)
    awake = other.start(waits[1], options=["--on-unknown", "resubmit"])
    pipes[2].wait()
    pipes[1].tell()
    overtaken = kit.driver.wait(asleep)
    pipes[3].tell()
    other.driver.wait(awake)
    sent_again = [row["request_id"] for row in kit.sandbox.ledger() if "number 1" in row["input"]]

    assert overtaken == GO_ON or mistake
    assert len(sent_again) == 2
    assert (sent_again[-1] in kit.request_ids()) == (mistake is None)


def test_a_run_that_slept_while_another_took_over_hands_in_what_it_holds(
    kit: DatabaseBatch, here: Path, database: Database
) -> None:
    arrived, go_on = Pipe(here / "arrived"), Pipe(here / "go-on")
    asleep = kit.start(fault("wait_at_answer", n=1, note=str(arrived.path), go_on=str(go_on.path)))
    arrived.wait()
    # The server has not heard of it for long.
    database.disconnect()
    kit.finish_elsewhere()
    between = kit.states()
    go_on.tell()
    overtaken = kit.driver.wait(asleep)
    words = kit.said()
    handed_in = kit.query("SELECT request_id FROM receipts")
    kit.finish_elsewhere()
    check_the_books(kit)

    assert overtaken == GO_ON, words
    assert between.get("unknown", 0) >= 1, between
    assert len(handed_in) >= 1
    assert kit.states() == {"saved": kit.rows}
