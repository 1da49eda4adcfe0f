"""Checks downloads off the event loop: the first ones of a run in threads, then in processes.

A thread shares the interpreter with the event loop, and the two keep each other waiting. A process
does not, but starting one takes as long as a thread needs for a hundred small pictures. A decoder
that crashes takes its process along, and not the run. Why these are not the processes of
`concurrent.futures`: docs/maintainers/decisions/0010-own-check-pool.md.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from batchgen.config import environment_without_secrets
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.media.check import CheckedFile, Costly, check_file
from batchgen.media.check_worker import decode_answer, encode_request
from batchgen.media.formats import Format
from batchgen.media.xmp import Provenance

CHECKS_BY_THREAD = 100  # downloads of a run
MAX_PROCESSES = 4  # also with fewer cores, since each waits for the disk most of the time
# Of a picture that a thread decodes, and that others are checked beside. More would take long, and
# a thread cannot be ended.
MAX_PIXELS_AT_ONCE = 25_000_000
MAX_LARGE_CHECKS = 2  # files that are not held in memory; a check reads each several times over
EXIT_TIMEOUT_S = 5.0  # after that, a process is killed
# The process finds modules where this one does.
CODE = (
    "import sys; sys.path[:] = sys.argv[1:]; from batchgen.media import check_worker;"
    " check_worker.main()"
)


class CheckPool:
    """Its processes end when it is closed, and when this process dies.

    checks_by_thread: before a process is started, except for pictures of more than
        MAX_PIXELS_AT_ONCE, which processes decode one at a time. processes: at most.
    timeout_s: after that, a process is killed.
    """

    def __init__(
        self,
        checks_by_thread: int = CHECKS_BY_THREAD,
        processes: int = MAX_PROCESSES,
        timeout_s: float = DEFAULT_TIMING.file_check,
    ) -> None:
        self._timeout_s = timeout_s
        self._checks_by_thread = checks_by_thread
        self._checks = 0
        self._slots = asyncio.Semaphore(processes)
        self._one_by_one = asyncio.Lock()
        self._large_slots = asyncio.Semaphore(MAX_LARGE_CHECKS)
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """All that were started."""
        return [worker.process for worker in self._workers]

    async def check(
        self,
        part: Path,
        format: Format,
        content: bytes | None,
        facts: Provenance | None,
        sent_before: Collection[str] = (),
    ) -> CheckedFile:
        """As `check_file`. A file counts as broken also if its process dies, or takes too long."""
        download = _Download(part, format, content, facts, sent_before)
        async with self._large_slots if content is None else nullcontext():
            self._checks += 1
            with suppress(Costly):
                if self._checks <= self._checks_by_thread:
                    return await download.check(max_pixels=MAX_PIXELS_AT_ONCE)
                return await self._check_in_process(download, MAX_PIXELS_AT_ONCE)
            async with self._one_by_one:
                return await self._check_in_process(download, None)

    async def _check_in_process(self, download: "_Download", max_pixels: int | None) -> CheckedFile:
        async with self._slots:
            try:
                worker = self._idle.pop() if self._idle else await self._start()
            except (OSError, MemoryError):  # the system has no room for a process
                return await download.check(max_pixels=max_pixels)
            line, why = b"", "the process that decoded it died of it"
            try:
                async with asyncio.timeout(self._timeout_s):
                    line = await worker.ask(encode_request(*download, max_pixels))
            except TimeoutError:
                why = f"to check it took longer than {self._timeout_s:g} s"
            finally:
                if line:
                    self._idle.append(worker)
                else:  # it was killed or is now, also if the caller was cancelled
                    worker.process.kill()
        if not line:
            if download.content is not None:
                download.part.unlink(missing_ok=True)  # what the process has begun to write
            return await download.check(refused=why)
        return decode_answer(download.part, download.format, line)

    def close(self) -> None:
        """End all processes. Starts no thread and opens nothing."""
        for worker in self._workers:
            worker.hang_up()
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        for process in self.processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def _start(self) -> "_Worker":
        # Not asyncio's own subprocesses: in Python 3.11 a thread watches each of them.
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                process = subprocess.Popen(
                    (sys.executable, "-c", CODE, *sys.path),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=environment_without_secrets(),
                    start_new_session=True,  # Ctrl-C goes to the run alone
                )
            except BaseException:
                writer.transport.abort()
                raise
        self._workers.append(_Worker(process, reader, writer))
        return self._workers[-1]


class _Download(NamedTuple):
    """What `check_file` is called with."""

    part: Path
    format: Format
    content: bytes | None
    facts: Provenance | None
    sent_before: Collection[str]

    async def check(self, **how: Any) -> CheckedFile:
        """Check it in a thread of this process. how: the keywords of `check_file`."""
        return await asyncio.to_thread(partial(check_file, *self, **how))


@dataclass(eq=False)
class _Worker:
    """A process of check_worker.py and the socket to it."""

    process: subprocess.Popen[bytes]
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> bytes:
        """Return the line of the answer; nothing if the process dies before it ends."""
        line = b""
        with suppress(ConnectionError):
            self._writer.write(request)
            await self._writer.drain()
            line = await self._reader.readline()
        return line if line.endswith(b"\n") else b""

    def hang_up(self) -> None:
        """End the conversation, at which the process ends."""
        # The loop closes the socket only later, and `CheckPool.close` does not let it run.
        with suppress(OSError):  # the process is gone
            self._writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._writer.transport.abort()  # `close` would first send what is left
