"""What every command has in common: help, completion, colours, the pager, -q, -v, the version."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import click
import forked
import pytest
from conftest import Command, Write
from helpers import ROOT, at_a_terminal, many, table

import batchgen as package
from batchgen.cli import manners
from batchgen.cli.main import cli
from batchgen.journal.schema import VERSION
from batchgen.manual.topics import TOPICS

BASH = shutil.which("bash")
MODEL = "ideogram/ideogram-v2/generate"


def leaves(command: click.Command, name: tuple[str, ...] = ()) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {" ".join(name): command}
    found: dict[str, click.Command] = {}
    for word, inner in command.commands.items():
        found |= leaves(inner, (*name, word))
    return found


LEAVES = leaves(cli)


@pytest.fixture
def script(here: Path) -> Path:
    """`batchgen` as a program of its own, in a folder for PATH."""
    folder = here / "bin"
    folder.mkdir()
    program = folder / "batchgen"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m batchgen "$@"\n')
    program.chmod(0o755)
    return program


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "models", *LEAVES])
def test_help_of_a_command_is_what_its_own_help_says(batchgen: Command, name: str) -> None:
    words = name.split()

    assert batchgen("help", *words) == batchgen(*words, "--help")


def test_the_list_of_commands_names_the_topics(batchgen: Command) -> None:
    said = batchgen("help").stdout

    assert [name for name in TOPICS if f"  {name} " not in said] == []


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_a_text_for_a_terminal(
    batchgen: Command, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = batchgen("help", name)

    assert outcome.code == 0
    flowing = [line for line in outcome.stdout.splitlines() if not line.startswith("    ")]
    assert len(flowing) > 2
    assert max(map(len, flowing)) <= 80
    assert "](" not in outcome.stdout
    assert "`" not in "".join(flowing)


def test_what_an_agent_needs_is_forty_lines(
    batchgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert len(batchgen("help", "agent").stdout.splitlines()) <= 40


@pytest.mark.parametrize("name", ["", "models", "schedule", "journal", "config"])
def test_a_command_without_the_word_that_it_needs_shows_its_help(
    batchgen: Command, name: str
) -> None:
    outcome = batchgen(*name.split())

    assert outcome.code == 2
    assert outcome.stderr == batchgen(*name.split(), "--help").stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["help", "mony"], "money"),
        (["help", "models", "fech"], "fetch"),
        (["stauts"], "status"),
        (["run", "list.csv", "--max-cots", "3"], "--max-cost"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_likely_one(
    batchgen: Command, words: list[str], meant: str
) -> None:
    outcome = batchgen(*words)

    assert outcome.code == 2
    assert "Did you mean" in outcome.stderr
    assert meant in outcome.stderr


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man on this computer")
def test_the_man_page_renders_without_a_warning() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(ROOT / "docs" / "batchgen.1")],
        capture_output=True,
        text=True,
        env={**os.environ, "MANWIDTH": "100", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
    )

    assert (done.returncode, done.stderr) == (0, "")
    for name in LEAVES:
        assert f"batchgen {name}" in done.stdout
    assert "--max-cost-per-day USD" in done.stdout


# -- completion ------------------------------------------------------------------------------------


TYPED: dict[str, list[str]] = {
    "batchgen stat": ["status"],
    "batchgen models f": ["fetch", "forget"],
    "batchgen run list.csv --max-cost-per-": ["--max-cost-per-day", "--max-cost-per-month"],
    "batchgen status reh": ["rehearsal"],
    "batchgen resolve ": ["out/list", "rehearsal"],
    "batchgen status out/l": ["out/list"],
    "batchgen models show ideo": [MODEL],
    "batchgen plan list.csv --model ideo": [MODEL],
    "batchgen help unk": ["unknown"],
    "batchgen help models for": ["forget"],
    "batchgen validate li": [],  # the shell itself completes names of files
}
IN_BASH = ("batchgen models f", "batchgen resolve ", "batchgen validate li")


@pytest.fixture
def batches(here: Path) -> None:
    for folder in ("rehearsal", "out/list"):
        (here / folder).mkdir(parents=True)
        (here / folder / "batch.db").touch()


@pytest.mark.parametrize("typed", TYPED)
def test_what_a_word_may_go_on_with(
    batches: None, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """What a shell asks for at a TAB, in the variables that the script for bash sets."""
    monkeypatch.setenv("_BATCHGEN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    told = forked.run()

    assert (told.returncode, told.stderr) == (0, "")
    found = [line.partition(",") for line in told.stdout.splitlines()]
    assert sorted(word for kind, _, word in found if kind == "plain") == sorted(TYPED[typed])
    assert all(kind in ("plain", "file", "dir") for kind, _, _ in found)


@pytest.mark.skipif(BASH is None, reason="there is no bash on this computer")
def test_tab_in_bash(batches: None, script: Path) -> None:
    tabs = ""
    for typed in IN_BASH:
        # What bash does at a TAB: its words, and which of them the cursor is in.
        words = " ".join(f"'{word}'" for word in typed.split(" "))
        tabs += (
            f"COMPREPLY=(); COMP_WORDS=({words}); COMP_CWORD={typed.count(' ')}\n"
            '_batchgen_completion batchgen && echo "${COMPREPLY[@]}"\n'
        )
    done = subprocess.run(
        [
            *(BASH or "bash", "--norc", "-c"),
            f'eval "$(_BATCHGEN_COMPLETE=bash_source batchgen)"\ncompopt() {{ :; }}\n{tabs}',
        ],
        env={**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""
    found = [sorted(line.split()) for line in done.stdout.splitlines()]
    assert found == [sorted(TYPED[typed]) for typed in IN_BASH]


@pytest.mark.skipif(BASH is None, reason="there is no bash on this computer")
def test_tab_at_a_terminal_completes_a_command_and_the_name_of_a_file(
    here: Path, write: Write, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("my list.csv", table(many(3)))
    for name, value in {"PATH": f"{script.parent}:{os.environ['PATH']}", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)

    _, shown = at_a_terminal(
        'eval "$(_BATCHGEN_COMPLETE=bash_source batchgen)"\nbatchgen vali\tmy\t\nexit\n',
        *(BASH or "bash", "--norc", "--noprofile", "-i"),
    )

    assert "3 rows in my list.csv, all valid." in shown


# -- the version -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--version", "--json"], ["--json", "--version"]], ids=" ".join)
def test_the_version_says_to_a_program_what_it_runs_on(batchgen: Command, words: list[str]) -> None:
    facts = json.loads(batchgen(*words).stdout)

    assert facts["version"] == package.__version__
    assert facts["journal"] == VERSION
    assert facts["python"] == platform.python_version()
    assert facts["platform"]
    assert {"aiohttp", "click"} <= facts["packages"].keys()


def test_the_version_in_words(batchgen: Command) -> None:
    outcome = batchgen("--version")

    assert (outcome.code, outcome.stdout) == (0, f"batchgen, version {package.__version__}\n")


# -- -q and -v -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_takes_the_options_of_all(name: str) -> None:
    names = {word for param in LEAVES[name].params for word in param.opts}

    assert {"-q", "--quiet", "-v", "--verbose", "--color", "--no-pager"} <= names


@pytest.mark.parametrize("before", [True, False])
def test_quiet_means_the_same_before_and_behind_the_command(
    batchgen: Command, write: Write, reach: list[str], *, before: bool
) -> None:
    manifest = write("list.csv", table(many(1)))
    options = ["--rate", "1000/s", *reach]
    words = ["-q", "run", manifest, *options] if before else ["run", manifest, *options, "-q"]

    outcome = batchgen(*words)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.mark.parametrize("words", [["-v", "run"], ["run", "-v"]], ids=" ".join)
def test_verbose_means_the_same_before_and_behind_the_command(
    batchgen: Command, write: Write, reach: list[str], words: list[str]
) -> None:
    outcome = batchgen(*words, write("list.csv", table(many(1))), "--rate", "1000/s", *reach)

    assert outcome.code == 0
    assert "row-1" in outcome.stderr
    assert "options: " in outcome.stderr


# -- colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"NO_COLOR": ""}, None),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, True),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, None),
        ({"TERM": "dumb"}, False),
    ],
)
def test_variables_that_say_whether_there_are_colours(
    environment: dict[str, str], expected: bool | None
) -> None:
    assert manners.color_by(environment) is expected


@pytest.mark.parametrize(
    ("words", "variables", "coloured"),
    [
        (["plan", "list.csv"], {}, False),
        (["--color", "always", "plan", "list.csv"], {}, True),
        (["plan", "list.csv", "--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never", "plan", "list.csv", "--color", "always"], {}, True),
        (["plan", "list.csv"], {"FORCE_COLOR": "1"}, True),
        (["plan", "list.csv", "--color", "auto"], {"FORCE_COLOR": "1"}, True),
        (["plan", "list.csv", "--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_the_word_for_a_state_is_coloured_where_that_is_wanted(
    batchgen: Command,
    run: Command,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variables: dict[str, str],
    coloured: bool,
) -> None:
    run(write("list.csv", table({"heron": "a heron"})), "--limit", 0)
    write("list.csv", table({"heron": "a grey heron \x1b[31m"}))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    said = batchgen(*words).stdout

    assert said.startswith("\x1b[33mchanged" if coloured else "changed")
    # What came from outside steers no terminal, whatever is coloured.
    assert said.count("\x1b") == (2 if coloured else 0)


# -- the pager -------------------------------------------------------------------------------------

PAGER = '#!/bin/sh\necho "PAGED LESS=$LESS TOKEN=$RUNCOMFY_TOKEN"; cat; echo END\n'


@pytest.fixture
def pager(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = here / "pager"
    program.write_text(PAGER)
    program.chmod(0o755)
    monkeypatch.setenv("PAGER", str(program))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("LESS", raising=False)
    return program


def test_a_plan_is_paged_at_a_terminal_without_the_token(pager: Path, write: Write) -> None:
    code, shown = forked.at_a_terminal(
        "", "plan", write("list.csv", table(many(3))), "--price", "0.03"
    )

    assert code == 0
    assert shown.startswith("PAGED LESS=FRX TOKEN=\r\n")
    assert "new" in shown
    assert shown.rstrip().endswith("END")


@pytest.mark.parametrize(
    ("words", "variable"),
    [(["--no-pager"], None), ([], ("PAGER", "cat")), ([], ("PAGER", "")), ([], ("TERM", "dumb"))],
)
def test_a_plan_is_printed_where_no_pager_is_wanted(
    pager: Path,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variable: tuple[str, str] | None,
) -> None:
    if variable:
        monkeypatch.setenv(*variable)
    code, shown = forked.at_a_terminal(
        "", "plan", write("list.csv", table(many(3))), "--price", "1", *words
    )

    assert code == 0
    assert "PAGED" not in shown
    assert "row-3" in shown


def test_nothing_is_paged_into_a_pipe(batchgen: Command, pager: Path, write: Write) -> None:
    outcome = batchgen("plan", write("list.csv", table(many(3))), "--price", "1")

    assert "PAGED" not in outcome.stdout


def test_problems_are_shown_without_a_pager(pager: Path, write: Write) -> None:
    code, shown = forked.at_a_terminal(
        "", "plan", write("list.csv", "id,prompt,seed\nfox,a fox,12a\n")
    )

    assert code == 65
    assert "'12a' is not a whole number" in shown
    assert "PAGED" not in shown


def test_whoever_leaves_the_pager_early_is_not_told_of_a_broken_pipe(
    pager: Path, write: Write
) -> None:
    pager.write_text("#!/bin/sh\nhead -n 1\n")
    code, shown = forked.at_a_terminal(
        "", "plan", write("list.csv", table(many(5000))), "--price", "1"
    )

    assert code == 0
    assert shown.count("\n") == 1
    assert shown.startswith("\x1b") or shown.startswith("new")
