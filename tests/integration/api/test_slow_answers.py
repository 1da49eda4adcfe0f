"""Servers that are never silent and never done: a byte now and then, 1xx without end.

They meet every time-out for silence, and so held a run against --max-time, SIGTERM and Ctrl-C.
"""

import asyncio
import gc
import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import TOKEN, error_of, media, states, table
from sandbox_client import Control
from servers import HOST, Talk, listening

from batchgen.api.client import ApiClient
from batchgen.api.response import Response
from batchgen.core.timing import DEFAULT_TIMING, Timing

PAUSE = 0.02  # between two bytes, far below every time-out for silence
# A second for what comes a byte at a time, and ten for silence.
HURRIED = replace(
    DEFAULT_TIMING,
    submit_total=1.0,
    submit_read=10.0,
    submit_bytes_per_s=1 << 20,
    query_pool=0.5,
    query_read=0.5,
    query_grace=1.0,
)


async def drip(writer: asyncio.StreamWriter, text: bytes) -> None:
    for byte in text:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def answers_1xx(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def floods_1xx(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000)
        await writer.drain()


async def drips_status(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 200 " + b"O" * 100_000)


async def drips_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    await drip(writer, b"a" * 100_000)


async def drips_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    await drip(writer, b" " * 100_000)


async def drips_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await drip(writer, b"1\r\n \r\n" * 100_000)


async def drips_chunk_size(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await drip(writer, b"0" * 100_000)


SLOW = [answers_1xx, drips_status, drips_headers, drips_body, drips_chunks, drips_chunk_size]
ENDLESS = [*SLOW, floods_1xx]
Answer = Callable[[asyncio.StreamWriter], object]
# A flood keeps the processor busy until it is given up, and is never silent.
AT_A_FLOOD = replace(HURRIED, submit_total=0.3, query_grace=0.3)
endless = pytest.mark.parametrize(
    ("answers", "timing"),
    [(SLOW, HURRIED), ([floods_1xx], AT_A_FLOOD)],
    ids=["slow", "flood"],
)


def after_the_request(answer: Answer) -> Talk:
    """Read a whole request, then answer."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        await answer(writer)  # type: ignore[misc]

    return talk


async def whole_request(reader: asyncio.StreamReader) -> tuple[str, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, *_ = head.split(maxsplit=2)
    for line in head.lower().splitlines():
        if line.startswith("content-length:"):
            await reader.readexactly(int(line.partition(":")[2]))
    return method, path


def exchanges(
    talks: list[Talk], timing: Timing = HURRIED, *, body: bytes | None = None
) -> list[Response]:
    """Send a paid POST with `body` to a server of each talk at the same time, or ask a question."""

    async def commit() -> None: ...

    async def go(port: int) -> Response:
        client = ApiClient(f"http://{HOST}:{port}/v1", TOKEN, False, timing)
        async with asyncio.timeout(30), client:
            if body is None:
                return await client.ask("/requests/a/result")
            return await client.post_once("/models/a/b/c", body, commit)

    async def go_to_all(ports: list[int]) -> list[Response]:
        return await asyncio.gather(*map(go, ports))

    with ExitStack() as stack, warnings.catch_warnings():
        ports = [stack.enter_context(listening(talk)) for talk in talks]
        # A connection that is closed stays until its bytes have left, which nobody takes here.
        warnings.simplefilter("ignore", ResourceWarning)
        responses = asyncio.run(go_to_all(ports))
        gc.collect()
    return responses


def exchange(talk: Talk, timing: Timing = HURRIED, *, body: bytes | None = None) -> Response:
    (response,) = exchanges([talk], timing, body=body)
    return response


@endless
def test_an_answer_to_a_paid_post_that_never_ends_counts_as_lost(
    answers: list[Answer], timing: Timing
) -> None:
    responses = exchanges([*map(after_the_request, answers)], timing, body=b"{}")

    for answer, response in zip(answers, responses, strict=True):
        assert isinstance(response.error, TimeoutError), answer
        assert response.body_sent, answer


@endless
def test_a_question_whose_answer_never_ends_is_given_up(
    answers: list[Answer], timing: Timing
) -> None:
    responses = exchanges([*map(after_the_request, answers)], timing)

    for answer, response in zip(answers, responses, strict=True):
        assert isinstance(response.error, TimeoutError), answer


def test_an_id_that_came_before_the_dripping_is_kept() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{"request_id": "abc-1",')
        await drip(writer, b" " * 100_000)

    assert exchange(after_the_request(answer), body=b"{}").request_id == "abc-1"


def test_a_paid_post_whose_body_nobody_reads_counts_as_lost() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    timing = replace(HURRIED, submit_bytes_per_s=64 << 20)
    response = exchange(talk, timing, body=b"a" * (32 << 20))

    assert isinstance(response.error, TimeoutError)
    assert response.body_sent


def test_a_slow_answer_that_moves_is_read_to_its_end() -> None:
    """Of 60 KiB in some two seconds, where the grace is a tenth of one."""
    content = json.dumps({"text": "a" * 60_000}).encode()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
        for at in range(0, len(content), 3000):
            writer.write(content[at : at + 3000])
            await asyncio.sleep(0.02)

    timing = replace(HURRIED, query_grace=0.1, query_bytes_per_s=100)
    assert exchange(after_the_request(answer), timing).content == content


# A run


@dataclass
class Hostile:
    """An API that accepts nothing and answers every paid POST by `answer`; it counts them."""

    answer: Answer
    posts: int = field(default=0)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _ = await whole_request(reader)
        if method == "POST":
            self.posts += 1
            await self.answer(writer)  # type: ignore[misc]
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


RUN = """
import json, sys
from dataclasses import replace
from batchgen.cli.main import main
from batchgen.core.timing import DEFAULT_TIMING
main(timing=replace(DEFAULT_TIMING, **json.loads(sys.argv.pop(1))))
"""


@contextmanager
def running(
    talk: Talk, folder: Path, manifest: str, *words: str, **timing: float
) -> Iterator[subprocess.Popen[str]]:
    with listening(talk) as port:
        there = ["--out", str(folder), "--base-url", f"http://{HOST}:{port}/v1", *words]
        command = [sys.executable, "-c", RUN, json.dumps(timing), "run", manifest, *there]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            try:
                yield child
            finally:
                child.kill()


def wait_for(it_is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not it_is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (answers_1xx, signal.SIGTERM),
        (answers_1xx, signal.SIGINT),
        (drips_body, signal.SIGHUP),
    ],
    ids=["SIGTERM", "SIGINT", "SIGHUP"],
)
def test_one_signal_ends_a_run_whose_submission_is_answered_without_end(
    folder: Path, write: Write, answer: Answer, number: signal.Signals
) -> None:
    """SIGTERM and SIGHUP by their grace, Ctrl-C by the time of the exchange."""
    api = Hostile(answer)
    patience = {"submit_total": 3.0} if number is signal.SIGINT else {"drain": 1.0}
    manifest = write("list.csv", table({"heron": "a heron"}))
    with running(api.talk, folder, manifest, **patience) as run:
        wait_for(lambda: api.posts == 1)
        run.send_signal(number)
        _, said = run.communicate(timeout=30)

    assert run.returncode == 128 + number, said
    assert states(folder) == {"heron": "unknown"}
    assert api.posts == 1


def test_a_time_limit_ends_a_run_whose_submission_is_answered_without_end(
    folder: Path, write: Write
) -> None:
    api = Hostile(answers_1xx)
    manifest = write("list.csv", table({"heron": "a heron"}))
    with running(api.talk, folder, manifest, "--max-time", "5s", submit_total=8.0) as run:
        _, said = run.communicate(timeout=30)

    assert run.returncode == 1, said
    assert states(folder) == {"heron": "unknown"}


@pytest.mark.parametrize("answer", ENDLESS, ids=lambda answer: answer.__name__)
def test_a_catalogue_and_a_balance_without_end_hold_no_run(
    run: Command, write: Write, answer: Answer
) -> None:
    manifest = write("list.csv", table({"heron": "a heron"}))
    with listening(after_the_request(answer)) as port:
        base = f"http://{HOST}:{port}/v1"
        begun = time.monotonic()
        outcome = run(
            manifest, "--base-url", base, "--max-cost", "1", timing=replace(HURRIED, connect=1.0)
        )

    assert outcome.code != 0
    assert time.monotonic() - begun < 30


# Files


def at_a_host(grace: float) -> pytest.MarkDecorator:
    return pytest.mark.timing(
        download_tries=1,
        download_pool=1.0,
        download_read=1.5,
        download_grace=grace,
        missing_limit=1.0,
    )


@pytest.mark.parametrize(
    "answer",
    [
        *(pytest.param(answer, marks=at_a_host(1.0), id=answer.__name__) for answer in SLOW),
        pytest.param(floods_1xx, marks=at_a_host(0.3), id="floods_1xx"),
    ],
)
def test_a_host_of_files_that_never_ends_is_given_up(
    run: Command, folder: Path, sandbox: Control, write: Write, answer: Answer
) -> None:
    manifest = write("list.csv", table({"heron": "a heron"}))
    with listening(after_the_request(answer)) as port:
        url = f"http://{HOST}:{port}/heron.png"
        sandbox.fault("media-other-host", times=None, value=url)
        outcome = run(manifest, "--media-host", f"{HOST}:{port}")

    assert outcome.code == 1
    assert "slower than 1 KiB/s" in error_of(folder, "heron")
    assert states(folder) == {"heron": "completed"}
    assert media(folder) == []


@pytest.mark.timing(download_grace=0.3)
@pytest.mark.parametrize(("options", "tries"), [((), 5), (("--limit", "1"), 1)])
def test_a_run_that_is_to_end_waits_for_a_slow_host_once(
    run: Command, sandbox: Control, write: Write, options: tuple[str, ...], tries: int
) -> None:
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await whole_request(reader)
        asked += 1
        await drips_body(writer)

    rows = {"heron": "a heron", **({"ibis": "an ibis"} if options else {})}
    manifest = write("list.csv", table(rows))
    with listening(talk) as port:
        url = f"http://{HOST}:{port}/heron.png"
        sandbox.fault("media-other-host", times=None, value=url)
        run(manifest, "--media-host", f"{HOST}:{port}", *options)

    assert asked == tries
