"""What is asked of the disk at one time, done at once: many rows, one wait for it.

While a lot is on its way to the disk the event loop goes on, and what is asked for meanwhile is the
next lot. Nobody goes on before what he asked for is durable: a POST's body does not leave before
its intent is, and an id is acted upon only when it is on disk (faults.md, W1 to W4).
"""

import asyncio
from collections.abc import Callable, Generator
from threading import Lock

from batchgen.errors import JournalLocked, StoppedEarly, StorageDamaged
from batchgen.journal.database import Database
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.threads import Threads

Write = Callable[[], None]


class PendingWrite:
    """To await it asks for `move` and raises what went wrong; a cancellation waits for that first.

    alone: it is a lot of its own. begun: it is on its way to the disk. made: it is durable.
    noted: so is its receipt, whatever became of the move.
    """

    def __init__(
        self,
        move: Write,
        receipt: Receipt | None,
        alone: bool,
        ask: Callable[["PendingWrite"], None],
    ) -> None:
        self.move = move
        self.receipt = receipt
        self.alone = alone
        self.begun = self.made = self.noted = self.dropped = False
        self.error: BaseException | None = None
        self._ask = ask
        self._settled = asyncio.Event()

    def settle(self, error: BaseException | None) -> None:
        self.made, self.error = error is None, error
        self._settled.set()

    def __await__(self) -> Generator[None, None, None]:
        return self._made().__await__()

    async def _made(self) -> None:
        self._ask(self)
        cancelled = await self._until_settled()
        if self.error is not None:
            raise self.error
        if cancelled is not None:
            raise cancelled

    async def drop(self) -> bool:
        """Let it not be made any more; return whether it was too late for that."""
        self.dropped = True
        task = asyncio.current_task()
        if self.begun and await self._until_settled() and task is not None:
            task.cancel()  # what it came to must be recorded before that goes on
        return self.made

    async def _until_settled(self) -> asyncio.CancelledError | None:
        """Return the cancellation that came meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        while not self._settled.is_set():
            try:
                await self._settled.wait()
            except asyncio.CancelledError as stop:
                cancelled = stop
        return cancelled


class WriteQueue:
    """Moves of rows: each opens a transaction of its own, which joins that of the others.

    A move may refuse with StoppedEarly before it has written anything, which stops no other. After
    any other error none of its lot was made. While a run goes on nobody else writes to the journal.
    Raises MemoryError where there is not enough for a thread.

    failure: what the journal's disk once answered; what was durable before may still be so, or not.
    unnoted: what receipts.log's did.
    """

    def __init__(self, storage: Database, receipts: ReceiptLog) -> None:
        self._storage = storage
        self._receipts = receipts
        self.failure: StorageDamaged | None = None
        self.unnoted: OSError | None = None
        self._due: list[PendingWrite] = []
        self._busy = False
        self._thread = Threads(1)
        self._noting = Lock()

    def close(self) -> None:
        self._thread.shutdown()

    def do(
        self, move: Write, receipt: Receipt | None = None, *, alone: bool = False
    ) -> PendingWrite:
        """Await what this returns, once. receipt: written when the move was tried."""
        return PendingWrite(move, receipt, alone, self._ask)

    def note(self, *lot: PendingWrite) -> None:
        """Write the receipts of these. A disk that failed once is not asked again."""
        with self._noting:
            if self.unnoted is not None or not lot:
                return
            try:
                self._receipts.append(*[due.receipt for due in lot if due.receipt is not None])
            except OSError as error:
                self.unnoted = error
            else:
                for due in lot:
                    due.noted = True

    def _ask(self, due: PendingWrite) -> None:
        self._due.append(due)
        self._go_on()

    def _go_on(self) -> None:
        if self._due and not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        alone = next((due for due in self._due if due.alone), None)
        lot = self._due if alone is None else [alone]
        self._due = [due for due in self._due if due is not alone] if alone else []
        for due in lot:
            due.begun = True
        try:
            self._make(lot)
            on_its_way = asyncio.wrap_future(self._thread.submit(self._finish, lot))
        except Exception as error:  # noqa: BLE001
            self._end(lot, error)
        else:
            on_its_way.add_done_callback(lambda done: self._end(lot, done.exception()))

    def _make(self, lot: list[PendingWrite]) -> None:
        self._storage.begin()
        for due in lot:
            try:
                if due.dropped:
                    raise StoppedEarly("Nobody wants this move any more.")
                due.move()
            except StoppedEarly as refusal:
                due.error = refusal
        self._storage.hand_over()

    def _finish(self, lot: list[PendingWrite]) -> None:
        """In a thread: the journal first, but its failure must not lose a paid request."""
        try:
            self._storage.commit()
        finally:
            self.note(*[due for due in lot if due.receipt is not None and due.error is None])

    def _end(self, lot: list[PendingWrite], error: BaseException | None) -> None:
        if error is not None:
            try:
                self._storage.rollback()
            except StorageDamaged as worse:
                error = worse
            if isinstance(error, StorageDamaged) and not isinstance(error, JournalLocked):
                self.failure = error
        for due in lot:
            due.settle(due.error or error)
        self._busy = False
        self._go_on()
