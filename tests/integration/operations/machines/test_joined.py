"""`batchgen work`: a machine without the list joins those that work through a batch."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from databases import Database
from helpers import many, table
from PIL import Image
from sandbox_client import Control

MODEL = "atelier/retouch/edit"


@pytest.fixture
def where(database: Database) -> tuple[str, str]:
    return ("--journal", database.url)


@pytest.fixture
def work(batchgen: Command, reach: list[str], where: Any) -> Command:
    def work_on(*options: object):
        return batchgen("work", "list", *where, *reach, *options)

    return work_on


def test_a_machine_without_the_list_does_what_is_left(
    run: Command, work: Command, write: Write, where: Any, sandbox: Control, here: Path,
    database: Database,
) -> None:  # fmt: skip
    manifest = write("list.csv", table(many(3)))
    run(manifest, *where, "--limit", 1)
    (here / manifest).unlink()
    shutil.rmtree(here / "out")
    found = work("--rate", "1000/s")

    assert found.code == 0, found
    assert database.query("SELECT state FROM batchgen_list.requests") == [("saved",)] * 3
    assert sandbox.posts == 3
    assert len([*(here / "out" / "list" / "images").iterdir()]) == 2


def test_it_keeps_to_what_the_list_and_its_run_were_told(
    run: Command, work: Command, write: Write, where: Any, sandbox: Control, database: Database
) -> None:
    rows = [{"id": str(n), "prompt": f"fox {n}"} for n in range(4)]
    manifest = write("list.yaml", json.dumps({"max_cost": 0.07, "rows": rows}))
    run(manifest, *where, "--limit", 1)
    stopped = work("--rate", "1000/s")
    posts = sandbox.posts
    allowed = work("--rate", "1000/s", "--max-cost", 1)

    assert stopped.code == 75
    assert "max_cost of the manifest" in stopped.stderr
    assert posts == 2
    assert (allowed.code, sandbox.posts) == (0, 4)


def test_it_keeps_to_the_limit_that_the_first_machine_had_in_its_configuration(
    run: Command, work: Command, write: Write, where: Any, sandbox: Control
) -> None:
    """That limit hid the list's own, too, so that a machine without it had none at all."""
    rows = [{"id": str(n), "prompt": f"fox {n}"} for n in range(4)]
    manifest = write("list.yaml", json.dumps({"max_cost": 50, "rows": rows}))
    configuration = Path(os.environ["XDG_CONFIG_HOME"], "batchgen", "config.toml")
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text("max_cost = 0.07\n")
    run(manifest, *where, "--limit", 1)
    configuration.unlink()

    assert work("--rate", "1000/s").code == 75
    assert sandbox.posts == 2


def test_a_batch_that_is_not_there_or_has_no_database_is_told_of(
    batchgen: Command, work: Command, reach: list[str], where: Any
) -> None:
    unnamed = batchgen("work", "list", *reach)
    absent = work()

    assert unnamed.code == absent.code == 2
    assert "--journal postgresql://" in unnamed.stderr
    assert "There is no batch list" in absent.stderr


def test_options_that_batchgen_does_not_keep_are_refused(
    run: Command, work: Command, write: Write, where: Any, database: Database, sandbox: Control
) -> None:
    run(write("list.csv", table(many(2))), *where, "--limit", 0)
    database.query(
        "INSERT INTO batchgen_list.memory VALUES ('options', %s)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        json.dumps({"base_url": "https://evil.example"}),
    )
    found = work()

    assert found.code == 74
    assert sandbox.posts == 0


def test_rows_that_send_local_files_are_left_to_machines_that_have_them(
    run: Command, work: Command, write: Write, where: Any, sandbox: Control, here: Path,
    database: Database, schemas: dict[str, Path],
) -> None:  # fmt: skip
    Image.new("RGB", (8, 8)).save(here / "photo.png")
    manifest = write("list.csv", "id,prompt,image\na,warmer,photo.png\nb,a heron,\n")
    retouch = ("--model", MODEL, "--schema", schemas[MODEL])
    first = run(manifest, *where, *retouch, "--limit", 0)
    (here / "photo.png").unlink()
    shutil.rmtree(here / "out")
    found = work("--rate", "1000/s")

    assert (first.code, found.code) == (75, 75), (first, found)
    assert "photo.png" in found.stderr
    assert sandbox.posts == 1
    states = database.query("SELECT id, state, owner FROM batchgen_list.requests ORDER BY id")
    assert states == [("a", "pending", None), ("b", "saved", None)]
