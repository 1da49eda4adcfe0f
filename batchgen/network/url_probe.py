"""Asking the hosts of file inputs whether RunComfy could fetch them, before anything is paid for.

Without the token, without cookies, and to public addresses only: a host's name is looked up first,
and the connection goes to an address that was judged, so that a second look at the name cannot lead
elsewhere. hosted.py decides what an answer means.
"""

import asyncio
import socket
import ssl
from collections import Counter
from weakref import WeakValueDictionary

import httpx

from batchgen.core.text import describe_error
from batchgen.network import url_rules
from batchgen.network.session import USER_AGENT, environment_proxy, proxy_for, trusted_certificates
from batchgen.network.url_rules import ProbeResponse, UrlProblem

MAX_PROBES = 8
MAX_PROBES_PER_HOST = 2
MAX_REDIRECTS = 5
STEP_TIMEOUT_S = 10.0  # seconds for each step: connection, handshake, answer
TOTAL_TIMEOUT_S = 30.0  # seconds for all of them, against hosts that drip
HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
MAX_TIMEOUTS_PER_HOST = 3  # then a host is not asked any more


class UrlProbe:
    """Asks about URLs, a few at once and fewer of the same host."""

    def __init__(self) -> None:
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
        self._silences: Counter[str] = Counter()
        self._left_alone: dict[str, UrlProblem] = {}

    async def aclose(self) -> None:
        await self._direct.aclose()
        if self._proxied is not None:
            await self._proxied.aclose()

    async def flaw(self, url: str, kind: str) -> UrlProblem | None:
        """Return what is wrong with `url`, its host and redirects said; None if it can be fetched.

        kind: `image`, `video`, `audio`, or "" for any file.
        """
        first = host = _host(url)
        for _ in range(MAX_REDIRECTS + 1):
            outcome = url_rules.url_problem(url) or await self._ask(url, kind)
            if outcome is None:
                return None
            if isinstance(outcome, UrlProblem):
                who = host if host == first else f"{first} redirects to {host}, which"
                return UrlProblem(f"{who} {outcome.what}", outcome.remedy, outcome.sure)
            url, host = outcome, _host(outcome)
        return UrlProblem(
            f"{first} redirects more than {MAX_REDIRECTS} times", url_rules.REMEDY_DIRECT
        )

    async def _ask(self, url: str, kind: str) -> UrlProblem | str | None:
        """Return what is wrong, or where the host redirects to, or None if all is well."""
        host = _host(url)
        per_host = self._hosts.setdefault(host, asyncio.Semaphore(MAX_PROBES_PER_HOST))
        async with per_host, self._slots:
            if flaw := self._left_alone.get(host):
                return flaw
            try:
                async with asyncio.timeout(TOTAL_TIMEOUT_S):
                    answer = await self._answer(httpx.URL(url))
                if isinstance(answer, UrlProblem):
                    return answer
                if answer.leads_to is not None:
                    return str(httpx.URL(url).join(answer.leads_to))
                flaw = url_rules.response_problem(answer, kind)
                enough = answer.status == 429
            except (httpx.InvalidURL, UnicodeError):
                return UrlProblem("leads to an address that is no URL", url_rules.REMEDY_DIRECT)
            except (OSError, httpx.HTTPError) as error:
                flaw = _broken(error, direct=self._proxy_for(host) is None)
                self._silences[host] += isinstance(error, TimeoutError | httpx.TimeoutException)
                enough = self._silences[host] >= MAX_TIMEOUTS_PER_HOST
            if flaw and enough:
                self._left_alone[host] = flaw
            return flaw

    def _proxy_for(self, host: str) -> httpx.AsyncHTTPTransport | None:
        return self._proxied if proxy_for(f"https://{host}") else None

    async def _answer(self, url: httpx.URL) -> ProbeResponse | UrlProblem:
        """Ask with HEAD, and where that settles nothing, for the first byte.

        Nobody is asked if the host is not a public one: that is a Flaw.
        """
        host = url.raw_host.decode("ascii")
        addresses = await resolve(host, url.port or 443)
        if flaw := url_rules.address_problem(host, addresses):
            return flaw
        try:
            head = await self._exchange("HEAD", url, addresses)
        except (httpx.ReadError, httpx.RemoteProtocolError):
            head = None  # some hosts hang up on it
        if head is not None and not url_rules.needs_get(head):
            return head
        return await self._exchange("GET", url, addresses)

    async def _exchange(self, method: str, url: httpx.URL, addresses: list[str]) -> ProbeResponse:
        host = url.raw_host.decode("ascii")
        headers = HEADERS | {"Host": url.netloc.decode("ascii")}
        headers |= {"Range": "bytes=0-0"} if method == "GET" else {}
        if proxy := self._proxy_for(host):
            # It looks the name up itself, and has the last word on where connections go.
            return await _receive(proxy, httpx.Request(method, url, headers=headers))
        for address in addresses[:-1]:
            try:
                return await _receive(self._direct, _pinned(method, url, headers, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                pass  # e.g. IPv6 where there is none: the host has more
        return await _receive(self._direct, _pinned(method, url, headers, addresses[-1]))


async def resolve(host: str, port: int) -> list[str]:
    """Look a name up; return all its addresses, the best first. Raises OSError, UnicodeError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _pinned(method: str, url: httpx.URL, headers: dict[str, str], address: str) -> httpx.Request:
    """A request that goes to `address`, and to the host of `url` by header and certificate."""
    host = {"sni_hostname": url.raw_host.decode("ascii")}
    return httpx.Request(method, url.copy_with(host=address), headers=headers, extensions=host)


async def _receive(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> ProbeResponse:
    request.extensions["timeout"] = httpx.Timeout(STEP_TIMEOUT_S).as_dict()
    response = await transport.handle_async_request(request)
    try:
        brings = request.method == "GET" and response.status_code in url_rules.DELIVERED_STATUSES
        empty = brings and not await anext(response.aiter_raw(), b"")
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    return ProbeResponse(response.status_code, headers, empty)


def _broken(error: BaseException, *, direct: bool) -> UrlProblem:
    """What it means that there is no answer.

    direct: False behind a proxy, which may itself be out of reach, or alone in knowing names.
    """
    cause: BaseException | None = error
    while cause is not None and direct:
        if isinstance(cause, TimeoutError):
            return UrlProblem(
                f"did not answer in {STEP_TIMEOUT_S:.0f} s", url_rules.REMEDY_LATER, sure=False
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
    """The host of a URL, for people; never its path or query, which can be a signature."""
    try:
        return httpx.URL(url).raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        return "its host"
