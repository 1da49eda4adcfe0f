"""What one tick of the event loop asks of the disk, done at once: many rows, one wait for it.

Nobody goes on before what he asked for is durable: a POST's body does not leave before its intent
is, and an id is acted upon only when it is on disk (faults.md, W1 to W4).
"""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from batchgen.errors import JournalLocked, StoppedEarly, StorageDamaged
from batchgen.receipts import Receipt, Receipts
from batchgen.storage import Storage

Item = TypeVar("Item")
Move = Callable[[], None]


class Due(Generic[Item]):
    """To await it asks for `item` and raises what went wrong; a cancellation waits for that first.

    made: it is durable. dropped: set it where it must not be made any more.
    """

    def __init__(self, item: Item, ask: Callable[["Due[Item]"], None]) -> None:
        self.item = item
        self._ask = ask
        self.made = False
        self.dropped = False
        self.error: Exception | None = None
        self._news: asyncio.Future[None] | None = None

    def settle(self, error: Exception | None) -> None:
        self.made, self.error = error is None, error
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def __await__(self) -> Generator[Any, None, None]:
        cancelled: asyncio.CancelledError | None = None
        self._ask(self)
        while not self.made and self.error is None:
            self._news = asyncio.get_running_loop().create_future()
            try:
                yield from self._news
            except asyncio.CancelledError as stop:
                cancelled = stop
        if self.error is not None:
            raise self.error
        if cancelled is not None:
            raise cancelled


class _Together(Generic[Item]):
    def __init__(self) -> None:
        self._due: list[Due[Item]] = []

    def do(self, item: Item) -> Due[Item]:
        """Await what this returns, once."""
        return Due(item, self._ask)

    def _ask(self, due: Due[Item]) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._act)
        self._due.append(due)

    def _act(self) -> None:
        due, self._due = self._due, []
        try:
            self._make(due)
        except Exception as error:  # noqa: BLE001
            for each in due:
                each.settle(each.error or error)
        else:
            for each in due:
                each.settle(each.error)

    def _make(self, due: list[Due[Item]]) -> None:
        """Make all of it durable, or raise. What cannot be made by itself gets an `error`."""
        raise NotImplementedError


class Moves(_Together[Move]):
    """Moves of rows: each opens a transaction of its own, which joins that of the others.

    A move may refuse with StoppedEarly before it has written anything, which stops no other. After
    any other error none of them was made.

    failure: what the disk once answered; what was durable before may still be so, or not.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self.failure: StorageDamaged | None = None

    def _make(self, due: list[Due[Move]]) -> None:
        try:
            with self._storage.transaction():
                for each in due:
                    self._make_one(each)
        except JournalLocked:
            raise  # nothing was written
        except StorageDamaged as failure:
            self.failure = failure
            raise

    def _make_one(self, due: Due[Move]) -> None:
        try:
            if due.dropped:
                raise StoppedEarly("Nobody wants this move any more.")
            due.item()
        except StoppedEarly as refusal:
            due.error = refusal


class Lines(_Together[Receipt]):
    """Lines of receipts.log; waiting for one raises OSError where the disk fails."""

    def __init__(self, receipts: Receipts) -> None:
        super().__init__()
        self._receipts = receipts

    def _make(self, due: list[Due[Receipt]]) -> None:
        self._receipts.append(*[each.item for each in due])
