"""Who may write a batch's journal in PostgreSQL, and how a transaction of his begins and ends.

- The lock is a session's advisory one, held by the connection that writes. The server drops it with
  the connection, so it can be lost while the run goes on.
- So each run takes a greater epoch, and each of its transactions holds the row that says so. Once
  another run has taken the next one, this one writes nothing more.
- A commit whose answer was lost may have been made. Each transaction counts one on in that row, so
  the row tells. The server's own number of a transaction does not: after a crash it may give the
  number of one that was lost to another.
- The id of a request that may not be written is put into the table `receipts`, and the next run
  applies it: an id in hand is never dropped.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from batchgen.core.addresses import JournalAddress
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import (
    BatchBusy,
    JournalTaken,
    JournalUnreachable,
    StorageDamaged,
    UsageError,
)
from batchgen.journal.postgres import schema
from batchgen.journal.postgres.connection import PostgresConnection
from batchgen.journal.receipts import Receipt

STEP_S = 0.25  # between two tries to reach the database
LINGERS_S = 1.0  # a session whose process was killed, on a busy server
TAKE_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(?, 0))"
# Who has it: a key of 64 bits is shown in two halves. Source: postgresql.org/docs, "pg_locks".
HOLDER = """SELECT pid FROM pg_locks, (SELECT hashtextextended(?, 0) AS key) AS wanted
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = key"""


MOVED = "moved"  # the name in `memory` under which a journal that is none any more says so


def moved_to(connection: PostgresConnection) -> str | None:
    """Return where a journal was copied to, so that it is none any more; None if it is one."""
    found = connection.execute("SELECT value FROM memory WHERE name = ?", (MOVED,)).fetchone()
    return None if found is None else str(json.loads(found[0]))


def _moved_away(address: JournalAddress, where: str) -> UsageError:
    return UsageError(
        f"{address} is not the journal of its batch: it was copied ({where}). Nothing was sent.",
        "Go on where it was copied to, or give the same `batchgen journal copy` again if that was"
        " not finished.",
    )


class Owner(NamedTuple):
    """Who writes to a journal, as `27017 on some-computer`."""

    process: str


class PostgresStore:
    """The connections of the one run that may write.

    Raises BatchBusy, naming who does, where another one has the lock.
    """

    def __init__(self, address: JournalAddress, timing: Timing) -> None:
        self.address = address
        self._timing = timing
        self._run = str(uuid.uuid4())
        self._epoch = 0
        self._number: int | None = None  # of the transaction that is open, or is being committed
        self.writing = PostgresConnection(address, timing, read_only=False)
        try:
            take_lock(self.writing)
            if schema.version_of(self.writing) is None:
                self.writing.script("BEGIN")
                schema.create(self.writing)
                self.writing.script("COMMIT")
            elif (where := moved_to(self.writing)) is not None:
                raise _moved_away(address, where)
            self._epoch = self._take_epoch()
            self._pid = self.writing.raw.info.backend_pid
            self._reading = PostgresConnection(address, timing, read_only=True)
        except BaseException:
            self.writing.close()
            raise

    def _take_epoch(self) -> int:
        (epoch,) = self.writing.execute(
            "INSERT INTO owner (one, epoch, run, process, since) VALUES (1, 1, ?, ?, now())"
            " ON CONFLICT (one) DO UPDATE SET epoch = owner.epoch + 1, run = excluded.run,"
            " process = excluded.process, since = excluded.since RETURNING epoch",
            (self._run, f"{os.getpid()} on {socket.gethostname()}"),
        ).fetchone()
        return int(epoch)

    def close(self) -> None:
        self._reading.close()
        if not self.writing.is_broken:
            with suppress(StorageDamaged):  # else the server drops it with the session, a bit later
                self.writing.rollback()
                self.writing.execute("SELECT pg_advisory_unlock_all()")
        self.writing.close()

    # -- transactions --------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction that nobody takes the epoch from. Raises JournalTaken."""
        self._number = None
        cursor = self.writing.script(
            f"BEGIN; UPDATE owner SET writes = writes + 1 WHERE epoch = {self._epoch:d}"
            f" AND run = '{self._run}' RETURNING writes"
        )
        found = cursor.fetchone()
        if found is None:
            self.writing.rollback()
            raise JournalTaken(str(self.address))
        (self._number,) = found

    def commit(self) -> None:
        """Raises JournalUnreachable where nobody can tell yet whether it was made."""
        said = self.writing.script("COMMIT").statusmessage
        self._number = None
        if said != "COMMIT":  # PostgreSQL answers so where a statement had failed
            raise JournalUnreachable(str(self.address), f"the server answered {said}")

    def rollback(self) -> None:
        self.writing.rollback()

    def come_back(self) -> bool:
        """Connect again, and return whether the last transaction was committed.

        It blocks for a while. Raises JournalUnreachable, and JournalTaken where another run goes
        on since.
        """
        return bool(self._patiently(self._timing.database_away, self._connect_again))

    def _connect_again(self) -> bool:
        number = self._number
        self.writing.close()
        self.writing = PostgresConnection(self.address, self._timing, read_only=False)
        self._refuse_taken()
        (taken,) = self.writing.execute(TAKE_LOCK, (self.address.schema,)).fetchone()
        if not taken:
            # The epoch is ours: it is our own session, which the server takes for alive.
            self.writing.execute(
                f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS held WHERE pid = ?",
                (self.address.schema, self._pid),
            )
            raise JournalUnreachable(str(self.address), "the server has not dropped the lock yet")
        self._refuse_taken()
        self._pid = self.writing.raw.info.backend_pid
        # Whoever has the lock is alone: the session before has ended, and its transaction with it.
        (writes,) = self.writing.execute("SELECT writes FROM owner").fetchone()
        self._number = None
        return bool(number is not None and writes == number)

    def _refuse_taken(self) -> None:
        found = self.writing.execute("SELECT epoch, run FROM owner").fetchone()
        if found != (self._epoch, self._run):
            raise JournalTaken(str(self.address))

    def _patiently(self, seconds: float, step: Callable[[], Any]) -> Any:
        until = time.monotonic() + seconds
        while True:
            try:
                return step()
            except JournalUnreachable:
                if time.monotonic() >= until:
                    raise
                time.sleep(STEP_S)

    # -- what is committed ---------------------------------------------------------------------

    def read(self, query: str, values: Sequence[Any]) -> Any:
        """Return a cursor over what is committed; ask again for a while if nobody answers."""

        def ask() -> Any:
            if self._reading.is_broken:
                self._reading = PostgresConnection(self.address, self._timing, read_only=True)
            return self._reading.execute(query, values)

        return self._patiently(self._timing.database_read, ask)

    def now(self) -> float | None:
        (now,) = self.writing.execute(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
        ).fetchone()
        return float(now)

    def expect_rows(self, rows: int) -> None:
        """Each statement has its limit of time, whatever else there is to do."""

    def lift_limits(self) -> None:
        """As `expect_rows`."""

    def hand_in(self, receipts: Sequence[Receipt]) -> None:
        """Leave the ids of requests for the run that goes on, whoever may write."""
        if self.writing.is_broken:
            self.writing = PostgresConnection(self.address, self._timing, read_only=False)
        self.writing.executemany(
            "INSERT INTO receipts (key, attempt, request_id, at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [(one.key, one.attempt, one.request_id, one.at) for one in receipts],
        )


def take_lock(connection: PostgresConnection) -> None:
    """Take the lock of a batch for this session, which drops it at its end. Raises BatchBusy."""
    address, until = connection.address, time.monotonic() + LINGERS_S
    while True:
        (taken,) = connection.execute(TAKE_LOCK, (address.schema,)).fetchone()
        if taken:
            return
        if time.monotonic() >= until:
            break
        time.sleep(STEP_S)
    owner = owner_of(connection)
    raise BatchBusy(str(address), f"process {owner.process}" if owner else "another")


def owner_of(connection: PostgresConnection) -> Owner | None:
    """Return who writes to the journal now; None if nobody does, or nobody can tell."""
    if schema.version_of(connection) is None:
        return None
    if connection.execute(HOLDER, (connection.address.schema,)).fetchone() is None:
        return None
    found = connection.execute("SELECT process FROM owner").fetchone()
    return Owner(str(found[0])) if found else None


def find_busy(address: JournalAddress, timing: Timing = DEFAULT_TIMING) -> Owner | None:
    """As `find_owner`, of one that is there for longer than a session lingers."""
    until = time.monotonic() + LINGERS_S
    with closing(PostgresConnection(address, timing, read_only=True)) as connection:
        while (owner := owner_of(connection)) and time.monotonic() < until:
            time.sleep(STEP_S)
        return owner


def find_owner(address: JournalAddress, timing: Timing = DEFAULT_TIMING) -> Owner | None:
    """As `owner_of`, of a batch that is not open here."""
    with closing(PostgresConnection(address, timing, read_only=True)) as connection:
        return owner_of(connection)


class Allowed(NamedTuple):
    """What a database lets its user do, for `doctor`.

    version: of the server, in words. encrypted: the connection. exists: the batch, already.
    may: whether a run could write it.
    """

    version: str
    encrypted: bool
    exists: bool
    may: bool


def examine(address: JournalAddress, timing: Timing) -> Allowed:
    """Ask a database what it allows; nothing is changed. Raises as `PostgresConnection`."""
    with closing(PostgresConnection(address, timing, read_only=True)) as connection:
        exists = schema.version_of(connection) is not None
        row = connection.execute(
            "SELECT current_setting('server_version'),"
            " COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE),"
            " NOT pg_is_in_recovery() AND CASE"
            " WHEN EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = :schema)"
            " THEN has_schema_privilege(:schema, 'USAGE') AND"
            "  (has_schema_privilege(:schema, 'CREATE') OR :exists = 1)"
            " ELSE has_database_privilege(current_database(), 'CREATE') END",
            {"schema": address.schema, "exists": int(exists)},
        ).fetchone()
        return Allowed(row[0], bool(row[1]), exists, bool(row[2]))
