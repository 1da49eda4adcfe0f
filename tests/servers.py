"""Small servers on loopback for what the sandbox does not do: TLS, tunnels, silence, thrift."""

import asyncio
import gc
import itertools
import json
import ssl
import threading
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from batchgen.network.session import trusted_certificates

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HOST = "127.0.0.1"


@contextmanager
def listening(talk: Talk, *, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[int]:
    """Hold `talk` with whoever connects, in a thread of its own; yield the port.

    The connection ends with the conversation. With `tls` the conversation begins after the
    handshake: nobody who refuses the certificate is talked to.
    """

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if tls:  # here, so that an unfinished handshake is a task that can be ended too
                await writer.start_tls(tls)
            await talk(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the other side left, or the test is over
        finally:
            writer.transport.abort()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(hold, HOST, port, backlog=512))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(_end_all())
        loop.close()


async def _end_all() -> None:
    ending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
    await asyncio.sleep(0)  # for the sockets of what was aborted


@dataclass
class Wire:
    """What a server heard, connection by connection, and what ALPN agreed on."""

    heard: list[bytearray] = field(default_factory=list)
    protocols: set[str | None] = field(default_factory=set)

    def times(self, words: str) -> int:
        return sum(each.count(words.encode()) for each in self.heard)

    def hearing(self, writer: asyncio.StreamWriter) -> bytearray:
        """Begin a connection; return where its bytes are to go."""
        if tls := writer.get_extra_info("ssl_object"):
            self.protocols.add(tls.selected_alpn_protocol())
        self.heard.append(bytearray())
        return self.heard[-1]


# What a server talks


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take whatever comes and answer nothing."""
    while await reader.read(65536):
        pass


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection at the first byte."""
    await reader.read(1)


def relay(there: str, wire: Wire | None = None) -> Talk:
    """Pass everything on to the host and port of the URL `there`, and back."""
    url = urlsplit(there)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = wire.hearing(writer) if wire else bytearray()
        far_reader, far_writer = await asyncio.open_connection(url.hostname, url.port)

        async def pour(
            source: asyncio.StreamReader, into: asyncio.StreamWriter, copy: bytearray
        ) -> None:
            while piece := await source.read(65536):
                copy += piece
                into.write(piece)
                await into.drain()

        ways = [
            asyncio.ensure_future(pour(reader, far_writer, heard)),
            asyncio.ensure_future(pour(far_reader, writer, bytearray())),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    return talk


def proxy(wire: Wire, tunnel: Talk | None, answer: str = "200 Connection established") -> Talk:
    """A proxy that answers everything alike; then the connection is the tunnel's, if any."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = wire.hearing(writer)
        heard += await reader.readuntil(b"\r\n\r\n")
        more = "Content-Length: 0\r\n" if tunnel is None else ""
        writer.write(f"HTTP/1.1 {answer}\r\n{more}\r\n".encode())
        if tunnel is not None:
            await tunnel(reader, writer)

    return talk


def goes_away(wire: Wire, when_heard: bytes) -> Talk:
    """A server that knows HTTP/2 only, and closes with GOAWAY when it has the whole request.

    Its frames are RFC 9113's: an empty SETTINGS, and a GOAWAY that says that no stream was
    processed, after which an HTTP/2 client may send its request again.
    """
    settings = bytes.fromhex("000000 04 00 00000000")
    goaway = bytes.fromhex("000008 07 00 00000000  00000000 00000000")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = wire.hearing(writer)
        while when_heard not in heard and not heard.startswith(b"GET"):
            if not (piece := await reader.read(65536)):
                return
            heard += piece
        writer.write(settings + goaway)

    return talk


class Thrifty:
    """As much of the API as a batch needs, from a server that ends idle connections after 20 ms.

    Every request that it accepts is found cancelled: there is nothing to download.
    posts: how many paid POSTs each connection carried, by its number.
    """

    IDLE = 0.02

    def __init__(self) -> None:
        self.posts: Counter[int] = Counter()
        self._connections = itertools.count()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._connections)
        head = await reader.readuntil(b"\r\n\r\n")
        while True:
            method, path, *_ = head.decode().split(maxsplit=2)
            if method == "POST":
                await reader.readexactly(_length(head))
                self.posts[number] += 1
                answer = {"request_id": f"request-{self.posts.total()}"}
            else:  # /v1/requests/ID/result, or what a model costs, which is then unknown
                answer = {"request_id": path.split("/")[3], "status": "cancelled"}
            body = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            try:
                async with asyncio.timeout(self.IDLE):
                    head = await reader.readuntil(b"\r\n\r\n")
            except TimeoutError:
                return


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.split(maxsplit=1)[0])


# How a server shows who it is


@contextmanager
def trusted(folder: Path) -> Iterator[trustme.CA]:
    """An authority that batchgen trusts meanwhile, in this process and in those that it starts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
        trusted_certificates.cache_clear()
        # A client that leaves does not wait until a broken server has closed its TLS as well.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.freeze()  # what is there already need not be looked through in the end
        try:
            yield authority
            gc.collect()
        finally:
            gc.unfreeze()
    trusted_certificates.cache_clear()


def certificate(
    authority: trustme.CA, name: str = "localhost", *, offers: tuple[str, ...] = (), **more: Any
) -> ssl.SSLContext:
    """TLS with a certificate for `name`; `offers` are protocols by ALPN, `more` is trustme's."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, **more).configure_cert(tls)
    if offers:
        tls.set_alpn_protocols([*offers])
    return tls


def self_signed(authority: trustme.CA) -> ssl.SSLContext:
    """TLS with a certificate that nobody but its owner vouches for."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    both = trustme.Blob(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    with both.tempfile() as path:
        tls.load_cert_chain(path)
    return tls


# A monitor that is pinged


@dataclass
class Pinged:
    """One request that a monitor got."""

    method: str
    path: str
    query: dict[str, str]
    headers: str
    body: str


@dataclass
class Monitor:
    """Takes pings and answers each alike.

    status, said: of the answer. where: of a redirect. forever: the answer never ends.
    """

    status: int = 200
    said: str = "OK"
    where: str = ""
    forever: bool = False
    pings: list[Pinged] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, _, headers = head.decode().partition("\r\n")
        method, target, _ = first.split()
        length = _length(head) if b"content-length" in head.lower() else 0
        body = (await reader.readexactly(length)).decode()
        parts = urlsplit(target)
        self.pings.append(Pinged(method, parts.path, dict(parse_qsl(parts.query)), headers, body))
        more = f"Location: {self.where}\r\n" if self.where else ""
        writer.write(f"HTTP/1.1 {self.status} So\r\n{more}Connection: close\r\n\r\n".encode())
        writer.write(self.said.encode())
        while self.forever:
            writer.write(b" " * 65536)
            await writer.drain()

    @property
    def paths(self) -> list[str]:
        return [ping.path for ping in self.pings]
