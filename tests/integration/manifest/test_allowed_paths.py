"""What a manifest names is read only below its own folder, or where the person allows it.

A list may come from a stranger, and what it names is sent as prompts.
"""

import io
import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import many, table, tally
from sandbox_client import Control

from batchgen.api.credentials import store_token
from batchgen.errors import UsageError
from batchgen.files import FileRefused, open_regular
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.manifest.manifest import open_manifest
from batchgen.operations import unchanged
from batchgen.sandbox import catalogue

SECRET = "secret-FILE-TOKEN"
SCHEMA = json.dumps({"properties": {"prompt": {"type": "string"}}})
BELOW = "does not lie below the manifest's folder"
IRREGULAR = "is not a regular file"
MODEL = "atelier/brush-2/text-to-image"  # has no schema here


@pytest.fixture
def lists(here: Path) -> Path:
    """A folder with a stranger's files; beside it stand the person's own."""
    (here / "lists").mkdir()
    (here / "own").mkdir()
    (here / "own" / "diary.txt").write_text(f"{SECRET}\n")
    (here / "own" / "schema.json").write_text(SCHEMA)
    return here / "lists"


@pytest.fixture
def run(batchgen: Command, reach: list[str]) -> Command:
    """Run a manifest against the sandbox, into its default folder."""
    return lambda *words: batchgen("run", *words, *reach)


def in_text(folder: Path) -> list[Path]:
    """The files below `folder` that hold SECRET in their content or name."""
    return [
        path
        for path in folder.rglob("*")
        if SECRET.lower() in path.name.lower()
        or (path.is_file() and SECRET.encode() in path.read_bytes())
    ]


# from:


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize("name", ["../own/diary.txt", "link.txt", "through/diary.txt", "../own"])
def test_rows_from_outside_the_manifests_folder_are_refused(
    batchgen: Command, sandbox: Control, here: Path, lists: Path, command: str, name: str
) -> None:
    (lists / "link.txt").symlink_to("../own/diary.txt")
    (lists / "through").symlink_to("../own")
    (lists / "list.yaml").write_text(f"from: {name}\n")

    outcome = batchgen(command, "lists/list.yaml")

    assert outcome.code == 65
    assert f"lists/list.yaml:1:7: from: lists/{name} {BELOW}\n" in outcome.stderr
    real = os.path.realpath(lists / name)
    assert f"name it on the command line: --allow-path {real}\n" in outcome.stderr
    assert sandbox.posts == 0
    assert in_text(here / "out") == []


def test_an_absolute_name_is_refused_as_well(batchgen: Command, here: Path, lists: Path) -> None:
    (lists / "list.yaml").write_text(f"from: {here / 'own' / 'diary.txt'}\n")

    assert batchgen("validate", "lists/list.yaml").code == 65


def test_a_folder_whose_name_begins_alike_is_not_below(
    batchgen: Command, here: Path, lists: Path
) -> None:
    (here / "lists-of-mine").mkdir()
    (here / "lists-of-mine" / "a.txt").write_text("A fox\n")
    (lists / "list.yaml").write_text("from: ../lists-of-mine/a.txt\n")

    assert BELOW in batchgen("validate", "lists/list.yaml").stderr


def test_the_manifests_own_folder_is_not_below_itself(batchgen: Command, lists: Path) -> None:
    (lists / "a.txt").write_text("A fox\n")
    (lists / "list.yaml").write_text("from: .\n")

    assert BELOW in batchgen("validate", "lists/list.yaml").stderr
    assert batchgen("validate", "lists/list.yaml", "--allow-path", "lists").code == 0


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_rows_below_the_folder_are_read_through_links_too(
    batchgen: Command, here: Path, lists: Path, form: str
) -> None:
    (lists / "deep").mkdir()
    (lists / "deep" / "a.txt").write_text("A fox\n")
    (lists / "link.txt").symlink_to("deep/a.txt")
    (here / "door").symlink_to("lists")
    for name in ("deep/a.txt", "link.txt", "deep", "deep/../link.txt", str(lists / "link.txt")):
        (lists / f"list.{form}").write_text(json.dumps({"from": name}))
        assert batchgen("validate", f"door/list.{form}").code == 0


@pytest.mark.parametrize("allowed", ["own/diary.txt", "own", ".", "lists/link.txt", "/"])
def test_what_the_person_names_is_read(
    run: Command, sandbox: Control, here: Path, lists: Path, allowed: str
) -> None:
    (lists / "link.txt").symlink_to("../own/diary.txt")
    (lists / "list.yaml").write_text("from: ../own/diary.txt\n")

    assert run("lists/list.yaml", "--allow-path", "lists", "--allow-path", allowed).code == 0
    assert sandbox.posts == 1


def test_a_list_that_was_allowed_once_is_refused_without_the_option(
    run: Command, sandbox: Control, lists: Path
) -> None:
    (lists / "list.yaml").write_text("from: ../own/diary.txt\n")

    assert run("lists/list.yaml", "--allow-path", "own").code == 0
    assert run("lists/list.yaml").code == 65
    assert sandbox.posts == 1


def test_a_path_that_is_not_there_cannot_be_allowed(batchgen: Command, write: Write) -> None:
    outcome = batchgen("validate", write("a.txt", "A fox\n"), "--allow-path", "absent")

    assert outcome.code == 2
    assert "'absent' does not exist" in outcome.stderr


def test_a_manifest_cannot_allow_itself_anything(batchgen: Command, write: Write) -> None:
    outcome = batchgen("validate", write("a.yaml", "allow_path: /\nrows: [A fox]\n"))

    assert outcome.code == 65
    assert "a manifest cannot set this\n  Use --allow-path." in outcome.stderr


def test_the_word_to_allow_it_is_safe_to_paste(batchgen: Command, here: Path, lists: Path) -> None:
    (here / "own" / "a; rm x.txt").write_text("A fox\n")
    (lists / "list.yaml").write_text("from: ../own/a; rm x.txt\n")

    said = batchgen("validate", "lists/list.yaml").stderr

    assert f"--allow-path '{os.path.realpath(here)}/own/a; rm x.txt'\n" in said


def test_a_manifest_of_standard_input_reads_below_the_current_folder(
    here: Path, lists: Path, write: Write
) -> None:
    write("a.txt", "A fox\n")
    for name, count in (("a.txt", 0), ("../a.txt", 1), ("-", 1)):
        stdin = io.BytesIO(json.dumps({"from": name, "format": "text"}).encode())
        (here / "../a.txt").touch()
        assert len(open_manifest("-", format="json", stdin=stdin).problems) == count


# The token file


@pytest.fixture
def token_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The token file that is in use; it lies below the current folder."""
    monkeypatch.setenv("RUNCOMFY_CONFIG_DIR", str(here / "config"))
    (here / "config").mkdir()
    path = here / "config" / "token.json"
    path.write_text(json.dumps({"access_token": SECRET}))
    return path


@pytest.mark.parametrize("options", [(), ("--allow-path", "/")], ids=["", "allowed"])
@pytest.mark.parametrize("name", ["config/token.json", "link.txt", "twin.txt"])
def test_the_token_file_is_never_read(
    run: Command,
    sandbox: Control,
    here: Path,
    token_file: Path,
    write: Write,
    name: str,
    options: tuple[str, ...],
) -> None:
    (here / "link.txt").symlink_to(token_file)
    (here / "twin.txt").hardlink_to(token_file)
    write("list.yaml", f"from: {name}\nformat: text\n")

    outcome = run("list.yaml", *options)

    assert outcome.code == 65
    assert f"{name} is the token file" in outcome.stderr
    assert SECRET not in outcome.stdout + outcome.stderr
    assert sandbox.posts == 0
    assert in_text(here / "out") == []


@pytest.mark.parametrize("name", [".config/runcomfy/token.json", ".config/batchgen/token"])
def test_a_token_file_of_another_configuration_folder_is_not_read_either(
    batchgen: Command, here: Path, write: Write, name: str
) -> None:
    (here / name).parent.mkdir(parents=True)
    write(name, "[]")
    write("list.yaml", f"from: {name}\nformat: text\n")

    assert "is the token file" in batchgen("validate", "list.yaml", "--allow-path", ".").stderr


def test_what_login_stored_is_never_read_whatever_leads_to_it(
    batchgen: Command, here: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here))
    stored = store_token(os.environ, SECRET)
    (here / "twin.txt").hardlink_to(stored)
    write("list.yaml", "from: twin.txt\nformat: text\n")

    outcome = batchgen("validate", "list.yaml", "--allow-path", "/")

    assert (outcome.code, SECRET in outcome.stderr) == (65, False)
    assert "is the token file" in outcome.stderr


def test_the_token_file_is_no_prompt_of_a_folder(
    batchgen: Command, here: Path, token_file: Path
) -> None:
    (here / "texts").mkdir()
    (here / "texts" / "a.txt").symlink_to(token_file)

    outcome = batchgen("validate", "texts", "--allow-path", "/")

    assert outcome.code == 65
    assert "texts/a.txt: it is the token file" in outcome.stderr


# Hidden names, and the keys of SSH


@pytest.mark.parametrize("line", ["from: {}\nformat: text", "schema: {}\nrows: [A fox]"])
@pytest.mark.parametrize("name", [".env", ".config/keys.txt", "deep/.git/config", "link.txt"])
def test_what_lies_behind_a_hidden_name_is_refused_unless_the_person_names_it(
    batchgen: Command, here: Path, write: Write, line: str, name: str
) -> None:
    for folder in (".config", "deep/.git"):
        (here / folder).mkdir(parents=True)
    for path in (".env", ".config/keys.txt", "deep/.git/config"):
        write(path, SCHEMA)
    (here / "link.txt").symlink_to(".config/keys.txt")
    write("list.yaml", line.format(name))
    real = os.path.realpath(here / name)

    outcome = batchgen("validate", "list.yaml", "--allow-path", "/")

    assert outcome.code == 65
    assert f"{name} lies behind a hidden name, '." in outcome.stderr
    assert f"name it on the command line: --allow-path {real}\n" in outcome.stderr
    assert batchgen("validate", "list.yaml", "--allow-path", real).code == 0
    assert batchgen("validate", "list.yaml", "--allow-path", str(Path(real).parent)).code == (
        65 if name == ".env" else 0
    )


def test_a_hidden_folder_is_not_read_as_a_folder_of_texts_either(
    batchgen: Command, here: Path, write: Write
) -> None:
    (here / ".notes").mkdir()
    write(".notes/a.txt", "A fox\n")
    write("list.yaml", "from: .notes\n")

    assert "lies behind a hidden name" in batchgen("validate", "list.yaml").stderr
    assert batchgen("validate", "list.yaml", "--allow-path", ".notes").code == 0


def test_a_manifest_in_a_hidden_folder_reads_what_lies_beside_it(
    batchgen: Command, here: Path, write: Write
) -> None:
    (here / ".lists").mkdir()
    write(".lists/a.txt", "A fox\n")
    write(".lists/list.yaml", "from: a.txt\n")

    assert batchgen("validate", ".lists/list.yaml").code == 0


@pytest.mark.parametrize("name", [".ssh/a.txt", ".SSH/a.txt", "keys/a.txt", "link.txt", ".ssh"])
def test_the_keys_of_ssh_are_never_read(
    batchgen: Command, here: Path, write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """keys: where a link at ~/.ssh leads; some keep their settings in a repository."""
    monkeypatch.setenv("HOME", str(here))
    (here / "keys").mkdir()
    write("keys/a.txt", f"{SECRET}\n")
    (here / ".ssh").symlink_to("keys")
    (here / ".SSH").mkdir(exist_ok=True)
    write(".SSH/a.txt", f"{SECRET}\n")
    (here / "link.txt").symlink_to("keys/a.txt")
    write("list.yaml", f"from: {name}\n")

    outcome = batchgen("validate", "list.yaml", "--allow-path", name, "--allow-path", "/")

    assert outcome.code == 65
    assert f"{name} lies in the folder of SSH's keys\n" in outcome.stderr
    assert SECRET not in outcome.stderr


# What is no regular file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def local_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(path.name)  # in the current folder: the path of a socket has to be short


IRREGULARS = pytest.mark.parametrize("make", [pipe, device, local_socket])


@IRREGULARS
@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize("line", ["from: a.txt", "schema: a.txt\nrows: [A fox]"])
def test_what_is_no_regular_file_is_never_read_for_a_manifest(
    batchgen: Command,
    here: Path,
    write: Write,
    make: Callable[[Path], None],
    command: str,
    line: str,
) -> None:
    make(here / "a.txt")
    write("list.yaml", f"{line}\n")

    outcome = batchgen(command, "list.yaml", "--allow-path", "/")

    assert outcome.code == 65
    assert f"{line.partition(':')[0]}: a.txt {IRREGULAR}" in outcome.stderr


@IRREGULARS
@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_what_is_no_regular_file_is_a_problem_of_a_folder(
    batchgen: Command,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    command: str,
) -> None:
    (here / "texts").mkdir()
    (here / "texts" / "heron.txt").write_text("A heron\n")
    with monkeypatch.context() as inside:
        inside.chdir(here / "texts")
        make(here / "texts" / "p.txt")

    outcome = batchgen(command, "texts", "--allow-path", "/")

    assert outcome.code == 65
    assert f"texts/p.txt: it {IRREGULAR}\n" in outcome.stderr
    assert "1 problem in texts" in outcome.stderr


@IRREGULARS
def test_what_is_no_regular_file_cannot_be_hashed(here: Path, make: Callable[[Path], None]) -> None:
    make(here / "schema.json")

    assert unchanged.schema_fingerprints(here / "schema.json") is None
    assert unchanged.schema_fingerprints(None, here) is None


def test_a_pipe_that_the_person_names_is_read(batchgen: Command, here: Path) -> None:
    reading, writing = os.pipe()
    with closing(os.fdopen(reading)), os.fdopen(writing, "w") as stream:
        stream.write(table(many(2)))
        stream.close()
        outcome = batchgen("validate", f"/dev/fd/{reading}", "--format", "csv")

    assert (outcome.code, outcome.stderr) == (0, "")


# Folders


def test_a_link_out_of_a_folder_is_refused_unless_it_is_allowed(
    run: Command, sandbox: Control, here: Path, lists: Path
) -> None:
    (lists / "a.txt").write_text("A fox\n")
    (lists / "b.txt").symlink_to("a.txt")
    (lists / "c.txt").symlink_to("../own/diary.txt")

    outcome = run("lists")

    assert outcome.code == 65
    assert f"lists/c.txt: it {BELOW}\n" in outcome.stderr
    assert "1 problem in lists" in outcome.stderr
    assert sandbox.posts == 0
    assert run("lists", "--allow-path", "own/diary.txt").code == 0
    assert tally(here / "out" / "lists") == {"saved": 3}
    assert run("lists").code == 65


def test_a_folder_that_a_manifest_names_may_link_to_what_the_manifest_may_read(
    batchgen: Command, here: Path, lists: Path
) -> None:
    (lists / "texts").mkdir()
    (lists / "a.txt").write_text("A fox\n")
    (lists / "texts" / "a.txt").symlink_to("../a.txt")
    (lists / "list.json").write_text('{"from": "texts"}')
    assert batchgen("validate", "lists/list.json").code == 0

    (lists / "texts" / "b.txt").symlink_to("../../own/diary.txt")
    outcome = batchgen("validate", "lists/list.json")

    assert outcome.code == 65
    assert f"lists/texts/b.txt: it {BELOW}\n" in outcome.stderr
    assert SECRET not in outcome.stderr


# schema:


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_schema_from_outside_the_manifests_folder_is_refused(
    batchgen: Command, lists: Path, command: str
) -> None:
    text = f"model: {MODEL}\nschema: ../own/schema.json\nrows: [A fox]\n"
    (lists / "list.yaml").write_text(text)

    outcome = batchgen(command, "lists/list.yaml")

    assert outcome.code == 65
    assert f"lists/list.yaml:2:9: schema: lists/../own/schema.json {BELOW}\n" in outcome.stderr
    assert "1 problem in lists/list.yaml" in outcome.stderr
    if command != "run":
        assert batchgen(command, "lists/list.yaml", "--allow-path", "own").code == 0
        # The manifest's schema is not read where the person names another.
        assert batchgen(command, "lists/list.yaml", "--schema", "own/schema.json").code == 0


def test_a_schema_beside_the_manifest_is_read(batchgen: Command, lists: Path) -> None:
    (lists / "schema.json").write_text(SCHEMA)
    (lists / "list.yaml").write_text(f"model: {MODEL}\nschema: schema.json\nrows: [A fox]\n")

    assert batchgen("validate", "lists/list.yaml").code == 0


def with_schema(schema: object, prompt: str = "A fox") -> str:
    rows = [{"id": "one", "prompt": prompt, "steps": 3}]
    return json.dumps({"model": MODEL, "schema": schema, "rows": rows})


@pytest.mark.parametrize("name", ["list.json", "list.yaml"])
def test_a_schema_may_stand_in_the_manifest_itself(
    batchgen: Command, write: Write, name: str
) -> None:
    fields = {"prompt": {"type": "string"}, "steps": {"type": "integer", "maximum": 1e-05}}
    schema = {"input": {"type": "object", "properties": fields, "required": ["prompt"]}}
    write(name, with_schema(schema))
    outcome = batchgen("validate", name)
    assert outcome.code == 65
    assert "steps" in outcome.stderr

    fields["steps"]["maximum"] = 2**64 - 1
    write(name, with_schema(schema))
    assert batchgen("plan", name).code == 0
    write("own.json", SCHEMA)
    assert batchgen("validate", name, "--schema", "own.json").code == 65  # what a person says goes


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"$ref": "own/schema.json"}, "is not a usable model schema"),
        ({"properties": {"prompt": {"$ref": "file:///etc/passwd"}}}, "not a usable model schema"),
        ({"from": "own/schema.json"}, "it holds no input schema"),
        ({"properties": {f"x{n}": {"title": "x" * 9_000} for n in range(2_000)}}, "row-bytes"),
    ],
)
def test_a_schema_in_a_manifest_reads_no_file_and_has_an_end(
    batchgen: Command, here: Path, write: Write, schema: object, what: str
) -> None:
    (here / "own").mkdir(exist_ok=True)
    write("own/schema.json", SCHEMA)
    write("list.json", with_schema(schema))

    outcome = batchgen("validate", "list.json")

    assert outcome.code in (2, 65)
    assert what in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("schema", [7, [1], None, True])
def test_where_no_schema_stands_under_schema_nobody_else_is_asked_for_one(
    batchgen: Command, write: Write, schema: object
) -> None:
    """Nobody answers here: to ask would end with 69."""
    write("list.json", with_schema(schema).replace(MODEL, "atelier/own/text-to-image"))
    outcome = batchgen("validate", "list.json")
    assert outcome.code == 65
    assert "schema: " in outcome.stderr
    assert "1 problem in list.json" in outcome.stderr
    write("own.json", SCHEMA)  # which has no steps
    own = batchgen("validate", "list.json", "--schema", "own.json")
    assert "2 problems in list.json" in own.stderr


def test_a_schema_in_a_manifest_that_is_nested_deeply_is_refused(
    batchgen: Command, write: Write
) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {}}
    for _ in range(150):
        schema = {"type": "object", "properties": {"prompt": schema}}
    write("list.json", with_schema(schema))
    outcome = batchgen("validate", "list.json")
    assert outcome.code in (2, 65)
    write("list.json", '{"schema": ' + '{"not": ' * 50_000 + "{}" + "}" * 50_000 + ', "rows": []}')
    outcome = batchgen("validate", "list.json")
    assert outcome.code == 65
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize(
    ("size", "what", "sandbox_says"),
    [
        (None, IRREGULAR, IRREGULAR),
        (2**40, "the limit schema-bytes is 16MiB", "is larger than 16 MiB"),
    ],
)
def test_a_schema_that_the_person_names_is_a_regular_file_with_an_end(
    batchgen: Command,
    here: Path,
    write: Write,
    command: str,
    size: int | None,
    what: str,
    sandbox_says: str,
) -> None:
    manifest = write("a.txt", "A fox\n")
    if size is None:
        device(here / "s.json")
    else:
        write("s.json", "")
        os.truncate(here / "s.json", size)  # sparse

    options = ("--sandbox",) if command == "run" else ()
    outcome = batchgen(command, manifest, "--schema", "s.json", *options)

    assert outcome.code == 2
    assert what in outcome.stderr
    with pytest.raises(UsageError, match=sandbox_says):
        catalogue.load_model(here / "s.json")  # the sandbox's own reading of it


# A file that is changed between the look at it and its opening


def test_a_file_that_is_replaced_while_it_is_opened_is_refused(
    lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lists / "a.txt").symlink_to("../own/diary.txt")
    (lists / "harmless.txt").write_text("A fox\n")
    real = os.path.realpath

    def swapped(path: Path) -> str:
        if path == lists / "a.txt":
            path.unlink()
            path.symlink_to("harmless.txt")
        return real(path)

    monkeypatch.setattr(os.path, "realpath", swapped)

    with pytest.raises(FileRefused, match="was replaced while it was opened"):
        AllowedPaths(lists).open(lists / "a.txt")


def test_what_became_a_pipe_after_the_look_at_it_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here / "a.txt"
    path.touch()
    before = path.stat()
    path.unlink()
    pipe(path)
    monkeypatch.setattr(Path, "stat", lambda self, **_: before)

    with pytest.raises(FileRefused, match=IRREGULAR):
        open_regular(path)
