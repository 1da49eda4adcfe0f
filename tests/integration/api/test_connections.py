"""No way to the API, an unsafe one, or one that ends under us: what stays, what is on the wire.

An API that is there and misbehaves is in test_model_api.py, a service that is away for
hours in test_account.py, and proxies are in test_proxy.py.
"""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import Command, Write
from helpers import TOKEN, many, query, table, tally
from sandbox_client import Control
from servers import (
    HOST,
    Talk,
    Thrifty,
    Wire,
    certificate,
    goes_away,
    hangs_up,
    listening,
    relay,
    self_signed,
    silence,
    trusted,
)

from batchgen.api.client import ApiClient
from batchgen.api.response import Response
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.network import session
from batchgen.sandbox import Address

# `BATCHGEN_POSTS=1000 python -m pytest tests/integration/api/test_connections.py` makes a whole
# night's list of it.
POSTS = int(os.environ.get("BATCHGEN_POSTS", "60"))
ALL_SAVED = {"saved": 6}
ALL_PENDING = {"pending": 6}


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(6)))


@pytest.fixture
def authority(here: Path) -> Iterator[trustme.CA]:
    """Whom batchgen trusts here."""
    with trusted(here) as found:
        yield found


# A connection that takes longer than half a second takes too long.
IMPATIENT = pytest.mark.timing(connect=0.5, query_pool=0.5)


def events(folder: Path) -> list[str]:
    """What happened to the rows; nothing did while none was about to be sent."""
    return [event for (event,) in query(folder, "SELECT event FROM events ORDER BY seq")]


# TLS


def test_over_tls_whose_authority_is_trusted_a_batch_is_saved(
    run: Command,
    folder: Path,
    sandbox: Control,
    address: Address,
    authority: trustme.CA,
    manifest: str,
) -> None:
    wire = Wire()
    with listening(relay(address.base_url, wire), tls=certificate(authority)) as port:
        outcome = run(manifest, "--base-url", f"https://localhost:{port}/v1")

    assert outcome.code == 0, outcome.stderr
    assert tally(folder) == ALL_SAVED
    assert wire.times(TOKEN) > 0


LONG_AGO = {
    "not_before": datetime(2019, 1, 1, tzinfo=UTC),
    "not_after": datetime(2020, 1, 1, tzinfo=UTC),
}
UNSAFE: dict[str, Callable[[trustme.CA], ssl.SSLContext]] = {
    "self-signed certificate": lambda authority: self_signed(trustme.CA()),
    "unable to get local issuer": lambda authority: certificate(trustme.CA()),
    "certificate has expired": lambda authority: certificate(authority, **LONG_AGO),
    "Hostname mismatch": lambda authority: certificate(authority, "elsewhere.example"),
}


def test_a_bad_certificate_stops_the_run_before_anything_is_sent(
    run: Command,
    folder: Path,
    sandbox: Control,
    address: Address,
    authority: trustme.CA,
    manifest: str,
) -> None:
    """Whatever is wrong with it, run after run."""
    for fault, tls in UNSAFE.items():
        wire = Wire()
        with listening(relay(address.base_url, wire), tls=tls(authority)) as port:
            outcome = run(manifest, "--base-url", f"https://localhost:{port}/v1")

        assert outcome.code == 69, fault
        assert tally(folder) == ALL_PENDING, fault
        assert events(folder) == [], fault
        assert wire.heard == [], fault
        assert fault in outcome.stderr
        assert "Check --base-url, the proxy and the certificate" in outcome.stderr, fault

    assert run(manifest).code == 0  # what is mended goes on by itself
    assert sandbox.accepted == sandbox.posts == 6


@pytest.mark.parametrize("named", ["gone.pem", "list.csv"])
def test_certificates_that_cannot_be_read_are_said_and_nothing_is_sent(
    run: Command, folder: Path, sandbox: Control, manifest: str, named: str
) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", named)
        session.trusted_certificates.cache_clear()
        outcome = run(manifest)
    session.trusted_certificates.cache_clear()

    assert outcome.code == 69
    assert "SSL_CERT_FILE" in outcome.stderr
    assert sandbox.posts == 0
    assert run(manifest).code == 0
    assert tally(folder) == ALL_SAVED


# No connection


async def speaks_plainly(reader: Any, writer: Any) -> None:
    """What a portal does that wants a login first, and thinks that everybody speaks HTTP."""
    await reader.read(65536)
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n")


@contextmanager
def dropping() -> Iterator[str]:
    """A port whose queue is full, so that the kernel drops who wants to connect."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((HOST, 0))
        server.listen(0)
        for _ in range(4):  # as many as any kernel lets in beyond a queue of none
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"https://{HOST}:{server.getsockname()[1]}/v1"


@contextmanager
def nameless() -> Iterator[str]:
    """A name that exists nowhere, and is so long that no resolver asks another for it."""
    yield f"https://{'a.' * 130}invalid/v1"


@contextmanager
def talking(talk: Talk) -> Iterator[str]:
    with listening(talk) as port:
        yield f"https://localhost:{port}/v1"


AWAY: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "no such name": nameless,
    "nothing answers": dropping,
    "silence instead of TLS": lambda: talking(silence),
    "an end instead of TLS": lambda: talking(hangs_up),
    "a portal instead of TLS": lambda: talking(speaks_plainly),
}


@IMPATIENT
@pytest.mark.usefixtures("authority")
def test_where_no_connection_comes_about_no_row_is_touched_and_the_next_run_goes_on(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    for fault, away in AWAY.items():
        with away() as base:
            outcome = run(manifest, "--base-url", base, "--max-time", "3s")

        assert outcome.code == 69, fault
        assert tally(folder) == ALL_PENDING, fault
        assert events(folder) == [], fault
        assert outcome.stderr.count("RunComfy cannot be reached") == 1, fault

    assert run(manifest).code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == 6


@pytest.mark.timing(connect=2.0, query_pool=2.0)  # enough for one that comes about
def test_a_service_whose_handshake_hangs_for_a_while_is_used_as_soon_as_it_answers(
    run: Command,
    folder: Path,
    sandbox: Control,
    address: Address,
    authority: trustme.CA,
    manifest: str,
) -> None:
    tries = 0
    with listening(relay(address.base_url), tls=certificate(authority)) as behind:
        answering = relay(f"https://{HOST}:{behind}")

        async def talk(reader: Any, writer: Any) -> None:
            nonlocal tries
            tries += 1
            await (silence if tries <= 3 else answering)(reader, writer)

        with listening(talk) as port:
            outcome = run(manifest, "--base-url", f"https://localhost:{port}/v1")

    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == sandbox.accepted == 6
    assert outcome.stderr.count("RunComfy cannot be reached") == 1
    assert outcome.stderr.count("RunComfy answers again") == 1


def test_a_run_with_a_limit_of_cost_that_cannot_ask_for_the_price_goes_on_when_it_can(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    with closing(socket.socket()) as taken:  # bound and not listening: it refuses
        taken.bind((HOST, 0))
        base = f"http://{HOST}:{taken.getsockname()[1]}/v1"
        outcome = run(manifest, "--base-url", base, "--max-cost", 5)

    assert outcome.code == 69
    assert "cannot be reached" in outcome.stderr
    assert tally(folder) == ALL_PENDING

    assert run(manifest, "--max-cost", 5).code == 0
    assert tally(folder) == ALL_SAVED


def test_a_run_that_is_killed_while_the_service_is_away_leaves_everything_to_the_next(
    start: Callable[..., Any],
    run: Command,
    folder: Path,
    sandbox: Control,
    address: Address,
    manifest: str,
) -> None:
    with closing(socket.socket()) as taken:  # bound and not listening: it refuses
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        base = f"http://{HOST}:{port}/v1"
        child = start(manifest, "--base-url", base)
        assert any("RunComfy cannot be reached" in line for line in child.stderr)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert tally(folder) == ALL_PENDING

    with listening(relay(address.base_url), port=port):
        outcome = run(manifest, "--base-url", base)

    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert set(events(folder)) == {"send", "accepted", "done", "saved"}
    assert sandbox.posts == sandbox.accepted == 6


# Connections


def test_an_api_that_prefers_http_2_is_spoken_to_in_http_1_1(
    run: Command,
    folder: Path,
    sandbox: Control,
    address: Address,
    authority: trustme.CA,
    manifest: str,
) -> None:
    wire = Wire()
    tls = certificate(authority, offers=("h2", "http/1.1"))
    with listening(relay(address.base_url, wire), tls=tls) as port:
        outcome = run(manifest, "--base-url", f"https://localhost:{port}/v1")

    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert wire.protocols == {"http/1.1"}
    assert wire.times("a heron, number") == 6


def test_a_goaway_of_http_2_makes_the_row_unknown_and_sends_it_no_second_time(
    run: Command, folder: Path, authority: trustme.CA, manifest: str
) -> None:
    wire = Wire()
    tls = certificate(authority, offers=("h2",))
    with listening(goes_away(wire, b"a heron, number"), tls=tls) as port:
        base = f"https://localhost:{port}/v1"
        first = run(manifest, "--base-url", base)
        assert (first.code, tally(folder)) == (75, {"unknown": 3, "pending": 3})
        assert "3 answers in a row were lost" in first.stderr
        run(manifest, "--base-url", base)

    assert tally(folder) == {"unknown": 6}
    assert all(wire.times(prompt) <= 1 for prompt in many(6).values())


def test_each_post_of_a_batch_has_a_connection_of_its_own(
    batchgen: Command, folder: Path, write: Write
) -> None:
    manifest = write("list.csv", table(many(POSTS)))
    server = Thrifty()
    with listening(server.talk) as port:
        base = f"http://{HOST}:{port}/v1"
        batchgen("run", manifest, "--out", folder, "--rate", "1000/s", "--base-url", base)

    assert tally(folder) == {"cancelled": POSTS}  # by the server, which had accepted each
    assert set(server.posts.values()) == {1}
    assert server.posts.total() == POSTS


def test_of_a_thousand_posts_to_a_server_that_ends_idle_connections_none_is_lost() -> None:
    server = Thrifty()

    async def at_once() -> None:
        pass

    async def send(port: int) -> list[Response]:
        async with ApiClient(f"http://{HOST}:{port}/v1", TOKEN, False, DEFAULT_TIMING) as client:

            async def one_by_one(count: int) -> list[Response]:
                posts = [client.post_once("/models/a/model", b"{}", at_once) for _ in range(count)]
                return [await post for post in posts]

            workers = await asyncio.gather(*[one_by_one(100) for _ in range(10)])
            return [reply for worker in workers for reply in worker]

    with listening(server.talk) as port:
        replies = asyncio.run(send(port))

    assert [reply.error for reply in replies] == [None] * 1000
    assert len({reply.content for reply in replies}) == server.posts.total() == 1000
    assert set(server.posts.values()) == {1}


def test_a_header_that_is_no_utf8_costs_no_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            await reader.readexactly(2)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/json; charset=\xe9\r\nRetry-After: \xe9\r\n"
            b'Content-Length: 24\r\nConnection: close\r\n\r\n{"request_id": "paid-1"}'
        )

    async def at_once() -> None:
        pass

    async def send(port: int) -> list[Response]:
        async with ApiClient(f"http://{HOST}:{port}/v1", TOKEN, False, DEFAULT_TIMING) as client:
            paid = await client.post_once("/models/a/model", b"{}", at_once)
            return [paid, await client.ask("/requests/paid-1")]

    with listening(talk) as port:
        replies = asyncio.run(send(port))

    for reply in replies:
        assert (reply.error, reply.request_id) == (None, "paid-1")
        assert reply.content_type == "text/json; charset=?"
