"""The output folder: its places, its lock, and its file system."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchgen import files
from batchgen.errors import BatchBusy, LeadsOutside, StorageDamaged
from batchgen.files import network_file_system

# Room given back when the disk is full and a request_id has to be written.
BALLAST_BYTES = 1 << 20
LOCK_TRIES = 5
# A folder of these comes after those that it lies in.
FOLDERS = (
    *("images", "videos", "audio", "report", "report/data", "report/thumbs", "schemas", "sandbox"),
)


class Folder:
    """The places in an output folder. Nothing is created by naming them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "batch.db"
        self.receipts = path / "receipts.log"
        self.log = path / "batchgen.log"
        self.ballast = path / ".ballast"
        self.sandbox = path / "sandbox"
        self.schemas = path / "schemas"

    def create(self) -> None:
        """Make the folder, private to its owner. Raises StorageDamaged where it cannot be used."""
        if kind := network_file_system(self.path):
            raise StorageDamaged(
                f"{self.path} is on a network file system ({kind}), where neither locks nor the"
                " journal can be trusted. Nothing was sent.",
                "Choose a folder on a local disk with --out.",
            )
        try:
            made = [path for path in self.path.parents if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in (self.path, *made):
                # A power cut must not take the folder's own name, and all that is in it.
                with contextlib.suppress(PermissionError):
                    files.sync_folder(path.parent)
            files.refuse_linked_file(self.ballast)
            if not self.ballast.exists():
                with files.create_new_file(self.ballast) as file:
                    # Random, since a file system that compresses gives no room for zeros.
                    file.write(os.urandom(BALLAST_BYTES))
        except OSError as error:
            raise StorageDamaged(
                f"{self.path} cannot be written: {error.strerror}. Nothing was sent.",
                "Choose another folder with --out, or make room.",
            ) from error

    def drop_ballast(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def relative(self, path: Path) -> str:
        """The form that the journal keeps, so that the folder can be moved."""
        return path.relative_to(self.path).as_posix()

    def refuse_links(self) -> None:
        """Raise LeadsOutside where a folder in the batch is a link, before anything is written.

        That the batch folder itself is reached through links is its owner's business.
        """
        for name in FOLDERS:
            files.refuse_linked_folder(self.path / name)
        for where, names, _ in os.walk(self.schemas):
            for name in names:
                files.refuse_linked_folder(Path(where, name))

    def holder(self) -> str | None:
        """Return who holds the folder now, as `process 27017`; None if nobody does.

        It waits for nobody and writes nothing. A run that starts at this very moment tries again.
        """
        try:
            handle = files.open_in_place(self.path / ".lock", os.O_RDONLY)
        except (OSError, LeadsOutside):
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(handle).removesuffix(f" on {socket.gethostname()}")
        except OSError:
            return None
        finally:
            os.close(handle)
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other runs; the kernel lets go when the process dies.

        The lock is a file of its own: closing any descriptor of the journal's would drop SQLite's.
        Raises BatchBusy, naming the holder, or StorageDamaged if the folder cannot be locked, or
        has links where we would write.
        """
        path = self.path / ".lock"
        try:
            handle = files.open_in_place(path)
        except OSError as error:
            raise StorageDamaged(
                f"{path} cannot be opened: {error.strerror}. Nothing was sent.",
                "Make the folder writable, or choose another with --out.",
            ) from error
        try:
            _flock(handle, self.path)
            self.refuse_links()
            _sign(handle)
            try:
                yield
            finally:
                os.ftruncate(handle, 0)  # the next holder's name comes a moment after its lock
        finally:
            os.close(handle)


def _sign(handle: int) -> None:
    name = f"process {os.getpid()} on {socket.gethostname()}\n".encode()
    os.pwrite(handle, name, 0)
    os.ftruncate(handle, len(name))


def _holder(handle: int) -> str:
    """Who holds the lock. The name is written just after the lock is taken, so look again."""
    for _ in range(20):
        if name := os.pread(handle, 200, 0).decode(errors="replace").strip():
            return name
        time.sleep(0.01)
    return "an unnamed process"


def _flock(handle: int, folder: Path) -> None:
    try:
        for _ in range(LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.01)  # `status` may be looking who holds it, which takes a moment
        raise BatchBusy(str(folder), _holder(handle))
    except OSError as error:
        raise StorageDamaged(
            f"{folder} cannot be locked: {error.strerror}. Nothing was sent.",
            "Choose a folder on a local disk with --out.",
        ) from error
