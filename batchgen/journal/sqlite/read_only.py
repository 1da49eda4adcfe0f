"""A journal on a file system that cannot be written: a backup's, or another computer's.

To read what `-wal` has, SQLite needs a file `-shm` beside it, which it makes where it is missing.
Without it, `immutable` would read the journal without the latest transactions.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def uri_for_reading(journal: Path) -> Iterator[str]:
    """Yield the name by which SQLite opens a journal for reading; an absent one is empty.

    It is that of a copy where SQLite could not read the journal itself.

    The copy lasts as long as the block. Raises OSError where there is no room for it.
    """
    if not journal.is_file():
        yield ":memory:"
        return
    beside = {ending: journal.with_name(journal.name + ending) for ending in ("-wal", "-shm")}
    if os.access(journal.parent, os.W_OK) or beside["-shm"].exists():
        yield f"{journal.resolve().as_uri()}?mode=ro"
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, journal.name)
        shutil.copyfile(journal, copy)
        if beside["-wal"].exists():
            shutil.copyfile(beside["-wal"], copy.with_name(beside["-wal"].name))
        yield f"{copy.as_uri()}?mode=ro"
