"""What an error of the journal means, and what stands in it that batchgen does not write.

In PostgreSQL, too: its connections raise errors of sqlite3 (`postgres/connection.py`).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from batchgen.batch_folder import JournalPlace
from batchgen.core.addresses import JournalAddress
from batchgen.core.text import shell_quote
from batchgen.errors import JournalLocked, JournalUnusable, LeadsOutside, StorageDamaged
from batchgen.journal import stored_values


@contextmanager
def storage_errors(path: JournalPlace) -> Iterator[None]:
    """Turn an error of SQLite into JournalLocked or StorageDamaged."""
    try:
        yield
    except sqlite3.Error as error:
        raise sqlite_error(error, path) from error


def sqlite_error(error: sqlite3.Error, path: JournalPlace) -> StorageDamaged:
    """Return what an error of SQLite means. Only what is damaged is called so."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_INTERRUPT:
        return damaged_journal(path, "to read it takes more work than one of its size can need")
    if code & 0xFF == sqlite3.SQLITE_BUSY:
        return JournalLocked(str(path))
    remedy = _REMEDIES.get(code & 0xFF)
    if remedy is None or code in _UNREADABLE:
        return damaged_journal(path, str(error))
    return JournalUnusable(
        f"{path} cannot be used: {error}. It was left as it is, and is not damaged.",
        f"{remedy} Then run the same command again.",
    )


_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
# By SQLite's primary result code. Source: sqlite.org/rescode.html.
_REMEDIES = {
    sqlite3.SQLITE_FULL: "Make room on its disk.",
    sqlite3.SQLITE_IOERR: "Make room if its disk is full; else look for errors of the disk.",
    sqlite3.SQLITE_CANTOPEN: "See whether the folder can be written, and more files opened"
    " (ulimit -n).",
    sqlite3.SQLITE_READONLY: "Make the folder writable.",
    sqlite3.SQLITE_PERM: "Make the folder writable.",
    sqlite3.SQLITE_NOMEM: "Close other programs: there is not enough memory.",
}


def damaged_journal(path: JournalPlace, why: str) -> StorageDamaged:
    if isinstance(path, JournalAddress):
        return StorageDamaged(
            f"{path}: the journal cannot be used: {why}.",
            "It was left as it is. See whether somebody has changed its tables, and restore the"
            " database from a backup if need be.",
        )
    return StorageDamaged(
        f"{path}: the journal cannot be used: {why}.",
        "It was left as it is. See what can still be read: batchgen report"
        f" {shell_quote(str(path.parent))}\n"
        "Then restore batch.db from a backup, or move it aside: the next run rebuilds it from"
        " receipts.log, and sends again what has no receipt there, such as unknown rows.",
    )


def checked(
    cursor: sqlite3.Cursor, path: JournalPlace, *, but: tuple[str, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    """Yield what a query finds. Raises StorageDamaged for a value that batchgen does not write.

    but: columns that are not checked.
    """
    names = tuple(column[0] for column in cursor.description)
    first_odd = stored_values.checker(names, but=but)
    for row in cursor:
        if column := first_odd(row):
            raise odd_value(path, names, row, column)
        yield row


def odd_value(
    path: JournalPlace, names: Sequence[str], row: Sequence[Any], column: str
) -> StorageDamaged:
    """Return the error for a row, of columns with these names, of which one is odd."""
    values = dict(zip(names, row, strict=True))
    id = values.get("id", values.get("key"))
    where = "" if id is None else f"row {id!r:.200}: "
    what = f"{where}the {column} {values[column]!r:.200} is none that batchgen writes"
    if column in stored_values.LEADS_TO_A_FILE:
        return LeadsOutside(
            f"{path}: {what}, and could lead outside the batch. The row is left alone.",
            "Somebody else has made or changed this journal. Choose another folder with --out,"
            " or restore it from a backup.",
        )
    return damaged_journal(path, what)


def remembered(name: str, text: str, path: JournalPlace) -> Any:
    """Return what a run keeps under a name. Raises StorageDamaged if no run can have kept it."""
    try:
        return stored_values.remembered(name, text)
    except ValueError:
        what = f"its memory of {name!r}, {text!r:.200}, is none that batchgen writes"
        raise damaged_journal(path, what) from None
