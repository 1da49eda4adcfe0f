"""Files that are written whole or not at all, and never through a link.

A batch folder may come from somebody else, with links where our files belong. So a file is made
under a name that nobody can foresee and renamed into its place, which replaces a link and not what
it points to; one that is written in place has to be a file of its own.
"""

import errno
import fcntl
import filecmp
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, BinaryIO

from batchgen.errors import LeadsOutside

# Of ours, also those of earlier versions in the media folders, whose names began with a process id.
_PART = re.compile(r"\.[0-9a-f]+-.+\.part", re.DOTALL)
# SQLite opens these by their names alone.
JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # source: sqlite.org/fileformat.html
COMPANIONS = ("", "-wal", "-shm", "-journal")


# -- durable --------------------------------------------------------------------------------------


def sync_file(handle: int) -> None:
    """Make a file's content durable, down to the platter where the system offers that (macOS).

    Its times may be lost: a line of receipts.log would wait for the file system's own journal.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fdatasync(handle)
    else:
        fcntl.fcntl(handle, full)


def sync_folder(path: Path) -> None:
    """Make the names in `path` durable: a rename is not, until its folder is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- made anew ------------------------------------------------------------------------------------


def part_of(path: Path) -> Path:
    """A name beside `path` that nobody can foresee, for what is not whole yet."""
    return path.with_name(f".{secrets.token_hex(8)}-{path.name}.part")


def new(path: Path) -> BinaryIO:
    """Make a file, private to its owner. Raises FileExistsError for any name that is taken."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    return open(handle, "w+b")  # noqa: PTH123


@contextmanager
def _part(path: Path) -> Iterator[tuple[Path, int]]:
    """A new part of `path` and its descriptor; it is locked, which tells `clear_parts` of us."""
    part = part_of(path)
    try:
        with new(part) as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield part, file.fileno()
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def write_whole(path: Path, *, keep_if_same: bool = False) -> Iterator[IO[str]]:
    """Write a text file beside `path` and put it in its place, whole, when the block ends well.

    keep_if_same: a file that would stay the same is left alone, and the folder is not synced: for a
    hundred files of which one has changed, or none.
    Half a surrogate pair is written as JSON spells it.
    """
    with _part(path) as (part, handle):
        with open(
            handle, "w", encoding="utf-8", errors="backslashreplace", newline="", closefd=False
        ) as file:
            yield file
        if keep_if_same and is_file(path) and filecmp.cmp(part, path, shallow=False):
            return
        sync_file(handle)
        part.replace(path)
    if not keep_if_same:
        sync_folder(path.parent)


@contextmanager
def write_whole_bytes(path: Path) -> Iterator[IO[bytes]]:
    """As `write_whole`, the folder unsynced."""
    with _part(path) as (part, handle):
        with open(handle, "w+b", closefd=False) as file:
            yield file
        sync_file(handle)
        part.replace(path)


def clear_parts(folder: Path) -> None:
    """Remove the parts that a kill left in `folder`, and none that is being written."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):  # noqa: PTH208
            path = folder / name
            if _PART.fullmatch(name) and _is_left(path):
                path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether this is a file that nobody has locked."""
    try:
        with reading(path, follow=False) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# -- looked at ------------------------------------------------------------------------------------


def is_file(path: Path) -> bool:
    """Whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def reading(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading; a pipe, on which one waits for ever, is an OSError."""
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return open(handle, "rb")  # noqa: PTH123
    os.close(handle)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


# -- written in place -----------------------------------------------------------------------------


def refuse_linked_folder(path: Path) -> None:
    """Raise LeadsOutside if `path` is a link. What else is no folder, the system refuses."""
    if path.is_symlink():
        raise _link(path)


def refuse_linked_file(path: Path, *, written: bool = True) -> None:
    """Raise LeadsOutside unless `path` is a file of its own, or not there. A folder is an error of
    its own to whoever opens it.

    written: what is only read may have other names, as in a backup that was made of hard links.
    """
    with suppress(FileNotFoundError):
        _refuse(path, path.lstat(), written=written)


def refuse_linked_database(path: Path, *, written: bool = True) -> None:
    """As `refuse_linked_file`, for what SQLite opens. Its companions are written by readers too."""
    for ending in COMPANIONS:
        refuse_linked_file(path.with_name(path.name + ending), written=written or bool(ending))
    _refuse_super_journal(path.with_name(f"{path.name}-journal"))


def _refuse_super_journal(path: Path) -> None:
    """A rollback journal that ends so names another file, which SQLite would delete after it."""
    with suppress(OSError), reading(path) as file:
        file.seek(-min(len(JOURNAL_MAGIC), file.seek(0, os.SEEK_END)), os.SEEK_END)
        if file.read() == JOURNAL_MAGIC:
            raise LeadsOutside(f"{path} names another file, which it would have deleted.", _AWAY)


def open_own(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a file that is written in place; return its descriptor.

    Raises LeadsOutside as `refuse_linked_file` does, and OSError.
    """
    refuse_linked_file(path)
    handle = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        _refuse(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


_AWAY = "Move it away, or choose another folder with --out."


def _link(path: Path) -> LeadsOutside:
    return LeadsOutside(
        f"{path} is a link, and nothing is written through links.",
        "Move what it points to into the batch folder, or choose another folder with --out.",
    )


def _refuse(path: Path, found: os.stat_result, *, written: bool = True) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _link(path)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise LeadsOutside(f"{path} is no file, but a pipe or a device.", _AWAY)
    if written and not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
        raise LeadsOutside(
            f"{path} has {found.st_nlink} names (hard links), and what is written to it would"
            " change the others.",
            "Put a copy of it in its place, or choose another folder with --out.",
        )


class FileRefused(OSError):
    """A file that is not read. what: a sentence without its subject, e.g. "is the token file"."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(errno.EACCES, f"it {what}")
        self.what = what
        self.remedy = remedy


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, and never wait for anything else.

    Raises Refused for a pipe, a device or a socket, OSError, and ValueError where `path` cannot be
    the name of a file.
    """
    # Asked before, since opening alone can act on a device; and after, since it may be another.
    _refuse_irregular(path.stat())
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _refuse_irregular(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _refuse_irregular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused("is not a regular file", "Only files and folders on a disk can be read.")


# File systems on which SQLite's WAL and flock cannot be trusted. Source: sqlite.org/wal.html.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs", "fuse.rclone"}


def network_file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the kind of network file system that `path` is on; None if local or unknown.

    mounts: Linux's table of mounts (proc(5)); where there is none, nothing is known.
    """
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    resolved = str(path.resolve())
    best, kind = "", ""
    for line in lines:
        _, where, found, *_ = [*line.split(" "), "", "", ""]
        where = where.replace("\\040", " ")
        inside = where == "/" or resolved == where or resolved.startswith(where + "/")
        if inside and len(where) >= len(best):
            best, kind = where, found
    return kind if kind in NETWORK else None
