"""An asyncio event loop whose threads are all started at the beginning.

asyncio's own loop starts threads when there is work for them, and one more when it closes. A run
that was short of memory waited for ever for that one, and kept its folder locked.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from batchgen.errors import out_of_memory
from batchgen.threads import Threads

# As many as asyncio would start; no more downloads than 8 are checked at the same time. Each thread
# costs memory of its own.
THREADS = min(8, (os.cpu_count() or 1) + 4)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. Raises MemoryError before `main` starts if threads cannot be started."""
    with closing(main), started() as runner:
        return runner.run(main)


@contextmanager
def started() -> Iterator[asyncio.Runner]:
    """A loop for several coroutines, one after the other. Raises MemoryError, as `run` does."""
    with (
        Threads(THREADS) as threads,
        asyncio.Runner(loop_factory=partial(Loop, threads)) as runner,
    ):
        yield runner


class Loop(asyncio.SelectorEventLoop):
    """threads: the executor of `asyncio.to_thread` and `getaddrinfo`; the loop does not end it."""

    def __init__(self, threads: Threads) -> None:
        super().__init__()
        self._threads = threads

    def __del__(self) -> None:
        # A loop that could not be made, for lack of a descriptor, has nothing to close.
        with suppress(AttributeError):
            super().__del__()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        return super().run_in_executor(executor or self._threads, func, *args)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Report nothing of a lack of memory, which is raised where the connection is awaited."""
        error = context.get("exception")
        if error is None or not out_of_memory(error):
            super().default_exception_handler(context)
