"""The addresses of those who are told how a run ended, and of where media and journals are kept.
Pure.

No error shows the address of the first kind: it is a secret, since whoever has it can speak in the
person's name.
"""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

# The environment variables that hold them, by the option's name.
ADDRESS_VARIABLES = {"ping": "BATCHGEN_PING", "notify": "BATCHGEN_NOTIFY"}
JOURNAL_VARIABLE = "BATCHGEN_JOURNAL"  # names the database for all commands
MEDIA_VARIABLE = "BATCHGEN_MEDIA"
_STORES = ("s3", "gs", "az")
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


def parse_media_place(text: str) -> str:
    """Return where media are kept, as `s3://bucket/prefix`, or a whole path. Raises ValueError.

    The schemes are s3, gs and az, whose bucket is a container. It holds no user, password or query.
    """
    scheme, colon, rest = text.partition("://")
    names = (text[1:] if is_path(text) else rest).rstrip("/").split("/")
    odd = not text.isprintable() or bool({"", ".", ".."} & {*names})
    if is_path(text) and not odd:
        return f"/{'/'.join(names)}"
    odd |= any(mark in rest for mark in "?#@\\*") or ":" in names[0]
    if scheme not in _STORES or not colon or odd:
        raise ValueError(
            "This is no place to keep media; it looks like s3://bucket/prefix, gs://bucket/prefix,"
            " az://container/prefix, or the whole path of a folder, /mnt/pictures. Credentials are"
            " not part of it."
        )
    return f"{scheme}://{'/'.join(names)}"


def is_path(place: str) -> bool:
    """Whether a place is a folder, and no object store."""
    return place.startswith("/")


def split_media_place(place: str) -> tuple[str, str, str]:
    """Return scheme, bucket and prefix; "" is none. place: as `parse_media_place` returns it."""
    scheme, _, rest = place.partition("://")
    bucket, _, prefix = rest.partition("/")
    return scheme, bucket, prefix


class JournalAddress(NamedTuple):
    """A journal in PostgreSQL. url: as `parse_journal_place` returns it. batch: its name there."""

    url: str
    batch: str

    @property
    def schema(self) -> str:
        """The PostgreSQL schema that holds the batch's tables."""
        return f"batchgen_{self.batch}"

    def __str__(self) -> str:
        return f"{self.url} (batch {self.batch})"


_BATCH_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,46}[A-Za-z0-9_])?")
_POSTGRES = ("postgresql", "postgres")
# What libpq takes as a parameter of a URL, and nobody else should see.
_SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret")


def parse_journal_place(text: str) -> str:
    """Return the database that keeps journals, as `postgresql://host/database`. Raises ValueError.

    It is a URL as libpq has it, without a password.
    """
    scheme, colon, rest = text.partition("://")
    try:
        parts = urlsplit(text)
        names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        scheme, names = "", []
        parts = urlsplit("")
    if scheme not in _POSTGRES or not colon or not text.isprintable() or " " in text or "#" in text:
        raise ValueError(
            "This is no database that keeps a journal; it looks like"
            " postgresql://user@host/database?sslmode=verify-full, without a password."
        )
    if ":" in parts.netloc.rpartition("@")[0] or {*names} & {*_SECRET_PARAMETERS}:
        raise ValueError(
            "A password is no part of this: it would stand in the list of processes and in the"
            " shell's history. Put it into PGPASSWORD, a service file or ~/.pgpass, and leave it"
            " out here."
        )
    return f"postgresql://{rest}"


def journal_place_or_none(text: str | None) -> str | None:
    """As `parse_journal_place`; None for no text, and for one that it does not take."""
    try:
        return parse_journal_place(text) if text else None
    except ValueError:
        return None


def parse_batch_name(text: str) -> str:
    """Return the name of a batch in a database. Raises ValueError."""
    if not _BATCH_NAME.fullmatch(text):
        raise ValueError(
            "This is no name for a batch in a database: it has up to 48 letters without accents,"
            " digits, and . _ - within."
        )
    return text
