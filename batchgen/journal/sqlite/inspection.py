"""Whether batch.db has the schema that batchgen gave it.

A batch folder can come from another person. SQLite runs the triggers of a file that it writes to,
and a view or a virtual table can stand where a table is expected. So the tables have to be plain
tables, and there are no triggers, before anything is read. Views and indexes that people added are
left alone; nothing here reads a view. Source: sqlite.org/security.html.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

from batchgen.core.text import quote_value
from batchgen.errors import LeadsOutside
from batchgen.files import COMPANIONS
from batchgen.journal.schema import TABLES

MAX_VALUE_BYTES = 256 * 2**20  # of one value; SQLite's own limit is a gigabyte
# Steps of SQLite's virtual machine, some 50 million a second.
STEPS_AT_A_TIME = 10_000
LEAST_STEPS = 100_000_000
STEPS_PER_BYTE = 50  # of the journal: ten times what its reports take
STEPS_PER_ROW = 2000  # that is listed: ten times what that takes


def harden(connection: sqlite3.Connection) -> None:
    """Let SQLite trust nothing that stands in the file."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    if set_config := getattr(connection, "setconfig", None):  # from Python 3.12 on
        set_config(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # type: ignore[attr-defined]
        set_config(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)  # type: ignore[attr-defined]


def limit_work(
    connection: sqlite3.Connection,
    path: Path,
    stop: Callable[[], bool] | None = None,
    rows: int = 0,
) -> None:
    """Interrupt SQLite once it has done more work than a journal of this size can need.

    In one that lacks an index of ours, or has statistics that mislead SQLite, a look-up for each
    row reads all rows: with 4 MB `status` took a minute, with 40 MB it would take hours.

    stop: asked every millisecond or so of work; a yes interrupts, too. rows: of a list that it is
        about to take over; it may be empty before.
    """
    size = 0
    for ending in COMPANIONS:
        with suppress(OSError):
            size += path.with_name(path.name + ending).stat().st_size
    steps = LEAST_STEPS + STEPS_PER_BYTE * size + STEPS_PER_ROW * rows
    calls = steps // STEPS_AT_A_TIME
    # No function of Python: Ctrl-C would raise in it, and SQLite drops what is raised there.
    is_over = chain(repeat(False, calls), repeat(True)).__next__
    handler = is_over if stop is None else lambda: stop() or is_over()
    connection.set_progress_handler(handler, STEPS_AT_A_TIME)


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
