"""`report`: write the reports of a batch; of a damaged journal, what can still be read."""

import tempfile
from contextlib import closing
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.core.text import plural
from batchgen.errors import (
    JournalLocked,
    JournalUnusable,
    LeadsOutside,
    NewerJournal,
    StorageDamaged,
)
from batchgen.journal.reader import Reader
from batchgen.journal.salvage import add_receipts, salvage
from batchgen.report.filters import Filter
from batchgen.report.tables import ExcelFormat, make_thumbnails, write_report_files


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
            found = salvage(folder.journal, copy)
            added = add_receipts(copy, folder)
            more = f" and {plural(added, 'more request')} found in receipts.log" if added else ""
            rows = f"{plural(found, 'row')} could still be read{more}"
            what = f"{error.what} {rows}; the reports show these."
            write(copy, what)
        raise StorageDamaged(what, error.remedy) from error
