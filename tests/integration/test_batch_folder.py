"""The batch folder: which file systems it may be on."""

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from batchgen.batch_folder import Folder
from batchgen.errors import StorageDamaged
from batchgen.files import (
    LOCAL_FILE_SYSTEMS,
    UNTRUSTED_FILE_SYSTEMS,
    create_new_file,
    file_system,
    is_locked_for_others,
)

OF_LINUX = """\
/dev/sda1 / ext4 rw 0 0
server:/home /net/home nfs4 rw 0 0
//server/share /win\\040dows cifs rw 0 0
fuse /net/home/me/cloud fuse.mystery rw 0 0
"""
OF_MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//me@server/share on /Volumes/my share (smbfs, nodev, nosuid, mounted by me)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
"""


@pytest.mark.parametrize(
    ("table", "path", "kind"),
    [
        (OF_LINUX, "/net/home/me/out", "nfs4"),
        (OF_LINUX, "/net/home/me/cloud", "fuse.mystery"),
        (OF_LINUX, "/home/me/out", "ext4"),
        (OF_LINUX, "/win dows/out", "cifs"),
        (OF_LINUX, "/win dowsy/out", "ext4"),
        (OF_MACOS, "/Volumes/my share/out", "smbfs"),
        (OF_MACOS, "/Users/me/out", "apfs"),
        ("", "/home/me/out", ""),
    ],
)
def test_a_file_system_is_known_by_the_table_of_mounts(table: str, path: str, kind: str) -> None:
    assert file_system(Path(path), table) == kind


def test_no_file_system_is_both_trusted_and_not() -> None:
    assert set() == UNTRUSTED_FILE_SYSTEMS & LOCAL_FILE_SYSTEMS


def test_a_local_file_system_is_not_tried(tmp_path: Path) -> None:
    assert Folder(tmp_path / "missing").examine_file_system("ext4") is None


@pytest.mark.parametrize("kind", ["fuse.mystery", ""])
def test_a_file_system_that_does_what_is_needed_is_warned_of_and_left_clean(
    tmp_path: Path, kind: str
) -> None:
    warning = Folder(tmp_path).examine_file_system(kind)

    assert warning is not None
    assert (kind or "unknown type") in warning
    assert "from one computer only" in warning
    assert [*tmp_path.iterdir()] == []


def test_a_file_system_that_cannot_is_refused_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(StorageDamaged) as refused:
        Folder(tmp_path / "missing").examine_file_system("fuse.mystery")

    assert "is on a file system of the type fuse.mystery, where a file cannot" in refused.value.what
    assert "local disk" in refused.value.remedy


def test_a_lock_counts_only_if_another_process_sees_both_kinds(tmp_path: Path) -> None:
    with create_new_file(tmp_path / "file") as file:
        assert not is_locked_for_others(tmp_path / "file")
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not is_locked_for_others(tmp_path / "file")
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert is_locked_for_others(tmp_path / "file")


def test_starts_at_once_make_the_folder_together(tmp_path: Path) -> None:
    starts = 8
    together = Barrier(starts)

    def make(name: str) -> None:
        together.wait()
        Folder(tmp_path / name).create()

    with ThreadPoolExecutor(starts) as threads:
        for n in range(100):
            list(threads.map(make, [f"{n}"] * starts))


def test_a_folder_that_holds_something_already_stays_known_as_a_batchs(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    made = folder.create()
    folder.schemas.mkdir()
    folder.discard(made)

    folder.refuse_foreign_files()  # the next run goes on there
    assert folder.ballast.exists()
