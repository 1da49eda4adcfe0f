"""Which runs write a batch's journal in PostgreSQL, and how a transaction of one begins and ends.

Any number of runs are there at once, each with a row in `machines`, whose epoch is its own.

- Each transaction changes the run's own row first. Whoever lets go of another run deletes that row,
  which waits for no transaction that is open: so a run that was let go writes nothing more.
- Each run holds an advisory lock of its own, a session's, so it goes with the process. A run is let
  go if its lock is free and it has shown no sign of life for a while, or for longer where the lock
  is held, as of a computer that sleeps. By the database's clock alone.
- What it had is free then, for whoever is there: a row in mid-request becomes `unknown`, never
  `pending`; pending rows are sent, and accepted ones collected, by others.
- A commit whose answer was lost may have been made. Each transaction counts one on in the run's
  row, so the row tells. The server's own number of a transaction does not: after a crash it may
  give the number of one that was lost to another.
- The id of a request that may not be written is put into the table `receipts`, and whoever is there
  applies it: an id in hand is never dropped.
- One lock of the batch is for a run that begins, and reads the list in; the next one waits for it.
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
STARTING = "starting"
TAKE_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(?, 0))"
# Who has one: a key of 64 bits is shown in two halves. Source: postgresql.org/docs, "pg_locks".
_LOCKS = """SELECT pid, classid::bigint << 32 | objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
HOLDER = f"""SELECT pid FROM ({_LOCKS}) AS locks WHERE key = hashtextextended(?, 0)"""
# Whether the session of a run stands, and for how long it has shown no sign of life. While the
# server was down nobody could.
_STANDS = f"""hashtextextended(:schema || '/' || epoch, 0) IN (SELECT key FROM ({_LOCKS}) AS l)"""
_QUIET = """CAST(extract(epoch FROM clock_timestamp() - GREATEST(seen, pg_postmaster_start_time()))
    AS double precision)"""
# A server that starts lets nobody in before it has read what it had written: whoever is first after
# that waits for the others. A run that has no rows keeps nobody waiting, as one whose person is
# being asked.
_GONE = f"""DELETE FROM machines WHERE epoch IN (SELECT epoch FROM machines WHERE epoch <> :mine AND
    ((NOT {_STANDS} AND {_QUIET} > :gone
        AND (SELECT clock_timestamp() - backend_start FROM pg_stat_activity
            WHERE pid = pg_backend_pid()) > CAST(:gone || ' s' AS interval))
    OR ({_QUIET} > :lease AND EXISTS (SELECT 1 FROM requests WHERE owner = machines.epoch)))
    FOR UPDATE SKIP LOCKED)"""
# By one at a time: what it looks at is older than the rows that it then locks.
_LET_GO = """UPDATE requests SET owner = NULL WHERE key IN (SELECT key FROM requests
    WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM machines WHERE epoch = requests.owner)
    FOR UPDATE SKIP LOCKED)"""


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


class Machine(NamedTuple):
    """A run that is there, or was not let go yet.

    process: as `27017 on some-computer`. doing: in a word. since: seconds since the epoch. quiet:
    seconds without a sign of life. stands: whether its session does. takes_commands: it is under
    way. rows: that it has, by state.
    """

    epoch: int
    process: str
    doing: str
    since: float
    quiet: float
    stands: bool
    takes_commands: bool
    rows: dict[str, int]


class PostgresStore:
    """The connections of one run. Raises BatchBusy, naming who has it, where it may not begin."""

    def __init__(self, address: JournalAddress, timing: Timing) -> None:
        self.address = address
        self._timing = timing
        self._run = str(uuid.uuid4())
        self.owner = 0  # its epoch
        self.patient = True
        self._number: int | None = None  # of the transaction that is open, or is being committed
        self._is_starting = True
        self._is_under_way = False
        self.writing = self._connected()
        try:
            _wait_to_start(self.writing, timing)
            if schema.version_of(self.writing) is None:
                self.writing.script("BEGIN")
                schema.create(self.writing)
                self.writing.script("COMMIT")
            elif (where := moved_to(self.writing)) is not None:
                raise _moved_away(address, where)
            self._register()
            self._reading = PostgresConnection(address, timing, read_only=True)
        except BaseException:
            self.writing.close()
            raise

    def _connected(self) -> PostgresConnection:
        idle = self._timing.database_turn if self._is_under_way else self._timing.database_idle
        return PostgresConnection(self.address, self._timing, read_only=False, idle=idle)

    def _register(self) -> None:
        (self.owner,) = self.writing.execute(
            "INSERT INTO machines (run, process, doing) VALUES (?, ?, ?) RETURNING epoch",
            (self._run, f"{os.getpid()} on {socket.gethostname()}", STARTING),
        ).fetchone()
        self.writing.execute(TAKE_LOCK, (self._lock,))
        self._pid = self.writing.raw.info.backend_pid

    @property
    def _lock(self) -> str:
        return f"{self.address.schema}/{self.owner}"

    def let_others_start(self, doing: str, *, alone: bool = False) -> None:
        """Say what this run does from now on. alone: no other may begin as long as it is there."""
        self.writing.execute("UPDATE machines SET doing = ? WHERE epoch = ?", (doing, self.owner))
        if not alone:
            self._is_starting = False
            self.writing.execute(
                "SELECT pg_advisory_unlock(hashtextextended(?, 0))", (self.address.schema,)
            )

    def take_commands(self) -> None:
        """From those on that not all of the others have taken."""
        self.writing.execute(
            "UPDATE machines SET read_to = COALESCE((SELECT MIN(read_to) FROM machines),"
            " (SELECT MAX(seq) FROM commands), 0) WHERE epoch = ?",
            (self.owner,),
        )

    def close(self) -> None:
        self._reading.close()
        if not self.writing.is_broken:
            with suppress(StorageDamaged):  # else others let it go, a bit later
                self.writing.rollback()
                self.writing.script(
                    f"BEGIN; UPDATE requests SET owner = NULL WHERE owner = {self.owner:d};"
                    f" DELETE FROM machines WHERE epoch = {self.owner:d} AND run = '{self._run}';"
                    " COMMIT"
                )
                self.writing.execute("SELECT pg_advisory_unlock_all()")
        self.writing.close()

    # -- transactions --------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction, during which nobody lets go of this run. Raises JournalTaken."""
        self._number = None
        cursor = self.writing.script(
            "BEGIN; UPDATE machines SET writes = writes + 1, seen = clock_timestamp()"
            f" WHERE epoch = {self.owner:d} AND run = '{self._run}' RETURNING writes"
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

        It blocks for a while. Raises JournalUnreachable, and JournalTaken where this run was let go
        since.
        """
        return bool(self._patiently(self._timing.database_away, self._connect_again))

    def _connect_again(self) -> bool:
        number = self._number
        self.writing.close()
        self.writing = self._connected()
        self._writes()
        (taken,) = self.writing.execute(TAKE_LOCK, (self._lock,)).fetchone()
        if not taken:
            # It is our own session, which the server takes for alive.
            self.writing.execute(
                f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS held WHERE pid = ?",
                (self._lock, self._pid),
            )
            raise JournalUnreachable(str(self.address), "the server has not dropped the lock yet")
        self._pid = self.writing.raw.info.backend_pid
        if self._is_starting:
            (taken,) = self.writing.execute(TAKE_LOCK, (self.address.schema,)).fetchone()
            if not taken:
                raise JournalUnreachable(str(self.address), "another run is starting")
        # The session before has ended, since its lock was free, and its transaction with it.
        writes = self._writes()
        self._number = None
        return bool(number is not None and writes == number)

    def _writes(self) -> int:
        """Return the number of the last transaction. Raises JournalTaken."""
        found = self.writing.execute(
            "SELECT writes FROM machines WHERE epoch = ? AND run = ?", (self.owner, self._run)
        ).fetchone()
        if found is None:
            raise JournalTaken(str(self.address))
        return int(found[0])

    def _patiently(self, seconds: float, step: Callable[[], Any]) -> Any:
        until = time.monotonic() + seconds
        while True:
            try:
                return step()
            except JournalUnreachable:
                if time.monotonic() >= until:
                    raise
                time.sleep(STEP_S)

    # -- other runs ----------------------------------------------------------------------------

    def let_go(self, *, wait: bool) -> bool:
        """Free the rows of runs that are gone, inside a transaction of the caller.

        wait: for another that does the same; else return False where one does.
        """
        take = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        (taken,) = self.writing.execute(
            f"SELECT {take}(hashtextextended(?, 1))", (self.address.schema,)
        ).fetchone()
        if taken is False:
            return False
        named = {
            "schema": self.address.schema,
            "mine": self.owner,
            "gone": self._timing.machine_gone,
            "lease": self._timing.machine_lease,
        }
        self.writing.execute(_GONE, named)
        self.writing.execute(_LET_GO)
        return True

    def take_turn(self) -> None:
        """Let only one run at a time see what the others have, inside a transaction."""
        self.writing.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(?, 2))", (self.address.schema,)
        )

    def others(self) -> list[Machine]:
        machines: list[Machine] = self._ask(machines_of)
        return [machine for machine in machines if machine.epoch != self.owner]

    # -- what is committed ---------------------------------------------------------------------

    def read(self, query: str, values: Sequence[Any]) -> Any:
        """Return a cursor over what is committed."""
        return self._ask(lambda connection: connection.execute(query, values))

    def _ask(self, question: Callable[[PostgresConnection], Any]) -> Any:
        """Ask again for a while if nobody answers, or once by another session."""

        def ask() -> Any:
            if self._reading.is_broken:
                self._reading = PostgresConnection(self.address, self._timing, read_only=True)
            return question(self._reading)

        if self.patient:
            return self._patiently(self._timing.database_read, ask)
        try:
            return ask()
        except JournalUnreachable:
            return ask()

    def now(self) -> float | None:
        (now,) = self.writing.execute(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
        ).fetchone()
        return float(now)

    def expect_rows(self, rows: int) -> None:
        """Each statement has its limit of time, whatever else there is to do."""

    def lift_limits(self) -> None:
        """As `expect_rows`. From now on others wait for the locks of this run's transactions."""
        self._is_under_way = True
        idle = round(self._timing.database_turn)
        self.writing.execute(f"SET idle_in_transaction_session_timeout = '{idle}s'")

    def hand_in(self, receipts: Sequence[Receipt]) -> None:
        """Leave the ids of requests for the runs that go on."""
        if self.writing.is_broken:
            self.writing = self._connected()
        self.writing.executemany(
            "INSERT INTO receipts (key, attempt, request_id, at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [(one.key, one.attempt, one.request_id, one.at) for one in receipts],
        )


def _wait_to_start(connection: PostgresConnection, timing: Timing) -> None:
    """Take the lock of a batch, once no other run is starting. Raises BatchBusy."""
    address, begun = connection.address, time.monotonic()
    while not connection.execute(TAKE_LOCK, (address.schema,)).fetchone()[0]:
        waited, others = time.monotonic() - begun, machines_of(connection)
        patience = timing.machine_start if any(map(_is_starting, others)) else LINGERS_S
        if waited >= patience:
            raise _busy(address, others)
        time.sleep(STEP_S)


def _is_starting(machine: Machine) -> bool:
    return machine.stands and machine.doing == STARTING


def _busy(address: JournalAddress, machines: Sequence[Machine]) -> BatchBusy:
    standing = [machine for machine in machines if machine.stands]
    return BatchBusy(str(address), f"process {standing[0].process}" if standing else "another")


def take_alone(connection: PostgresConnection) -> None:
    """Take the lock of a batch in which no run is, for this session. Raises BatchBusy."""
    address, until = connection.address, time.monotonic() + LINGERS_S
    while True:
        (taken,) = connection.execute(TAKE_LOCK, (address.schema,)).fetchone()
        machines = machines_of(connection)
        if taken and not any(machine.stands for machine in machines):
            if machines:  # none of them comes back
                connection.execute("DELETE FROM machines")
            return
        if time.monotonic() >= until:
            raise _busy(address, machines)
        if taken:
            connection.execute(
                "SELECT pg_advisory_unlock(hashtextextended(?, 0))", (address.schema,)
            )
        time.sleep(STEP_S)


def machines_of(connection: PostgresConnection) -> list[Machine]:
    """Return the runs that are in a batch, the longest first; none where there is no batch."""
    if schema.version_of(connection) is None:
        return []
    has: dict[int, dict[str, int]] = {}
    for owner, state, rows in connection.execute(
        "SELECT owner, state, COUNT(*) FROM requests WHERE owner IS NOT NULL GROUP BY owner, state"
    ):
        has.setdefault(owner, {})[state] = rows
    found = connection.execute(
        "SELECT epoch, process, doing, CAST(extract(epoch FROM since) AS double precision),"
        f" {_QUIET}, {_STANDS}, read_to IS NOT NULL FROM machines ORDER BY epoch",
        {"schema": connection.address.schema},
    )
    return [Machine._make([*row, has.get(row[0], {})]) for row in found]


def find_machines(address: JournalAddress, timing: Timing = DEFAULT_TIMING) -> list[Machine]:
    """As `machines_of`, of a batch that is not open here."""
    with closing(PostgresConnection(address, timing, read_only=True)) as connection:
        return machines_of(connection)


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
            " ELSE has_database_privilege(current_database(), 'CREATE') END AND CASE"
            " WHEN EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'batchgen')"
            " THEN has_schema_privilege('batchgen', 'USAGE')"
            " ELSE has_database_privilege(current_database(), 'CREATE') END",
            {"schema": address.schema, "exists": int(exists)},
        ).fetchone()
        return Allowed(row[0], bool(row[1]), exists, bool(row[2]))
