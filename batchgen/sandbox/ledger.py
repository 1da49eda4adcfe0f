"""The database of the sandbox: every POST that arrived whole, and every accepted request.

An acceptance is stored before its answer leaves, so that the ledger proves what was billed. With a
folder it survives kill -9 of the sandbox (WAL, synchronous=OFF), but not a power cut.
"""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from batchgen.files import refuse_linked_database
from batchgen.sandbox.data_uris import noted
from batchgen.sandbox.deployments.hardware import USD_PER_HOUR, USUAL_HARDWARE
from batchgen.sandbox.queue import Instance, StartedRequest

FILE_NAME = "sandbox.db"
DEPLOYMENTS_PREFIX = "deployments/"  # before a deployment's id, where a model has its own id

SCHEMA = """
CREATE TABLE IF NOT EXISTS accepted (
    seq INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    input TEXT NOT NULL,
    input_sha256 TEXT NOT NULL,
    price REAL NOT NULL,
    accepted_at REAL NOT NULL,
    seconds REAL NOT NULL,
    started_at REAL,
    finish_at REAL,
    cancelled_at REAL,
    outcome TEXT
);
CREATE TABLE IF NOT EXISTS posts (
    n INTEGER PRIMARY KEY,
    arrived_at REAL NOT NULL,
    model TEXT NOT NULL,
    input_sha256 TEXT NOT NULL,
    answer TEXT NOT NULL,
    request_id TEXT
);
CREATE INDEX IF NOT EXISTS posts_by_input ON posts (input_sha256);
CREATE TABLE IF NOT EXISTS work (
    request_id TEXT PRIMARY KEY,
    deployment TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    workflow TEXT NOT NULL,
    instance_id TEXT,
    number INTEGER
);
CREATE INDEX IF NOT EXISTS work_by_sha256 ON work (sha256);
CREATE TABLE IF NOT EXISTS instances (
    instance_id TEXT PRIMARY KEY,
    deployment TEXT NOT NULL,
    hardware TEXT NOT NULL,
    usd_per_second REAL NOT NULL,
    woke_at REAL NOT NULL,
    free_at REAL NOT NULL,
    idle_seconds REAL,
    down_at REAL,
    requests INTEGER NOT NULL,
    serving TEXT NOT NULL
);
"""


def canonical_input(given: Any) -> str:
    """Return the canonical JSON of an input: sorted names, no spaces, no escaped letters."""
    return json.dumps(given, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(given: Any) -> str:
    return sha256(canonical_input(noted(given)).encode(errors="replace")).hexdigest()


def _body(model: str, given: Any) -> Any:
    """Return the body that a client sent for an input. model: by its name in the ledger.

    Clients keep the input of a deployment by `NODE.INPUT`, as `{"6.text": …}`.
    """
    if not model.startswith(DEPLOYMENTS_PREFIX) or not isinstance(given, dict):
        return given
    if not all("." in place for place in given):
        return given
    nodes: dict[str, Any] = {}
    for place, value in given.items():
        node, _, name = place.partition(".")
        nodes.setdefault(node, {"inputs": {}})["inputs"][name] = value
    return {"overrides": nodes}


class LedgerRow(NamedTuple):
    """A row of `accepted`. Times are Unix seconds; started_at and finish_at are None in the queue,
    and finish_at may lie ahead. outcome: the fault decided for its result, as JSON, or None."""

    seq: int
    request_id: str
    model: str
    input: str
    input_sha256: str
    price: float
    accepted_at: float
    seconds: float
    started_at: float | None
    finish_at: float | None
    cancelled_at: float | None
    outcome: str | None


class LedgerPost(NamedTuple):
    """A POST that arrived whole. answer: the HTTP status, or the fault that struck."""

    arrived_at: float
    model: str
    input_sha256: str
    answer: str
    request_id: str | None = None


class LedgerWork(NamedTuple):
    """What a request to a deployment does, beside its row of `accepted`.

    workflow: the whole one, without the content of its files, as JSON. instance_id, number: where
    it ran, and the how-manieth there; None before it has an instance.
    """

    request_id: str
    deployment: str
    sha256: str
    workflow: str
    instance_id: str | None = None
    number: int | None = None


class LedgerInstance(NamedTuple):
    """An instance and what it costs by the second; see `queue.Instance`. down_at may lie ahead."""

    instance_id: str
    deployment: str
    hardware: str
    usd_per_second: float
    woke_at: float
    free_at: float
    idle_seconds: float | None
    down_at: float | None
    requests: int
    serving: str


def has_accepted(folder: Path) -> bool:
    """Say whether a sandbox with this folder has accepted a request, as far as can be read."""
    path = folder / FILE_NAME
    if not path.exists():
        return False
    refuse_linked_database(path)
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT 1 FROM accepted LIMIT 1").fetchone() is not None
    return False


def requests_for(folder: Path, given: Sequence[tuple[str, Any]]) -> list[list[str]]:
    """Return the accepted requests for each model and input, the first one first.

    folder: of the sandbox; one without a ledger has accepted nothing. given: model and input of
    rows, as a client's journal has them. Raises sqlite3.Error.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return [[] for _ in given]
    refuse_linked_database(path)
    find = "SELECT request_id FROM posts WHERE input_sha256=? AND model=? AND request_id NOT NULL"
    with closing(sqlite3.connect(path)) as db:
        return [
            [
                id
                for (id,) in db.execute(f"{find} ORDER BY n", (_digest(_body(model, value)), model))
            ]
            for model, value in given
        ]


class Ledger:
    """folder: where `sandbox.db` lies; None keeps everything in memory."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_linked_database(folder / FILE_NAME)
        where = ":memory:" if folder is None else str(folder / FILE_NAME)
        self.db = sqlite3.connect(where, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.executescript(SCHEMA)
        self._remember()

    def _remember(self) -> None:
        self.posts: int = self.db.execute("SELECT count(*) FROM posts").fetchone()[0]
        sums = "count(*), total(price) FILTER (WHERE cancelled_at IS NULL), coalesce(max(seq), 0)"
        found: tuple[int, float, int] = self.db.execute(f"SELECT {sums} FROM accepted").fetchone()
        self.accepted, self.billed, self.last = found

    def refuse(self, post: LedgerPost) -> None:
        """Store a POST that was not accepted."""
        self.db.execute("INSERT INTO posts VALUES (NULL,?,?,?,?,?)", post)
        self.posts += 1

    def accept(
        self,
        row: LedgerRow,
        post: LedgerPost,
        started: Sequence[StartedRequest],
        work: LedgerWork | None = None,
    ) -> None:
        """Store an accepted request, its POST, and what started then, in one transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO posts VALUES (NULL,?,?,?,?,?)", post)
        self.db.execute("INSERT INTO accepted VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row)
        if work is not None:
            self.db.execute("INSERT INTO work VALUES (?,?,?,?,?,?)", work)
        self._begin(started)
        self.db.execute("COMMIT")
        self.posts += 1
        self.accepted += 1
        self.billed += row.price
        self.last = row.seq

    def begin(self, started: Sequence[StartedRequest]) -> None:
        """Store when these requests started and will finish."""
        if started:
            self.db.execute("BEGIN IMMEDIATE")
            self._begin(started)
            self.db.execute("COMMIT")

    def _begin(self, started: Sequence[StartedRequest]) -> None:
        self.db.executemany(
            "UPDATE accepted SET started_at=?, finish_at=? WHERE request_id=?",
            [(s.started_at, s.finish_at, s.request_id) for s in started],
        )
        for one in started:
            if one.instance is not None:
                self.store_instance(one.instance)
                ran = "UPDATE work SET instance_id=?, number=? WHERE request_id=?"
                self.db.execute(ran, (one.instance.id, one.number, one.request_id))

    def store_instance(self, of: Instance) -> None:
        """Store an instance as it is now, with its price by the second."""
        per_second = USD_PER_HOUR.get(of.hardware, USD_PER_HOUR[USUAL_HARDWARE]) / 3600
        row = LedgerInstance(
            of.id, of.deployment, of.hardware, per_second, of.woke_at, of.free_at,
            of.idle_seconds, of.down_at, of.requests, of.serving,
        )  # fmt: skip
        self.db.execute("INSERT OR REPLACE INTO instances VALUES (?,?,?,?,?,?,?,?,?,?)", row)

    def store_cancellation(self, row: LedgerRow, now: float) -> None:
        """Store that a request was cancelled; its price is refunded."""
        update = "UPDATE accepted SET cancelled_at=? WHERE request_id=?"
        self.db.execute(update, (now, row.request_id))
        self.billed -= row.price

    def decide(self, request_id: str, outcome: str) -> None:
        """Store the fault of a result, so that every question gets the same one."""
        update = "UPDATE accepted SET outcome=? WHERE request_id=?"
        self.db.execute(update, (outcome, request_id))

    def row(self, request_id: str) -> LedgerRow | None:
        select = "SELECT * FROM accepted WHERE request_id=?"
        found = self.db.execute(select, (request_id,)).fetchone()
        return None if found is None else LedgerRow(*found)

    def work(self, request_id: str) -> LedgerWork:
        """Return what a request to a deployment does."""
        select = "SELECT * FROM work WHERE request_id=?"
        return LedgerWork(*self.db.execute(select, (request_id,)).fetchone())

    def was_done(self, deployment: str, sha256: str) -> bool:
        """Whether the same work was accepted before, and neither cancelled nor failed."""
        done = (
            "SELECT 1 FROM work JOIN accepted USING (request_id) WHERE sha256=? AND deployment=?"
            " AND cancelled_at IS NULL AND coalesce(outcome, '') NOT LIKE '[\"failed%' LIMIT 1"
        )
        return self.db.execute(done, (sha256, deployment)).fetchone() is not None

    def instances(self) -> list[LedgerInstance]:
        """Return every instance there was, in the order in which they woke."""
        select = "SELECT * FROM instances ORDER BY woke_at, rowid"
        return [LedgerInstance(*row) for row in self.db.execute(select)]

    def instances_of(self, deployment: str, now: float) -> list[Instance]:
        """Return the instances of a deployment that are up."""
        return [
            Instance(
                row.instance_id, row.deployment, row.hardware, row.woke_at, row.free_at,
                row.idle_seconds, row.requests, row.serving,
            )
            for row in self.instances()
            if row.deployment == deployment and (row.down_at is None or row.down_at > now)
        ]  # fmt: skip

    def instances_usd(self, now: float) -> float:
        """Return what all instances cost by `now`."""
        up = "max(min(coalesce(down_at, ?1), ?1) - woke_at, 0)"
        cost = f"SELECT total({up} * usd_per_second) FROM instances"
        found: float = self.db.execute(cost, (now,)).fetchone()[0]
        return found

    def previous_id(self, seq: int) -> str | None:
        """Return the request_id before the one of this `seq`; None for the first."""
        before = "SELECT request_id FROM accepted WHERE seq<? ORDER BY seq DESC LIMIT 1"
        found = self.db.execute(before, (seq,)).fetchone()
        return found[0] if found else None

    def posts_of(self, input_sha256: str) -> int:
        """Return how often this input has arrived."""
        count = "SELECT count(*) FROM posts WHERE input_sha256=?"
        found: int = self.db.execute(count, (input_sha256,)).fetchone()[0]
        return found

    def posts_before(self, row: LedgerRow) -> int:
        """Return how often a row's input had arrived when the row was accepted."""
        own = "SELECT n FROM posts WHERE input_sha256=?1 AND request_id=?2"
        count = f"SELECT count(*) FROM posts WHERE input_sha256=?1 AND n < ({own})"
        found: int = self.db.execute(count, (row.input_sha256, row.request_id)).fetchone()[0]
        return found

    def unfinished(self, slots: int) -> tuple[list[float], list[LedgerRow]]:
        """Return the latest `slots` finish times, and the requests in the queue, in order."""
        latest = (
            "SELECT finish_at FROM accepted WHERE finish_at>0"
            " AND request_id NOT IN (SELECT request_id FROM work) ORDER BY 1 DESC LIMIT ?"
        )
        ends = [end for (end,) in self.db.execute(latest, (slots,))]
        queued = (
            "SELECT * FROM accepted WHERE finish_at IS NULL AND cancelled_at IS NULL ORDER BY seq"
        )
        return ends, [LedgerRow(*found) for found in self.db.execute(queued)]

    def rows(self) -> list[LedgerRow]:
        return [LedgerRow(*row) for row in self.db.execute("SELECT * FROM accepted ORDER BY seq")]

    def log(self) -> list[dict[str, Any]]:
        """Return every POST in the order of arrival, as names and values of LedgerPost, and `n`."""
        found = self.db.execute("SELECT * FROM posts ORDER BY n")
        return [dict(zip(("n", *LedgerPost._fields), entry, strict=True)) for entry in found]

    def answers(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT answer, count(*) FROM posts GROUP BY 1 ORDER BY 1"))

    def states(self, now: float) -> dict[str, int]:
        """Return the number of requests by state at `now`."""
        state = (
            "CASE WHEN cancelled_at IS NOT NULL THEN 'cancelled' WHEN finish_at IS NULL THEN"
            " 'in_queue' WHEN started_at > ?1 THEN 'in_queue' WHEN finish_at > ?1 THEN"
            " 'in_progress' ELSE 'completed' END"
        )
        return dict(self.db.execute(f"SELECT {state}, count(*) FROM accepted GROUP BY 1", (now,)))

    def wipe(self) -> None:
        self.db.executescript(
            "DELETE FROM accepted; DELETE FROM posts; DELETE FROM work; DELETE FROM instances;"
        )
        self._remember()

    def close(self) -> None:
        self.db.close()
