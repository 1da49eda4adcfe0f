"""Opening a batch's books, journal and receipts, and taking over what the last run left there."""

import logging
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.states import State
from batchgen.core.text import plural
from batchgen.errors import UsageError
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.recovery import Recovery, _cannot_write
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal
from batchgen.operations.unchanged import ManifestImport

log = logging.getLogger("batchgen")


def refuse_mixed_batch(journal: Journal, folder: Folder, *, rehearsing: bool) -> None:
    """A rehearsal's placeholders must never pass for pictures, nor its ids be asked about."""
    before = journal.get_meta("sandbox")
    if before is not None and before != rehearsing:
        kind = "a rehearsal with --sandbox" if before else "a batch of real requests"
        raise UsageError(
            f"{folder.path} holds {kind}. Nothing was sent.",
            "Choose another folder with --out" + (", or delete that one." if before else "."),
        )
    with journal.transaction():
        journal.set_meta({"sandbox": rehearsing})


def _refuse_other_list(
    journal: Journal, listing: StagedRows, manifest: str, flags: RunOptions
) -> None:
    """A list that shares no row with the one before it was hardly meant for the same folder."""
    before = journal.get_meta("manifest")
    path = manifest if manifest.startswith("<") else str(Path(manifest).resolve())
    if before not in (None, path) and not flags.new_list:
        with listing.beside(journal.path) as db:
            (held,) = db.execute(
                "SELECT COUNT(*) FROM journal.requests WHERE listed = 1"
            ).fetchone()
            shared = db.execute(
                "SELECT 1 FROM rows JOIN journal.requests AS o"
                " ON o.key = rows.key OR (o.id = rows.id AND o.listed = 1) LIMIT 1"
            ).fetchone()
        if held and not shared:
            raise UsageError(
                f"{journal.path.parent} holds {plural(held, 'row')} of {before}, and {manifest} has"
                " none of them. Nothing was sent.",
                "Choose another folder with --out, or let the new list take the place of the old"
                " one with --new-list; what was paid for stays.",
            )
    with journal.transaction():
        journal.set_meta({"manifest": path})


def take_over(
    journal: Journal, receipts: ReceiptLog, reading: ManifestImport, flags: RunOptions
) -> None:
    """Recover, list the manifest's rows, and reopen what the person asked to."""
    intake = Recovery(journal)
    read_to = journal.get_meta("receipts_read") or 0
    found = intake.recover(receipts.since(read_to), receipts.end)
    try:
        intake.complete(receipts)
    except OSError as error:
        raise _cannot_write(journal.path.with_name("receipts.log"), error) from error
    if found["receipts"]:
        log.warning("Found in receipts.log: %s.", plural(found["receipts"], "request"))
    if found["unknown"]:
        log.warning(
            "Unknown, since the last run ended in mid-request: %s.", plural(found["unknown"], "row")
        )
    if reading.is_listed_in(journal):
        log.info("%s has not changed since it was read last.", reading.file)
    else:
        _refuse_other_list(journal, reading.listing, reading.file, flags)
        intake.list_rows(reading.listing, reading.memory())
    if flags.retry_failed:
        intake.reopen(State.FAILED, "--retry-failed")
    if flags.on_unknown == "resubmit":
        intake.reopen(State.UNKNOWN, "--on-unknown resubmit")
