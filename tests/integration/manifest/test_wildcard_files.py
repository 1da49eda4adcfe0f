"""The files of wildcards: where they are found, and which are never read."""

import os
from pathlib import Path

import pytest
from conftest import Command, Write

from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.manifest.wildcard_files import WildcardFiles
from batchgen.templates.wildcards import CannotUnfold

SECRET = "a-secret-of-another-folder"


@pytest.fixture
def lists(here: Path) -> Path:
    """A folder with a stranger's list; beside it stands a file of the person."""
    (here / "lists" / "wildcards").mkdir(parents=True)
    (here / "diary.txt").write_text(f"{SECRET}\n")
    return here / "lists"


def refusal(batchgen: Command, prompt: str, *options: object) -> str:
    """What is said of a prompt of the list; nothing of the person's own file is."""
    Path("lists/list.txt").write_text(f"{prompt}\n")
    outcome = batchgen("validate", "lists/list.txt", "--expand", *options)
    assert (outcome.code, SECRET in outcome.stderr) == (65, False)
    return outcome.stderr


def test_a_file_is_found_beside_the_list_then_in_the_folder_of_wildcards(
    here: Path, write: Write
) -> None:
    (here / "wildcards" / "deep").mkdir(parents=True)
    (here / "light").mkdir()
    write("wildcards/colour.txt", "red")
    write("wildcards/deep/hue of it.txt", "blue")
    write("light/dawn.txt", "\ufeffpale\r\n")
    files = WildcardFiles(AllowedPaths(here))

    assert files.read("colour").text == "red"
    assert files.read("deep/hue of it").text == "blue"
    assert files.read("light/dawn") == (str(here / "light/dawn.txt"), "pale\r\n")
    write("colour.txt", "green")
    assert files.read("colour").text == "green"


def test_what_was_read_is_told_from_what_is_there_now(here: Path, write: Write) -> None:
    (here / "wildcards").mkdir()
    for name in "abc":
        write(f"wildcards/{name}.txt", name)
    files = WildcardFiles(AllowedPaths(here))
    for name in "abc":
        files.read(name)
    assert files.current(files.digests) == files.digests

    write("wildcards/a.txt", "A")
    write("b.txt", "b")  # the same bytes, found first
    (here / "wildcards" / "c.txt").unlink()
    now = files.current(files.digests)
    assert [name for name in "abc" if now[name] == files.digests[name]] == []
    assert now["c"] == ""


def test_a_file_that_is_missing_is_told_with_the_one_that_was_meant(
    lists: Path, batchgen: Command
) -> None:
    (lists / "wildcards" / "colour.txt").write_text("red\n")

    assert refusal(batchgen, "a fox, a __color__ car").startswith(
        "lists/list.txt:1: prompt: there is no color.txt beside the list, nor in wildcards/, at"
        " character 10\n  Did you mean __colour__? Write \\_\\_ if the underscores themselves are"
        " meant.\n"
    )


@pytest.mark.parametrize(
    "name", ["../diary", "x/../../diary", "link", "linked/diary", "wildcards/../../diary"]
)
def test_no_file_outside_the_lists_folder_is_read(
    lists: Path, batchgen: Command, name: str
) -> None:
    (lists / "x").mkdir()
    (lists / "link.txt").symlink_to("../diary.txt")
    (lists / "linked").symlink_to("..")

    assert "does not lie below the manifest's folder" in refusal(batchgen, f"__{name}__")


def test_an_absolute_name_a_hidden_one_and_what_is_no_file_are_refused(
    lists: Path, batchgen: Command
) -> None:
    (lists / ".hidden.txt").write_text(SECRET)
    (lists / "folder.txt").mkdir()

    own = lists.parent / "diary"
    assert "does not lie below the manifest's folder" in refusal(batchgen, f"__{own}__")
    assert "lies behind a hidden name" in refusal(batchgen, "__.hidden__")
    assert "is not a regular file" in refusal(batchgen, "__folder__")
    assert "there is no nul\\x01.txt" in refusal(batchgen, "__nul\x01__")
    assert "cannot be read: file name too long" in refusal(batchgen, f"__{'é' * 190}__")


def test_a_file_of_another_folder_is_read_where_the_person_allows_it(
    lists: Path, batchgen: Command
) -> None:
    (lists / "link.txt").symlink_to("../diary.txt")
    (lists / "list.txt").write_text("__link__\n")

    outcome = batchgen("validate", "lists/list.txt", "--expand", "--allow-path", "diary.txt")
    assert outcome.code == 0


def test_a_file_that_is_no_text_is_told_at_its_line(here: Path) -> None:
    (here / "latin.txt").write_bytes(b"red\nb\xfce\n")

    with pytest.raises(CannotUnfold, match="is not UTF-8") as error:
        WildcardFiles(AllowedPaths(here)).read("latin")
    assert error.value.place == (str(here / "latin.txt"), 2, 2)


def test_a_pipe_is_never_waited_for(lists: Path, batchgen: Command) -> None:
    os.mkfifo(lists / "pipe.txt")

    assert "is not a regular file" in refusal(batchgen, "__pipe__")
