"""Ends a process that does not come to its end.

At the end of a run much is waited for: threads, check processes, the sandbox, connections, the
disk. Each of these waits has a limit of its own; this is for the one that nobody thought of, which
would keep the folder locked night after night. It counts only seconds in which the process does
nothing, since the reports of a million rows take minutes.
"""

import os
import select
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from batchgen.errors import StoppedEarly
from batchgen.threads import Threads

STEP_S = 0.1
IDLE_SHARE = 0.01  # of a processor; to wait takes less, and work of any kind more
_PACKAGE = str(Path(__file__).parents[1])


class Watchdog:
    """Watches from `begin` to the end of its block. Its thread is started at once.

    patience: seconds without any work of the process, after which it ends with StoppedEarly's code.
    Raises MemoryError where there is not enough for the thread.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._main = threading.get_ident()
        self._begun, self._closed = threading.Lock(), threading.Event()
        self._begun.acquire()
        self._threads = Threads(1)

    def __enter__(self) -> "Watchdog":
        self._threads.submit(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.begin()
        self._threads.shutdown()

    def begin(self) -> None:
        """Watch from now on: nothing is left that may take as long as it likes."""
        if self._begun.locked():
            self._begun.release()

    def _watch(self) -> None:
        self._begun.acquire()
        idle, worked = 0.0, time.process_time()
        while not self._closed.wait(STEP_S):
            before, worked = worked, time.process_time()
            idle = idle + STEP_S if worked - before < STEP_S * IDLE_SHARE else 0.0
            if idle > self._patience:
                self._end()

    def _end(self) -> None:
        """Leave without anything that could wait: no lock is taken, and nothing is closed."""
        where = _place(sys._current_frames().get(self._main))
        text = (
            f"The run did not come to its end for {self._patience:.0f} s (in {where}), so it was"
            " ended. Nothing that was sent is lost.\n  Run the same command again to go on.\n"
        )
        try:
            if select.select([], [2], [], 0)[1]:  # a terminal may be stopped, a pipe full
                os.write(2, text.encode())
        finally:
            os._exit(StoppedEarly.exit_code)


def _place(frame: FrameType | None) -> str:
    """Return the innermost function of this package that a thread is in."""
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "the interpreter"
    return f"{Path(frame.f_code.co_filename).name}, {frame.f_code.co_name}"
