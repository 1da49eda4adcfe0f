"""Media in a folder beside the batch folder, as on a disk that is mounted; no extra is needed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import Outcome, change, many, media, query, states, table, tally
from sandbox_client import Control

FILES = "SELECT path, sha256, bytes FROM outputs WHERE path NOT NULL ORDER BY path"


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


@pytest.fixture
def mount(here: Path) -> Path:
    (here / "mnt").mkdir()
    return here / "mnt"


@pytest.fixture
def place(mount: Path) -> Path:
    return mount / "spring"


@pytest.fixture
def verify(batchgen: Command, folder: Path, reach: list[str]) -> Callable[[], Outcome]:
    return lambda: batchgen("verify", folder, *reach)


def check_place(place: Path, folder: Path) -> None:
    saved = query(folder, FILES)
    found = sorted(path for path in place.rglob("*") if path.is_file())
    assert [path.relative_to(place).as_posix() for path in found] == [path for path, *_ in saved]
    for path, (_, sha256, size) in zip(found, saved, strict=True):
        content = path.read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (sha256, size)


def test_a_run_keeps_its_pictures_in_a_mounted_folder(
    run: Command, folder: Path, manifest: str, place: Path, sandbox: Control
) -> None:
    sandbox.set(picture_size=900, picture_bytes=100_000)
    assert run(manifest, "--limit", 1, "--media", place).code == 75
    assert run(manifest).code == 0

    assert states(folder) == dict.fromkeys(many(3), "saved")
    assert media(folder) == []
    assert [*folder.rglob("*.part")] == []
    check_place(place, folder)
    assert len([*(folder / "report" / "thumbs").iterdir()]) == 3
    assert sandbox.posts == 3


def test_a_file_of_somebody_else_stays(
    run: Command, folder: Path, manifest: str, place: Path
) -> None:
    (id,) = many(1)
    theirs = place / "images" / f"{id}.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    assert run(manifest, "--media", place).code == 0

    assert theirs.read_bytes() == b"theirs"
    theirs.unlink()
    check_place(place, folder)


def test_a_folder_that_is_not_mounted_is_told_before_anything_is_paid(
    run: Command, manifest: str, here: Path, sandbox: Control
) -> None:
    outcome = run(manifest, "--media", here / "away" / "spring")

    assert outcome.code == 74
    assert f"Media cannot be kept in {here / 'away' / 'spring'}: No such file" in outcome.stderr
    assert "Is it mounted?" in outcome.stderr
    assert sandbox.posts == 0


def test_one_that_goes_away_loses_nothing(
    run: Command, folder: Path, manifest: str, place: Path, sandbox: Control
) -> None:
    run(manifest, "--media", place, "--limit", 0)
    (place / "images").touch()  # as of a disk on which no folder can be made
    outcome = run(manifest)
    assert outcome.code == 75
    assert "completed" in tally(folder)
    (place / "images").unlink()

    assert run(manifest).code == 0
    check_place(place, folder)
    assert sandbox.posts == 3


def test_the_journal_of_a_stranger_chooses_no_folder(
    run: Command, batchgen: Command, folder: Path, manifest: str, here: Path,
    verify: Callable[[], Outcome], sandbox: Control,
) -> None:  # fmt: skip
    run(manifest, "--limit", 1)
    (here / "private").mkdir()
    change(
        folder,
        "UPDATE memory SET value = ? WHERE name = 'media'",
        json.dumps(str(here / "private" / "pictures")),
    )

    for outcome in (run(manifest), verify(), batchgen("pull", folder)):
        assert outcome.code == 2
        assert "Nothing else here says so" in outcome.stderr
    assert [*(here / "private").iterdir()] == []
    assert sandbox.posts == 1


def test_verify_mends_what_is_missing_or_damaged(
    run: Command, folder: Path, manifest: str, place: Path, verify: Callable[[], Outcome],
    sandbox: Control,
) -> None:  # fmt: skip
    run(manifest, "--media", place)
    missing, damaged, _ = sorted((place / "images").iterdir())
    missing.unlink()
    damaged.write_bytes(b"damaged")
    outcome = verify()

    assert outcome.code == 0, outcome.stdout
    aside = damaged.with_name(f"{damaged.name}.damaged-1")
    assert aside.read_bytes() == b"damaged"
    aside.unlink()
    check_place(place, folder)
    assert sandbox.posts == 3


def test_pull_copies_what_is_missing_here(
    run: Command, batchgen: Command, folder: Path, manifest: str, place: Path
) -> None:
    run(manifest, "--media", place)

    assert batchgen("pull", folder).stdout == "3 fetched, 0 here already, 0 left.\n"
    there = {path: (place / path).read_bytes() for path in media(folder)}
    assert {path: (folder / path).read_bytes() for path in media(folder)} == there
    assert batchgen("report", folder, "--media", "upload").code == 2


@pytest.mark.parametrize("place", ["/", "//", "/mnt/../etc", "/mnt//x", "/mnt/./x", "mnt/x"])
def test_what_is_no_whole_path_is_refused(run: Command, manifest: str, place: str) -> None:
    outcome = run(manifest, "--media", place)

    assert outcome.code == 2
    assert "the whole path of a folder" in outcome.stderr
