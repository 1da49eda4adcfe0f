"""Group commit: the writes of many rows share one transaction, and one wait for the disk.

A commit waits until the disk confirms, and a disk confirms some hundreds of times a second. So the
writes that are asked for at about the same time are made in one transaction:

1. The first write that is enqueued schedules a group. The event loop first runs what is ready, so
   that other rows add theirs.
2. Every write of the group is made inside one transaction, on the event loop.
3. COMMIT, and after it the receipts, are written by a thread. Meanwhile the event loop goes on, and
   what is enqueued waits for the next group.
4. Where a database does not answer, the receipts are written at once, and the group waits in the
   thread until it does, or for as long as `Timing.database_away`. What comes meanwhile waits too,
   so no other body leaves. Then the group is settled if its commit was made, and made again if not.
   Questions of a run under way wait for it as long, beside the event loop.
5. Each caller goes on only when its own write is durable. So the body of a paid POST does not leave
   before its row is recorded as being submitted (W1), and nobody acts on a request_id that is not
   on the disk (W2). Source: docs/maintainers/specification.md, "Where it is written".
"""

import asyncio
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import (
    BatchgenError,
    JournalLocked,
    JournalTaken,
    JournalUnreachable,
    StoppedEarly,
    StorageDamaged,
)
from batchgen.journal.database import Database
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.threads import Threads

Write = Callable[[], None]
T = TypeVar("T")
STEP_S = 0.25  # between two tries to ask


@dataclass(eq=False)
class PendingWrite:
    """A write to be awaited, once.

    Awaiting it enqueues it, returns when it is durable, and raises what went wrong. A cancellation
    is raised only after the write has been settled.

    receipt: to be written after the commit, whether that comes about or not. alone: makes it a
    group of its own. started: its group is being written. committed: it is durable.
    receipt_written: so is its receipt.
    """

    write: Write
    receipt: Receipt | None
    alone: bool
    _enqueue: Callable[["PendingWrite"], None]
    started: bool = False
    committed: bool = False
    receipt_written: bool = False
    cancelled: bool = False
    error: BaseException | None = None
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, error: BaseException | None) -> None:
        self.committed, self.error = error is None, error
        self._settled.set()

    def __await__(self) -> Generator[None, None, None]:
        return self._durable().__await__()

    async def _durable(self) -> None:
        self._enqueue(self)
        cancelled = await self._until_settled()
        if self.error is not None:
            raise self.error
        if cancelled is not None:
            raise cancelled

    async def cancel(self) -> bool:
        """Take the write back, unless its group has started; return whether it was committed."""
        self.cancelled = True
        task = asyncio.current_task()
        if self.started and await self._until_settled() and task is not None:
            task.cancel()  # again, since the caller has to record the outcome before it ends
        return self.committed

    async def _until_settled(self) -> asyncio.CancelledError | None:
        """Return the cancellation that came meanwhile; None if none did."""
        cancelled: asyncio.CancelledError | None = None
        while not self._settled.is_set():
            try:
                await self._settled.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        return cancelled


class WriteQueue:
    """Writes groups. Each write opens a transaction of its own, which joins the group's.

    A write may refuse with StoppedEarly before it has written anything, which stops no other. After
    any other error of ours none of its group is written; after a mistake each is tried alone. While
    a run goes on nobody else writes to the journal. Raises MemoryError where there is not enough
    for a thread.

    failure: the journal's first error, after which nobody knows what is durable; None without.
    is_away: the database does not answer, and a group waits for it.
    receipts_failure: the first error of receipts.log, which is not written to again; None without.
    """

    def __init__(
        self, database: Database, receipts: ReceiptLog, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._database = database
        self._timing = timing
        self._receipts = receipts
        self.failure: StorageDamaged | None = None
        self.is_away = False
        self.receipts_failure: OSError | None = None
        self._waiting: list[PendingWrite] = []
        self._busy = False
        self._thread = Threads(1)
        self._receipts_lock = Lock()

    def close(self) -> None:
        self._thread.shutdown()

    def enqueue(
        self, write: Write, receipt: Receipt | None = None, *, alone: bool = False
    ) -> PendingWrite:
        """Return what is to be awaited, once."""
        return PendingWrite(write, receipt, alone, self._add)

    async def read(self, question: Callable[[], T]) -> T:
        """Ask what is committed; where the database does not answer, ask again when it is back.

        question: may be asked several times. Waits as long as a write, and not on the event loop.
        Raises JournalUnreachable then, and as a write does.
        """
        until = time.monotonic() + self._timing.database_away
        while True:
            if not self.is_away:
                try:
                    with self._database.at_once():
                        return question()
                except JournalUnreachable:
                    if time.monotonic() >= until:  # it answers to writes alone
                        raise
                    await asyncio.sleep(STEP_S)
            await self.enqueue(lambda: None)

    def passes(self, error: BaseException) -> bool:
        """Whether what failed may be tried again: a lock was waited for, or nobody answered."""
        return self.failure is None and isinstance(error, JournalLocked | JournalUnreachable)

    def write_receipts(self, *group: PendingWrite) -> None:
        """Write the receipts of these, unless receipts.log has failed before."""
        with self._receipts_lock:
            if self.receipts_failure is not None or not group:
                return
            try:
                self._receipts.append(*[p.receipt for p in group if p.receipt is not None])
            except OSError as error:
                self.receipts_failure = error
            else:
                for pending in group:
                    pending.receipt_written = True

    def _add(self, pending: PendingWrite) -> None:
        self._waiting.append(pending)
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._start_group)

    def _start_group(self) -> None:
        alone = next((pending for pending in self._waiting if pending.alone), None)
        group = self._waiting if alone is None else [alone]
        self._waiting = [p for p in self._waiting if p is not alone] if alone else []
        for pending in group:
            pending.started = True
        loop = asyncio.get_running_loop()

        def tell(done: "Future[bool]") -> None:
            error = done.exception()
            again = error is None and not done.result()
            end = self._write_again if again else self._end_group
            with suppress(RuntimeError):  # the loop was closed meanwhile, and nobody waits
                loop.call_soon_threadsafe(end, group, error)

        try:
            try:
                with self._database.at_once():
                    self._write(group)
                work = self._commit
            except JournalUnreachable:
                work = self._come_back
            # One turn of the loop less than by a future of asyncio's.
            self._thread.submit(work, group).add_done_callback(tell)
        except Exception as error:  # noqa: BLE001
            self._write_receipts_of(group)  # an id in hand is on the disk, whatever comes now
            if len(group) > 1 and not isinstance(error, BatchgenError):
                self._write_each_alone(group, error)
            else:
                self._end_group(group, error)

    def _write_each_alone(self, group: list[PendingWrite], error: Exception) -> None:
        """One write of the group cannot be made, by a mistake: it is not that of the others."""
        for pending in group:
            pending.alone = True
        try:
            self._write_again(group, None)
        except StorageDamaged:
            self._end_group(group, error)

    def _write(self, group: list[PendingWrite]) -> None:
        self._database.begin()
        for pending in group:
            try:
                if pending.cancelled:
                    raise StoppedEarly("This write was taken back.")
                pending.write()
            except StoppedEarly as refusal:
                pending.error = refusal
        self._database.hand_over()

    def _commit(self, group: list[PendingWrite]) -> bool:
        """In the thread. The receipts are written even if the journal fails: a request_id that the
        journal could not keep is found by its receipt. Returns as `_come_back`.
        """
        try:
            self._database.commit()
        except JournalUnreachable:
            return self._come_back(group)
        finally:
            self._write_receipts_of(group)
        return True

    def _come_back(self, group: list[PendingWrite]) -> bool:
        """In the thread: wait for the database. Returns whether the group is committed, False where
        it has to be made again. Raises JournalUnreachable after a while, and JournalTaken.
        """
        self._write_receipts_of(group)
        self.is_away = True
        try:
            return self._database.come_back()
        finally:
            self.is_away = False

    def _write_receipts_of(self, group: list[PendingWrite]) -> None:
        self.write_receipts(
            *[
                p
                for p in group
                if p.receipt is not None and p.error is None and not p.receipt_written
            ]
        )

    def _write_again(self, group: list[PendingWrite], _: BaseException | None) -> None:
        self._database.rollback()
        for pending in group:
            pending.error = None
        self._waiting = [*group, *self._waiting]
        self._busy = False
        self._schedule()

    def _end_group(self, group: list[PendingWrite], error: BaseException | None) -> None:
        if error is not None:
            if isinstance(error, JournalTaken):
                self._hand_in(group)
            try:
                self._database.rollback()
            except StorageDamaged as worse:
                error = worse
            if isinstance(error, StorageDamaged) and not isinstance(error, JournalLocked):
                self.failure = error
        for pending in group:
            pending.settle(pending.error or error)
        self._busy = False
        self._schedule()

    def _hand_in(self, group: list[PendingWrite]) -> None:
        """Another run goes on: it may have taken a row for unknown whose id came here."""
        receipts = [pending.receipt for pending in group if pending.receipt is not None]
        self.write_receipts(*[p for p in group if p.receipt is not None and not p.receipt_written])
        if receipts:
            with suppress(StorageDamaged):  # the next run from here finds it in receipts.log
                self._database.hand_in(*receipts)
