"""HTTP to the Model API: sends, and hands back what came, unjudged. Source: api.md.

Each paid POST goes out once, on a connection of its own. An idle connection that the server closes
as we write looks exactly like a lost answer, so none is reused. Questions are free: their client
keeps its connections.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from batchgen.api.response import Response
from batchgen.network.session import USER_AGENT, exact_url, open_session, proxy_for

MAX_RESPONSE_BYTES = 1 << 20
# connect: through a proxy as well; sock_read: also of a body that nobody takes.
SUBMIT_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=10, sock_read=75)
QUERY_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=60, sock_connect=10, sock_read=30)
MAX_QUERY_CONNECTIONS = 32
Commit = Callable[[], Awaitable[None]]


class SingleUseBody:
    """The body of a paid POST. It can be asked for once, and `commit` ends before its first byte.

    opened: the body was handed over; from then on the POST may have been accepted.
    refusal: the error that `commit` raised, so that no byte left.
    """

    def __init__(self, body: bytes, commit: Commit) -> None:
        self._body = body
        self._commit = commit
        self._used = False
        self._closed = False
        self.opened = False
        self.refusal: Exception | None = None

    def close(self) -> None:
        """From now on it cannot be sent: what came of the POST is about to be recorded."""
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
            self.refusal = error
            raise
        self.opened = True
        yield self._body


class ApiClient:
    """base: ends in `/v1`, without a slash. The token goes there and to its wallet only.

    Raises ServiceUnreachable where the environment's certificates or proxy cannot be used.
    """

    def __init__(self, base: str, token: str, use_proxy: bool) -> None:
        self._base = base
        self._use_proxy = use_proxy
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }

    async def __aenter__(self) -> "ApiClient":
        self._paid = open_session(SUBMIT_TIMEOUT, use_proxy=self._use_proxy, reuse=False)
        self._free = open_session(
            QUERY_TIMEOUT, use_proxy=self._use_proxy, at_once=MAX_QUERY_CONNECTIONS
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._paid.close()
        await self._free.close()

    async def submit(self, model: str, body: bytes, commit: Commit) -> Response:
        """Send the paid POST once. Raises nothing: whatever ended it is in `Reply.error`.

        That holds for what `commit` raises, and for a cancellation too.
        """
        shot = SingleUseBody(body, commit)
        url = f"{self._base}/models/{quote(model, safe='/')}"
        about = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        answer = _ResponseReader()
        try:
            await answer.receive(self._request(self._paid, "POST", url, about, data=shot))
        except BaseException as error:  # noqa: BLE001
            # What a paid POST came to must be recorded before even a cancellation goes on.
            answer.error = shot.refusal or error
        finally:
            shot.close()
        return answer.reply(shot.opened)

    async def result(self, request_id: str) -> Response:
        return await self._ask(f"/requests/{request_id}/result?include_cost=true")

    async def status(self, request_id: str) -> Response:
        return await self._ask(f"/requests/{request_id}/status")

    async def cancel(self, request_id: str) -> Response:
        return await self._ask(f"/requests/{request_id}/cancel", "POST")

    async def model(self, model: str) -> Response:
        return await self._ask(f"/models/{quote(model, safe='/')}")

    async def models(self, search: str = "", limit: int = 100, offset: int = 0) -> Response:
        query = {"search": search, "limit": limit, "offset": offset}
        return await self._ask(f"/models?{urlencode(query)}")

    async def balance(self, url: str) -> Response:
        """The wallet at `url`, which is not below the base. Source: api.md, the official CLI's."""
        return await self._exchange("GET", url)

    async def _ask(self, path: str, method: str = "GET") -> Response:
        return await self._exchange(method, self._base + path)

    async def _exchange(self, method: str, url: str) -> Response:
        """Ask once and keep whatever came of it, however it ended. Raises MemoryError."""
        answer = _ResponseReader()
        try:
            await answer.receive(self._request(self._free, method, url))
        except MemoryError:  # no later try would fare better, as it may where the network failed
            raise
        except Exception as error:  # noqa: BLE001
            answer.error = error
        return answer.reply()

    def _request(
        self,
        client: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        data: SingleUseBody | None = None,
    ) -> Any:
        return client.request(
            method,
            exact_url(url),
            headers={**self._headers, **(headers or {})},
            data=data,
            allow_redirects=False,
            proxy=proxy_for(url) if self._use_proxy else None,
        )


class _ResponseReader:
    """What has come so far, at most 1 MiB of it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    async def receive(self, request: Any) -> None:
        """request: what a client's `request` returned, to be entered."""
        async with request as response:
            self._status = response.status
            self._headers = {name.lower(): value for name, value in response.headers.items()}
            async for chunk in response.content.iter_any():
                self._body += chunk[: MAX_RESPONSE_BYTES - len(self._body)]
                if len(self._body) == MAX_RESPONSE_BYTES:
                    self.error = ValueError(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
                    response.close()
                    break

    def reply(self, opened: bool = True) -> Response:
        return Response(opened, self._status, self._headers, bytes(self._body), self.error)
