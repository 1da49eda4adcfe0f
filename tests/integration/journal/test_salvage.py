"""The journal is damaged, gone, or older than the money that was spent.

It is refused, untouched, or rebuilt from the receipts; it is never taken for a fresh start.
"""

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Command, Write
from crash import APIS, GO_ON, KILLED, Api, Batch, check_the_books, fault
from helpers import PATIENT, Outcome, as_before, query, table
from sandbox_client import Control

DAMAGED = 74


@pytest.fixture(params=APIS, ids=str)
def kit(request: pytest.FixtureRequest, here: Path, reach: list[str], sandbox: Control) -> Batch:
    return Batch(here / "batch", reach, sandbox, api=request.param)


@pytest.fixture
def done(kit: Batch) -> Batch:
    """A batch of which every row is saved."""
    assert kit.run() == 0
    return kit


def journal(batch: Batch) -> Path:
    return batch.out / "batch.db"


def refused(batch: Batch) -> None:
    """Run; nothing is sent, nothing is changed, and a way out is printed."""
    before = journal(batch).read_bytes()
    posts = batch.sandbox.posts

    assert batch.run() == DAMAGED, batch.said()
    assert journal(batch).read_bytes() == before
    assert batch.sandbox.posts == posts
    assert "batch.db" in batch.said()


def overwritten(content: bytes) -> bytes:
    return content[:4096] + os.urandom(8192) + content[12288:]


def without_a_header(content: bytes) -> bytes:
    return b"x" * 100 + content[100:]


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("harm", [overwritten, without_a_header, half])
def test_a_damaged_journal_is_refused_and_left_as_it_is(
    done: Batch, harm: Callable[[bytes], bytes]
) -> None:
    journal(done).write_bytes(harm(journal(done).read_bytes()))

    refused(done)


def report_of(batch: Batch, batchgen: Command) -> tuple[Outcome, dict[str, str]]:
    """What `batchgen report` says, and each row's state in the results that it wrote."""
    (batch.out / "results.jsonl").unlink()
    told = batchgen("report", batch.out)
    lines = (batch.out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return told, {row["id"]: row["state"] for row in map(json.loads, lines)}


# Models alone, since a page of a journal is read or not whatever its rows were sent to.
def test_of_a_damaged_journal_what_can_be_read_is_reported(
    here: Path, reach: list[str], sandbox: Control, batchgen: Command
) -> None:
    kit = Batch(here / "batch", reach, sandbox, rows=60)
    assert kit.run() == 0
    ids = {id for (id,) in query(kit.out, "SELECT id FROM requests")}
    content = journal(kit).read_bytes()
    # Where the input of a row in the middle stands, and the rest of its page.
    start = content.index(b"Heron number 30") // 4096 * 4096
    damaged = content[:start] + os.urandom(4096) + content[start + 4096 :]
    journal(kit).write_bytes(damaged)

    told, rows = report_of(kit, batchgen)

    assert told.code == DAMAGED
    assert journal(kit).read_bytes() == damaged
    legible = {id for id, state in rows.items() if state == "saved"}
    assert 30 < len(legible) < 60
    assert legible < ids
    # The others are known by their receipts.
    assert Counter(rows.values()) == {"saved": len(legible), "submitted": 60 - len(legible)}
    assert f"{len(legible)} rows could still be read" in told.stderr
    assert f"{60 - len(legible)} more requests" in told.stderr
    page = (kit.out / "report" / "index.html").read_text(encoding="utf-8")
    assert "could still be read" in page


def test_a_row_that_was_written_off_is_reported_so_from_a_damaged_older_journal(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    for prompt in ("a heron", "a fox"):
        sandbox.fault("lost", match=prompt)
    sandbox.fault("422", match="an owl")
    write("list.csv", table({"heron": "a heron", "fox": "a fox", "owl": "an owl"}))
    run("list.csv")
    batchgen("resolve", folder, "--all", "--write-off")
    # Sent again since, and refused.
    sandbox.fault("422", match="a fox")
    batchgen("retry", folder, "--state", "written_off", "--id", "fox")
    run("list.csv")
    as_before(folder, 3)
    with closing(sqlite3.connect(folder / "batch.db")) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'runs' AND type = 'table'"
        ).fetchone()
    content = bytearray((folder / "batch.db").read_bytes())
    content[(page - 1) * 4096 : page * 4096] = os.urandom(4096)
    (folder / "batch.db").write_bytes(content)

    assert batchgen("report", folder).code == DAMAGED
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    states = {row["id"]: row["state"] for row in map(json.loads, lines)}
    assert states == {"heron": "written_off", "fox": "failed", "owl": "failed"}


def test_a_journal_of_which_nothing_can_be_read_is_reported_from_its_receipts(
    done: Batch, batchgen: Command
) -> None:
    journal(done).write_bytes(without_a_header(journal(done).read_bytes()))

    told, rows = report_of(done, batchgen)

    assert told.code == DAMAGED
    assert Counter(rows.values()) == {"submitted": 3}
    assert "0 rows could still be read and 3 more requests" in told.stderr


def test_the_way_out_of_a_damaged_journal_is_to_move_it_aside(done: Batch) -> None:
    journal(done).write_bytes(half(journal(done).read_bytes()))
    refused(done)
    journal(done).rename(done.out / "batch.db.damaged")

    assert done.finish() == 0
    check_the_books(done, priced=False)
    assert done.sandbox.posts == 3


@pytest.mark.parametrize("zeroed", [True, False], ids=["zero bytes", "missing"])
def test_a_journal_that_is_gone_beside_receipts_is_rebuilt_without_a_post(
    done: Batch, zeroed: bool
) -> None:
    journal(done).unlink()
    if zeroed:
        journal(done).touch()

    assert done.finish() == 0
    check_the_books(done, priced=False)
    assert done.sandbox.posts == 3
    assert done.states() == {"saved": 3}


def test_pictures_without_journal_and_receipts_are_no_fresh_start(done: Batch) -> None:
    journal(done).unlink()
    (done.out / "receipts.log").unlink()

    assert done.run() == DAMAGED
    assert not journal(done).exists()
    assert done.sandbox.posts == 3


def test_an_older_backup_is_brought_up_to_date_by_the_receipts(kit: Batch) -> None:
    assert kit.run(options=["--limit", "1"]) == GO_ON
    backup = kit.root / "backup.db"
    shutil.copy(journal(kit), backup)
    assert kit.finish() == 0
    shutil.copy(backup, journal(kit))

    assert kit.finish() == 0
    check_the_books(kit, priced=False)
    assert kit.sandbox.posts == 3
    assert kit.states() == {"saved": 3}


@PATIENT
@pytest.mark.parametrize("was_rehearsal", [False, True], ids=["real", "rehearsal"])
def test_a_rebuilt_journal_is_no_rehearsal_where_the_lost_one_was_none_and_the_other_way_round(
    run: Command, batchgen: Command, folder: Path, write: Write, sandbox: Control,
    was_rehearsal: bool,
) -> None:  # fmt: skip
    manifest = write("list.csv", table({"fox": "a fox"}))

    def go(*, rehearsing: bool) -> Outcome:
        if rehearsing:
            return batchgen("run", manifest, "--out", folder, "--sandbox")
        return run(manifest)

    assert go(rehearsing=was_rehearsal).code == 0
    for path in folder.glob("batch.db*"):
        path.unlink()

    for _ in range(2):  # by a journal that is there and knows nothing, too
        outcome = go(rehearsing=not was_rehearsal)
        assert outcome.code == 2
        kind = "a rehearsal" if was_rehearsal else "a batch of real requests"
        assert f"holds {kind}" in outcome.stderr
    assert go(rehearsing=was_rehearsal).code == 0
    assert query(folder, "SELECT state, attempts FROM requests") == [("saved", 1)]
    assert sandbox.posts == (not was_rehearsal)


def test_a_backup_from_before_a_saved_row_was_sent_again_gets_the_new_picture(
    run: Command, batchgen: Command, folder: Path, write: Write, here: Path, sandbox: Control
) -> None:
    manifest = write("list.csv", table({"fox": "a fox"}))
    run(manifest)
    shutil.copy(folder / "batch.db", here / "backup.db")
    batchgen("retry", folder, "--state", "saved", "--id", "fox")
    run(manifest)
    what = "SELECT state, request_id, delivered_sha256, cost FROM requests JOIN outputs USING (key)"
    sent_again = query(folder, what)
    shutil.copy(here / "backup.db", folder / "batch.db")
    assert query(folder, what) != sent_again

    assert run(manifest).code == 0
    assert query(folder, what) == sent_again
    assert batchgen("verify", folder).code == 0
    assert sandbox.posts == 2


def test_a_receipt_that_a_killed_run_did_not_write_is_written_by_the_next(kit: Batch) -> None:
    assert kit.run(options=["--limit", "1"]) == GO_ON
    (kit.out / "receipts.log").write_bytes(b"")
    assert kit.run(options=["--limit", "1"]) == GO_ON
    journal(kit).unlink()

    assert kit.finish() == 0
    check_the_books(kit, priced=False)
    assert kit.sandbox.posts == 3


@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_lost_write_ahead_log_does_not_lose_what_has_a_receipt(
    here: Path, reach: list[str], sandbox: Control, api: Api
) -> None:
    kit = Batch(here / "batch", reach, sandbox, 1, api=api)
    assert kit.run(fault("kill_before", name="link")) == KILLED
    wal = kit.out / "batch.db-wal"
    assert wal.stat().st_size
    wal.unlink()
    (kit.out / "batch.db-shm").unlink()

    assert kit.finish() == 0
    check_the_books(kit, priced=False)
    assert sandbox.posts == 1


def test_a_journal_of_a_later_batchgen_is_refused_and_left_as_it_is(done: Batch) -> None:
    with closing(sqlite3.connect(journal(done))) as later:
        later.execute("PRAGMA user_version = 99")

    refused(done)
    assert "newer batchgen" in done.said()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(kit: Batch) -> None:
    assert kit.run(options=["--limit", "1"]) == GO_ON
    for path in (*kit.out.iterdir(), kit.out):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        assert kit.run() == DAMAGED
        assert kit.sandbox.posts == 1
    finally:
        for path in (kit.out, *kit.out.iterdir()):
            path.chmod(0o700)
    assert kit.finish() == 0


def test_a_folder_that_was_copied_elsewhere_goes_on_from_there(kit: Batch) -> None:
    # One after the other, so that at the third answer the two before it are in the journal.
    one_by_one = ("--concurrency", "1")
    assert kit.run(fault("kill_at_answer", n=3), options=one_by_one) == KILLED
    elsewhere = kit.root / "elsewhere" / "batch"
    shutil.copytree(kit.out, elsewhere)
    shutil.rmtree(kit.out)
    kit.words[kit.words.index("--out") + 1] = str(elsewhere)
    kit.out = elsewhere

    assert kit.finish() == 1
    check_the_books(kit)
    assert kit.states() == {"saved": 2, "unknown": 1}
