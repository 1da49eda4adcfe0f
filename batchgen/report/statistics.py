"""What a report tells of its batch as a whole: counted by SQLite, in one pass each.

`status` asks for none of it, and so need not wait for a look at every row.
"""

import hashlib
from typing import Any

from batchgen.clock import from_iso
from batchgen.journal.reader import SHOWN, Reader
from batchgen.report.timeline import ActivityCount, RunStop

# The events that a timeline shows; `answers.py` calls a 429 THROTTLED.
TIMELINE_KINDS = {"accepted": "submitted", "done": "completed", "returned": "throttled"}
THROTTLED = "rate limit"


def totals(reader: Reader) -> dict[str, Any]:
    """Return the sums over all runs and rows.

    duration_seconds: how long the runs took. pictures: outputs on disk; per hour of these runs,
    None where they took no time.
    """
    duration, files = seconds_run(reader), count_files(reader)
    return {
        "duration_seconds": round(duration, 1),
        "pictures": files,
        "pictures_per_hour": round(files / duration * 3600, 1) if duration else None,
        "models": model_totals(reader),
    }


def model_totals(reader: Reader) -> list[dict[str, Any]]:
    """How many rows each model has, how many are saved, and what it cost in USD."""
    return list(
        reader.query(
            "SELECT model, COUNT(*) AS rows, SUM(state = 'saved') AS saved,"
            " ROUND(COALESCE(SUM((SELECT SUM(usd) FROM spending"
            " WHERE spending.key = requests.key)), 0), 6) AS cost_usd"
            f" FROM requests WHERE {SHOWN} GROUP BY model ORDER BY rows DESC, model"
        )
    )


def count_files(reader: Reader) -> int:
    """How many outputs are on disk."""
    (row,) = reader.query("SELECT COUNT(*) AS n FROM outputs WHERE path IS NOT NULL")
    n: int = row["n"]
    return n


def seconds_run(reader: Reader) -> float:
    """How long all runs took together; one that was killed, until its last event."""
    runs = list(reader.query("SELECT id, started_at, ended_at FROM runs"))
    last = {}
    if any(run["ended_at"] is None for run in runs):  # looks at every event
        found = reader.query("SELECT run, MAX(at) AS at FROM events GROUP BY run")
        last = {row["run"]: row["at"] for row in found}
    total = 0.0
    for run in runs:
        ended_at = run["ended_at"] or last.get(run["id"])
        if ended_at:  # and a clock may have been set back
            total += max(from_iso(ended_at) - from_iso(run["started_at"]), 0.0)
    return total


def activity(reader: Reader) -> list[ActivityCount]:
    """What happened when: by the second, or the minute where it took more than two hours."""
    ends = list(
        reader.query(
            "SELECT at FROM events WHERE seq IN"
            " ((SELECT MIN(seq) FROM events), (SELECT MAX(seq) FROM events))"
        )
    )
    if not ends:
        return []
    span = from_iso(ends[-1]["at"]) - from_iso(ends[0]["at"])
    length, rest = (16, ":00Z") if span > 7200 else (19, "Z")  # of 2026-11-22T21:30:05
    found = reader.query(
        f"SELECT SUBSTR(at, 1, {length}) AS at, event, COUNT(*) AS n FROM events"
        " WHERE event IN ('accepted', 'done') OR (event = 'returned' AND detail = ?)"
        " GROUP BY 1, 2",
        THROTTLED,
    )
    return [
        ActivityCount(from_iso(row["at"] + rest), TIMELINE_KINDS[row["event"]], row["n"])
        for row in found
    ]


def run_stops(reader: Reader) -> list[RunStop]:
    """When runs ended before they were done, and why."""
    found = reader.query(
        "SELECT ended_at, ending FROM runs WHERE ended_at IS NOT NULL"
        " AND exit_code NOT IN (0, 1) ORDER BY id"
    )
    return [RunStop(from_iso(row["ended_at"]), row["ending"] or "") for row in found]


def changed_at(reader: Reader) -> str | None:
    """When a run or a command last wrote something down; None if never."""
    (row,) = reader.query(
        "SELECT MAX(COALESCE((SELECT COALESCE(ended_at, started_at) FROM runs"
        " ORDER BY id DESC LIMIT 1), ''),"
        " COALESCE((SELECT at FROM events ORDER BY seq DESC LIMIT 1), '')) AS at"
    )
    at: str = row["at"]
    return at or None


def batch_id(reader: Reader) -> str:
    """A name for the batch, 16 hexadecimal digits, that stays when its folder is moved."""
    first = next(reader.query("SELECT started_at, process FROM runs ORDER BY id LIMIT 1"), {})
    return hashlib.sha256("\n".join(map(str, first.values())).encode()).hexdigest()[:16]
