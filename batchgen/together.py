"""Moves of one tick of the event loop in one transaction: many rows, one wait for the disk.

For what is free to be done again after a crash: a result is asked for again, and a file is known by
its hash. Money moves are committed one by one, before anything else happens.
"""

import asyncio
from collections.abc import Callable

from batchgen.storage import Storage

Move = Callable[[], None]


class Together:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._due: list[tuple[Move, asyncio.Future[None]]] = []

    async def do(self, move: Move) -> None:
        """Return once `move`, which opens a transaction of its own, is durable with the others.

        Raises what any of them raised, and StorageDamaged; then none of them was made.
        """
        loop = asyncio.get_running_loop()
        if not self._due:
            loop.call_soon(self._commit)
        done: asyncio.Future[None] = loop.create_future()
        self._due.append((move, done))
        await done

    def _commit(self) -> None:
        due, self._due = self._due, []
        failure: Exception | None = None
        try:
            with self._storage.transaction():
                for move, _ in due:
                    move()
        except Exception as error:  # noqa: BLE001
            failure = error
        for _, done in due:
            if done.cancelled():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)
