"""`init` on the real path: what it writes, what it says, and what it leaves alone."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import ROOT
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from batchgen.config import RunOptions
from batchgen.core.rows import Problem
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.errors import ManifestInvalid, UsageError
from batchgen.manifest.manifest import open_manifest
from batchgen.operations.init import manifest_for_list, write_new

BRUSH = "atelier/brush-2/text-to-image"
PROMPTS = ROOT.parent / "shared" / "data" / "prompts"
needs_lists = pytest.mark.skipif(not PROMPTS.is_dir(), reason="the shared prompt lists are absent")


@pytest.mark.parametrize("options", [[], ["--csv"]], ids=["yaml", "csv"])
def test_what_is_written_is_valid(batchgen: Command, here: Path, options: list[str]) -> None:
    outcome = batchgen("init", *options)

    (path,) = here.iterdir()
    assert outcome.code == 0
    assert f"batchgen validate {path.name}" in outcome.stdout
    assert batchgen("validate", path.name).stdout == f"2 rows in {path.name}, all valid.\n"


def test_a_file_that_begins_with_a_dash_is_named_so_that_no_command_takes_it_for_an_option(
    batchgen: Command, here: Path
) -> None:
    outcome = batchgen("init", "./-r.yaml")

    assert outcome.code == 0
    for said in (outcome.stdout, (here / "-r.yaml").read_text()):
        assert "batchgen validate ./-r.yaml\n" in said
    assert "as ./-r-2.yaml" in batchgen("init", "./-r.yaml").stderr


def test_a_file_that_is_there_stays_as_it_is(batchgen: Command, write: Write, here: Path) -> None:
    write("list.yaml", "mine")
    (here / "link.yaml").symlink_to("nowhere")

    for words in ([], ["link.yaml"], ["list.yaml", "--csv"], ["--from", "list.yaml"]):
        outcome = batchgen("init", *words)
        assert outcome.code == 2
        assert "there already" in outcome.stderr
    assert (here / "list.yaml").read_text() == "mine"
    assert not (here / "nowhere").exists()


def test_a_file_that_came_in_between_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    write_new(path, "first")

    with pytest.raises(UsageError, match="nothing was written"):
        write_new(path, "second")
    assert path.read_text() == "first"


def test_standard_output_has_the_manifest_alone(batchgen: Command, write: Write) -> None:
    made = batchgen("init", "-").stdout
    assert made.startswith("# yaml-language-server: $schema=file://")
    assert "\nrows:\n" in made

    write("prompts.tsv", "Prompt\na fox\n")
    outcome = batchgen("init", "-", "--from", "prompts.tsv")
    assert "columns:" in outcome.stdout
    assert "prompt (by its name)" in outcome.stderr
    assert "1 row\n" not in outcome.stdout


def test_the_editor_s_schema_is_a_file_that_is_there(batchgen: Command, here: Path) -> None:
    batchgen("init")
    first = (here / "list.yaml").read_text().partition("\n")[0]
    (uri,) = re.findall(r"\$schema=(\S+)$", first)

    assert json.loads(Path(uri.removeprefix("file://")).read_text())["title"] == "batchgen manifest"


def test_another_model_is_read_from_where_every_command_reads_it(
    batchgen: Command, schemas: dict[str, Path], here: Path
) -> None:
    missing = batchgen("init", "--model", BRUSH)
    assert (missing.code, [*here.iterdir()]) == (69, [])

    shutil.copy(schemas[BRUSH], here / "brush.json")
    for name in ("brush.yaml", "brush.csv"):
        options = ["--csv"] if name.endswith("csv") else []
        outcome = batchgen("init", name, "--model", BRUSH, "--schema", "brush.json", *options)
        assert outcome.code == 0, outcome.stderr
        check = next(line for line in outcome.stdout.splitlines() if "validate" in line)
        assert batchgen(*check.split()[1:]).code == 0
    assert "schema: brush.json" not in (here / "brush.csv").read_text()
    assert f",{BRUSH}," in (here / "brush.csv").read_text()


def test_a_schema_that_the_manifest_could_not_name_is_refused(
    batchgen: Command, schemas: dict[str, Path], here: Path
) -> None:
    outcome = batchgen("init", "--model", BRUSH, "--schema", schemas[BRUSH])

    assert (outcome.code, [*here.iterdir()]) == (2, [])
    assert "cannot name it" in outcome.stderr


# --from


def test_a_list_gets_a_manifest_that_says_what_its_columns_are(
    batchgen: Command, write: Write, here: Path
) -> None:
    text = "Key;Caption;Aspect Ratio;Mood\n1;a fox;1:1;calm\n2;an owl;16:9;calm\n"
    write("prompts.csv", text)
    outcome = batchgen("init", "--from", "prompts.csv")

    assert outcome.code == 0
    assert outcome.stdout == (
        "prompts.csv: 2 rows\n"
        "  Key           id (each value comes once)\n"
        "  Caption       prompt (by its name)\n"
        "  Aspect Ratio  aspect_ratio (by its name)\n"
        "  Mood          metadata, not sent\n"
        "prompts.yaml is written. Look at it, then rehearse it:\n"
        "  batchgen run prompts.yaml --sandbox --out rehearsal\n"
        "2 rows, all valid.\n"
    )
    manifest = open_manifest(here / "prompts.yaml")
    assert manifest.settings.columns == {
        "id": "Key", "prompt": "Caption", "aspect_ratio": "Aspect Ratio"
    }  # fmt: skip
    assert manifest.settings.meta == ["Mood"]
    assert (here / "prompts.csv").read_text() == text


def test_what_the_model_needs_and_the_list_lacks_is_written_as_an_example(
    batchgen: Command, write: Write, here: Path
) -> None:
    image = {"type": "string", "format": "image_uri"}
    schema = {"properties": {"prompt": {"type": "string"}, "image_url": image},
              "required": ["prompt", "image_url"]}  # fmt: skip
    write("wan.json", json.dumps(schema))
    write("prompts.txt", "it flies\n")
    outcome = batchgen("init", "--from", "prompts.txt", "--model", BRUSH, "--schema", "wan.json")

    assert outcome.code == 0
    assert "The model needs image_url" in outcome.stdout
    assert 'image_url: "https://example.com/picture.png"' in (here / "prompts.yaml").read_text()


def test_a_column_may_be_named(batchgen: Command, write: Write, here: Path) -> None:
    write("prompts.tsv", "a\tb\nx\ty\n")

    assert batchgen("init", "--from", "prompts.tsv", "--column", "prompt=c").code == 2
    outcome = batchgen("init", "--from", "prompts.tsv", "--column", "prompt=b")
    assert outcome.code == 0
    assert "b  prompt (as you said)" in outcome.stdout


def test_rows_of_the_list_that_are_not_valid_are_told_and_the_manifest_stays(
    batchgen: Command, write: Write, here: Path
) -> None:
    write("prompts.csv", "prompt,seed\na,1\nb,2\nc,twelve\n")
    outcome = batchgen("init", "--from", "prompts.csv")

    assert outcome.code == 65
    assert "prompts.csv:4: seed: 'twelve' is not a whole number" in outcome.stderr
    assert (here / "prompts.yaml").exists()


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("broken.jsonl", '{"prompt": ', 65),
        ("own.yaml", "rate: 60/m\nrows: [a fox]\n", 2),
        ("list.xlsx", "", 2),
        ("list", "", 2),
    ],
)
def test_a_list_that_cannot_be_read_gets_no_manifest(
    batchgen: Command, write: Write, here: Path, name: str, text: str, code: int
) -> None:
    write(name, text)

    assert batchgen("init", "new.yaml", "--from", name).code == code
    assert batchgen("init", "new.yaml", "--from", "missing.csv").code == 2
    assert [path.name for path in here.iterdir()] == [name]


def test_a_list_that_no_manifest_there_could_read_is_refused(
    batchgen: Command, write: Write, here: Path
) -> None:
    write("prompts.txt", "a fox\n")
    (here / "below").mkdir()
    outcome = batchgen("init", "below/list.yaml", "--from", "prompts.txt")

    assert (outcome.code, [*(here / "below").iterdir()]) == (2, [])
    assert "does not lie below" in outcome.stderr
    (here / "below" / "a list.txt").write_text("a fox\n")
    assert batchgen("init", "list.yaml", "--from", "below/a list.txt").code == 0
    assert batchgen("validate", "list.yaml").code == 0


@needs_lists
@pytest.mark.parametrize(
    ("name", "rows", "settings_of_it"),
    [
        ("parti/PartiPrompts.tsv", 1632,
         ({"prompt": "Prompt"}, ["Category", "Challenge", "Note"])),
        ("geneval/evaluation_metadata.jsonl", 553, ({}, ["tag", "include", "exclude"])),
        ("t2i-compbench/color_val.txt", 300, ({}, [])),
    ],
)  # fmt: skip
def test_public_lists_are_read_as_their_authors_meant(
    batchgen: Command, here: Path, name: str, rows: int, settings_of_it: object
) -> None:
    listed = shutil.copy(PROMPTS / name, here)
    outcome = batchgen("init", "list.yaml", "--from", Path(listed).name)

    assert (outcome.code, outcome.stderr) == (0, "")
    assert f"{rows} rows, all valid." in outcome.stdout
    found = open_manifest(here / "list.yaml").settings
    assert (found.columns, found.meta) == settings_of_it


NAMES = st.text("abP_ id:#*\"'é,;-", min_size=1, max_size=6) | st.sampled_from(
    ["id", "model", "prompt", "Prompt", "style", "seed", "Seed", "text", "true", "no", "7"]
)


@settings(max_examples=60, suppress_health_check=[*HealthCheck])
@given(
    st.lists(NAMES, min_size=1, max_size=5, unique_by=str.strip),
    st.lists(st.lists(st.sampled_from(["a fox", "7", "anime", "x/y", "é"]), min_size=5, max_size=5),
             min_size=1, max_size=4),
)  # fmt: skip
def test_for_any_table_the_settings_are_right_and_every_column_is_settled(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], rows: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("list")
    text = io.StringIO()
    csv.writer(text).writerows([names, *(row[: len(names)] for row in rows)])
    (folder / "list.csv").write_text(text.getvalue(), encoding="utf-8")
    problems: list[Problem] = []
    try:
        made = manifest_for_list(
            None, str(folder / "list.csv"), RunOptions(), DEFAULT_TIMING, problems.append
        )
    except ManifestInvalid:  # the table itself cannot be read
        assume(False)
    (folder / "list.yaml").write_text(made.text, encoding="utf-8")
    manifest = open_manifest(folder / "list.yaml")
    inputs = {"prompt", "style", "aspect_ratio", "expand_prompt", "negative_prompt", "seed"}
    found = [*manifest.problems, *manifest.entries(lambda model: inputs)]

    assert [one for one in found if isinstance(one, Problem)] == []


def test_a_media_input_says_that_it_takes_a_path(
    batchgen: Command, here: Path, schemas: dict[str, Path]
) -> None:
    model = "atelier/retouch/edit"
    shutil.copy(schemas[model], here / "edit.json")
    written = batchgen("init", "--model", model, "--schema", "edit.json", "list.yaml")

    assert written.code == 0, written.stderr
    text = (here / "list.yaml").read_text()
    assert "string, the path of a picture or an https:// address" in text
    assert "string, the path of a video or an https:// address" in text
