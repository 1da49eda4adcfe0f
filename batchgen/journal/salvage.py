"""Salvage: copying what can still be read of a damaged journal, for a report.

The damaged file stays as it is. The copy is for reading only: a run would take the rows that it
lacks for rows that were never sent.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.states import Event
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.journal import stored_values
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.recovery import Recovery
from batchgen.journal.schema import migrate
from batchgen.journal.sqlite.read_only import uri_for_reading
from batchgen.journal.writer import Journal

TABLES = ("requests", "outputs", "spending", "runs", "memory", "aliases")
WRITE_OFF = "UPDATE requests SET state = 'written_off' WHERE state = 'failed' AND key = ?"
# Of an output a report leaves out the file alone. The id of a run is a number, and a cost may have
# no time.
UNCHECKED = {
    "outputs": (
        *("path", "sha256", "delivered_sha256", "kind", "bytes", "width", "height", "duration"),
        "note",
    ),
    "runs": ("id",),
    "spending": ("at",),
}
MAX_ROWID_GAP = 10_000  # unreadable rowids in a row that end a table; a damaged page has far fewer


def salvage(damaged: Path, into: Path, timing: Timing = DEFAULT_TIMING) -> int:
    """Copy every row of `damaged` that SQLite can still read to a new journal at `into`.

    Returns how many requests were found; 0 where the file is no journal any more.
    """
    found = 0
    with closing(sqlite3.connect(into)) as copy:
        migrate(copy)
        with (
            uri_for_reading(damaged) as source,
            closing(sqlite3.connect(source, uri=True, timeout=timing.busy)) as old,
        ):
            for table in TABLES:
                names = _columns(old, table) & _columns(copy, table)  # an older journal has fewer
                columns = ", ".join(f'"{name}"' for name in names)
                marks = ", ".join(f":{name}" for name in names)
                for row in _readable(old, table, list(names)):
                    with suppress(sqlite3.IntegrityError):  # a damaged page may repeat a key
                        copy.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)
                        found += table == "requests"
            for key in _given_up(old):
                copy.execute(WRITE_OFF, (key,))
        copy.commit()
    return found


def _given_up(db: sqlite3.Connection) -> set[str]:
    """Return the keys whose last event is `written off`, in a journal without that state."""
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:
        return set()
    found: set[str] = set()
    for event in _readable(db, "events", ["key", "event"]) if version < 4 else ():
        (found.add if event["event"] == Event.WRITTEN_OFF else found.discard)(event["key"])
    return found


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns; none if SQLite cannot read them any more."""
    try:
        return {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return set()


def _readable(db: sqlite3.Connection, table: str, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table in the order of their rowid, without those that are damaged."""
    if not names:
        return
    columns = ", ".join(f'"{name}"' for name in names)
    query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid"
    after = last_read = 0
    while after - last_read < MAX_ROWID_GAP:
        try:
            for rowid, *values in db.execute(query, (after,)):
                after = last_read = rowid
                row = dict(zip(names, values, strict=True))
                if _is_plausible(table, row):
                    yield row
            return
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            after += 1


def _is_plausible(table: str, row: dict[str, Any]) -> bool:
    """Return whether a row can have been written by batchgen: SQLite also reads random bytes."""
    unchecked = UNCHECKED.get(table, ())
    if stored_values.odd({name: row[name] for name in row if name not in unchecked}):
        return False
    if table == "memory":
        with suppress(ValueError):
            stored_values.remembered(row["name"], row["value"])
            return True
        return False
    return True


def add_receipts(copy: Path, folder: Folder) -> int:
    """Add the requests of receipts.log that the copy lacks; return how many."""
    if not folder.receipts.exists():
        return 0
    with closing(Journal(copy, Clock())) as journal, ReceiptLog(folder.receipts) as receipts:
        return Recovery(journal).recover(receipts.since(0), receipts.end)["receipts"]
