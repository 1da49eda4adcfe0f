"""What ends a run from outside: signals, where the process is the run's, or the program that called
it.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batchgen.engine.engine import Engine
from batchgen.engine.run_outcome import RUN_AGAIN, RunOutcome
from batchgen.errors import Interrupted
from batchgen.log import write_stderr

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BY_PROGRAM = "Stopped by the program that called it."


def heeded_signals() -> list[signal.Signals]:
    """Return which of SIGNALS end a run here: none outside of the main thread.

    Nor what the process ignores: `nohup` and a script's `&` mean that it goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


class Stop:
    """A program's way to end the run that it called, from any thread: as SIGTERM does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._hear: Callable[[], None] | None = None

    def ask(self) -> None:
        with self._lock:
            self._asked += 1
            hear = self._hear
        if hear is not None:
            hear()

    def check(self) -> None:
        """Raise Interrupted if it was asked for, before anything was sent."""
        if self._asked:
            code = 128 + signal.SIGTERM
            raise Interrupted(f"{BY_PROGRAM} Nothing was sent.", RUN_AGAIN, code)

    @contextmanager
    def heard_by(self, hear: Callable[[], None], *, earlier: bool) -> Iterator[None]:
        """Call `hear` for each time that it is asked for in the block.

        earlier: also if it was asked for before.
        """
        with self._lock:
            before, self._hear = self._hear, hear
            due = earlier and self._asked
        if due:
            hear()
        try:
            yield
        finally:
            with self._lock:
                self._hear = before


@contextmanager
def heard(stop: Stop) -> Iterator[list[signal.Signals]]:
    """Yield the signals that come in the block, during which the event loop does not run.

    What the program asks for counts as SIGTERM.
    """
    found: list[signal.Signals] = []

    def hear(number: int, frame: object) -> None:
        found.append(signal.Signals(number))

    with stop.heard_by(lambda: found.append(signal.SIGTERM), earlier=False):
        before = {number: signal.signal(number, hear) for number in heeded_signals()}
        try:
            yield found
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def ended_by(engine: Engine, stop: Stop, drain: float) -> Iterator[None]:
    """Once: submit nothing more. Ctrl-C collects what is in flight first; SIGTERM and SIGHUP, whose
    senders do not wait long, only wait for open POSTs, `drain` seconds. Twice: leave now.

    What handled signals before does so again after the block. Only `heeded_signals` are touched.
    """
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    leaving: list[asyncio.TimerHandle] = []

    def on(number: signal.Signals, reason: str) -> None:
        seen.append(number)
        ending = RunOutcome(128 + number, reason, RUN_AGAIN, calm=True)
        if len(seen) > 1:
            engine.abort(ending)
        elif number is signal.SIGINT:
            write_stderr("Stopping: collecting what is in flight. Ctrl-C again leaves at once.")
            engine.stop(ending)
        else:
            engine.drain(ending)
            # A POST ends by itself, but it may take what its body takes to be sent.
            leaving.append(loop.call_later(drain, engine.abort, ending))

    def by_program() -> None:
        loop.call_soon_threadsafe(on, signal.SIGTERM, BY_PROGRAM)

    before = {number: signal.getsignal(number) for number in heeded_signals()}
    for number in before:
        loop.add_signal_handler(number, on, number, f"Interrupted by {number.name}.")
    try:
        with stop.heard_by(by_program, earlier=True):
            yield
    finally:
        for timer in leaving:
            timer.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # None: installed by what is not Python, which nobody here can put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
