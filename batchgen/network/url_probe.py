"""Requests to the URLs of file inputs, to learn whether RunComfy could fetch them.

Each URL gets a HEAD request, and where that decides nothing, a GET for its first byte. No request
carries a token or goes to an address that is not public: the name is resolved once, its addresses
are judged, and the connection is made to one of these. `url_rules.py` says what a response means.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import httpx

from batchgen.core.text import describe_error
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.network import url_rules
from batchgen.network.session import USER_AGENT, environment_proxy, proxy_for, trusted_certificates
from batchgen.network.url_rules import ProbeResponse, UrlProblem

MAX_PROBES = 8
MAX_PROBES_PER_HOST = 2
MAX_REDIRECTS = 5
HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
MAX_TIMEOUTS_PER_HOST = 3  # then the host gets no more requests

# (host, port) -> all of its IP addresses, the best first; raises OSError and UnicodeError.
Resolver = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Resolve a name as the operating system does."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class UrlProbe:
    """Probes URLs, at most MAX_PROBES at once and MAX_PROBES_PER_HOST of the same host.

    timing: `probe_step` for each of connection, handshake and response; `probe_total` for all of
        them, against hosts that send a byte at a time.
    address_kind: as `url_rules.non_public_kind`.
    """

    def __init__(
        self,
        timing: Timing = DEFAULT_TIMING,
        *,
        resolve: Resolver = resolve,
        address_kind: url_rules.AddressKind = url_rules.non_public_kind,
    ) -> None:
        self._timing = timing
        self._resolve = resolve
        self._address_kind = address_kind
        # No connection is used twice: two hosts can share an address, but not a certificate.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._direct = httpx.AsyncHTTPTransport(verify=trusted_certificates(), limits=limits)
        self._proxied = None
        if proxy := environment_proxy():
            self._proxied = httpx.AsyncHTTPTransport(
                verify=trusted_certificates(), limits=limits, proxy=proxy
            )
        self._slots = asyncio.Semaphore(MAX_PROBES)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._timeouts: Counter[str] = Counter()
        self._given_up: dict[str, UrlProblem] = {}

    async def aclose(self) -> None:
        await self._direct.aclose()
        if self._proxied is not None:
            await self._proxied.aclose()

    async def probe(self, url: str, kind: str) -> UrlProblem | None:
        """Return what is wrong with `url`, with its host and redirects; None if it can be fetched.

        kind: `image`, `video`, `audio`, or "" for any file.
        """
        first = host = _host(url)
        for _ in range(MAX_REDIRECTS + 1):
            outcome = url_rules.url_problem(url) or await self._probe_once(url, kind)
            if outcome is None:
                return None
            if isinstance(outcome, UrlProblem):
                subject = host if host == first else f"{first} redirects to {host}, which"
                return UrlProblem(f"{subject} {outcome.what}", outcome.remedy, outcome.sure)
            url, host = outcome, _host(outcome)
        return UrlProblem(
            f"{first} redirects more than {MAX_REDIRECTS} times", url_rules.REMEDY_DIRECT
        )

    async def _probe_once(self, url: str, kind: str) -> UrlProblem | str | None:
        """Return what is wrong, or where the host redirects to; None if it can be fetched."""
        host = _host(url)
        per_host = self._hosts.setdefault(host, asyncio.Semaphore(MAX_PROBES_PER_HOST))
        async with per_host, self._slots:
            if problem := self._given_up.get(host):
                return problem
            try:
                async with asyncio.timeout(self._timing.probe_total):
                    response = await self._request(httpx.URL(url))
                if isinstance(response, UrlProblem):
                    return response
                if response.redirect is not None:
                    return str(httpx.URL(url).join(response.redirect))
                problem = url_rules.response_problem(response, kind)
                give_up = response.status == 429
            except (httpx.InvalidURL, UnicodeError):
                return UrlProblem("leads to an address that is no URL", url_rules.REMEDY_DIRECT)
            except (OSError, httpx.HTTPError) as error:
                problem = _error_problem(error, self._timing, direct=self._proxy_for(host) is None)
                self._timeouts[host] += isinstance(error, TimeoutError | httpx.TimeoutException)
                give_up = self._timeouts[host] >= MAX_TIMEOUTS_PER_HOST
            if problem and give_up:
                self._given_up[host] = problem
            return problem

    def _proxy_for(self, host: str) -> httpx.AsyncHTTPTransport | None:
        return self._proxied if proxy_for(f"https://{host}") else None

    async def _request(self, url: httpx.URL) -> ProbeResponse | UrlProblem:
        """Send HEAD, and where that decides nothing, GET for the first byte.

        A host with an address that is not public gets no request: that is a UrlProblem.
        """
        host = url.raw_host.decode("ascii")
        addresses = await self._resolve(host, url.port or 443)
        if problem := url_rules.address_problem(host, addresses, self._address_kind):
            return problem
        try:
            head = await self._exchange("HEAD", url, addresses)
        except (httpx.ReadError, httpx.RemoteProtocolError):
            head = None  # some hosts close the connection on HEAD
        if head is not None and not url_rules.needs_get(head):
            return head
        return await self._exchange("GET", url, addresses)

    async def _exchange(self, method: str, url: httpx.URL, addresses: list[str]) -> ProbeResponse:
        host = url.raw_host.decode("ascii")
        headers = HEADERS | {"Host": url.netloc.decode("ascii")}
        headers |= {"Range": "bytes=0-0"} if method == "GET" else {}
        if proxy := self._proxy_for(host):
            # It resolves the name itself, and decides where connections go.
            return await self._send(proxy, httpx.Request(method, url, headers=headers))
        for address in addresses[:-1]:
            try:
                return await self._send(self._direct, _pinned(method, url, headers, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                pass  # e.g. IPv6 where there is none: try the next address
        return await self._send(self._direct, _pinned(method, url, headers, addresses[-1]))

    async def _send(
        self, transport: httpx.AsyncHTTPTransport, request: httpx.Request
    ) -> ProbeResponse:
        request.extensions["timeout"] = httpx.Timeout(self._timing.probe_step).as_dict()
        response = await transport.handle_async_request(request)
        try:
            delivered = response.status_code in url_rules.DELIVERED_STATUSES
            has_body = request.method == "GET" and delivered
            empty = has_body and not await anext(response.aiter_raw(), b"")
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return ProbeResponse(response.status_code, headers, empty)


def _pinned(method: str, url: httpx.URL, headers: dict[str, str], address: str) -> httpx.Request:
    """Return a request to `address`, with the host of `url` in its header and for TLS."""
    host = {"sni_hostname": url.raw_host.decode("ascii")}
    return httpx.Request(method, url.copy_with(host=address), headers=headers, extensions=host)


def _error_problem(error: BaseException, timing: Timing, *, direct: bool) -> UrlProblem:
    """Return what it means that there is no response.

    direct: False behind a proxy, which may itself be out of reach, or resolve names that this
        computer cannot.
    """
    cause: BaseException | None = error
    while cause is not None and direct:
        if isinstance(cause, TimeoutError):
            return UrlProblem(
                f"did not answer in {timing.probe_step:.0f} s", url_rules.REMEDY_LATER, sure=False
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UrlProblem(
                f"has no valid certificate ({cause.verify_message})", url_rules.REMEDY_PUBLIC
            )
        if isinstance(cause, ConnectionRefusedError):
            return UrlProblem("refuses connections", url_rules.REMEDY_PUBLIC)
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return UrlProblem("has no address; the name may be misspelt", url_rules.REMEDY_PUBLIC)
        cause = cause.__cause__ or cause.__context__
    return UrlProblem(
        f"could not be reached ({describe_error(error)})", url_rules.REMEDY_LATER, sure=False
    )


def _host(url: str) -> str:
    """Return the host of a URL for messages, without path and query, which can be a signature."""
    try:
        return httpx.URL(url).raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        return "its host"
