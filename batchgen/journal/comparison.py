"""The staged rows of a manifest beside the journal's: what both have, what is new, what is gone.

A manifest can have a million rows of which few change, so SQLite finds the differences and only
those are read one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any, NamedTuple

from batchgen.batch_folder import JournalPlace
from batchgen.core.local_files import MARK
from batchgen.journal.faults import checked, storage_errors
from batchgen.journal.rewriting import Rewritten, count_paid, pair_rewritten
from batchgen.journal.staging import StagedRow, StagedRows

# In SQL, `rows` are the staged rows, and `journal.requests` the journal's.
UNLISTED_QUERY = (
    "SELECT key FROM journal.requests WHERE listed = 1 AND key NOT IN (SELECT key FROM rows)"
)
# Without an id in the list, a row keeps the one that the journal made for it.
MOVED_QUERY = """SELECT n.position, n.source, n.meta, COALESCE(n.id, o.id), n.key
    FROM rows AS n JOIN journal.requests AS o USING (key)
    WHERE o.listed = 0 OR o.position <> n.position OR o.source IS NOT n.source
        OR o.meta IS NOT n.meta OR o.id <> n.id"""
# A file's path is no part of a row's key, nor what --fit made of it. What is taken for another row
# keeps that row's input, and what was sent smaller stays noted so.
REFILED_QUERY = f"""SELECT n.input, n.key FROM rows AS n JOIN journal.requests AS o USING (key)
    WHERE n.problem = '' AND instr(n.input, '{MARK}') AND o.input <> n.input AND o.model <> ''
        AND n.position NOT IN (SELECT position FROM pairs)
        AND (o.state = 'pending'
            OR instr(n.input, '"sent_sha256"') = 0 AND instr(o.input, '"sent_sha256"') = 0)"""
# A row without a model is known by its receipt only: the manifest brings the rest.
NEW_QUERY = """SELECT n.key, n.position, n.source, n.id, n.model, n.input, n.meta, n.problem
    FROM rows AS n LEFT JOIN journal.requests AS o USING (key)
    WHERE o.key IS NULL OR o.model = '' ORDER BY n.position"""
# Rows that a new one may take the place of, or that still cost money or bring a file.
CREATE_GONE = """CREATE TEMP TABLE gone AS SELECT key, id, position, source, model, input
    FROM journal.requests WHERE key NOT IN (SELECT key FROM rows)
    AND (listed = 1 OR state IN ('submitted', 'completed', 'unknown'))"""


class KnownRow(NamedTuple):
    """A staged row, and the state, id and error that the journal has for its key, or None.

    template: the metadata of this name.
    """

    position: int
    id: str | None
    source: str
    model: str
    input: str
    problem: str
    state: str | None
    journal_id: str | None
    template: Any
    key: str
    error: str | None


class Comparison:
    """What `compare` hands out. Its iterators are to be read inside of that block."""

    def __init__(self, connection: Connection, journal: JournalPlace) -> None:
        self._connection = connection
        self._journal = journal

    def unlisted_keys(self) -> Iterator[tuple[str]]:
        """Yield (key,) of each listed row that the manifest no longer has."""
        return self._connection.execute(UNLISTED_QUERY)

    def moved(self) -> Iterator[tuple[int, str, str, str, str]]:
        """Yield (position, source, meta, id, key) of each known row that has changed in one."""
        return self._connection.execute(MOVED_QUERY)

    def refiled(self) -> Iterator[tuple[str, str]]:
        """Yield (input, key) of each known row whose local files have other paths now."""
        return self._connection.execute(REFILED_QUERY)

    def new_rows(self) -> Iterator[StagedRow]:
        """Yield each row that the journal does not know, or by its receipt only, in order."""
        return map(StagedRow._make, self._connection.execute(NEW_QUERY))

    def pair_rewritten(self) -> Rewritten:
        """Take rows that were sent and only rewritten for known ones; return what was found."""
        return pair_rewritten(self._connection, self._journal)

    def aliases(self) -> Iterator[tuple[str, str]]:
        """Yield the keys of each row that was taken for another: the list's, and the journal's."""
        return self._connection.execute("SELECT was, key FROM pairs WHERE kind = 'same'")

    def shares_a_row(self, *, by_id: bool) -> bool:
        """Return whether the journal has any of the staged rows.

        by_id: or lists one with the same id.
        """
        query = (
            "SELECT 1 FROM rows JOIN journal.requests AS o"
            " ON o.key = rows.key OR (o.id = rows.id AND o.listed = 1 AND ?) LIMIT 1"
        )
        return self._connection.execute(query, (by_id,)).fetchone() is not None

    def count_paid(self) -> int:
        """Return how many of the staged rows the journal has paid for, or may have.

        Those that were rewritten or have other ids since count, too.
        """
        return count_paid(self._connection)

    def count_unclaimed(self) -> tuple[int, int]:
        """Return how many requests that only their receipts tell of are of no staged row, and how
        many staged rows are new.
        """
        unclaimed = "SELECT COUNT(*) FROM journal.requests WHERE model = ''"
        new = "SELECT COUNT(*) FROM rows WHERE problem = ''"
        counts = self._connection.execute(
            f"SELECT ({unclaimed} AND key NOT IN (SELECT key FROM rows)),"
            f" ({new} AND key NOT IN (SELECT key FROM journal.requests))"
        ).fetchone()
        return int(counts[0]), int(counts[1])

    def rows(self) -> Iterator[KnownRow]:
        """Yield every staged row in order, with what the journal knows of it."""
        found = self._connection.execute(
            "SELECT n.position, n.id AS given_id, n.source, n.model, n.input, n.problem,"
            " o.state AS known_state, o.id AS known_id, n.meta ->> 'template' AS template, n.key,"
            " o.error"
            " FROM rows AS n LEFT JOIN journal.requests AS o USING (key) ORDER BY n.position"
        )
        return map(KnownRow._make, checked(found, self._journal, but=("input", "model")))

    @contextmanager
    def gone_rows(self) -> Iterator["GoneRows"]:
        """Collect the journal's rows that the manifest no longer has, for the block."""
        self._connection.execute(CREATE_GONE)
        self._connection.execute("CREATE INDEX temp.gone_id ON gone (id)")
        self._connection.execute("CREATE INDEX temp.gone_position ON gone (position)")
        self._connection.execute("CREATE INDEX temp.gone_key ON gone (key)")
        try:
            yield GoneRows(self._connection, self._journal)
        finally:
            self._connection.execute("DROP TABLE temp.gone")


class GoneRows:
    """Rows of the journal that the manifest no longer has."""

    def __init__(self, connection: Connection, journal: JournalPlace) -> None:
        self._connection = connection
        self._journal = journal

    def take_predecessor(self, new: KnownRow) -> tuple[str, str] | None:
        """Remove the row that a new one takes the place of, so that it has one successor.

        It has the same id, or where the new one has none, the same position in the manifest before.
        Returns its model and input (JSON), None if there is none.
        """
        name, value = ("position", new.position) if new.id is None else ("id", new.id)
        query = f"SELECT rowid, model, input FROM gone WHERE {name} = ?"
        found: tuple[str, str] | None = self._take(query, value)
        return found

    def take_renamed(self, new: KnownRow) -> tuple[str, str, str] | None:
        """As `take_predecessor`, for the row that a new one renames; return its id as well."""
        query = (
            "SELECT gone.rowid, id, model, input FROM gone JOIN pairs USING (key)"
            " WHERE pairs.position = ? AND kind = 'renamed'"
        )
        found: tuple[str, str, str] | None = self._take(query, new.position)
        return found

    def _take(self, query: str, value: str | int) -> Any:
        """Remove the first row that a query finds; return what it has behind the rowid, or None."""
        found = next(checked(self._connection.execute(query, (value,)), self._journal), None)
        if found is None:
            return None
        rowid, *rest = found
        self._connection.execute("DELETE FROM gone WHERE rowid = ?", (rowid,))
        return tuple(rest)

    def __iter__(self) -> Iterator[Any]:
        """Yield (id, source, model) of each row that was not taken, in order."""
        found = self._connection.execute("SELECT id, source, model FROM gone ORDER BY position")
        return checked(found, self._journal)


@contextmanager
def compare(staged: StagedRows, journal: JournalPlace) -> Iterator[Comparison]:
    """Compare the staged rows with those of a journal; an absent one has none.

    No more rows are staged after this. Raises StorageDamaged if the journal cannot be read.
    """
    with storage_errors(journal), staged.attached(journal) as connection:
        yield Comparison(connection, journal)
