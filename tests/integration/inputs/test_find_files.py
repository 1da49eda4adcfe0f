"""Local files as inputs are checked before anything is paid for, each with its place."""

import json
import os
import socket
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import query
from PIL import Image
from sandbox_client import Control

MODEL = "atelier/retouch/edit"
HEAD = "id,prompt,image\n"


def picture(path: Path, colour: str = "teal", size: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)
    return path


@pytest.fixture
def validate(batchgen: Command, here: Path, schemas: dict[str, Path]) -> Command:
    """Check a list of rows of MODEL."""

    def validate_it(manifest: str, *options: object) -> object:
        words = ["--model", MODEL, "--schema", schemas[MODEL], *options]
        return batchgen("validate", manifest, *words)

    return validate_it


def test_a_path_in_a_media_field_is_a_file(validate: Command, here: Path, write: Write) -> None:
    picture(here / "photos" / "heron.png")

    outcome = validate(write("list.csv", f"{HEAD}heron,as a woodcut,photos/heron.png\n"))
    assert outcome.code == 0


def test_an_input_of_any_file_takes_a_picture_and_says_what_it_does_not_take(
    batchgen: Command, here: Path, write: Write
) -> None:
    """As a model's `mask_uri` and `file_uri`: no word of its schema says which files those are."""
    picture(here / "mask.png")
    (here / "lora.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    properties = {"prompt": {"type": "string"}, "mask": {"type": "string", "format": "mask_uri"}}
    schema = write("schema.json", json.dumps({"properties": properties}))
    manifest = write("list.csv", "prompt,mask\nas a woodcut,mask.png\nin oil,lora.safetensors\n")

    outcome = batchgen("validate", manifest, "--schema", schema)
    assert outcome.code == 65
    assert "list.csv:2" not in outcome.stderr
    assert "list.csv:3: mask: 'lora.safetensors' is no picture, video or sound" in outcome.stderr


def test_a_path_is_relative_to_the_manifest(validate: Command, here: Path, write: Write) -> None:
    picture(here / "lists" / "photos" / "heron.png")

    outcome = validate(write("lists/list.csv", f"{HEAD}heron,as a woodcut,photos/heron.png\n"))
    assert outcome.code == 0


def test_a_list_of_files_and_addresses_is_checked_one_by_one(
    validate: Command, here: Path, write: Write
) -> None:
    picture(here / "one.png")
    row = {"prompt": "both", "references": ["one.png", "https://example.com/a.png", "two.png"]}

    outcome = validate(write("list.jsonl", json.dumps(row)))
    assert outcome.code == 65
    assert "list.jsonl:1: references[3]: 'two.png' is neither an https:// address nor a file" in (
        outcome.stderr
    )
    assert "Did you mean 'one.png'?" in outcome.stderr


def test_a_near_name_is_proposed_and_both_ways_are_said(
    validate: Command, here: Path, write: Write
) -> None:
    picture(here / "photos" / "heron.png")

    outcome = validate(write("list.csv", f"{HEAD}a,as a woodcut,photos/heorn.png\n"))
    assert outcome.code == 65
    assert (
        "list.csv:2: row \"a\", image: 'photos/heorn.png' is neither an https:// address nor a file"
        " that is there\n  Did you mean 'photos/heron.png'? Give the path of a file, relative to"
        " the manifest's folder, or a public https:// address." in outcome.stderr
    )


def broken(path: Path) -> None:
    path.write_bytes(picture(path).read_bytes()[:-20])


def heic(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64))


def sound(path: Path) -> None:
    path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(20) + b"data\0\0\0\0")


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.write(picture(path.with_name("small.png")).read_bytes())
        file.truncate(50_000_001)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (broken, "the file is cut short"),
        (heic, "is HEIC, which cannot be checked here"),
        (sound, "is a sound, and the model takes a picture"),
        (lambda path: path.write_text("a heron"), "no picture, video or sound"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (large, "has 50,000,001 bytes, and a picture may have 50,000,000"),
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.symlink_to("/etc/hostname"), "does not lie below the manifest's folder"),
        (lambda path: path.symlink_to("gone.png"), "nor a file that is there"),
        (lambda path: picture(path).chmod(0), "cannot be read: permission denied"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_a_problem_with_its_place(
    validate: Command, here: Path, write: Write, make: object, what: str
) -> None:
    make(here / "it.png")  # type: ignore[operator]
    if what.endswith("denied") and os.geteuid() == 0:
        pytest.skip("root may read every file")

    outcome = validate(write("list.csv", f"{HEAD}a,as a woodcut,it.png\n"))
    assert outcome.code == 65
    assert "list.csv:2: row \"a\", image: 'it.png'" in outcome.stderr
    assert what in outcome.stderr


def test_a_socket_is_refused(validate: Command, here: Path, write: Write) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("it.png")

        outcome = validate(write("list.csv", f"{HEAD}a,as a woodcut,it.png\n"))
    assert "is not a regular file" in outcome.stderr


def test_a_file_elsewhere_is_sent_only_if_the_command_line_names_it(
    validate: Command, here: Path, write: Write
) -> None:
    outside = picture(here / "elsewhere" / "heron.png")
    (here / "lists").mkdir()
    manifest = write("lists/list.csv", f"{HEAD}a,as a woodcut,{outside}\n")

    outcome = validate(manifest)
    assert "does not lie below the manifest's folder" in outcome.stderr
    assert f"--allow-path {outside}" in outcome.stderr
    assert validate(manifest, "--allow-path", outside).code == 0


def test_a_hidden_picture_is_left_alone(validate: Command, here: Path, write: Write) -> None:
    picture(here / ".private" / "heron.png")

    outcome = validate(write("list.csv", f"{HEAD}a,as a woodcut,.private/heron.png\n"))
    assert "lies behind a hidden name" in outcome.stderr


def test_a_picture_with_other_data_behind_its_end_is_sent_as_phones_make_them(
    validate: Command, here: Path, write: Write
) -> None:
    with picture(here / "it.jpg").open("ab") as file:
        file.write(b"a film of a second")

    assert validate(write("list.csv", f"{HEAD}a,as a woodcut,it.jpg\n")).code == 0


def test_files_that_are_too_much_for_one_request_are_a_problem_of_the_row(
    validate: Command, here: Path, write: Write
) -> None:
    for n in range(2):
        with picture(here / f"{n}.png").open("r+b") as file:
            file.truncate(30_000_000)
    row = {"prompt": "both", "references": ["0.png", "1.png"]}

    outcome = validate(write("list.jsonl", json.dumps(row)))
    assert "its local files come to 80 MB in base64, and a request takes 67 MB" in outcome.stderr


def test_an_object_like_that_of_a_journal_cannot_be_written(
    validate: Command, here: Path, write: Write
) -> None:
    row = {"prompt": "a", "references": [{"file": "/etc/hostname", "sha256": "0" * 64}]}

    outcome = validate(write("list.jsonl", json.dumps(row)))
    assert outcome.code == 65
    assert "is how batchgen notes a local file" in outcome.stderr


def test_a_text_that_is_no_media_field_is_never_a_path(
    run: Command, folder: Path, here: Path, write: Write, sandbox: Control
) -> None:
    picture(here / "heron.png")
    run(write("list.csv", "id,prompt\na,heron.png\n"), "--model", MODEL)

    assert json.loads(sandbox.ledger()[0]["input"]) == {"prompt": "heron.png"}


def test_the_journal_and_the_report_have_the_path_and_the_hash(
    run: Command, folder: Path, here: Path, write: Write
) -> None:
    picture(here / "heron.png")
    assert run(write("list.csv", f"{HEAD}a,as a woodcut,heron.png\n"), "--model", MODEL).code == 0

    ((given,),) = query(folder, "SELECT input FROM requests")
    assert json.loads(given)["image"].keys() == {"file", "sha256"}
    result = json.loads((folder / "results.jsonl").read_text())
    assert result["input"] == json.loads(given)
    # The gallery can export rows as a manifest, which names files by their paths.
    pieces = "".join(path.read_text() for path in (folder / "report" / "data").glob("*.js"))
    assert '"image":"heron.png"' in pieces
    for path in folder.rglob("*"):
        if path.is_file():
            assert b";base64," not in path.read_bytes(), path


def test_a_renamed_file_is_the_same_row_and_a_changed_one_is_another(
    run: Command, folder: Path, here: Path, write: Write, sandbox: Control
) -> None:
    manifest = write("list.csv", f"{HEAD}a,as a woodcut,heron.png\n")
    picture(here / "heron.png")
    run(manifest, "--model", MODEL)

    (here / "heron.png").rename(here / "bird.png")
    run(write("list.csv", f"{HEAD}a,as a woodcut,bird.png\n"), "--model", MODEL)
    assert sandbox.posts == 1
    ((given,),) = query(folder, "SELECT input FROM requests")
    assert json.loads(given)["image"]["file"] == "bird.png"

    picture(here / "bird.png", "red")
    run(manifest, "--model", MODEL)
    assert sandbox.posts == 2
    assert query(folder, "SELECT listed, state FROM requests ORDER BY listed") == [
        (0, "saved"),
        (1, "saved"),
    ]


def test_a_plan_counts_the_files(
    batchgen: Command, here: Path, write: Write, schemas: dict[str, Path]
) -> None:
    picture(here / "heron.png")
    size = (here / "heron.png").stat().st_size
    rows = f"{HEAD}a,as a woodcut,heron.png\nb,as an etching,heron.png\n"
    words = ["--model", MODEL, "--schema", schemas[MODEL], "--price", "0.03"]

    plan = batchgen("plan", write("list.csv", rows), *words)
    assert f"The rows name 1 local file of {size} bytes, which are sent inline." in plan.stdout
    numbers = json.loads(batchgen("plan", "list.csv", *words, "--json").stdout)
    assert (numbers["files"], numbers["file_bytes"]) == (1, size)
