"""The kit can fail: each mistake that it is there for, built in on purpose, upsets the books.

The mistakes are `MISTAKES` in `crash/driver.py`. Each test does the same without the mistake too.
"""

import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sandbox_client import Control

from crash import APIS, KILLED, Api, Batch, Fault, check_the_books, fault
from crash.powercut import PoweredBatch, disk_after


@pytest.fixture
def kits(here: Path, reach: list[str], sandbox: Control, api: Api) -> Iterator[Batch]:
    """Batches, each with a sandbox that has forgotten the one before."""

    def fresh() -> Iterator[Batch]:
        for n in count():
            sandbox.reset()
            yield Batch(here / f"batch-{n}", reach, sandbox, api=api)

    return fresh()


def killed_in_mid_request(batch: Batch, *mistake: Fault) -> None:
    assert batch.run(fault("kill_at_answer", n=2), *mistake) == KILLED
    batch.finish(*mistake)
    check_the_books(batch)


def answered_with_500(batch: Batch, *mistake: Fault) -> None:
    batch.sandbox.fault("500")
    batch.finish(*mistake)
    check_the_books(batch)


def interrupted_twice_at_an_answer(batch: Batch, *mistake: Fault) -> None:
    ids = batch.root / "ids"
    batch.run(
        fault("note_ids", note=str(ids)),
        fault("signals_at_answer", number=signal.SIGINT, times=2),
        *mistake,
    )
    assert ids.exists()
    batch.finish()
    check_the_books(batch, reached=ids)


@pytest.mark.parametrize("api", APIS, ids=str)
@pytest.mark.parametrize(
    ("trouble", "words", "mistakes"),
    [
        (
            killed_in_mid_request,
            "paid more than once",
            ["start_up_resets_submitting", "nothing_before_the_post"],
        ),
        (answered_with_500, "paid more than once", ["lost_answers_are_repeated"]),
        (interrupted_twice_at_an_answer, "ids that reached the program", ["w2_can_be_cancelled"]),
    ],
)
def test_a_mistake_upsets_the_books(
    kits: Iterator[Batch], trouble: Callable[..., None], words: str, mistakes: list[str]
) -> None:
    trouble(next(kits))

    for mistake in mistakes:
        with pytest.raises(AssertionError, match=words):
            trouble(next(kits), fault(mistake))


@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_journal_that_is_not_synced_at_each_commit_does_not_survive_a_power_cut(
    here: Path, reach: list[str], sandbox: Control, api: Api
) -> None:
    batch = PoweredBatch(here / "batch", reach, sandbox, api=api)

    def cut(n: int, *mistake: Fault) -> None:
        batch.begin_again()
        assert batch.cut(n, *mistake)
        disk_after(batch.disk, batch.copies)
        batch.finish(*mistake)
        check_the_books(batch)

    made = []

    def cut_around_the_first_answers() -> None:
        for n in range(15, 25):
            made.append(n)
            cut(n, fault("synchronous_is_normal"))

    with pytest.raises(AssertionError, match="paid more than once"):
        cut_around_the_first_answers()
    for n in made:
        cut(n)
