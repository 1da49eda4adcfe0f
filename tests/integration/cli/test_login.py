"""`login` and `logout`: a token's own file, and nothing of the token anywhere else."""

import io
import os
import stat
import sys
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import TOKEN, at_a_terminal, many, table
from sandbox_client import Control

from batchgen.api import credentials
from batchgen.errors import TokenRefused

STORED = "stored-and-never-shown"


@pytest.fixture
def kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token is to be; there is none in the environment."""
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "config"))
    return here / "config" / "batchgen" / "token"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch):
    """Put a text on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_piped_token_is_stored_for_its_owner_alone_and_used_by_runs(
    batchgen: Command, run: Command, write: Write, sandbox: Control, kept: Path, pipe
) -> None:
    pipe(f"{TOKEN}\n")

    outcome = batchgen("login")

    assert (outcome.code, str(kept) in outcome.stdout) == (0, True)
    assert (mode(kept), mode(kept.parent)) == (0o600, 0o700)
    assert TOKEN not in outcome.stdout + outcome.stderr
    assert run(write("list.csv", table(many(1)))).code == 0
    assert sandbox.posts == 1


def test_a_person_types_it_without_seeing_it(kept: Path) -> None:
    login = (sys.executable, "-m", "batchgen", "login")
    code, shown = at_a_terminal(f"{STORED}\n", *login, after="RunComfy token: ")

    assert (code, STORED in shown, "RunComfy token" in shown) == (0, False, True)
    assert kept.read_text() == f"{STORED}\n"


@pytest.mark.parametrize("text", ["", "\n", "  \n"])
def test_without_a_token_nothing_is_stored(batchgen: Command, kept: Path, pipe, text: str) -> None:
    pipe(text)

    assert batchgen("login").code == 2
    assert not kept.exists()


@pytest.mark.parametrize("text", [f"Bearer {STORED}", f"{STORED}\nmore", f'{{"a": "{STORED}"}}'])
def test_what_cannot_be_a_token_is_refused_and_the_old_one_stays(
    batchgen: Command, kept: Path, pipe, text: str
) -> None:
    credentials.store_token(os.environ, "old")
    pipe(text)

    outcome = batchgen("login")

    assert (outcome.code, STORED in outcome.stderr) == (77, False)
    assert kept.read_text() == "old\n"


def test_nothing_is_written_through_a_link(
    batchgen: Command, here: Path, kept: Path, write: Write, pipe
) -> None:
    kept.parent.mkdir(parents=True)
    write("elsewhere", "mine")
    kept.symlink_to(here / "elsewhere")
    pipe(STORED)

    assert batchgen("login").code == 0

    assert (here / "elsewhere").read_text() == "mine"
    assert (kept.is_symlink(), mode(kept)) == (False, 0o600)


def test_a_folder_that_is_a_link_is_refused(
    batchgen: Command, here: Path, kept: Path, pipe
) -> None:
    (here / "elsewhere").mkdir()
    kept.parent.parent.mkdir()
    kept.parent.symlink_to(here / "elsewhere")
    pipe(STORED)

    assert batchgen("login").code == 2
    assert [*(here / "elsewhere").iterdir()] == []


def test_a_folder_that_others_could_look_into_is_closed(batchgen: Command, kept: Path, pipe):
    kept.parent.mkdir(parents=True, mode=0o755)
    pipe(STORED)

    batchgen("login")

    assert mode(kept.parent) == 0o700


def test_a_variable_that_comes_first_is_named(
    batchgen: Command, kept: Path, pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNCOMFY_API_KEY", "another")
    pipe(STORED)

    assert "unset RUNCOMFY_API_KEY" in batchgen("login").stderr
    assert "RUNCOMFY_API_KEY" in batchgen("logout").stderr


def test_logout_removes_it_and_says_where_a_token_is_left(
    batchgen: Command, here: Path, kept: Path
) -> None:
    credentials.store_token(os.environ, STORED)
    of_runcomfy = here / "no-login" / "token.json"
    of_runcomfy.parent.mkdir()
    of_runcomfy.write_text("{}")

    first, second = batchgen("logout"), batchgen("logout")

    assert (first.code, str(kept) in first.stdout, kept.exists()) == (0, True, False)
    assert (second.code, "No token was stored" in second.stdout) == (0, True)
    assert str(of_runcomfy) in first.stderr
    assert of_runcomfy.read_text() == "{}"


def test_variables_come_before_the_stored_token_and_that_before_runcomfys(
    here: Path, kept: Path
) -> None:
    of_runcomfy = here / "no-login" / "token.json"
    of_runcomfy.parent.mkdir()
    of_runcomfy.write_text('{"access_token": "of-runcomfy"}')
    assert credentials.find_token(os.environ) == "of-runcomfy"

    credentials.store_token(os.environ, STORED)

    assert credentials.find_token(os.environ) == STORED
    assert credentials.find_token(os.environ | {"YOUR_API_TOKEN": "of-the-name"}) == "of-the-name"


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o644], ids=oct)
def test_a_stored_token_that_others_can_read_is_not_used(
    run: Command, write: Write, sandbox: Control, kept: Path, wide: int
) -> None:
    credentials.store_token(os.environ, TOKEN)
    kept.chmod(wide)

    outcome = run(write("list.csv", table(many(1))))

    assert (outcome.code, sandbox.posts) == (77, 0)
    assert f"chmod 600 {kept}" in outcome.stderr
    assert TOKEN not in outcome.stderr


@pytest.mark.parametrize("content", [b"\xff", b"a b\n", b"a\nb\n"])
def test_a_stored_file_that_is_no_token_is_refused(kept: Path, content: bytes) -> None:
    credentials.store_token(os.environ, STORED)
    kept.write_bytes(content)

    with pytest.raises(TokenRefused) as refused:
        credentials.find_token(os.environ)

    assert str(kept) in refused.value.what


def test_a_missing_token_is_told_with_both_files_and_how_to_store_one(
    run: Command, write: Write, kept: Path
) -> None:
    outcome = run(write("list.csv", table(many(1))))

    assert outcome.code == 77
    assert str(kept) in outcome.stderr
    assert "batchgen login" in outcome.stderr
