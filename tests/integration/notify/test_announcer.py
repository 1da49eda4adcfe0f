"""Whole runs, and who was told of them: a monitor on this computer, and commands of one's own."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import PATIENT, TOKEN, at_a_terminal, many, table, until
from sandbox_client import Control
from servers import HOST, Monitor, listening, silence

PATH = "/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
START, FAIL = f"{PATH}/start", f"{PATH}/fail"
PROMPT = "a heron, number"


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def url(monitor: Monitor) -> Iterator[str]:
    with listening(monitor.talk) as port:
        yield f"http://{HOST}:{port}{PATH}"


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


def log_of(folder: Path) -> str:
    return (folder / "batchgen.log").read_text()


# -- the monitor -----------------------------------------------------------------------------------


def test_a_run_pings_when_it_begins_and_when_it_has_ended_by_an_id_of_its_own(
    run: Command, manifest: str, monitor: Monitor, url: str
) -> None:
    assert run(manifest, "--ping", url).code == 0

    start, end = monitor.pings
    assert (start.method, start.path, start.body) == ("GET", START, "")
    assert (end.method, end.path) == ("POST", PATH)
    assert start.query == end.query
    assert len(start.query["rid"]) == 36
    assert end.body.splitlines() == [
        "list.csv: Every row is saved.",
        "3 saved",
        "$0.09 spent or reserved",
        "exit code 0",
    ]

    # A night with nothing left to do is silent, and a success.
    outcome = run(manifest, "-q", "--ping", url)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")
    assert monitor.paths == [START, PATH] * 2
    assert len({ping.query["rid"] for ping in monitor.pings}) == 2


def test_rows_that_failed_are_a_failure_with_their_causes_and_without_their_prompts(
    run: Command, manifest: str, monitor: Monitor, url: str, sandbox: Control
) -> None:
    sandbox.fault("422", match="number 2")

    assert run(manifest, "--ping", url).code == 1

    assert monitor.paths == [START, FAIL]
    body = monitor.pings[-1].body
    assert "2 saved, 1 failed" in body
    assert "exit code 1" in body
    assert "1 failed: " in body
    assert PROMPT not in body


def test_a_limit_that_the_person_set_is_a_success(
    run: Command, manifest: str, monitor: Monitor, url: str
) -> None:
    assert run(manifest, "--ping", url, "--limit", 1).code == 75

    assert monitor.paths == [START, PATH]
    assert "2 pending, 1 saved" in monitor.pings[-1].body


def test_a_list_that_is_not_valid_is_a_failure_without_a_beginning(
    run: Command, write: Write, monitor: Monitor, url: str
) -> None:
    assert run(write("list.csv", "id,prompt\nx,\n"), "--ping", url).code == 65

    (ping,) = monitor.pings
    assert ping.path == FAIL
    assert ping.body.splitlines()[0] == "list.csv: 1 problem in list.csv. Nothing was sent."
    assert "exit code 65" in ping.body


def test_a_list_that_is_gone_is_a_failure(run: Command, monitor: Monitor, url: str) -> None:
    assert run("gone.csv", "--ping", url).code == 2

    assert monitor.paths == [FAIL]
    assert "exit code 2" in monitor.pings[0].body


def test_a_token_that_is_missing_is_a_failure(
    run: Command, manifest: str, monitor: Monitor, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")

    assert run(manifest, "--ping", url).code == 77
    assert monitor.paths == [FAIL]


def test_a_run_outside_its_window_pings_nobody(
    run: Command, manifest: str, monitor: Monitor, url: str
) -> None:
    hour = datetime.now() + timedelta(hours=2)
    window = f"{hour:%H:%M}-{hour + timedelta(hours=1):%H:%M}"

    assert run(manifest, "--ping", url, "--window", window).code == 75
    assert monitor.pings == []


def test_a_run_that_finds_another_one_at_work_pings_nobody_and_a_signal_is_a_failure(
    run: Command,
    start: Callable[..., Any],
    manifest: str,
    monitor: Monitor,
    url: str,
    sandbox: Control,
) -> None:
    sandbox.set(seconds=1000)
    running = start(manifest, "-v", "--ping", url)
    assert any("accepted as" in line for line in running.stderr)

    assert run(manifest, "--ping", url).code == 75
    assert monitor.paths == [START]

    running.send_signal(signal.SIGTERM)
    running.communicate()

    assert running.returncode == 143
    assert monitor.paths == [START, FAIL]
    assert "Interrupted by SIGTERM." in monitor.pings[-1].body


@PATIENT
def test_rehearsals_and_plans_ping_nobody_and_a_rehearsal_runs_a_command_of_its_command_line(
    batchgen: Command, run: Command, manifest: str, here: Path, monitor: Monitor, url: str
) -> None:
    assert run(manifest, "--dry-run", "--ping", url).code == 0
    words = ["--sandbox", "--rate", "1000/s", "--ping", url, "--on-finish", "cat > told.json"]
    assert batchgen("run", manifest, *words).code == 0

    assert monitor.pings == []
    assert told_to(here / "told.json")["rehearsal"] is True


def test_a_person_who_says_no_pings_nobody(
    write: Write, reach: list[str], monitor: Monitor, url: str
) -> None:
    manifest = write("list.csv", table(many(2)))
    words = [sys.executable, "-m", "batchgen", "run", manifest, *reach, "--ping", url]
    code, shown = at_a_terminal("n\n", *words, "--ask-above", "0.01")

    assert code == 75, shown
    assert monitor.pings == []


@pytest.mark.timing(ping=0.5)
@pytest.mark.parametrize("options", [[], ["-q"]], ids=["shown", "quiet"])
def test_a_monitor_that_does_not_answer_changes_nothing(
    run: Command, manifest: str, folder: Path, options: list[str]
) -> None:
    with listening(silence) as port:
        outcome = run(manifest, "--ping", f"http://{HOST}:{port}{PATH}", *options)

    assert outcome.code == 0
    warning = "The ping (success) was not taken: no answer in 0.5 s. The run is not affected."
    assert (warning in outcome.stderr) is not bool(options)
    assert warning in log_of(folder)
    assert PATH[1:13] not in outcome.stderr + log_of(folder)


def test_the_variable_says_where_and_nobody_sees_it(
    run: Command,
    manifest: str,
    folder: Path,
    monitor: Monitor,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCHGEN_PING", url)
    outcome = run(manifest, "-v", "--json", "--on-finish", "env")

    assert outcome.code == 0
    assert monitor.paths == [START, PATH]
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for where in (written.decode(errors="replace"), outcome.stdout, outcome.stderr):
        assert PATH[1:13] not in where


def test_a_monitor_that_is_configured_can_be_left_out_for_one_run(
    run: Command, manifest: str, monitor: Monitor, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGEN_PING", url)
    monkeypatch.setenv("BATCHGEN_NOTIFY", "ntfys://127.0.0.1:9/topic")
    outcome = run(manifest, "--no-ping", "--no-notify", "--notify-when", "always")

    assert outcome.code == 0
    assert monitor.paths == []
    assert "message" not in outcome.stderr
    assert run(manifest, "--no-ping", "--ping", url).code == 2


def test_a_mail_that_repeats_the_command_does_not_repeat_the_address(
    run: Command, write: Write, url: str
) -> None:
    outcome = run(write("list.csv", "id,prompt\nx,\n"), "-q", "--ping", url)

    assert "The command was:" in outcome.stderr
    assert "[hidden]" in outcome.stderr
    assert PATH[1:13] not in outcome.stderr


@pytest.mark.parametrize("text", ["hc-ping.com/secret-part", "file:///secret-part"])
def test_an_address_that_cannot_be_pinged_is_refused_and_not_shown(
    run: Command, manifest: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_option = run(manifest, "--ping", text)
    monkeypatch.setenv("BATCHGEN_PING", text)
    by_variable = run(manifest)

    for outcome in (by_option, by_variable):
        assert outcome.code == 2
        assert "no address to ping" in outcome.stderr
        assert "secret" not in outcome.stderr


# -- the command -----------------------------------------------------------------------------------


def told_to(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_command_reads_the_summary_when_the_run_has_ended(
    run: Command, write: Write, folder: Path, here: Path, sandbox: Control
) -> None:
    (here / "lists").mkdir()
    manifest = write("lists/list.csv", table(many(3)))
    sandbox.fault("422", match="number 2")

    outcome = run(manifest, "--on-finish", 'cat > told.json; echo "ended with $BATCHGEN_EXIT_CODE"')

    assert outcome.code == 1
    told = told_to(here / "lists" / "told.json")
    summary = json.loads((folder / "summary.json").read_text())
    assert {name: told[name] for name in ("rows", "counts", "causes", "money_usd", "run")} == {
        name: summary[name] for name in ("rows", "counts", "causes", "money_usd", "run")
    }
    assert told["exit_code"] == 1
    assert told["reason"] == "Not every row is saved: 1 failed."
    assert told["manifest"] == str(here / manifest)
    assert told["folder"] == str(folder)
    assert PROMPT not in json.dumps(told)
    assert "on_finish: ended with 1" in log_of(folder)
    assert "ended with" not in outcome.stdout + outcome.stderr


def test_a_command_gets_no_token_and_finds_the_batch_free_and_its_pictures_there(
    run: Command, manifest: str, folder: Path
) -> None:
    command = f'env; {sys.executable} -m batchgen retry "$BATCHGEN_FOLDER"'
    assert run(manifest, "--on-finish", command).code == 0

    assert "on_finish failed" not in log_of(folder)
    assert "on_finish: BATCHGEN_EXIT_CODE=0" in log_of(folder)
    assert TOKEN not in log_of(folder)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exit 7", "exit code 7"),
        pytest.param("sleep 600", "longer than 0.5 s", marks=pytest.mark.timing(on_finish=0.5)),
        ("nosuch", "exit code 127"),
    ],
)
def test_a_command_that_fails_changes_nothing(
    run: Command, manifest: str, folder: Path, command: str, why: str
) -> None:
    outcome = run(manifest, "--on-finish", command)

    assert outcome.code == 0
    assert "on_finish failed: " in outcome.stderr
    assert why in outcome.stderr
    assert why in log_of(folder)


def test_a_command_is_run_also_where_nothing_was_sent(
    run: Command, write: Write, here: Path, folder: Path
) -> None:
    outcome = run(write("list.csv", "id,prompt\nx,\n"), "--on-finish", "cat > told.json")

    assert outcome.code == 65
    told = told_to(here / "told.json")
    assert told["exit_code"] == 65
    assert told["reason"] == "1 problem in list.csv. Nothing was sent."
    assert "counts" not in told
    assert not folder.exists()


def test_a_signal_ends_a_command_and_leaves_the_result(
    start: Callable[..., Any], manifest: str, here: Path
) -> None:
    running = start(manifest, "--on-finish", "echo $$ > begun; exec sleep 600")
    begun = here / "begun"
    until(running, lambda: begun.exists() and begun.read_text() != "")
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)

    assert running.returncode == 0
    assert "Every row is saved." in said
