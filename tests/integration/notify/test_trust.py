"""Whom a list has told, and what it has run: nobody and nothing, unless the person trusts it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Command
from helpers import PATIENT
from sandbox_client import Control
from servers import HOST, Monitor, listening

PATH = "/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
ROWS = [{"id": "heron", "prompt": "a heron"}]
Configure = Callable[[str], None]


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def url(monitor: Monitor) -> Iterator[str]:
    with listening(monitor.talk) as port:
        yield f"http://{HOST}:{port}{PATH}"


@pytest.fixture
def configure(here: Path) -> Configure:
    """Write the person's own configuration."""

    def write(text: str) -> None:
        folder = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen"
        folder.mkdir(exist_ok=True, mode=0o700)
        (folder / "config.toml").write_text(text)
        (folder / "config.toml").chmod(0o600)

    return write


@pytest.fixture
def hooked(here: Path, url: str) -> str:
    """A list that pings, and runs a command."""
    return manifest(here / "lists", ping=url, on_finish="touch ran", notify_when="always")


def manifest(folder: Path, **settings: object) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "list.json"
    path.write_text(json.dumps({**settings, "rows": ROWS}))
    return str(path)


def ran(here: Path, folder: str = "lists") -> bool:
    return (here / folder / "ran").exists()


def test_a_list_runs_and_tells_nothing_and_a_line_says_so(
    run: Command, hooked: str, here: Path, folder: Path, monitor: Monitor
) -> None:
    outcome = run(hooked)

    assert outcome.code == 0
    assert (monitor.pings, ran(here)) == ([], False)
    said = "list.json: ping, notify_when, on_finish are not obeyed"
    assert said in outcome.stderr
    assert "add --allow-hooks" in outcome.stderr
    assert said in (folder / "batchgen.log").read_text()
    assert PATH[1:13] not in outcome.stderr


def test_with_quiet_the_line_is_in_the_log_alone(run: Command, hooked: str, folder: Path) -> None:
    assert run(hooked, "-q").stderr == ""
    assert "are not obeyed" in (folder / "batchgen.log").read_text()


def test_an_option_lets_a_list_speak(
    run: Command, hooked: str, here: Path, monitor: Monitor
) -> None:
    outcome = run(hooked, "--allow-hooks")

    assert "not obeyed" not in outcome.stderr
    assert monitor.paths == [f"{PATH}/start", PATH]
    assert ran(here)


@pytest.mark.parametrize("trusted", ["lists", ""], ids=["its folder", "the one above"])
def test_a_list_in_a_trusted_folder_speaks(
    run: Command, hooked: str, here: Path, monitor: Monitor, configure: Configure, trusted: str
) -> None:
    configure(f"trusted = ['{here / trusted}']\n")

    assert run("lists/list.json").code == 0
    assert monitor.paths == [f"{PATH}/start", PATH]
    assert ran(here)


def test_a_folder_of_a_longer_name_is_not_trusted(
    run: Command, here: Path, url: str, monitor: Monitor, configure: Configure
) -> None:
    configure(f"trusted = ['{here}/lists']\n")
    run(manifest(here / "lists-of-others", ping=url))

    assert monitor.pings == []


def test_a_link_in_a_trusted_folder_is_as_trusted_as_its_file(
    run: Command, hooked: str, here: Path, monitor: Monitor, configure: Configure
) -> None:
    (here / "trusted").mkdir()
    (here / "trusted" / "list.json").symlink_to(hooked)
    configure(f"trusted = ['{here / 'trusted'}']\n")

    run("trusted/list.json")
    assert (monitor.pings, ran(here, "trusted")) == ([], False)


def test_what_the_person_says_holds_before_what_a_list_says(
    run: Command, here: Path, monitor: Monitor, url: str, configure: Configure
) -> None:
    listed = manifest(here / "lists", ping=f"http://{HOST}:9/nobody", on_finish="touch ran")
    configure(f"ping = '{url}'\non_finish = ['touch', 'own']\n")

    outcome = run(listed)

    assert "not taken" not in outcome.stderr
    assert monitor.paths == [f"{PATH}/start", PATH]
    assert (ran(here), (here / "lists" / "own").exists()) == (False, True)


@PATIENT
def test_a_rehearsal_runs_nothing_of_a_list_or_of_the_configuration(
    batchgen: Command, hooked: str, here: Path, monitor: Monitor, configure: Configure
) -> None:
    configure("on_finish = 'touch ran'\n")
    words = ["--sandbox", "--rate", "1000/s", "--allow-hooks"]

    assert batchgen("run", hooked, *words).code == 0
    assert (monitor.pings, ran(here)) == ([], False)


@pytest.mark.parametrize(
    "settings",
    [
        {"ping": "hc-ping.com/secret-part"},
        {"notify": ["secret-part"]},
        {"notify": "nosuch secret-part"},
        {"notify": ["ntfy://x", "secret-part"]},
        {"on_finish": []},
        {"notify_when": "never"},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_a_problem_with_its_place(
    run: Command, here: Path, sandbox: Control, settings: dict[str, object]
) -> None:
    outcome = run(manifest(here / "lists", **settings))

    assert outcome.code == 65
    assert f"list.json:1:2: {next(iter(settings))}: " in outcome.stderr
    assert "secret-part" not in outcome.stderr
    assert sandbox.posts == 0


def test_a_list_does_not_trust_itself(run: Command, here: Path) -> None:
    outcome = run(manifest(here / "lists", allow_hooks=True))

    assert outcome.code == 65
    assert "Use --allow-hooks." in outcome.stderr
