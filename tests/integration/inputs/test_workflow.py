"""A workflow from a file: read once, kept with the batch, sent whole with the values of a row."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from deployments import NODES, rehearse
from helpers import error_of, media, query, states
from PIL import Image
from sandbox_client import Control
from servers import listening, relay

from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.core.local_files import FileChanged, FileUnusable
from batchgen.inputs.workflow import KeptWorkflows, OwnWorkflow, read_workflow
from batchgen.sandbox import Address
from batchgen.sandbox.deployments.samples import PHOTO, SAMPLES, SIZES, TEXT

WORKFLOWS = {one["id"]: one["payload"]["workflow_api_json"] for one in SAMPLES}
pytestmark = pytest.mark.timing(submit_read=0.25, query_read=0.25)


def workflow(id: str = SIZES, **changes: Any) -> dict[str, Any]:
    """A workflow with other values of its sampler."""
    found: dict[str, Any] = json.loads(json.dumps(WORKFLOWS[id]))
    found["31"]["inputs"] |= changes
    return found


@pytest.fixture
def export(here: Path) -> Path:
    """The file of a workflow that makes two pictures."""
    path = here / "own.json"
    path.write_text(json.dumps(workflow(steps=11)))
    return path


@pytest.fixture
def manifest(write: Write, export: Path) -> str:
    """Two rows that send that workflow to a deployment that has another one."""
    return write(
        "list.yaml",
        f"""
deployment: {TEXT}
workflow: own.json
nodes: {{prompt: 6.text, seed: 31.seed}}
rows:
  - {{id: heron, prompt: a heron, seed: 7}}
  - {{id: owl, prompt: an owl, seed: 8}}
""",
    )


# -- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is no JSON (line 1, column 1"),
        (b"{\n 'a'", "it is no JSON (line 2, column 2"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": 1, "a": 2}', "a: the name is written twice"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than 64 levels"),
        (b'{"nodes": [], "links": []}', "as ComfyUI's editor saves it"),
        (b'{"1": {"class_type": "A", "inputs": {"a": "\\ud800"}}}', "half of a character"),
        (b" " * (5 << 20), "has 5,242,880 bytes; the limit workflow-bytes is 4MiB"),
    ],
)
def test_a_file_that_is_no_workflow_is_told(here: Path, content: bytes, what: str) -> None:
    path = here / "own.json"
    path.write_bytes(content)

    with pytest.raises(FileUnusable) as told:
        read_workflow(path, DEFAULT_LIMITS)

    assert what in told.value.what
    assert told.value.what.startswith(str(path))
    assert told.value.remedy


def test_a_file_of_windows_is_read_like_any(here: Path) -> None:
    path = here / "own.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(workflow(), indent=2).encode())
    other = here / "other.json"
    other.write_text(json.dumps(workflow()))

    found = read_workflow(path, DEFAULT_LIMITS)

    assert found.nodes == workflow()
    assert found.digest == read_workflow(other, DEFAULT_LIMITS).digest


# -- the kept copy --------------------------------------------------------------------------------


@pytest.fixture
def kept(here: Path, export: Path) -> OwnWorkflow:
    found = read_workflow(export, DEFAULT_LIMITS)
    found.keep(here / "workflows")
    return found


def copy_of(kept: OwnWorkflow, here: Path) -> Path:
    return here / "workflows" / f"{kept.digest.removeprefix('sha256:')}.json"


def test_a_kept_workflow_is_read_by_its_hash(here: Path, kept: OwnWorkflow) -> None:
    assert KeptWorkflows(here / "workflows").read(kept.digest) == workflow(steps=11)


def test_a_right_copy_is_left_alone_and_a_wrong_one_replaced(here: Path, kept: OwnWorkflow) -> None:
    copy = copy_of(kept, here)
    before = copy.stat().st_ino
    kept.keep(here / "workflows")
    assert copy.stat().st_ino == before

    copy.write_text(json.dumps(workflow(steps=12)))
    kept.keep(here / "workflows")

    assert json.loads(copy.read_text()) == workflow(steps=11)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda copy: copy.unlink(), "is gone"),
        (lambda copy: copy.write_text(json.dumps(workflow(steps=12))), "has changed"),
        (lambda copy: copy.write_text(""), "has changed"),
        (lambda copy: copy.write_text('{"a":' * 500), "has changed"),
        (lambda copy: (copy.unlink(), os.mkfifo(copy)), "is not a regular file"),
        (lambda copy: (copy.rename(f"{copy}.1"), copy.symlink_to(f"{copy}.1")), "is not a regular"),
    ],
)
def test_a_copy_that_is_not_what_was_kept_is_not_sent(
    here: Path, kept: OwnWorkflow, damage: Callable[[Path], object], why: str
) -> None:
    damage(copy_of(kept, here))

    with pytest.raises(FileChanged, match=why):
        KeptWorkflows(here / "workflows").read(kept.digest)


@pytest.mark.parametrize("digest", ["sha256:../../own", "sha256:1", "md5:" + "0" * 64, "", 5])
def test_what_is_no_hash_of_ours_leads_to_no_file(here: Path, digest: Any) -> None:
    with pytest.raises(FileChanged, match="not the hash of a workflow"):
        KeptWorkflows(here).read(digest)


# -- through the whole program --------------------------------------------------------------------


def test_the_workflow_is_sent_whole_with_the_values_of_each_row(
    run: Command, folder: Path, manifest: str, sandbox: Control
) -> None:
    assert run(manifest).code == 0
    assert run(manifest).code == 0  # and sends nothing

    assert states(folder) == {"heron": "saved", "owl": "saved"}
    assert len(media(folder)) == 4  # two of each, as this workflow makes
    sent = [json.loads(row["input"]) for row in sandbox.ledger()]
    for body, text, seed in zip(sent, ("a heron", "an owl"), (7, 8), strict=True):
        expected = workflow(steps=11, seed=seed)
        expected["6"]["inputs"]["text"] = text
        assert body == {"workflow_api_json": expected}


def test_the_journal_has_the_hash_and_the_batch_the_workflow_once(
    run: Command, folder: Path, manifest: str, export: Path, sandbox: Control
) -> None:
    run(manifest)

    digest = read_workflow(export, DEFAULT_LIMITS).digest
    inputs = [json.loads(input) for (input,) in query(folder, "SELECT input FROM requests")]
    assert inputs == [
        {"6.text": "a heron", "31.seed": 7, "workflow": digest},
        {"6.text": "an owl", "31.seed": 8, "workflow": digest},
    ]
    (copy,) = (folder / "workflows").iterdir()
    assert copy.name == f"{digest.removeprefix('sha256:')}.json"
    results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert {one["input"]["workflow"] for one in results} == {digest}


def test_a_table_takes_the_workflow_of_the_command_line(
    run: Command, write: Write, here: Path, export: Path, sandbox: Control
) -> None:
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    export.rename(elsewhere / "own.json")
    path = write("list.csv", "id,prompt,seed\na,a heron,3\n")
    options = ("--deployment", TEXT, *NODES, "--workflow", elsewhere / "own.json")

    assert run(path, *options).code == 0

    (row,) = sandbox.ledger()
    assert json.loads(row["input"])["workflow_api_json"]["31"]["inputs"]["seed"] == 3


def test_a_local_photo_is_sent_inside_the_workflow(
    run: Command, write: Write, here: Path, sandbox: Control
) -> None:
    Image.new("RGB", (32, 32), "teal").save(here / "mine.png")
    (here / "own.json").write_text(json.dumps(workflow(PHOTO)))
    path = write("list.csv", "id,prompt,photo\na,a heron,mine.png\n")
    nodes = ("--node", "prompt=6.text", "--node", "photo=12.image")

    assert run(path, "--deployment", TEXT, *nodes, "--workflow", "own.json").code == 0

    (row,) = sandbox.ledger()
    image = json.loads(row["input"])["workflow_api_json"]["12"]["inputs"]["image"]
    assert image.startswith("data:sha256:")


def test_a_changed_workflow_makes_changed_rows_and_a_renamed_one_does_not(
    run: Command, batchgen: Command, folder: Path, manifest: str, export: Path, write: Write,
    reach: list[str], sandbox: Control,
) -> None:  # fmt: skip
    run(manifest)
    export.rename(export.with_name("renamed.json"))
    text = Path(manifest).read_text()
    write("list.yaml", text.replace("own.json", "renamed.json"))
    assert run(manifest).code == 0
    assert sandbox.accepted == 2
    export.write_text(json.dumps(workflow(steps=12)))
    write("list.yaml", text)

    planned = batchgen("plan", manifest, "--out", folder, *reach)

    assert "2 rows: 2 changed" in planned.stdout
    assert "workflow: sha256:" in planned.stdout
    assert run(manifest).code == 0
    assert sandbox.accepted == 4
    assert len([*(folder / "workflows").iterdir()]) == 2


def test_another_version_of_the_deployment_makes_rows_with_their_own_workflow_no_older(
    run: Command, batchgen: Command, folder: Path, manifest: str, reach: list[str],
    sandbox: Control,
) -> None:  # fmt: skip
    run(manifest)
    sandbox.change_deployment(TEXT, workflow_version="v2")

    planned = batchgen("plan", manifest, "--out", folder, *reach)
    run(manifest)
    told = batchgen("retry", folder, "--older-versions", *reach)

    assert "version" not in planned.stdout
    assert "0 rows" in told.stdout + told.stderr
    assert sandbox.accepted == 2


def test_equal_rows_make_nothing_with_a_workflow_of_ones_own_either(
    run: Command, folder: Path, write: Write, export: Path, sandbox: Control
) -> None:
    path = write("list.csv", "id,prompt\na,a heron\nb,a heron\n")

    told = run(path, "--deployment", TEXT, *NODES, "--workflow", export)

    assert "1 row sends the same" in told.stderr
    assert states(folder) == {"a": "saved", "b": "failed"}
    assert "change one, such as the seed" in error_of(folder, "b")


def test_rows_whose_kept_workflow_changes_during_the_run_stay_pending_until_it_is_kept_again(
    run: Command, folder: Path, manifest: str, sandbox: Control, address: Address
) -> None:
    damaged: list[Path] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not damaged:  # the balance is asked for when the list has been read
            damaged.extend((folder / "workflows").glob("*.json"))
            for copy in damaged:
                copy.write_text("{}")
        await relay(address.base_url)(reader, writer)

    with listening(talk) as port:
        told = run(manifest, "--base-url", f"http://127.0.0.1:{port}/v1")

    assert told.code == 75
    assert f"row 'owl': the workflow that the batch keeps, {damaged[0]}, has changed" in told.stderr
    assert states(folder) == {"heron": "pending", "owl": "pending"}
    assert sandbox.posts == 0

    assert run(manifest).code == 0
    assert sandbox.accepted == 2


@pytest.mark.parametrize(
    ("own", "what"),
    [
        (workflow(steps=-1), "own.json: 31.steps: -1 is too small"),
        (workflow(sampler_name="eulerr"), "Did you mean euler?"),
        (workflow() | {"9": {"class_type": "SaveImge", "inputs": {}}}, "Did you mean SaveImage?"),
        ({"nodes": [], "links": []}, "list.yaml:3:11: workflow: own.json: it is a workflow as"),
    ],
)
def test_what_a_deployment_does_not_take_is_told_once_before_anything_is_sent(
    run: Command, manifest: str, export: Path, sandbox: Control, own: Any, what: str
) -> None:
    export.write_text(json.dumps(own))

    told = run(manifest, "--skip-invalid")

    assert told.code == 65
    assert what in told.stderr
    assert "1 problem in list.yaml" in told.stderr
    assert sandbox.posts == 0


def test_a_value_of_the_workflow_that_every_row_replaces_is_no_problem(
    run: Command, manifest: str, export: Path, sandbox: Control
) -> None:
    export.write_text(json.dumps(workflow(seed=-1)))

    assert run(manifest).code == 0


def test_names_are_those_of_the_workflow_and_not_of_the_deployments_own(
    run: Command, write: Write, export: Path, sandbox: Control
) -> None:
    path = write("list.csv", "id,prompt,scale\na,a heron,1.5\n")
    nodes = ("--node", "prompt=6.text", "--node", "scale=14.scale_by")

    assert run(path, "--deployment", TEXT, *nodes).code == 65  # its own has no node 14
    assert run(path, "--deployment", TEXT, *nodes, "--workflow", export).code == 0


def test_a_workflow_without_a_deployment_is_told(
    run: Command, write: Write, export: Path, sandbox: Control
) -> None:
    told = run(write("list.txt", "a heron\n"), "--workflow", export)

    assert told.code == 2
    assert "is sent to a deployment, and no row names one" in told.stderr


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: os.mkfifo(path), "is not a regular file"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.symlink_to("/etc/hostname"), "does not lie below"),
        (lambda path: None, "is not there"),
    ],
)
def test_a_manifest_names_only_a_regular_file_below_its_folder(
    run: Command, manifest: str, export: Path, sandbox: Control,
    make: Callable[[Path], object], what: str,
) -> None:  # fmt: skip
    export.unlink()
    make(export)

    told = run(manifest)

    assert told.code == 65
    assert f"list.yaml:3:11: workflow: own.json {what}" in told.stderr
    assert sandbox.posts == 0


def test_a_list_that_was_exported_from_a_batch_is_run_with_its_workflow_alone(
    run: Command, write: Write, export: Path, sandbox: Control
) -> None:
    digest = read_workflow(export, DEFAULT_LIMITS).digest
    path = write("list.csv", f"id,prompt,workflow\na,a heron,{digest}\n")
    options = ("--deployment", TEXT, *NODES, "--workflow", export)
    assert run(path, *options).code == 0

    export.write_text(json.dumps(workflow(steps=12)))
    told = run(path, *options)

    assert told.code == 65
    assert "list.csv:2:" in told.stderr
    assert sandbox.accepted == 1


def test_a_rehearsal_takes_nodes_that_the_deployment_was_not_fetched_with(
    batchgen: Command, write: Write, here: Path, export: Path, reach: list[str], sandbox: Control,
    address: Address,
) -> None:  # fmt: skip
    before = sandbox.posts

    listed = write("list.txt", "a heron\n")
    told = rehearse(batchgen, address.base_url, listed, "--workflow", str(export))

    assert told.returncode == 0, told.stderr
    assert sandbox.posts == before
    assert len(media(here / "out/list")) == 2
