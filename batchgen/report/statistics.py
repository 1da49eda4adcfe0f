"""The numbers that a report tells of its batch as a whole."""

import hashlib
from typing import Any

from batchgen.clock import from_iso
from batchgen.journal import command_table
from batchgen.journal import totals as journal_totals
from batchgen.journal.reader import Reader
from batchgen.report.timeline import ActivityCount, RunChange, RunStop

SECONDS_SHOWN = 7200  # the longest batch of which the timeline is told by the second


def totals(reader: Reader) -> dict[str, Any]:
    """Return the sums over all runs and rows.

    duration_seconds: how long the runs took together. pictures: outputs on disk.
    pictures_per_hour: None where the runs took no time.
    models: model, rows, saved and cost_usd of each model.
    """
    duration, files = seconds_run(reader), journal_totals.files(reader)
    return {
        "duration_seconds": round(duration, 1),
        "pictures": files,
        "pictures_per_hour": round(files / duration * 3600, 1) if duration else None,
        "models": list(journal_totals.by_model(reader)),
    }


def seconds_run(reader: Reader) -> float:
    """Return how long all runs took together; a run that was killed ended with its last event."""
    runs = journal_totals.runs(reader)
    was_killed = any(run["ended_at"] is None for run in runs)
    last_events = journal_totals.last_events_by_run(reader) if was_killed else {}
    total = 0.0
    for run in runs:
        ended_at = run["ended_at"] or last_events.get(run["run"])
        if ended_at:  # and a clock may have been set back
            total += max(from_iso(ended_at) - from_iso(run["started_at"]), 0.0)
    return total


def activity(reader: Reader) -> list[ActivityCount]:
    """Return what happened when: by the second, or by the minute where it took over two hours."""
    span = journal_totals.first_and_last_event(reader)
    if span is None:
        return []
    first, last = map(from_iso, span)
    found = journal_totals.activity(reader, by_minute=last - first > SECONDS_SHOWN)
    return [ActivityCount(from_iso(at), kind, count) for at, kind, count in found]


def run_stops(reader: Reader) -> list[RunStop]:
    """Return when runs ended before they were done, and why."""
    return [
        RunStop(from_iso(run["ended_at"]), run["ending"] or "")
        for run in journal_totals.runs(reader)
        if run["ended_at"] is not None and run["exit_code"] not in (None, 0, 1)
    ]


def run_changes(reader: Reader) -> list[RunChange]:
    """Return what people asked of the runs, and when."""
    return [
        RunChange(from_iso(at), f"{event} {detail}".rstrip())
        for _, at, event, detail in command_table.history(reader)
    ]


def changed_at(reader: Reader) -> str | None:
    """Return when a run or a command last wrote to the journal; None if none did."""
    run = reader.last_run() or {}
    _, last_event = journal_totals.first_and_last_event(reader) or ("", "")
    return max(run.get("ended_at") or run.get("started_at") or "", last_event) or None


def batch_id(reader: Reader) -> str:
    """Return 16 hexadecimal digits that name the batch and stay when its folder is moved."""
    first = [f"{run['started_at']}\n{run['process']}" for run in journal_totals.runs(reader)[:1]]
    return hashlib.sha256("".join(first).encode()).hexdigest()[:16]
