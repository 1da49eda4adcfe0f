"""What a write that fails costs the others of its group, and what is on the disk by then."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from batchgen.clock import Clock
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.errors import JournalLocked
from batchgen.journal.group_commit import PendingWrite, WriteQueue
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.journal.writer import Journal

AT = "2026-11-27T03:04:05.678Z"
IMPATIENT = replace(DEFAULT_TIMING, busy=0.01)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "batch.db", Clock(), IMPATIENT)) as opened:
        yield opened


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptLog]:
    with ReceiptLog(tmp_path / "receipts.log") as log:
        yield log


def receipt(n: int) -> Receipt:
    return Receipt(f"{n:032x}", 1, f"req-{n}", AT)


async def settled(pending: PendingWrite) -> Exception | None:
    try:
        await pending
    except Exception as error:  # noqa: BLE001
        return error
    return None


def test_a_mistake_in_one_write_costs_no_other_of_its_group(
    journal: Journal, receipts: ReceiptLog
) -> None:
    def mistaken() -> None:
        journal.set_meta({"half": True})
        raise OverflowError

    async def write() -> list[Exception | None]:
        writes = WriteQueue(journal, receipts)
        try:
            good = [
                writes.enqueue(lambda n=n: journal.set_meta({f"one-{n}": n}), receipt(n))
                for n in range(3)
            ]
            group = [good[0], writes.enqueue(mistaken), *good[1:]]
            return list(await asyncio.gather(*map(settled, group)))
        finally:
            writes.close()

    first, of_the_mistake, *rest = asyncio.run(write())

    assert isinstance(of_the_mistake, OverflowError)
    assert [first, *rest] == [None] * 3
    assert [journal.get_meta(f"one-{n}") for n in range(3)] == [0, 1, 2]
    assert journal.get_meta("half") is None
    assert {one.request_id for one in receipts.since(0)} == {"req-0", "req-1", "req-2"}


def test_an_id_is_on_the_disk_while_another_program_holds_the_journal(
    journal: Journal, receipts: ReceiptLog, tmp_path: Path
) -> None:
    async def write() -> Exception | None:
        writes = WriteQueue(journal, receipts)
        try:
            return await settled(writes.enqueue(lambda: journal.set_meta({"a": 1}), receipt(1)))
        finally:
            writes.close()

    with closing(sqlite3.connect(tmp_path / "batch.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = asyncio.run(write())

    assert isinstance(error, JournalLocked)
    assert [one.request_id for one in receipts.since(0)] == ["req-1"]
