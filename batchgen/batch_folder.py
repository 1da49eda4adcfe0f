"""The batch folder: the paths in it, its lock, and its file system."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from batchgen import files
from batchgen.core.addresses import (
    JOURNAL_VARIABLE,
    JournalAddress,
    journal_place_or_none,
    parse_batch_name,
    parse_journal_place,
)
from batchgen.core.text import shell_quote
from batchgen.errors import (
    BatchBusy,
    LeadsOutside,
    SharedFolder,
    StorageDamaged,
    UsageError,
)

# Deleted when the disk is full and a request_id has to be written.
BALLAST_BYTES = 1 << 20
LOCK_TRIES = 5  # `status` may be looking who holds it, which takes a moment
ANOTHER_DISK = "Choose a folder on a local disk with --out."
# What is replaced, deleted or written to in place, whoever made it.
REPLACED = (
    *("results.csv", "results-excel.csv", "results.jsonl", "summary.json"),
    *("report", "batchgen.log", ".lock"),
)
# What is written to without being replaced.
IN_PLACE = (
    *(f"batch.db{ending}" for ending in files.COMPANIONS),
    *("receipts.log", "batchgen.log", ".lock", "journal.json"),
)
# A folder comes after its parent.
FOLDERS = (
    *("images", "videos", "audio", "files", "report", "report/data", "report/thumbs"),
    *("schemas", "workflows", "sandbox"),
)


# batch.db, or a batch in a database.
JournalPlace = Path | JournalAddress

# Takes what this process does with the folder, in a few words.
Note = Callable[[str], None]


class Folder:
    """The paths in a batch folder. Making a Folder creates nothing.

    shared: whether it is written to although others can write to it.
    database: that keeps the journal, as the person says; None where nobody says it.
    named: URL of a database that the person names for another batch, and so knows.
    """

    def __init__(
        self,
        path: Path,
        *,
        shared: bool = False,
        database: JournalAddress | None = None,
        named: str | None = None,
    ) -> None:
        self.path = path
        self.shared = shared
        self.database = database
        self.named = named
        self.file = path / "batch.db"
        self.pointer = path / "journal.json"
        self.receipts = path / "receipts.log"
        self.log = path / "batchgen.log"
        self.ballast = path / ".ballast"
        self.lock = path / ".lock"
        self.sandbox = path / "sandbox"
        self.schemas = path / "schemas"
        self.workflows = path / "workflows"

    @property
    def journal(self) -> JournalPlace:
        """Where the journal is: batch.db, or a database that the person names.

        Raises UsageError where the folder names another one, or nobody but the folder names one: it
        may come from anybody, and whom it names would get the user's password.
        """
        kept = self.kept_address()
        if kept is None:
            if self.database is None or self.file.exists():
                return self.file
            return self.database
        said = journal_place_or_none(os.environ.get(JOURNAL_VARIABLE))
        if kept == self.database or (self.database is None and kept.url in (said, self.named)):
            return kept
        give = f"--journal {shell_quote(kept.url)}"
        if self.database is None:
            raise UsageError(
                f"{self.path} says that its journal is batch {kept.batch} in {kept.url}. Nothing"
                " else here says so, and a folder may come from anybody. Nothing was sent.",
                f"If that is your database, add {give}, or set {JOURNAL_VARIABLE}.",
            )
        raise UsageError(
            f"{self.path} keeps its journal in {kept}, as its first run said, and not in"
            f" {self.database}. Nothing was sent.",
            f"To go on there, give {give} --batch {kept.batch}.\n"
            "To begin a batch elsewhere, add --out and another folder.",
        )

    def kept_address(self) -> JournalAddress | None:
        """Return the database that the folder names, whoever wrote that; None if it names none."""
        try:
            with files.open_regular(self.pointer, follow=False) as file:
                found = json.loads(file.read(4096))
            url, batch = found["journal"], found["batch"]
            return JournalAddress(parse_journal_place(url), parse_batch_name(batch))
        except FileNotFoundError:
            return None
        except (OSError, LeadsOutside, ValueError, TypeError, KeyError):
            raise StorageDamaged(
                f"{self.pointer} does not say where the journal is. Nothing was sent.",
                "Delete it, and name the database with --journal.",
            ) from None

    def keep_journal_place(self) -> None:
        """Note in the folder where its journal is, once it is there; for batch.db, nothing."""
        place = self.journal
        if isinstance(place, JournalAddress) and not self.pointer.exists():
            self.name_database(place)

    def name_database(self, address: JournalAddress) -> None:
        """Note that the journal is in a database from now on, also beside a batch.db."""
        with files.write_whole(self.pointer) as file:
            json.dump({"journal": address.url, "batch": address.batch}, file, indent=1)

    def has_journal(self) -> bool:
        """Say whether a run has begun its journal, here or in the database that it names."""
        return self.file.exists() or self.pointer.exists()

    def holds_batch(self) -> bool:
        """Say whether a batch was begun here: it has a journal, or receipts to rebuild one from."""
        return self.has_journal() or self.receipts.exists()

    def refuse_foreign_files(self) -> None:
        """Raise UsageError for a folder without a batch that has files of the names that ours have.

        So it does for what is no folder at all. The ballast, which is made first, tells a run that
        was killed before it made its journal.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(
                f"{self.path} is no folder. Nothing was sent.", "Choose a folder with --out."
            )
        if self.holds_batch() or self.ballast.exists():
            return
        ours = dict.fromkeys([*REPLACED, *(name for name in FOLDERS if "/" not in name)])
        taken = [name for name in ours if os.path.lexists(self.path / name)]
        if taken:
            raise UsageError(
                f"{self.path} has files that a run would replace or delete, and no batch:"
                f" {', '.join(taken)}. Nothing was sent.",
                "Choose another folder with --out, or put batch.db back if it was a batch.",
            )

    def refuse_as_manifest(self, file: Path) -> None:
        """Raise UsageError for a manifest that a run in this folder would replace or delete."""
        with contextlib.suppress(ValueError):
            inside = file.resolve().relative_to(self.path.resolve())
            if inside.parts[:1] and inside.parts[0] in REPLACED:
                raise UsageError(
                    f"{file} would be replaced by the report of the batch in {self.path}."
                    " Nothing was sent.",
                    "Give the list another name, or choose another folder with --out.",
                )

    def refuse_as_log(self, file: Path) -> None:
        """Raise UsageError for a log that would stand in a file of the batch."""
        with contextlib.suppress(ValueError):
            inside = file.resolve().relative_to(self.path.resolve())
            ours = {*REPLACED, *IN_PLACE, *FOLDERS, self.ballast.name} - {self.log.name}
            if inside.parts[:1] and inside.parts[0] in ours:
                raise UsageError(
                    f"--log-file {file} is a file of the batch in {self.path}. Nothing was sent.",
                    f"Choose another, or leave it out: the log is {self.log}.",
                )

    def create(self) -> list[Path]:
        """Make the folder, private to its owner; return what had to be made, outer folders first.

        Raises StorageDamaged if it cannot be used, or as `refuse_others` does.
        """
        kind = files.file_system(self.path)
        if kind in files.UNTRUSTED_FILE_SYSTEMS:
            raise StorageDamaged(
                f"{self.path} is on a network file system ({kind}), where neither locks nor the"
                " journal can be trusted. Nothing was sent.",
                ANOTHER_DISK,
            )
        self.refuse_others()
        try:
            made = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in made or (self.path,):
                # Or a power cut takes the folder's own name, and so all that is in it.
                with contextlib.suppress(PermissionError):
                    files.sync_folder(path.parent)
            files.refuse_linked_file(self.ballast)
            # Two that start at once both come here: neither has the lock, which is in the folder.
            with (
                contextlib.suppress(FileExistsError),
                files.create_new_file(self.ballast) as file,
            ):
                # Random, since zeros take no room on a file system that compresses.
                file.write(os.urandom(BALLAST_BYTES))
        except OSError as error:
            what = f"{self.path} cannot be written: {error.strerror}. Nothing was sent."
            remedy = "Choose another folder with --out, or make room."
            raise StorageDamaged(what, remedy) from error
        return made[::-1]

    def examine_file_system(self, kind: str | None = None) -> str | None:
        """Return a warning about the file system of the folder; None for a local one.

        kind: its type; None asks the system. Raises StorageDamaged if it cannot do what is needed.
        """
        kind = files.file_system(self.path) if kind is None else kind
        if kind in files.LOCAL_FILE_SYSTEMS:
            return None
        known = f"a file system of the type {kind}" if kind else "a file system of unknown type"
        if fault := files.file_system_fault(self.path):
            what = f"{self.path} is on {known}, where {fault}. Nothing was sent."
            raise StorageDamaged(what, ANOTHER_DISK)
        return (
            f"{self.path} is on {known}. Locks, renames and syncing work there now; whether they"
            " hold after a power cut, or for another computer, cannot be told. Run this batch from"
            " one computer only."
        )

    def discard(self, made: list[Path]) -> None:
        """Remove the folders that `create` made, where the run ended before it had a journal.

        The caller holds the lock. Whatever else is in them stays, and so do they.
        """
        if not made or self.holds_batch():
            return
        ours = (self.ballast, self.log, self.lock)
        with contextlib.suppress(OSError):
            if {*self.path.iterdir()} - {*ours}:
                return  # with the ballast, which tells the next run whose the folder is
            for path in ours:
                path.unlink(missing_ok=True)
            for path in reversed(made):
                path.rmdir()

    def drop_ballast(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def refuse_links(self) -> None:
        """Raise LeadsOutside if a folder in the batch folder is a link.

        The path to the batch folder itself may contain links.
        """
        for name in FOLDERS:
            files.refuse_linked_folder(self.path / name)
        for where, names, _ in os.walk(self.schemas):
            for name in names:
                files.refuse_linked_folder(Path(where, name))

    def refuse_others(self) -> None:
        """Raise SharedFolder if `others` finds somebody, unless the folder is shared."""
        if not self.shared and (found := self.others()):
            path, who = found
            owner = path.stat().st_uid
            others = owner not in (os.geteuid(), 0)
            raise SharedFolder(str(path), who, owner if others else None)

    def others(self) -> tuple[Path, str] | None:
        """Return a place of the batch that others can write to, and who; None if there is none.

        It is the folder, one in it, or a file that is written in place. Where there is none yet, or
        it cannot be looked at, it is nobody's.
        """
        with contextlib.suppress(OSError):
            # Nobody reaches what is in a folder that is closed, as a run makes it, even umask 000.
            closed = not self.path.stat().st_mode & 0o077
            inner = () if closed else (*FOLDERS, *IN_PLACE)
            for path in (self.path, *map(self.path.joinpath, inner)):
                if path.exists() and (who := files.who_else_writes(path)):
                    return path, who
        return None

    def holder(self) -> "Holder | None":
        """Return who holds the folder now; None if nobody does.

        It waits for nobody and writes nothing. A run that starts at this very moment tries again.
        """
        try:
            handle = files.open_in_place(self.lock, os.O_RDONLY)
        except (OSError, LeadsOutside):
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(handle)
        except OSError:
            return None
        finally:
            os.close(handle)
        return None

    @contextmanager
    def locked(self) -> Iterator[Note]:
        """Keep other processes out of the folder. The kernel drops the lock if the process dies.

        The lock is on a file of its own, since closing any descriptor of the journal's file would
        drop SQLite's locks. Yields a function that notes what this process does, for `holder`.
        Raises BatchBusy, naming the holder; StorageDamaged if the folder cannot be locked;
        LeadsOutside as `refuse_links` does; SharedFolder as `refuse_others` does.
        """
        self.refuse_others()
        if self.database is not None:
            self.create()  # another machine has begun the batch
        handle = self._take_lock()
        try:
            self.refuse_links()
            note = partial(_write_holder, handle)
            note("")
            try:
                yield note
            finally:
                # Or the next holder goes by this name until it has written its own.
                os.ftruncate(handle, 0)
        finally:
            os.close(handle)

    def _take_lock(self) -> int:
        """Return the descriptor of the lock, of the file that has its name now."""
        while True:
            try:
                handle = files.open_in_place(self.lock)
            except OSError as error:
                what = f"{self.lock} cannot be opened: {error.strerror}. Nothing was sent."
                remedy = "Make the folder writable, or choose another with --out."
                raise StorageDamaged(what, remedy) from error
            try:
                _flock(handle, self.path)
                # Whoever had it may have removed it; a lock on what has no name keeps nobody out.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), self.lock.stat()):
                        return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)


class Holder(NamedTuple):
    """Who holds a folder, as `process 27017 on some-computer`, and what it does if it says so."""

    name: str
    doing: str

    def is_process(self, process: str | None) -> bool:
        """Whether it is the process that the journal has for a run, `27017 on some-computer`."""
        return self.name == f"process {process}"

    def __str__(self) -> str:
        """Return the name, without this computer's."""
        return self.name.removesuffix(f" on {socket.gethostname()}")


def _write_holder(handle: int, doing: str) -> None:
    name = f"process {os.getpid()} on {socket.gethostname()}"
    text = f"{name}\n{doing}\n".encode(errors="replace")
    with contextlib.suppress(OSError):  # as on a full disk: the lock is what counts
        os.pwrite(handle, text, 0)
        os.ftruncate(handle, len(text))


def _read_holder(handle: int) -> Holder:
    """Return who holds the lock; wait up to 0.2 s for the name, which follows the lock."""
    for _ in range(20):
        if text := os.pread(handle, 1000, 0).decode(errors="replace"):
            name, _, doing = text.partition("\n")
            return Holder(name, doing.strip())
        time.sleep(0.01)
    return Holder("an unnamed process", "")


def _flock(handle: int, folder: Path) -> None:
    try:
        if not files.take_lock(handle, LOCK_TRIES):
            raise BatchBusy(str(folder), _read_holder(handle).name)
    except OSError as error:
        what = f"{folder} cannot be locked: {error.strerror}. Nothing was sent."
        raise StorageDamaged(what, ANOTHER_DISK) from error
