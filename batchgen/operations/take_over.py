"""The start of a run, once the journal is open: what a run before left, and the manifest's rows."""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.likeness import input_changes
from batchgen.core.states import State
from batchgen.core.text import plural, shell_quote
from batchgen.core.timing import Timing
from batchgen.errors import StoppedEarly, StorageDamaged, UsageError
from batchgen.journal.comparison import compare
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.recovery import Recovery, unwritable_receipts
from batchgen.journal.rewriting import Kind, Pair
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal
from batchgen.manifest.source import STDIN
from batchgen.operations.find_batch import Ask, SecondBatch, begins_by_will
from batchgen.operations.known_batches import KnownBatches, ListPath
from batchgen.operations.unchanged import ManifestImport

log = logging.getLogger(__name__)

STEP_S = 0.25  # between two looks at other machines
GONE_LATE_S = 2.0  # later than promised, on a busy computer


def refuse_mixed_batch(
    journal: Journal, receipts: ReceiptLog, folder: Folder, *, rehearsing: bool
) -> None:
    """Raise UsageError if the batch is a rehearsal and this run is not, or the other way round.

    Else a placeholder could pass for a paid file, and the API be asked for a rehearsal's request.
    A journal that is made anew does not know; the sandbox's ledger, in which no real request is,
    tells whose the receipts are.
    """
    before = journal.get_meta("sandbox")
    if before is None and receipts.end:
        from batchgen.sandbox.ledger import has_accepted

        before = has_accepted(folder.sandbox)
    if before is not None and before != rehearsing:
        kind = "a rehearsal with --sandbox" if before else "a batch of real requests"
        raise UsageError(
            f"{folder.path} holds {kind}. Nothing was sent.",
            "Choose another folder with --out" + (", or delete that one." if before else "."),
        )
    with journal.transaction():
        journal.set_meta({"sandbox": rehearsing})


def refuse_renamed(
    staged: StagedRows,
    manifest: str,
    folder: Folder,
    options: RunOptions,
    known: KnownBatches,
    ask: Ask,
) -> None:
    """Raise SecondBatch for a list that was renamed or moved: another batch has its rows.

    That is of a list which is gone. `--out` and `--new-batch` say that a second one is meant.
    """
    if begins_by_will(options):
        return
    for batch in known.of_gone_lists():
        other, paid = Folder(Path(batch.folder)), 0
        with suppress(UsageError, StorageDamaged), compare(staged, other.journal) as comparison:
            paid = comparison.count_paid()
        if paid:
            rows = "1 row is" if paid == 1 else f"{paid} rows are"
            what = (
                f"{manifest}: {rows} paid for in {other.path}, the batch of {batch.written}, which"
                f" is gone. A second one in {folder.path} would pay for them again."
            )
            if not ask(f"{what} Go on all the same?"):
                raise SecondBatch(
                    f"{what} Nothing was sent.",
                    "If the list was renamed or moved, go on there: add --out"
                    f" {shell_quote(str(other.path))}\nTo begin a second one, add --new-batch.",
                )
            return


def _refuse_other_list(
    journal: Journal, staged: StagedRows, manifest: str, flags: RunOptions
) -> None:
    """Raise UsageError for another file than before, of which the journal has no row.

    Such a list was probably not meant for this folder. `--new-list` allows it. It is the same file
    if its path is, as it was written: a link may lead to another file every day. Before 0.2, the
    journal kept the path without links. All lists from pipes pass for one. While the file of before
    is there, an id in common makes no row the same: most lists count from 1.
    """
    before = journal.get_meta("manifest")
    wanted = None if manifest == STDIN else ListPath.of(manifest)
    path = wanted.written if wanted else STDIN
    same = before is None or before == path or (wanted and before == wanted.resolved)
    if not same and not flags.new_list:
        with compare(staged, journal.path) as comparison:
            shares_a_row = comparison.shares_a_row(by_id=not os.path.lexists(before))
        listed = journal.count_listed()
        if listed and not shares_a_row:
            raise UsageError(
                f"{_whose(journal)} holds {plural(listed, 'row')} of {before}, and {manifest}"
                " has none of them. Nothing was sent.",
                f"Choose another {_another(journal)}, or let the new list take the place of the old"
                " one with --new-list; what was paid for stays.",
            )
    with journal.transaction():
        journal.set_meta({"manifest": path})


def _another(journal: Journal) -> str:
    return "name with --batch" if journal.is_shared else "folder with --out"


def _whose(journal: Journal) -> str:
    """Return what holds the batch, for messages: its folder, or its name in a database."""
    return str(journal.path.parent if isinstance(journal.path, Path) else journal.path)


def _settle_rewritten(
    journal: Journal, staged: StagedRows, manifest: str, flags: RunOptions, ask: Ask
) -> None:
    """Take rows that were only written differently for those that were sent.

    Raises UsageError where only the ids are others: it may be an accident, or the wish for new
    pictures. `--allow-changed`, or a person who is asked, says which.
    """
    with compare(staged, journal.path) as comparison:
        found = comparison.pair_rewritten()
    if same := found.counts.get(Kind.SAME):
        log.info(
            "%s: %s sent already: what differs is how ids or texts are written%s.",
            manifest,
            "1 row was" if same == 1 else f"{same} rows were",
            _ids(found.examples[Kind.SAME]),
        )
    if renamed := found.counts.get(Kind.RENAMED):
        rows = "1 row was" if renamed == 1 else f"{renamed} rows were"
        what = (
            f"{manifest}: {rows} sent under another id{_ids(found.examples[Kind.RENAMED])}, and"
            " would be paid for again."
        )
        if not flags.allow_changed and not ask(f"{what} Go on and pay?"):
            raise UsageError(
                f"{what} Nothing was sent.",
                "Write the ids as they were to keep the pictures, or add --allow-changed to pay"
                " for new ones.",
            )
        log.info("%s", what)
    if changed := found.counts.get(Kind.CHANGED):
        pair = found.examples[Kind.CHANGED][0]
        changes = input_changes((pair.paid_model, pair.paid_input), pair.model, pair.input)
        log.info(
            "%s: %s new, with the prompt of a paid row that is no longer listed, e.g. %s: %s.",
            manifest,
            "1 row is" if changed == 1 else f"{changed} rows are",
            pair.id or pair.source,
            ", ".join(changes),
        )


def _refuse_unclaimed(
    journal: Journal, staged: StagedRows, manifest: str, flags: RunOptions, ask: Ask
) -> None:
    """Raise UsageError where a rebuilt journal has requests of no row, and the list has new rows.

    Receipts have a row's key only, which is another one where its text was rewritten since.
    `--allow-changed`, or a person who is asked, says that the rows are new.
    """
    if journal.get_meta("manifest") is not None or flags.allow_changed:
        return
    with compare(staged, journal.path) as comparison:
        unclaimed, new = comparison.count_unclaimed()
    if not (unclaimed and new):
        return
    what = (
        f"{manifest}: {plural(unclaimed, 'request')} of receipts.log"
        f" {'is' if unclaimed == 1 else 'are'} paid for and of no row as the list is written now,"
        f" and {plural(new, 'row')} would be paid for."
    )
    if not ask(f"{what} Go on and pay?"):
        raise UsageError(
            f"{what} Nothing was sent.",
            "Put a backup of batch.db back, or the list as it was when it was sent. To pay for what"
            " is new, add --allow-changed.",
        )
    log.info("%s", what)


def _ids(examples: list[Pair]) -> str:
    """Return the first ids that differ, as ` (0001 -> 1, …)`; empty where none does."""
    shown = [
        f"{pair.paid_id} -> {pair.id}" for pair in examples if pair.id not in (None, pair.paid_id)
    ]
    return f" ({', '.join(shown)})" if shown else ""


def take_over(
    journal: Journal,
    receipts: ReceiptLog,
    manifest: ManifestImport,
    flags: RunOptions,
    ask: Ask,
    timing: Timing,
) -> None:
    """Recover, and list the manifest's rows.

    ask: as `run` has it. Raises UsageError, before the manifest's rows are listed, as
    `_settle_rewritten` and `_refuse_other_list` do, StoppedEarly where other machines work through
    another version of it, and StorageDamaged or a subclass.
    """
    recovery = Recovery(journal)
    found = recovery.recover(recovery.unread(receipts), receipts.end)
    found += _let_go_of_others(journal, recovery, timing)
    _tell_recovered(found)
    if manifest.is_listed_in(journal):
        log.debug("%s has not changed since it was read last.", manifest.file)
    elif others := journal.other_machines():
        _refuse_other_list(journal, manifest.listing, manifest.file, flags)
        _refuse_other_version(journal, manifest, others[0].process)
    else:
        _refuse_unclaimed(journal, manifest.listing, manifest.file, flags, ask)
        _settle_rewritten(journal, manifest.listing, manifest.file, flags, ask)
        _refuse_other_list(journal, manifest.listing, manifest.file, flags)
        recovery.list_rows(manifest.listing, manifest.memory())
    try:
        recovery.complete(receipts)  # not of a batch that is refused, as another list's
    except OSError as error:
        raise unwritable_receipts(receipts.path, error) from error


def recover_submitting(journal: Journal, folder: Folder) -> None:
    """Do what the start of a run does for the rows that a run left `submitting` which is gone.

    Else nobody could settle or cancel them before the next run. The caller holds the folder's lock.
    With the journal in a database, where other machines may have such rows, they are only told of.
    Raises StorageDamaged or a subclass.
    """
    if not (rows := journal.requests_in(State.SUBMITTING)):
        return
    if journal.is_shared:
        machines = [one for one in journal.other_machines() if one.stands]
        gone = len(rows) - sum(one.rows.get(State.SUBMITTING, 0) for one in machines)
        if gone > 0:
            log.warning(
                "%s left `submitting` by a run that is gone, and not looked at here. The next run"
                " tells which of them are unknown; then give this command again.",
                "1 row was" if gone == 1 else f"{gone} rows were",
            )
        return
    recovery = Recovery(journal)
    try:
        with ReceiptLog(folder.receipts) as receipts:
            found = recovery.recover(recovery.unread(receipts), receipts.end)
    except OSError as error:
        raise unwritable_receipts(folder.receipts, error) from error
    _tell_recovered(found)


def _tell_recovered(found: Counter[str]) -> None:
    """found: as `Recovery.recover` returns it."""
    if found["receipts"]:
        log.info("Found in receipts.log: %s.", plural(found["receipts"], "request"))
    if found["older"]:
        log.warning(
            "The journal is older than receipts.log, as a backup is: %s sent after it. Rows whose"
            " answers were lost after it are pending in it, and are paid for again.",
            "1 request was" if found["older"] == 1 else f"{found['older']} requests were",
        )
    if found["unknown"]:
        rows = plural(found["unknown"], "row")
        log.warning("Unknown, since the last run ended in mid-request: %s.", rows)


def _let_go_of_others(journal: Journal, recovery: Recovery, timing: Timing) -> Counter[str]:
    """Wait until runs whose session has ended are back, or let go."""
    found: Counter[str] = Counter()
    until, told = time.monotonic() + timing.machine_gone + GONE_LATE_S, False
    while time.monotonic() < until:
        broken = [one for one in journal.other_machines() if not one.stands]
        if not broken:
            break
        if not told:
            log.info(
                "The connection of process %s has ended: waiting up to %.0f s for it to be back.",
                broken[0].process,
                timing.machine_gone,
            )
        told = True
        time.sleep(STEP_S)
        found += recovery.recover([], 0)
    return found


def _refuse_other_version(journal: Journal, manifest: ManifestImport, process: str) -> None:
    """Raise StoppedEarly for a list that would add or take out rows while others are at work."""
    with compare(manifest.listing, journal.path) as comparison:
        new, gone = map(_any, (comparison.new_rows(), comparison.unlisted_keys()))
    if new or gone:
        what = " and ".join(["has new rows"] * new + ["lacks rows"] * gone)
        raise StoppedEarly(
            f"{manifest.file} {what}: it is not what other machines (process {process}) work"
            f" through in {journal.path}. Nothing was sent.",
            "Give every machine the same list, or run this one when they have ended.",
        )


def _any(rows: Iterator[object]) -> bool:
    return next(rows, None) is not None


def states_to_send(options: RunOptions) -> list[State]:
    """Return the states whose rows a run sends: pending ones, and those that a person reopens."""
    return [State.PENDING, *_reopened(options)]


def reopen(journal: Journal, options: RunOptions) -> None:
    """Make the rows pending that the person asked to send again."""
    recovery = Recovery(journal)
    for state, option in _reopened(options).items():
        recovery.reopen(state, option)


def _reopened(options: RunOptions) -> dict[State, str]:
    reopened = {}
    if options.retry_failed:
        reopened[State.FAILED] = "--retry-failed"
    if options.on_unknown == "resubmit":
        reopened[State.UNKNOWN] = "--on-unknown resubmit"
    return reopened
