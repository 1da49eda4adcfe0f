"""Every command of `batchgen --help`, given a folder in which everything is hostile at once."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import Command, Write
from helpers import many, table
from hostile_folder import HOSTILE, LAYERS, links, open_to_others, plant
from sandbox_client import Control

from batchgen.cli.main import cli

PATIENCE_S = 120  # that a command may take on a busy machine
# What each argument of a command is given, and the options without which it would not begin. A new
# command whose arguments are others has to be added here.
GIVEN = {
    **{"manifest": "list.csv", "model": HOSTILE, "name": HOSTILE, "words": HOSTILE},
    "settings": "rate=1/s",
}
WATCH = ["--watch", "--until-done"]
OPTIONS: dict[str, list[list[str]]] = {
    "run": [["--out", "FOLDER", "--rate", "1000/s", "REACH"]],
    "plan": [["--out", "FOLDER"]],
    "validate": [["--out", "FOLDER"]],
    "retry": [["--state", state] for state in ("failed", "cancelled", "written_off")],
    "resolve": [["REACH"], ["--json", "REACH"], ["--all", "--write-off", "--yes", "REACH"]],
    "verify": [["REACH"]],
    "cancel": [["REACH"]],
    "status": [[], ["--json"], *([*WATCH, *more] for more in ([], ["--json"]))],
    "set": [[], ["--keep"]],
    "report": [[], ["--excel"], ["--where", f"{HOSTILE}=1"]],
    "init": [["--from", "FOLDER/results.csv"], ["--model", HOSTILE, "REACH"]],
    "models list": [[], ["--online", "REACH"]],
    "models fetch": [["REACH"]],
    "schedule install": [["--at", "01:30", "--dry-run", "--by", "cron"]],
    "sandbox": [["--help"]],  # it serves until it is ended
}
# Planted in the folder of each command: a copy of a hard link would be a file of its own.
AT_EACH_FOLDER = (open_to_others, links)
KNOWN_CODES = {0, 1, 2, 65, 69, 74, 75, 77}
# No terminal may see these: all control characters but the end of a line, and bidi marks.
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def leaves(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Each command that is no group, with its words."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, *path, name)
    else:
        yield " ".join(path), command


COMMANDS = dict(leaves(cli))


@contextmanager
def in_time(what: object) -> Iterator[None]:
    """Fail where the block does not end."""

    def ring(*_: object) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def copy_one(source: str, target: str) -> None:
    """Copy a file or make a pipe, for `copytree`, which refuses pipes."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target)


def look(place: Path, *, but: Path) -> dict[str, tuple[int, Any]]:
    """Everything below a folder, but what is below another one: mode and content."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in place.rglob("*")
        if but not in (path, *path.parents)
    }


@pytest.fixture
def whole(run: Command, folder: Path, here: Path, sandbox: Control, write: Write) -> Iterator[Path]:
    """A batch in which rows have come to every end, and a copy of it for each command."""
    sandbox.fault("failed", match="number 3")
    sandbox.fault("lost", match="number 4")
    run(write("list.csv", table(many(8))))
    kept = here.parent / f"{here.name}-whole"
    shutil.copytree(folder, kept)
    yield kept
    shutil.rmtree(kept)


@pytest.fixture
def outside(here: Path) -> Path:
    place = here / "outside"
    (place / "data").mkdir(parents=True)
    for name in ("letter.odt", "0123456789abcdef.webp", "data/rows-9.js"):
        (place / name).write_bytes(b"precious\n")
    return place


@pytest.mark.parametrize("hidden", range(len(LAYERS)), ids=lambda n: LAYERS[n].__name__)
def test_every_command_ends_in_words_and_leaves_all_others_files_alone(
    batchgen: Command,
    whole: Path,
    folder: Path,
    outside: Path,
    here: Path,
    reach: list[str],
    sandbox: Control,
    hidden: int,
) -> None:
    billed, faults = len(sandbox.ledger()), []
    layers = LAYERS[hidden:]
    plant(whole, outside, tuple(layer for layer in layers if layer not in AT_EACH_FOLDER))
    for name, command in COMMANDS.items():
        for options in OPTIONS.get(name, [[]]):
            words = [*name.split(), *given(command, folder), *filled(options, folder, reach)]
            shutil.rmtree(folder)
            shutil.copytree(whole, folder, symlinks=True, copy_function=copy_one)
            plant(folder, outside, tuple(layer for layer in layers if layer in AT_EACH_FOLDER))
            before = look(here, but=folder)
            with in_time(words):
                outcome = batchgen(*words)

            shown = outcome.stdout + outcome.stderr
            if outcome.code not in KNOWN_CODES:
                faults.append((words, outcome.code))
            if outcome.code and not shown:
                faults.append((words, "says nothing"))
            if unsafe := UNSAFE.search(shown):
                faults.append((words, shown[max(unsafe.start() - 80, 0) : unsafe.end() + 20]))
            if look(here, but=folder) != before:
                faults.append((words, "changed what is not its own"))
    assert faults == []
    assert len(sandbox.ledger()) == billed


def given(command: click.Command, folder: Path) -> list[str]:
    """The arguments of a command."""
    named = {**GIVEN, "batch": str(folder), "out": str(folder / "images" / "new.yaml")}
    wanted = [one for one in command.params if isinstance(one, click.Argument)]
    return [named[str(one.name)] for one in wanted if one.name != "run_options"]


def filled(options: list[str], folder: Path, reach: list[str]) -> list[str]:
    words = [word.replace("FOLDER", str(folder)) for word in options if word != "REACH"]
    return words + (reach if "REACH" in options else [])


def test_the_tests_above_know_every_command() -> None:
    assert {*OPTIONS} <= {*COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_no_control_characters(batchgen: Command, name: str) -> None:
    outcome = batchgen(*name.split(), "--help")

    assert outcome.code == 0
    assert not UNSAFE.search(outcome.stdout), outcome.stdout
