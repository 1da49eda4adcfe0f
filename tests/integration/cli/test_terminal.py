"""Questions on a real terminal, and what is said there, whatever it was that came from outside."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import forked
import pytest
from conftest import Command, Once
from helpers import at_a_terminal, tally
from sandbox_client import Control

from batchgen import sandbox
from batchgen.cli import main

ASK = "from batchgen.cli.terminal import ask; print('answer:', ask('Pay \\x1b[1m again?'))"


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_at_a_terminal_is_asked_and_silence_is_no(typed: str, answer: bool) -> None:
    code, shown = forked.at_a_terminal(typed, code=ASK)

    assert "Pay \\x1b[1m again? [y/N]" in shown
    assert (code, f"answer: {answer}" in shown) == (0, True)


def test_a_job_in_the_background_is_not_asked() -> None:
    script = f'{sys.executable} -c "$0" & wait'
    code, shown = at_a_terminal("", "/bin/bash", "-m", "-c", script, ASK)

    assert (code, "answer: None" in shown) == (0, True)
    assert "again?" not in shown


@pytest.mark.parametrize("closing", ["</dev/null", "<&-", "2>/dev/null", "2>&-"])
def test_without_a_terminal_on_both_sides_nobody_is_asked(closing: str) -> None:
    script = f'{sys.executable} -c "$0" {closing}'
    code, shown = at_a_terminal("", "/bin/sh", "-c", script, ASK)

    assert (code, "answer: None" in shown) == (0, True)


# What comes from outside, on the two streams of every command

FORGED = "Every row is saved."
EVIL = f"\x1b]0;pwned\x07\x9b31m\u202e\u200f\x7f\u2028\r\n{FORGED}\n\x85"
MODEL = "atelier/evil/text-to-image"
# Every command, with words that make it say what it was told; more than once where it has forms.
COMMANDS: dict[str, list[list[str]]] = {
    "init": [["--from", "LIST"], ["--from", "BAD", "made.yaml"], ["--model", EVIL]],
    "run": [["LIST", "-v", "--on-unknown", "resubmit"], ["LIST", "--json"], ["LIST", "-q"]],
    "validate": [["LIST"], ["BAD"], [EVIL]],
    "plan": [["LIST"], ["MORE"], ["MORE", "--json"], ["BAD"]],
    "status": [["FOLDER"], ["FOLDER", "--json"], ["FOLDER", "--watch", "--until-done"], [EVIL]],
    "pause": [["FOLDER"], ["FOLDER", "--json"]],
    "resume": [["FOLDER"], [EVIL]],
    "set": [["FOLDER", "rate=1/s"], ["FOLDER", "until=06:00", "--keep"], ["FOLDER", EVIL]],
    "retry": [["FOLDER"], ["FOLDER", "--id", EVIL], ["FOLDER", "--cause", EVIL]],
    "resolve": [["FOLDER"], ["FOLDER", "--json"], ["FOLDER", "--id", EVIL, "--write-off"]],
    "verify": [["FOLDER"]],
    "pull": [["FOLDER"], ["FOLDER", "--media", EVIL]],
    "cancel": [["FOLDER"]],
    "report": [["FOLDER"], ["FOLDER", "--where", f"error~{EVIL}"], ["FOLDER", "--picks", EVIL]],
    "models list": [[], ["--online"], ["--search", EVIL]],
    "models show": [[MODEL, "--batch", "FOLDER"], [EVIL]],
    "models fetch": [[MODEL], [EVIL]],
    "models forget": [[MODEL], [EVIL]],
    "login": [[], [EVIL]],
    "logout": [[], [EVIL]],
    "schedule install": [["LIST", "--at", EVIL]],
    "schedule list": [[], [EVIL]],
    **{f"schedule {what}": [[EVIL]] for what in ("show", "check", "remove")},
    "sandbox": [["--fault", f"{EVIL}=1"], [EVIL]],
    "help": [[EVIL]],
    "doctor": [["LIST"], ["BAD"], [EVIL]],
    "config show": [["LIST"], [EVIL]],
    "config path": [[], [EVIL]],
    "journal copy": [
        ["FOLDER", "--journal", f"postgresql:///{EVIL}"],
        [EVIL, "--journal", "postgresql://127.0.0.1:9/a"],
    ],
    "work": [[EVIL], [EVIL, "--journal", "postgresql://127.0.0.1:9/a"]],
}
FORMS = [(name, n) for name, forms in COMMANDS.items() for n in range(len(forms))]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The options that lead a command to a service with a hostile model. All tests share it, since
    none asks what it was sent."""
    file = tmp_path_factory.mktemp("schema") / "evil.json"
    properties = {
        "prompt": {"type": "string", "maxLength": 5000},
        EVIL: {"type": "string", "enum": [EVIL, "plain"]},
    }
    schema = {"type": "object", "required": ["prompt"], "properties": properties}
    names = {"display_name": EVIL, "categories": [EVIL], "date": EVIL, "source": EVIL}
    file.write_text(json.dumps({"model_id": MODEL, "input": schema, "output": None} | names))
    options = ["--seconds", "0", "--picture-size", "64", "--pricing-note", EVIL]
    with (
        sandbox.started(None, options=[*options, "--schema", str(file)]) as address,
        Control(address.base_url) as control,
    ):
        control.fault("status", value=[422, {"detail": EVIL}], match="refused")
        control.fault("status", value=[500, f"<p>{EVIL}"], match="lost", times=None)
        control.fault("failed", value=EVIL, match="fails")
        yield ["--base-url", address.base_url, "--media-host", address.media_host]


PROMPTS = ("saved", "refused", "lost", "fails")
_MORE = {"_note": EVIL, f"_{EVIL}": EVIL, EVIL: EVIL}
ROWS: list[dict[str, object]] = [
    {"id": f"{EVIL}{prompt}", "prompt": f"{prompt} {EVIL}", **_MORE} for prompt in PROMPTS
]
PLACE = f"li{EVIL.replace('/', '')}st"
# What the words of COMMANDS stand for.
NAMES = {one: f"{PLACE}/{one}{EVIL}.jsonl" for one in ("LIST", "MORE", "BAD")}
NAMES["FOLDER"] = f"out/{EVIL}"
INTO = ["--model", MODEL, "--out", NAMES["FOLDER"]]


def lines_of(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def check_harmless(shown: str) -> None:
    assert {c for c in shown if not c.isprintable()} <= {"\n"}
    assert FORGED not in [line.strip() for line in shown.splitlines()]


@pytest.fixture
def lists(batchgen: Command, here: Path, hostile: list[str], once: Once) -> None:
    """The lists, and a batch whose rows have come to every end."""
    files = {
        "LIST": lines_of(ROWS),
        "MORE": lines_of([*ROWS, {"id": f"{EVIL}new", "prompt": EVIL}]),
        "BAD": lines_of([*ROWS, *ROWS, {"prompt": "x", f"{EVIL}2": EVIL, EVIL: f"{EVIL}!"}]),
    }

    def begin() -> None:
        (here / PLACE).mkdir()
        for one, text in files.items():
            (here / NAMES[one]).write_text(text, encoding="utf-8")
        check_harmless(batchgen("run", NAMES["LIST"], *INTO, *hostile).stderr)

    once("hostile", begin)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_command_lets_a_list_a_folder_or_a_catalogue_steer_the_terminal(
    batchgen: Command, here: Path, hostile: list[str], lists: None, name: str, form: int
) -> None:
    assert tally(here / NAMES["FOLDER"]) == {"saved": 1, "failed": 2, "unknown": 1}

    words = [NAMES.get(word, word) for word in COMMANDS[name][form]]
    if name in ("run", "plan", "validate"):
        words += INTO
    if (
        name in ("run", "plan", "resolve", "verify", "cancel", "models fetch")
        or "--online" in words
    ):
        words += hostile
    if name == "models forget":
        batchgen("models", "fetch", MODEL, *hostile)
    told = batchgen(*name.split(), *words)

    check_harmless(told.stdout)
    check_harmless(told.stderr)
    log = (here / NAMES["FOLDER"] / "batchgen.log").read_text(encoding="utf-8")
    assert {c for c in log if not c.isprintable()} <= {"\n"}
    assert FORGED not in log.splitlines()
    if "--json" in words:
        json.loads(told.stdout)


def test_no_command_is_left_out() -> None:
    assert {name for name, _ in commands(main.cli)} == COMMANDS.keys()


def commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its words."""
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from commands(inner, f"{name} {word}".strip())
    else:
        yield name, command
