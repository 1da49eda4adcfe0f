"""Runs a program of others, bounded in time and in what it says; it ends with what it started."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

STEP_S = 0.1  # how soon the end of a silent program is seen
LAST_WORDS_S = 1.0  # for what it printed, where what it left behind goes on printing
PIECE_BYTES = 1 << 16
KILLED = "ended by signal"
MAX_LINES = 200
MAX_LINE_BYTES = 2000


def run_program(
    words: Sequence[str],
    given: bytes,
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
    said: Callable[[str], None],
) -> str:
    """Run a program to its end; return why it failed, "" if it did not.

    given: on its standard input, whether it reads that or not. folder: in which it runs.
    said: called with each line that it prints, of both streams, MAX_LINES at most.
    After `seconds`, and when a signal ends this call, the program is killed with all that it
    started and that did not leave its process group.
    """
    try:
        program = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,  # so that the whole group can be ended
        )
    except (OSError, ValueError) as error:
        return f"it cannot be started: {error}"
    lines = _Lines(said)
    with program, selectors.DefaultSelector() as selector:
        try:
            in_time = _converse(program, selector, given, lines, seconds)
        finally:
            if program.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
            lines.close()
    if not in_time:
        return f"it took longer than {seconds:g} s, and was ended"
    code = program.returncode
    return "" if code == 0 else f"exit code {code}" if code > 0 else f"{KILLED} {-code}"


def _converse(
    program: "subprocess.Popen[bytes]",
    selector: selectors.BaseSelector,
    given: bytes,
    lines: "_Lines",
    seconds: float,
) -> bool:
    """Write to and read from a program until it has ended; return whether it did so in time."""
    for stream, event in (
        (program.stdin, selectors.EVENT_WRITE),
        (program.stdout, selectors.EVENT_READ),
    ):
        if stream is not None:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, event)
    end, ended = time.monotonic() + seconds, False
    while True:
        if not ended and program.poll() is not None:
            ended, end = True, time.monotonic() + LAST_WORDS_S
        ready = {key.fileobj for key, _ in selector.select(0 if ended else STEP_S)}
        if program.stdin in ready:
            given = _write(program.stdin, given)
            if not given:
                selector.unregister(program.stdin)
                program.stdin.close()
        if program.stdout in ready:
            if piece := os.read(program.stdout.fileno(), PIECE_BYTES):
                lines.add(piece)
            else:
                selector.unregister(program.stdout)
        elif ended:
            return True
        if time.monotonic() > end:
            return ended


def _write(stream: IO[bytes], given: bytes) -> bytes:
    """Write what a pipe takes; return what is left, nothing where nobody reads it."""
    try:
        return given[os.write(stream.fileno(), given[:PIECE_BYTES]) :]
    except BlockingIOError:
        return given
    except BrokenPipeError:
        return b""


class _Lines:
    """Hands bytes on as lines, and not without end."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said = said
        self._rest = b""
        self._count = 0

    def add(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._say(line)
        self._rest = self._rest[:MAX_LINE_BYTES]

    def close(self) -> None:
        if self._rest:
            self._say(self._rest)
        if self._count > MAX_LINES:
            self._said(f"… and {self._count - MAX_LINES} more lines")

    def _say(self, line: bytes) -> None:
        self._count += 1
        if self._count <= MAX_LINES:
            self._said(line[:MAX_LINE_BYTES].decode(errors="replace"))
