"""asyncio, with all threads from the beginning and none for its end.

asyncio's own starts threads when there is something for them to do, and one more to close down. A
run that is short of memory waited for ever for that one, and kept its folder locked.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, TypeVar, TypeVarTuple

from batchgen.threads import Threads

THREADS = 8  # as many downloads are checked at one time

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. Raises MemoryError before anything is done if there is not enough."""
    with closing(main), asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main)


class Loop(asyncio.SelectorEventLoop):
    """Its own threads are the default executor, of `asyncio.to_thread` and `getaddrinfo`."""

    def __init__(self) -> None:
        self._threads = Threads(THREADS)
        try:
            super().__init__()
        except BaseException:
            self._threads.shutdown()
            raise

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        return super().run_in_executor(executor or self._threads, func, *args)

    async def shutdown_default_executor(self) -> None:
        """Nothing: there is no other executor, and `close` ends the threads."""

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        super().close()
