"""`journal copy`: from the folder into a database and back, with one journal at any moment."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Command, Write
from databases import Database
from helpers import many, query, table
from sandbox_client import Control

from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.errors import UsageError
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.writer import Journal


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(4)))


def test_a_batch_goes_on_in_the_database_and_back_in_its_folder(
    run: Command, batchgen: Command, manifest: str, database: Database, sandbox: Control,
    folder: Path,
) -> None:  # fmt: skip
    sandbox.fault("lost", match="number 1")
    run(manifest, "--limit", 2)
    events = query(folder, "SELECT * FROM events ORDER BY seq")
    into = batchgen("journal", "copy", folder, "--journal", database.url)
    copied = database.query("SELECT * FROM batchgen_list.events ORDER BY seq")
    added_up = database.query("SELECT SUM(usd) FROM batchgen_list.spent")
    there = run(manifest, "--journal", database.url, "--limit", 1)
    back = batchgen("journal", "copy", folder, "--journal", database.url, "--back")
    here = run(manifest)

    assert (into.code, back.code) == (0, 0), (into, back)
    assert copied == events
    assert added_up == [(pytest.approx(0.06),)]
    assert database.query("SELECT * FROM batchgen_list.spent") == []  # it counts by its folder
    assert "4 rows" in into.stdout
    assert (there.code, here.code) == (75, 1), (there, here)
    assert sandbox.posts == 4
    assert query(folder, "SELECT state, COUNT(*) FROM requests GROUP BY state ORDER BY state") == [
        ("saved", 3), ("unknown", 1)
    ]  # fmt: skip
    assert (folder / "batch.db.copied").exists()
    assert not (folder / "journal.json").exists()


def test_a_journal_that_was_copied_is_none_any_more(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path,
    sandbox: Control,
) -> None:  # fmt: skip
    run(manifest, "--limit", 1)
    batchgen("journal", "copy", folder, "--journal", database.url)
    unsaid = run(manifest)
    batchgen("journal", "copy", folder, "--journal", database.url, "--back")
    elsewhere = run(manifest, "--journal", database.url, "-o", "other")

    assert unsaid.code == elsewhere.code == 2
    assert "is not the journal of its batch" in elsewhere.stderr
    assert sandbox.posts == 1


def test_nothing_is_copied_while_somebody_runs(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path
) -> None:
    run(manifest)
    words = ("journal", "copy", folder, "--journal", database.url)
    with Folder(folder).locked():
        locked = batchgen(*words)
    assert batchgen(*words).code == 0
    with closing(Journal(JournalAddress(database.url, "list"), Clock())):
        running = batchgen(*words, "--back")

    assert locked.code == running.code == 75
    assert not (folder / "batch.db").exists()


def test_a_batch_that_is_there_is_not_replaced(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path
) -> None:
    run(manifest, "--journal", database.url, "-o", "other")
    run(manifest, "--new-batch")
    taken = batchgen("journal", "copy", folder, "--journal", database.url)
    named = batchgen("journal", "copy", folder, "--journal", database.url, "--batch", "mine")

    assert taken.code == 2
    assert "is there already" in taken.stderr
    assert named.code == 0, named
    assert batchgen("status", folder, "--journal", database.url).code == 0


def test_a_copy_that_was_killed_is_no_journal_and_is_made_again(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path
) -> None:
    run(manifest)
    kept = (folder / "batch.db").read_bytes()
    words = ("journal", "copy", folder, "--journal", database.url)
    assert batchgen(*words).code == 0
    # As a kill leaves it between the database and the folder.
    (folder / "batch.db").write_bytes(kept)
    (folder / "journal.json").unlink()
    database.query(
        "INSERT INTO batchgen_list.memory VALUES ('moved', %s)", json.dumps("unfinished")
    )

    with pytest.raises(UsageError, match="copied"):
        Journal(JournalAddress(database.url, "list"), Clock())
    assert batchgen(*words).code == 0
    assert run(manifest, "--journal", database.url).code == 0


def test_so_is_one_that_was_killed_on_its_way_back(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path,
    sandbox: Control,
) -> None:  # fmt: skip
    run(manifest, "--journal", database.url, "--limit", 1)
    pointer = (folder / "journal.json").read_bytes()
    words = ("journal", "copy", folder, "--journal", database.url, "--back")
    assert batchgen(*words).code == 0
    (folder / "batch.db").rename(folder / "batch.db.part")
    (folder / "journal.json").write_bytes(pointer)
    refused = run(manifest, "--journal", database.url)
    again = batchgen(*words)
    (folder / "journal.json").write_bytes(pointer)
    at_last = batchgen(*words)

    assert refused.code == 2
    assert (again.code, at_last.code) == (0, 0), (again, at_last)
    assert run(manifest).code == 0
    assert sandbox.posts == 4


def test_what_was_handed_in_comes_along(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path
) -> None:
    run(manifest, "--journal", database.url)
    database.query(
        "INSERT INTO batchgen_list.receipts SELECT key, 9, 'req-9', '2026-10-18T03:04:05.678Z'"
        " FROM batchgen_list.requests LIMIT 1"
    )
    assert batchgen("journal", "copy", folder, "--journal", database.url, "--back").code == 0

    with ReceiptLog(folder / "receipts.log") as receipts:
        assert "req-9" in [one.request_id for one in receipts.since(0)]
