"""Files are written into the folder that was looked at, whatever has its name by then."""

from collections.abc import Callable
from pathlib import Path

import pytest

from batchgen import files
from batchgen.errors import LeadsOutside

Act = Callable[[Path, Path], None]


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    (tmp_path / "batch" / "report" / "data").mkdir(parents=True)
    return tmp_path / "batch"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody's, with what a batch folder may have."""
    place = tmp_path / "outside"
    (place / "data").mkdir(parents=True)
    for name in ("rows-1.js", f".{1:016x}-rows-1.js.part"):
        (place / "data" / name).write_text("precious")
    return place


def swap(folder: Path, outside: Path) -> Path:
    """Put a link in the place of a folder; return where that is now."""
    before = folder.with_name("before")
    folder.rename(before)
    folder.symlink_to(outside)
    return before


def write(path: Path, batch: Path) -> None:
    with files.write_whole(path, inside=batch) as file:
        file.write("rows")


def write_bytes(path: Path, batch: Path) -> None:
    with files.write_whole_bytes(path, batch) as file:
        file.write(b"rows")


ACTS: list[Act] = [
    write,
    write_bytes,
    files.remove_file,
    lambda path, batch: files.create_new_file(path.with_name("new"), batch).close(),
    lambda path, batch: files.make_folder(path.with_name("new"), batch),
    lambda path, batch: files.remove_temporary_files(path.parent, batch),
]
NAMES = ["write", "write bytes", "remove", "create", "make folder", "tidy"]


@pytest.mark.parametrize("act", ACTS, ids=NAMES)
@pytest.mark.parametrize("linked", ["report", "report/data"])
def test_a_folder_that_became_a_link_is_not_written_to(
    batch: Path, outside: Path, act: Act, linked: str
) -> None:
    swap(batch / linked, outside if linked == "report" else outside / "data")

    with pytest.raises(LeadsOutside, match="is a link"):
        act(batch / "report" / "data" / "rows-1.js", batch)
    assert sorted(path.name for path in (outside / "data").iterdir()) == [
        f".{1:016x}-rows-1.js.part",
        "rows-1.js",
    ]
    assert (outside / "data" / "rows-1.js").read_text() == "precious"


@pytest.mark.parametrize("linked", ["report", "report/data"])
def test_a_file_that_is_being_written_stays_in_the_folder_where_it_was_begun(
    batch: Path, outside: Path, linked: str
) -> None:
    with files.write_whole(batch / "report" / "data" / "rows-1.js", inside=batch) as file:
        before = swap(batch / linked, outside if linked == "report" else outside / "data")
        file.write("rows")

    assert (outside / "data" / "rows-1.js").read_text() == "precious"
    assert len([*(outside / "data").iterdir()]) == 2
    (written,) = before.rglob("*.js")
    assert written.read_text() == "rows"


def test_the_batch_folder_itself_may_be_a_link(batch: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(batch)
    write(tmp_path / "link" / "report" / "data" / "rows-1.js", tmp_path / "link")

    assert (batch / "report" / "data" / "rows-1.js").read_text() == "rows"


def test_an_error_names_the_file_and_not_the_temporary_one(batch: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        write(batch / "none" / "rows-1.js", batch)
    assert refused.value.filename == str(batch / "none")

    (batch / "rows-1.js").mkdir()
    with pytest.raises(OSError) as refused:
        write(batch / "rows-1.js", batch)
    assert refused.value.filename == str(batch / "rows-1.js")
