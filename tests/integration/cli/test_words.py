"""What a person reads: plurals, times, commands to copy, and help in sections."""

import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import many, table

from batchgen.batch_folder import Folder
from batchgen.cli import output
from batchgen.clock import show_time
from batchgen.core.text import plural
from batchgen.errors import BatchBusy, of_system
from batchgen.report import next_steps


@pytest.mark.parametrize(("count", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_a_noun_agrees_with_its_number(count: int, words: str) -> None:
    assert plural(count, "row") == words


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("in_zone", "shown"),
    [
        ("UTC", "2026-11-17 23:20:05 UTC"),
        ("CET-1CEST", "2026-11-18 00:20:05 (2026-11-17 23:20:05 UTC)"),
        ("PST8PDT", "2026-11-17 15:20:05 (23:20:05 UTC)"),
    ],
    indirect=["in_zone"],
)
@pytest.mark.usefixtures("in_zone")
def test_a_time_is_local_with_utc_beside_it(shown: str) -> None:
    at = 1794957605.0
    assert show_time(at) == shown


def test_every_word_of_a_command_to_copy_is_quoted() -> None:
    assert next_steps.command("retry", "out/my list", "--id", "$x") == (
        "batchgen retry 'out/my list' --id '$x'"
    )
    given = {"columns": {"prompt": "Your prompt"}, "fit": True, "id_template": "-{n}"}
    assert next_steps.command_to_run("my list.csv", "out/a", given, rehearsal=True) == (
        "batchgen run 'my list.csv' --column 'prompt=Your prompt' --fit '--id=-{n}' --out"
        " out/a --sandbox"
    )


def test_the_options_of_a_run_are_in_sections(batchgen: Command) -> None:
    sections = re.findall(r"^(\w[\w ]+):$", batchgen("run", "--help").stdout, re.MULTILINE)

    assert sections == [
        *("What to run", "Pace", "Money", "Time", "Files", "Output", "Being told"),
        *("Service", "Other"),
    ]


def show(error: OSError) -> None:
    found = of_system(error, "")
    assert found is not None
    output.error(found)


def test_a_full_disk_is_said_with_what_it_is_full_for(capsys: pytest.CaptureFixture[str]) -> None:
    show(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/list"))

    said = "No space left for out/list; free some, then run the same command again.\n"
    assert capsys.readouterr().err == said


def test_a_lack_of_descriptors_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show(OSError(errno.EMFILE, os.strerror(errno.EMFILE), "some/library.py"))

    said = "No more files can be opened; allow more (ulimit -n), then run it again.\n"
    assert capsys.readouterr().err == said


def test_a_disk_that_cannot_be_written_is_said_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(OSError(errno.EROFS, os.strerror(errno.EROFS), "out/list/report"))

    assert capsys.readouterr().err == (
        "out/list/report: Read-only file system.\n"
        "  Make that writable, or copy the batch folder and name the copy.\n"
    )


def test_a_spreadsheet_is_refused_with_what_to_do(batchgen: Command, here: Path) -> None:
    (here / "list.xlsx").write_bytes(b"PK")
    outcome = batchgen("run", "list.xlsx")

    assert outcome.code == 2
    assert outcome.stderr == (
        "batchgen does not read .xlsx: list.xlsx is an Excel workbook.\n"
        "  In Excel: Save As, “CSV UTF-8 (Comma delimited)”; then run that file.\n"
    )


def test_nothing_to_cancel_is_said_without_zeros(
    run: Command, batchgen: Command, folder: Path, reach: list[str], write: Write
) -> None:
    run(write("list.csv", table(many(1))))

    assert batchgen("cancel", folder, *reach).stdout == "Nothing is in flight.\n"


def test_nothing_to_retry_advises_no_run(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(1))))

    assert batchgen("retry", folder).stdout == "0 rows queued again.\n"


@pytest.mark.parametrize(
    "words",
    [
        ["status", "list.csv", "--watch", "--interval", "99999999999d"],
        ["schedule", "check", "--grace", "3000000d"],
        ["run", "list.csv", "--max-time", "3651d"],
    ],
    ids=" ".join,
)
def test_a_time_that_no_clock_has_is_refused(batchgen: Command, words: list[str]) -> None:
    outcome = batchgen(*words)

    assert outcome.code == 2
    assert "A duration is ten years, 3650d, at most." in outcome.stderr


# Who holds a folder


def test_a_folder_says_who_holds_it_and_a_look_at_it_keeps_nobody_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.holder() is None
    with folder.locked():
        assert str(folder.holder()) == f"process {os.getpid()}"
        with pytest.raises(BatchBusy), Folder(tmp_path).locked():
            pass
    assert folder.holder() is None


# What a terminal shows, and what the log has


@pytest.mark.parametrize(
    ("options", "shown"), [([], False), (["-v"], True), (["-q"], False)], ids=["", "-v", "-q"]
)
def test_the_log_has_every_step_and_the_terminal_what_was_asked_for(
    run: Command, folder: Path, write: Write, options: list[str], shown: bool
) -> None:
    outcome = run(write("list.csv", table(many(1))), *options)
    log = (folder / "batchgen.log").read_text(encoding="utf-8")

    assert re.search(r"Z DEBUG .*accepted as", log)
    assert ("accepted as" in outcome.stderr) == shown


def test_a_limit_that_was_set_is_no_warning(run: Command, folder: Path, write: Write) -> None:
    outcome = run(write("list.csv", table(many(2))), "--limit", 1)
    log = (folder / "batchgen.log").read_text(encoding="utf-8")

    _, reason = re.findall(r"Z INFO (.*)", log)  # the first says what is about to be spent
    assert reason in outcome.stderr
    assert "WARNING" not in log


def test_the_log_says_which_options_were_given_and_where(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.yaml", "max_cost_per_day: 2\nrows: [{prompt: a heron}]\n"), "--limit", 1)
    log = (folder / "batchgen.log").read_text(encoding="utf-8")

    (options,) = re.findall(r"Z DEBUG .*options: (.*)", log)
    assert {"max_cost_per_day (manifest)", "limit (flag)"} <= set(options.split(", "))


def test_twenty_thousand_problems_are_told_in_a_few_hundred_lines(
    batchgen: Command, here: Path
) -> None:
    rows = "".join(f"A fox,x{n}\n" for n in range(20_000))
    (here / "list.csv").write_text(f"prompt,seed\n{rows}")
    outcome = batchgen("validate", "list.csv")

    assert outcome.code == 65
    assert outcome.stderr.count("\n") < 500
    assert "and 19800 more problems\n" in outcome.stderr
    assert "20000 problems in list.csv" in outcome.stderr


def test_an_id_that_cannot_be_stored_is_a_problem_each_time(batchgen: Command, here: Path) -> None:
    (here / "list.jsonl").write_text('{"prompt": "A", "id": "a\\ud800"}\n' * 2)
    outcome = batchgen("validate", "list.jsonl")

    assert outcome.code == 65
    assert outcome.stderr.count("half of a surrogate pair") == 2
