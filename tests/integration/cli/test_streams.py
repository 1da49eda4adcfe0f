"""Standard streams that nobody reads, that are full, or closed: the command does its work."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import pytest
from conftest import Command, Write
from helpers import ROOT, many, states, table

from batchgen.cli.main import cli

MODEL = "ideogram/ideogram-v2/generate"
# Every command, in a form that prints something; `run` and `doctor` get the sandbox's address.
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "list.csv", "--json"],
    "validate": ["validate", "list.csv"],
    "plan": ["plan", "longer.csv"],
    "status": ["status", "list.csv"],
    "pause": ["pause", "list.csv"],
    "resume": ["resume", "list.csv"],
    "set": ["set", "list.csv", "rate=20/m", "--keep"],
    "retry": ["retry", "list.csv"],
    "resolve": ["resolve", "list.csv"],
    "verify": ["verify", "list.csv"],
    "pull": ["pull", "list.csv"],
    "cancel": ["cancel", "list.csv"],
    "report": ["report", "list.csv", "--no-thumbnails"],
    "models": ["models", "show", MODEL],
    "sandbox": ["sandbox", "--exit-with-stdin"],
    "init": ["init", "-"],
    "login": ["login", "--help"],  # without a terminal or a token it has nothing to store
    "journal": ["journal", "copy", "--help"],  # without a database it has nothing to copy to
    "work": ["work", "--help"],  # nor a batch that others have
    "logout": ["logout"],
    "schedule": ["schedule", "install", "list.csv", "--at", "01:30", "--dry-run"],
    "help": ["help", "exit-codes"],
    "doctor": ["doctor", "list.csv", "--"],
    "config": ["config", "show"],
}
DISK_FULL = 74
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def unread_pipe() -> Iterator[int]:
    """A pipe whose reader is gone, as after `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def program(saved: Callable[[int], Path], write: Write, reach: list[str]) -> Run:
    """Run a command of COMMANDS on a batch of three saved rows, as a process of its own."""
    saved(3)
    write("longer.csv", table(many(400)))  # whose plan is longer than what a stream holds back

    def run_it(words: list[str], **streams: int) -> "subprocess.CompletedProcess[str]":
        to_server = reach if {*words[:1]} & {"run", "doctor"} else []
        return forked.run(*words, *to_server, **streams)

    return run_it


def test_every_command_is_tried() -> None:
    assert COMMANDS.keys() == cli.commands.keys()


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_command_whose_reader_has_left_ends_as_it_would(program: Run, words: list[str]) -> None:
    with unread_pipe() as pipe:
        done = program(words, stdout=pipe)

    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("words", [[], ["--help"], ["nonsense"], ["plan", "nothing.csv"]])
def test_a_mistake_keeps_its_exit_code_without_readers(program: Run, words: list[str]) -> None:
    expected = program(words).returncode
    with unread_pipe() as pipe:
        assert program(words, stdout=pipe, stderr=pipe).returncode == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_what_cannot_be_printed_is_said_and_is_no_success(program: Run, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = program(words, stdout=full.fileno())

    assert done.returncode == DISK_FULL
    assert "Standard output cannot be written: No space left on device." in done.stderr


def test_a_verify_without_a_reader_restores_what_is_damaged(
    program: Run, run: Command, folder: Path, write: Write, reach: list[str]
) -> None:
    shutil.rmtree(folder)  # the sandbox has to know its requests
    assert run(write("list.csv", table(many(3)))).code == 0
    picture = next((folder / "images").iterdir())
    whole = picture.read_bytes()
    picture.write_bytes(b"damaged")
    with unread_pipe() as pipe:
        done = program(["verify", str(folder), *reach], stdout=pipe)

    assert (done.returncode, done.stderr) == (0, "")
    assert picture.read_bytes() == whole


def test_no_file_of_a_batch_gets_the_number_of_a_closed_stream(
    here: Path, reach: list[str], write: Write
) -> None:
    write("list.csv", table(many(1)))
    # What a library writes to its standard error goes into a file that was opened as number 2.
    code = (
        "import os, sys; from batchgen.cli import main, streams; streams.set_up();"
        " print(sorted({os.stat(n).st_ino for n in range(3)} == {os.stat(os.devnull).st_ino}"
        " for _ in [0]), file=open('found', 'w')); main.main()"
    )
    shell = 'exec "$0" "$@" <&- >&- 2>&-'
    command = ["/bin/sh", "-c", shell, sys.executable, "-c", code, "run", "list.csv", *reach]
    done = subprocess.run(command, check=False, timeout=60)

    assert done.returncode == 0
    assert (here / "found").read_text() == "[True]\n"
    assert states(here / "out" / "list") == {"row-1": "saved"}


@pytest.mark.parametrize("module", ["click", "aiohttp"])
def test_ctrl_c_while_the_program_is_imported_ends_it_without_a_traceback(
    here: Path, write: Write, module: str
) -> None:
    # In place of a module that is imported early, and of one that a command imports.
    write(f"first/{module}.py", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    write("list.csv", table(many(1)))
    path = os.pathsep.join([str(here / "first"), str(ROOT)])
    for program in (["-m", "batchgen"], ["-c", "from batchgen.__main__ import main; main()"]):
        done = subprocess.run(
            [sys.executable, *program, "run", "list.csv", "--limit", "0"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
