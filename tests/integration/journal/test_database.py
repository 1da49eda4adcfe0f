"""What an error of SQLite means: only a damaged journal is called damaged."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batchgen.clock import Clock
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.errors import JournalLocked, JournalUnusable, StorageDamaged
from batchgen.journal.command_table import send
from batchgen.journal.faults import storage_errors
from batchgen.journal.reader import Reader
from batchgen.journal.writer import Journal

Fail = Callable[[sqlite3.Connection, Path], object]
TRIGGER = "CREATE TRIGGER odd AFTER INSERT ON events BEGIN SELECT 1; END"


def fill(db: sqlite3.Connection, path: Path) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    db.execute("INSERT INTO things VALUES (randomblob(100000))")


def write_to_what_is_read(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA query_only = 1")
    db.execute("INSERT INTO things VALUES (1)")


def open_a_folder(db: sqlite3.Connection, path: Path) -> None:
    db.execute("ATTACH ? AS other", (str(path.parent),))


def read_garbage(db: sqlite3.Connection, path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM things")


def lock(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    with closing(sqlite3.connect(path, timeout=0.0)) as other:
        other.execute("INSERT INTO things VALUES (1)")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "batch.db", isolation_level=None)) as found:
        found.execute("CREATE TABLE things (it)")
        yield found


@pytest.mark.parametrize(
    ("fail", "kind", "remedy"),
    [
        (fill, JournalUnusable, "Make room"),
        (write_to_what_is_read, JournalUnusable, "Make the folder writable."),
        (open_a_folder, JournalUnusable, "ulimit -n"),
        (read_garbage, StorageDamaged, "restore batch.db from a backup"),
        (lock, JournalLocked, "Close what writes to it"),
    ],
)
def test_an_error_is_told_by_what_it_means(
    db: sqlite3.Connection, tmp_path: Path, fail: Fail, kind: type[StorageDamaged], remedy: str
) -> None:
    path = tmp_path / "batch.db"
    with pytest.raises(StorageDamaged) as raised, storage_errors(path):
        fail(db, path)

    assert type(raised.value) is kind
    assert remedy in raised.value.remedy
    assert str(path) in raised.value.what


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells of it")
@pytest.mark.parametrize(
    "open_it",
    [
        lambda path: Journal(path, Clock()),
        Reader,
        lambda path: send(path, None, {"pause": ""}, keep=False, now=0.0, timing=DEFAULT_TIMING),
    ],
    ids=["to write", "to read", "for a command"],
)
@pytest.mark.parametrize("damage", ["a trigger", "garbage"])
def test_a_journal_that_is_refused_is_closed(
    tmp_path: Path, open_it: Callable[[Path], object], damage: str
) -> None:
    path = tmp_path / "batch.db"
    with closing(Journal(path, Clock())) as journal:
        journal.connection.execute(TRIGGER)
    if damage == "garbage":
        path.write_bytes(b"garbage" * 1000)

    with pytest.raises(StorageDamaged) as refused:
        open_it(path)

    open_files = [*Path("/proc/self/fd").iterdir()]
    assert path not in [one.readlink() for one in open_files if one.is_symlink()], refused.value
