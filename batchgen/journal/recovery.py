"""The start of a run: the journal takes over receipts and what an earlier run left `submitting`.

Why receipts: a request_id is written to receipts.log as well as to the journal. So a paid request
can be found again when the journal was full, deleted, damaged or restored from an old backup
(docs/maintainers/specification.md, "What is written when"). A receipt only ever adds a request_id.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from enum import Enum, auto
from pathlib import Path
from typing import Any

from batchgen import files
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core import identity
from batchgen.core.states import RUN_ENDED, Event, State
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import BatchBusy, StorageDamaged
from batchgen.journal import stored_values
from batchgen.journal.reader import has_journal
from batchgen.journal.receipts import MAX_LINE_BYTES, Receipt, ReceiptLog, is_receipt_log
from batchgen.journal.reconcile import NameAllocator, reconcile
from batchgen.journal.requests import REOPENS
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import NO_RESULT, Journal

log = logging.getLogger(__name__)

# Accepted requests of which some may lack a receipt; more than are ever under way at a time.
MAX_REPLAYED_EVENTS = 500
RECEIPTS_TAIL_BYTES = (MAX_REPLAYED_EVENTS + 1) * MAX_LINE_BYTES
# The name under which `set_meta` keeps the fingerprint of the manifest that was listed.
IMPORT_META = "listed"

# A row whose latest submission may have been accepted under an id that nobody knows.
NO_OUTCOME = (State.PENDING, State.SUBMITTING, State.UNKNOWN, State.WRITTEN_OFF)


class Applied(Enum):
    """What came of a receipt. KNOWN: it tells nothing that is not in the journal by now.

    AFTER: it is of a submission after the journal's last, though each is recorded before it leaves.
    """

    NEW = auto()
    AFTER = auto()
    KNOWN = auto()
    LATER = auto()  # a run has the row in hand


class Recovery:
    """What a start of a run does with the journal before anything may be sent."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def recover(
        self, receipts: Iterable[Receipt], read_to: int, *, wait: bool = True
    ) -> Counter[str]:
        """Let go of runs that are gone, and apply the receipts; then every row that is still
        `submitting` becomes `unknown`, but for those that other runs have.

        read_to: the byte of receipts.log up to which `receipts` were read. wait: for another run
        that does this at the moment; else it is left to that one.
        Returns how many `receipts` told something new, how many of those are of a submission that
        the journal does not know, as `older`, and how many rows became `unknown`.
        """
        found: Counter[str] = Counter()
        with self._journal.transaction():
            if not self._journal.store.let_go(wait=wait):
                return found
            for receipt in self._handed_in():
                done = self._apply(receipt)
                found["receipts"] += done in (Applied.NEW, Applied.AFTER)
                if done is not Applied.LATER:
                    self._take_out(receipt)
            for receipt in receipts:
                done = self._apply(receipt)
                found["receipts"] += done in (Applied.NEW, Applied.AFTER)
                if done is Applied.AFTER:
                    found["older"] += 1
                if done is Applied.LATER:  # whoever has the row looks there
                    self._journal.store.hand_in([receipt])
            for (key,) in self._journal.fetch_all(
                f"SELECT key FROM requests WHERE state = 'submitting'{self._journal.free}"
            ):
                self._journal.transition(
                    key, State.SUBMITTING, Event.OUTCOME_UNKNOWN, RUN_ENDED, error=RUN_ENDED
                )
                found["unknown"] += 1
            if not self._journal.is_shared:
                self._journal.set_meta({"receipts_read": read_to})
        return found

    def unread(self, receipts: ReceiptLog) -> Iterable[Receipt]:
        """Return the receipts that the journal may not have taken over yet.

        In a database each machine has a receipts.log of its own, so there all are looked at whose
        id no row has.
        """
        if not self._journal.is_shared:
            return receipts.since(self._journal.get_meta("receipts_read") or 0)
        query = "SELECT request_id FROM requests WHERE request_id IS NOT NULL"
        known = {id for (id,) in self._journal.fetch_all(query)}
        return [receipt for receipt in receipts.since(0) if receipt.request_id not in known]

    def _handed_in(self) -> list[Receipt]:
        """Return the ids that runs left which might not write any more."""
        if not self._journal.is_shared:
            return []
        found = self._journal.fetch_all("SELECT key, attempt, request_id, at FROM receipts")
        return [Receipt(*values) for values in found]

    def _take_out(self, receipt: Receipt) -> None:
        self._journal.connection.execute(
            "DELETE FROM receipts WHERE key = ? AND attempt = ? AND request_id = ?",
            (receipt.key, receipt.attempt, receipt.request_id),
        )

    def complete(self, receipts: ReceiptLog) -> None:
        """Write the receipts that are missing because a run was killed, or its disk was full.

        Only the last requests of a run can lack theirs. Raises OSError.
        """
        last_written = receipts.since(receipts.end - RECEIPTS_TAIL_BYTES)
        written = {receipt.request_id for receipt in last_written}
        found = self._journal.fetch_all(
            "SELECT key, attempt, request_id, at FROM events WHERE event IN (?, ?)"
            f" ORDER BY seq DESC LIMIT {MAX_REPLAYED_EVENTS}",
            Event.ACCEPTED,
            Event.ATTACHED,
        )
        missing = [one for one in (Receipt(*v) for v in found) if one.request_id not in written]
        if missing:
            receipts.append(*missing)

    def reopen(self, state: State, detail: str) -> None:
        """Make every listed row in a state `pending`, but for those that would make nothing again.

        detail: the option that asked for it.
        """
        found = self._journal.fetch_all(
            f"SELECT key FROM requests WHERE state = ? AND listed = 1 AND {REOPENS}"
            " ORDER BY position",
            state,
        )
        for (key,) in found:
            self._journal.record_retry(key, detail)

    def _apply(self, receipt: Receipt) -> Applied:
        """Give a row the request of a receipt, where its attempt is later than the row's, or the
        same and without an outcome: a row that was reopened since goes on with what was paid for.
        """
        owner = "owner" if self._journal.is_shared else "NULL AS owner"
        row = self._journal.fetch_one(
            f"SELECT state, attempts, {owner}, id, source FROM requests WHERE key = ?", receipt.key
        )
        is_rebuilt = row is None
        if row is None:
            self._insert_recovered(receipt)
            row = (State.SUBMITTING, 0, None, "", "")
        elif self._is_known(receipt):
            return Applied.KNOWN
        state, (attempts, owner, id, source) = State(row[0]), row[1:]
        # Another run has it; or this one, which may be about to send it, and is refused then.
        if owner is not None and (owner != self._journal.store.owner or state is State.PENDING):
            return Applied.LATER
        no_outcome = state in NO_OUTCOME
        if not (receipt.attempt > attempts or (receipt.attempt == attempts and no_outcome)):
            self._note_superseded(receipt, f"{source}: row {id!r}")
            return Applied.KNOWN
        if self._journal.id_of_request(receipt.request_id) is not None:
            return Applied.KNOWN
        changed: dict[str, Any] = {}
        if state is State.PENDING:  # its price went when it was reopened
            spent = self._journal.fetch_one(
                "SELECT usd FROM spending WHERE key = ? AND attempt = ?",
                receipt.key,
                receipt.attempt,
            )
            changed = {"price": spent and spent[0]}
        if receipt.attempt > attempts:  # what an earlier request came to is none of this one's
            self._journal.forget_outputs(receipt.key)
            changed |= {**NO_RESULT, "version": None}
        self._journal.transition(
            receipt.key,
            state,
            Event.RECEIPT,
            "found in receipts.log",
            error=None,
            request_id=receipt.request_id,
            attempts=receipt.attempt,
            submitted_at=receipt.at,
            **changed,
        )
        return Applied.AFTER if receipt.attempt > attempts and not is_rebuilt else Applied.NEW

    def _is_known(self, receipt: Receipt) -> bool:
        """Whether a row has the request, or had it before a person had the row sent again."""
        return (
            self._journal.id_of_request(receipt.request_id) is not None
            or self._journal.fetch_one(
                "SELECT 1 FROM events WHERE key = ? AND request_id = ?",
                receipt.key,
                receipt.request_id,
            )
            is not None
        )

    def _note_superseded(self, receipt: Receipt, where: str) -> None:
        """Keep, without a change of the row, the id of a request that came too late."""
        late = "the row had been sent again, or settled, before this id was known"
        log.warning("%s: %s may have been billed: %s.", where, receipt.request_id, late)
        self._journal.connection.execute(
            "INSERT INTO events (at, run, key, event, attempt, request_id, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._journal.now(), self._journal.run, receipt.key, Event.RECEIPT),
                *(receipt.attempt, receipt.request_id, late),
            ),
        )

    def _insert_recovered(self, receipt: Receipt) -> None:
        """Insert a row that is known by its receipt only; `reconcile` may complete it.

        The fingerprint of the manifest is forgotten, so that the manifest is read again.
        """
        stem = identity.safe_name(f"recovered-{receipt.key[:12]}")
        name = NameAllocator(self._journal).free(stem)
        self._journal.connection.execute(
            "INSERT INTO requests (key, id, name, folded, position, listed, source, model, input,"
            " state, created_at) VALUES (?, ?, ?, ?, 0, 0, 'receipts.log', '', '{}', 'submitting',"
            " ?)",
            (receipt.key, name, name, identity.fold_name(name), self._journal.now()),
        )
        self._journal.state_counts[State.SUBMITTING] += 1
        self._journal.set_meta({IMPORT_META: None})

    def list_rows(self, staged: StagedRows, memory: dict[str, Any] | None = None) -> None:
        """Bring the journal into line with the staged rows. memory: as `set_meta` takes it."""
        with self._journal.transaction():
            reconcile(self._journal, staged)
            self._journal.set_meta(memory or {})


def open_journal(
    stack: ExitStack, folder: Folder, clock: Clock, timing: Timing = DEFAULT_TIMING
) -> tuple[Journal, ReceiptLog]:
    """Open journal and receipts of a batch folder, and close them with `stack`.

    An empty or absent journal beside receipts is made anew, to be rebuilt from them. Raises
    StorageDamaged for one beside media files without receipts, and if a file cannot be opened.
    """
    place = folder.journal
    if isinstance(place, Path):
        files.refuse_linked_database(place)
        fresh = not place.exists() or place.stat().st_size == 0
    else:
        fresh = not has_journal(place, timing)
    try:
        if fresh and not is_receipt_log(folder.receipts):
            raise StorageDamaged(
                f"{folder.receipts} holds something else than receipts. Nothing was sent.",
                "Move it away, or choose another folder with --out.",
            )
        receipts = stack.enter_context(ReceiptLog(folder.receipts))
    except OSError as error:
        raise unwritable_receipts(folder.receipts, error) from error
    if fresh and receipts.end:
        log.warning("%s is gone: rebuilding it from receipts.log.", folder.journal)
    elif fresh and any((folder.path / name).is_dir() for name in stored_values.FOLDERS):
        raise StorageDamaged(
            f"{folder.path} holds pictures but no journal, so nobody can tell what was paid for."
            " Nothing was sent.",
            "Put batch.db or receipts.log back, or choose another folder with --out.",
        )
    journal = open_for_writing(folder, clock, timing)
    stack.callback(journal.close)
    return journal, receipts


def open_for_writing(folder: Folder, clock: Clock, timing: Timing = DEFAULT_TIMING) -> Journal:
    """Open the journal of a batch whose folder the caller has locked.

    Raises BatchBusy where another machine keeps it from being opened, and StorageDamaged.
    """
    try:
        return Journal(folder.journal, clock, timing)
    except BatchBusy as busy:
        raise BatchBusy(str(folder.path), busy.holder) from None


def unwritable_receipts(path: Path, error: OSError) -> StorageDamaged:
    """Return the error for a receipts.log that cannot be opened or written at a start."""
    return StorageDamaged(
        f"{path} cannot be written: {error.strerror}. Nothing was sent.",
        "Make room, or make the folder writable.",
    )
