"""The start of a run: the journal takes over what stands outside it, receipts and manifest."""

import json
from collections import Counter
from collections.abc import Iterable

from batchgen import identity
from batchgen.journal import Journal
from batchgen.listing import Listed
from batchgen.receipts import LONGEST, Receipt, Receipts
from batchgen.states import Event, State

LAST = 500  # accepted requests of which some may lack a receipt; more than are ever under way
TAIL = (LAST + 1) * LONGEST


class Intake:
    """One for each start of a run."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def recover(self, receipts: Iterable[Receipt], read_to: int) -> Counter[str]:
        """Settle what a run before this one left behind; only after this may anything be sent.

        read_to: the byte of receipts.log up to which `receipts` were read.
        Returns how many rows were found by receipt and how many are unknown now.
        """
        found: Counter[str] = Counter()
        with self._journal.transaction():
            for receipt in receipts:
                found["receipts"] += self._apply(receipt)
            stuck = self._journal.db.execute("SELECT key FROM requests WHERE state = 'submitting'")
            for (key,) in stuck.fetchall():
                reason = "the run ended before the API's answer was on disk"
                self._journal.move(key, State.SUBMITTING, Event.LOST, reason, error=reason)
                found["unknown"] += 1
            self._journal.remember({"receipts_read": read_to})
        return found

    def complete(self, receipts: Receipts) -> None:
        """Write the receipts that a run before this one was killed, or failed, before writing.

        Its last requests are the only ones that can lack theirs.
        """
        written = {receipt.request_id for receipt in receipts.since(receipts.end - TAIL)}
        found = self._journal.rows(
            "SELECT key, attempt, request_id, at FROM events WHERE event IN (?, ?)"
            f" ORDER BY seq DESC LIMIT {LAST}",
            Event.ACCEPTED,
            Event.ATTACHED,
        )
        for receipt in (Receipt(*values) for values in found):
            if receipt.request_id not in written:
                receipts.append(receipt)

    def reopen(self, state: State, detail: str) -> None:
        """Send every listed row that is in `state` once more, because a person said so."""
        found = self._journal.rows(
            "SELECT key FROM requests WHERE state = ? AND listed = 1 ORDER BY position", state
        )
        for (key,) in found:
            self._journal.retry(key, detail)

    def _apply(self, receipt: Receipt) -> bool:
        row = self._journal.one("SELECT state, attempts FROM requests WHERE key = ?", receipt.key)
        if row is None:
            self._insert_lost(receipt)
            row = (State.SUBMITTING, 0)
        state, attempts = State(row[0]), row[1]
        open_ended = state in (State.SUBMITTING, State.UNKNOWN)
        if not (receipt.attempt > attempts or (receipt.attempt == attempts and open_ended)):
            return False
        if self._journal.one("SELECT 1 FROM requests WHERE request_id = ?", receipt.request_id):
            return False
        self._journal.move(
            receipt.key,
            state,
            Event.RECEIPT,
            "found in receipts.log",
            error=None,
            request_id=receipt.request_id,
            attempts=receipt.attempt,
            submitted_at=receipt.at,
        )
        return True

    def _insert_lost(self, receipt: Receipt) -> None:
        """A receipt for a row that the journal does not know: its manifest may bring the rest."""
        name = self._free_name(f"recovered-{receipt.key[:12]}")
        self._journal.db.execute(
            "INSERT INTO requests (key, id, name, folded, position, listed, source, model, input,"
            " state, created_at) VALUES (?, ?, ?, ?, 0, 0, 'receipts.log', '', '{}', 'submitting',"
            " ?)",
            (receipt.key, name, name, identity.folded(name), self._journal.now()),
        )
        self._journal.counts[State.SUBMITTING] += 1

    def list_rows(self, rows: Iterable[Listed]) -> None:
        """Take over a reading of the manifest: rows are added, and none that was ever sent goes.

        rows: read twice. Rows that never left are dropped first, so that their names are free.
        """
        db = self._journal.db
        with self._journal.transaction():
            db.execute("UPDATE requests SET listed = 0 WHERE listed = 1")
            for row in rows:
                db.execute(
                    "UPDATE requests SET position = ?, source = ?, meta = ?, listed = 1"
                    " WHERE key = ?",
                    (row.position, row.source, row.meta, row.key),
                )
            db.execute(
                "DELETE FROM requests WHERE listed = 0 AND attempts = 0"
                " AND state IN ('pending', 'invalid')"
            )
            for row in rows:
                known = self._journal.one("SELECT model FROM requests WHERE key = ?", row.key)
                if known is None:
                    self._insert(row)
                elif not known[0]:
                    self._complete_lost(row)
        self._journal.counts = self._journal.count()

    def _insert(self, row: Listed) -> None:
        id, name = self._names(row)
        state = State.INVALID if row.problem else State.PENDING
        self._journal.db.execute(
            "INSERT INTO requests (key, id, name, folded, position, source, model, input, meta,"
            " state, error, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(row.key, id, name, identity.folded(name), row.position, row.source, row.model),
                *(row.input, row.meta, state, row.problem or None, self._journal.now()),
            ),
        )

    def _complete_lost(self, row: Listed) -> None:
        """The manifest knows the row of which only a receipt was left."""
        id, name = self._names(row)
        self._journal.db.execute(
            "UPDATE requests SET id = ?, name = ?, folded = ?, model = ?, input = ? WHERE key = ?",
            (id, name, identity.folded(name), row.model, row.input, row.key),
        )

    def _names(self, row: Listed) -> tuple[str, str]:
        """The row's id, made up if it has none, and the stem of its files."""
        id = row.id or identity.readable_id(row.position, json.loads(row.input))
        name = self._free_name(identity.safe_name(id))
        return row.id or name, name

    def _free_name(self, name: str) -> str:
        """`hero`, else `hero.2`, …: a changed row never gets the name of a picture already paid."""
        candidate, n = name, 1
        while self._journal.one(
            "SELECT 1 FROM requests WHERE folded = ?", identity.folded(candidate)
        ):
            n += 1
            candidate = f"{name}.{n}"
        return candidate
