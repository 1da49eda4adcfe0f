"""--out into a folder with files of somebody else: none is overwritten, changed or deleted."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import states, table
from sandbox_client import Control

from batchgen.batch_folder import FOLDERS, REPLACED

ROWS = {"heron": "a heron"}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", [*REPLACED, *(name for name in FOLDERS if "/" not in name)])
def test_a_folder_without_a_batch_that_has_a_file_of_our_names_is_refused(
    run: Command, folder: Path, sandbox: Control, write: Write, name: str
) -> None:
    folder.mkdir(parents=True)
    if name in FOLDERS:
        (folder / name).mkdir()
        (folder / name / "holiday.png").write_text("mine")
    else:
        (folder / name).write_text("mine")
    before = content(folder)

    outcome = run(write("list.csv", table(ROWS)))
    assert outcome.code == 2
    assert f"and no batch: {name}. Nothing was sent." in outcome.stderr
    assert content(folder) == before
    assert sandbox.posts == 0


def test_a_link_of_our_name_that_leads_nowhere_is_somebodys_too(
    run: Command, folder: Path, write: Write
) -> None:
    folder.mkdir(parents=True)
    (folder / "results.csv").symlink_to("/nowhere/at/all")

    assert run(write("list.csv", table(ROWS))).code == 2
    assert (folder / "results.csv").readlink() == Path("/nowhere/at/all")


def test_a_folder_with_files_of_other_names_is_used_and_they_stay(
    run: Command, folder: Path, write: Write
) -> None:
    folder.mkdir(parents=True)
    for name in ("notes.txt", "heron.png", "results.xlsx", "summary.txt"):
        (folder / name).write_text("mine")
    before = content(folder)

    manifest = write("list.csv", table(ROWS))
    for _ in range(2):
        assert run(manifest).code == 0
    assert before.items() <= content(folder).items()
    assert states(folder) == {"heron": "saved"}


def test_a_run_that_ended_before_its_journal_was_made_is_taken_up(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(ROWS)), "--limit", 0)
    for name in ("batch.db", "batch.db-wal", "batch.db-shm", "receipts.log"):
        (folder / name).unlink(missing_ok=True)

    assert run("list.csv").code == 0
    assert sandbox.posts == 1


@pytest.mark.parametrize("name", ["results.csv", "report/list.csv"])
def test_a_list_that_the_report_would_replace_is_refused_in_a_batch_too(
    batchgen: Command, here: Path, reach: list[str], write: Write, name: str
) -> None:
    def go(manifest: str) -> int:
        return batchgen("run", manifest, "--out", ".", "--rate", "1000/s", *reach).code

    assert go(write("list.csv", table(ROWS))) == 0
    text = table({"fox": "a fox"})
    assert go(write(name, text)) == 2
    assert (here / name).read_bytes() == text.encode()


def test_the_file_that_a_manifest_takes_its_rows_from_is_no_less_its_own(
    batchgen: Command, here: Path, reach: list[str], write: Write
) -> None:
    def go(manifest: str) -> int:
        return batchgen("run", manifest, "--out", ".", "--rate", "1000/s", *reach).code

    assert go(write("list.csv", table(ROWS))) == 0
    write("results.csv", table({"fox": "a fox"}))
    assert go(write("list.yaml", "from: results.csv\n")) == 2
    assert (here / "results.csv").read_bytes() == table({"fox": "a fox"}).encode()


def test_a_receipts_log_and_a_batch_db_of_other_programs_stay_as_they_are(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(ROWS))
    folder.mkdir(parents=True)
    (folder / "receipts.log").write_text("2026-11-26 bread 3.20\n")
    assert run(manifest).code == 74
    assert (folder / "receipts.log").read_text() == "2026-11-26 bread 3.20\n"
    (folder / "receipts.log").unlink()

    with closing(sqlite3.connect(folder / "batch.db")) as theirs, theirs:
        theirs.execute("CREATE TABLE requests (mine)")
    before = (folder / "batch.db").read_bytes()
    outcome = run(manifest)
    assert outcome.code == 74
    assert "a database of another program" in outcome.stderr
    assert (folder / "batch.db").read_bytes() == before
    assert sandbox.posts == 0
