"""batch.db as a file: opening it, trusting it, transactions, and what runs leave to each other.

Source: faults.md, "Where it is written, in order".
"""

import json
import os
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import batchgen
from batchgen import files
from batchgen.clock import Clock, to_iso
from batchgen.core.states import State
from batchgen.core.text import shell_quote
from batchgen.errors import JournalLocked, LeadsOutside, NewerJournal, StorageDamaged

# Of the tables, `schema.py`'s, that this program reads and writes. It stands here since `status`
# asks for it, and has no need of sqlite-utils.
VERSION = 2

# Rows that the manifest no longer has count while they may cost money or bring a picture.
ALWAYS_COUNTED = (State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.UNKNOWN)
# (state, listed, rows), read off an index in its order: a fifth of a second for a million rows.
COUNTS_QUERY = "SELECT state, listed, COUNT(*) AS n FROM requests GROUP BY state, listed"


class Database:
    """Open batch.db for writing, under the folder's lock. Raises StorageDamaged, whichever it is.

    db: writes. view: reads what is committed, and never waits for `db`.
    counts: the rows of the manifest and those that may cost money, by state.
    spent: USD spent, reserved or possibly spent since a stamp; "" is all of it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.run: int | None = None
        self._lent = False
        files.refuse_linked_database(path)
        with storage_errors(path):
            self.db = _connected(path)
            path.chmod(0o600)  # before SQLite makes -wal and -shm, which take over the mode
            self._check()
            self._set_up()
            self.view = _connected(path)
            self.view.execute("PRAGMA query_only = 1")
            self.counts = self.count_states()
            self.spent: dict[str, float] = {}
            self.committed_usd()

    def close(self) -> None:
        self.view.close()
        self.db.close()

    def _check(self) -> None:
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise NewerJournal(str(self.path), version, VERSION)
        (found,) = self.db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise damaged_journal(self.path, found)

    def _set_up(self) -> None:
        wanted: dict[str, Any] = {
            "journal_mode": "wal",
            "synchronous": 2,
            "fullfsync": 1,
            "checkpoint_fullfsync": 1,
        }
        for name, value in wanted.items():
            self.db.execute(f"PRAGMA {name} = {value}")
            (found,) = self.db.execute(f"PRAGMA {name}").fetchone()
            if found != value:
                raise damaged_journal(self.path, f"SQLite keeps {name} at {found}, not {value}")
        from sqlite_utils import Database

        from batchgen.journal import schema

        schema.migrations.apply(Database(self.db))

    def count_states(self) -> Counter[State]:
        return count_states(self.db.execute(COUNTS_QUERY))

    def committed_usd(self, since: str = "") -> float:
        """USD spent, reserved or possibly spent by POSTs since a stamp, all of them without one.

        Counted once, then kept up to date: there is one writer.
        """
        if since not in self.spent:
            query = "SELECT COALESCE(SUM(usd), 0) FROM spending WHERE at >= ?"
            (self.spent[since],) = self.fetch_one(query, since)
        return self.spent[since]

    def set_cost(self, key: str, attempt: int, at: str, usd: float) -> None:
        """Set what one POST costs, inside a transaction of the caller's."""
        before, at = self.fetch_one(
            "SELECT usd, at FROM spending WHERE key = ? AND attempt = ?", key, attempt
        ) or (0.0, at)  # what came back counts less on the day it was sent
        if usd == before:
            return
        self.db.execute(
            "INSERT INTO spending VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET usd = excluded.usd",
            (key, attempt, at, usd),
        )
        for since in self.spent:
            if at >= since:
                self.spent[since] += usd - before

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does, or undo it; inside another such block, join that one."""
        assert not self._lent, "the journal is being committed"
        if self.db.in_transaction:
            with storage_errors(self.path):
                yield
            return
        self.begin()
        try:
            with storage_errors(self.path):
                yield
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def begin(self) -> None:
        """Begin a transaction that is to end with `commit`, or with `undo` after any error."""
        self._before = self.counts.copy(), self.spent.copy()
        # A deferred BEGIN would fail at once, whatever the time-out, when a reader made the
        # snapshot stale.
        with storage_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")

    def hand_over(self) -> None:
        """From now until its end the transaction is another thread's, and nobody else's."""
        self._lent = True

    def commit(self) -> None:
        with storage_errors(self.path):
            self.db.execute("COMMIT")
        self._lent = False

    def rollback(self) -> None:
        self._lent = False
        self.counts, self.spent = self._before
        if self.db.in_transaction:
            with storage_errors(self.path):
                self.db.execute("ROLLBACK")

    def start_run(self, manifest: str, memory: dict[str, Any]) -> None:
        with self.transaction():
            self.set_meta(memory)
            cursor = self.db.execute(
                "INSERT INTO runs (started_at, process, version, manifest) VALUES (?, ?, ?, ?)",
                (
                    self.now(),
                    f"{os.getpid()} on {socket.gethostname()}",
                    batchgen.__version__,
                    manifest,
                ),
            )
            self.run = cursor.lastrowid

    def end_run(self, exit_code: int, ending: str, memory: dict[str, Any]) -> None:
        counts = {str(state): n for state, n in self.counts.items() if n}
        with self.transaction():
            self.db.execute(
                "UPDATE runs SET ended_at = ?, exit_code = ?, ending = ?, counts = ? WHERE id = ?",
                (self.now(), exit_code, ending, json.dumps(counts), self.run),
            )
            self.set_meta(memory)

    def set_meta(self, memory: dict[str, Any]) -> None:
        for name, value in memory.items():
            self.db.execute(
                "INSERT INTO memory VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (name, json.dumps(value)),
            )

    def get_meta(self, name: str) -> Any:
        """What an earlier run remembered under `name`; None if nothing."""
        found = self.fetch_one("SELECT value FROM memory WHERE name = ?", name)
        return json.loads(found[0]) if found else None

    def fetch_one(self, query: str, *values: Any) -> Any:
        """The first row that `query` finds; None if there is none."""
        with storage_errors(self.path):
            return self.db.execute(query, values).fetchone()

    def fetch_all(self, query: str, *values: Any) -> list[Any]:
        with storage_errors(self.path):
            return self.db.execute(query, values).fetchall()

    def fetch_committed(self, query: str, *values: Any) -> list[Any]:
        """What is committed, also while a transaction is under way."""
        with storage_errors(self.path):
            return self.view.execute(query, values).fetchall()

    def now(self) -> str:
        return to_iso(self.clock.now())


def _connected(path: Path) -> sqlite3.Connection:
    # Two threads use it, never both at once.
    return sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)


def count_states(found: Iterable[tuple[str, int, int]]) -> Counter[State]:
    """Rows by state, from what COUNTS finds."""
    counts: Counter[State] = Counter()
    for state, listed, n in found:
        if listed == 1 or state in ALWAYS_COUNTED:
            counts[State(state)] += n
    return counts


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about the file into our own error."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise JournalLocked(str(path)) from error
        raise damaged_journal(path, str(error)) from error


def damaged_journal(path: Path, why: str) -> StorageDamaged:
    return StorageDamaged(
        f"{path}: the journal cannot be used: {why}.",
        "It was left as it is. Make room if the disk is full. If the file is damaged, see what can"
        f" still be read: batchgen report {shell_quote(str(path.parent))}\n"
        "Then restore batch.db from a backup, or move it aside: the next run rebuilds it from"
        " receipts.log, and sends again what has no receipt there, such as unknown rows.",
    )


def not_ours(path: Path, id: object, column: str, value: object) -> LeadsOutside:
    """A value, as `stored.odd` has found it, of the row with this id."""
    return LeadsOutside(
        f"{path}: row {id!r}: the {column} {str(value)[:200]!r} is none that batchgen writes, and"
        " could lead outside the batch. The row is left alone.",
        "Somebody else has made or changed this journal. Choose another folder with --out, or"
        " restore batch.db from a backup.",
    )
