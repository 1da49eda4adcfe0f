"""An HTTP call as handlers have it, with the socket below, which some faults need."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
MAX_BODY_BYTES = 64 * 2**20  # source: docs/maintainers/wire.md, "Inputs"


class ClientGone(Exception):
    """The client left before its request was whole."""


class BodyTooLarge(Exception):
    """More than MAX_BODY_BYTES bytes were sent."""


class CallProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also puts its transport into the scope of each call."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


class HttpCall:
    """A request, and methods that answer it, properly or not."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")

    def header(self, name: bytes) -> bytes | None:
        """A header's value; name in lower case."""
        return next((value for key, value in self.scope["headers"] if key == name), None)

    async def body(self) -> bytes:
        """Read the whole body. Raises ClientGone or BodyTooLarge."""
        parts = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts += message.get("body", b"")
            if len(parts) > MAX_BODY_BYTES:
                raise BodyTooLarge
            if not message.get("more_body", False):
                return bytes(parts)

    async def begin(
        self, status: int, *headers: Header, length: int | None = None, kind: bytes = JSON
    ) -> None:
        """Send the head of the answer; length None means chunks."""
        fields = [(b"content-type", kind), *headers]
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        await self.send({"type": "http.response.start", "status": status, "headers": fields})

    async def send_part(self, part: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": part, "more_body": more})

    async def answer(
        self, status: int, body: bytes = b"", *headers: Header, kind: bytes = JSON
    ) -> None:
        await self.begin(status, *headers, length=len(body), kind=kind)
        await self.send_part(body, more=False)

    async def json(self, status: int, value: Any, *headers: Header) -> None:
        await self.answer(status, json.dumps(value, separators=(",", ":")).encode(), *headers)

    @property
    def transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self.scope["state"]["transport"]
        return transport

    @property
    def closed(self) -> bool:
        return self.transport.is_closing()

    async def hang_up(self) -> None:
        """End the connection with FIN, after what was written so far."""
        self.transport.close()
        await self.gone()

    async def reset(self) -> None:
        """End the connection with RST: lingering for zero seconds makes close() do that."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self.gone()

    async def gone(self) -> None:
        """Wait without an answer until the client has left."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def gone_within(self, seconds: float) -> bool:
        """Whether the client left in this time."""
        try:
            async with asyncio.timeout(seconds):
                await self.gone()
        except TimeoutError:
            return False
        return True
