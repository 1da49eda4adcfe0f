"""Where the configuration is read from, and when it is not obeyed."""

import os
from pathlib import Path

import pytest

from batchgen.configuration.file import configuration_file, read_configuration
from batchgen.core.text import HIDDEN
from batchgen.errors import UsageError
from batchgen.log import secrets


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    (home / ".config" / "batchgen").mkdir(parents=True, mode=0o700)
    return home


def environment_of(home):
    return {"HOME": str(home)}


def write(home, text="rate = 60\n"):
    path = home / ".config" / "batchgen" / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


def refusal(home):
    with pytest.raises(UsageError) as found:
        read_configuration(environment_of(home))
    return found.value


def test_it_is_where_the_token_is_kept(home, tmp_path):
    assert configuration_file(environment_of(home)) == home / ".config/batchgen/config.toml"
    named = {"HOME": str(home), "XDG_CONFIG_HOME": str(tmp_path)}
    assert configuration_file(named) == tmp_path / "batchgen" / "config.toml"


def test_where_there_is_none_nothing_is_configured(home):
    found = read_configuration(environment_of(home))

    assert (found.of_run, found.trusted, found.lines) == ({}, (), {})
    assert not found.trusts("/")


def test_what_it_says_is_read_and_its_urls_are_secrets_from_then_on(home):
    write(home, "rate = 120\r\nping = 'https://ping.test/8f2a-ping-11'\r\n")

    assert read_configuration(environment_of(home)).of_run["rate"] == 2.0
    shown = secrets.hide("asked https://ping.test/8f2a-ping-11 now")
    assert shown == f"asked https://ping.test/{HIDDEN} now"
    assert secrets.hide("asked https://other.test now") == "asked https://other.test now"


@pytest.mark.parametrize("mode", [0o602, 0o666, 0o622])
def test_a_file_that_others_can_write_to_is_not_obeyed(home, mode):
    path = write(home)
    path.chmod(mode)

    error = refusal(home)
    assert "everybody can write to it too" in error.what
    assert error.remedy == f"chmod go-w {path}"


def test_a_folder_that_others_can_write_to_could_have_any_file(home):
    folder = write(home).parent
    folder.chmod(0o777)

    assert refusal(home).remedy == f"chmod go-w {folder}"


def test_a_file_that_others_can_only_read_is_obeyed(home):
    write(home).chmod(0o644)

    assert read_configuration(environment_of(home)).of_run == {"rate": 1.0}


def test_a_link_to_ones_dotfiles_is_followed(home):
    path = write(home)
    kept = home / "dotfiles.toml"
    path.rename(kept)
    path.symlink_to(kept)

    assert read_configuration(environment_of(home)).of_run == {"rate": 1.0}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("rate = \n", "Invalid value (at line 1, column 8)"),
        ("rate = 1\nrate = 2\n", "Cannot overwrite a value"),
        (b"rate = '\xff'\n", "cannot be read"),
        ("a = " + "[" * 5000, "config.toml"),
    ],
)
def test_what_is_no_toml_is_told(home, content, told):
    write(home, content)

    assert told in refusal(home).what


def test_a_pipe_is_not_waited_for(home):
    path = write(home)
    path.unlink()
    os.mkfifo(path, 0o600)

    assert "is not a regular file" in refusal(home).what


def test_problems_are_told_together_with_their_lines(home):
    path = write(home, "rat = 1\nmax_cost = -1\n")

    error = refusal(home)
    assert error.what == f"2 problems in {path}. Nothing was sent."
    assert error.remedy.splitlines() == [
        f"{path}:1: rat: there is no setting of this name",
        "  Did you mean rate?",
        f"{path}:2: max_cost: -1 is too small",
        "  The least allowed is 0.",
    ]


def test_a_list_in_a_trusted_folder_is_trusted_by_where_the_folder_really_is(home, tmp_path):
    (tmp_path / "disk").mkdir()
    (home / "lists").symlink_to(tmp_path / "disk")
    write(home, "trusted = ['~/lists']\n")

    found = read_configuration(environment_of(home))
    assert found.trusts(os.path.realpath(home / "lists"))
    assert not found.trusts(str(Path(tmp_path)))
