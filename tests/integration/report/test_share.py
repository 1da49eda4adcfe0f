"""`report --to`: picked files and a gallery in a folder of their own, which needs nothing else."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from conftest import Command, Once, Write
from helpers import change, many, media, query, table
from sandbox_client import Control

from batchgen.report import gallery


@pytest.fixture
def batch(run: Command, folder: Path, sandbox: Control, write: Write, once: Once) -> Path:
    """Four rows: three saved, one failed."""

    def begin() -> None:
        sandbox.fault("failed", match="number 4", value="the model was tired")
        run(write("list.csv", table(many(4))))

    once("batch", begin)
    return folder


def picks(write: Write, *lines: str) -> str:
    return write("picks.csv", "\n".join(["id,verdict,rating", *lines]) + "\n")


def copied(to: Path) -> list[str]:
    return sorted(path.name for path in (to / "images").glob("*"))


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_picked_files_are_copied_with_a_gallery_and_rejected_ones_stay(
    batch: Path, here: Path, batchgen: Command, write: Write
) -> None:
    before = everything(batch / "report")
    chosen = picks(write, "row-1,pick,5", "row-2,reject,", "row-3,,4", "row-4,pick,")

    told = batchgen("report", batch, "--picks", chosen, "--to", "for-ada")

    to = here / "for-ada"
    assert (told.code, told.stdout, told.stderr) == (0, "for-ada/index.html\n", "")
    paths = [path for path in media(batch) if "row-1" in path or "row-3" in path]
    assert len(paths) == 2
    assert media(to) == paths
    assert [(to / path).read_bytes() for path in paths] == [(batch / p).read_bytes() for p in paths]
    shown = gallery.read_data_file(to / "report" / "data" / "rows-1.js")
    assert [(row[1], row[18]) for row in shown] == [
        ("row-1", ["pick", 5, ""]),
        ("row-3", ["", 4, ""]),
    ]
    assert everything(batch / "report") == before


def test_the_folder_says_nothing_of_money_failures_commands_or_this_computer(
    batch: Path, here: Path, batchgen: Command
) -> None:
    batchgen("report", batch, "--to", "for-ada")

    texts = {
        name: text for name, text in everything(here / "for-ada").items() if "images" not in name
    }
    assert "report/index.html" in texts
    tests = str(here.parent)  # where the batch was made, if not for this test
    for name, text in texts.items():
        for private in (tests, "list.csv", "the model was tired", "batchgen report out"):
            assert private.encode() not in text, (name, private)
    assert b"spent or reserved</" not in texts["report/index.html"]
    shown = gallery.read_data_file(here / "for-ada" / "report" / "data" / "rows-1.js")
    assert {(row[8], row[9], row[17], row[19]) for row in shown} == {(None, None, None, None)}


def test_of_a_local_input_only_the_name_goes_along(
    batch: Path, here: Path, batchgen: Command
) -> None:
    file = {"file": f"{here}/photos/heron.png", "sha256": "0" * 64}
    change(batch, "UPDATE requests SET input = ? WHERE id = 'row-1'", json.dumps({"image": file}))

    batchgen("report", batch, "--where", "id=row-1", "--to", "for-ada")

    (row,) = gallery.read_data_file(here / "for-ada" / "report" / "data" / "rows-1.js")
    assert row[4] == {"image": "heron.png"}


def test_a_row_that_failed_for_one_of_its_files_is_given_away_without_its_failure(
    batch: Path, here: Path, batchgen: Command
) -> None:
    change(
        batch,
        "UPDATE requests SET state = 'failed', error = 'paid, but gone: 404', error_code = 404001,"
        " attempts = 3 WHERE id = 'row-1'",
    )

    batchgen("report", batch, "--where", "id=row-1", "--to", "for-ada")

    folder = here / "for-ada"
    (row,) = gallery.read_data_file(folder / "report" / "data" / "rows-1.js")
    assert (row[2], *row[8:12], row[15], row[19]) == ("saved", None, None, None, None, None, None)
    assert not any(b"gone" in text or b"retry" in text for text in data_files(folder))


def test_keys_and_logins_in_urls_stay(batch: Path, here: Path, batchgen: Command) -> None:
    input = {
        "prompt": "a heron",
        "image": "https://ada:secret-1@files.example/in/a.png?X-Amz-Signature=secret-2#secret-3",
        "references": ["https://files.example/b.png?sig=secret-4"],
    }
    meta = {"_from": "https://files.example/c.png?token=secret-5"}
    words = "UPDATE requests SET input = ?, meta = ? WHERE id = 'row-1'"
    change(batch, words, json.dumps(input), json.dumps(meta))

    batchgen("report", batch, "--where", "id=row-1", "--to", "for-ada")

    folder = here / "for-ada"
    (row,) = gallery.read_data_file(folder / "report" / "data" / "rows-1.js")
    assert row[4]["image"] == "https://files.example/in/a.png"
    assert row[4]["references"] == ["https://files.example/b.png"]
    assert not any(b"secret" in text for text in data_files(folder))


def data_files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*.js")]


def test_another_choice_replaces_the_earlier_one(
    batch: Path, here: Path, batchgen: Command, write: Write
) -> None:
    first = picks(write, "row-1,pick,", "row-2,pick,")
    batchgen("report", batch, "--picks", first, "--to", "for-ada")
    earlier = copied(here / "for-ada")

    told = batchgen("report", batch, "--picks", picks(write, "row-2,pick,"), "--to", "for-ada")

    assert told.code == 0
    assert len(earlier) == 2
    assert [name for name in earlier if "row-2" in name] == copied(here / "for-ada")


def test_the_list_of_files_is_one_that_sha256sum_checks(
    batch: Path, here: Path, batchgen: Command
) -> None:
    batchgen("report", batch, "--to", "for-ada")

    lines = (here / "for-ada" / "files.sha256").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    for line in lines:
        sha256, path = line.split("  ", 1)
        assert hashlib.sha256((here / "for-ada" / path).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize(
    "foreign", ["index.html", "images/mine.png", "report/data/own.js", "notes"]
)
def test_a_folder_with_files_of_others_stays_as_it_is(
    batch: Path, here: Path, batchgen: Command, foreign: str
) -> None:
    (here / "site" / foreign).parent.mkdir(parents=True)
    (here / "site" / foreign).write_text("mine", encoding="utf-8")

    told = batchgen("report", batch, "--to", "site")

    assert told.code == 2
    assert f"has files that batchgen did not put there: {foreign}." in told.stderr
    assert everything(here / "site") == {foreign: b"mine"}


def test_what_somebody_added_to_or_changed_in_the_folder_stays(
    batch: Path, here: Path, batchgen: Command
) -> None:
    batchgen("report", batch, "--to", "for-ada")
    name = copied(here / "for-ada")[0]
    (here / "for-ada" / "images" / name).write_text("retouched", encoding="utf-8")
    before = everything(here / "for-ada")

    told = batchgen("report", batch, "--to", "for-ada")

    assert told.code == 2
    assert f"images/{name}" in told.stderr
    assert everything(here / "for-ada") == before


def test_links_are_not_followed(batch: Path, here: Path, batchgen: Command) -> None:
    (here / "elsewhere").mkdir()
    (here / "link").symlink_to("elsewhere")
    assert batchgen("report", batch, "--to", "link").code == 74
    batchgen("report", batch, "--to", "for-ada")
    (here / "for-ada" / "videos").symlink_to(here / "elsewhere")

    told = batchgen("report", batch, "--to", "for-ada")

    assert (told.code, "videos" in told.stderr) == (2, True)
    assert everything(here / "elsewhere") == {}


@pytest.mark.parametrize("place", ["", "report", "new"])
def test_the_batch_and_the_folder_are_not_in_each_other(
    batch: Path, here: Path, batchgen: Command, place: str
) -> None:
    told = batchgen("report", batch, "--to", batch / place)
    assert (told.code, "are in each other" in told.stderr) == (2, True)
    assert batchgen("report", batch, "--to", here).code == 2
    assert not (batch / "new").exists()


def test_where_nothing_is_chosen_nothing_is_written(
    batch: Path, here: Path, batchgen: Command
) -> None:
    told = batchgen("report", batch, "--where", "state=failed", "--to", "for-ada")

    assert told.code == 2
    assert "No row of state=failed has a file to copy. Nothing was written." in told.stderr
    assert not (here / "for-ada").exists()


def test_a_missing_file_is_named_and_the_others_are_copied(
    batch: Path, here: Path, batchgen: Command
) -> None:
    ((path,),) = query(batch, "SELECT path FROM outputs JOIN requests USING (key) WHERE id='row-2'")
    (batch / path).unlink()

    told = batchgen("report", batch, "--to", "for-ada")

    assert told.code == 74
    assert f"for-ada has 2 files; 1 more could not be copied: {path}: No such file" in told.stderr
    assert "batchgen verify" in told.stderr
    assert len(copied(here / "for-ada")) == 2


def test_a_server_may_read_it_where_the_umask_lets_it(
    batch: Path, here: Path, batchgen: Command
) -> None:
    before = os.umask(0o022)
    try:
        batchgen("report", batch, "--to", "for-ada")
    finally:
        os.umask(before)

    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (here / "for-ada").rglob("*")
        if path.is_file()
    }
    assert modes == {0o644}
    assert stat.S_IMODE((here / "for-ada" / "report").stat().st_mode) == 0o755
