"""Which URLs of outputs are fetched. Pure. Source: docs/maintainers/specification.md."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\\]")


@dataclass(frozen=True, slots=True)
class MediaHost:
    """A host of the service, or one of --media-host: `HOST[:PORT]`, `.HOST` for its subdomains."""

    host: str
    port: int | None = None

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def parse_media_host(text: str) -> MediaHost:
    """Read `HOST[:PORT]`, with a leading dot for subdomains. Raises ValueError."""
    host, _, port = text.lower().partition(":")
    if not _HOST.fullmatch(host.removeprefix(".")) or (
        port and not (port.isdecimal() and int(port) < 65536)
    ):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return MediaHost(host, int(port) if port else None)


def is_loopback(host: str) -> bool:
    if host in ("localhost", "::1"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_ip(host: str) -> bool:
    # A last label of digits only is an IPv4 address to many resolvers, in whatever notation.
    return host.rpartition(".")[2].isdecimal() or bool(re.fullmatch(r"0x[0-9a-f]+", host))


def host_to_name(url: str) -> str | None:
    """Return what --media-host has to name for `url` to be fetched; None where nothing helps."""
    if _UNPRINTABLE.search(url):
        return None
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None
    named = host if port in (None, 443) else f"{host}:{port}"
    allowed = MediaHost(host, port)
    return named if rejection_reason(url, [allowed]) is None else None


def rejection_reason(url: str, allowed: Iterable[MediaHost]) -> str | None:
    """Return why `url` is not fetched, or None if it is on one of the hosts in `allowed`."""
    if _UNPRINTABLE.search(url):
        return "it holds characters that no URL holds"
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "it is no URL"
    if "@" in parts.netloc:
        return "it carries a user name"
    if not _HOST.fullmatch(host):
        return "its host name is not a plain one"
    matching = [m for m in allowed if _matches(m, host, port, parts.scheme)]
    if parts.scheme == "http":
        return None if any(m.is_loopback for m in matching) else "it is not https"
    if parts.scheme != "https":
        return "it is not https"
    if matching:
        return None
    if _is_ip(host):
        return "it names an address, not a host"
    if port not in (None, 443):
        return f"it names port {port}"
    return f"{host} is not a host of the service's outputs"


def _matches(named: MediaHost, host: str, port: int | None, scheme: str) -> bool:
    default = 443 if scheme == "https" else 80
    if (default if port is None else port) != (named.port or default):
        return False
    if named.host.startswith("."):
        return host.endswith(named.host) and not _is_ip(host)
    return host == named.host and (not _is_ip(host) or named.is_loopback)
