"""batch.db: what happened to every row. One writer; a move and its event are one transaction.

Moves of state use the standard sqlite3 in autocommit mode with transactions of our own;
sqlite-utils makes the tables and reads them (faults.md, "Where it is written, in order").
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from batchgen.clock import from_iso
from batchgen.core.budget import ActiveLimit, committed_cost, first_exceeded
from batchgen.core.prices import Price
from batchgen.core.states import Event, State, next_state
from batchgen.errors import StoppedEarly, StorageDamaged
from batchgen.journal import stored_values
from batchgen.journal.database import ALWAYS_COUNTED, Database, not_ours, storage_errors

# Moves that leave a row's latest cost as it was, or, by a person's word, where it went.
EVENTS_WITHOUT_COST_CHANGE = {
    Event.ACCEPTED,
    Event.OUTCOME_UNKNOWN,
    Event.SAVED,
    Event.RETRY,
    Event.WRITTEN_OFF,
}
NOTHING_TAKEN = {Event.NOT_ACCEPTED, Event.THROTTLED}


class CostLimitReached(StoppedEarly):
    """The next POST could pass --max-cost, so it was not sent."""


class RequestIdInUse(StoppedEarly):
    """The API handed out a request_id that belongs to another row."""


@dataclass(frozen=True, slots=True)
class Request:
    """A row as the engine sees it; `submitted_at` in seconds since the epoch."""

    key: str
    id: str
    name: str
    source: str
    model: str
    input: str
    state: State
    request_id: str | None
    attempts: int
    price: float | None
    submitted_at: float | None
    position: int
    error: str | None

    @classmethod
    def read(cls, row: list[Any]) -> "Request":
        """row: the columns of the journal in the order of the fields."""
        values = [*row]
        values[_STATE] = State(row[_STATE])
        values[_AT] = row[_AT] and from_iso(row[_AT])
        return cls(*values)


_NAMES = [field.name for field in fields(Request)]
_FIELDS, _STATE, _AT = ", ".join(_NAMES), _NAMES.index("state"), _NAMES.index("submitted_at")


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a request produced; `path` is relative to the batch folder, None until saved."""

    key: str
    n: int
    url: str
    path: str | None


class Journal(Database):
    """The moves of rows, one method for each, and what the engine asks."""

    # -- moves ------------------------------------------------------------------------------

    def transition(
        self, key: str, old: State, event: Event, detail: str = "", **columns: str | float | None
    ) -> None:
        """Move one row inside a transaction of the caller's; `columns` are set along with it."""
        new = next_state(old, event)
        names = "".join(f", {name} = :{name}" for name in columns)
        moved = self.db.execute(
            f"UPDATE requests SET state = :new{names} WHERE key = :key AND state = :old"
            " RETURNING price, cost, attempts, request_id, submitted_at, listed",
            {"new": new, "key": key, "old": old, **columns},
        ).fetchall()
        if len(moved) != 1:
            raise StorageDamaged(
                f"{self.path}: row {key} is not {old}, as this run left it. Nothing was lost.",
                "Something else wrote to the journal. Run the same command again to go on.",
            )
        ((price, cost, attempts, request_id, at, listed),) = moved
        if event in NOTHING_TAKEN:
            self.set_cost(key, attempts + 1, at or "", 0.0)
        elif event not in EVENTS_WITHOUT_COST_CHANGE:
            usd = committed_cost(new, price, cost, request_id)
            self.set_cost(key, attempts, at or self.now(), usd)
        self.db.execute(
            'INSERT INTO events (at, run, key, event, "from", "to", attempt, request_id, detail)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.now(), self.run, key, event, old, new, attempts, request_id, detail),
        )
        self.counts[old] -= listed or old in ALWAYS_COUNTED
        self.counts[new] += listed or new in ALWAYS_COUNTED

    def record_submitting(
        self, row: Request, price: float | None, limits: list[ActiveLimit], memory: dict[str, Any]
    ) -> None:
        """W1: the next thing that happens is the paid POST. Raises CapReached.

        price: USD reserved for it; None where it is unknown.
        memory: what must be as durable as the intent, such as a new rate.
        """
        if cap := first_exceeded(self.committed_usd, price or 0.0, limits):
            raise CostLimitReached(
                f"The next request costs ${price or 0:.2f} and would pass the limit of"
                f" ${cap.usd:.2f} for {cap.words} (${self.committed_usd(cap.since):.2f} is spent or"
                " reserved). It was not sent.",
                f"Raise {cap.option} to go on"
                + (", or run again when the next day or month begins." if cap.since else "."),
            )
        with self.transaction():
            now = self.now()
            self.transition(
                row.key,
                State.PENDING,
                Event.SUBMIT,
                price=price,
                cost=None,
                submitted_at=now,
                completed_at=None,
                api_status=None,
                attempts=row.attempts + 1,
            )
            self.set_meta(memory)

    def record_accepted(self, row: Request, request_id: str, note: str = "") -> None:
        """W2: the first act once the id is read. Raises IdInUse if it is another row's already."""
        with self.transaction():
            self._refuse_known_id(row, request_id)
            self.transition(row.key, State.SUBMITTING, Event.ACCEPTED, note, request_id=request_id)

    def _refuse_known_id(self, row: Request, request_id: str) -> None:
        if self.fetch_one("SELECT 1 FROM requests WHERE request_id = ?", request_id):
            raise RequestIdInUse(
                f"{row.source}: row {row.id!r}: {request_id} is another row's request already."
                " It may have been billed; nothing more is submitted.",
                "Look for it in your account before you send it again.",
            )

    def record_not_accepted(
        self, row: Request, event: Event, code: int | None, reason: str
    ) -> None:
        """Record any outcome of a POST but ACCEPTED.

        row: as it was before the intent.
        """
        columns: dict[str, Any] = {}
        if event in NOTHING_TAKEN:  # so it counts as no attempt
            columns = {"submitted_at": None, "attempts": row.attempts}
        else:
            columns = {"error_code": code, "error": reason}
        with self.transaction():
            self.transition(row.key, State.SUBMITTING, event, reason, **columns)

    def record_completed(
        self, row: Request, api_status: str, urls: Iterable[str], cost: float | None, raw: str
    ) -> None:
        """W3: the result and its URLs, before anything is downloaded."""
        with self.transaction():
            self.transition(
                row.key,
                State.SUBMITTED,
                Event.COMPLETED,
                completed_at=self.now(),
                api_status=api_status,
                cost=cost,
                result=raw,
                error=None,
                error_code=None,
            )
            self._set_urls(row.key, urls)

    def replace_urls(self, row: Request, urls: Iterable[str], raw: str) -> None:
        """The result was asked for again: its URLs replace those that no longer work."""
        with self.transaction():
            self.db.execute("UPDATE requests SET result = ? WHERE key = ?", (raw, row.key))
            self._set_urls(row.key, urls)

    def _set_urls(self, key: str, urls: Iterable[str]) -> None:
        for n, url in enumerate(urls, 1):
            self.db.execute(
                "INSERT INTO outputs (key, n, url) VALUES (?, ?, ?)"
                " ON CONFLICT (key, n) DO UPDATE SET url = excluded.url",
                (key, n, url),
            )

    def record_ended(
        self, row: Request, event: Event, code: int | None, reason: str, **columns: Any
    ) -> None:
        """An accepted request ended without a saved output: FAILED or CANCELLED."""
        with self.transaction():
            self.transition(
                row.key,
                self.state_of(row.key),
                event,
                reason,
                error_code=code,
                error=reason,
                **columns,
            )

    def set_error(self, row: Request, reason: str) -> None:
        """Keep why a row is where it is, without moving it."""
        with self.transaction():
            self.db.execute("UPDATE requests SET error = ? WHERE key = ?", (reason, row.key))

    def record_file(self, output: Output, columns: dict[str, Any]) -> None:
        """Half of W4: one of several files of a request is on disk."""
        with self.transaction():
            self._update_output(output.key, output.n, columns)

    def record_saved(self, row: Request, output: Output, columns: dict[str, Any]) -> None:
        """W4: the last file of a request is on disk, checked, and so is its name."""
        with self.transaction():
            self._update_output(output.key, output.n, columns)
            self.transition(
                row.key,
                State.COMPLETED,
                Event.SAVED,
                saved_at=self.now(),
                error=None,
                error_code=None,
            )

    def _update_output(self, key: str, n: int, columns: dict[str, Any]) -> None:
        names = ", ".join(f"{name} = :{name}" for name in columns)
        self.db.execute(
            f"UPDATE outputs SET {names} WHERE key = :key AND n = :n",
            {**columns, "key": key, "n": n},
        )

    def record_attached(self, row: Request, request_id: str) -> None:
        """A person found the request of an unknown row. Raises IdInUse if it is another row's."""
        with self.transaction():
            self._refuse_known_id(row, request_id)
            self.transition(
                row.key,
                State.UNKNOWN,
                Event.ATTACHED,
                request_id,
                request_id=request_id,
                error=None,
            )

    def record_written_off(self, row: Request) -> None:
        """A person gave an unknown row up; what it may have cost stays counted."""
        reason = "written off: it may have been billed"
        with self.transaction():
            self.transition(row.key, State.UNKNOWN, Event.WRITTEN_OFF, reason, error=reason)

    def replace_file(self, key: str, n: int, columns: dict[str, Any]) -> None:
        """A saved file was lost and downloaded again, and is not the same to the byte."""
        with self.transaction():
            self._update_output(key, n, columns)

    def record_retry(self, key: str, detail: str) -> None:
        """A person asked for this row to be sent again; what it cost so far stays counted."""
        with self.transaction():
            self.transition(
                key,
                self.state_of(key),
                Event.RETRY,
                detail,
                request_id=None,
                cost=None,
                price=None,
            )
            self.db.execute("DELETE FROM outputs WHERE key = ?", (key,))

    # -- what the engine asks -----------------------------------------------------------------

    def next_pending(
        self, after_position: int, models_to_skip: Iterable[str], limit: int = 256
    ) -> list[Request]:
        """The next rows to submit, in the order of the manifest."""
        skip = list(models_to_skip)
        return self._requests(
            f"state = 'pending' AND listed = 1 AND position > ?"
            f" AND model NOT IN ({','.join('?' * len(skip))}) ORDER BY position LIMIT {limit}",
            after_position,
            *skip,
        )

    def last_submitted_at(self) -> float | None:
        """When the last paid POST went out, in seconds since the epoch; None before the first."""
        found = self.fetch_one(
            "SELECT at FROM events WHERE event = ? ORDER BY seq DESC", Event.SUBMIT
        )
        return from_iso(found[0]) if found else None

    def pending_models(self) -> dict[str, int]:
        """How many rows each model is still to be sent."""
        return dict(
            self.fetch_all(
                "SELECT model, COUNT(*) FROM requests WHERE state = 'pending' AND listed = 1"
                " GROUP BY model"
            )
        )

    def pending_cost(self, prices: Mapping[str, Price | None]) -> float:
        """USD of the rows still to be sent, as far as their models' prices are known.

        One pass over those that say themselves what they cost; none is held.
        """
        known = {model: price for model, price in prices.items() if price is not None}
        by_output = [model for model, price in known.items() if price.outputs is not None]
        counts = self.pending_models()
        cost = sum(n * known[m].usd for m, n in counts.items() if m in known.keys() - by_output)
        with storage_errors(self.path):
            found = self.db.execute(
                "SELECT model, input FROM requests WHERE state = 'pending' AND listed = 1"
                f" AND model IN ({','.join('?' * len(by_output))})",
                by_output,
            )
            return cost + sum(known[model].of(input) for model, input in found)

    def requests_in(self, state: State, *, listed: bool = False) -> list[Request]:
        """Rows in `state`, the longest submitted first; `listed`: only those of the manifest."""
        where = "state = ? AND listed >= ? ORDER BY submitted_at"
        return self._requests(where, state, int(listed))

    def get_request(self, key: str) -> Request:
        (found,) = self._requests("key = ?", key)
        return found

    def _requests(self, where: str, *values: Any) -> list[Request]:
        query = f"SELECT {_FIELDS} FROM requests WHERE {where}"
        found = self.fetch_committed(query, *values)
        for key, id, name, *_ in found:
            self.refuse_odd(id, {"key": key, "name": name})
        return [Request.read(row) for row in found]

    def refuse_odd(self, id: object, values: Mapping[str, Any]) -> None:
        """Raise LeadsOutside where a row has values that we would never have written."""
        if column := stored_values.odd(values):
            raise not_ours(self.path, id, column, values[column])

    def get_outputs(self, key: str) -> list[Output]:
        query = "SELECT key, n, url, path FROM outputs WHERE key = ? ORDER BY n"
        found = [Output(*row) for row in self.fetch_committed(query, key)]
        for output in found:
            self.refuse_odd(key, {"n": output.n, "path": output.path})
        return found

    def path_owner(self, path: str) -> str | None:
        """The key of the row whose file `path` is; None if it is no row's."""
        found = self.fetch_committed("SELECT key FROM outputs WHERE path = ?", path)
        return found[0][0] if found else None

    def state_of(self, key: str) -> State:
        (state,) = self.fetch_one("SELECT state FROM requests WHERE key = ?", key)
        return State(state)
