"""What can still be read of a damaged journal, for a report. The damaged file stays as it is.

The copy that is made is for reading only: a run would take what it lacks for never sent.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.states import State
from batchgen.journal import schema
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.recovery import Recovery
from batchgen.journal.writer import Journal

TABLES = ("requests", "outputs", "spending", "runs", "memory")
MAX_ROWID_GAP = 10_000  # rows after which a table is taken to end; a damaged page hides far fewer


def salvage(damaged: Path, into: Path) -> int:
    """Copy every row of `damaged` that SQLite can still read to a new journal at `into`.

    Returns how many requests were found; 0 where the file is no journal any more.
    """
    found = 0
    with closing(sqlite3.connect(into)) as copy:
        schema.migrations.apply(Database(copy))
        source = f"{damaged.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(source, uri=True, timeout=10)) as old:
            for table in TABLES:
                names = _columns(old, table) & _columns(copy, table)  # an older one has fewer
                columns = ", ".join(f'"{name}"' for name in names)
                marks = ", ".join(f":{name}" for name in names)
                for row in _readable(old, table, list(names)):
                    with suppress(sqlite3.IntegrityError):  # a torn page may repeat a key
                        copy.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)
                        found += table == "requests"
        copy.commit()
    return found


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; none where SQLite cannot read them any more."""
    try:
        return {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return set()


def _readable(db: sqlite3.Connection, table: str, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table in the order of their rowid, stepping over what is damaged."""
    if not names:
        return
    columns = ", ".join(f'"{name}"' for name in names)
    query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid"
    at = last = 0
    while at - last < MAX_ROWID_GAP:
        try:
            for rowid, *values in db.execute(query, (at,)):
                at = last = rowid
                row = dict(zip(names, values, strict=True))
                if _makes_sense(row):
                    yield row
            return
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            at += 1


def _makes_sense(row: dict[str, Any]) -> bool:
    """SQLite reads random bytes as values where they happen to have the form of a row."""
    try:
        for name in ("input", "meta", "value"):
            json.loads(row.get(name) or "{}")
        State(row.get("state") or State.PENDING)
    except (ValueError, TypeError):
        return False
    return True


def _add_receipts(copy: Path, folder: Folder) -> int:
    """What a rebuilt journal would know: requests of which only a receipt can be read."""
    if not folder.receipts.exists():
        return 0
    journal = Journal(copy, Clock())
    try:
        with ReceiptLog(folder.receipts) as receipts:
            return Recovery(journal).recover(receipts.since(0), receipts.end)["receipts"]
    finally:
        journal.close()
