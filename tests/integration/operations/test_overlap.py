"""Several at once: runs of the same batch, readers, and others who write to the journal."""

import fcntl
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from crash import APIS, GO_ON, KILLED, Batch, Fault, Pipe, check_the_books, fault, rehearsal
from sandbox_client import Control

STARTS = 10


@pytest.fixture(params=APIS, ids=str)
def kit(request: pytest.FixtureRequest, here: Path, reach: list[str], sandbox: Control) -> Batch:
    return Batch(here / "batch", reach, sandbox, api=request.param)


class Held:
    """Makes a run stand still at its first answer, until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        self.arrived = Pipe(folder / "arrived")
        self.go_on = Pipe(folder / "go-on")

    @property
    def fault(self) -> Fault:
        return fault("wait_at_answer", n=1, note=str(self.arrived.path), go_on=str(self.go_on.path))


@pytest.fixture
def held(here: Path) -> Iterator[Held]:
    found = Held(here)
    yield found
    found.arrived.close()
    found.go_on.close()


def locked(batch: Batch) -> bool:
    """Whether somebody holds the batch."""
    handle = os.open(batch.out / ".lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_of_ten_starts_at_once_one_runs_and_the_others_name_it(kit: Batch, held: Held) -> None:
    said = {}
    for n in range(STARTS):
        errors = kit.root / f"stderr-{n}.txt"
        said[kit.driver.start(kit.words, kit.root, errors, [held.fault])] = errors
    held.arrived.wait()
    (holder,) = [pid for pid, errors in said.items() if "in use" not in wait_for(kit, pid, errors)]

    assert kit.sandbox.posts == 1
    held.go_on.tell()
    assert kit.driver.wait(holder) == 0
    for pid, errors in said.items():
        if pid != holder:
            assert f"process {holder} on " in errors.read_text()
    check_the_books(kit)
    assert kit.sandbox.posts == 3


def wait_for(batch: Batch, pid: int, errors: Path) -> str:
    """What a start says; the one that runs says nothing yet, and is not waited for."""
    lock = (batch.out / ".lock").read_text()
    if f"process {pid} on " in lock:
        return ""
    assert batch.driver.wait(pid) == GO_ON
    return errors.read_text()


def test_a_folder_by_another_name_is_the_same_folder(kit: Batch, held: Held) -> None:
    holder = kit.start(held.fault)
    held.arrived.wait()
    alias = kit.root / "alias"
    alias.symlink_to(kit.out)

    errors = kit.root / "second.txt"
    second = kit.driver.start([*kit.words, "--out", str(alias)], kit.root, errors, [])
    assert kit.driver.wait(second) == GO_ON
    assert "in use" in errors.read_text()
    assert kit.sandbox.posts == 1

    held.go_on.tell()
    assert kit.driver.wait(holder) == 0
    check_the_books(kit)


def test_a_killed_run_holds_nothing(kit: Batch, held: Held) -> None:
    holder = kit.start(held.fault)
    held.arrived.wait()
    assert locked(kit)
    os.kill(holder, signal.SIGKILL)
    assert kit.driver.wait(holder) == KILLED

    assert not locked(kit)
    assert kit.finish() == 1
    check_the_books(kit)
    assert kit.states() == {"saved": 2, "unknown": 1}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the child in /proc")
def test_the_sandbox_of_a_rehearsal_does_not_inherit_the_lock(
    kit: Batch, held: Held, here: Path, sandbox: Control
) -> None:
    kit = Batch(kit.root, rehearsal(kit.api, here, sandbox), sandbox, api=kit.api)
    holder = kit.start(held.fault)
    held.arrived.wait()
    (child,) = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    try:
        os.kill(holder, signal.SIGKILL)
        assert kit.driver.wait(holder) == KILLED

        assert not locked(kit)
    finally:
        os.kill(int(child), signal.SIGKILL)
    assert kit.finish() == 1
    assert kit.states() == {"saved": 2, "unknown": 1}


def test_a_reader_who_takes_long_does_no_harm(kit: Batch) -> None:
    assert kit.run(options=["--limit", "1"]) == GO_ON
    with closing(sqlite3.connect(kit.out / "batch.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT state, COUNT(*) FROM requests GROUP BY state").fetchall()

        assert kit.run() == 0
        check_the_books(kit)
        now = reader.execute("SELECT state, COUNT(*) FROM requests GROUP BY state").fetchall()
        assert now == before


@pytest.fixture
def writer(kit: Batch, held: Held, here: Path) -> Iterator[tuple[sqlite3.Connection, Pipe, int]]:
    """Somebody who keeps the journal locked from the moment that an answer is read; a pipe that
    tells when the answer has waited for a while; and the process id of the run."""
    third = Pipe(here / "third-try")
    run = kit.start(
        held.fault,
        fault("tell_try", n=3, note=str(third.path)),
        fault("note_ids", note=str(kit.root / "ids")),
    )
    held.arrived.wait()
    with closing(sqlite3.connect(kit.out / "batch.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        held.go_on.tell()
        yield other, third, run
    third.close()


def test_an_id_waits_for_a_foreign_writer_and_new_posts_wait_for_the_id(
    kit: Batch, writer: tuple[sqlite3.Connection, Pipe, int]
) -> None:
    other, third, run = writer
    third.wait()
    assert kit.sandbox.posts == 1
    other.execute("ROLLBACK")

    assert kit.driver.wait(run) == 0, kit.said()
    check_the_books(kit, reached=kit.root / "ids")
    assert kit.states() == {"saved": 3}


def test_a_foreign_writer_who_never_ends_stops_new_posts_and_loses_no_id(
    kit: Batch, writer: tuple[sqlite3.Connection, Pipe, int]
) -> None:
    other, _, run = writer

    assert kit.driver.wait(run) == GO_ON, kit.said()
    assert kit.sandbox.posts == 1
    (request_id,) = (kit.root / "ids").read_text().split()
    assert request_id in kit.said()
    other.execute("ROLLBACK")
    assert kit.finish() == 0
    check_the_books(kit, reached=kit.root / "ids")
    assert kit.states() == {"saved": 3}
