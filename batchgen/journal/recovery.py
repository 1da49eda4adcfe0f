"""The start of a run: the journal takes over what stands outside it, receipts and manifest."""

import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from batchgen import files
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core import identity
from batchgen.core.states import Event, State
from batchgen.errors import StorageDamaged
from batchgen.journal.receipts import MAX_LINE_BYTES, Receipt, ReceiptLog
from batchgen.journal.reconcile import NameAllocator, reconcile
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal

log = logging.getLogger("batchgen")

MAX_REPLAYED_EVENTS = (
    500  # accepted requests of which some may lack a receipt; more than are ever under way
)
RECEIPTS_TAIL_BYTES = (MAX_REPLAYED_EVENTS + 1) * MAX_LINE_BYTES
IMPORT_META = "listed"  # the name of what is remembered of the list, as `unchanged.py` has it


class Recovery:
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
                self._journal.transition(
                    key, State.SUBMITTING, Event.OUTCOME_UNKNOWN, reason, error=reason
                )
                found["unknown"] += 1
            self._journal.set_meta({"receipts_read": read_to})
        return found

    def complete(self, receipts: ReceiptLog) -> None:
        """Write the receipts that a run before this one was killed, or failed, before writing.

        Its last requests are the only ones that can lack theirs.
        """
        written = {
            receipt.request_id for receipt in receipts.since(receipts.end - RECEIPTS_TAIL_BYTES)
        }
        found = self._journal.fetch_all(
            "SELECT key, attempt, request_id, at FROM events WHERE event IN (?, ?)"
            f" ORDER BY seq DESC LIMIT {MAX_REPLAYED_EVENTS}",
            Event.ACCEPTED,
            Event.ATTACHED,
        )
        for receipt in (Receipt(*values) for values in found):
            if receipt.request_id not in written:
                receipts.append(receipt)

    def reopen(self, state: State, detail: str) -> None:
        """Send every listed row that is in `state` once more, because a person said so."""
        found = self._journal.fetch_all(
            "SELECT key FROM requests WHERE state = ? AND listed = 1 ORDER BY position", state
        )
        for (key,) in found:
            self._journal.record_retry(key, detail)

    def _apply(self, receipt: Receipt) -> bool:
        row = self._journal.fetch_one(
            "SELECT state, attempts FROM requests WHERE key = ?", receipt.key
        )
        if row is None:
            self._insert_lost(receipt)
            row = (State.SUBMITTING, 0)
        state, attempts = State(row[0]), row[1]
        open_ended = state in (State.SUBMITTING, State.UNKNOWN)
        if not (receipt.attempt > attempts or (receipt.attempt == attempts and open_ended)):
            return False
        if self._journal.fetch_one(
            "SELECT 1 FROM requests WHERE request_id = ?", receipt.request_id
        ):
            return False
        self._journal.transition(
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
        name = NameAllocator(self._journal).free(
            identity.safe_name(f"recovered-{receipt.key[:12]}")
        )
        self._journal.db.execute(
            "INSERT INTO requests (key, id, name, folded, position, listed, source, model, input,"
            " state, created_at) VALUES (?, ?, ?, ?, 0, 0, 'receipts.log', '', '{}', 'submitting',"
            " ?)",
            (receipt.key, name, name, identity.fold_name(name), self._journal.now()),
        )
        self._journal.counts[State.SUBMITTING] += 1
        self._journal.set_meta({IMPORT_META: None})

    def list_rows(self, listing: StagedRows, memory: dict[str, Any] | None = None) -> None:
        """Take over a reading of the manifest: rows are added, and none that was ever sent goes.

        memory: what to remember of the list.
        """
        with self._journal.transaction():
            reconcile(self._journal, listing)
            self._journal.set_meta(memory or {})


def open_journal(stack: ExitStack, folder: Folder, clock: Clock) -> tuple[Journal, ReceiptLog]:
    """Open journal and receipts. A journal that is gone is rebuilt from them or refused."""
    files.refuse_linked_database(folder.journal)
    fresh = not folder.journal.exists() or folder.journal.stat().st_size == 0
    try:
        receipts = stack.enter_context(ReceiptLog(folder.receipts))
    except OSError as error:
        raise _cannot_write(folder.receipts, error) from error
    if fresh and receipts.end:
        log.warning("%s is gone: rebuilding it from receipts.log.", folder.journal)
    elif fresh and any((folder.path / kind).is_dir() for kind in ("images", "videos", "audio")):
        raise StorageDamaged(
            f"{folder.path} holds pictures but no journal, so nobody can tell what was paid for."
            " Nothing was sent.",
            "Put batch.db or receipts.log back, or choose another folder with --out.",
        )
    journal = Journal(folder.journal, clock)
    stack.callback(journal.close)
    return journal, receipts


def _cannot_write(path: Path, error: OSError) -> StorageDamaged:
    return StorageDamaged(
        f"{path} cannot be written: {error.strerror}. Nothing was sent.",
        "Make room, or make the folder writable.",
    )
