"""The journal as a database: transactions, sums, and what one run leaves to the next.

It is batch.db (`sqlite/`), or a schema in PostgreSQL (`postgres/`). A `Store` opens and checks it,
and knows how a transaction begins and ends there; all else is one text for both.

Of batch.db there is one writer, the holder of the folder's lock. So the sums by state and the
committed cost are counted once and then kept up to date; a rollback restores them as well. In
PostgreSQL there are several: a row that one of them has is written by no other, the committed cost
is asked for each time, and the sums by state are counted anew now and then (`count_anew`).
"""

import json
import os
import socket
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import batchgen
from batchgen.batch_folder import JournalPlace
from batchgen.clock import Clock, to_iso
from batchgen.core.addresses import JournalAddress
from batchgen.core.states import State
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.journal.faults import checked, remembered, storage_errors
from batchgen.journal.receipts import Receipt
from batchgen.journal.sqlite.store import SqliteStore
from batchgen.log import secrets

if TYPE_CHECKING:
    from batchgen.journal.postgres.store import Machine

# A row that is no longer listed still counts in these states: it may cost money or bring a file.
ALWAYS_COUNTED = (State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.UNKNOWN)
# (state, listed, rows), from an index in its order: a fifth of a second for a million rows.
COUNTS_QUERY = "SELECT state, listed, COUNT(*) AS n FROM requests GROUP BY state, listed"


def marks(values: Collection[object]) -> str:
    """Return a placeholder for each value, for `IN (…)`, which has one at least."""
    return ", ".join("?" * len(values))


class Store(Protocol):
    """A journal that is open for writing by a run.

    writing: a connection as sqlite3 has it, with placeholders and values as there. owner: the
    number of the run in the column `owner` of its rows; 0 where one run has all. patient: whether
    a question waits for a database that does not answer. Every method raises StorageDamaged or one
    of its subclasses, or sqlite3.Error.
    """

    writing: Any
    owner: int
    patient: bool

    def begin(self) -> None: ...

    def commit(self) -> None:
        """Raises JournalUnreachable where the commit may have been made."""

    def rollback(self) -> None: ...

    def come_back(self) -> bool:
        """After JournalUnreachable: return whether the last transaction was committed."""

    def let_go(self, *, wait: bool) -> bool:
        """Free the rows of runs that are gone, inside a transaction of the caller.

        wait: for another that does the same; else return False where one does.
        """

    def let_others_start(self, doing: str, *, alone: bool = False) -> None:
        """Say what this run does from now on. alone: no other may begin as long as it is there."""

    def take_commands(self) -> None:
        """The run begins, inside a transaction: what is asked of the others is asked of it too."""

    def read(self, query: str, values: Sequence[Any]) -> Any:
        """Return a cursor over what is committed, also while a commit is under way."""

    def take_turn(self) -> None:
        """Let only one run at a time see what the others have, inside a transaction."""

    def others(self) -> "list[Machine]":
        """Return the other runs that are there."""

    def hand_in(self, receipts: Sequence[Receipt]) -> None:
        """Leave the ids of requests for another run that goes on."""

    def now(self) -> float | None:
        """Return the time by the server's clock, in seconds since the epoch; None without one."""

    def expect_rows(self, rows: int) -> None:
        """A list of so many rows is about to be taken over."""

    def lift_limits(self) -> None:
        """From now on each statement is for one row, and there may be any number of them."""

    def close(self) -> None: ...


def open_store(place: JournalPlace, timing: Timing) -> Store:
    """Open a journal for writing. Raises BatchBusy where it may not begin in a database."""
    if isinstance(place, JournalAddress):
        # Here, since most batches need none of it.
        from batchgen.journal.postgres.store import PostgresStore

        return PostgresStore(place, timing)
    return SqliteStore(place, timing)


class Database:
    """A journal that is open for writing; of batch.db the caller holds the folder's lock.

    path: where it is, also for messages.
    state_counts: rows by state, of the rows that are listed or ALWAYS_COUNTED.
    run: the number of the run that writes, None outside of one.

    Raises StorageDamaged or one of its subclasses, as every method does.
    """

    def __init__(self, place: JournalPlace, clock: Clock, timing: Timing = DEFAULT_TIMING) -> None:
        self.path = place
        self.clock = clock
        self.run: int | None = None
        self._handed_over = False
        self._committed_usd: dict[str, float] = {}  # by the stamp since when; "" is the beginning
        self._memory: dict[str, Any] = {}  # to be kept at the end of the transaction
        with storage_errors(place):
            self.store = open_store(place, timing)
            try:
                self.state_counts = self.count_states()
                self.committed_usd()
            except BaseException:
                self.store.close()
                raise
        self._before = self.state_counts, self._committed_usd

    @property
    def is_shared(self) -> bool:
        """Whether other machines reach it, and may have rows of it."""
        return isinstance(self.path, JournalAddress)

    def clock_is_off_by(self) -> float:
        """Return how many seconds this computer's clock is before or behind the database's."""
        there = self.store.now()
        return 0.0 if there is None else abs(self.clock.now() - there)

    @property
    def connection(self) -> Any:
        """The connection that writes, as sqlite3 has it."""
        return self.store.writing

    @property
    def own(self) -> str:
        """The condition, in SQL, of rows that this run may write: its own and free ones."""
        return f" AND (owner IS NULL OR owner = {self.store.owner:d})" if self.is_shared else ""

    @property
    def free(self) -> str:
        """The condition, in SQL, of rows that no other run has."""
        return " AND owner IS NULL" if self.is_shared else ""

    def close(self) -> None:
        self.store.close()

    def count_anew(self) -> None:
        """Count what other runs have changed, too, from what is committed."""
        if self.is_shared:
            self.state_counts = count_states(self.fetch_committed(COUNTS_QUERY))

    def other_machines(self) -> "list[Machine]":
        """Return the other runs that are in this batch."""
        with storage_errors(self.path):
            return self.store.others()

    def count_states(self) -> Counter[State]:
        """Count `state_counts` anew; it looks at every row."""
        return count_states(checked(self.connection.execute(COUNTS_QUERY), self.path))

    def committed_usd(self, since: str = "") -> float:
        """Return the USD spent, reserved or possibly spent by submissions since a stamp.

        since: ISO 8601, UTC, as the journal writes it; "" is the beginning.
        """
        if self.is_shared:
            return self._committed_by_all(since)
        if since not in self._committed_usd:
            query = "SELECT COALESCE(SUM(usd), 0) AS committed FROM spending WHERE at >= ?"
            (self._committed_usd[since],) = self.fetch_one(query, since)
        return self._committed_usd[since]

    def _committed_by_all(self, since: str) -> float:
        """As of now, and with what the open transaction has changed, if this thread has one."""
        query = "SELECT COALESCE(SUM(usd), 0) FROM spent WHERE quarter >= ?"
        ((usd,),) = self._fetch_now(query, quarter(since))
        return max(float(usd), 0.0)  # what was added and taken out again may leave a bit less

    def _fetch_now(self, query: str, *values: Any) -> list[Any]:
        """Ask within the open transaction, if this thread has one; else what is committed."""
        is_mine = self.connection.in_transaction and not self._handed_over
        fetch = self.fetch_all if is_mine or not self.is_shared else self.fetch_committed
        return fetch(query, *values)

    def set_cost(self, key: str, attempt: int, at: str, usd: float) -> None:
        """Set what one submission costs, inside a transaction of the caller.

        at: when it was sent; ignored while it has a cost, so that it counts on that day. One that
            went back unsent has none, and is sent again under the same number, maybe another day.
        """
        before, counted_at = self.fetch_one(
            "SELECT usd, at FROM spending WHERE key = ? AND attempt = ?", key, attempt
        ) or (0.0, at)
        if usd == before:
            return
        at = counted_at if before else at
        self.connection.execute(
            "INSERT INTO spending (key, attempt, at, usd) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (key, attempt) DO UPDATE SET usd = excluded.usd, at = excluded.at",
            (key, attempt, at, usd),
        )
        if self.is_shared:
            self.connection.execute(
                "INSERT INTO spent (epoch, quarter, usd) VALUES (?, ?, ?)"
                " ON CONFLICT (epoch, quarter) DO UPDATE SET usd = spent.usd + excluded.usd",
                (self.store.owner, quarter(at), usd - before),
            )
        for since in self._committed_usd:
            if at >= since:
                self._committed_usd[since] += usd - before

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does, or undo it; inside another such block, join that one.

        Raises RuntimeError, a mistake in the program, while another thread commits.
        """
        if self._handed_over:
            raise RuntimeError("the journal is being committed by another thread")
        if self.connection.in_transaction:
            with storage_errors(self.path):
                yield
            return
        self.begin()
        try:
            with storage_errors(self.path):
                yield
                self._keep_memory()
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def begin(self) -> None:
        """Begin a transaction; `commit` ends it, or `rollback` after any error."""
        self._before = self.state_counts.copy(), self._committed_usd.copy()
        self._memory.clear()
        with storage_errors(self.path):
            self.store.begin()

    def hand_over(self) -> None:
        """Leave the open transaction to another thread; none joins it until that has ended it."""
        with storage_errors(self.path):
            self._keep_memory()
        self._handed_over = True

    def commit(self) -> None:
        with storage_errors(self.path):
            self.store.commit()
        self._handed_over = False

    def rollback(self) -> None:
        self._handed_over = False
        self._memory.clear()
        self.state_counts, self._committed_usd = self._before
        if self.connection.in_transaction:
            with storage_errors(self.path):
                self.store.rollback()

    def come_back(self) -> bool:
        """After JournalUnreachable: wait for the database; return whether the commit was made.

        Raises it again after a while, and JournalTaken where another run goes on since.
        """
        made = self.store.come_back()
        self._handed_over = self._handed_over and not made
        return made

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Ask what is committed, and wait for no database that does not answer.

        Then JournalUnreachable is raised. It is for the event loop, which stands still meanwhile.
        """
        before, self.store.patient = self.store.patient, False
        try:
            yield
        finally:
            self.store.patient = before

    def hand_in(self, *receipts: Receipt) -> None:
        """Leave ids that may not be written here for another run that goes on with the batch."""
        with storage_errors(self.path):
            self.store.hand_in(receipts)

    def last_manifest(self) -> str | None:
        """Return the manifest of the latest run; None before the first one."""
        found = self.fetch_one("SELECT manifest FROM runs ORDER BY id DESC LIMIT 1")
        return found[0] if found else None

    def last_computer(self) -> str | None:
        """Return the name of the computer of the latest run; None before the first one."""
        found = self.fetch_one("SELECT process FROM runs ORDER BY id DESC LIMIT 1")
        return (found[0] or "").partition(" on ")[2] or None if found else None

    def start_run(self, manifest: str, memory: dict[str, Any]) -> None:
        """Record that a run begins. memory: as `set_meta` takes it."""
        with self.transaction():
            self.set_meta(memory)
            self.store.take_commands()
            process = f"{os.getpid()} on {socket.gethostname()}"
            (self.run,) = self.connection.execute(
                "INSERT INTO runs (started_at, process, version, manifest) VALUES (?, ?, ?, ?)"
                " RETURNING id",
                (self.now(), process, batchgen.__version__, manifest),
            ).fetchone()
        self.store.lift_limits()  # a night's work has none

    def end_run(self, exit_code: int, ending: str, memory: dict[str, Any]) -> None:
        """Record how the run ended. ending: in words. memory: as `set_meta` takes it."""
        self._end_run(self.now(), exit_code, ending, memory)

    def refuse_run(self, manifest: str, exit_code: int, ending: str) -> None:
        """Record a run that was refused before anything was sent. It ends when it begins."""
        self.start_run(manifest, {})
        begun = self.fetch_one("SELECT started_at FROM runs WHERE id = ?", self.run)
        self._end_run(begun[0] if begun else self.now(), exit_code, ending, {})

    def _end_run(self, at: str, exit_code: int, ending: str, memory: dict[str, Any]) -> None:
        counts = {str(state): n for state, n in self.state_counts.items() if n}
        with self.transaction():
            self.connection.execute(
                "UPDATE runs SET ended_at = ?, exit_code = ?, ending = ?, counts = ? WHERE id = ?",
                (at, exit_code, secrets.hide(ending), json.dumps(counts), self.run),
            )
            self.set_meta(memory)

    def set_meta(self, memory: dict[str, Any]) -> None:
        """Keep values for later runs, inside a transaction of the caller. memory: JSON, by name."""
        if self.is_shared:
            self._memory |= memory
        else:
            self._keep(memory)

    def _keep_memory(self) -> None:
        """Other runs keep the same names: each transaction takes them last, and in one order, so
        that no two wait for each other.
        """
        if self._memory:
            self._keep(dict(sorted(self._memory.items())))
            self._memory.clear()

    def _keep(self, memory: dict[str, Any]) -> None:
        for name, value in memory.items():
            self.connection.execute(
                "INSERT INTO memory (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, json.dumps(value)),
            )

    def get_meta(self, name: str) -> Any:
        """Return the value that an earlier run kept under `name`; None if there is none."""
        if name in self._memory:
            return self._memory[name]
        found = self._fetch_now("SELECT value FROM memory WHERE name = ?", name)
        return remembered(name, found[0][0], self.path) if found else None

    def fetch_one(self, query: str, *values: Any) -> Any:
        """Return the first row that `query` finds, with an open transaction's; None if none."""
        with storage_errors(self.path):
            cursor = self.connection.execute(query, values)
            found = next(checked(cursor, self.path), None)
            cursor.close()
            return found

    def fetch_all(self, query: str, *values: Any) -> list[Any]:
        """Return all rows that `query` finds, with an open transaction's."""
        with storage_errors(self.path):
            return [*checked(self.connection.execute(query, values), self.path)]

    def fetch_committed(
        self, query: str, *values: Any, unchecked: tuple[str, ...] = ()
    ) -> list[Any]:
        """Return all rows that `query` finds in what is committed; it never waits for a commit.

        unchecked: columns that the caller checks.
        """
        with storage_errors(self.path):
            found = self.store.read(query, values)
            return [*checked(found, self.path, but=unchecked)]

    def now(self) -> str:
        """Return the time as the journal writes it."""
        return to_iso(self.clock.now())


def quarter(at: str) -> str:
    """Return the quarter of an hour of a time, as `spent` has it; "" for "".

    Midnights of all time zones are the beginning of one.
    """
    return at and f"{at[:14]}{int(at[14:16]) // 15 * 15:02d}"


def count_states(found: Iterable[tuple[Any, ...]]) -> Counter[State]:
    """Return `state_counts`. found: (state, listed, rows), as COUNTS_QUERY finds them."""
    counts: Counter[State] = Counter()
    for state, listed, n in found:
        if listed == 1 or state in ALWAYS_COUNTED:
            counts[State(state)] += n
    return counts
