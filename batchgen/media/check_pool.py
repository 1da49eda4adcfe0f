"""Who checks downloads while the event loop goes on: a thread at first, then processes.

A thread shares the interpreter with the loop, and the two keep each other waiting. A process does
not, but to start one takes as long as a thread needs for a hundred small pictures. A decoder that
crashes takes its process along, and not the run.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from batchgen.api.credentials import TOKEN_VARIABLES
from batchgen.media.check import CheckedFile, MediaBroken, check_file
from batchgen.media.formats import Format
from batchgen.media.xmp import Provenance

CHECKS_BY_THREAD = 100  # downloads of a run
MAX_PROCESSES = 4  # more than there may be cores, since each waits for the disk most of the time
MAX_LARGE_CHECKS = 2  # files that were not held in memory: each is there several times when checked
EXIT_TIMEOUT_S = 5.0  # seconds until a process that does not end is made to
# The child finds what we import where we found it.
CHILD = "import sys; sys.path[:] = sys.argv[1:]; from batchgen.media import check; check.main()"

Answer = dict[str, Any]


class CheckPool:
    """Its processes end when it is closed, or when this one dies."""

    def __init__(self) -> None:
        self._given = 0
        self._places = asyncio.Semaphore(MAX_PROCESSES)
        self._places_of_large = asyncio.Semaphore(MAX_LARGE_CHECKS)
        self._started: list[_Checker] = []
        self._idle: list[_Checker] = []

    async def check(
        self, part: Path, format: Format, content: bytes | None, facts: Provenance | None
    ) -> CheckedFile:
        """As `checking.check`, off the event loop."""
        async with self._places_of_large if content is None else nullcontext():
            return await self._check(part, format, content, facts)

    async def _check(
        self, part: Path, format: Format, content: bytes | None, facts: Provenance | None
    ) -> CheckedFile:
        self._given += 1
        if self._given <= CHECKS_BY_THREAD:
            return await asyncio.to_thread(check_file, part, format, content, facts)
        async with self._places:
            try:
                checker = self._idle.pop() if self._idle else await self._start()
            except (OSError, MemoryError):  # there is no process to be had
                return await asyncio.to_thread(check_file, part, format, content, facts)
            answer = None
            try:
                answer = await checker.ask(part, content, facts)
            finally:  # dead, or given up in the middle
                if answer is None:
                    checker.kill()
                else:
                    self._idle.append(checker)
        return _fetched(part, format, answer)

    def close(self) -> None:
        for checker in self._started:
            checker.leave()
        end = time.monotonic() + EXIT_TIMEOUT_S
        for checker in self._started:
            checker.reap(max(end - time.monotonic(), 0.0))

    async def _start(self) -> "_Checker":
        # asyncio's own processes are each watched by another thread (in Python 3.11).
        environment = [entry for entry in os.environ.items() if entry[0] not in TOKEN_VARIABLES]
        ours, its = socket.socketpair()
        with its:
            answers, orders = await asyncio.open_connection(sock=ours)
            try:
                process = subprocess.Popen(
                    (sys.executable, "-c", CHILD, *sys.path),
                    stdin=its.fileno(),
                    stdout=its.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C is for us
                )
            except BaseException:
                orders.transport.abort()
                raise
        checker = _Checker(process, answers, orders)
        self._started.append(checker)
        return checker


class _Checker:
    """A process: it is sent a line of JSON and a download, and answers with a line of JSON."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        answers: asyncio.StreamReader,
        orders: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._answers, self._orders = answers, orders

    async def ask(self, part: Path, content: bytes | None, facts: Provenance | None) -> Answer:
        """Raises MediaBroken where the process dies of it."""
        order = {"part": str(part), "facts": facts, "size": content and len(content)}
        line = b""
        with suppress(ConnectionError):
            self._orders.write(json.dumps(order).encode() + b"\n" + (content or b""))
            await self._orders.drain()
            line = await self._answers.readline()
        if not line.endswith(b"\n"):
            raise MediaBroken("the process that decoded it died of it")
        answer: Answer = json.loads(line)
        return answer

    def kill(self) -> None:
        self._process.kill()

    def leave(self) -> None:
        """Let the process end when it has done what it was given."""
        self._orders.transport.abort()  # `close` would first send the rest of an order

    def reap(self, within: float) -> None:
        """Wait for the end of the process so many seconds, then make it end."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()


def _fetched(part: Path, format: Format, answer: Answer) -> CheckedFile:
    if "broken" in answer:
        raise MediaBroken(answer["broken"])
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "mistake" in answer:
        raise RuntimeError(answer["mistake"])
    return CheckedFile(part, format, **answer)
