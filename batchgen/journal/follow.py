"""What a watcher reads of a batch, look after look, without costing its run anything.

Each look reads what is new since the one before: the events of a long night are read once.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from batchgen.clock import from_iso, to_iso
from batchgen.core.states import RunEvent, State
from batchgen.journal.database import marks
from batchgen.journal.reader import Reader
from batchgen.journal.schema import THROTTLED

MINUTE_S = 60.0
# Runs that began so long before the latest one, or later, are of the same night.
NIGHT_S = 12 * 3600.0
QUEUE = "queue"  # the name under which `set_meta` keeps QUEUE_FIELDS and their time
INSTANCES = "instances"  # the name under which it keeps what works on which request
MOST_PROBLEMS = 5
MOST_IN_A_LOOK = 20_000  # events; what a first look leaves, the next ones read
# Where a row does not go on by itself.
_TROUBLE = (State.FAILED, State.UNKNOWN, State.CANCELLED)


@dataclass
class Follower:
    """The events of the latest run, as far as they were read.

    run: its number. submitted, throttled: how many. minute: when the submissions of the last minute
    left, in seconds since the epoch. problems: the last few, each with at, id, state and why, the
    latest last. changes: what people asked of the run, each with at and what.
    night: when the first run of the night began, in seconds since the epoch; None where the run is
    the only one. before: how many its earlier runs submitted.
    """

    run: int | None = None
    submitted: int = 0
    throttled: int = 0
    minute: deque[float] = field(default_factory=deque)
    problems: deque[dict[str, str]] = field(default_factory=lambda: deque(maxlen=MOST_PROBLEMS))
    changes: deque[dict[str, str]] = field(default_factory=lambda: deque(maxlen=1))
    night: float | None = None
    before: int = 0
    _seq: int = 0
    # Of several machines, one whose commit took longer is seen after later events: so those since
    # the look before the last are looked at twice.
    _from: int = 0
    _seen: frozenset[int] = frozenset()

    def look(self, reader: Reader, now: float) -> None:
        """Read on. now: seconds since the epoch. Raises StorageDamaged or one of its subclasses."""
        run = reader.last_run_number()
        if run != self.run:
            self._begin(reader, run)
        before = self._seq
        found = self._new_events(reader)
        for event in found:
            if event["seq"] not in self._seen:
                self._add(event)
        self._seen = frozenset(event["seq"] for event in found)
        self._from = before if len(found) < MOST_IN_A_LOOK else self._seq
        while self.minute and self.minute[0] < now - MINUTE_S:
            self.minute.popleft()

    def _begin(self, reader: Reader, run: int | None) -> None:
        """Begin with the first event of a run: older ones are not looked at."""
        self.run, self.submitted, self.throttled = run, 0, 0
        self.minute.clear()
        started = (reader.last_run() or {}).get("started_at") or ""
        self._seq = self._from = max(self._seq, _last_event_before(reader, started))
        self._seen = frozenset()
        self.night, self.before = None, 0
        if started:
            self._look_back(reader, started)

    def _look_back(self, reader: Reader, started: str) -> None:
        """Count what the runs of the night before this one have submitted, once."""
        since = to_iso(from_iso(started) - NIGHT_S)
        (found,) = reader.query(
            "SELECT MIN(started_at) AS first FROM runs WHERE started_at >= ? AND started_at < ?",
            *(since, started),
        )
        if found["first"] is not None:
            self.night = from_iso(found["first"])
            (sent,) = reader.query(
                "SELECT COUNT(*) AS n FROM events WHERE event = 'send' AND seq > ? AND seq <= ?",
                *(_last_event_before(reader, found["first"]), self._seq),
            )
            self.before = sent["n"]

    def _new_events(self, reader: Reader) -> list[dict[str, Any]]:
        found = reader.query(
            'SELECT seq, at, event, detail, "to" AS known_state, '
            f"{THROTTLED} AS slow, (SELECT id FROM requests WHERE requests.key = events.key)"
            " AS known_id FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            self._from,
            MOST_IN_A_LOOK,
        )
        return list(found)

    def _add(self, event: dict[str, Any]) -> None:
        self._seq = max(self._seq, event["seq"])
        self.throttled += bool(event["slow"])
        if event["event"] == "send":
            self.submitted += 1
            self.minute.append(from_iso(event["at"]))
        elif event["known_state"] in _TROUBLE:
            row = event["known_id"] or ""
            why = event["detail"] or ""
            self.problems.append(
                {"at": event["at"], "id": row, "state": event["known_state"], "why": why}
            )
        elif event["event"] in tuple(RunEvent):
            what = f"{event['event']} {event['detail'] or ''}".rstrip()
            self.changes.append({"at": event["at"], "what": what})


def _last_event_before(reader: Reader, at: str) -> int:
    """Return the number of the last event before a time of the journal; 0 if there is none."""
    found = reader.query("SELECT seq FROM events WHERE at < ? ORDER BY seq DESC LIMIT 1", at)
    return max((row["seq"] for row in found), default=0)


def instances(reader: Reader) -> list[dict[str, Any]]:
    """Return the requests under way that an instance was seen at work on, the oldest first.

    Each with the row's id, the instance's, since when, and the seconds that it waited before.
    """
    kept = reader.get_meta(INSTANCES)
    if not kept:
        return []
    found = reader.query(
        f"SELECT key, id FROM requests WHERE state = ? AND key IN ({marks(kept)})"
        " ORDER BY submitted_at",
        State.SUBMITTED,
        *kept,
    )
    names = {"instance": "instance", "since": "since", "waited_seconds": "waited"}
    return [
        {"id": row["id"], **{name: kept[row["key"]][key] for name, key in names.items()}}
        for row in found
    ]


def in_flight_since(reader: Reader) -> list[float]:
    """Return when each request without a result was sent, in seconds since the epoch, ascending."""
    found = reader.query(
        "SELECT submitted_at FROM requests WHERE state = ? AND submitted_at IS NOT NULL"
        " ORDER BY submitted_at",
        State.SUBMITTED,
    )
    return [from_iso(row["submitted_at"]) for row in found]
