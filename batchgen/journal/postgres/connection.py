"""A connection to PostgreSQL with the face of one to SQLite: the same statements, the same values.

- Placeholders are written as SQLite has them, and translated once for each statement.
- Values are what SQLite has: integers, floats, texts, NULL. A zero byte, which a text of PostgreSQL
  cannot hold, becomes U+FFFD.
- Every wait has an end: for a connection, for the network (TCP_USER_TIMEOUT, keepalives), for a
  statement, for a lock, and the server's for a client that is gone within a transaction.
- A commit waits for the disk: `synchronous_commit` is set and read back, and a server whose `fsync`
  is off is refused.

Source: postgresql.org/docs, "Client Connection Defaults" and "Database Connection Control
Functions"; psycopg.org/psycopg3/docs.
"""

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from batchgen.core.addresses import JournalAddress
from batchgen.core.timing import Timing
from batchgen.errors import (
    BatchgenError,
    JournalLocked,
    JournalUnreachable,
    JournalUnusable,
    StorageDamaged,
    UsageError,
)

LEAST_VERSION = 16
Values = Sequence[Any] | Mapping[str, Any]
# A text or a name in quotes, which stay; a placeholder; a percent sign, which means one to psycopg.
_TOKENS = re.compile(r"""'[^']*'|"[^"]*"|\?|(?<!:):[a-z_]\w*|%""")
# Where the client is gone without a word, the server notices within a minute, and lets go of the
# lock: else another machine would wait for hours.
_OF_SESSION = """
    SET synchronous_commit = on;
    SET default_transaction_isolation = 'read committed';
    SET search_path = {schema}, pg_temp;
    SET lock_timeout = '{lock}s';
    SET statement_timeout = '{statement}s';
    SET idle_in_transaction_session_timeout = '{idle}s';
    SET tcp_keepalives_idle = 20;
    SET tcp_keepalives_interval = 10;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 50000;
    SET default_transaction_read_only = {read_only}
"""
_GONE = ("57P01", "57P02", "57P03", "57P05", "25P03")  # shut down, starting up, too long idle
_LOCKED = ("55P03", "40P01", "40001", "57014")
# By the error's SQLSTATE or its class. Source: postgresql.org/docs, "Error Codes".
_REMEDIES = {
    "53100": "Make room on the server's disk.",
    "53": "Let the server have more memory or connections.",
    "42501": "Grant this user what `batchgen doctor` says is missing.",
    "25006": "Name the primary server: this one is read only.",
}


def import_psycopg() -> Any:
    """Return psycopg. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("psycopg")  # by name: it is not always there to be checked
    except ImportError as error:
        raise UsageError.for_lack_of(
            "postgres",
            "A journal in PostgreSQL needs a package that is not installed: psycopg"
            f" ({error}). Nothing was sent.",
        ) from None


# What of a URL says which database it is; the rest says who comes, and how.
_WHICH = ("host", "hostaddr", "port", "dbname", "service")


def same_database(one: str, other: str) -> bool:
    """Return whether two URLs name one database, as far as they tell."""
    if one == other:
        return True
    parts = import_psycopg().conninfo.conninfo_to_dict
    first, second = parts(one), parts(other)
    return all(first.get(name) == second.get(name) for name in _WHICH)


@lru_cache(maxsize=1000)
def translated(sql: str) -> str:
    """Return a statement with psycopg's placeholders in place of SQLite's."""

    def one(token: re.Match[str]) -> str:
        text = token.group()
        if text == "?":
            return "%s"
        if text[0] == ":":
            return f"%({text[1:]})s"
        return text.replace("%", "%%")

    return _TOKENS.sub(one, sql)


def _value(value: Any) -> Any:
    if isinstance(value, str):  # also one of an enumeration, of which psycopg would take the name
        return str(value).replace("\0", "\ufffd")
    return int(value) if isinstance(value, bool) else value


def values_of(values: Values) -> Any:
    """Return the values of a statement as PostgreSQL takes them."""
    if isinstance(values, Mapping):
        return {name: _value(value) for name, value in values.items()}
    return [_value(value) for value in values]


class PostgresConnection:
    """A connection that commits each statement by itself, unless a transaction is begun.

    read_only: the server refuses every write. idle: seconds between two statements of a
        transaction, after which the server ends it; `Timing.database_idle` where nobody says.
    Raises JournalUnreachable and other StorageDamaged, as all methods do.
    """

    def __init__(
        self,
        address: JournalAddress,
        timing: Timing,
        *,
        read_only: bool,
        idle: float | None = None,
    ) -> None:
        self.address = address
        self._streams = 0
        self._psycopg = import_psycopg()
        with self.errors():
            self.raw = self._psycopg.connect(
                address.url,
                autocommit=True,
                application_name="batchgen",
                client_encoding="utf8",
                connect_timeout=max(int(timing.connect), 2),
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=15_000,
                target_session_attrs="any" if read_only else "read-write",
            )
        try:
            self._set_up(
                timing, timing.database_idle if idle is None else idle, read_only=read_only
            )
        except BaseException:
            self.close()
            raise

    def _set_up(self, timing: Timing, idle: float, *, read_only: bool) -> None:
        floats = self._psycopg.types.numeric.FloatLoader
        self.raw.adapters.register_loader("numeric", floats)  # of sums, which SQLite has as floats
        with self.errors():
            self.raw.execute(
                _OF_SESSION.format(
                    schema=quoted(self.address.schema),
                    lock=max(round(timing.busy), 1),
                    statement=round(timing.database_statement),
                    idle=round(idle),
                    read_only="on" if read_only else "off",
                )
            )
            found = self.raw.execute(
                "SELECT current_setting('synchronous_commit'), current_setting('fsync'),"
                " current_setting('server_encoding'), current_setting('server_version_num')::int"
            ).fetchone()
        durable, fsync, encoding, version = found
        if version < LEAST_VERSION * 10_000:
            self._refuse(f"it is PostgreSQL {version // 10_000}", f"{LEAST_VERSION} or later")
        if encoding != "UTF8":
            self._refuse(f"its encoding is {encoding}", "a database with the encoding UTF8")
        if not read_only and (durable, fsync) != ("on", "on"):
            odd = f"synchronous_commit is {durable} and fsync is {fsync}"
            self._refuse(odd, "a server that keeps what it has committed: both on")

    def _refuse(self, why: str, wanted: str) -> None:
        raise JournalUnusable(
            f"{self.address} cannot keep a journal: {why}. Nothing was sent.", f"It takes {wanted}."
        )

    def execute(self, sql: str, values: Values = ()) -> Any:
        """Return a cursor that has all rows already."""
        with self.errors():
            return self.raw.execute(translated(sql), values_of(values))

    def executemany(self, sql: str, rows: Iterable[Values]) -> None:
        with self.errors(), self.raw.cursor() as cursor:
            cursor.executemany(translated(sql), map(values_of, rows))

    def stream(self, sql: str, values: Values = ()) -> "_Streamed":
        """Return a cursor that fetches rows as they are read, which holds few of them."""
        with self.errors():
            self._streams += 1
            name = f"rows_{self._streams}"
            cursor = self.raw.cursor(name, withhold=not self.in_transaction)
            cursor.itersize = 2000
            return _Streamed(self, cursor.execute(translated(sql), values_of(values)))

    def script(self, sql: str) -> Any:
        """Run statements without values in one exchange; return the cursor of the last."""
        with self.errors():
            cursor = self.raw.execute(sql)
            while cursor.nextset():
                pass
            return cursor

    @property
    def in_transaction(self) -> bool:
        return bool(self.raw.info.transaction_status)

    @property
    def is_broken(self) -> bool:
        return bool(self.raw.closed)

    def rollback(self) -> None:
        if not self.is_broken:
            with self.errors():
                self.raw.execute("ROLLBACK")

    def close(self) -> None:
        self.raw.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an error of psycopg into one of ours."""
        try:
            yield
        except self._psycopg.Error as error:
            raw = getattr(self, "raw", None)
            raise meaning(error, self.address, connected=raw is not None and not raw.closed) from (
                error
            )


class _Streamed:
    def __init__(self, connection: PostgresConnection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor
        self.description = cursor.description

    def __iter__(self) -> Iterator[Any]:
        with self._connection.errors(), self._cursor:
            yield from self._cursor


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def meaning(error: Any, address: JournalAddress, *, connected: bool) -> BatchgenError:
    """Return what an error of psycopg means. connected: whether the connection still stands."""
    state = error.sqlstate or ""
    said = " ".join(str(error).split()).removesuffix(".")
    if state in _LOCKED and connected:
        return JournalLocked(str(address))
    for prefix, remedy in _REMEDIES.items():
        if state.startswith(prefix):
            return JournalUnusable(
                f"{address} cannot be used: {said}. It was left as it is, and is not damaged.",
                f"{remedy} Then run the same command again.",
            )
    if not connected or state in _GONE or state.startswith("08"):
        return JournalUnreachable(str(address), said)
    return StorageDamaged(
        f"{address}: the journal cannot be used: {said}.",
        "It was left as it is. See whether somebody has changed its tables, and restore the"
        " database from a backup if need be.",
    )
