"""Checks downloads off the event loop, in a process that is started at the first file.

A decoder that a hostile picture crashes, or keeps busy for ever, takes that process along and not
the run, and the memory that it may use has a limit. One process is enough for a calm run; more are
started in a rush. Why these are not the processes of `concurrent.futures`:
docs/maintainers/decisions/0010-own-check-pool.md.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from batchgen.config import environment_without_secrets
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.media.check import CheckedFile, Costly, check_file
from batchgen.media.check_worker import decode_answer, encode_request
from batchgen.media.formats import Format
from batchgen.media.thumbnails import keep_thumbnail
from batchgen.media.xmp import Provenance

MAX_PROCESSES = 4  # also with fewer cores, since each waits for the disk most of the time
# For so long files wait without a break before another process is started. That takes a fifth of
# the time, and what it costs would be wasted where the files came all at once and no more follow.
RUSH_S = 0.5
# Of a picture that others are checked beside.
MAX_PIXELS_AT_ONCE = 25_000_000
MAX_LARGE_CHECKS = 2  # files that are not held in memory; a check reads each several times over
EXIT_TIMEOUT_S = 5.0  # after that, a process is killed
# What is freed of buffers below 8 MiB stays with the process, up to 32 MiB, for the next file. Else
# the system clears the same memory anew for each copy: a seventh of the CPU of a picture of 4 MB.
# What is larger, such as many pixels, is given back at once. Only glibc reads these.
# Source: the GNU C Library's manual, "Malloc Tunable Parameters".
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
# The process finds modules where this one does.
CODE = (
    "import sys; sys.path[:] = sys.argv[1:]; from batchgen.media import check_worker;"
    " check_worker.main()"
)


class CheckPool:
    """Its processes end when it is closed, and when this process dies.

    Pictures of more than MAX_PIXELS_AT_ONCE are decoded one at a time. processes: at most.
    timeout_s: after that, a process is killed. rush_s: as RUSH_S.
    report: where a thumbnail of each picture is kept, in the batch folder; None where none is made.
    """

    def __init__(
        self,
        report: Path | None = None,
        processes: int = MAX_PROCESSES,
        timeout_s: float = DEFAULT_TIMING.file_check,
        rush_s: float = RUSH_S,
    ) -> None:
        self._report = report
        self._max_processes = processes
        self._timeout_s = timeout_s
        self._rush_s = rush_s
        # Who takes a place checks a file; None is the place of a process that is not started yet.
        self._idle: asyncio.LifoQueue[_Worker | None] = asyncio.LifoQueue()
        self._idle.put_nowait(None)
        self._places = 1
        self._is_starting = False
        self._busy_since = 0.0  # when the last idle place was taken
        self._one_by_one = asyncio.Lock()
        self._large_slots = asyncio.Semaphore(MAX_LARGE_CHECKS)
        self._workers: list[_Worker] = []

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
            with suppress(Costly):
                return await self._check(download, MAX_PIXELS_AT_ONCE, self._report)
            # Without a thumbnail, for which its process would keep its pixels beside the next one.
            async with self._one_by_one:
                return await self._check(download, None, None)

    async def _check(
        self, download: "_Download", max_pixels: int | None, report: Path | None
    ) -> CheckedFile:
        worker = await self._take_place()
        line, why = b"", "the process that decoded it died of it"
        try:
            try:
                worker = worker or await self._start()
            except (OSError, MemoryError):  # the system has no room for a process
                return await download.check(report, max_pixels=max_pixels)
            try:
                async with asyncio.timeout(self._timeout_s):
                    line = await worker.ask(encode_request(*download, max_pixels, report))
            except TimeoutError:
                why = f"to check it took longer than {self._timeout_s:g} s"
        finally:
            if worker is not None and not line:
                # It was killed or is now, also if the caller was cancelled.
                worker.process.kill()
                worker = None
            self._idle.put_nowait(worker)
        if not line:
            if download.content is not None:
                download.part.unlink(missing_ok=True)  # what the process has begun to write
            return await download.check(None, refused=why)
        return decode_answer(download.part, download.format, line)

    async def _take_place(self) -> "_Worker | None":
        """Return a process that has nothing to do, or None for one that is to be started."""
        if not self._idle.empty():
            self._busy_since = time.monotonic()
            return self._idle.get_nowait()
        while True:
            may_start = self._places < self._max_processes and not self._is_starting
            if may_start and time.monotonic() - self._busy_since >= self._rush_s:
                self._places += 1
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rush_s):
                    return await self._idle.get()

    async def _start(self) -> "_Worker":
        """Return a new process that is ready. Raises OSError or MemoryError if there is none."""
        self._is_starting, ready = True, b""
        try:
            worker = await self._spawn()
            try:
                async with asyncio.timeout(self._timeout_s):
                    ready = await worker.ask(b"")
            finally:
                if not ready:
                    worker.process.kill()
            if not ready:
                raise MemoryError("a process died at its start")
            return worker
        finally:
            self._is_starting = False
            self._busy_since = time.monotonic()  # what came meanwhile is no rush

    async def _spawn(self) -> "_Worker":
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
                    env={**KEEP_MEMORY, **environment_without_secrets()},
                    start_new_session=True,  # Ctrl-C goes to the run alone
                )
            except BaseException:
                writer.transport.abort()
                raise
        self._workers.append(_Worker(process, reader, writer))
        return self._workers[-1]

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


class _Download(NamedTuple):
    """What `check_file` is called with."""

    part: Path
    format: Format
    content: bytes | None
    facts: Provenance | None
    sent_before: Collection[str]

    async def check(self, report: Path | None, **how: Any) -> CheckedFile:
        """Check it in a thread of this process, and make its thumbnail.

        report: as `CheckPool` has it. how: more of `check_file`.
        """
        seen: list[Any] = []

        def check() -> CheckedFile:
            checked = check_file(*self, **how, see=seen.append)
            if report is not None and seen:
                keep_thumbnail(report, checked, seen[0])
            return checked

        return await asyncio.to_thread(check)


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
