"""The rows of one reading of a manifest, on disk until the whole of it is known to be good.

A run takes this snapshot at its start, so that editing the file meanwhile changes nothing, and a
million rows need no memory.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchgen import identity
from batchgen.rows import Entry, Problem, Row
from batchgen.storage import storage_errors

NO_REQUESTS = """CREATE TABLE journal.requests (key TEXT, id TEXT, position INTEGER, listed INTEGER,
    source TEXT, model TEXT, input TEXT, state TEXT, attempts INTEGER)"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A row as the journal takes it: `input` and `meta` as JSON; `problem` is "" if it has none."""

    key: str
    position: int
    source: str
    id: str | None
    model: str
    input: str
    meta: str
    problem: str


@dataclass(frozen=True, slots=True)
class Hosted:
    """A URL among the inputs: where it is met first, and in how many rows.

    kind: of file, as `Validator.hosted` has it. field: `image` or `images[0]`, counted from 0.
    """

    url: str
    kind: str
    source: str
    id: str | None
    field: str
    rows: int


class Listing:
    """A private temporary database: SQLite spills it to disk and deletes it when it is closed."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("file:", uri=True, isolation_level=None)
        self._db.executescript(
            """
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            CREATE TABLE rows (position INTEGER PRIMARY KEY, key TEXT UNIQUE, source TEXT,
                id TEXT, model TEXT, input TEXT, meta TEXT, problem TEXT);
            CREATE TABLE bases (base TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
            CREATE TABLE ids (id TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID;
            BEGIN;
            """
        )

    def close(self) -> None:
        self._db.close()

    def claim(self, id: str, source: str) -> str | None:
        """Take `id` for the row at `source`; return the source of the row that has it already."""
        taken: tuple[str] | None = self._db.execute(
            "SELECT source FROM ids WHERE id = ?", (id,)
        ).fetchone()
        if taken is None:
            self._db.execute("INSERT INTO ids VALUES (?, ?)", (id, source))
            return None
        return taken[0]

    def add(self, row: Row) -> None:
        base = identity.base(row.model, row.input, row.id)
        input, meta = (json.dumps(value, ensure_ascii=False) for value in (row.input, row.meta))
        self._add(base, row.position, row.source, row.id, row.model, input, meta, "")

    def add_invalid(self, entry: Entry, model: str, problems: list[Problem]) -> None:
        """List a row that will not be sent, with the reasons."""
        reasons = "; ".join(f"{p.field}: {p.what}" if p.field else p.what for p in problems)
        input, meta, id = _storable(entry.values), _storable(entry.meta), entry.id
        id = id and id.encode(errors="backslashreplace").decode()
        base = identity.base(model, {"invalid": input}, id)
        self._add(base, entry.position, entry.place.source, id, model, input, meta, reasons)

    def _add(
        self,
        base: str,
        position: int,
        source: str,
        id: str | None,
        model: str,
        input: str,
        meta: str,
        problem: str,
    ) -> None:
        (n,) = self._db.execute(
            "INSERT INTO bases VALUES (?, 0) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            (base,),
        ).fetchone()
        self._db.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (position, identity.key(base, n), source, id, model, input, meta, problem),
        )

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM rows").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Listed]:
        rows = self._db.execute(
            "SELECT key, position, source, id, model, input, meta, problem FROM rows"
            " ORDER BY position"
        )
        for row in rows:
            yield Listed(*row)

    def models(self) -> list[str]:
        """The models of the valid rows."""
        found = self._db.execute("SELECT DISTINCT model FROM rows WHERE problem = ''")
        return [model for (model,) in found]

    def hosted(self, fields: Mapping[str, Mapping[str, str]]) -> Iterator[Hosted]:
        """Yield each URL among the inputs of valid rows once, in the order of the rows.

        fields: by model, the kind of file behind each input that is a URL or a list of them.
        """
        wanted = [(model, *one) for model, kinds in fields.items() for one in kinds.items()]
        # Columns beside a MIN() are those of the row that has it.
        found = self._db.execute(
            """WITH hosted AS MATERIALIZED (SELECT json_extract(value, '$[0]') AS model,
                json_extract(value, '$[1]') AS name, json_extract(value, '$[2]') AS kind
                FROM json_each(?))
            SELECT text.value, kind, source, rows.id, text.fullkey,
                COUNT(DISTINCT position), MIN(position) AS first
            FROM rows JOIN hosted USING (model)
                JOIN json_tree(input, '$."' || name || '"') AS text ON text.type = 'text'
            WHERE problem = '' GROUP BY text.value ORDER BY first""",
            (json.dumps(wanted),),
        )
        for url, kind, source, id, key, count, _ in found:
            yield Hosted(url, kind, source, id, key.removeprefix("$.").replace('"', ""), count)

    @contextmanager
    def beside(self, journal: Path) -> Iterator[sqlite3.Connection]:
        """A connection that sees these `rows`, and the journal's tables as `journal.requests`.

        An absent journal is an empty one. Raises StorageDamaged if it cannot be read.
        """
        self._db.execute("COMMIT")
        try:
            with storage_errors(journal):
                where = f"{journal.resolve().as_uri()}?mode=ro" if journal.is_file() else ":memory:"
                self._db.execute("ATTACH ? AS journal", (where,))
                if where == ":memory:":
                    self._db.executescript(NO_REQUESTS)
                yield self._db
        finally:
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute("DETACH journal")
            self._db.execute("BEGIN")


def _storable(value: object) -> str:
    """JSON of whatever a broken row held, with half a surrogate pair as an escape."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps({"unreadable": repr(value)}, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()
