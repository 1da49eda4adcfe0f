"""Questions of the reports about a batch as a whole; SQLite counts, in one pass each.

`status` asks none of them, since most look at every row or event.
"""

from collections.abc import Iterator
from typing import Any

from batchgen.journal.reader import Reader
from batchgen.journal.schema import SHOWN, THROTTLED
from batchgen.journal.stored_values import is_path


def by_model(reader: Reader) -> Iterator[dict[str, Any]]:
    """Yield model, rows, saved and cost_usd of each model, most rows first."""
    return reader.query(
        "SELECT model, COUNT(*) AS rows, COUNT(*) FILTER (WHERE state = 'saved') AS saved,"
        " ROUND(COALESCE(SUM((SELECT SUM(usd) FROM spending"
        " WHERE spending.key = requests.key)), 0), 6) AS cost_usd"
        f" FROM requests WHERE {SHOWN} GROUP BY model ORDER BY rows DESC, model"
    )


def files(reader: Reader) -> int:
    """Return how many outputs are on disk."""
    (row,) = reader.query("SELECT COUNT(*) AS n FROM outputs WHERE path IS NOT NULL")
    return int(row["n"])


def pictures_since(reader: Reader, at: str, count: int) -> list[str]:
    """Return the paths of the first pictures that were saved at a time or later, by their rows."""
    found = reader.query(
        "SELECT path FROM outputs JOIN requests USING (key) WHERE kind = 'image'"
        " AND path IS NOT NULL AND saved_at >= ? ORDER BY position, n LIMIT ?",
        at,
        count,
    )
    return [row["path"] for row in found if is_path(row["path"])]


def saved_bytes(reader: Reader) -> tuple[int, int]:
    """Return how many rows have files on disk, and the bytes of all of them.

    A size that no file has, in a journal from somebody else, does not count.
    """
    (row,) = reader.query(
        # As a float, which does not overflow.
        "SELECT COUNT(DISTINCT key) AS n, COALESCE(SUM(bytes * 1.0), 0) AS size FROM outputs"
        f" WHERE path IS NOT NULL AND bytes BETWEEN 0 AND {1 << 50}"
    )
    return int(row["n"]), int(row["size"])


def runs(reader: Reader) -> list[dict[str, Any]]:
    """Return run, started_at, process, ended_at, exit_code and ending of every run, in order."""
    columns = "id AS run, started_at, process, ended_at, exit_code, ending"
    return list(reader.query(f"SELECT {columns} FROM runs ORDER BY id"))


def last_events_by_run(reader: Reader) -> dict[int | None, str]:
    """Return when each run wrote its last event; it looks at every event."""
    found = reader.query("SELECT run, MAX(at) AS at FROM events GROUP BY run")
    return {row["run"]: row["at"] for row in found}


def first_and_last_event(reader: Reader) -> tuple[str, str] | None:
    """Return when the first and the last event happened; None if there is none."""
    (row,) = reader.query(
        "SELECT (SELECT at FROM events ORDER BY seq LIMIT 1) AS first,"
        " (SELECT at FROM events ORDER BY seq DESC LIMIT 1) AS last"
    )
    return None if row["first"] is None else (row["first"], row["last"])


def activity(reader: Reader, *, by_minute: bool) -> Iterator[tuple[str, str, int]]:
    """Yield (time, kind, count) of what happened; kind: submitted, completed or throttled.

    by_minute: the time is the minute, not the second.
    """
    stamp = "SUBSTR(at, 1, 16) || ':00Z'" if by_minute else "SUBSTR(at, 1, 19) || 'Z'"
    found = reader.query(
        f"SELECT {stamp} AS at, CASE event WHEN 'accepted' THEN"
        " 'submitted' WHEN 'done' THEN 'completed' ELSE 'throttled' END AS what, COUNT(*) AS n"
        f" FROM events WHERE event IN ('accepted', 'done') OR {THROTTLED} GROUP BY 1, 2"
    )
    return ((row["at"], row["what"], row["n"]) for row in found)
