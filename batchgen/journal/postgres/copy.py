"""The rows of a batch in PostgreSQL as tables of SQLite, for the comparison with a list.

The comparison joins a list's rows with the journal's, and knows how texts are alike by functions of
ours. So the columns that it needs come here, into tables that are on disk while they last.
"""

import sqlite3

from batchgen.core.addresses import JournalAddress
from batchgen.core.timing import Timing
from batchgen.journal.postgres import schema
from batchgen.journal.postgres.connection import PostgresConnection

COLUMNS = ("key", "id", "position", "listed", "source", "model", "input", "meta", "state",
           "attempts", "name", "error")  # fmt: skip


def copy_rows(address: JournalAddress, into: sqlite3.Connection, timing: Timing) -> None:
    """Fill `journal.requests` and `journal.aliases` of a connection; a journal may be absent."""
    connection = PostgresConnection(address, timing, read_only=True)
    try:
        if schema.version_of(connection) is None:
            return
        connection.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for table, columns in (("requests", COLUMNS), ("aliases", ("key", "row"))):
            names = ", ".join(f'"{name}"' for name in columns)
            into.executemany(
                f"INSERT INTO journal.{table} ({names}) VALUES ({', '.join('?' * len(columns))})",
                connection.stream(f"SELECT {names} FROM {table}"),
            )
        into.execute("CREATE UNIQUE INDEX journal.requests_by_key ON requests (key)")
    finally:
        connection.close()
