"""Staged rows: a manifest's rows in a private temporary database, before the journal is changed.

The journal takes them over only when the whole manifest was read and checked. They are a snapshot:
editing the manifest afterwards changes nothing. They are on disk: memory does not grow with them.
"""

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from batchgen.batch_folder import JournalPlace
from batchgen.core import identity
from batchgen.core.addresses import JournalAddress
from batchgen.core.local_files import MARK, LocalFile
from batchgen.core.rows import Entry, Problem, Row
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.files import refuse_linked_database
from batchgen.journal.sqlite.inspection import harden
from batchgen.journal.sqlite.read_only import uri_for_reading

CHUNK_ROWS = 200  # written by one statement, at most
CHUNK_CHARS = 2**18
ID_CACHE_KIB = 64 * 1024
EMPTY_TABLES = """CREATE TABLE journal.requests (key TEXT, id TEXT, position INTEGER,
    listed INTEGER, source TEXT, model TEXT, input TEXT, state TEXT, attempts INTEGER,
    name TEXT, error TEXT, meta TEXT);
    CREATE TABLE journal.aliases (key TEXT PRIMARY KEY, row TEXT);"""


# The paths of the local files among the inputs of `requests`, in order; another key of this name
# does no harm.
LOCAL_FILES_QUERY = f"""SELECT DISTINCT part.value AS local_file FROM requests
    JOIN json_tree(input) AS part ON part.key = 'file' AND part.type = 'text'
    WHERE listed = 1 AND instr(input, '{MARK}') > 0 ORDER BY local_file"""


class StagedRow(NamedTuple):
    """A row as the journal takes it.

    input, meta: JSON. problem: why the row is not sent; "" if it is valid.
    """

    key: str
    position: int
    source: str
    id: str | None
    model: str
    input: str
    meta: str
    problem: str


@dataclass(frozen=True, slots=True)
class FileInput:
    """A URL among the inputs.

    kind: of file, as `Validator.hosted` has it.
    source, id, field: where it is met first; field: `image`, or `images[0]`, counted from 0.
    rows: how many rows have it.
    """

    url: str
    kind: str
    source: str
    id: str | None
    field: str
    rows: int


class Repeats(NamedTuple):
    """Rows that send the same as an earlier one of the list: how many, and one of each pair."""

    model: str
    rows: int
    first: str
    source: str


class StagedRows:
    """Rows in a temporary database that SQLite deletes when it is closed.

    keep: whether the rows are needed; without, they are counted and their ids are compared.
    Call `close` at the end.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._db = sqlite3.connect("file:", uri=True, isolation_level=None)
        self._db.create_function("row_key", 2, identity.row_key, deterministic=True)
        # Rows are added in order, ids are looked up in any order. So the ids have a database of
        # their own, whose cache is large enough for a million.
        self._db.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            CREATE TABLE rows (position INTEGER PRIMARY KEY, key TEXT, base TEXT, source TEXT,
                id TEXT, model TEXT, input TEXT, meta TEXT, problem TEXT);
            CREATE TABLE pairs (position INTEGER PRIMARY KEY, key TEXT, kind TEXT, was TEXT);
            CREATE TABLE files (path TEXT PRIMARY KEY, bytes INTEGER, seen TEXT, fit TEXT)
                WITHOUT ROWID;
            ATTACH '' AS claimed;
            PRAGMA claimed.journal_mode = OFF;
            PRAGMA claimed.synchronous = OFF;
            PRAGMA claimed.cache_size = -{ID_CACHE_KIB};
            CREATE TABLE claimed.ids (id TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID;
            BEGIN;
            """
        )
        self._keep = keep
        self._count = 0
        self._numbered = True
        self._unwritten: list[tuple[int | str | None, ...]] = []
        self._unwritten_chars = 0
        self._unwritten_ids: list[tuple[str, str]] = []
        self._last_id = (-1, "")

    def close(self) -> None:
        self._db.close()

    def claim(self, id: str, source: str) -> str | None:
        """Take an id for the row at `source`; return the source of a row that took it before."""
        # Ids mostly count up, as row-9 and row-10 do. An id that is longer or greater than all
        # before it is new, and need not be looked up.
        order = len(id), id
        if order > self._last_id:
            self._last_id = order
            self._unwritten_ids.append((id, source))
            if len(self._unwritten_ids) >= CHUNK_ROWS:
                self._write_ids()
            return None
        self._write_ids()
        inserted = self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (id, source))
        if inserted.rowcount:
            return None
        (first,) = self._db.execute("SELECT source FROM ids WHERE id = ?", (id,)).fetchone()
        return str(first)

    def _write_ids(self) -> None:
        if self._unwritten_ids:
            self._db.executemany("INSERT INTO ids VALUES (?, ?)", self._unwritten_ids)
            self._unwritten_ids.clear()

    def add(self, row: Row) -> None:
        """Add a valid row."""
        self._count += 1
        if not self._keep:
            return
        base, input = identity.canonical_json(row.model, row.input, row.id)
        meta = identity.to_json(row.meta) if row.meta else "{}"
        self._add(row.position, base, row.source, row.id, row.model, input, meta, "")

    def add_file(self, file: LocalFile) -> None:
        """Note a local file that was checked, for `files`."""
        values = file.path, file.bytes, file.seen, file.fit
        self._db.execute("INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?)", values)

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield (path, what tells whether it was written to since) of each file, by path."""
        yield from self._db.execute("SELECT path, seen FROM files ORDER BY path")

    def fitted(self) -> tuple[int, str]:
        """Return how many files are sent smaller (--fit), and what becomes of one of them."""
        query = "SELECT COUNT(*), MIN(path || ': ' || fit) FROM files WHERE fit <> ''"
        count, example = self._db.execute(query).fetchone()
        return int(count), example or ""

    def count_files(self) -> tuple[int, int]:
        """Return how many local files there are, and their bytes."""
        query = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM files"
        count, size = self._db.execute(query).fetchone()
        return int(count), int(size)

    def add_invalid(self, entry: Entry, model: str, problems: list[Problem]) -> None:
        """Add a row that is not sent, with the reasons. model: the entry's, or the default."""
        self._count += 1
        if not self._keep:
            return
        reasons = "; ".join(f"{p.field}: {p.what}" if p.field else p.what for p in problems)
        input, meta, id = _storable(entry.values), _storable(dict(entry.meta)), entry.id
        id = id and id.encode(errors="backslashreplace").decode()
        base = identity.row_digest(model, {"invalid": input}, id)
        self._add(entry.position, base, entry.place.source, id, model, input, meta, reasons)

    def _add(self, position: int, base: str, *others: str | None) -> None:
        """others: source, id, model, input, meta and problem."""
        self._unwritten.append((position, identity.row_key(base, 0), base, *others))
        self._unwritten_chars += len(others[3] or "")
        if len(self._unwritten) >= CHUNK_ROWS or self._unwritten_chars >= CHUNK_CHARS:
            self._write()

    def _write(self) -> None:
        if self._unwritten:
            self._numbered = False
            self._db.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._unwritten
            )
            self._unwritten.clear()
            self._unwritten_chars = 0

    def _number(self) -> None:
        """Give equal rows keys of their own. Until all are added, equal rows have the same key.

        Sorting them once takes a tenth of the time of looking each row up among those before it.
        """
        self._write()
        if self._numbered:
            return
        self._db.execute("CREATE INDEX IF NOT EXISTS rows_by_key ON rows (key)")
        self._db.execute(
            """UPDATE rows SET key = row_key(base, n) FROM (
                SELECT position AS at, ROW_NUMBER() OVER (PARTITION BY key ORDER BY position) - 1
                    AS n FROM rows
                WHERE key IN (SELECT key FROM rows GROUP BY key HAVING COUNT(*) > 1))
            WHERE position = at AND n > 0"""
        )
        self._numbered = True

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StagedRow]:
        """Yield the rows in order. No more are added after this."""
        self._number()
        rows = self._db.execute(
            "SELECT key, position, source, id, model, input, meta, problem FROM rows"
            " ORDER BY position"
        )
        return map(StagedRow._make, rows)

    def models(self) -> list[str]:
        """Return the models of the valid rows."""
        self._write()
        found = self._db.execute("SELECT DISTINCT model FROM rows WHERE problem = ''")
        return [model for (model,) in found]

    def repeats(self, models: Collection[str]) -> Iterator[Repeats]:
        """Yield, by model, the valid rows that send the same as an earlier one."""
        self._write()
        self._db.create_function("sent_form", 2, _sent_form, deterministic=True)
        found = self._db.execute(
            """SELECT model, COUNT(*), first, source, MIN(position) FROM (
                SELECT model, source, position, FIRST_VALUE(source) OVER same AS first,
                    ROW_NUMBER() OVER same AS n
                FROM (SELECT model, source, position, sent_form(model, input) AS form FROM rows
                    WHERE problem = '' AND model IN (SELECT value FROM json_each(?)))
                WINDOW same AS (PARTITION BY model, form ORDER BY position))
            WHERE n > 1 GROUP BY model""",
            (json.dumps([*models]),),
        )
        for model, rows, first, source, _ in found:
            yield Repeats(model, rows, first, source)

    def hosted(self, fields: Mapping[str, Mapping[str, str]]) -> Iterator[FileInput]:
        """Yield each URL among the inputs of valid rows once, in the order of the rows.

        fields: by model, the kind of file behind each input that is a URL or a list of them.
        """
        self._write()
        wanted = [(model, *one) for model, kinds in fields.items() for one in kinds.items()]
        # SQLite takes the columns beside a MIN() from the row that has the minimum.
        found = self._db.execute(
            """WITH hosted AS MATERIALIZED (SELECT json_extract(value, '$[0]') AS model,
                json_extract(value, '$[1]') AS name, json_extract(value, '$[2]') AS kind
                FROM json_each(?))
            SELECT text.value, kind, source, rows.id, text.fullkey,
                COUNT(DISTINCT position), MIN(position) AS first
            FROM rows JOIN hosted USING (model)
                JOIN json_tree(input, '$."' || name || '"') AS text ON text.type = 'text'
                    AND text.value LIKE 'https://%'
            WHERE problem = '' GROUP BY text.value ORDER BY first""",
            (json.dumps(wanted),),
        )
        for url, kind, source, id, key, count, _ in found:
            yield FileInput(url, kind, source, id, key.removeprefix("$.").replace('"', ""), count)

    @contextmanager
    def attached(self, journal: JournalPlace) -> Iterator[sqlite3.Connection]:
        """Hand out a connection that sees these `rows`, and the journal as `journal.requests`.

        For `comparison.compare`. An absent journal is an empty one. No more rows are added after
        this. Raises sqlite3.Error if the journal cannot be read, and OSError as `uri_for_reading`.
        """
        self._number()
        if isinstance(journal, Path):
            refuse_linked_database(journal, written=False)
        self._db.execute("COMMIT")
        harden(self._db)
        try:
            if isinstance(journal, JournalAddress):
                # Here, since most batches need none of it.
                from batchgen.journal.postgres.copy import copy_rows

                self._db.execute("ATTACH '' AS journal")
                self._db.executescript(EMPTY_TABLES)
                copy_rows(journal, self._db, DEFAULT_TIMING)
                yield self._db
                return
            with uri_for_reading(journal) as uri:
                self._db.execute("ATTACH ? AS journal", (uri,))
                (version,) = self._db.execute("PRAGMA journal.user_version").fetchone()
                if not version:  # it is absent, or is just being made
                    self._db.execute("DETACH journal")
                    self._db.execute("ATTACH ':memory:' AS journal")
                    self._db.executescript(EMPTY_TABLES)
                yield self._db
        finally:
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute("DETACH journal")
            self._db.execute("BEGIN")


def _sent_form(model: str, input: str) -> str:
    """Return a text that is equal for rows that send the same, whatever their ids."""
    return identity.row_digest(model, json.loads(input), None)


def _storable(value: object) -> str:
    """Return a value of an invalid row as JSON, a lone surrogate as an escape.

    What JSON cannot hold is told in words.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps({"unreadable": repr(value)}, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()
