"""Whether a manifest was listed before just as it is now, so that nothing of it need be read again.

A seal stands for all that decides how the rows come out: every file, byte for byte, the options,
and the program's version. The journal remembers it in the transaction that lists the rows. Where
anything is in doubt there is no seal, and the manifest is read.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from batchgen import __version__
from batchgen.errors import StorageDamaged, UsageError
from batchgen.files import open_regular
from batchgen.journal.reader import Reader
from batchgen.journal.recovery import IMPORT_META
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal
from batchgen.manifest.read_text import text_files
from batchgen.manifest.source import ManifestSource
from batchgen.validation.model_schema import MAX_SCHEMA_BYTES

Fingerprint = dict[str, str]


def manifest_fingerprint(
    sources: Collection[ManifestSource], options: Mapping[str, Any]
) -> str | None:
    """Return the digest of the manifest's files and options; None where it cannot be told.

    sources: the manifest, and the file that it takes its rows from. Standard input and pipes can
    be read only once, so they have no seal.
    """
    found: list[Any] = [__version__, sorted(options.items())]
    try:
        for source in sources:
            if source.path is None:
                return None
            open = source.allowed.open if source.allowed else open_regular
            is_folder = source.format == "folder"
            files = [source.path / name for name in text_files(source.path)] if is_folder else []
            for path in files or [source.path]:
                if not path.is_file():
                    return None
                # The time is first: a file that is changed and changed back while it is read.
                found += [source.file, source.format, source.seen, _changed(path)]
                found += [_digest(path, open), str(path.resolve())]
    except OSError:
        return None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def schema_fingerprints(given: Path | None, *folders: Path) -> Fingerprint | None:
    """Return the digest of each schema file that may be used; None if one of them cannot be."""
    files = {} if given is None else {"--schema": given}
    for number, folder in enumerate(folders):
        for path in folder.rglob("*.json"):
            files[f"{number}/{path.relative_to(folder).as_posix()}"] = path
    try:
        if any(path.stat().st_size > MAX_SCHEMA_BYTES for path in files.values()):
            return None
        return {name: _digest(path) for name, path in files.items()}
    except (OSError, ValueError):
        return None


def _changed(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _digest(path: Path, open: Callable[[Path], BufferedReader] = open_regular) -> str:
    with open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ManifestImport:
    """The reading of one manifest by one run, which is left out where nothing has changed.

    list_seal: as `seal_of_list` has it. schemas: gives those that hold now.
    read: reads the manifest into `listing`, and returns how many problems it has.
    """

    def __init__(
        self,
        file: str,
        listing: StagedRows,
        list_seal: str | None,
        schemas: Callable[[], Fingerprint | None],
        read: Callable[[], int],
    ) -> None:
        self.file = file
        self.listing = listing
        self._list_seal = list_seal
        self._schemas = schemas
        self._schemas_before = schemas()
        self._read = read
        self._problems: int | None = None

    def unless_listed_in(self, journal: Path) -> None:
        """Read the manifest now, before anything is written, unless the journal has it already."""
        if self._seal() is None or self._seal() != (_remembered(journal) or {}).get("seal"):
            self._problems = self._read()

    def is_listed_in(self, journal: Journal) -> bool:
        """Say whether the journal has these very rows; if not, they have been read now.

        A receipt of a row that the journal did not know, or a hand in it, may have changed that.
        """
        if self._problems is not None:
            return False
        before = journal.get_meta(IMPORT_META)
        (rows,) = journal.fetch_one("SELECT COUNT(*) FROM requests WHERE listed = 1")
        if before is not None and before == self._memory(rows):
            return True
        self._problems = self._read()
        return False

    def memory(self) -> dict[str, Any]:
        """What to remember in the transaction that lists the rows.

        Problems are told on each run, so a list that has some is read on each run.
        """
        after = self._schemas()
        before, self._schemas_before = self._schemas_before, after
        # A fetched schema is kept, and holds from then on; no other may have changed meanwhile.
        held = before is not None and after is not None and before.items() <= after.items()
        if self._problems or not held or self._list_seal is None:
            return {IMPORT_META: None}
        return {IMPORT_META: self._memory(len(self.listing))}

    def _memory(self, rows: int) -> dict[str, Any]:
        return {"seal": self._seal(), "rows": rows}

    def _seal(self) -> list[Any] | None:
        if self._list_seal is None or self._schemas_before is None:
            return None
        return [self._list_seal, self._schemas_before]


def _remembered(journal: Path) -> Any:
    """What the last run remembered; None where there was none, or the journal is damaged, which
    is told when it is opened."""
    try:
        reader = Reader(journal)
    except (UsageError, StorageDamaged):
        return None
    try:
        return reader.get_meta(IMPORT_META)
    except StorageDamaged:
        return None
    finally:
        reader.close()
