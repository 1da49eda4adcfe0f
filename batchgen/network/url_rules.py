"""Whether RunComfy could fetch the URL of a file input, judged by a probe of it. Pure.

Source: RunComfy's page, “File inputs”: a publicly reachable HTTPS URL, fetched by the service
without login or cookies from a host that does not block programs; images up to 50 MB and videos up
to 100 MB are recommended.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
DELIVERED_STATUSES = (200, 206)
TRANSIENT_STATUSES = (408, 425, 429)  # and every 5xx; the next request may get another answer
MAX_MEGABYTES = {"image": 50, "video": 100}
# Attributes of `ipaddress`; the first that is set names the kind. Any other address that is not
# global is called reserved.
_KINDS = {
    "is_unspecified": "the unspecified address",
    "is_loopback": "a loopback address",
    "is_link_local": "a link-local address",
    "is_multicast": "a multicast address",
    "is_private": "a private address",
    "is_site_local": "a private address",
    "is_reserved": "a reserved address",
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# An IP address -> its kind in words, such as `a private address`; None for a public one.
AddressKind = Callable[[str], str | None]

REMEDY_PUBLIC = "Put the file where anybody can fetch it over https, without a login."
REMEDY_LOGIN = (
    "RunComfy fetches it without login or cookies, and as a program. A signed address may have"
    " expired."
)
REMEDY_FILE = (
    "Give the address of the file itself (“copy image address”), not of a page that shows it."
)
REMEDY_DIRECT = "Give the address that it leads to in the end."
REMEDY_LATER = "It may be better tonight: look at it in a browser, or check again later."
REMEDY_SMALLER = "Make it smaller, or try it with one row first."


@dataclass(frozen=True, slots=True)
class UrlProblem:
    """What is wrong with a URL. what: a predicate of its host, such as `answers 404`.

    sure: False where it may be otherwise later or for RunComfy, so that it is only a warning.
    """

    what: str
    remedy: str
    sure: bool = True


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """A host's response to HEAD or to GET.

    headers: lower-cased names. empty: whether a GET brought no byte; False for HEAD.
    """

    status: int
    headers: Mapping[str, str]
    empty: bool = False

    @property
    def redirect(self) -> str | None:
        return self.headers.get("location") if self.status in REDIRECT_STATUSES else None


def url_problem(url: str) -> UrlProblem | None:
    """Return what is wrong with a URL itself, also that of a redirect, before any request."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return UrlProblem("cannot be asked: the address is no URL", REMEDY_PUBLIC)
    if parts.scheme != "https" or not parts.hostname:
        return UrlProblem(
            "is named without https://, and RunComfy fetches https:// only", REMEDY_PUBLIC
        )
    if "@" in parts.netloc:
        return UrlProblem("is asked with a user name, and RunComfy has no login", REMEDY_PUBLIC)
    return None


def address_problem(
    host: str, addresses: Iterable[str], address_kind: "AddressKind | None" = None
) -> UrlProblem | None:
    """Return what is wrong with a host whose name resolves to `addresses`; all must be public.

    address_kind: in place of `non_public_kind`.
    """
    for address in addresses:
        if kind := (address_kind or non_public_kind)(address):
            be = f"is {kind}" if address == host else f"is at {address}, {kind}"
            return UrlProblem(f"{be}, which RunComfy cannot reach", REMEDY_PUBLIC)
    return None


def non_public_kind(address: str) -> str | None:
    """Return the kind of an IP address that RunComfy cannot reach; None for a public one."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return "an IPv4 address in disguise"
        inside = found.sixtofour
        if found in _NAT64:  # how a network without IPv4 reaches hosts that have nothing else
            inside = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inside:
            return non_public_kind(str(inside))
    for attribute, kind in _KINDS.items():
        if getattr(found, attribute, False):
            return kind
    return None if found.is_global else "a reserved address"


def needs_get(head: ProbeResponse) -> bool:
    """Whether a response to HEAD has to be confirmed by GET, which is what RunComfy will send.

    Many hosts refuse HEAD, sign their links for GET alone, or answer it with other headers.
    """
    if head.status in REDIRECT_STATUSES or head.status == HTTPStatus.TOO_MANY_REQUESTS:
        return False
    return (
        head.status not in DELIVERED_STATUSES
        or _is_page(head)
        or head.headers.get("content-length") in (None, "0")
    )


def response_problem(response: ProbeResponse, kind: str) -> UrlProblem | None:
    """Return what is wrong with a response that is no redirect.

    kind: of the file: `image`, `video`, `audio`, or "" for any.
    """
    status = response.status
    if status in TRANSIENT_STATUSES or status >= 500:
        return UrlProblem(f"answers {_with_phrase(status)}", REMEDY_LATER, sure=False)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or response.empty:
        return UrlProblem("sends an empty file", REMEDY_PUBLIC)
    if status not in DELIVERED_STATUSES:
        return UrlProblem(f"answers {_with_phrase(status)}", REMEDY_LOGIN)
    if _is_page(response):
        return UrlProblem("sends a web page, not a file", REMEDY_FILE)
    size, most = file_bytes(response), MAX_MEGABYTES.get(kind)
    if size is not None and most is not None and size > most * 1_000_000:
        what = f"sends {size / 1_000_000:.0f} MB, and RunComfy recommends {most} MB at most"
        return UrlProblem(what, REMEDY_SMALLER, sure=False)
    return None


def file_bytes(response: ProbeResponse) -> int | None:
    """Return the size of the whole file in bytes; None where the headers do not tell."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        text = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _is_page(response: ProbeResponse) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")


def _with_phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
