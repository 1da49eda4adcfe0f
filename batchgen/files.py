"""Files: opened without waiting, written whole or not at all, and never written through a link.

A batch folder may come from somebody else, with links where our files belong. So a file is written
under a name that cannot be predicted and then renamed, which replaces a link and leaves its target
as it is. A file that is written in place must be a regular file with a single name.
"""

import errno
import fcntl
import filecmp
import grp
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from batchgen.errors import LeadsOutside

# The names of temporary files. In media folders, earlier versions began them with a process id.
_PART_NAME = re.compile(r"\.[0-9a-f]+-.+\.part", re.DOTALL)
COPIED_BYTES = 1 << 20  # at a time
JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # source: sqlite.org/fileformat.html
# SQLite opens these files beside a database by their names alone; "" is the database.
COMPANIONS = ("", "-wal", "-shm", "-journal")
# File systems whose locks, renames or syncs are known not to hold what they promise: of a network,
# since another computer may not see them, or of an object store. Source: sqlite.org/wal.html, and
# the documentation of each. macOS has other names for some.
UNTRUSTED_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "afpfs", "webdav", "davfs", "ftp"),
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.curlftpfs"),
}
LOCAL_FILE_SYSTEMS = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs"),
    *("nilfs2", "tmpfs", "ramfs", "overlay", "ecryptfs", "ntfs3", "fuseblk", "vfat", "exfat"),
    *("apfs", "hfs", "ufs", "msdos"),
}
_MOVE_AWAY = "Move it away, or choose another folder with --out."


class FileRefused(OSError):
    """A file that is not read. what: a sentence without its subject, e.g. "is the token file"."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(errno.EACCES, f"it {what}")
        self.what = what
        self.remedy = remedy


# -- places ---------------------------------------------------------------------------------------


def user_folder(environment: Mapping[str, str], variable: str, default: str) -> Path | None:
    """Return a folder of the person's own: what `variable` names, else `default` in the home.

    None where there is no home, as in a container that runs under a user id without an account.
    """
    if named := environment.get(variable):
        return Path(named)
    home = environment.get("HOME", os.path.expanduser("~"))  # noqa: PTH111  # raises nothing
    return Path(home) / default if os.path.isabs(home) else None  # noqa: PTH117


def config_folder(environment: Mapping[str, str]) -> Path | None:
    """Return where programs keep a user's settings; None without a home."""
    return user_folder(environment, "XDG_CONFIG_HOME", ".config")


def state_folder(environment: Mapping[str, str]) -> Path | None:
    """Return where batchgen remembers things of all batches of a user; None without a home."""
    folder = user_folder(environment, "XDG_STATE_HOME", ".local/state")
    return folder and folder / "batchgen"


# -- reading --------------------------------------------------------------------------------------


def is_regular_file(path: Path) -> bool:
    """Whether there is a regular file at `path`; False for a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading, without ever waiting for a pipe or a device.

    follow: whether `path` may be a link to one.
    Raises FileRefused for anything else that can be opened, OSError, and ValueError where `path`
    cannot be the name of a file.
    """
    # Asked before, since opening alone can act on a device; and after, since it may be another.
    _refuse_irregular(path.stat(follow_symlinks=follow))
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    try:
        _refuse_irregular(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _refuse_irregular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused("is not a regular file", "Only files and folders on a disk can be read.")


# -- whose a folder is ----------------------------------------------------------------------------


def who_else_writes(path: Path) -> str | None:
    """Say who else than this user and root can write to a folder or a file, as "everybody".

    None if nobody can. Raises OSError.
    """
    status, user = path.stat(), os.geteuid()
    if status.st_uid not in (user, 0):
        return f"{_user_name(status.st_uid)}, who owns it,"
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid, {_user_name(user)}):
        return f"the group {_group_name(status.st_gid)}"
    return None


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as of another computer, or outside of a container
        return f"user {number}"


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _is_own_group(number: int, user: Set[str]) -> bool:
    """Whether a group has no members but a user and root.

    It is root's, or named as the user: each has such a group on Debian and Fedora, where a folder
    is made writable for it by default.
    """
    try:
        group = grp.getgrgid(number)
    except KeyError:
        return number == 0
    own = number == 0 or group.gr_name in user
    return own and {*group.gr_mem} <= {*user, "root"}


# -- locks ----------------------------------------------------------------------------------------


def take_lock(handle: int, tries: int) -> bool:
    """Lock a file for this process alone, in so many tries 10 ms apart; return whether it has it.

    Raises OSError where files cannot be locked.
    """
    for left in reversed(range(tries)):
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if left:
            time.sleep(0.01)
    return False


# -- durability -----------------------------------------------------------------------------------


def sync_file(handle: int) -> None:
    """Make a file's content durable, on macOS down to the platter (F_FULLFSYNC).

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


# -- writing a new file ---------------------------------------------------------------------------


def temporary_path(path: Path) -> Path:
    """Return a name beside `path` that cannot be predicted, for content that is incomplete."""
    # Not `secrets`, which makes the start of every command 10 ms longer.
    return path.with_name(f".{os.urandom(8).hex()}-{path.name}.part")


@contextmanager
def folder_of(path: Path, inside: Path | None = None) -> Iterator[int]:
    """Yield a descriptor of the folder of `path`, for names relative to it.

    inside: a folder above it. What lies between is no link, whoever puts one there at this moment:
        each folder is opened in the one above it. None allows links.
    Raises LeadsOutside for a link, and OSError.
    """
    place = path.parent if inside is None else inside
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in path.parent.relative_to(place).parts:
            place /= name
            outer, handle = handle, _open_inner(handle, name, place)
            os.close(outer)
        yield handle
    finally:
        os.close(handle)


def _open_inner(outer: int, name: str, place: Path) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
    except OSError as error:
        with suppress(OSError):
            status = os.stat(name, dir_fd=outer, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise _leads_outside(place) from None
        error.filename = str(place)
        raise


def make_folder(path: Path, inside: Path) -> None:
    """Make a folder of mode 0700 where there is none. inside: as `folder_of` takes it."""
    with folder_of(path, inside) as folder, suppress(FileExistsError):
        os.mkdir(path.name, 0o700, dir_fd=folder)


def remove_file(path: Path, inside: Path) -> None:
    """Remove a file, if it is there. inside: as `folder_of` takes it."""
    with folder_of(path, inside) as folder, suppress(FileNotFoundError):
        os.unlink(path.name, dir_fd=folder)


def create_new_file(path: Path, inside: Path | None = None) -> BinaryIO:
    """Make a file of mode 0600. Raises FileExistsError for any name that is taken.

    inside: as `folder_of` takes it.
    """
    with folder_of(path, inside) as folder:
        try:
            return open(_create(path.name, folder), "w+b")
        except OSError as error:
            error.filename = str(path)
            raise


def copy_file(source: Path, to: Path, inside: Path) -> None:
    """Copy a file to a new one, durably; where that fails, there is none. inside: of `to`, as
    `folder_of` takes it.
    """
    try:
        with open_regular(source) as file, create_new_file(to, inside) as copy:
            while chunk := file.read(COPIED_BYTES):
                copy.write(chunk)
            copy.flush()
            sync_file(copy.fileno())
    except BaseException:
        with suppress(OSError):
            to.unlink(missing_ok=True)
        raise


def _create(name: str, folder: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.open(name, flags, 0o600, dir_fd=folder)


class _TemporaryFile(NamedTuple):
    """A file beside the one that it becomes. folder, handle: descriptors."""

    path: Path
    folder: int
    name: str
    handle: int

    def rename(self) -> None:
        os.replace(self.name, self.path.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)


@contextmanager
def _temporary_file(path: Path, inside: Path | None) -> Iterator[_TemporaryFile]:
    """Yield a new temporary file beside `path`; it is gone afterwards.

    It is locked, so that `remove_temporary_files` leaves it alone.
    """
    name = temporary_path(path).name
    with folder_of(path, inside) as folder:
        try:
            with open(_create(name, folder), "w+b") as file:
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield _TemporaryFile(path, folder, name, file.fileno())
        except OSError as error:
            if error.filename == name:  # which nobody knows
                error.filename = str(path)
            raise
        finally:
            with suppress(OSError):  # where no file can be made, none can be removed
                os.unlink(name, dir_fd=folder)


@contextmanager
def write_whole(
    path: Path, *, inside: Path | None = None, keep_if_same: bool = False
) -> Iterator[IO[str]]:
    """Write a UTF-8 file beside `path`, and rename it to `path` when the block ends well.

    inside: as `folder_of` takes it.
    keep_if_same: leave a file alone whose content would not change, and do not sync the folder:
        for a hundred files of which one has changed, or none.
    Half a surrogate pair is written as JSON spells it.
    """
    with _temporary_file(path, inside) as new:
        with open(
            new.handle, "w", encoding="utf-8", errors="backslashreplace", newline="", closefd=False
        ) as file:
            yield file
        written = path.with_name(new.name)
        if keep_if_same and is_regular_file(path) and filecmp.cmp(written, path, shallow=False):
            return
        sync_file(new.handle)
        new.rename()
        if not keep_if_same:
            os.fsync(new.folder)


def write_json(path: Path, value: Any, inside: Path | None = None) -> None:
    """Write a value as JSON that people can read, as `write_whole` does. inside: as there."""
    with write_whole(path, inside=inside) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


@contextmanager
def write_whole_bytes(path: Path, inside: Path) -> Iterator[IO[bytes]]:
    """As `write_whole`, for bytes; the folder is not synced."""
    with _temporary_file(path, inside) as new:
        with open(new.handle, "w+b", closefd=False) as file:
            yield file
        sync_file(new.handle)
        new.rename()


def remove_temporary_files(folder: Path, inside: Path | None = None) -> None:
    """Remove the temporary files that a killed process left in `folder`; locked ones stay.

    inside: as `folder_of` takes it.
    """
    with suppress(FileNotFoundError, NotADirectoryError), folder_of(folder / "x", inside) as handle:
        for name in os.listdir(handle):  # noqa: PTH208
            if _PART_NAME.fullmatch(name) and _is_unlocked_file(folder / name):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=handle)


def _is_unlocked_file(path: Path) -> bool:
    try:
        with open_regular(path, follow=False) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# -- writing in place -----------------------------------------------------------------------------


def open_in_place(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a file that is written in place; return its descriptor.

    Raises LeadsOutside as `refuse_linked_file` does, and OSError.
    """
    refuse_linked_file(path)
    handle = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        _refuse_shared(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def refuse_linked_folder(path: Path) -> None:
    """Raise LeadsOutside if `path` is a link. Anything else that is no folder fails when used."""
    if path.is_symlink():
        raise _leads_outside(path)


def refuse_linked_file(path: Path, *, written: bool = True) -> None:
    """Raise LeadsOutside unless `path` is a regular file with one name, or a folder, or missing.

    A folder fails when it is opened.
    written: False for a file that is only read: it may have several names, as a backup made of hard
        links has.
    """
    with suppress(FileNotFoundError):
        _refuse_shared(path, path.lstat(), written=written)


def refuse_linked_database(path: Path, *, written: bool = True) -> None:
    """As `refuse_linked_file`, for a database and the files that SQLite opens beside it.

    Those are checked as written files in any case, since a reader writes to them too.
    """
    for ending in COMPANIONS:
        refuse_linked_file(path.with_name(path.name + ending), written=written or bool(ending))
    _refuse_super_journal(path.with_name(f"{path.name}-journal"))


def _refuse_super_journal(path: Path) -> None:
    """Refuse a rollback journal that ends in the name of another file, which SQLite would delete.

    Source: sqlite.org/fileformat.html, "The Rollback Journal".
    """
    with suppress(OSError), open_regular(path) as file:
        file.seek(-min(len(JOURNAL_MAGIC), file.seek(0, os.SEEK_END)), os.SEEK_END)
        if file.read() == JOURNAL_MAGIC:
            what = f"{path} names another file, which it would have deleted."
            raise LeadsOutside(what, _MOVE_AWAY)


def _refuse_shared(path: Path, status: os.stat_result, *, written: bool = True) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _leads_outside(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise LeadsOutside(f"{path} is no file, but a pipe or a device.", _MOVE_AWAY)
    if written and not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
        raise LeadsOutside(
            f"{path} has {status.st_nlink} names (hard links), and what is written to it would"
            " change the others.",
            "Put a copy of it in its place, or choose another folder with --out.",
        )


def _leads_outside(path: Path) -> LeadsOutside:
    return LeadsOutside(
        f"{path} is a link, and nothing is written through links.",
        "Move what it points to into the batch folder, or choose another folder with --out.",
    )


# -- file systems ---------------------------------------------------------------------------------


def file_system(path: Path, table: str | None = None) -> str:
    """Return the type of the file system that `path` is on, as `ext4`; "" where nobody says.

    table: of the mounts, in Linux's form (proc(5)) or that of macOS's `mount`; None asks for it.
    """
    resolved = str(path.resolve())
    best, kind = "", ""
    for where, found in _mounts(_mount_table() if table is None else table):
        inside = where == "/" or resolved == where or resolved.startswith(where + "/")
        if inside and len(where) >= len(best):
            best, kind = where, found
    return kind


def _mount_table() -> str:
    with suppress(OSError):
        return Path("/proc/self/mounts").read_text(errors="replace")
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["/sbin/mount"], check=False, capture_output=True, text=True, timeout=5
        ).stdout
    return ""


def _mounts(table: str) -> Iterator[tuple[str, str]]:
    """Yield where something is mounted, and its type."""
    for line in table.splitlines():
        if of_macos := re.fullmatch(r".*? on (/.*) \(([^,)]+).*\)", line):
            yield of_macos[1], of_macos[2]
        elif len(fields := line.split(" ")) >= 3:
            # Blanks and the like stand there as octal numbers.
            yield re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1]), fields[2]


def file_system_fault(folder: Path) -> str | None:
    """Try in `folder` what the journal and the lock rely on; return what fails, None if nothing.

    Another process has to see a lock, a rename has to replace, and syncing has to be possible.
    """
    one, other = temporary_path(folder / "probe"), temporary_path(folder / "probe")
    try:
        with create_new_file(one) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_locked_for_others(one):
                return "another process does not see a lock"
            file.write(b"one")
            file.flush()
            sync_file(file.fileno())
        create_new_file(other).close()
        one.replace(other)
        sync_folder(folder)
        if one.exists() or other.read_bytes() != b"one":
            return "a renamed file does not replace another"
    except OSError as error:
        return f"a file cannot be locked, synced and renamed ({error.strerror})"
    finally:
        for path in (one, other):
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return None


# Ends with 0 if neither kind of lock can be had: flock keeps the folder, SQLite has the other.
_TRY_LOCKS = """
import fcntl, sys
for lock in (fcntl.flock, fcntl.lockf):
    with open(sys.argv[1], "r+b") as file:
        try:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        sys.exit(1)
"""


def is_locked_for_others(path: Path) -> bool:
    """Say whether another process is kept from both kinds of lock on a file."""
    command = [sys.executable, "-I", "-S", "-c", _TRY_LOCKS, str(path)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
