"""HTTP to an API: sends a request and returns what came, decoded and unclassified.

A paid POST goes out once, on a connection of its own. An idle connection that the server closes
while we write looks exactly like a lost answer, so none is reused. Questions are free: their
connections are kept. Source: docs/maintainers/specification.md, "Sending once".
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from batchgen.api.body import Body
from batchgen.api.response import (
    MAX_RESPONSE_BYTES,
    Response,
    ResponseTooLarge,
    decode,
    find_text,
)
from batchgen.core.timing import Timing
from batchgen.log import secrets
from batchgen.network.deadline import Deadline
from batchgen.network.http import aiohttp
from batchgen.network.session import (
    USER_AGENT,
    exact_url,
    headers_of,
    open_session,
    proxy_finder,
    timeouts,
)

MAX_RESULT_BYTES = 64 << 20  # a result may hold its outputs themselves
MAX_QUERY_CONNECTIONS = 32
Commit = Callable[[], Awaitable[None]]


class SingleUseBody:
    """The body of a paid POST: it can be asked for once, and `commit` ends before its first byte.

    on_sent: called with the size of each piece of the body when it is handed over.
    sent: the first piece was handed over; from then on the POST may have been accepted.
    commit_error: what `commit` raised, so that no byte left; None if it did not.
    """

    def __init__(self, body: Body, commit: Commit, on_sent: Callable[[int], None]) -> None:
        self._body = body
        self._commit = commit
        self._on_sent = on_sent
        self._used = False
        self._closed = False
        self.sent = False
        self.commit_error: Exception | None = None

    def close(self) -> None:
        """Refuse to be sent from now on: what came of the POST is about to be recorded."""
        self._closed = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._used or self._closed:
            raise RuntimeError("a paid request is never sent twice")
        self._used = True
        try:
            await self._commit()
            if self._closed:  # its connection broke meanwhile
                raise RuntimeError("a paid request is not sent once it was given up")
        except Exception as error:
            self.commit_error = error
            raise
        self.sent = True
        for piece in [self._body] if isinstance(self._body, bytes) else self._body:
            if self._closed:
                raise RuntimeError("a paid request is not sent on once its outcome is known")
            self._on_sent(len(piece))
            yield piece


class ApiClient:
    """Sends requests below `base`, with the token.

    base: of the API, without a slash at its end. now: gives the seconds since the epoch.
    The token goes to `base`, and to the absolute URLs given to `ask_url`, which are the caller's
    to choose. Entering raises ServiceUnreachable where the environment's certificates or proxy
    cannot be used.
    """

    def __init__(
        self,
        base: str,
        token: str,
        use_proxy: bool,
        timing: Timing,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._base = base
        self._use_proxy = use_proxy
        self._proxy_for = proxy_finder(use_proxy=use_proxy)
        self._timing = timing
        self._now = now
        # Answers above 1 MiB are read one at a time, and decoded before the next: 32 of 64 MiB
        # would not fit into the memory of a small computer.
        self._reading_large = asyncio.Lock()
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }

    async def __aenter__(self) -> "ApiClient":
        timing = self._timing
        # The pool's wait: also for a proxy. The reading's: also for a body that nobody takes.
        submitting = timeouts(timing.connect, timing.connect, timing.submit_read)
        asking = timeouts(timing.query_pool, timing.connect, timing.query_read)
        self._paid = open_session(submitting, use_proxy=self._use_proxy, reuse=False)
        self._free = open_session(asking, use_proxy=self._use_proxy, at_once=MAX_QUERY_CONNECTIONS)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._paid.close()
        await self._free.close()

    async def post_once(self, path: str, body: Body, commit: Commit) -> Response:
        """Send a paid POST once. Raises nothing: what ended it is in `Response.error`.

        That holds for what `commit` raises, and for a cancellation of the calling task.
        """
        timing, deadline = self._timing, Deadline()

        def begin_piece(size: int) -> None:
            # Anew with each piece: the next one is asked for when this one has moved on.
            deadline.within(timing.submit_total + size / timing.submit_bytes_per_s)

        content = SingleUseBody(body, commit, on_sent=begin_piece)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        reader = _ResponseReader(MAX_RESPONSE_BYTES, deadline)
        try:
            url = self._base + path
            async with deadline:
                await reader.receive(self._request(self._paid, "POST", url, headers, content))
        except BaseException as error:  # noqa: BLE001
            # What a paid POST came to is recorded before even a cancellation goes on.
            reader.error = content.commit_error or error
        finally:
            content.close()
        return without_secrets(reader.response(self._now(), body_sent=content.sent))

    async def ask(
        self, path: str, method: str = "GET", max_bytes: int = MAX_RESULT_BYTES
    ) -> Response:
        """Send a free request below the base. As `ask_url`."""
        return await self.ask_url(self._base + path, method, max_bytes)

    async def ask_url(
        self,
        url: str,
        method: str = "GET",
        max_bytes: int = MAX_RESULT_BYTES,
        *,
        with_token: bool = True,
    ) -> Response:
        """Send a free request, once; what ended it is in `Response.error`. Raises MemoryError.

        max_bytes: of the answer that are read. with_token: whether the token goes along.
        """
        timing, deadline = self._timing, Deadline()

        def begin_body() -> None:
            deadline.at_speed(
                timing.query_bytes_per_s, grace=timing.query_grace, total=timing.query_total
            )

        reader = _ResponseReader(max_bytes, deadline, begin_body, self._reading_large)
        try:
            async with deadline:
                deadline.within(timing.query_pool + timing.query_read)
                await reader.receive(self._request(self._free, method, url, with_token=with_token))
        except MemoryError:  # no later try would fare better, as it may where the network failed
            raise
        except Exception as error:  # noqa: BLE001
            reader.error = error
        return without_secrets(reader.response(self._now()))

    def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: SingleUseBody | None = None,
        *,
        with_token: bool = True,
    ) -> Any:
        own = {n: v for n, v in self._headers.items() if with_token or n != "Authorization"}
        return session.request(
            method,
            exact_url(url),
            headers={**own, **(headers or {})},
            data=content,
            allow_redirects=False,
            proxy=self._proxy_for(url),
        )


def without_secrets(response: Response) -> Response:
    """Return an answer without the token and the like: error pages repeat a request's headers."""
    if not (secrets.are_in(response.content) or secrets.are_in(response.content_type.encode())):
        return response
    body = response.body
    content = secrets.hide(response.content.decode(errors="backslashreplace"))
    if isinstance(body, dict | list):
        with suppress(RecursionError):
            body = secrets.hide_in_json(body)
            content = json.dumps(body, ensure_ascii=False)
    return replace(
        response,
        body=body,
        content=content.encode(errors="replace"),
        content_type=secrets.hide(response.content_type),
        text=find_text(body) if isinstance(body, dict) else "",
    )


class _ResponseReader:
    """Reads an answer of `limit` bytes at most, and keeps what came when it breaks off.

    deadline: of the exchange. begin_body: called when a body, or what lies beyond its first MiB, is
    about to come. one_by_one: held while the latter is read.
    """

    def __init__(
        self,
        limit: int,
        deadline: Deadline,
        begin_body: Callable[[], None] = lambda: None,
        one_by_one: asyncio.Lock | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self._limit = limit
        self._deadline = deadline
        self._begin_body = begin_body
        self._one_by_one = one_by_one
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._content = bytearray()

    async def receive(self, request: Any) -> None:
        """request: the context manager that a session's `request` returned."""
        async with request as response:
            self._status = response.status
            self._headers = headers_of(response)
            self._begin_body()
            whole = await self._read(response, MAX_RESPONSE_BYTES)
            if not whole and self._one_by_one is not None:
                self._deadline.stop()  # another answer is waited for, and not this one
                async with self._one_by_one:
                    self._begin_body()
                    whole = await self._read(response, self._limit)
            if not whole:
                self.error = ResponseTooLarge(self._limit)
                del self._content[MAX_RESPONSE_BYTES:]
                response.close()

    async def _read(self, response: aiohttp.ClientResponse, limit: int) -> bool:
        """Read on until there are more than `limit` bytes; return whether the answer has ended."""
        while chunk := await response.content.readany():
            self._content += chunk
            self._deadline.received(len(chunk))
            if len(self._content) > limit:
                return False
        return True

    def response(self, now: float, *, body_sent: bool = True) -> Response:
        content = bytes(self._content)
        self._content.clear()  # it may be large
        return decode(
            self._status,
            self._headers,
            content,
            self.error,
            now,
            body_sent=body_sent,
            max_bytes=self._limit,
        )


class OverClient:
    """What speaks through a client of its own, and is entered and left with it."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(*error)
