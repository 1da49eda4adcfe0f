"""Killed at a sample of all steps with the journal in a database; what goes on is another machine.

Models alone: where the journal is kept is the same whatever is sent.
"""

from itertools import count
from pathlib import Path

import pytest
from databases import Database
from sandbox_client import Control

from crash import GO_ON, KILLED, DatabaseBatch, Fault, Pipe, check_the_books, fault

SAMPLE = 19  # every so many steps


@pytest.fixture
def kit(here: Path, reach: list[str], sandbox: Control, database: Database) -> DatabaseBatch:
    return DatabaseBatch(here / "batch", reach, sandbox, database)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(
    kit: DatabaseBatch, elsewhere: bool
) -> None:
    names = []
    for n in count(1 + 9 * elsewhere, SAMPLE):
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
