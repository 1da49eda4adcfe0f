"""The addresses of those who are told how a run ended. Pure.

No error shows the address: it is a secret, since whoever has it can speak in the person's name.
"""

import re
from urllib.parse import urlsplit

# The environment variables that hold them, by the option's name.
ADDRESS_VARIABLES = {"ping": "BATCHGEN_PING", "notify": "BATCHGEN_NOTIFY"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def parse_ping_url(text: str) -> str:
    """Return a URL as it is. Raises ValueError if it cannot be pinged."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not text.isprintable() or " " in text:
        raise ValueError(
            "This is no address to ping; it looks like https://hc-ping.com/…,"
            " https://kuma.example/api/push/… or https://cronitor.link/p/…"
        )
    return text


def parse_notify_urls(written: str | list[str]) -> tuple[str, ...]:
    """Return URLs, as apprise has them. Raises ValueError.

    written: a list of them, or a text with blanks between them.
    """
    urls = tuple(written.split() if isinstance(written, str) else written)
    if not urls or not all(map(_SCHEME.fullmatch, urls)):
        raise ValueError(
            "This is no address to notify; it looks like mailto://…, ntfy://… or slack://…, as"
            " apprise has them."
        )
    return urls
