"""The manifest, as it was just read -> the journal's rows, by what differs between the two.

A list has a million rows and is seldom changed much, so SQLite finds the rows that differ, and
only those are looked at one by one.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from sqlite3 import Connection

from batchgen.core import identity
from batchgen.core.states import State
from batchgen.journal.staging import StagedRow, StagedRows
from batchgen.journal.writer import Journal

CHUNK_ROWS = 500  # that are named at once, at most
CHUNK_CHARS = 2**20
# An index in the order of keys is written everywhere at once, so its pages have to be in memory:
# two of them, with as much again for what SQLite leaves free in a page.
CACHE_BYTES_PER_ROW = 120

# `rows` are the manifest's, `journal.requests` what the journal held before.
UNLISTED_QUERY = (
    "SELECT key FROM journal.requests WHERE listed = 1 AND key NOT IN (SELECT key FROM rows)"
)
MOVED_QUERY = """SELECT n.position, n.source, n.meta, n.key
    FROM rows AS n JOIN journal.requests AS o USING (key)
    WHERE o.listed = 0 OR o.position <> n.position OR o.source IS NOT n.source
        OR o.meta IS NOT n.meta"""
# A row without a model is known by its receipt only: the manifest brings the rest.
NEW_QUERY = """SELECT n.key, n.position, n.source, n.id, n.model, n.input, n.meta, n.problem
    FROM rows AS n LEFT JOIN journal.requests AS o USING (key)
    WHERE o.key IS NULL OR o.model = '' ORDER BY n.position"""


class NameAllocator:
    """Stems of files that no row has, nor ever had: `hero`, else `hero.2`, …

    A changed row never gets the name of a picture already paid. given: names, folded, that were
    just taken, whether the journal has been told or not.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[str, int] = {}
        self.given: set[str] = set()

    def free(self, name: str) -> str:
        same = identity.fold_name(name)
        n = self._last.get(same, 1)
        candidate = name if n == 1 else f"{name}.{n}"
        while self._is_taken(identity.fold_name(candidate)):
            n += 1
            candidate = f"{name}.{n}"
            self._last[same] = n
        return candidate

    def _is_taken(self, folded: str) -> bool:
        query = "SELECT 1 FROM requests WHERE folded = ?"
        return folded in self.given or self._journal.fetch_one(query, folded) is not None

    def among(self, names: Iterable[str]) -> set[str]:
        """Which of these names, folded, are a row's."""
        wanted = json.dumps([identity.fold_name(name) for name in names])
        query = "SELECT folded FROM requests WHERE folded IN (SELECT value FROM json_each(?))"
        return {folded for (folded,) in self._journal.fetch_all(query, wanted)}


def reconcile(journal: Journal, listing: StagedRows) -> None:
    """List the manifest's rows, and no others, inside a transaction of the caller's.

    Rows that never left are dropped first, so that their names are free; none that did ever goes.
    """
    db = journal.db
    with _room_for(db, len(listing)), listing.beside(journal.path) as both:
        db.executemany("UPDATE requests SET listed = 0 WHERE key = ?", both.execute(UNLISTED_QUERY))
        db.executemany(
            "UPDATE requests SET position = ?, source = ?, meta = ?, listed = 1 WHERE key = ?",
            both.execute(MOVED_QUERY),
        )
        db.execute(
            "DELETE FROM requests WHERE listed = 0 AND attempts = 0"
            " AND state IN ('pending', 'invalid')"
        )
        names = NameAllocator(journal)
        (lost,) = journal.fetch_one("SELECT EXISTS (SELECT 1 FROM requests WHERE model = '')")
        for part in _parts(map(StagedRow._make, both.execute(NEW_QUERY))):
            _take(journal, names, part, lost=bool(lost))
    journal.counts = journal.count_states()


@contextmanager
def _room_for(db: Connection, rows: int) -> Iterator[None]:
    """Keep more of the journal's indices in memory for a while."""
    (usual,) = db.execute("PRAGMA cache_size").fetchone()
    db.execute(f"PRAGMA cache_size = {-max(2000, rows * CACHE_BYTES_PER_ROW // 1024)}")
    try:
        yield
    finally:
        db.execute(f"PRAGMA cache_size = {usual}")
        db.execute("PRAGMA shrink_memory")


def _parts(rows: Iterable[StagedRow]) -> Iterator[list[StagedRow]]:
    """Cut the stream into parts that are worth a statement and small in memory."""
    part: list[StagedRow] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(row.input)
        if len(part) >= CHUNK_ROWS or size >= CHUNK_CHARS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _take(journal: Journal, names: NameAllocator, part: list[StagedRow], *, lost: bool) -> None:
    """Add new rows, each by the first name that is free when its turn comes.

    lost: whether rows are known by their receipts only; some of these may be among them.
    """
    stems = [_stem(row) for row in part]
    taken = names.among(stems)
    now = journal.now()
    added = []
    for row, stem in zip(part, stems, strict=True):
        folded = identity.fold_name(stem)
        if folded in taken or folded in names.given:
            stem = names.free(stem)
            folded = identity.fold_name(stem)
        names.given.add(folded)
        id = row.id or stem
        if lost and _complete(journal, row, id, stem, folded):
            continue
        state = State.INVALID if row.problem else State.PENDING
        added.append(
            (
                *(row.key, id, stem, folded, row.position, row.source, row.model, row.input),
                *(row.meta, state, row.problem or None, now),
            )
        )
    journal.db.executemany(
        "INSERT INTO requests (key, id, name, folded, position, source, model, input, meta,"
        " state, error, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        added,
    )
    names.given.clear()


def _stem(row: StagedRow) -> str:
    """The stem of its files, if no row had it yet; a row without an id is called by its prompt."""
    id = row.id or identity.readable_id(row.position, json.loads(row.input))
    return identity.safe_name(id)


def _complete(journal: Journal, row: StagedRow, id: str, stem: str, folded: str) -> bool:
    """Bring a row of which only a receipt was left what the manifest knows; False if it is none."""
    done = journal.db.execute(
        "UPDATE requests SET id = ?, name = ?, folded = ?, model = ?, input = ? WHERE key = ?",
        (id, stem, folded, row.model, row.input, row.key),
    )
    return done.rowcount == 1
