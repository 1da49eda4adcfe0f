"""Threads that are all there before they have anything to do.

Where memory is short, `threading.Thread.start` waits for ever for a thread that dies before it can
say that it runs, and `concurrent.futures` starts its threads so in the middle of the work. These
are asked for at the beginning, where a failure costs nothing, and nothing later needs another.
"""

import _thread
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

STARTS_WITHIN = 30.0  # seconds
GOODBYE = 5.0  # seconds that calls under way get to end; the interpreter waits for none of them

P = ParamSpec("P")
T = TypeVar("T")
Work = tuple["Future[Any]", Callable[[], Any]]


class Threads(Executor):
    """So many threads, and never more. Raises MemoryError where the system has no room for them."""

    def __init__(self, count: int) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._said: SimpleQueue[object] = SimpleQueue()
        self._running = 0
        self._shut = False
        try:
            self._start(count)
        except BaseException:
            self.shutdown()
            raise

    def _start(self, count: int) -> None:
        # What a thread dies of at its start is told here; a function of Python's needs memory too.
        hook, sys.unraisablehook = sys.unraisablehook, self._said.put
        try:
            for _ in range(count):
                _thread.start_new_thread(_serve, (self._work, self._said))
                if self._said.get(timeout=STARTS_WITHIN) is not True:
                    raise MemoryError("a thread died at its start")
                self._running += 1
        except (RuntimeError, Empty) as error:
            raise MemoryError("a thread cannot be started") from error
        finally:
            sys.unraisablehook = hook

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        if self._shut:
            raise RuntimeError("the threads have been told to end")
        future: Future[T] = Future()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end; wait for GOODBYE at most for those that are in the middle of a call.

        cancel_futures: whether calls that were not begun are dropped.
        """
        if cancel_futures and not self._shut:
            with suppress(Empty):
                while work := self._work.get_nowait():
                    work[0].cancel()
        if not self._shut:
            self._shut = True
            for _ in range(self._running):
                self._work.put(None)
        end = time.monotonic() + GOODBYE
        with suppress(Empty):
            while wait and self._running:
                self._said.get(timeout=max(end - time.monotonic(), 0.0))
                self._running -= 1


def _serve(work: "SimpleQueue[Work | None]", said: "SimpleQueue[object]") -> None:
    said.put(True)
    while (one := work.get()) is not None:
        _do(*one)
        del one  # or its result is kept until there is more to do
    said.put(None)


def _do(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        else:
            future.set_result(result)
