"""A thread pool whose threads are all started before there is any work.

Where memory is short, `threading.Thread.start` waits for ever for a thread that dies before it
reports that it runs, and `concurrent.futures` starts its threads in the middle of the work. Here a
failure to start comes at the beginning, when nothing has been paid for.
"""

import _thread
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

START_TIMEOUT_S = 30.0
SHUTDOWN_TIMEOUT_S = 5.0

P = ParamSpec("P")
T = TypeVar("T")
Work = tuple["Future[Any]", Callable[[], Any]]


class Threads(Executor):
    """A pool of `count` threads. Raises MemoryError where they cannot be started.

    shutdown_timeout: seconds that running calls get to end; the interpreter does not wait for them.
    """

    def __init__(self, count: int, *, shutdown_timeout: float = SHUTDOWN_TIMEOUT_S) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._reports: SimpleQueue[object] = SimpleQueue()
        self._running = 0
        self._shut = False
        try:
            self._start(count)
        except BaseException:
            self.shutdown()
            raise

    def _start(self, count: int) -> None:
        # Gets the error of a thread that dies at its start. A Python function would need memory.
        hook, sys.unraisablehook = sys.unraisablehook, self._reports.put
        try:
            for _ in range(count):
                _thread.start_new_thread(_serve, (self._work, self._reports))
                if self._reports.get(timeout=START_TIMEOUT_S) is not True:
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
        """End the threads; wait for running calls, for `shutdown_timeout` at most.

        cancel_futures: whether calls that have not started are cancelled.
        """
        if not self._shut:
            self._shut = True
            with suppress(Empty):
                while cancel_futures and (work := self._work.get_nowait()):
                    work[0].cancel()
            for _ in range(self._running):
                self._work.put(None)
        end = time.monotonic() + self._shutdown_timeout
        with suppress(Empty):
            while wait and self._running:
                self._reports.get(timeout=max(end - time.monotonic(), 0.0))
                self._running -= 1


def _serve(work: "SimpleQueue[Work | None]", reports: "SimpleQueue[object]") -> None:
    reports.put(True)
    while (one := work.get()) is not None:
        _do(*one)
        del one  # or its result would be kept until the next call
    reports.put(None)


def _do(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        else:
            future.set_result(result)
