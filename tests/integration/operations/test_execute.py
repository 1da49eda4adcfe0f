"""The end of a run, some part of which fails."""

import _thread
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import many, query, table, tally
from resume import NoProgress, resume
from sandbox_client import Control

from batchgen.errors import JournalUnreachable
from batchgen.sandbox import Address


class Showing(NoProgress):
    """Fails at its end, if it has an error for that."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.closed = False

    def close(self) -> None:
        self.closed = True
        if self._error is not None:
            raise self._error


def no_monitor() -> None:
    raise RuntimeError("no monitor")


def last_end(folder: Path) -> int | None:
    return query(folder, "SELECT exit_code FROM runs ORDER BY id")[-1][0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("no terminal"), 75),
        (OSError(5, "gone"), 75),
        (JournalUnreachable("db", "gone"), 0),
    ],
    ids=str,
)
def test_whatever_fails_at_the_end_the_end_is_recorded_and_nothing_stays_open(
    run: Command,
    folder: Path,
    write: Write,
    address: Address,
    sandbox: Control,
    error: Exception,
    code: int,
) -> None:
    run(write("list.csv", table(many(2))), "--limit", 1)
    threads = _thread._count()

    outcome = resume(folder, address, progress=Showing(error))

    assert outcome.code == last_end(folder) == code
    assert tally(folder) == {"saved": 2}
    assert _thread._count() == threads


def test_what_is_called_when_all_is_collected_keeps_nothing_from_its_end(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    run(write("list.csv", table(many(2))), "--limit", 1)
    threads, progress = _thread._count(), Showing()

    outcome = resume(folder, address, progress=progress, on_collected=no_monitor)

    assert progress.closed
    assert outcome.code == last_end(folder) == 75
    assert _thread._count() == threads
