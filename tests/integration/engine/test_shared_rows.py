"""The rows that a run has of a batch that other machines work through, out of a real database."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from databases import Database
from helpers import many, table
from sandbox_client import Control

from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.rows import Row
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.machines.shared_rows import SharedRows
from batchgen.engine.policy import Policy
from batchgen.engine.rate_limiter import RateLimiter
from batchgen.engine.run_state import RunState
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.recovery import Recovery
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal

ONE, OTHER = "ideogram/ideogram-v2/generate", "google/imagen-4/text-to-image"
TURN = "hashtextextended('batchgen_list', 2)"  # whose lock is taken to see what others have
# A run waits a second for a lock.
IMPATIENT = replace(DEFAULT_TIMING, busy=1.0)
Act = Callable[[SharedRows, RunState], Coroutine[Any, Any, Any]]


@pytest.fixture
def journal(database: Database) -> Iterator[Journal]:
    """Of a batch whose rows have one model and another one in turn."""
    with closing(Journal(JournalAddress(database.url, "list"), Clock(), IMPATIENT)) as found:
        found.store.let_others_start("running")
        with closing(StagedRows()) as rows:
            for n in range(1, 5):
                model = OTHER if n % 2 else ONE
                rows.add(Row(n, f"list.csv:{n}", f"r{n}", model, {"prompt": f"fox {n}"}, {}))
            Recovery(found).list_rows(rows)
        yield found


def act(journal: Journal, folder: Path, what: Act) -> Any:
    async def run() -> Any:
        writes = WriteQueue(journal, ReceiptLog(folder / "receipts.log"))
        state = RunState(
            Clock(), random.Random(0), IMPATIENT, Policy(rate=20.0),
            RateLimiter(20.0, 20.0), CostEstimator({}, {}, limited=False),
        )  # fmt: skip
        try:
            return await what(SharedRows(journal, state, writes), state)
        finally:
            writes.close()

    return asyncio.run(run())


def held(database: Database) -> list[str]:
    """The rows that a run has."""
    found = database.query("SELECT id FROM batchgen_list.requests WHERE owner IS NOT NULL")
    return sorted(id for (id,) in found)


def test_rows_of_a_model_that_stops_are_left_to_other_machines(
    journal: Journal, database: Database, tmp_path: Path
) -> None:
    async def stop_one(rows: SharedRows, state: RunState) -> Any:
        await rows.next_row()
        before = held(database)
        state.breaker.on_halted(OTHER, "403")
        row = await rows.next_row()
        return before, row and row.id, held(database)

    assert act(journal, tmp_path, stop_one) == (["r1", "r2", "r3", "r4"], "r2", ["r2", "r4"])


def test_rows_are_let_go_of_once_a_lock_is_free(
    journal: Journal, database: Database, tmp_path: Path
) -> None:
    async def close_twice(rows: SharedRows, _: RunState) -> Any:
        await rows.next_row()
        with closing(database.connect()) as stalled:
            stalled.execute("BEGIN; SELECT 1 FROM batchgen_list.requests FOR UPDATE")
            await rows.close()
        before = held(database)
        await rows.close()
        return before, held(database)

    assert act(journal, tmp_path, close_twice) == (["r1", "r2", "r3", "r4"], [])


@pytest.mark.timing(busy=1.0)
def test_a_run_goes_on_after_another_machine_has_kept_it_waiting_for_its_turn(
    run: Command, write: Write, database: Database, sandbox: Control
) -> None:
    manifest = write("list.csv", table(many(3)))
    waits = (
        "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    stalled = database.connect()
    stalled.execute(f"SELECT pg_advisory_lock({TURN})")

    def go_on_once_it_was_waited_for() -> None:
        with closing(stalled):
            for waiting in (1, 0):
                until = time.monotonic() + 60
                while stalled.execute(waits).fetchone() != (waiting,) and time.monotonic() < until:
                    time.sleep(0.02)

    going = threading.Thread(target=go_on_once_it_was_waited_for)
    going.start()
    try:
        found = run(manifest, "--journal", database.url)
    finally:
        going.join()

    assert found.code == 0, found
    assert sandbox.posts == 3
