"""Which list has which batch, as this user's runs have left it: advice, never the truth.

A small JSON file in the user's state folder, so that the list is known from any working directory.
What was paid for stands in each batch's own journal. Where the file is missing, damaged or cannot
be written, a run does what it did without it. Several computers may share a home: each entry has
the name of its computer.
"""

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from itertools import takewhile
from pathlib import Path

from batchgen.batch_folder import Folder
from batchgen.config import has_name_of_its_own
from batchgen.errors import LeadsOutside
from batchgen.files import open_in_place, open_regular, take_lock, write_whole

log = logging.getLogger(__name__)

MOST_KEPT = 1000  # a list under its usual name and in its usual folder is one
MOST_GONE = 30  # lists that are not there any more, with which a new one is compared
MAX_BYTES = 4 << 20
LOCK_TRIES = 500  # five seconds: on a busy computer another run takes more than one for its entry


@dataclass(frozen=True, slots=True)
class ListPath:
    """The absolute path of a list: as it was written, and with its links followed."""

    written: str
    resolved: str

    @classmethod
    def of(cls, manifest: str) -> "ListPath | None":
        """Return the path of a manifest; None for one without a name of its own, such as `-`."""
        if not has_name_of_its_own(manifest):
            return None
        return cls(os.path.abspath(manifest), os.path.realpath(manifest))  # noqa: PTH100

    def names(self, path: str | None) -> bool:
        return path in (self.written, self.resolved)


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """A list and a folder in which it was run.

    written, resolved: as `ListPath` has them, when it was last run. folder: absolute.
    host: the computer. rehearsal: with the sandbox. at: when, as the journal writes it.
    media: where its files are kept; "" is the folder.
    """

    written: str
    resolved: str
    folder: str
    host: str
    rehearsal: bool
    at: str
    media: str = ""

    def is_of(self, wanted: ListPath) -> bool:
        return wanted.names(self.written) or wanted.names(self.resolved)

    def is_here(self) -> bool:
        """Say whether it was run on this computer, under the name that this has now."""
        return self.host == socket.gethostname()

    def is_found_here(self) -> bool:
        """Say whether it was run on this computer, whose name may have changed, or lies here."""
        with suppress(OSError):  # in a folder of somebody else
            return self.is_here() or Folder(Path(self.folder)).holds_batch()
        return False


class KnownBatches:
    """The user's memory of batches. path: of the file; None where there is no home. Never raises.

    The file is private, since it tells where somebody's lists are.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder and folder / "batches.json"

    def of(self, wanted: ListPath) -> list[KnownBatch]:
        """Return the batches of a list under either of its names, the last run first."""
        found = [batch for batch in self._read() if batch.is_of(wanted)]
        return sorted(found, key=lambda batch: batch.at, reverse=True)

    def folders_of(self, manifest: str) -> set[str]:
        """Return the folders of a list's batches."""
        wanted = ListPath.of(manifest)
        return {batch.folder for batch in self._read() if wanted and batch.is_of(wanted)}

    def begun_before(self, wanted: ListPath, folder: Path) -> list[KnownBatch]:
        """Return the batches of a list that were remembered before the one in `folder`."""
        place, found = str(folder.resolve()), [b for b in self._read() if b.is_of(wanted)]
        return [*takewhile(lambda batch: batch.folder != place, found)]

    def of_gone_lists(self) -> list[KnownBatch]:
        """Return the batches of lists which are not there any more, the last run first."""
        found = [
            b
            for b in self._read()
            if b.written
            and not b.rehearsal
            and not os.path.lexists(b.written)
            and b.is_found_here()
        ]
        return sorted(found, key=lambda batch: batch.at, reverse=True)[:MOST_GONE]

    def paid_here(self) -> list[Path]:
        """Return the folders of all batches that were run on this computer, but rehearsals."""
        found = (Path(b.folder) for b in self._read() if not b.rehearsal and b.is_found_here())
        return [*dict.fromkeys(found)]

    def media_of(self, folder: Path) -> frozenset[str]:
        """Return the places in which this person keeps files of a batch, on this computer."""
        place = str(folder.resolve())
        return frozenset(
            b.media for b in self._read() if b.is_here() and b.folder == place and b.media
        )

    def remember(
        self, manifest: str, folder: Path, *, rehearsal: bool, at: str, media: str = ""
    ) -> None:
        """Keep where a list is run; the entries that were used longest ago make room for it.

        at: the time, as the journal writes it. A list without a name of its own is kept without
        one, so that what it costs is known.
        """
        wanted = ListPath.of(manifest) or ListPath("", "")
        if self._path is None:
            return
        place, host = str(folder.resolve()), socket.gethostname()
        batch = KnownBatch(wanted.written, wanted.resolved, place, host, rehearsal, at, media)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(self._path.with_suffix(".lock")):
                kept = [asdict(one) for one in _with(batch, self._read())]
                with write_whole(self._path) as file:
                    json.dump(kept, file, ensure_ascii=False, indent=1)
        except (OSError, LeadsOutside) as error:
            log.debug("%s: %s: this batch is not remembered.", self._path, error)

    def _read(self) -> list[KnownBatch]:
        if self._path is None:
            return []
        try:
            with open_regular(self._path) as file:
                found = json.loads(file.read(MAX_BYTES))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            log.debug("%s cannot be read: %s: no batch is known.", self._path, error)
            return []
        return [*_well_formed(found)] if isinstance(found, list) else []


def _with(batch: KnownBatch, known: list[KnownBatch]) -> list[KnownBatch]:
    """Return the entries with this one in place of its predecessor, the last run at the end."""

    def place(of: KnownBatch) -> tuple[str, ...]:
        return of.written, of.resolved, of.folder, of.host

    others = [one for one in known if place(one) != place(batch)]
    return [*sorted(others, key=lambda one: one.at), batch][-MOST_KEPT:]


def _well_formed(found: Iterable[object]) -> Iterator[KnownBatch]:
    kinds = {field.name: bool if field.name == "rehearsal" else str for field in fields(KnownBatch)}
    for entry in found:
        if not isinstance(entry, dict):
            continue
        whole = {"media": "", **entry}  # before 0.3 there was no such place
        if all(isinstance(whole.get(name), kind) for name, kind in kinds.items()):
            yield KnownBatch(**{name: whole[name] for name in kinds})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let two runs write one after the other. Raises OSError where that takes too long."""
    handle = open_in_place(path)
    try:
        if not take_lock(handle, LOCK_TRIES):
            raise OSError(None, "another run keeps it locked")
        yield
    finally:
        os.close(handle)
