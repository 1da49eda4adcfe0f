"""Reading a journal that another process may be writing: for status, reports and curious people."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchgen.core.prices import Price, read_prices
from batchgen.core.states import State
from batchgen.errors import NewerJournal, StorageDamaged, UsageError
from batchgen.files import refuse_linked_database
from batchgen.journal import stored_values
from batchgen.journal.database import (
    COUNTS_QUERY,
    VERSION,
    count_states,
    damaged_journal,
    storage_errors,
)

# The rows of the manifest in its order, then those that it no longer has but that were sent. Two
# queries are in order by their index; one that asks for both sorts a million rows first.
SHOWN = "(listed = 1 OR attempts > 0)"
SHOWN_IN_ORDER = ("listed = 1", "listed IS NOT 1 AND attempts > 0")
ORDER = "listed DESC, position, created_at, requests.rowid DESC"  # the last keeps a row together
COLUMNS = (
    "position", "id", "source", "model", "input", "meta", "state", "request_id", "api_status",
    "attempts", "error_code", "error", "price", "cost", "created_at", "submitted_at",
    "completed_at", "saved_at", "listed", "key",
)  # fmt: skip
OF_OUTPUTS = (
    "n", "kind", "url", "path", "bytes", "sha256", "content_type", "width", "height",
)  # fmt: skip


class Reader:
    """Open batch.db for reading only. Raises UsageError if there is none, or StorageDamaged.

    left_out: what `rows` had to leave out, in words.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(
                f"There is no batch in {path.parent}: it has no {path.name}.",
                "Name an output folder, or a manifest that was run from this folder.",
            )
        self._path = path
        self.left_out = ""
        refuse_linked_database(path, written=False)
        with storage_errors(path):
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            with storage_errors(path):
                (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise NewerJournal(str(path), version, VERSION)
            if version == 0:
                raise damaged_journal(path, "it holds no tables")
        except StorageDamaged:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()

    def query(self, sql: str, *values: Any) -> Iterator[dict[str, Any]]:
        """Yield rows as they are read; a million of them are never held."""
        try:
            cursor = self._db.execute(sql, values)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))
        except sqlite3.Error as error:
            raise damaged_journal(self._path, str(error)) from error

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """What is read inside was true at one moment, whatever a run writes meanwhile."""
        with storage_errors(self._path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    def check(self) -> None:
        """Read the whole file. Raises StorageDamaged."""
        (found,) = next(iter(self.query("PRAGMA quick_check(1)"))).values()
        if found != "ok":
            raise damaged_journal(self._path, found)

    def counts(self) -> Counter[State]:
        return count_states(
            (row["state"], row["listed"], row["n"]) for row in self.query(COUNTS_QUERY)
        )

    def money(self) -> dict[str, float | int]:
        """USD over all rows: what may have been spent, how much of it is unknown, and unpriced."""
        # The rows in a state are found by an index; those without a price are looked for in all,
        # once, and by what most rows have.
        (row,) = self.query(
            """SELECT (SELECT COALESCE(SUM(usd), 0) FROM spending) AS committed,
                (SELECT COALESCE(SUM(price), 0) FROM requests
                    WHERE state IN ('submitting', 'submitted')) AS reserved,
                (SELECT COALESCE(SUM(price), 0) FROM requests WHERE state = 'unknown') AS unknown,
                (SELECT COUNT(*) FROM requests WHERE price IS NULL AND attempts > 0
                    AND cost IS NULL AND NOT EXISTS
                    (SELECT 1 FROM spending WHERE spending.key = requests.key)) AS unpriced"""
        )
        return {name: round(value, 6) for name, value in row.items()}

    def causes(self) -> list[dict[str, Any]]:
        """Why rows are not saved, the most common first, each with an example row."""
        return list(
            self.query(
                "SELECT state, COALESCE(error, '') AS cause, COUNT(*) AS rows, MIN(id) AS example"
                " FROM requests WHERE error IS NOT NULL AND +state <> 'saved'"  # in one pass
                " AND (listed = 1 OR attempts > 0)"
                " GROUP BY state, cause ORDER BY rows DESC, state, cause LIMIT 50"
            )
        )

    def ids(self) -> Iterator[tuple[str, str | None]]:
        """Yield id and request_id of each row that the reports have, in no order."""
        for row in self.query(f"SELECT id, request_id FROM requests WHERE {SHOWN}"):
            yield row["id"], row["request_id"]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as the reports have it; `input`, `meta` and `outputs` decoded.

        A file that batchgen cannot have saved is no file here; `left_out` tells of the first.
        """
        # Here, so that `status` answers without it.
        from sqlite_utils import Database

        db = Database(self._db)
        columns = ", ".join((*(f"requests.{name}" for name in COLUMNS), *OF_OUTPUTS))
        try:
            for shown in SHOWN_IN_ORDER:
                for row in _with_outputs(
                    db.query(
                        f"SELECT {columns} FROM requests LEFT JOIN outputs USING (key)"
                        f" WHERE {shown} ORDER BY {ORDER}, n"
                    )
                ):
                    self._leave_out(row)
                    yield row
        except sqlite3.Error as error:
            raise damaged_journal(self._path, str(error)) from error

    def _leave_out(self, row: dict[str, Any]) -> None:
        for output in row["outputs"]:
            if column := stored_values.odd(output):
                self.left_out = self.left_out or (
                    f"row {row['id']!r}: the {column} {str(output[column])[:200]!r} is none that"
                    " batchgen writes. This file, and any other like it, is left out."
                )
                output.update(dict.fromkeys(output.keys() - {"n", "url"}))

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
        return self.get_meta("sandbox") is True

    def get_meta(self, name: str) -> Any:
        """What an earlier run remembered under `name`; None if nothing."""
        found = next(self.query("SELECT value FROM memory WHERE name = ?", name), None)
        return json.loads(found["value"]) if found else None

    def prices(self) -> dict[str, Price | None]:
        """What each model cost when a run last asked."""
        return read_prices(self.get_meta("prices"))

    def pace(self) -> float | None:
        """The learned rate, POSTs per second; None before the first POST."""
        saved = self.get_meta("pace")
        return saved["rate"] if saved else None


def _with_outputs(found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one dictionary for the rows of a request, each of which holds another output of it."""
    request: dict[str, Any] = {"key": None}
    for row in found:
        output = dict(zip(OF_OUTPUTS, map(row.pop, OF_OUTPUTS), strict=True))
        if row["key"] != request["key"]:
            if request["key"] is not None:
                yield request
            request = row
            request["input"] = json.loads(request["input"] or "{}")
            request["meta"] = json.loads(request["meta"] or "{}")
            request["listed"] = bool(request["listed"])
            request["outputs"] = []
        if output["n"] is not None:
            request["outputs"].append(output)
    if request["key"] is not None:
        yield request


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
