"""What happened to every row: each transition and its event are one transaction of batch.db.

The order of writes (docs/maintainers/specification.md, "What is written when"):

    W1  record_submitting  durable before the first byte of the paid submission leaves
    W2  record_accepted    the first act once a request_id was read; then the receipt
    W3  record_completed   the result and its URLs, before a download begins
    W4  record_saved       a file was checked, has its name, and is on disk
    W5                     the reports, from what is recorded here

A crash between two of them leaves a row in a state from which the next run can go on: after W1 it
becomes `unknown`, unless a receipt shows its request_id; after W2 the result is asked for; after W3
the files are downloaded.

Transitions use the standard sqlite3 in autocommit mode, with explicit transactions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from batchgen.core.budget import ActiveLimit, committed_cost, first_exceeded, limit_reached
from batchgen.core.prices import Estimate
from batchgen.core.states import SURELY_NOT_ACCEPTED, Event, State, next_state
from batchgen.core.text import replace_surrogates
from batchgen.errors import StoppedEarly, StorageDamaged
from batchgen.journal.database import ALWAYS_COUNTED
from batchgen.journal.faults import checked
from batchgen.journal.files import SavedFile, StoredFile
from batchgen.journal.requests import HANDED_IN, Output, Request, RequestQueries
from batchgen.log import secrets

__all__ = ["CostLimitReached", "HandedIn", "Journal", "Output", "Request", "RequestIdInUse"]

# After these, the latest submission of a row has cost what it had cost before.
EVENTS_WITHOUT_COST_CHANGE = {
    Event.ACCEPTED,
    Event.BLOCKED,
    Event.OUTCOME_UNKNOWN,
    Event.SAVED,
    Event.RETRY,
    Event.WRITTEN_OFF,
}
# After these, the run that it happened to still has the row, of several that may have it.
KEPT_AFTER = {
    Event.SUBMIT,
    Event.ACCEPTED,
    Event.NOT_ACCEPTED,
    Event.THROTTLED,
    Event.COMPLETED,
}
# Columns of words, from the API or about an error. A result was cleared of secrets as it came.
WORDS = ("error", "answer", "api_status")
# Of a row that came through.
NO_ERROR: dict[str, Any] = {"error": None, "error_code": None}
# Of a row with a new request, of which nothing came yet.
NO_RESULT: dict[str, Any] = dict.fromkeys(("cost", "completed_at", "api_status", "answer"))


class CostLimitReached(StoppedEarly):
    """The next submission could pass a limit of cost, so it was not sent.

    of_batch: it is the limit of the whole batch, not of a day or a month.
    """

    of_batch = False

    @classmethod
    def at(
        cls, limit: ActiveLimit, committed: Callable[[str], float], expected: Estimate
    ) -> "CostLimitReached":
        """committed: as `first_exceeded` has it. expected: what the submission would cost."""
        reached = cls(
            *limit_reached(limit, committed, expected),
            calm=limit.renews_for(expected.usd),  # the next day or month goes on by itself
            once=f"{limit.option} {limit.usd}",
        )
        reached.of_batch = not limit.since
        return reached


class HandedIn(StoppedEarly):
    """A request_id that another run left for this row is looked at before the row is sent."""


class RequestIdInUse(StoppedEarly):
    """The API gave a request_id that another row has."""


def _words(text: str) -> str:
    """Return a text from outside without secrets, and as a database takes it."""
    return replace_surrogates(secrets.hide(text))


def _clean(columns: dict[str, str | float | None]) -> dict[str, str | float | None]:
    return {
        name: _words(value) if name in WORDS and isinstance(value, str) else value
        for name, value in columns.items()
    }


class Journal(RequestQueries):
    """One method for each transition, beside the questions of RequestQueries.

    Each transition raises StorageDamaged if the row is not in the state that it starts from.
    """

    def transition(
        self, key: str, old: State, event: Event, detail: str = "", **columns: str | float | None
    ) -> None:
        """Change the state of one row and add the event, inside a transaction of the caller.

        columns: values of `requests` that are set in the same statement.
        """
        new = next_state(old, event)
        detail, columns = _words(detail), _clean(columns)
        names = "".join(f", {name} = :{name}" for name in columns)
        if self.is_shared:
            names += f", owner = {self.store.owner if event in KEPT_AFTER else 'NULL'}"
        before = f" AND NOT {HANDED_IN}" if self.is_shared and event is Event.SUBMIT else ""
        found = self.connection.execute(
            f"UPDATE requests SET state = :new{names} WHERE key = :key AND state = :old"
            f"{self.own}{before} RETURNING price, cost, attempts, request_id, submitted_at, listed",
            {"new": new, "key": key, "old": old, **columns},
        )
        changed = [*checked(found, self.path)]
        if before and not changed and self.was_handed_in(key):
            raise HandedIn("The id of this row's request came in before it was sent again.")
        if len(changed) != 1:
            raise StorageDamaged(
                f"{self.path}: row {key} is not {old}, as this run left it. Nothing was lost.",
                "Something else wrote to the journal. Run the same command again to go on.",
            )
        ((price, cost, attempts, request_id, at, listed),) = changed
        if event in SURELY_NOT_ACCEPTED:
            self.set_cost(key, attempts + 1, at or "", 0.0)
        elif event not in EVENTS_WITHOUT_COST_CHANGE:
            usd = committed_cost(new, price, cost, request_id)
            self.set_cost(key, attempts, at or self.now(), usd)
        self.connection.execute(
            'INSERT INTO events (at, run, key, event, "from", "to", attempt, request_id, detail)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.now(), self.run, key, event, old, new, attempts, request_id, detail),
        )
        self.state_counts[old] -= listed or old in ALWAYS_COUNTED
        self.state_counts[new] += listed or new in ALWAYS_COUNTED

    def record_submitting(
        self,
        row: Request,
        expected: Estimate,
        limits: list[ActiveLimit],
        memory: dict[str, Any],
        version: str | None = None,
    ) -> None:
        """W1: record that the paid submission is about to leave. Raises CostLimitReached,
        and HandedIn where the id of an earlier submission has come in meanwhile.

        row: as it was before. expected: what is reserved.
        memory: what is kept in the same transaction, such as a new rate, as `set_meta` takes it.
        version: of what makes the row; None where it has none.
        """
        if limit := first_exceeded(self.committed_usd, expected.usd, limits):
            raise CostLimitReached.at(limit, self.committed_usd, expected)
        with self.transaction():
            now = self.now()
            self.transition(
                row.key,
                State.PENDING,
                Event.SUBMIT,
                price=expected.usd,
                submitted_at=now,
                version=version,
                attempts=row.attempts + 1,
                **NO_RESULT,
            )
            self.set_meta(memory)

    def record_accepted(self, row: Request, request_id: str, note: str = "") -> None:
        """W2: record the request_id. note: what was wrong with the answer, "" if nothing.

        row: as it was before W1. Raises RequestIdInUse if another row has the id.
        """
        with self.transaction():
            self._refuse_request_id_in_use(row, request_id)
            self.transition(row.key, State.SUBMITTING, Event.ACCEPTED, note, request_id=request_id)

    def _refuse_request_id_in_use(self, row: Request, request_id: str) -> None:
        if self.id_of_request(request_id) is not None:
            raise RequestIdInUse(
                f"{row.where}: {request_id} is another row's request already."
                " It may have been billed; nothing more is submitted.",
                "Look for it in your account before you send it again.",
            )

    def record_not_accepted(
        self, row: Request, event: Event, code: int | None, reason: str, answer: str = ""
    ) -> None:
        """Record any other outcome: NOT_ACCEPTED, THROTTLED, REJECTED or OUTCOME_UNKNOWN.

        After the first two the attempt is not counted and costs nothing.
        row: as it was before W1. code: the API's error code or the HTTP status.
        answer: what came, where it does not tell whether the request was accepted.
        """
        columns: dict[str, Any] = {"error_code": code, "error": reason, "answer": answer or None}
        if event in SURELY_NOT_ACCEPTED:
            columns = {"submitted_at": None, "attempts": row.attempts}
        with self.transaction():
            self.transition(row.key, State.SUBMITTING, event, reason, **columns)

    def record_blocked(self, key: str, code: int, reason: str) -> None:
        """Record that something before the API refused this row, and not the others.

        It is pending, since its submission was recorded as not accepted. code: the HTTP status.
        """
        with self.transaction():
            self.transition(
                key, State.PENDING, Event.BLOCKED, reason, error_code=code, error=reason
            )

    def record_completed(
        self,
        row: Request,
        api_status: str,
        urls: Mapping[int, str],
        cost: float | None,
        raw: str,
        memory: dict[str, Any] | None = None,
    ) -> None:
        """W3: record the result and its URLs, by their numbers from 1.

        cost: USD, None if untold. raw: the result, JSON.
        memory: what is kept in the same transaction, as `set_meta` takes it.
        """
        with self.transaction():
            self.transition(
                row.key,
                State.SUBMITTED,
                Event.COMPLETED,
                completed_at=self.now(),
                api_status=api_status,
                cost=cost,
                result=raw,
                **NO_ERROR,
            )
            self._set_urls(row.key, urls)
            self.set_meta(memory or {})

    def replace_urls(self, row: Request, urls: Mapping[int, str], raw: str) -> None:
        """Replace the URLs of a completed row by those of a result that was asked for again."""
        with self.transaction():
            self.connection.execute("UPDATE requests SET result = ? WHERE key = ?", (raw, row.key))
            self._set_urls(row.key, urls)

    def _set_urls(self, key: str, urls: Mapping[int, str]) -> None:
        self.connection.executemany(
            "INSERT INTO outputs (key, n, url) VALUES (?, ?, ?)"
            " ON CONFLICT (key, n) DO UPDATE SET url = excluded.url",
            [(key, n, url) for n, url in urls.items()],
        )

    def record_ended(
        self, row: Request, event: Event, code: int | None, reason: str, **columns: Any
    ) -> None:
        """Record that an accepted request ended without a file: FAILED or CANCELLED.

        columns: more values of `requests`.
        """
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
        """Keep in words why a row is still in its state."""
        with self.transaction():
            update = "UPDATE requests SET error = ? WHERE key = ?"
            self.connection.execute(update, (_words(reason), row.key))

    def record_file(self, output: Output | SavedFile, file: StoredFile) -> None:
        """Record one of several files of a request, or one that was downloaded again and differs.

        The last file of a request is for `record_saved`.
        file: it was checked and is on disk under its name.
        """
        with self.transaction():
            self.connection.execute(
                "UPDATE outputs SET path = :path, kind = :kind, bytes = :bytes, sha256 = :sha256,"
                " delivered_sha256 = :delivered_sha256, content_type = :content_type,"
                " width = :width, height = :height, duration = :duration, note = :note"
                " WHERE key = :key AND n = :n",
                {**asdict(file), "key": output.key, "n": output.n},
            )

    def record_saved(self, row: Request, output: Output, file: StoredFile) -> None:
        """W4: record the last file of a request. file: as `record_file` takes it."""
        with self.transaction():
            self.record_file(output, file)
            now = self.now()
            self.transition(row.key, State.COMPLETED, Event.SAVED, saved_at=now, **NO_ERROR)

    def record_saved_without(self, row: Request, left_out: list[Output]) -> None:
        """Record that a request is saved without URLs that stood beside its outputs.

        They stay in the result, and in the event.
        """
        detail = f"left out: {' '.join(output.url for output in left_out)}"
        with self.transaction():
            for output in left_out:
                self.connection.execute(
                    "DELETE FROM outputs WHERE key = ? AND n = ?", (output.key, output.n)
                )
            now = self.now()
            self.transition(row.key, State.COMPLETED, Event.SAVED, detail, saved_at=now, **NO_ERROR)

    def record_attached(self, row: Request, request_id: str) -> None:
        """Give an unknown row the request that a person found for it.

        Raises RequestIdInUse if another row has it.
        """
        with self.transaction():
            self._refuse_request_id_in_use(row, request_id)
            self.transition(
                row.key,
                State.UNKNOWN,
                Event.ATTACHED,
                request_id,
                request_id=request_id,
                error=None,
            )

    def record_written_off(self, row: Request) -> None:
        """Record that a person gave an unknown row up; what it may have cost stays counted."""
        reason = "written off: it may have been billed"
        with self.transaction():
            self.transition(row.key, State.UNKNOWN, Event.WRITTEN_OFF, reason, error=reason)

    def record_retry(self, key: str, detail: str) -> None:
        """Record that a person wants this row sent again; what it cost so far stays counted."""
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
            self.forget_outputs(key)

    def forget_outputs(self, key: str) -> None:
        """Leave the outputs of an earlier request, inside a transaction of the caller. Their files
        stay.
        """
        self.connection.execute("DELETE FROM outputs WHERE key = ?", (key,))

    def saved_files(self) -> Iterator[SavedFile]:
        """Yield every saved file in the order of the manifest. Raises StorageDamaged."""
        rows = self.fetch_all(
            "SELECT o.key, o.n, r.id, r.model, r.input, r.request_id, r.submitted_at, o.url,"
            " o.path, o.sha256, o.delivered_sha256, o.note"
            " FROM outputs AS o JOIN requests AS r USING (key)"
            " WHERE o.path IS NOT NULL ORDER BY r.position, o.n"
        )
        yield from map(SavedFile._make, rows)

    def id_of_request(self, request_id: str) -> str | None:
        """Return the id of the row with this request; None if there is none."""
        found = self.fetch_one("SELECT id FROM requests WHERE request_id = ?", request_id)
        return found[0] if found else None
