"""Reading a journal that another process may be writing: for status, reports and curious people."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from batchgen import schema
from batchgen.errors import NewerJournal, StorageDamaged, UsageError
from batchgen.states import State
from batchgen.storage import ALWAYS_COUNTED, damaged, storage_errors

# The rows of the manifest in its order, then those that it no longer has but that were sent.
SHOWN = "(listed = 1 OR attempts > 0)"
ORDER = "listed DESC, position, created_at"


class Reader:
    """Open batch.db for reading only. Raises UsageError if there is none, or StorageDamaged."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(
                f"There is no batch in {path.parent}: it has no {path.name}.",
                "Name an output folder, or a manifest that was run from this folder.",
            )
        self._path = path
        with storage_errors(path):
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        self._db = Database(connection)
        try:
            with storage_errors(path):
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > schema.VERSION:
                raise NewerJournal(str(path), version, schema.VERSION)
            if version == 0:
                raise damaged(path, "it holds no tables")
        except StorageDamaged:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()

    def query(self, sql: str, *values: Any) -> Iterator[dict[str, Any]]:
        """Yield rows as they are read; a million of them are never held."""
        try:
            yield from self._db.query(sql, list(values))
        except sqlite3.Error as error:
            raise damaged(self._path, str(error)) from error

    def check(self) -> None:
        """Read the whole file. Raises StorageDamaged."""
        (found,) = next(iter(self.query("PRAGMA quick_check(1)"))).values()
        if found != "ok":
            raise damaged(self._path, found)

    def counts(self) -> Counter[State]:
        found = self.query(
            "SELECT state, COUNT(*) AS n FROM requests WHERE listed = 1"
            f" OR state IN ({', '.join('?' * len(ALWAYS_COUNTED))}) GROUP BY state",
            *ALWAYS_COUNTED,
        )
        return Counter({State(row["state"]): row["n"] for row in found})

    def money(self) -> dict[str, float | int]:
        """USD over all rows: what may have been spent, how much of it is unknown, and unpriced."""
        (row,) = self.query(
            """SELECT (SELECT COALESCE(SUM(usd), 0) FROM spending) AS committed,
                COALESCE(SUM(CASE WHEN state IN ('submitting', 'submitted') THEN price END), 0)
                    AS reserved,
                COALESCE(SUM(CASE WHEN state = 'unknown' THEN price END), 0) AS unknown,
                COALESCE(SUM(attempts > 0 AND price IS NULL AND cost IS NULL AND NOT EXISTS
                    (SELECT 1 FROM spending WHERE spending.key = requests.key)), 0) AS unpriced
                FROM requests"""
        )
        return {name: round(value, 6) for name, value in row.items()}

    def causes(self) -> list[dict[str, Any]]:
        """Why rows are not saved, the most common first, each with an example row."""
        return list(
            self.query(
                "SELECT state, COALESCE(error, '') AS cause, COUNT(*) AS rows, MIN(id) AS example"
                " FROM requests WHERE error IS NOT NULL AND state <> 'saved'"
                " AND (listed = 1 OR attempts > 0)"
                " GROUP BY state, cause ORDER BY rows DESC, state, cause LIMIT 50"
            )
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as the reports have it; `input`, `meta` and `outputs` decoded."""
        rows = self.query(
            f"""SELECT position, id, source, model, input, meta, state, request_id, api_status,
                attempts, error_code, error, price, cost, created_at, submitted_at, completed_at,
                saved_at, listed, key,
                (SELECT json_group_array(json_object('n', n, 'kind', kind, 'url', url, 'path', path,
                    'bytes', bytes, 'sha256', sha256, 'content_type', content_type,
                    'width', width, 'height', height)) FROM
                    (SELECT * FROM outputs WHERE outputs.key = requests.key ORDER BY n)) AS outputs
                FROM requests WHERE {SHOWN} ORDER BY {ORDER}"""
        )
        for row in rows:
            for name in ("input", "meta", "outputs"):
                row[name] = json.loads(row[name] or "{}")
            row["listed"] = bool(row["listed"])
            yield row

    def names_in(self, column: str) -> list[str]:
        """All names that the JSON objects in `input` or `meta` use, in order of appearance."""
        assert column in ("input", "meta")
        found = self.query(
            f"SELECT each.key AS name FROM requests, json_each(requests.{column}) AS each"
            f" WHERE {SHOWN.replace('listed', 'requests.listed')} GROUP BY each.key"
            " ORDER BY MIN(requests.position), MIN(each.id)"
        )
        return [row["name"] for row in found]

    def last_run(self) -> dict[str, Any] | None:
        return next(self.query("SELECT * FROM runs ORDER BY id DESC LIMIT 1"), None)

    def oldest_in_flight(self) -> str | None:
        (row,) = self.query(
            "SELECT MIN(submitted_at) AS at FROM requests WHERE state = 'submitted'"
        )
        at: str | None = row["at"]
        return at

    def first_to_expire(self) -> str | None:
        """When the oldest result that is not on disk yet was completed."""
        (row,) = self.query(
            "SELECT MIN(completed_at) AS at FROM requests WHERE state = 'completed'"
        )
        at: str | None = row["at"]
        return at

    def is_rehearsal(self) -> bool:
        """Whether its requests went to the sandbox: placeholders, and pretend money."""
        return any(self.query("SELECT 1 FROM memory WHERE name = 'sandbox' AND value = 'true'"))

    def prices(self) -> dict[str, float | None]:
        """What a request of each model cost when a run last asked, in USD."""
        found = next(self.query("SELECT value FROM memory WHERE name = 'prices'"), None)
        return json.loads(found["value"]) if found else {}

    def pace(self) -> float | None:
        """The learned rate, POSTs per second; None before the first POST."""
        found = next(self.query("SELECT value FROM memory WHERE name = 'pace'"), None)
        return json.loads(found["value"])["rate"] if found else None


def summary(reader: Reader) -> dict[str, Any]:
    """The numbers of a batch, as `summary.json`, `--json` and the gallery have them."""
    counts = reader.counts()
    run = reader.last_run() or {}
    return {
        "rows": sum(counts.values()),
        "rehearsal": reader.is_rehearsal(),
        "counts": {str(state): counts.get(state, 0) for state in State},
        "causes": reader.causes(),
        "money_usd": reader.money(),
        "run": {
            name: run.get(name)
            for name in ("started_at", "ended_at", "manifest", "exit_code", "ending", "version")
        },
    }
