"""What all HTTP clients of batchgen share: certificates, proxy, user agent, sessions.

Requests use aiohttp. Measured on loopback with 40 at once, a GET took 0.2 ms of CPU with it, 0.6 ms
with httpcore's connections alone, and 4.4 ms with httpx, whose pool looks through all of its
connections on each request; a POST with a connection of its own 0.7, 1.4 and 2.0 ms.
"""

import os
import ssl
import urllib.request
from collections.abc import Callable
from functools import cache, lru_cache
from urllib.parse import quote, urlsplit

import certifi
from yarl import URL

import batchgen
from batchgen.core.text import describe_error, replace_surrogates
from batchgen.errors import ServiceUnreachable
from batchgen.log import secrets
from batchgen.network.http import aiohttp

USER_AGENT = f"batchgen/{batchgen.__version__}"
_AS_IT_IS = "%/:=&?~#+!$,;'@()*[]"


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Return the TLS context of all clients; made once, since that takes some 30 ms.

    Raises ServiceUnreachable where the environment names certificates that cannot be read.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if folder and not file:
            context = ssl.create_default_context(capath=folder)
        else:
            context = ssl.create_default_context(cafile=file or certifi.where())
    except OSError as error:  # ssl.SSLError is one
        raise ServiceUnreachable(
            f"The certificates to trust cannot be read ({describe_error(error)})."
            " Nothing was sent.",
            "Check SSL_CERT_FILE and SSL_CERT_DIR, then run the same command again.",
        ) from error
    context.set_alpn_protocols(["http/1.1"])  # aiohttp has no other
    return context


def headers_of(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers by lower-case name, without bytes that are no UTF-8.

    aiohttp keeps such a byte as half of a surrogate pair, which no database takes.
    """
    return {name.lower(): replace_surrogates(value) for name, value in response.headers.items()}


def timeouts(pool: float, connect: float, read: float) -> aiohttp.ClientTimeout:
    """Return a session's patience, in seconds, without a limit for the whole.

    pool: for a connection that is free and set up. connect: for its socket. read: for each piece.
    """
    return aiohttp.ClientTimeout(total=None, connect=pool, sock_connect=connect, sock_read=read)


def open_session(
    timeout: aiohttp.ClientTimeout, *, use_proxy: bool, at_once: int = 0, reuse: bool = True
) -> aiohttp.ClientSession:
    """Return a client without cookies that decodes nothing and reads no environment variables.

    It has no headers of its own: aiohttp would send them, and so the token, to a proxy as well.

    use_proxy: whether its requests will go through the environment's proxy.
    at_once: the most connections; 0 is no limit. reuse: whether one may serve several requests.
    Raises ServiceUnreachable where the environment's certificates or proxy cannot be used.
    """
    if use_proxy:
        require_usable_proxy()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=at_once, force_close=not reuse, ssl=trusted_certificates()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
    )


def exact_url(url: str) -> URL:
    """Return a URL unchanged: a signature may cover each character. Raises ValueError."""
    return URL(quote(url, safe=_AS_IT_IS), encoded=True)


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for an https URL; None for others, or without one."""
    parts = urlsplit(url)
    proxy = environment_proxy()
    if parts.scheme != "https" or not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy


def proxy_finder(*, use_proxy: bool) -> Callable[[str], str | None]:
    """Return `proxy_for` for many requests: it looks into the environment once for each host.

    use_proxy: whether there is any. To look takes 0.1 ms, half of what a question takes otherwise.
    """

    @lru_cache(maxsize=100)
    def of_host(scheme: str, host: str) -> str | None:
        return proxy_for(f"{scheme}://{host}")

    def find(url: str) -> str | None:
        parts = urlsplit(url)
        return of_host(parts.scheme, parts.netloc) if use_proxy else None

    return find


def require_usable_proxy() -> None:
    """Raise ServiceUnreachable where the environment names a proxy that cannot be used."""
    proxy = environment_proxy()
    try:
        known = not proxy or bool(URL(proxy).scheme in ("http", "https") and URL(proxy).host)
    except ValueError:
        known = False
    if not known:
        raise ServiceUnreachable(
            "The environment's proxy cannot be used: it has no http:// or https:// address."
            " Nothing was sent.",
            "Check HTTPS_PROXY and ALL_PROXY.",
        )


def environment_proxy() -> str | None:
    """Return the proxy for https that the environment names, usable or not; None without one."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if proxy and "@" in proxy:
        secrets.keep_login(proxy if "://" in proxy else f"http://{proxy}")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
