"""`report` and `pull`: write the reports of a batch, of a damaged journal what can still be read,
and move files between its folder and its store.
"""

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from batchgen import event_loop
from batchgen.batch_folder import Folder
from batchgen.config import RunOptions
from batchgen.core.text import plural
from batchgen.core.timing import Timing
from batchgen.errors import (
    JournalLocked,
    JournalUnusable,
    LeadsOutside,
    NewerJournal,
    StorageDamaged,
    UsageError,
)
from batchgen.journal.reader import Reader
from batchgen.journal.salvage import add_receipts, salvage
from batchgen.operations.batch import find_destination
from batchgen.report import statistics
from batchgen.report.filters import Filter
from batchgen.report.tables import ExcelFormat, make_thumbnails, write_report_files
from batchgen.storage import upload
from batchgen.storage.object_store import ObjectStore
from batchgen.storage.pull import Elsewhere, Pulled, pull, wanted_files


def write_report(
    folder: Folder, view: Filter, *, thumbnails: bool, excel: ExcelFormat | None = None
) -> int:
    """Write the reports; return how many rows the gallery shows.

    view, thumbnails, excel: as `write_report_files` takes them. Raises StorageDamaged for a damaged
    journal, after the reports were written from what can still be read of it; it says how much.
    Raises SharedFolder before anything is written.
    """

    def write(journal: Path | None = None, damaged: str = "") -> int:
        shown = write_report_files(
            folder, journal, damaged, view=view, thumbnails=thumbnails, excel=excel
        )
        if thumbnails:
            make_thumbnails(folder)
        return shown

    folder.refuse_others()
    try:
        with closing(Reader(folder.journal)) as reader:
            reader.check()
        return write()
    except (JournalLocked, JournalUnusable, LeadsOutside, NewerJournal):
        raise
    except StorageDamaged as error:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "batch.db"
            if not isinstance(folder.journal, Path):
                raise  # what is damaged in a database, its owner restores
            found = salvage(folder.journal, copy)
            added = add_receipts(copy, folder)
            more = f" and {plural(added, 'more request')} found in receipts.log" if added else ""
            rows = f"{plural(found, 'row')} could still be read{more}"
            what = f"{error.what} {rows}; the reports show these."
            write(copy, what)
        raise StorageDamaged(what, error.remedy) from error


def pull_media(
    folder: Folder, flags: RunOptions, show: Callable[[str], None], timing: Timing
) -> Pulled:
    """Fetch from the store what is missing in the folder; `show` gets a line for each file that is
    left. A batch without a store has nothing to fetch.

    Raises BatchBusy where a run has the folder, and as `find_destination` and `pull` do.
    """
    with folder.locked(), closing(Reader(folder.journal)) as reader:
        destination = find_destination(reader, folder, flags, timing)
        if not isinstance(destination, Elsewhere):
            return Pulled()
        with reader.one_moment():
            wanted = wanted_files(reader.rows())
            return event_loop.run(pull(destination, folder.path, wanted, show))


def upload_report(folder: Folder, flags: RunOptions, timing: Timing) -> str:
    """Put the report that was written into the batch's store; return its page there.

    Raises UsageError where the batch has no store, and as `find_destination` and
    `upload.upload_report` do.
    """
    with closing(Reader(folder.journal)) as reader:
        destination = find_destination(reader, folder, flags, timing)
        batch_id = statistics.batch_id(reader)
    if not isinstance(destination, ObjectStore):
        raise UsageError(
            f"{folder.path} has its files in a folder, and no object store for its report.",
            "Leave out --media upload; --to makes a copy that can be put on a web server.",
        )
    event_loop.run(upload.upload_report(destination, folder.path, batch_id))
    return f"{destination.place}/{upload.PAGE}"
