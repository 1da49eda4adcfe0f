"""The import of a manifest, which is left out if the journal has the same rows already.

A fingerprint stands for everything that decides how a manifest's rows come out: the bytes of its
files and of the schemas, the options, and the program's version. Beside it are the files of
wildcards that were read, which are known only then. The journal keeps both in the transaction that
lists the rows. In any doubt there is no fingerprint, and the manifest is read.

Of the local files that rows have, sent as inputs, it has size, both times and inode: hashing them
all would take minutes in each night. A file that was written to and has all of these as before is
not sent either: its hash is compared before its submission.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from batchgen import __version__
from batchgen.batch_folder import JournalPlace
from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.errors import StorageDamaged, UsageError
from batchgen.files import open_regular
from batchgen.journal.reader import Reader
from batchgen.journal.recovery import IMPORT_META
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal
from batchgen.manifest.read_media_folder import captions, media_files
from batchgen.manifest.read_text import text_files
from batchgen.manifest.source import FOLDER, ManifestSource
from batchgen.manifest.wildcard_files import WildcardFiles

Fingerprint = dict[str, str]  # of the schemas: SHA-256 by file


def manifest_fingerprint(
    sources: Collection[ManifestSource], options: Mapping[str, Any], version: str = __version__
) -> str | None:
    """Return the fingerprint of the manifest's files and options; None if there can be none.

    sources: the manifest, and the file that it takes its rows from. Standard input and pipes have
        none, since they can be read only once.
    version: of batchgen; another one may read the same file differently.
    """
    found: list[Any] = [version, sorted(options.items())]
    try:
        for source in sources:
            if source.path is None:
                return None
            open = source.allowed.open if source.allowed else open_regular
            files = [source.path]
            if source.is_media_folder:  # whose files are told by `ManifestImport`
                found += [source.input, media_files(source.path), str(source.path.resolve())]
                files = [source.path / name for name in captions(source.path)]
            elif source.format == FOLDER:
                files = [source.path / name for name in text_files(source.path)] or files
            for path in files:
                if not path.is_file():
                    return None
                # Size and time before the bytes, for a file that changes while it is read.
                found += [source.file, source.format, source.seen, _size_and_time(path)]
                found += [_digest(path, open), str(path.resolve())]
    except OSError:
        return None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def schema_fingerprints(given: object, *folders: Path) -> Fingerprint | None:
    """Return the SHA-256 of each schema file that may be used; None if one cannot be read.

    given: the file of `--schema`, if it is one; what stands in the manifest is the manifest's.
    """
    files = {"--schema": given} if isinstance(given, Path) else {}
    for number, folder in enumerate(folders):
        for path in folder.rglob("*.json"):
            files[f"{number}/{path.relative_to(folder).as_posix()}"] = path
    try:
        if any(path.stat().st_size > DEFAULT_LIMITS.schema_bytes for path in files.values()):
            return None
        return {name: _digest(path) for name, path in files.items()}
    except (OSError, ValueError):
        return None


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _digest(path: Path, open: Callable[[Path], BufferedReader] = open_regular) -> str:
    with open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(eq=False)
class ManifestImport:
    """The import of one manifest by one run.

    _manifest_fingerprint: as the function `manifest_fingerprint` returns it.
    _current_schemas: returns the fingerprints of the schemas as they are now.
    _seen: returns what tells whether the local file at a path was written to; None where it cannot
        be read.
    _read: reads the manifest into `listing`, and returns how many problems it has.
    _wildcards: the files that it names.
    """

    file: str
    listing: StagedRows
    _manifest_fingerprint: str | None
    _current_schemas: Callable[[], Fingerprint | None]
    _seen: Callable[[str], str | None]
    _read: Callable[[], int]
    _wildcards: WildcardFiles
    _problems: int | None = None
    _files: str = ""  # the fingerprint of the local files; "" until it is known

    def __post_init__(self) -> None:
        self._schemas = self._current_schemas()

    def unless_listed_in(self, journal: JournalPlace) -> None:
        """Read the manifest, before anything is written, unless the journal has its rows.

        journal: batch.db, or a batch in a database, which may be absent or damaged.
        """
        fingerprint = self._fingerprint()
        if fingerprint is not None:
            # A damaged journal is reported later, when it is opened for writing.
            with suppress(UsageError, StorageDamaged), closing(Reader(journal)) as reader:
                kept = reader.get_meta(IMPORT_META) or {}
                if kept.get("seal") == fingerprint and self._has_wildcards_of(kept):
                    files = _combine((path, self._seen(path)) for path in reader.local_files())
                    if files == kept.get("files"):
                        self._files = files
                        return
        self._problems = self._read()

    def is_listed_in(self, journal: Journal) -> bool:
        """Return whether the journal lists exactly the manifest's rows; else they are read by now.

        Called after the receipts were applied: one of a row that the journal did not know makes it
        forget the fingerprint. The count shows rows that somebody deleted.
        """
        if self._problems is not None:
            return False
        before = journal.get_meta(IMPORT_META)
        if before is not None and self._has_wildcards_of(before):
            wildcards = before.get("wildcards", {})
            if before == self._with_rows(journal.count_listed(), wildcards):
                return True
        self._problems = self._read()
        return False

    def memory(self) -> dict[str, Any]:
        """Return what to keep, as `set_meta` takes it, in the transaction that lists the rows.

        A manifest with problems gets no fingerprint: each run reads it, and tells the problems.
        """
        before, after = self._schemas, self._current_schemas()
        self._schemas = after
        # Reading may have added schemas that were fetched; none of the others may have changed.
        held = before is not None and after is not None and before.items() <= after.items()
        if self._problems or not held or self._manifest_fingerprint is None:
            return {IMPORT_META: None}
        self._files = _combine(self.listing.files())
        return {IMPORT_META: self._with_rows(len(self.listing), self._wildcards.digests)}

    def _with_rows(self, rows: int, wildcards: Mapping[str, str]) -> dict[str, Any]:
        found = {"seal": self._fingerprint(), "rows": rows, "files": self._files}
        return found | {"wildcards": dict(wildcards)}

    def _has_wildcards_of(self, kept: Mapping[str, Any]) -> bool:
        """Whether the files of wildcards are as they were when the kept rows were read."""
        wildcards = kept.get("wildcards", {})
        return bool(wildcards == self._wildcards.current(wildcards))

    def _fingerprint(self) -> list[Any] | None:
        if self._manifest_fingerprint is None or self._schemas is None:
            return None
        return [self._manifest_fingerprint, self._schemas]


def _combine(files: Iterable[tuple[str, str | None]]) -> str:
    """Return a fingerprint of local files: (path, what `_seen` tells).

    One that cannot be read gives another fingerprint than before.
    """
    digest = hashlib.sha256()
    for one in files:
        digest.update(f"{json.dumps(one)}\n".encode())
    return digest.hexdigest()
