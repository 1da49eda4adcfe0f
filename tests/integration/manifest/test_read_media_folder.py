"""A folder of pictures is a list: one row for each, by the input that a person names."""

import json
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import query, states
from PIL import Image
from sandbox_client import Control

MODEL = "atelier/retouch/edit"


@pytest.fixture
def photos(here: Path) -> Path:
    """A folder of three pictures, of which one has a prompt beside it, and of other files."""
    folder = here / "photos"
    folder.mkdir()
    for name, colour in (("fox.png", "red"), ("heron.jpg", "teal"), ("owl.webp", "olive")):
        Image.new("RGB", (32, 32), colour).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(f"{name} as a woodcut\n")
    (folder / "notes.txt").write_text("not a prompt")
    (folder / "notes.pdf").write_bytes(b"%PDF-1.7")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def sent(sandbox: Control) -> list[str]:
    return sorted(json.loads(row["input"]).get("prompt", "") for row in sandbox.ledger())


def test_each_file_is_a_row_and_the_text_beside_it_its_prompt(
    run: Command, folder: Path, photos: Path, sandbox: Control
) -> None:
    outcome = run("photos", "--model", MODEL, "--input", "image")

    assert outcome.code == 0
    assert sent(sandbox) == [
        f"{name} as a woodcut" for name in ("fox.png", "heron.jpg", "owl.webp")
    ]
    assert list(states(folder)) == ["0001-fox", "0002-heron", "0003-owl"]
    assert query(folder, "SELECT source FROM requests ORDER BY position LIMIT 1") == [
        ("photos/fox.png",)
    ]


def test_a_prompt_is_found_however_its_suffix_is_written(
    run: Command, photos: Path, sandbox: Control
) -> None:
    for path in (photos / "fox.txt", photos / "owl.txt"):
        path.rename(path.with_suffix(".TXT"))
    (photos / "owl.webp").rename(photos / "owl.WEBP")

    assert run("photos", "--model", MODEL, "--input", "image").code == 0
    assert sent(sandbox) == [
        f"{name} as a woodcut" for name in ("fox.png", "heron.jpg", "owl.webp")
    ]


def test_two_prompts_of_one_file_are_a_problem(
    batchgen: Command, photos: Path, schemas: dict[str, Path]
) -> None:
    (photos / "fox.TXT").write_text("fox as an etching")
    words = ["--model", MODEL, "--schema", schemas[MODEL], "--input", "image"]

    outcome = batchgen("validate", "photos", *words)
    assert outcome.code == 65
    assert "photos/fox.png: fox.TXT and fox.txt are both its prompt" in outcome.stderr


@pytest.mark.parametrize("name", ["note.opus", "clip.ogv", "book.m4b", "phone.3gp", "old.wmv"])
def test_a_film_or_sound_that_cannot_be_sent_is_said_and_not_passed_over(
    batchgen: Command, photos: Path, schemas: dict[str, Path], name: str
) -> None:
    (photos / name).write_bytes(b"0&\xb2u\x8ef\xcf\x11" + bytes(64))
    words = ["--model", MODEL, "--schema", schemas[MODEL], "--input", "image"]

    outcome = batchgen("validate", "photos", *words)
    assert outcome.code == 65
    assert f"photos/{name}: image: '{name}' is no picture, video or sound" in outcome.stderr


def test_a_renamed_file_is_the_same_row_and_a_new_one_is_sent(
    run: Command, folder: Path, photos: Path, sandbox: Control
) -> None:
    words = ["photos", "--model", MODEL, "--input", "image"]
    run(*words)
    unread = " has not changed since it was read last."
    assert run(*words).code == 0
    assert (folder / "batchgen.log").read_text().count(unread) == 1

    for suffix in (".png", ".txt"):
        (photos / f"fox{suffix}").rename(photos / f"vixen{suffix}")
    assert run(*words).code == 0
    assert sandbox.posts == 3

    Image.new("RGB", (32, 32), "black").save(photos / "raven.png")
    (photos / "raven.txt").write_text("a raven")
    assert run(*words).code == 0
    assert sandbox.posts == 4
    assert len(states(folder)) == 4


def test_a_changed_prompt_beside_a_file_is_another_row(
    run: Command, photos: Path, sandbox: Control
) -> None:
    run("photos", "--model", MODEL, "--input", "image")
    (photos / "fox.txt").write_text("fox as an etching\n")

    run("photos", "--model", MODEL, "--input", "image")
    assert sandbox.posts == 4


def test_a_manifest_takes_a_folder_and_gives_all_of_it_the_same(
    run: Command, folder: Path, photos: Path, sandbox: Control, write: Write
) -> None:
    for path in photos.glob("*.txt"):
        path.unlink()
    text = f"model: {MODEL}\nfrom: photos\ninput: image\ndefaults: {{prompt: as a woodcut}}\n"

    assert run(write("list.yaml", text)).code == 0
    assert sent(sandbox) == ["as a woodcut"] * 3
    files = [json.loads(given)["image"]["file"] for (given,) in query(folder, "SELECT input FROM"
        " requests ORDER BY position")]  # fmt: skip
    assert files == ["photos/fox.png", "photos/heron.jpg", "photos/owl.webp"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["photos", "--input", "imgae"], 65, "Did you mean image?"),
        (["list.csv", "--input", "image"], 2, "--input is for a folder of files, and list.csv"),
        (["empty", "--input", "image"], 65, "the folder holds no pictures, videos or sounds"),
        (["pictures"], 65, "If each picture in it is a row, say which input it is, as --input"),
        (["a.yaml"], 65, "a.yaml:1:8: input: input is for a folder of files, and a.yaml is none"),
        (["b.yaml"], 65, "input: input is for a folder of files, and list.csv is none"),
    ],
)
def test_what_is_no_such_folder_is_said(
    batchgen: Command,
    here: Path,
    photos: Path,
    write: Write,
    schemas: dict[str, Path],
    words: list[str],
    code: int,
    said: str,
) -> None:
    write("list.csv", "id,prompt\na,a heron\n")
    write("a.yaml", "input: image\nrows: [a heron]\n")
    write("b.yaml", "from: list.csv\ninput: image\n")
    (here / "empty").mkdir()
    (here / "pictures").mkdir()
    (photos / "fox.png").rename(here / "pictures" / "fox.png")

    outcome = batchgen("validate", *words, "--model", MODEL, "--schema", schemas[MODEL])
    assert outcome.code == code
    assert said in outcome.stderr


def test_what_cannot_be_sent_is_a_problem_of_its_file(
    batchgen: Command, here: Path, photos: Path, schemas: dict[str, Path]
) -> None:
    (photos / "broken.png").write_bytes((photos / "fox.png").read_bytes()[:-9])
    (photos / "away.png").symlink_to("/etc/hostname")
    words = ["--model", MODEL, "--schema", schemas[MODEL], "--input", "image"]

    outcome = batchgen("validate", "photos", *words)
    assert outcome.code == 65
    assert "photos/broken.png: image: 'broken.png': the file is cut short" in outcome.stderr
    assert "photos/away.png: image: 'away.png' does not lie below" in outcome.stderr
