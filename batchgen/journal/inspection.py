"""Whether batch.db has the schema that batchgen gave it.

A batch folder can come from another person. SQLite runs the triggers of a file that it writes to,
and a view or a virtual table can stand where a table is expected. So the tables have to be plain
tables, and there are no triggers, before anything is read. Views and indexes that people added are
left alone; nothing here reads a view. Source: sqlite.org/security.html.
"""

import sqlite3
from pathlib import Path

from batchgen.core.text import quote_value
from batchgen.errors import LeadsOutside
from batchgen.journal.schema import TABLES

MAX_VALUE_BYTES = 256 * 2**20  # of one value; SQLite's own limit is a gigabyte


def harden(connection: sqlite3.Connection) -> None:
    """Let SQLite trust nothing that stands in the file."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    if set_config := getattr(connection, "setconfig", None):  # from Python 3.12 on
        set_config(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # type: ignore[attr-defined]
        set_config(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)  # type: ignore[attr-defined]


def refuse_foreign_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Raise LeadsOutside for a trigger, and where a table of ours is no plain table."""
    named = f"name COLLATE NOCASE IN ({', '.join('?' * len(TABLES))})"
    found = connection.execute(
        "SELECT type, name FROM sqlite_schema WHERE type = 'trigger'"
        f" OR ({named} AND (type <> 'table' OR sql NOT LIKE 'CREATE TABLE%'))"
        # hidden: computed from other columns
        " UNION ALL SELECT 'computed column in', name FROM sqlite_schema AS t WHERE type = 'table'"
        f" AND {named} AND EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) WHERE hidden)",
        TABLES * 2,
    ).fetchone()
    if found is not None:
        kind, name = found
        raise LeadsOutside(
            f"{path}: there is a {kind} {quote_value(name)}, and batchgen makes none. Nothing was"
            " changed and nothing was sent.",
            "Somebody else has made or changed this journal. If it was you, drop it with sqlite3;"
            " else choose another folder with --out, or restore batch.db from a backup.",
        )
