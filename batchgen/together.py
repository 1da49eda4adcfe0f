"""What is asked of the disk at one time, done at once: many rows, one wait for it.

While a lot is on its way to the disk the event loop goes on, and what is asked for meanwhile is the
next lot. Nobody goes on before what he asked for is durable: a POST's body does not leave before
its intent is, and an id is acted upon only when it is on disk (faults.md, W1 to W4).
"""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from batchgen.errors import JournalLocked, StoppedEarly, StorageDamaged
from batchgen.receipts import Receipt, Receipts
from batchgen.storage import Storage

Item = TypeVar("Item")
Move = Callable[[], None]


class Due(Generic[Item]):
    """To await it asks for `item` and raises what went wrong; a cancellation waits for that first.

    alone: it is a lot of its own. begun: it is on its way to the disk. made: it is durable.
    """

    def __init__(self, item: Item, ask: Callable[["Due[Item]"], None], alone: bool) -> None:
        self.item = item
        self.alone = alone
        self.begun = self.made = self.dropped = False
        self.error: BaseException | None = None
        self._ask = ask
        self._settled = asyncio.Event()

    def settle(self, error: BaseException | None) -> None:
        self.made, self.error = error is None, error
        self._settled.set()

    def __await__(self) -> Generator[Any, None, None]:
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


class _Together(Generic[Item]):
    """prepare: called with a lot on the event loop; finish: then, with it, in a thread, where it
    becomes durable; undo: where either fails, so that nothing of the lot is made.
    """

    def __init__(
        self,
        prepare: Callable[[list[Due[Item]]], None],
        finish: Callable[[list[Due[Item]]], None],
        undo: Callable[[BaseException], None],
    ) -> None:
        self._prepare, self._finish, self._undo = prepare, finish, undo
        self._due: list[Due[Item]] = []
        self._busy = False
        self._thread = ThreadPoolExecutor(1)

    def close(self) -> None:
        self._thread.shutdown()

    def do(self, item: Item, *, alone: bool = False) -> Due[Item]:
        """Await what this returns, once."""
        return Due(item, self._ask, alone)

    def _ask(self, due: Due[Item]) -> None:
        self._due.append(due)
        self._go_on()

    def _go_on(self) -> None:
        if self._due and not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        lot = next(([due] for due in self._due if due.alone), self._due)
        self._due = [due for due in self._due if due not in lot]
        for due in lot:
            due.begun = True
        try:
            self._prepare(lot)
            on_its_way = asyncio.wrap_future(self._thread.submit(self._finish, lot))
        except Exception as error:  # noqa: BLE001
            self._end(lot, error)
        else:
            on_its_way.add_done_callback(lambda done: self._end(lot, done.exception()))

    def _end(self, lot: list[Due[Item]], error: BaseException | None) -> None:
        if error is not None:
            self._undo(error)
        for due in lot:
            due.settle(due.error or error)
        self._busy = False
        self._go_on()


class Moves(_Together[Move]):
    """Moves of rows: each opens a transaction of its own, which joins that of the others.

    A move may refuse with StoppedEarly before it has written anything, which stops no other. After
    any other error none of them was made. While a run goes on, nobody else writes to the journal.

    failure: what the disk once answered; what was durable before may still be so, or not.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(self._make, lambda lot: storage.commit(), self._failed)
        self._storage = storage
        self.failure: StorageDamaged | None = None

    def _make(self, lot: list[Due[Move]]) -> None:
        self._storage.begin()
        for due in lot:
            try:
                if due.dropped:
                    raise StoppedEarly("Nobody wants this move any more.")
                due.item()
            except StoppedEarly as refusal:
                due.error = refusal
        self._storage.lend()

    def _failed(self, error: BaseException) -> None:
        self._storage.undo()
        if isinstance(error, StorageDamaged) and not isinstance(error, JournalLocked):
            self.failure = error


class Lines(_Together[Receipt]):
    """Lines of receipts.log; waiting for one raises OSError where the disk fails."""

    def __init__(self, receipts: Receipts) -> None:
        super().__init__(
            lambda lot: None,
            lambda lot: receipts.append(*[due.item for due in lot]),
            lambda error: None,
        )
