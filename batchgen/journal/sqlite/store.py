"""batch.db, open for writing.

How batch.db is written, and why (docs/maintainers/specification.md, "What is written when"):

- WAL mode with `synchronous=FULL` and full fsync, so that a committed transaction survives a power
  cut. SQLite may refuse a setting without an error, so each one is read back.
- Each transaction begins with `BEGIN IMMEDIATE`. A deferred one becomes a writer with its first
  UPDATE, and that fails at once, whatever the time-out, if a reader made its snapshot stale.
- There are two connections. A transaction stays open on the first while a thread waits for the
  disk; the event loop goes on meanwhile, and reads what is committed through the second.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen import files
from batchgen.core.timing import Timing
from batchgen.errors import JournalUnusable, NewerJournal
from batchgen.journal.faults import damaged_journal
from batchgen.journal.receipts import Receipt
from batchgen.journal.schema import VERSION, migrate
from batchgen.journal.sqlite.inspection import harden, limit_work, refuse_foreign_schema

if TYPE_CHECKING:
    from batchgen.journal.postgres.store import Machine

SETTINGS = {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1, "checkpoint_fullfsync": 1}


class SqliteStore:
    """batch.db, open for writing; the caller holds the folder's lock."""

    owner = 0
    patient = True

    def __init__(self, path: Path, timing: Timing) -> None:
        self.path = path
        files.refuse_linked_database(path)
        with ExitStack() as opened:
            self.writing = opened.enter_context(closing(_connected(path, timing)))
            path.chmod(0o600)  # before SQLite makes -wal and -shm, which take over the mode
            self._check()
            self._set_up()
            self._reading = opened.enter_context(closing(_connected(path, timing)))
            self._reading.execute("PRAGMA query_only = 1")
            opened.pop_all()

    def begin(self) -> None:
        self.writing.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.writing.execute("COMMIT")

    def rollback(self) -> None:
        self.writing.execute("ROLLBACK")

    def come_back(self) -> bool:
        return False  # a file does not go away

    def let_go(self, *, wait: bool) -> bool:
        return True  # nobody else has any

    def let_others_start(self, doing: str, *, alone: bool = False) -> None:
        """Whoever holds the folder's lock is alone."""

    def take_commands(self) -> None:
        """As `let_others_start`; what was asked before is settled by now."""

    def read(self, query: str, values: Sequence[Any]) -> sqlite3.Cursor:
        return self._reading.execute(query, values)

    def take_turn(self) -> None:
        """As `let_others_start`."""

    def others(self) -> "list[Machine]":
        return []

    def hand_in(self, receipts: Sequence[Receipt]) -> None:
        """Nobody else can have begun: receipts.log beside it has them."""

    def now(self) -> float | None:
        return None

    def expect_rows(self, rows: int) -> None:
        for connection in (self.writing, self._reading):
            limit_work(connection, self.path, rows=rows)

    def lift_limits(self) -> None:
        for connection in (self.writing, self._reading):
            connection.set_progress_handler(None, 0)

    def close(self) -> None:
        self._reading.close()
        self.writing.close()

    def _check(self) -> None:
        (version,) = self.writing.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise NewerJournal(str(self.path), version, VERSION)
        refuse_foreign_schema(self.writing, self.path)
        (found,) = self.writing.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise damaged_journal(self.path, found)
        # A kill before the first migration leaves the table in which migrations are noted.
        foreign = (
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " AND name <> '_sqlite_migrations'"
        )
        if not version and self.writing.execute(foreign).fetchone():
            raise damaged_journal(self.path, "it is a database of another program")

    def _set_up(self) -> None:
        for name, value in SETTINGS.items():
            self.writing.execute(f"PRAGMA {name} = {value}")
            (found,) = self.writing.execute(f"PRAGMA {name}").fetchone()
            if found != value:
                raise JournalUnusable(
                    f"{self.path} cannot be kept here: SQLite leaves {name} at {found}, not"
                    f" {value}. Nothing was sent.",
                    "The folder's file system lacks what the journal needs: choose a folder on a"
                    " local disk with --out.",
                )
        migrate(self.writing)


def _connected(path: Path, timing: Timing) -> sqlite3.Connection:
    # Two threads use it, never both at once.
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=timing.busy, check_same_thread=False
    )
    try:
        harden(connection)
        limit_work(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection
