"""What the person's other batches cost: a limit of the configuration counts all of them together.

Read from their journals, which hold the truth, whenever one has changed. Two runs cannot pass a
limit together: each makes its own reservation durable before it reads those of the other.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.core.addresses import JOURNAL_VARIABLE
from batchgen.core.text import shell_quote
from batchgen.errors import StoppedEarly, StorageDamaged, UsageError
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.reader import Reader

SAME_TICK_S = 2.0  # within which two writes may leave a file with one time
CLOCK_TOLERANCE_S = 86400.0  # between the journal's times and those of the file system

# When a journal and its log were last written, their sizes and their numbers.
_Stamp = tuple[tuple[int, int, int] | None, ...]


class OtherBatches:
    """The committed cost of the batches in some folders.

    folders: returns them as they are now; those without a batch, and rehearsals, cost nothing.
    account: by whose table those are counted that are sent to it and have their journals in the
        database of this batch; None where all are counted by their folders.
    database: URL of the one that the person names; a folder's that nobody names is not asked.
    """

    def __init__(
        self,
        folders: Callable[[], Iterable[Path]],
        account: Account | None = None,
        database: str | None = None,
    ) -> None:
        self._folders = folders
        self._database = database
        self._account = account
        self._found: dict[tuple[Path, str], tuple[_Stamp, float]] = {}

    def committed_usd(self, since: str) -> float:
        """Return the USD that are spent, reserved or possibly spent by all of them since a time.

        since: as the journal writes times.
        Raises StoppedEarly for a journal that was written since then and cannot be read.
        """
        folders = (Folder(path, named=self._database) for path in self._folders())
        here = sum(self._committed(folder, since) for folder in folders)
        return here if self._account is None else here + self._account.committed_by_others(since)

    def _committed(self, folder: Folder, since: str) -> float:
        try:
            place = folder.journal
        except (UsageError, StorageDamaged) as error:
            raise _unreadable(folder, error) from None
        if not isinstance(place, Path):  # which does not say when it was written to
            counted = self._account is not None and self._account.counts(place)
            return 0.0 if counted else _read(folder, since)
        stamp = _stamp(place)
        written = max((part[0] / 1e9 for part in stamp if part), default=0.0)
        if written < datetime.fromisoformat(since).timestamp() - CLOCK_TOLERANCE_S:
            return 0.0
        known = self._found.get((folder.path, since))
        if known is not None and known[0] == stamp:
            return known[1]
        usd = _read(folder, since)
        if written < time.time() - SAME_TICK_S:
            self._found[folder.path, since] = stamp, usd
        return usd


def _stamp(journal: Path) -> _Stamp:
    """Return the state of a journal's files; taken before it is read, so it is never too new."""
    found: list[tuple[int, int, int] | None] = []
    for path in (journal, journal.with_name(f"{journal.name}-wal")):
        try:
            status = os.stat(path)  # noqa: PTH116
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def _read(folder: Folder, since: str) -> float:
    try:
        with closing(Reader(folder.journal)) as reader:
            return 0.0 if reader.is_rehearsal() else reader.committed_usd(since)
    except UsageError:  # it is gone, or just being made
        return 0.0
    except StorageDamaged as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Folder, error: UsageError | StorageDamaged) -> StoppedEarly:
    if isinstance(error, UsageError):
        remedy = f"If that is your database, set {JOURNAL_VARIABLE} to its URL."
    else:
        place = shell_quote(str(folder.path))
        remedy = f"Run its list again, which repairs it or says how; see batchgen status {place}"
    return StoppedEarly(
        f"What the batch in {folder.path} has cost cannot be read, and the limits of your"
        f" configuration count all batches: {error.what}",
        f"{remedy}\n"
        "To count this list alone, give the run a limit of its own: --max-cost-per-day or"
        " --max-cost-per-month.",
    )
