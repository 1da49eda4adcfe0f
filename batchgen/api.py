"""HTTP to the Model API: sends, and hands back what came, unjudged. Source: api.md.

Each paid POST goes out once, on a connection of its own. An idle connection that the server closes
as we write looks exactly like a lost answer, so none is reused. Questions are free: their client
keeps its connections.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from functools import cache
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import httpx

import batchgen
from batchgen.errors import ServiceUnreachable
from batchgen.reply import Reply, describe

ANSWER_LIMIT = 1 << 20
PAID_TIMEOUT = httpx.Timeout(connect=10, write=30, read=75, pool=None)
FREE_TIMEOUT = httpx.Timeout(connect=10, write=30, read=30, pool=None)
USER_AGENT = f"batchgen/{batchgen.__version__}"


@cache
def certificates() -> ssl.SSLContext:
    """Whom all clients trust; read once, since each reading takes some 30 ms.

    Raises ServiceUnreachable where the environment names certificates that cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        raise ServiceUnreachable(
            f"The certificates to trust cannot be read ({describe(error)}). Nothing was sent.",
            "Check SSL_CERT_FILE and SSL_CERT_DIR, then run the same command again.",
        ) from error


def _client(**options: Any) -> httpx.AsyncClient:
    """Raises ServiceUnreachable where the environment names a proxy that cannot be used."""
    try:
        return httpx.AsyncClient(verify=certificates(), follow_redirects=False, **options)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ServiceUnreachable(
            f"The environment's proxy cannot be used ({describe(error)}). Nothing was sent.",
            "Check HTTPS_PROXY and ALL_PROXY: batchgen goes through http:// and https:// proxies.",
        ) from error


class OneShot:
    """The body of a paid POST. It can be asked for once, and `commit` runs before its first byte.

    opened: the transport has asked for the body; from then on the POST may have been accepted.
    """

    def __init__(self, body: bytes, commit: Callable[[], None]) -> None:
        self._body = body
        self._commit = commit
        self._used = False
        self.opened = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._used:
            raise RuntimeError("a paid request is never sent twice")
        self._used = True
        self._commit()  # if this raises, no byte of the body leaves
        self.opened = True
        yield self._body


class Api:
    """base: ends in `/v1`, without a slash. The token goes there and to its wallet only."""

    def __init__(self, base: str, token: str, use_proxy: bool) -> None:
        self._base = base
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        self._paid = _client(
            headers=headers,
            timeout=PAID_TIMEOUT,
            http2=False,
            trust_env=use_proxy,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._free = _client(
            headers=headers,
            timeout=FREE_TIMEOUT,
            trust_env=use_proxy,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=32),
        )

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._paid.aclose()
        await self._free.aclose()

    async def submit(self, model: str, body: bytes, commit: Callable[[], None]) -> Reply:
        """Send the paid POST once. Raises nothing: whatever ended it is in `Reply.error`.

        That holds for what `commit` raises, and for a cancellation too.
        """
        shot = OneShot(body, commit)
        url = f"{self._base}/models/{quote(model, safe='/')}"
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        request = self._paid.stream("POST", url, content=shot, headers=headers)
        return await _exchange(request, shot)

    async def result(self, request_id: str) -> Reply:
        return await self._get(f"/requests/{request_id}/result?include_cost=true")

    async def status(self, request_id: str) -> Reply:
        return await self._get(f"/requests/{request_id}/status")

    async def cancel(self, request_id: str) -> Reply:
        request = self._free.stream("POST", f"{self._base}/requests/{request_id}/cancel")
        return await _exchange(request)

    async def model(self, model: str) -> Reply:
        return await self._get(f"/models/{quote(model, safe='/')}")

    async def models(self, search: str = "", limit: int = 100, offset: int = 0) -> Reply:
        query = {"search": search, "limit": limit, "offset": offset}
        return await self._get(f"/models?{urlencode(query)}")

    async def balance(self, url: str) -> Reply:
        """The wallet at `url`, which is not below the base. Source: api.md, the official CLI's."""
        return await _exchange(self._free.stream("GET", url))

    async def _get(self, path: str) -> Reply:
        return await _exchange(self._free.stream("GET", self._base + path))


async def _exchange(request: Any, shot: OneShot | None = None) -> Reply:
    """Run one request of httpx's `stream` and keep whatever came of it, however it ended."""
    status: int | None = None
    headers: dict[str, str] = {}
    body = bytearray()
    broke: BaseException | None = None
    try:
        async with request as response:
            status = response.status_code
            headers = {name.lower(): value for name, value in response.headers.items()}
            async for chunk in response.aiter_raw():
                body += chunk[: ANSWER_LIMIT - len(body)]
                if len(body) >= ANSWER_LIMIT:
                    broke = ValueError(f"the answer is larger than {ANSWER_LIMIT} bytes")
                    break
    except BaseException as error:
        # What a paid POST came to must be recorded before even a cancellation goes on.
        if shot is None and not isinstance(error, Exception):
            raise
        broke = error
    return Reply(shot is None or shot.opened, status, headers, bytes(body), broke)
