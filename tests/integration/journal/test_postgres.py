"""A journal in PostgreSQL: the same batch from any machine, by any number of runs at a time."""

import asyncio
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from databases import Database
from helpers import NEVER_ASKING, PretendClock, many, query, table
from sandbox_client import Control
from servers import listening, relay

from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.prices import Estimate
from batchgen.core.rows import Row
from batchgen.core.states import Event, RunEvent, State
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import (
    BatchBusy,
    JournalTaken,
    JournalUnreachable,
    JournalUnusable,
    StorageDamaged,
)
from batchgen.journal import command_table
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.reader import Reader
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.journal.recovery import Recovery
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import HandedIn, Journal, Request
from batchgen.sandbox import Address

# No lease ends before a test wants it to, however long the server has been there or a test takes.
HASTY = replace(
    DEFAULT_TIMING,
    database_away=1.0,
    database_read=0.5,
    machine_gone=0.0,
    machine_lease=3 * 3600.0,
    machine_start=0.5,
)
MODEL = "ideogram/ideogram-v2/generate"
AT = "2026-10-18T03:04:05.678Z"


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


@pytest.fixture
def batch(database: Database) -> JournalAddress:
    return JournalAddress(database.url, "list")


@pytest.fixture
def opened(batch: JournalAddress) -> Iterator[Callable[..., Journal]]:
    """Open the journal, as another machine would each time, and list three rows."""
    journals = []

    def open_it(timing: Timing = HASTY, *, starting: bool = False) -> Journal:
        journal = Journal(batch, Clock(), timing)
        journals.append(journal)
        if not starting:
            journal.store.let_others_start("running")
        if not journal.count_listed():
            with closing(StagedRows()) as rows:
                for n in range(1, 4):
                    rows.add(Row(n, f"list.csv:{n}", f"r{n}", MODEL, {"prompt": f"fox {n}"}, {}))
                Recovery(journal).list_rows(rows)
        return journal

    yield open_it
    for journal in journals:
        with suppress(StorageDamaged):
            journal.close()


def first(journal: Journal) -> Request:
    return journal.next_pending(0, [])[0]


def claim(journal: Journal) -> Request:
    (row,) = take(journal, 1)
    journal.record_submitting(row, Estimate(0.03), [], {})
    return row


def take(journal: Journal, count: int) -> list[Request]:
    with journal.transaction():
        return journal.take_pending(count, [], [])


# -- one batch, any machine ------------------------------------------------------------------------


def test_another_machine_goes_on_and_no_row_is_paid_twice(
    run: Command, manifest: str, database: Database, sandbox: Control, here: Path
) -> None:
    one = run(manifest, "--journal", database.url, "--limit", 1)
    shutil.rmtree(here / "out")  # the machine is gone, with its disk
    two = run(manifest, "--journal", database.url)

    assert (one.code, two.code) == (75, 0)
    assert sandbox.posts == 3
    assert database.query("SELECT state FROM batchgen_list.requests") == [("saved",)] * 3


def test_every_command_that_reads_a_journal_reads_this_one(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path
) -> None:
    assert run(manifest, "--journal", database.url).code == 0
    said = {}
    for command in ("status", "report", "verify", "retry", "resolve", "pause", "resume", "cancel"):
        found = batchgen(command, folder, "--journal", database.url)
        assert found.code == 0, (command, found)
        said[command] = found.stdout
    planned = batchgen("plan", manifest, "--journal", database.url)

    assert "3 saved" in said["status"]
    assert "3 whole" in said["verify"]
    assert "3 rows: 3 saved" in planned.stdout
    assert not (folder / "batch.db").exists()
    assert len((folder / "results.jsonl").read_text().splitlines()) == 3


def test_a_list_that_was_edited_sends_what_is_new(
    run: Command, write: Write, database: Database, sandbox: Control
) -> None:
    run(write("list.csv", table(many(3))), "--journal", database.url)
    run(write("list.csv", table(many(4))), "--journal", database.url)

    assert sandbox.posts == 4


def test_a_lost_row_is_asked_for_again_or_settled_from_anywhere(
    run: Command, batchgen: Command, manifest: str, database: Database, sandbox: Control, here: Path
) -> None:
    sandbox.fault("lost", match="number 2")
    run(manifest, "--journal", database.url)
    shutil.rmtree(here / "out")
    (row,) = (row for row in sandbox.ledger() if "number 2" in row["input"])

    where = ("--journal", database.url)
    seen = batchgen("resolve", "list.csv", *where, "--json")
    gone = batchgen("resolve", "list.csv", "--write-off", "--all", "--yes", *where)

    assert len(json.loads(seen.stdout)) >= 1, seen
    assert gone.code == 0, gone
    assert row["billed"]
    assert run(manifest, *where).code == 0
    assert sandbox.posts == 3


def test_cancel_goes_on_where_other_machines_take_rows_meanwhile(
    run: Command, batchgen: Command, write: Write, database: Database, folder: Path,
    address: Address, sandbox: Control,
) -> None:  # fmt: skip
    sandbox.set(seconds=3600, slots=1)
    where = ("--journal", database.url)
    assert run(write("list.csv", table(many(4))), *where, timing=NEVER_ASKING).code == 75
    to_others = [
        "UPDATE batchgen_list.requests SET owner = 4711 WHERE id = 'row-2'",
        "UPDATE batchgen_list.requests SET state = 'cancelled' WHERE id = 'row-3'",
    ]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while to_others:  # the command has read which rows there are
            database.query(to_others.pop())
        await relay(address.base_url)(reader, writer)

    with listening(talk) as port:
        service = ("--base-url", f"http://127.0.0.1:{port}/v1")
        told = batchgen("cancel", folder, *where, *service)

    assert told.code == 0, told
    assert told.stdout.startswith("3 cancelled, 1 already in progress")
    assert database.query("SELECT state FROM batchgen_list.requests ORDER BY id") == [
        ("submitted",), ("submitted",), ("cancelled",), ("cancelled",),
    ]  # fmt: skip


@pytest.mark.timing(machine_start=0.5)
def test_a_run_that_waits_too_long_for_one_that_starts_is_told_which(
    run: Command, batchgen: Command, manifest: str, database: Database, sandbox: Control,
    opened: Callable[..., Journal],
) -> None:  # fmt: skip
    opened(starting=True)

    found = run(manifest, "--journal", database.url)
    status = batchgen("status", manifest, "--journal", database.url)

    assert found.code == 75
    assert f"process {os.getpid()} on {socket.gethostname()}" in found.stderr
    assert sandbox.posts == 0
    assert str(os.getpid()) in status.stdout


def test_of_two_that_start_at_once_one_waits(opened: Callable[..., Journal]) -> None:
    opened(starting=True)

    with pytest.raises(BatchBusy):
        opened()


def test_the_views_say_what_they_say_in_a_file(
    run: Command, write: Write, database: Database, sandbox: Control, folder: Path, here: Path
) -> None:
    rows = [{"id": str(n), "prompt": f"number {n}", "seed": n % 2} for n in range(5)]
    listed = write("list.jsonl", "\n".join(map(json.dumps, rows)))
    for where in ([], ["--journal", database.url, "-o", "other"]):
        sandbox.reset()
        sandbox.fault("422", match="number 2")
        sandbox.fault("lost", match="number 3")
        run(listed, *where)
    for name, columns in {
        "files": "path, id, n, kind, prompt", "by_model": "model, rows, saved, files, usd",
        "by_hour": "submitted, saved, failed, files", "by_day": "model, requests, usd",
        "by_cause": "state, rows, example", "by_setting": "setting, value, rows, saved",
        "slowest": "state",
    }.items():  # fmt: skip
        one = query(folder, f"SELECT {columns} FROM {name}")
        two = database.query(f"SELECT {columns} FROM batchgen_list.{name}")
        # A sum of integers is a decimal number there, and the value of a setting a text.
        assert sorted([*map(str, row)] for row in one) == sorted([*map(str, row)] for row in two)


@pytest.mark.parametrize("off", [0.0, 300.0])
def test_a_clock_that_is_off_is_told_of(
    run: Command, manifest: str, database: Database, clock: PretendClock, off: float
) -> None:
    clock.ahead = off
    found = run(manifest, "--journal", database.url)

    assert found.code == 0
    assert ("differ by" in found.stderr) == bool(off)


# -- who may write ---------------------------------------------------------------------------------


def test_a_row_whose_owner_is_gone_becomes_unknown(opened: Callable[..., Journal]) -> None:
    one = opened()
    row = claim(one)
    one.connection.raw.close()  # as of a process that was killed
    two = opened()
    found = Recovery(two).recover([], 0)

    assert found["unknown"] == 1
    assert two.state_of(row.key) is State.UNKNOWN


def test_whoever_was_let_go_writes_nothing_more(
    opened: Callable[..., Journal], database: Database
) -> None:
    one = opened()
    row = claim(one)
    database.query("DELETE FROM batchgen_list.machines")

    with pytest.raises(JournalTaken):
        one.record_accepted(row, "req-1")

    assert one.fetch_committed("SELECT state FROM requests WHERE key = ?", row.key) == [
        ("submitting",)
    ]


def test_a_run_that_was_cut_off_does_not_go_on_beside_the_next(
    opened: Callable[..., Journal], database: Database
) -> None:
    one = opened()
    row = claim(one)
    database.disconnect()
    two = opened()
    Recovery(two).recover([], 0)

    with pytest.raises(JournalUnreachable):
        one.record_accepted(row, "req-1")
    with pytest.raises(JournalTaken):
        one.come_back()
    one.hand_in(Receipt(row.key, 1, "req-1", AT))
    Recovery(two).recover([], 0)

    assert two.get_request(row.key).state is State.SUBMITTED
    assert two.get_request(row.key).request_id == "req-1"
    assert two.fetch_all("SELECT * FROM receipts") == []


def test_a_run_comes_back_to_its_own_batch(
    opened: Callable[..., Journal], database: Database
) -> None:
    one = opened()
    row = claim(one)
    database.disconnect()
    with pytest.raises(JournalUnreachable):
        one.record_accepted(row, "req-1")
    made = one.come_back()
    one.record_accepted(row, "req-1")

    assert made is False
    assert one.state_of(row.key) is State.SUBMITTED


@pytest.mark.parametrize("made", [True, False])
def test_a_commit_whose_answer_is_lost_is_asked_about(
    opened: Callable[..., Journal], made: bool
) -> None:
    journal = opened()
    row = claim(journal)
    journal.begin()
    journal.record_accepted(row, "req-1")
    if made:
        journal.connection.raw.execute("COMMIT")  # the server did it, and nobody heard of it
    journal.connection.raw.close()
    with pytest.raises(JournalUnreachable):
        journal.commit()

    assert journal.come_back() is made
    state = journal.fetch_committed("SELECT state FROM requests WHERE key = ?", row.key)
    assert state == [("submitted" if made else "submitting",)]


# -- several at once -------------------------------------------------------------------------------


def test_each_run_has_rows_of_its_own(opened: Callable[..., Journal]) -> None:
    one, two = opened(), opened()
    first, second = take(one, 2), take(two, 5)

    assert [row.id for row in first] == ["r1", "r2"]
    assert [row.id for row in second] == ["r3"]
    assert [(machine.epoch, machine.rows) for machine in one.other_machines()] == [
        (two.store.owner, {"pending": 1})
    ]


def test_any_number_of_rows_is_left_to_others(opened: Callable[..., Journal]) -> None:
    journal = opened()
    (row,) = take(journal, 1)
    with journal.transaction():
        journal.let_go_of(row.key)
        others = [f"{n:032x}" for n in range(70_000)]  # PostgreSQL takes 65,535 values
        found = journal.take_pending(5, [], [row.key, *others])

    assert [one.id for one in found] == ["r2", "r3"]


def test_a_row_that_one_run_has_is_written_by_no_other(opened: Callable[..., Journal]) -> None:
    one, two = opened(), opened()
    row = claim(one)

    with pytest.raises(StorageDamaged, match="is not submitting"):
        two.record_accepted(row, "req-1")
    one.record_accepted(row, "req-1")
    assert one.state_of(row.key) is State.SUBMITTED


def test_what_a_run_leaves_at_its_end_is_taken_by_another(opened: Callable[..., Journal]) -> None:
    one, two = opened(), opened()
    row = claim(one)
    one.record_accepted(row, "req-1")
    take(one, 1)
    one.close()
    with two.transaction():
        adopted = two.take_accepted(10)

    assert [(found.id, found.request_id) for found in adopted] == [("r1", "req-1")]
    assert [found.id for found in take(two, 5)] == ["r2", "r3"]


def test_a_run_that_sleeps_too_long_is_let_go_and_wakes_up_to_that(
    opened: Callable[..., Journal],
) -> None:
    asleep, awake = opened(), opened(replace(HASTY, machine_lease=0.0))
    row = claim(asleep)
    (waiting,) = take(asleep, 1)
    found = Recovery(awake).recover([], 0)

    assert found == {"unknown": 1}
    assert awake.get_request(row.key).state is State.UNKNOWN
    assert [one.id for one in take(awake, 1)] == [waiting.id]
    with pytest.raises(JournalTaken):
        asleep.record_submitting(waiting, Estimate(0.03), [], {})
    with pytest.raises(JournalTaken):
        asleep.record_accepted(row, "req-1")
    asleep.hand_in(Receipt(row.key, 1, "req-1", AT))
    assert Recovery(awake).recover([], 0) == {"receipts": 1}
    assert awake.get_request(row.key).request_id == "req-1"


def asleep_in_mid_request(opened: Callable[..., Journal]) -> tuple[Journal, Journal, Request]:
    """Return one that was let go, another, and a row that the first sent and a person reopened."""
    asleep, awake = opened(), opened(replace(HASTY, machine_lease=0.0))
    row = claim(asleep)
    Recovery(awake).recover([], 0)
    Recovery(awake).reopen(State.UNKNOWN, "--on-unknown resubmit")
    assert awake.state_of(row.key) is State.PENDING
    return asleep, awake, row


def test_an_id_that_comes_in_before_its_row_is_sent_again_is_taken(
    opened: Callable[..., Journal],
) -> None:
    asleep, awake, row = asleep_in_mid_request(opened)
    asleep.hand_in(Receipt(row.key, 1, "req-1", AT))
    not_to_be_sent = [one.id for one in take(awake, 5)]
    found = Recovery(awake).recover([], 0)

    assert row.id not in not_to_be_sent
    assert found == {"receipts": 1}
    assert awake.get_request(row.key).request_id == "req-1"
    assert awake.committed_usd() == pytest.approx(0.03)
    assert awake.fetch_all("SELECT * FROM receipts") == []


@pytest.mark.parametrize("looks", ["who has it", "another"])
def test_a_row_in_hand_is_not_sent_once_its_id_has_come_in(
    opened: Callable[..., Journal], looks: str
) -> None:
    asleep, awake, row = asleep_in_mid_request(opened)
    third = opened()
    in_hand = {one.key: one for one in take(awake, 5)}[row.key]
    asleep.hand_in(Receipt(row.key, 1, "req-1", AT))
    while_in_hand = Recovery(awake if looks == "who has it" else third).recover([], 0)
    with pytest.raises(HandedIn):
        awake.record_submitting(in_hand, Estimate(0.03), [], {})
    with awake.transaction():
        awake.let_go_of(row.key)
    found = Recovery(third).recover([], 0)

    assert while_in_hand == {"receipts": 0}
    assert found == {"receipts": 1}
    assert awake.get_request(row.key).request_id == "req-1"


def test_an_id_that_comes_in_after_its_row_was_sent_again_is_kept(
    opened: Callable[..., Journal], caplog: pytest.LogCaptureFixture
) -> None:
    asleep, awake, row = asleep_in_mid_request(opened)
    again = {one.key: one for one in take(awake, 5)}[row.key]
    awake.record_submitting(again, Estimate(0.03), [], {})
    asleep.hand_in(Receipt(row.key, 1, "req-1", AT))
    Recovery(awake).recover([], 0)
    awake.record_accepted(again, "req-2")
    Recovery(awake).recover([], 0)

    assert awake.get_request(row.key).request_id == "req-2"
    assert awake.fetch_all("SELECT * FROM receipts") == []
    events = "SELECT attempt FROM events WHERE request_id = 'req-1'"
    assert awake.fetch_all(events) == [(1,)]
    assert "req-1 may have been billed" in caplog.text


def test_an_id_of_a_receipt_is_left_to_the_run_that_has_the_row(
    opened: Callable[..., Journal],
) -> None:
    _, awake, row = asleep_in_mid_request(opened)
    in_hand = {one.key: one for one in take(awake, 5)}[row.key]
    next_from_there = opened()
    Recovery(next_from_there).recover([Receipt(row.key, 1, "req-1", AT)], 0)

    with pytest.raises(HandedIn):
        awake.record_submitting(in_hand, Estimate(0.03), [], {})


def test_a_row_that_a_person_has_made_anew_does_not_get_its_old_id_back(
    opened: Callable[..., Journal],
) -> None:
    journal = opened()
    row = claim(journal)
    journal.record_accepted(row, "req-1")
    journal.record_ended(row, Event.FAILED, None, "no output")
    journal.record_retry(row.key, "retry")
    found = Recovery(journal).recover([Receipt(row.key, 1, "req-1", AT)], 0)

    assert found == {"receipts": 0}
    assert journal.state_of(row.key) is State.PENDING


@pytest.mark.parametrize("doing", ["waits for its person", "is in a transaction", "is quick"])
def test_a_run_is_not_let_go_that(opened: Callable[..., Journal], doing: str) -> None:
    lease = 3600.0 if doing == "is quick" else 0.0
    one, two = opened(), opened(replace(HASTY, machine_lease=lease))
    if doing != "waits for its person":  # who waits has no rows
        claim(one)
    if doing == "is in a transaction":
        one.begin()
    Recovery(two).recover([], 0)

    assert len(two.other_machines()) == 1


def test_a_run_whose_session_broke_a_moment_ago_is_not_let_go(
    opened: Callable[..., Journal], database: Database
) -> None:
    one = opened()
    row = claim(one)
    database.disconnect()
    two = opened(replace(HASTY, machine_gone=3600.0))
    Recovery(two).recover([], 0)
    with pytest.raises(JournalUnreachable):
        one.record_accepted(row, "req-1")
    one.come_back()
    one.record_accepted(row, "req-1")

    assert two.get_request(row.key).request_id == "req-1"


def test_whoever_just_connected_does_not_say_that_another_is_gone(
    opened: Callable[..., Journal], database: Database
) -> None:
    """As the first after a server's long start, when nobody has been heard of."""
    one = opened()
    row = claim(one)
    database.disconnect()
    database.query("UPDATE batchgen_list.machines SET seen = seen - interval '2 hours'")
    # Only what has happened since a session began counts, whenever the server was started.
    states = []
    for machine_gone in (3600.0, 0.0):
        two = opened(replace(HASTY, machine_gone=machine_gone))
        Recovery(two).recover([], 0)
        states.append(two.get_request(row.key).state)

    assert states == [State.SUBMITTING, State.UNKNOWN]


def test_what_all_runs_may_have_spent_counts_for_each(opened: Callable[..., Journal]) -> None:
    one, two = opened(), opened()
    claim(one)
    claim(two)
    at = one.fetch_all("SELECT MIN(at) FROM spending")[0][0]

    assert one.committed_usd() == two.committed_usd() == pytest.approx(0.06)
    assert one.committed_usd(f"{at[:10]}T00:00:00.000Z") == pytest.approx(0.06)
    assert one.committed_usd("2999-01-01T00:00:00.000Z") == 0.0


def test_two_runs_that_keep_the_same_in_another_order_do_not_wait_for_each_other(
    opened: Callable[..., Journal],
) -> None:
    one, two = opened(), opened()
    with one.transaction():
        one.set_meta({"times": {"a": [1.0]}})
        with two.transaction():
            two.set_meta({"takes_files": ["two/model"]})
            two.set_meta({"times": {"b": [2.0]}})
        one.set_meta({"takes_files": ["one/model"]})
        assert one.get_meta("takes_files") == ["one/model"]

    assert two.get_meta("takes_files") == ["one/model"]


def test_each_run_takes_what_is_asked_of_all(
    opened: Callable[..., Journal], batch: JournalAddress
) -> None:
    one, two = opened(), opened()
    for journal in (one, two):
        journal.start_run("list.csv", {})
    (number,) = command_table.send(batch, None, {"pause": ""}, keep=True, now=1.8e9, timing=HASTY)
    with closing(Reader(batch)) as reader:
        for journal in (one, two):
            assert command_table.still_waiting(reader, [number])
            ((seq, _),) = command_table.waiting(journal, for_run=True)
            command_table.record_taken(journal, seq, RunEvent.PAUSED, "", {})
            assert command_table.waiting(journal, for_run=True) == []

        assert not command_table.still_waiting(reader, [number])
    assert one.fetch_all("SELECT * FROM commands") == []


# -- the database goes away ------------------------------------------------------------------------


def queue_accepted(
    journal: Journal, receipts: ReceiptLog, row: Request, meanwhile: Callable[[], None]
) -> None:
    """Write W2 through a queue while something happens; raise what its writer is told."""

    async def write() -> None:
        writes = WriteQueue(journal, receipts)
        at = Receipt(row.key, 1, "req-1", AT)
        waiting = asyncio.ensure_future(_awaited(writes, journal, row, at))
        try:
            until = time.monotonic() + 30
            while not [*receipts.since(0)] and time.monotonic() < until:
                await asyncio.sleep(0.01)
            assert [one.request_id for one in receipts.since(0)] == ["req-1"]
            await asyncio.to_thread(meanwhile)
            await waiting
        finally:
            writes.close()

    asyncio.run(write())


async def _awaited(writes: WriteQueue, journal: Journal, row: Request, at: Receipt) -> None:
    await writes.enqueue(lambda: journal.record_accepted(row, at.request_id), at)


def test_an_id_is_on_disk_at_once_and_handed_in_when_the_database_is_back(
    opened: Callable[..., Journal], database: Database, tmp_path: Path
) -> None:
    journal = opened(replace(HASTY, database_away=60.0))
    row = claim(journal)
    database.server.stop("immediate")
    try:
        with ReceiptLog(tmp_path / "receipts.log") as receipts:
            queue_accepted(journal, receipts, row, database.server.start)
    finally:
        with suppress(AssertionError):
            database.server.start()

    assert journal.state_of(row.key) is State.SUBMITTED


def test_an_id_that_could_not_be_handed_in_is_by_the_next_run_from_there(
    opened: Callable[..., Journal], database: Database, tmp_path: Path
) -> None:
    journal = opened()
    row = claim(journal)
    database.server.stop("immediate")
    try:
        with (
            ReceiptLog(tmp_path / "receipts.log") as receipts,
            pytest.raises(JournalUnreachable, match="Nothing was lost"),
        ):
            queue_accepted(journal, receipts, row, lambda: None)
    finally:
        database.server.start()
    with ReceiptLog(tmp_path / "receipts.log") as receipts:
        after = opened()
        recovery = Recovery(after)
        found = recovery.recover(recovery.unread(receipts), receipts.end)

    assert found == {"receipts": 1}
    assert after.get_request(row.key).request_id == "req-1"


@pytest.mark.timing(database_away=1.0, database_read=0.5)
def test_a_run_without_its_database_ends_in_words_and_the_next_pays_nothing_twice(
    start: Callable[..., Any], run: Command, manifest: str, database: Database, sandbox: Control
) -> None:
    sandbox.set(seconds=1)
    going = start(manifest, "--journal", database.url)
    until = time.monotonic() + 60
    while sandbox.accepted < 3 and time.monotonic() < until:
        time.sleep(0.05)
    going.send_signal(signal.SIGKILL)
    going.wait()
    database.server.stop("immediate")
    try:
        without = run(manifest, "--journal", database.url)
    finally:
        database.server.start()
    while (after := run(manifest, "--journal", database.url)).code == 75:
        assert time.monotonic() < until + 60  # the sandbox goes by another clock

    assert without.code == 75
    assert "cannot be reached" in without.stderr
    assert after.code in (0, 1)
    assert sandbox.posts == 3


def test_a_run_goes_on_when_its_server_is_started_again(
    start: Callable[..., Any], manifest: str, database: Database, sandbox: Control
) -> None:
    sandbox.set(seconds=2)
    going = start(manifest, "--journal", database.url)
    until = time.monotonic() + 60
    while sandbox.accepted < 1 and time.monotonic() < until:
        time.sleep(0.02)
    database.server.stop("immediate")
    database.server.start()
    _, said = going.communicate(timeout=100)

    assert going.returncode == 0, said
    assert sandbox.posts == 3
    assert database.query("SELECT state FROM batchgen_list.requests") == [("saved",)] * 3


@contextmanager
def away_once(reached: Callable[[], bool], database: Database, seconds: float) -> Iterator[None]:
    """Stop the server for so long, as soon as something is reached in the block."""

    def go_away() -> None:
        until = time.monotonic() + 60
        while not reached() and time.monotonic() < until:
            time.sleep(0.02)
        database.server.stop("immediate")
        try:
            time.sleep(seconds)
        finally:
            database.server.start()

    going = threading.Thread(target=go_away)
    going.start()
    try:
        yield
    finally:
        going.join()


@pytest.mark.timing(database_read=0.2, command_look=0.05)
def test_a_run_goes_on_when_its_database_was_away_for_longer_than_a_question_waits(
    run: Command, write: Write, database: Database, sandbox: Control
) -> None:
    """Whatever is asked meanwhile: what to do, what others do, how a row stands, what it costs."""
    manifest = write("list.csv", table(many(12)))
    with away_once(lambda: sandbox.accepted > 1, database, 3.0):
        found = run(manifest, "--journal", database.url, "--rate", "4/s", "--max-cost-per-day", "9")

    assert found.code == 0, found
    assert sandbox.posts == 12


@pytest.mark.timing(claim=-1.0)
def test_a_claim_that_is_old_at_its_first_byte_goes_back_unsent(
    run: Command, manifest: str, database: Database, sandbox: Control
) -> None:
    found = run(manifest, "--journal", database.url, "--max-time", "1m")

    assert found.code == 75
    assert sandbox.posts == 0
    assert (
        database.query("SELECT state, attempts FROM batchgen_list.requests") == [("pending", 0)] * 3
    )


# -- which database --------------------------------------------------------------------------------


def test_a_folder_that_names_a_database_is_not_believed(
    run: Command, batchgen: Command, manifest: str, database: Database, folder: Path,
    monkeypatch: pytest.MonkeyPatch, sandbox: Control,
) -> None:  # fmt: skip
    run(manifest, "--journal", database.url)
    unsaid = batchgen("status", folder)
    without = run(manifest)
    monkeypatch.setenv("BATCHGEN_JOURNAL", database.url)

    assert unsaid.code == without.code == 2
    assert "a folder may come from anybody" in unsaid.stderr
    assert f"--journal '{database.url}'" in unsaid.stderr
    assert batchgen("status", folder).code == 0
    assert run(manifest).code == 0
    assert sandbox.posts == 3


def test_a_batch_stays_where_it_began(
    run: Command, manifest: str, database: Database, folder: Path, sandbox: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run(manifest, "--limit", 1)
    typed = run(manifest, "--journal", database.url)
    monkeypatch.setenv("BATCHGEN_JOURNAL", database.url)
    for_all = run(manifest)

    assert typed.code == 2
    assert "keeps its journal in batch.db" in typed.stderr
    assert for_all.code == 0
    assert sandbox.posts == 3
    assert database.query("SELECT 1 FROM pg_namespace WHERE nspname = 'batchgen_list'") == []


def test_another_list_under_a_taken_name_is_refused(
    run: Command, write: Write, database: Database, here: Path
) -> None:
    run(write("list.csv", table(many(2))), "--journal", database.url)
    other = write("other/list.csv", "id,prompt\nx,quite another\n")
    found = run(other, "--journal", database.url, "-o", "there")
    named = run(other, "--journal", database.url, "-o", "there", "--batch", "mine")

    assert found.code == 2
    assert "--batch" in found.stderr
    assert named.code == 0, named


def test_a_password_in_the_url_is_refused_and_not_shown(
    run: Command, manifest: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = database.url.replace("tester@", "tester:hunter22hunter@")
    found = run(manifest, "--journal", secret)
    monkeypatch.setenv("BATCHGEN_JOURNAL", secret)
    from_environment = run(manifest)

    for one in (found, from_environment):
        assert one.code == 2
        assert "PGPASSWORD" in one.stderr
        assert "hunter22hunter" not in one.stderr


def test_what_stands_in_the_database_is_checked_as_in_a_file(
    run: Command, batchgen: Command, manifest: str, database: Database
) -> None:
    run(manifest, "--journal", database.url)
    database.query(
        "UPDATE batchgen_list.outputs SET path = '../../x'"
        " WHERE key = (SELECT MIN(key) FROM batchgen_list.outputs)"
    )
    found = batchgen("verify", manifest, "--journal", database.url)

    assert found.code == 74
    assert "could lead outside" in found.stderr


def test_a_server_that_keeps_nothing_is_refused(batch: JournalAddress, database: Database) -> None:
    database.query("ALTER SYSTEM SET fsync = off")
    database.query("SELECT pg_reload_conf()")
    try:
        with pytest.raises(JournalUnusable, match="fsync is off"):
            Journal(batch, Clock(), HASTY).close()
    finally:
        database.query("ALTER SYSTEM RESET fsync")
        database.query("SELECT pg_reload_conf()")


def test_a_commit_waits_for_the_disk_whatever_the_database_says(
    opened: Callable[..., Journal], database: Database
) -> None:
    database.query(f"ALTER DATABASE {database.name} SET synchronous_commit = off")

    assert opened().fetch_all("SHOW synchronous_commit") == [("on",)]


def test_whoever_may_not_write_there_is_told_what_is_missing(
    batchgen: Command, manifest: str, database: Database
) -> None:
    database.query("DROP ROLE IF EXISTS guest")
    database.query("CREATE ROLE guest LOGIN")
    url = database.url.replace("tester@", "guest@")
    found = batchgen("doctor", manifest, "--", "--journal", url)
    database.query("CREATE SCHEMA batchgen_list AUTHORIZATION guest")
    database.query("CREATE SCHEMA batchgen AUTHORIZATION guest")
    allowed = batchgen("doctor", manifest, "--", "--journal", url)
    with closing(Journal(JournalAddress(url, "list"), Clock(), HASTY)):
        pass

    assert 'CREATE SCHEMA "batchgen_list"' in found.stdout
    assert 'CREATE SCHEMA "batchgen"' in found.stdout
    assert "can be reached" in allowed.stdout
    with closing(Reader(JournalAddress(url, "list"))) as reader:
        assert reader.has_sent() is False


def test_texts_that_the_database_cannot_hold_are_kept_as_far_as_they_go(
    opened: Callable[..., Journal],
) -> None:
    journal = opened()
    journal.set_error(first(journal), "a\0b")

    assert journal.fetch_all("SELECT error FROM requests WHERE error IS NOT NULL") == [
        ("a\ufffdb",)
    ]
