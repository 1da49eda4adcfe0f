"""asyncio, with all threads from the beginning and none for its end.

asyncio's own starts threads when there is something for them to do, and one more to close down. A
run that is short of memory waited for ever for that one, and kept its folder locked.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from batchgen.errors import out_of_memory
from batchgen.threads import Threads

THREADS = 8  # as many downloads are checked at one time

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. Raises MemoryError before anything is done if there is not enough."""
    with (
        closing(main),
        Threads(THREADS) as threads,
        asyncio.Runner(loop_factory=partial(Loop, threads)) as runner,
    ):
        return runner.run(main)


class Loop(asyncio.SelectorEventLoop):
    """threads: the default executor, of `asyncio.to_thread` and `getaddrinfo`; not ended here."""

    def __init__(self, threads: Threads) -> None:
        super().__init__()
        self._threads = threads

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        return super().run_in_executor(executor or self._threads, func, *args)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Of a lack of memory say nothing: whoever waits for the connection is told of it."""
        error = context.get("exception")
        if error is None or not out_of_memory(error):
            super().default_exception_handler(context)
