"""Whose batch is it: the same list is one batch, from any directory and under any of its names."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import PATIENT, Outcome, as_before, many, query, table
from sandbox_client import Control

from batchgen.batch_folder import Folder
from batchgen.config import RunOptions, Source
from batchgen.files import state_folder
from batchgen.operations.find_batch import SecondBatch, known_batches, refuse_other_run


@pytest.fixture
def go(by_thread: Command, reach: list[str]) -> Command:
    """Run a manifest into the folder that it has by default."""
    return lambda manifest, *options: by_thread(
        "run", manifest, "--rate", "1000/s", *reach, *options
    )


@pytest.fixture
def elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another working directory; the test is in it after `monkeypatch.chdir`."""
    other = here / "elsewhere"
    other.mkdir()
    return other


def memory() -> Path:
    folder = state_folder(os.environ)
    assert folder is not None
    return folder / "batches.json"


# The name of the folder


def test_a_link_to_the_list_of_the_day_has_one_folder(
    go: Command, here: Path, sandbox: Control, write: Write
) -> None:
    for day, rows in enumerate(({"heron": "a heron"}, {"heron": "a heron", "fox": "a fox"})):
        Path("latest.csv").unlink(missing_ok=True)
        Path("latest.csv").symlink_to(write(f"day-{day}.csv", table(rows)))
        assert go("latest.csv").code == 0

    assert sandbox.posts == 2
    assert [path.name for path in (here / "out").iterdir()] == ["latest"]


def test_a_link_whose_list_changes_altogether_is_still_the_same_list(
    go: Command, sandbox: Control, write: Write
) -> None:
    for day, rows in enumerate(({"heron": "a heron"}, {"fox": "a fox"})):
        Path("latest.csv").unlink(missing_ok=True)
        Path("latest.csv").symlink_to(write(f"day-{day}.csv", table(rows)))
        assert go("latest.csv").code == 0

    assert sandbox.posts == 2


def test_a_folder_that_has_the_name_of_the_links_target_goes_on_there_and_says_so(
    go: Command, batchgen: Command, here: Path, sandbox: Control, write: Write
) -> None:
    # As 0.1.0 left it: it named the folder by the target, kept the target's path, and had no memory
    # beside the batch.
    list = write("day-0.csv", table({"heron": "a heron"}))
    assert go(list).code == 0
    as_before(here / "out" / "day-0", 2)
    memory().unlink()
    Path("latest.csv").symlink_to(list)

    outcome = go("latest.csv")
    assert outcome.code == 0
    assert "Going on in out/day-0, which holds the batch of latest.csv." in outcome.stderr
    assert batchgen("status", "latest.csv").stdout.startswith("out/day-0: 1 row\n")
    assert sandbox.posts == 1
    assert not (here / "out" / "latest").exists()
    # The list of the next day is the same one by its name.
    Path("latest.csv").unlink()
    Path("latest.csv").symlink_to(write("day-1.csv", table({"fox": "a fox"})))
    assert go("latest.csv").code == 2
    assert go("latest.csv", "--out", "out/day-0").code == 0
    assert sandbox.posts == 2


def test_a_list_that_was_renamed_is_not_paid_again_unless_that_is_meant(
    go: Command, batchgen: Command, sandbox: Control, write: Write
) -> None:
    assert go(write("list.csv", table(many(2)))).code == 0
    Path("list.csv").rename("spring.csv")

    assert batchgen("plan", "spring.csv").code == 2
    outcome = go("spring.csv")
    assert outcome.code == 2
    assert "2 rows are paid for in" in outcome.stderr
    assert "--out" in outcome.stderr
    assert go(write("other.csv", table({"owl": "an owl"}))).code == 0
    assert go("spring.csv", "--out", "out/list").code == 0
    assert sandbox.posts == 3
    assert go("spring.csv", "--new-batch").code == 0
    assert sandbox.posts == 5


@pytest.mark.parametrize("ids", [("0001", "0002"), ("1", "2")], ids=["moved", "rewritten"])
def test_a_list_that_was_moved_or_saved_by_a_spreadsheet_is_not_paid_again(
    go: Command, sandbox: Control, elsewhere: Path, write: Write, monkeypatch,
    ids: tuple[str, str],
) -> None:  # fmt: skip
    assert go(write("list.csv", table({"0001": "a heron", "0002": "an owl"}))).code == 0
    Path("list.csv").unlink()
    monkeypatch.chdir(elsewhere)
    Path("spring.csv").write_text(table(dict(zip(ids, ("a heron", "an owl"), strict=True))))
    outcome = go("spring.csv")

    assert (outcome.code, sandbox.posts) == (2, 2), outcome
    assert "2 rows are paid for in" in outcome.stderr
    assert "renamed or moved" in outcome.stderr
    assert go("spring.csv", "--new-batch").code == 0
    assert sandbox.posts == 4


def test_of_two_runs_that_begin_at_the_same_time_the_second_to_be_remembered_stops(
    here: Path, write: Write
) -> None:
    path, known = write("list.csv", table(many(1))), known_batches()
    folders = [Folder(here / name) for name in ("one", "two")]
    with ExitStack() as held:
        for folder in folders:
            folder.create()
            held.enter_context(folder.locked())("running")
            known.remember(path, folder.path, rehearsal=False, at="2026-11-27T00:00:00.000Z")
        options = RunOptions(sources={"out": Source.DEFAULT})

        refuse_other_run(path, options, folders[0], known, set())
        with pytest.raises(SecondBatch):
            refuse_other_run(path, options, folders[1], known, set())


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/63", "/proc/self/fd/11"])
def test_a_list_without_a_name_of_its_own_needs_a_folder(
    batchgen: Command, here: Path, name: str
) -> None:
    for command in ("run", "plan"):
        outcome = batchgen(command, name, "--format", "csv")
        assert outcome.code == 2
        assert "has no name of its own" in outcome.stderr or "There is no file" in outcome.stderr
    assert not (here / "out").exists()


def pipe_with(text: str) -> tuple[int, str]:
    """The end of a pipe that gives `text`, and its path, as a process substitution makes them."""
    end, begin = os.pipe()
    os.write(begin, text.encode())
    os.close(begin)
    return end, f"/dev/fd/{end}"


def test_a_process_substitution_is_refused_without_out_and_goes_on_with_it(
    by_thread: Command, reach: list[str], sandbox: Control, write: Write
) -> None:
    list = table({"heron": "a heron"})

    def piped(command: str, *options: str) -> Outcome:
        end, path = pipe_with(list)
        try:
            return by_thread(command, path, "--format", "csv", *reach, *options)
        finally:
            os.close(end)

    outcome = piped("run")
    assert outcome.code == 2
    assert "--out" in outcome.stderr
    assert piped("validate").code in (0, 2)  # 2: it has no --base-url
    assert piped("run", "--out", "here").code == 0
    assert sandbox.posts == 1
    write("list.csv", list)
    for command in ("run <(cat list.csv)", "run /dev/stdin < list.csv"):
        words = f"{sys.executable} -m batchgen {command} --format csv --out here {' '.join(reach)}"
        assert subprocess.run(["bash", "-c", words], check=False).returncode == 0
    assert sandbox.posts == 1


@pytest.mark.parametrize(
    "name", ["zshAbC123", "zshAbC123.csv", ".psub.AbCdE12345", ".psub.AbCdE12345/psub.csv"]
)
def test_a_file_that_a_shell_makes_for_one_command_needs_a_folder(
    go: Command,
    here: Path,
    sandbox: Control,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", f"{temporary}/")
    file = temporary / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(table({"heron": "a heron"}), encoding="utf-8")

    outcome = go(str(file), "--format", "csv")
    assert outcome.code == 2
    assert "has no name of its own" in outcome.stderr
    assert sandbox.posts == 0
    assert go(str(file), "--format", "csv", "--out", "here").code == 0
    assert go(str(file.rename(file.with_name("list.csv")))).code == 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_of_0_1_0_goes_on_and_nothing_is_paid_again(
    go: Command, here: Path, sandbox: Control, write: Write, version: int
) -> None:
    list = write("list.csv", table(many(3)) + "\n")
    assert go(list, "--limit", 2).code == 75
    keys = query(here / "out" / "list", "SELECT key, id FROM requests ORDER BY key")
    as_before(here / "out" / "list", version)
    memory().unlink()

    assert go(list).code == 0
    assert sandbox.posts == 3
    assert query(here / "out" / "list", "SELECT key, id FROM requests ORDER BY key") == keys


# A second batch


def test_the_same_list_from_another_directory_is_refused_and_nothing_is_sent(
    go: Command, batchgen: Command, here: Path, elsewhere: Path, sandbox: Control, write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    list = here / write("list.csv", table(many(2)))
    go("list.csv")
    monkeypatch.chdir(elsewhere)

    for command in (go(list), batchgen("plan", list)):
        assert command.code == 2
        assert f"{list} has its batch in {here}/out/list." in command.stderr
        assert "Nothing was sent." in command.stderr
        assert f"--out {here}/out/list" in command.stderr
        assert "--new-batch" in command.stderr
    assert sandbox.posts == 2
    assert [*elsewhere.iterdir()] == []
    assert go(list, "--out", here / "out" / "list").code == 0
    assert sandbox.posts == 2


@pytest.mark.parametrize("option", ["--new-batch", "--out=mine"])
def test_a_second_batch_is_begun_where_it_is_meant(
    go: Command, here: Path, elsewhere: Path, sandbox: Control, write: Write, option: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    list = here / write("list.csv", table({"heron": "a heron"}))
    go("list.csv")
    monkeypatch.chdir(elsewhere)

    assert go(list, option).code == 0
    assert sandbox.posts == 2
    assert go(list, option).code == 0
    assert sandbox.posts == 2


def test_the_same_list_under_the_name_of_a_link_is_refused(
    go: Command, here: Path, sandbox: Control, write: Write
) -> None:
    go(write("list.csv", table({"heron": "a heron"})), "--out", "first")
    Path("link.csv").symlink_to("list.csv")

    assert go("link.csv").code == 2
    assert sandbox.posts == 1


def test_a_list_of_the_same_name_goes_into_no_other_lists_folder(
    go: Command, here: Path, elsewhere: Path, sandbox: Control, write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    list = here / write("list.csv", table({"heron": "a heron"}))
    go("list.csv")
    monkeypatch.chdir(elsewhere)
    Path("list.csv").write_text(table({"heron": "another heron"}))
    assert go("list.csv").code == 0

    # elsewhere/out/list is not empty, and has a row of the same id.
    assert go(list).code == 2
    assert sandbox.posts == 2


def test_a_batch_that_is_gone_is_not_paid_for_again_unasked(
    go: Command, here: Path, sandbox: Control, write: Write
) -> None:
    list = write("list.csv", table({"heron": "a heron"}))
    go(list)
    shutil.rmtree("out")

    outcome = go(list)
    assert outcome.code == 2
    assert f"{list} had its batch in {here}/out/list, which is gone." in outcome.stderr
    assert go(list, "--new-batch").code == 0
    assert go(list).code == 0
    assert sandbox.posts == 2


def test_a_batch_that_has_cost_nothing_is_in_nobodys_way(
    go: Command, here: Path, elsewhere: Path, sandbox: Control, write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    list = here / write("list.csv", table({"heron": "a heron"}))
    assert go("list.csv", "--limit", 0).code == 75
    monkeypatch.chdir(elsewhere)

    assert go(list).code == 0
    assert sandbox.posts == 1


@PATIENT
def test_a_rehearsal_is_in_nobodys_way_and_nobody_in_its(
    go: Command, batchgen: Command, here: Path, sandbox: Control, write: Write
) -> None:
    list = write("list.csv", table({"heron": "a heron"}))
    assert batchgen("run", list, "--sandbox", "--out", "rehearsal").code == 0
    assert go(list).code == 0
    shutil.rmtree("rehearsal")
    assert batchgen("run", list, "--sandbox", "--out", "again").code == 0


# Moved and copied folders, several computers, a memory that is gone


def test_a_project_that_was_moved_or_copied_goes_on(
    go: Command, batchgen: Command, here: Path, sandbox: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = here / "project"
    project.mkdir()
    (project / "list.csv").write_text(table({"heron": "a heron"}))
    monkeypatch.chdir(project)
    go("list.csv")
    monkeypatch.chdir(here)
    shutil.copytree(project, "copy")
    project.rename("moved")

    for place in ("copy", "moved"):
        monkeypatch.chdir(here / place)
        assert go("list.csv").code == 0
        assert batchgen("status", here / place / "list.csv").code == 0
    assert sandbox.posts == 1


def test_a_batch_on_another_computer_that_shares_the_home_is_in_nobodys_way(
    go: Command, here: Path, sandbox: Control, write: Write
) -> None:
    list = write("list.csv", table({"heron": "a heron"}))
    go(list)
    entries = json.loads(memory().read_text())
    memory().write_text(json.dumps([entry | {"host": "another"} for entry in entries]))
    shutil.rmtree("out")

    assert go(list).code == 0
    assert sandbox.posts == 2


def test_a_computer_that_got_another_name_finds_what_it_paid_for(
    go: Command, sandbox: Control, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go(write("list.csv", table(many(2)))).code == 0
    Path("list.csv").rename("spring.csv")
    monkeypatch.setattr(socket, "gethostname", lambda: "another")

    outcome = go("spring.csv")
    assert (outcome.code, sandbox.posts) == (2, 2)
    assert "2 rows are paid for in" in outcome.stderr


@pytest.mark.parametrize(
    "harm",
    ["", "{", "[[[", "7", '[{"written": 5}]', '{"batches": []}', "\0" * 100],
)
def test_a_damaged_memory_does_no_harm_and_is_made_anew(
    go: Command, batchgen: Command, here: Path, elsewhere: Path, sandbox: Control, write: Write,
    harm: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    list = here / write("list.csv", table({"heron": "a heron"}))
    memory().parent.mkdir(parents=True, exist_ok=True)
    memory().write_text(harm)

    assert go("list.csv").code == 0
    monkeypatch.chdir(elsewhere)
    assert batchgen("status", list).code == 0
    assert sandbox.posts == 1


@pytest.mark.parametrize("kind", ["no home", "a file in the way", "a link", "read only"])
def test_a_memory_that_cannot_be_written_does_no_harm(
    go: Command, batchgen: Command, here: Path, tmp_path_factory: pytest.TempPathFactory,
    sandbox: Control, write: Write, kind: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    state = tmp_path_factory.mktemp("odd")
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    if kind == "no home":
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.setenv("HOME", "")
    elif kind == "a file in the way":
        (state / "batchgen").write_text("")
    elif kind == "a link":
        (state / "batchgen").mkdir()
        (state / "batchgen" / "batches.lock").symlink_to(here / "foreign")
    else:
        (state / "batchgen").mkdir(mode=0o500)
    list = write("list.csv", table({"heron": "a heron"}))

    for _ in range(2):
        assert go(list).code == 0
    assert batchgen("status", list).code == 0
    assert sandbox.posts == 1
    assert not (here / "foreign").exists()


def test_the_memory_is_private_and_has_no_token(
    go: Command, here: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(write("list.csv", table({"heron": "a heron"})))

    assert memory().stat().st_mode & 0o777 == 0o600
    assert memory().parent.stat().st_mode & 0o777 == 0o700
    (entry,) = json.loads(memory().read_text())
    assert entry["written"] == str(here / "list.csv")
    assert entry["folder"] == str(here / "out" / "list")
    assert os.environ["RUNCOMFY_TOKEN"] not in memory().read_text()


# Commands that name a batch by its list


def test_commands_find_the_batch_of_a_list_from_anywhere(
    go: Command, batchgen: Command, here: Path, elsewhere: Path, sandbox: Control, write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sandbox.fault("422", match="heron")
    list = here / write("list.csv", table({"heron": "a heron"}))
    assert go("list.csv", "--out", "named").code == 1
    monkeypatch.chdir(elsewhere)

    assert batchgen("status", list).stdout.startswith(f"{here}/named: 1 row\n")
    assert batchgen("report", list).code == 0
    assert batchgen("retry", list).stdout.startswith("1 row queued again.")


def test_of_several_batches_one_has_to_be_named(
    go: Command, batchgen: Command, here: Path, write: Write
) -> None:
    list = write("list.csv", table({"heron": "a heron"}))
    for folder in ("one", "two"):
        go(list, "--out", folder)

    outcome = batchgen("status", list)
    assert outcome.code == 2
    assert "has batches in 2 folders" in outcome.stderr
    assert f"  {here}/one" in outcome.stderr
    assert f"  {here}/two" in outcome.stderr


def test_a_list_that_was_never_run_has_no_batch(batchgen: Command, write: Write) -> None:
    outcome = batchgen("status", write("list.csv", table({"heron": "a heron"})))

    assert outcome.code == 2
    assert "There is no batch in list.csv, nor in out/list." in outcome.stderr
    assert batchgen("status", "/dev/stdin").code == 2
