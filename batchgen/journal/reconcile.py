"""Bring the journal's rows into line with the staged rows: add, move, unlist.

A row that was sent is never deleted; it is unlisted when the manifest no longer has it.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any

from batchgen.core import identity
from batchgen.core.states import State
from batchgen.journal.comparison import compare
from batchgen.journal.database import marks
from batchgen.journal.staging import StagedRow, StagedRows
from batchgen.journal.writer import Journal

CHUNK_ROWS = 500  # inserted by one statement, at most
CHUNK_CHARS = 2**20
# Keys and names come in no order, so every page of their two indexes is written to again and again
# and has to stay in memory. The bytes are those of both, doubled for the free space in a page.
CACHE_BYTES_PER_ROW = 120


class NameAllocator:
    """Stems of files that no row of the journal has: `hero`, else `hero.2`, `hero.3`, …

    Rows that were sent stay in the journal, so a changed row never gets the name of a paid file.
    given: folded names that were given out and may not be in the journal yet.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last_number: dict[str, int] = {}
        self.given: set[str] = set()

    def free(self, name: str) -> str:
        """Return the first name made from `name` that is free."""
        folded = identity.fold_name(name)
        n = self._last_number.get(folded, 1)
        candidate = name if n == 1 else f"{name}.{n}"
        while self._is_taken(identity.fold_name(candidate)):
            n += 1
            candidate = f"{name}.{n}"
            self._last_number[folded] = n
        return candidate

    def _is_taken(self, folded: str) -> bool:
        query = "SELECT 1 FROM requests WHERE folded = ?"
        return folded in self.given or self._journal.fetch_one(query, folded) is not None

    def taken(self, names: Iterable[str]) -> set[str]:
        """Return, folded, those of the names that rows of the journal have."""
        wanted = [identity.fold_name(name) for name in names]
        query = f"SELECT folded FROM requests WHERE folded IN ({marks(wanted)})"
        return {folded for (folded,) in self._journal.fetch_all(query, *wanted)}


def reconcile(journal: Journal, staged: StagedRows) -> None:
    """List the staged rows and no others, inside a transaction of the caller.

    Unlisted rows that were never sent are deleted first, so that their names are free.
    """
    connection = journal.connection
    journal.store.expect_rows(len(staged))
    with _large_cache(connection, len(staged)), compare(staged, journal.path) as comparison:
        connection.executemany(
            "UPDATE requests SET listed = 0 WHERE key = ?", comparison.unlisted_keys()
        )
        connection.executemany(
            "UPDATE requests SET position = ?, source = ?, meta = ?, id = ?, listed = 1"
            " WHERE key = ?",
            comparison.moved(),
        )
        connection.executemany("UPDATE requests SET input = ? WHERE key = ?", comparison.refiled())
        connection.executemany(
            'INSERT INTO aliases (key, "row") VALUES (?, ?)'
            ' ON CONFLICT (key) DO UPDATE SET "row" = excluded."row"',
            comparison.aliases(),
        )
        connection.execute(
            "DELETE FROM requests WHERE listed = 0 AND attempts = 0"
            " AND state IN ('pending', 'invalid')"
        )
        names = NameAllocator(journal)
        (recovered,) = journal.fetch_one("SELECT EXISTS (SELECT 1 FROM requests WHERE model = '')")
        for chunk in _chunks(comparison.new_rows()):
            _add_chunk(journal, names, chunk, complete_recovered=bool(recovered))
    journal.state_counts = journal.count_states()


@contextmanager
def _large_cache(connection: Any, rows: int) -> Iterator[None]:
    """Keep the indexes of so many rows in memory, for the block."""
    if not isinstance(connection, Connection):  # a server has a cache of its own
        yield
        return
    (usual,) = connection.execute("PRAGMA cache_size").fetchone()
    cache_kib = max(2000, rows * CACHE_BYTES_PER_ROW // 1024)
    connection.execute(f"PRAGMA cache_size = {-cache_kib}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA cache_size = {usual}")
        connection.execute("PRAGMA shrink_memory")


def _chunks(rows: Iterable[StagedRow]) -> Iterator[list[StagedRow]]:
    """Cut the rows into lists of at most CHUNK_ROWS, or about CHUNK_CHARS of input."""
    chunk: list[StagedRow] = []
    chars = 0
    for row in rows:
        chunk.append(row)
        chars += len(row.input)
        if len(chunk) >= CHUNK_ROWS or chars >= CHUNK_CHARS:
            yield chunk
            chunk, chars = [], 0
    if chunk:
        yield chunk


def _add_chunk(
    journal: Journal, names: NameAllocator, chunk: list[StagedRow], *, complete_recovered: bool
) -> None:
    """Add new rows in order, each with the first name that is free by then.

    complete_recovered: whether the journal has rows that are known by their receipts only; these
        get from the manifest what they lack.
    """
    stems = [_stem(row) for row in chunk]
    taken = names.taken(stems)
    now = journal.now()
    added = []
    for row, stem in zip(chunk, stems, strict=True):
        folded = identity.fold_name(stem)
        if folded in taken or folded in names.given:
            stem = names.free(stem)
            folded = identity.fold_name(stem)
        names.given.add(folded)
        id = row.id or stem
        if complete_recovered and _complete(journal, row, id, stem, folded):
            continue
        state = State.INVALID if row.problem else State.PENDING
        added.append(
            (
                *(row.key, id, stem, folded, row.position, row.source, row.model, row.input),
                *(row.meta, state, row.problem or None, now),
            )
        )
    journal.connection.executemany(
        "INSERT INTO requests (key, id, name, folded, position, source, model, input, meta,"
        " state, error, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        added,
    )
    names.given.clear()


def _stem(row: StagedRow) -> str:
    """Return the stem for the row's files, by its id or else its prompt; it may be taken."""
    id = row.id or identity.readable_id(row.position, json.loads(row.input))
    return identity.safe_name(id)


def _complete(journal: Journal, row: StagedRow, id: str, stem: str, folded: str) -> bool:
    """Complete a row that is known by its receipt only; return whether the journal has the row."""
    done = journal.connection.execute(
        "UPDATE requests SET id = ?, name = ?, folded = ?, model = ?, input = ? WHERE key = ?",
        (id, stem, folded, row.model, row.input, row.key),
    )
    return bool(done.rowcount == 1)
