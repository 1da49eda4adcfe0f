"""Who checks downloads while the event loop goes on: a thread at first, then processes.

A thread shares the interpreter with the loop, and the two keep each other waiting. A process does
not, but to start one takes as long as a thread needs for a hundred small pictures. A decoder that
crashes takes its process along, and not the run.
"""

import asyncio
import json
import os
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from batchgen.checking import Fetched, MediaBroken, check
from batchgen.config import TOKEN_NAMES
from batchgen.provenance import Facts
from batchgen.signatures import Format

BY_THREAD = 100  # downloads of a run
MOST_PROCESSES = 4  # more than there may be cores, since each waits for the disk most of the time
LARGE_AT_ONCE = 2  # files that were not held in memory: each is there several times when checked
GOODBYE = 5.0  # seconds until a process that does not end is made to
# The child finds what we import where we found it.
CHILD = "import sys; sys.path[:] = sys.argv[1:]; from batchgen import checking; checking.main()"

Answer = dict[str, Any]


class Checkers:
    """Its processes end when it is closed, or when this one dies."""

    def __init__(self) -> None:
        self._given = 0
        self._places = asyncio.Semaphore(MOST_PROCESSES)
        self._places_of_large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._started: list[_Checker] = []
        self._idle: list[_Checker] = []

    async def check(
        self, part: Path, format: Format, content: bytes | None, facts: Facts | None
    ) -> Fetched:
        """As `checking.check`, off the event loop."""
        async with self._places_of_large if content is None else nullcontext():
            return await self._check(part, format, content, facts)

    async def _check(
        self, part: Path, format: Format, content: bytes | None, facts: Facts | None
    ) -> Fetched:
        self._given += 1
        if self._given <= BY_THREAD:
            return await asyncio.to_thread(check, part, format, content, facts)
        async with self._places:
            try:
                checker = self._idle.pop() if self._idle else await self._start()
            except OSError:  # there is no process to be had
                return await asyncio.to_thread(check, part, format, content, facts)
            answer = None
            try:
                answer = await checker.ask(part, content, facts)
            finally:  # dead, or given up in the middle
                if answer is None:
                    checker.kill()
                else:
                    self._idle.append(checker)
        return _fetched(part, format, answer)

    async def close(self) -> None:
        await asyncio.gather(*[checker.close() for checker in self._started])

    async def _start(self) -> "_Checker":
        checker = _Checker(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CHILD, *sys.path),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name not in TOKEN_NAMES},
                start_new_session=True,  # Ctrl-C is for us
            )
        )
        self._started.append(checker)
        return checker


class _Checker:
    """A process: it is sent a line of JSON and a download, and answers with a line of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._orders, self._answers = process.stdin, process.stdout

    async def ask(self, part: Path, content: bytes | None, facts: Facts | None) -> Answer:
        """Raises MediaBroken where the process dies of it."""
        order = {"part": str(part), "facts": facts, "size": content and len(content)}
        with suppress(ConnectionError):
            self._orders.write(json.dumps(order).encode() + b"\n" + (content or b""))
            await self._orders.drain()
        line = await self._answers.readline()
        if not line.endswith(b"\n"):
            raise MediaBroken("the process that decoded it died of it")
        answer: Answer = json.loads(line)
        return answer

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        self._orders.close()
        try:
            await asyncio.wait_for(self._process.wait(), GOODBYE)
        except TimeoutError:
            self.kill()
            await self._process.wait()


def _fetched(part: Path, format: Format, answer: Answer) -> Fetched:
    if "broken" in answer:
        raise MediaBroken(answer["broken"])
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    if "mistake" in answer:
        raise RuntimeError(answer["mistake"])
    return Fetched(part, format, **answer)
