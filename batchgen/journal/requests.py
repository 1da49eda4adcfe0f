"""Requests and outputs as values, and what the engine and the operations ask about them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, NamedTuple

from batchgen.clock import from_iso, to_iso
from batchgen.core.identity import json_object
from batchgen.core.local_files import MARK, local_files
from batchgen.core.states import NOTHING_MADE, RUN_ENDED, Event, State
from batchgen.journal import stored_values
from batchgen.journal.database import Database, marks
from batchgen.journal.faults import checked, odd_value, storage_errors

# SQL: whether a row is saved, and made by another version than the given ones. One that sent a
# workflow of the person's own was not made by the deployment's.
OLDER_VERSION = """state = 'saved' AND listed = 1 AND ({versions})
    AND instr(input, '"workflow": "sha256:') = 0"""

# SQL: whether a row may be sent again with many others; a failed one may make nothing again.
REOPENS = f"(state <> 'failed' OR instr(COALESCE(error, ''), '{NOTHING_MADE}') = 0)"

# SQL, of a database: whether an id was handed in for a row, which has to be looked at first.
HANDED_IN = "EXISTS (SELECT 1 FROM receipts WHERE receipts.key = requests.key)"


@dataclass(frozen=True, slots=True)
class Request:
    """A row of the table `requests`.

    name: the stem of its files. input: JSON. submitted_at: seconds since the epoch.
    attempts: submissions that were accepted or may have been. price: USD reserved for the latest.
    """

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

    @property
    def where(self) -> str:
        """Where the row stands and what it is called, as messages begin: `list.csv:2: row 'a'`."""
        return f"{self.source}: row {self.id!r}"

    @property
    def local_files(self) -> list[tuple[str, dict[str, str]]]:
        """The local files among its inputs, each with the name of the input."""
        return [*local_files(json_object(self.input) or {})] if MARK in self.input else []

    @classmethod
    def read(cls, row: Sequence[Any]) -> "Request":
        """Return the request. row: its columns, in the order of the fields."""
        values = [*row]
        values[_STATE_INDEX] = State(row[_STATE_INDEX])
        if submitted_at := row[_SUBMITTED_AT_INDEX]:
            values[_SUBMITTED_AT_INDEX] = from_iso(submitted_at)
        return cls(*values)


ALL = 2**62  # rows, where none is left out: the one limit that every database takes
_REQUEST_COLUMNS = [field.name for field in fields(Request)]
_STATE_INDEX = _REQUEST_COLUMNS.index("state")
_SUBMITTED_AT_INDEX = _REQUEST_COLUMNS.index("submitted_at")


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a request produced.

    n: its number among them, from 1. path: relative to the batch folder, None until it is saved.
    """

    key: str
    n: int
    url: str
    path: str | None


def _due(states: Sequence[State]) -> str:
    """The condition, in SQL, of listed rows in so many states that a run sends."""
    again = f" AND {REOPENS}" if State.FAILED in states else ""
    return f"state IN ({marks(states)}) AND listed = 1{again}"


def made_by_older(versions: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return OLDER_VERSION and its values. versions: of now, by model."""
    each = " OR ".join(["model = ? AND version <> ?"] * len(versions)) or "1 = 0"
    return OLDER_VERSION.format(versions=each), [*chain.from_iterable(versions.items())]


class DueRows(NamedTuple):
    """Rows that a run submits. input: JSON; `{}` for several. id, source: of one of them."""

    model: str
    rows: int
    input: str
    id: str
    source: str


class SettledRequest(NamedTuple):
    """What became of a request, as an event of the journal tells it.

    seq: the number of the event. detail: why, where it failed. id, source: of its row.
    """

    seq: int
    event: str
    detail: str
    model: str
    id: str
    source: str


class RequestQueries(Database):
    """Questions about the rows of a journal that is open for writing.

    Requests and outputs are read from what is committed, also while a commit is under way. Raises
    StorageDamaged for one with a value that batchgen does not write.
    """

    def next_pending(
        self,
        after_position: int,
        models_to_skip: Iterable[str],
        last_position: int | None = None,
    ) -> list[Request]:
        """Return the next 256 listed pending rows between positions, in the manifest's order.

        last_position: of rows that may be sent; None is no limit.
        """
        skip = list(models_to_skip)
        others = f" AND model NOT IN ({marks(skip)})" if skip else ""
        others += "" if last_position is None else f" AND position <= {last_position:d}"
        return self._requests(
            f"state = 'pending' AND listed = 1 AND position > ?{others}"
            " ORDER BY position LIMIT 256",
            after_position,
            *skip,
        )

    def take_pending(
        self,
        count: int,
        models_to_skip: Iterable[str],
        but: Collection[str],
        last_position: int | None = None,
    ) -> list[Request]:
        """Take the next listed pending rows that no run has, inside a transaction of the caller.

        but: keys of rows that are left to others. last_position: as `next_pending` has it.
        """
        skip = list(models_to_skip)
        others = f" AND model NOT IN ({marks(skip)})" if skip else ""
        others += "" if last_position is None else f" AND position <= {last_position:d}"
        others += " AND key <> ALL (?)"  # one value: there may be any number
        where = f"state = 'pending' AND listed = 1{others} AND NOT {HANDED_IN}"
        return self._take(where, "position", count, *skip, list(but))

    def tried_by_others(self) -> list[tuple[str, int, int, int]]:
        """Return how many rows other runs have of each model, as `TriedModel` of the engine.

        Until the open transaction ends, no other run that asks this gets an answer.
        """
        self.store.take_turn()
        mine, under_way = f"owner = {self.store.owner:d}", "state IN ('submitting', 'submitted')"
        found = self.fetch_all(
            "SELECT model AS sent_model,"
            " COUNT(*) FILTER (WHERE state IN ('pending', 'submitting')) AS unsent,"
            " COUNT(*) FILTER (WHERE state IN ('submitted', 'completed')) AS accepted,"
            f" COUNT(*) FILTER (WHERE {under_way}) AS under_way"
            f" FROM requests WHERE (owner IS NOT NULL AND NOT {mine})"
            f" OR ({under_way} AND owner IS NULL) GROUP BY model"
        )
        return [*map(tuple, found)]

    def has_free(self, models: Iterable[str]) -> bool:
        """Return whether a listed pending row of one of these models is nobody's."""
        if not (models := list(models)):
            return False
        free = "state = 'pending' AND listed = 1 AND owner IS NULL"
        query = f"SELECT 1 FROM requests WHERE {free} AND model IN ({marks(models)}) LIMIT 1"
        return self.fetch_one(query, *models) is not None

    def take_accepted(self, count: int) -> list[Request]:
        """Take the oldest rows that were accepted, are not here, and that no run has."""
        return self._take("state IN ('submitted', 'completed')", "submitted_at NULLS FIRST", count)

    def _take(self, where: str, order: str, count: int, *values: Any) -> list[Request]:
        """Rows that another run is just taking are passed over."""
        # Once: a subquery may be asked again for each row, and then take more than its limit.
        found = self.fetch_all(
            "WITH free AS MATERIALIZED (SELECT key FROM requests"
            f" WHERE {where} AND owner IS NULL ORDER BY {order} LIMIT ? FOR UPDATE SKIP LOCKED)"
            f" UPDATE requests SET owner = {self.store.owner:d}"
            " WHERE key IN (SELECT key FROM free)"
            f" RETURNING {', '.join(_REQUEST_COLUMNS)}",
            *values,
            count,
        )
        return sorted(self._checked(found), key=lambda row: row.position)

    def may_write(self, key: str, state: State) -> bool:
        """Return whether a row is in a state and no other run has it, inside a transaction of the
        caller, until whose end that holds.
        """
        lock = " FOR UPDATE" if self.is_shared else ""
        query = f"SELECT 1 FROM requests WHERE key = ? AND state = ?{self.own}{lock}"
        return self.fetch_one(query, key, state) is not None

    def was_handed_in(self, key: str) -> bool:
        """Return whether an id was handed in for a row, and not looked at yet."""
        query = f"SELECT 1 FROM requests WHERE key = ? AND {HANDED_IN}"
        return self.is_shared and self.fetch_one(query, key) is not None

    def let_go_of(self, key: str) -> None:
        """Leave a row to other runs, inside a transaction of the caller."""
        if self.is_shared:
            self.connection.execute(
                f"UPDATE requests SET owner = NULL WHERE key = ? AND owner = {self.store.owner:d}",
                (key,),
            )

    def submissions_since(self, since: float) -> list[float]:
        """Return when the submissions since then left, ascending, and in any case the last one.

        In seconds since the epoch.
        """
        # From the end of the table, since it has no index by time.
        last = "SELECT seq FROM events WHERE {} ORDER BY seq DESC LIMIT 1"
        before = self.fetch_one(last.format("at < ?"), to_iso(since)) or (0,)
        latest = self.fetch_one(last.format("event = ?"), Event.SUBMIT) or (0,)
        found = self.fetch_all(
            "SELECT at FROM events WHERE event = ? AND seq >= ? ORDER BY seq",
            Event.SUBMIT,
            min(*before, *latest),
        )
        return [from_iso(at) for (at,) in found]

    def last_event(self) -> int:
        """Return the number of the last event; 0 where there is none."""
        ((seq,),) = self.fetch_committed("SELECT COALESCE(MAX(seq), 0) AS seq FROM events")
        return int(seq)

    def settled_requests(self, after: int) -> list[SettledRequest]:
        """Return what became of requests of all runs since an event, in its order.

        Without those of which a run that ended left nothing: their answers may have come.
        """
        settled = (Event.ACCEPTED, Event.REJECTED, Event.OUTCOME_UNKNOWN, Event.COMPLETED)
        found = self.fetch_committed(
            "SELECT e.seq, e.event, e.detail, r.model, r.id, r.source"
            " FROM events AS e JOIN requests AS r USING (key)"
            f" WHERE e.seq > ? AND (e.event IN ({marks(settled)})"
            ' OR (e.event = ? AND e."from" = ?)) AND e.detail <> ? ORDER BY e.seq',
            *(after, *settled, Event.FAILED, State.SUBMITTED, RUN_ENDED),
        )
        return [*map(SettledRequest._make, found)]

    def reserved(self) -> dict[str, tuple[str, float]]:
        """Return when each request was sent that has not ended, and the USD that it holds, by key.

        As of now, and with what the open transaction has changed, if this thread has one.
        """
        here = self.connection.in_transaction and not self._handed_over
        found = (self.fetch_all if here else self.fetch_committed)(
            "SELECT key, at, usd FROM requests JOIN spending USING (key)"
            " WHERE state IN ('submitting', 'submitted') AND attempt = attempts"
        )
        return {key: (at, usd) for key, at, usd in found}

    def due_models(self, states: Sequence[State]) -> dict[str, int]:
        """Return the number of listed rows in these states by model."""
        query = f"SELECT model AS sent_model, COUNT(*) FROM requests WHERE {_due(states)}"
        return dict(self.fetch_all(f"{query} GROUP BY model", *states))

    def listed_models(self) -> list[str]:
        """Return the models of the listed rows."""
        query = "SELECT DISTINCT model AS sent_model FROM requests WHERE listed = 1"
        return [model for (model,) in self.fetch_all(query)]

    def due_position(self, states: Sequence[State], number: int) -> int | None:
        """Return the position of that one of the listed rows in these states; None for fewer."""
        query = f"SELECT position FROM requests WHERE {_due(states)}"
        found = self.fetch_all(f"{query} ORDER BY position LIMIT 1 OFFSET ?", *states, number - 1)
        return found[0][0] if found else None

    def due_keys(self, states: Sequence[State], limit: int | None) -> Iterator[tuple[str, str]]:
        """Yield key and model of the first `limit` listed rows in these states; None is all."""
        with storage_errors(self.path):
            found = self.connection.execute(
                f"SELECT key, model AS sent_model FROM requests WHERE {_due(states)}"
                " ORDER BY position LIMIT ?",
                (*states, _most(limit)),
            )
            yield from checked(found, self.path)

    def due_rows(
        self, states: Sequence[State], by_input: Iterable[str], limit: int | None
    ) -> Iterator[DueRows]:
        """Yield the first `limit` listed rows in these states, None is all: those of the models
        `by_input` one by one, those of the others counted, since a manifest can have a million.
        """
        by_input = list(by_input)
        here = f"due.model IN ({marks(by_input)})" if by_input else "1 = 0"
        with storage_errors(self.path):
            found = self.connection.execute(
                "WITH due AS MATERIALIZED (SELECT model, input, id, source, key FROM requests"
                f" WHERE {_due(states)} ORDER BY position LIMIT ?),"
                " counted AS (SELECT COUNT(*) AS n, MIN(key) AS key FROM due"
                f" WHERE NOT {here} GROUP BY model)"
                " SELECT model AS sent_model, n, '{}' AS input, id, source"
                " FROM counted JOIN requests USING (key)"
                f" UNION ALL SELECT model, 1, input, id, source FROM due WHERE {here}",
                (*states, _most(limit), *by_input, *by_input),
            )
            yield from map(DueRows._make, checked(found, self.path))

    def count_listed(self) -> int:
        """Return how many rows the last manifest had."""
        (count,) = self.fetch_one("SELECT COUNT(*) FROM requests WHERE listed = 1")
        return int(count)

    def requests_in(self, state: State, *, listed: bool = False) -> list[Request]:
        """Return the rows in a state, the earliest submission first. listed: only listed ones."""
        where = "state = ? AND listed >= ? ORDER BY submitted_at NULLS FIRST"
        return self._requests(where, state, int(listed))

    def saved_by_older(self, versions: Mapping[str, str]) -> list[Request]:
        """Return the saved rows that another version has made. versions: of now, by model."""
        where, values = made_by_older(versions)
        return self._requests(f"{where} ORDER BY position", *values)

    def get_request(self, key: str) -> Request:
        """Return the row with this key."""
        (found,) = self._requests("key = ?", key)
        return found

    def _requests(self, where: str, *values: Any) -> list[Request]:
        query = f"SELECT {', '.join(_REQUEST_COLUMNS)} FROM requests WHERE {where}"
        return self._checked(self.fetch_committed(query, *values))

    def _checked(self, found: Sequence[Any]) -> list[Request]:
        requests = [Request.read(row) for row in found]
        for request, row in zip(requests, found, strict=True):
            if request.state is not State.PENDING:
                continue
            if not stored_values.is_model(request.model):
                raise odd_value(self.path, _REQUEST_COLUMNS, row, "model")
            if request.request_id is not None:  # it was paid for
                raise odd_value(self.path, _REQUEST_COLUMNS, row, "request_id")
        return requests

    def get_outputs(self, key: str) -> list[Output]:
        """Return the outputs of a row, in their order."""
        query = "SELECT key, n, url, path FROM outputs WHERE key = ? ORDER BY n"
        return [Output(*row) for row in self.fetch_committed(query, key)]

    def path_owner(self, path: str) -> str | None:
        """Return the key of the row that has the file `path`; None if none has."""
        found = self.fetch_committed("SELECT key FROM outputs WHERE path = ?", path)
        return found[0][0] if found else None

    def has_row(self, key: str) -> bool:
        """Return whether there is a row with this key, whoever has it."""
        return self.fetch_one("SELECT 1 FROM requests WHERE key = ?", key) is not None

    def answer_of(self, key: str) -> str:
        """Return what came for the latest submission of a row, "" where it was clear or nothing."""
        (answer,) = self.fetch_one("SELECT answer FROM requests WHERE key = ?", key)
        return answer or ""

    def state_of(self, key: str) -> State:
        """Return the state of a row, also of one that the open transaction changed."""
        (state,) = self.fetch_one("SELECT state FROM requests WHERE key = ?", key)
        return State(state)


def _most(limit: int | None) -> int:
    """Return a number of rows as a database takes it."""
    return ALL if limit is None else min(limit, ALL)
