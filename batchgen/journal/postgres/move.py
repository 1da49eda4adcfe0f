"""A journal goes from the batch folder into a database, or back, and is compared there.

Two journals of one batch would each send what is missing, so at no moment both can be run, wherever
this is killed. Into the database: the copy there refuses runs until the folder names it, which
takes precedence over batch.db. Back: the database refuses runs before batch.db gets its name. The
same command, given again, begins anew.
"""

import json
import socket
import sqlite3
from contextlib import closing
from itertools import zip_longest
from typing import NamedTuple

from batchgen import files
from batchgen.batch_folder import Folder
from batchgen.core.addresses import JournalAddress
from batchgen.core.timing import Timing
from batchgen.errors import BatchBusy, StorageDamaged, UsageError
from batchgen.journal.faults import storage_errors
from batchgen.journal.postgres import schema
from batchgen.journal.postgres.connection import PostgresConnection, quoted, values_of
from batchgen.journal.postgres.store import MOVED, moved_to, take_alone
from batchgen.journal.receipts import Receipt, ReceiptLog
from batchgen.journal.schema import TABLES, migrate
from batchgen.journal.sqlite.store import SETTINGS, SqliteStore

COPIED = "batch.db.copied"  # the name that batch.db gets, for the person to delete
PART = "batch.db.part"
UNFINISHED = "unfinished"
# SQL: as `quarter` of journal/database.py.
QUARTER = (
    "SUBSTR(at, 1, 14) || LPAD(CAST(CAST(SUBSTR(at, 15, 2) AS integer) / 15 * 15 AS text), 2, '0')"
)


class Moved(NamedTuple):
    """rows: by table, as both have them now."""

    rows: dict[str, int]


def to_database(folder: Folder, address: JournalAddress, timing: Timing) -> Moved:
    """Copy batch.db into a database, which keeps the journal from then on.

    Raises BatchBusy where a run has either, UsageError where there is no batch.db or the database
    has the batch already, and StorageDamaged.
    """
    with folder.locked():
        if not folder.file.is_file():
            raise UsageError(f"There is no {folder.file} to copy. Nothing was changed.")
        with (
            storage_errors(folder.file),
            closing(SqliteStore(folder.file, timing)) as old,
            closing(_locked(folder, address, timing)) as new,
        ):
            before = moved_to(new) if schema.version_of(new) is not None else None
            if schema.version_of(new) is not None and before != UNFINISHED:
                raise UsageError(
                    f"{address} is there already. Nothing was changed.",
                    "Give the batch another name with --batch, or drop that schema if nobody needs"
                    " it.",
                )
            new.script("BEGIN")
            if before == UNFINISHED:
                new.script(f"DROP SCHEMA {quoted(address.schema)} CASCADE")
            schema.create(new)
            for table in _tables():
                columns = schema.columns_of(old.writing, table)
                names = ", ".join(map(quoted, columns))
                marks = ", ".join("?" * len(columns))
                rows = old.writing.execute(f"SELECT {names} FROM {table}")
                new.executemany(f"INSERT INTO {quoted(table)} ({names}) VALUES ({marks})", rows)
            _count_on(new)
            _mark(new, UNFINISHED)
            moved = _compare(old.writing, new, address)
            new.script("COMMIT")
            folder.database = address
            folder.name_database(address)
            new.execute("DELETE FROM memory WHERE name = ?", (MOVED,))
        for ending in files.COMPANIONS:
            part = folder.file.with_name(f"{folder.file.name}{ending}")
            if part.exists():
                part.replace(part.with_name(f"{COPIED}{ending}"))
        files.sync_folder(folder.path)
    return moved


def to_folder(folder: Folder, address: JournalAddress, timing: Timing) -> Moved:
    """Copy the journal of a database into batch.db, which is the journal from then on.

    Raises as `to_database`.
    """
    folder.create()
    with folder.locked(), closing(_locked(folder, address, timing)) as old:
        here = f"{folder.path.resolve()} on {socket.gethostname()}"
        if schema.version_of(old) is None:
            raise UsageError(f"There is no {address} to copy. Nothing was changed.")
        if (before := moved_to(old)) not in (None, here):
            raise UsageError(f"{address} was copied before: {before}. Nothing was changed.")
        if before == here and folder.file.exists() and folder.pointer.exists():
            folder.pointer.unlink()  # all that a kill had left to do
            folder.database = None
            with storage_errors(folder.file), closing(SqliteStore(folder.file, timing)) as there:
                return _compare(there.writing, old, address)
        if folder.file.exists():
            raise UsageError(
                f"{folder.path} has a batch.db already. Nothing was changed.",
                "Move it away, or name another folder with --out.",
            )
        part = folder.path / PART
        for ending in files.COMPANIONS:
            part.with_name(f"{PART}{ending}").unlink(missing_ok=True)
        old.script("BEGIN")
        with storage_errors(part), closing(sqlite3.connect(part, isolation_level=None)) as new:
            part.chmod(0o600)
            for name, value in SETTINGS.items():
                new.execute(f"PRAGMA {name} = {value}")
            migrate(new)
            new.execute("BEGIN IMMEDIATE")
            for table in _tables():
                columns = schema.columns_of(new, table)
                names = ", ".join(map(quoted, columns))
                marks = ", ".join("?" * len(columns))
                rows = old.stream(f"SELECT {names} FROM {quoted(table)}")
                new.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
            _take_receipts(old, folder)
            new.execute("DELETE FROM memory WHERE name IN (?, 'receipts_read')", (MOVED,))
            moved = _compare(new, old, address)
            new.execute("COMMIT")
        _mark(old, here)
        old.execute("DELETE FROM spent")  # it counts by its folder from now on
        old.script("COMMIT")
        part.rename(folder.file)
        folder.pointer.unlink(missing_ok=True)
        files.sync_folder(folder.path)
        folder.database = None
    return moved


def _tables() -> list[str]:
    return [table for table in TABLES if not table.startswith("_")]


def _locked(folder: Folder, address: JournalAddress, timing: Timing) -> PostgresConnection:
    connection = PostgresConnection(address, timing, read_only=False)
    try:
        take_alone(connection)
    except BatchBusy as busy:
        connection.close()
        raise BatchBusy(str(folder.path), busy.holder) from None
    return connection


def _mark(connection: PostgresConnection, where: str) -> None:
    connection.execute(
        "INSERT INTO memory (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (MOVED, json.dumps(where)),
    )


def _count_on(connection: PostgresConnection) -> None:
    """Add the costs up, and let the numbers that the server gives begin after those copied."""
    connection.execute(
        f"INSERT INTO spent (epoch, quarter, usd) SELECT 0, {QUARTER}, SUM(usd) FROM spending"
        " WHERE at <> '' GROUP BY 1, 2"
    )
    for table, column in (("events", "seq"), ("runs", "id"), ("commands", "seq")):
        connection.execute(
            "SELECT setval(pg_get_serial_sequence(?, ?), COALESCE(MAX("
            f"{column}), 0) + 1, FALSE) FROM {table}",
            (f"{quoted(connection.address.schema)}.{table}", column),
        )


def _take_receipts(database: PostgresConnection, folder: Folder) -> None:
    """What was handed in is a receipt of this machine from now on."""
    found = database.execute("SELECT key, attempt, request_id, at FROM receipts").fetchall()
    with ReceiptLog(folder.receipts) as receipts:
        if found:
            receipts.append(*(Receipt(*row) for row in found))


def _compare(
    file: sqlite3.Connection, database: PostgresConnection, address: JournalAddress
) -> Moved:
    """Compare both, row by row. Raises StorageDamaged where they differ."""
    counts = {}
    for table in _tables():
        counts[table] = 0
        query = _in_order(file, table)
        copied = database.stream(query)
        for one, two in zip_longest(map(values_of, file.execute(query)), map(values_of, copied)):
            if one != two:
                raise StorageDamaged(
                    f"The copy of {table} in {address} is not what was copied: {one!r:.200} is"
                    f" {two!r:.200}. The journal stays where it was.",
                    "Try again; if it happens again, tell the authors.",
                )
            counts[table] += 1
    return Moved(counts)


def _in_order(file: sqlite3.Connection, table: str) -> str:
    """Return the query for all rows of a table that are compared, in the order of its key."""
    names = ", ".join(map(quoted, schema.columns_of(file, table)))
    keys = ", ".join(map(quoted, schema.keys_of(file, table)))
    where = "" if table != "memory" else f" WHERE name NOT IN ('{MOVED}', 'receipts_read')"
    return f"SELECT {names} FROM {quoted(table)}{where} ORDER BY {keys}"
