"""A list that was read before, and has not changed, is not read again; in doubt it is."""

import asyncio
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import change, many, query, states, table, tally
from sandbox_client import Control
from servers import listening, relay

from batchgen import __version__
from batchgen.manifest.source import ManifestSource
from batchgen.operations.unchanged import manifest_fingerprint
from batchgen.sandbox import Address

BRUSH = "atelier/brush-2/text-to-image"


Readings = Callable[[], int]


@pytest.fixture
def readings(folder: Path) -> Readings:
    """How many runs of the folder have read their list; the log says which have not."""

    def count() -> int:
        log = (folder / "batchgen.log").read_text(encoding="utf-8")
        runs = re.findall(r" batchgen \S+ runs ", log)
        return len(runs) - log.count(" has not changed since it was read last.")

    return count


def put_back(path: Path, text: str, like: os.stat_result) -> None:
    """Write a file that has the time of another."""
    path.write_bytes(text.encode())
    os.utime(path, ns=(like.st_atime_ns, like.st_mtime_ns))


def test_an_unchanged_list_is_read_once_and_every_row_of_it_is_sent(
    run: Command, folder: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", table(many(4)))
    for _ in range(4):
        run(manifest, "--limit", 1)

    assert readings() == 1
    assert tally(folder) == {"saved": 4}
    assert sandbox.posts == 4


def test_what_a_person_asks_for_happens_without_a_reading(
    run: Command, folder: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    sandbox.fault("422", match="number 1")
    sandbox.fault("lost", match="number 2")
    manifest = write("list.csv", table(many(3)))
    assert run(manifest).code == 1

    assert run(manifest, "--retry-failed", "--on-unknown", "resubmit").code == 0
    assert readings() == 1
    assert tally(folder) == {"saved": 3}


def test_a_list_of_the_same_size_and_time_is_told_by_its_bytes(
    run: Command, here: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", table({"heron": "a heron"}))
    run(manifest)
    put_back(here / manifest, table({"heron": "a Heron"}), (here / manifest).stat())

    assert run(manifest).code == 0
    assert readings() == 2
    assert sandbox.posts == 2


def test_a_list_that_was_changed_while_it_was_read_and_changed_back_is_read_again(
    run: Command,
    here: Path,
    folder: Path,
    address: Address,
    write: Write,
    readings: Readings,
) -> None:
    (here / "list").mkdir()
    write("list/a.txt", "a heron")
    write("list/b.txt", "a boat")
    pass_on = relay(address.base_url)

    async def edit_and_pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        write("list/b.txt", "a bus")
        await pass_on(reader, writer)

    # The model's schema is asked for when the first row has been read, and the second has not.
    with listening(edit_and_pass_on) as port:
        changing = ("--base-url", f"http://127.0.0.1:{port}/v1")
        run("list", "--model", BRUSH, "--limit", 1, *changing)
    prompts = "SELECT json_extract(input, '$.prompt') FROM requests ORDER BY id"
    assert query(folder, prompts) == [("a heron",), ("a bus",)]
    write("list/b.txt", "a boat")

    assert run("list", "--model", BRUSH).code == 0
    assert readings() == 2
    assert query(folder, prompts) == [("a heron",), ("a boat",)]
    assert tally(folder) == {"saved": 2}


@pytest.mark.parametrize(
    "options",
    [
        ("--model", BRUSH),
        ("--column", "negative_prompt=id"),
        ("--id", "a {id}", "--allow-changed"),
        ("--expand",),
        ("--samples", "3"),
        ("--expand", "--sample-seed", "3"),
    ],
)
def test_other_options_read_it_again(
    run: Command, write: Write, readings: Readings, options: tuple[str, ...]
) -> None:
    manifest = write("list.csv", table(many(1)))
    run(manifest)
    run(manifest, *options)

    assert readings() == 2
    run(manifest, *options)
    assert readings() == 2


def test_another_version_of_batchgen_reads_it_again(here: Path, write: Write) -> None:
    sources = [ManifestSource("list.csv", "csv", here / write("list.csv", table(many(1))))]

    assert manifest_fingerprint(sources, {}) == manifest_fingerprint(sources, {}, __version__)
    assert manifest_fingerprint(sources, {}) != manifest_fingerprint(sources, {}, "0.0.1")


def test_another_schema_reads_it_again(
    run: Command, here: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    options = ("--model", BRUSH, "--schema", "schema.json")
    manifest = write("list.csv", table(many(1)))
    for properties in ({"prompt": {"type": "string"}}, {"prompt": {"type": ["string", "null"]}}):
        write("schema.json", json.dumps({"type": "object", "properties": properties}))
        run(manifest, *options)
        run(manifest, *options)
        run(manifest, *options)

    # Once more after the change, since the copy that the batch keeps was replaced meanwhile.
    assert readings() == 3


def test_a_fetched_schema_is_kept_and_no_reason_to_read_again_until_it_changes(
    run: Command, folder: Path, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", table(many(1)))
    for _ in range(2):
        assert run(manifest, "--model", BRUSH).code == 0
    assert readings() == 1

    (kept,) = (folder / "schemas").rglob("*.json")
    kept.write_text(kept.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert run(manifest, "--model", BRUSH).code == 0
    assert readings() == 2


def test_a_list_that_takes_its_rows_from_another_file_is_read_again_when_that_changes(
    run: Command, here: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    write("rows.csv", table(many(1)))
    manifest = write("list.yaml", "from: rows.csv\n")
    for count in (1, 1, 2, 2):
        if count > sandbox.posts:
            write("rows.csv", table(many(count)))
        assert run(manifest).code == 0
    assert readings() == 2

    write("list.yaml", "from: rows.csv\ndefaults: {style: anime}\n")
    assert run(manifest).code == 0
    assert readings() == 3
    assert sandbox.posts == 4


def test_a_list_is_read_again_when_a_file_of_its_wildcards_changes(
    run: Command, here: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    (here / "wildcards").mkdir()
    write("wildcards/colour.txt", "red\n__dark__\n")
    write("wildcards/dark.txt", "black\n")
    manifest = write("list.txt", "a __colour__ fox\n")

    def again() -> tuple[int, int]:
        for _ in range(2):
            assert run(manifest, "--expand").code == 0
        return readings(), sandbox.posts

    assert again() == (1, 2)
    write("wildcards/dark.txt", "black\nbrown\n")
    assert again() == (2, 3)
    write("wildcards/other.txt", "white\n")  # which the list does not name
    assert again() == (2, 3)
    write("colour.txt", "red\n")  # which is found first
    assert again() == (3, 3)


def test_a_folder_of_texts_is_read_again_when_one_is_added_or_changed(
    run: Command, here: Path, sandbox: Control, readings: Readings
) -> None:
    (here / "list").mkdir()
    for name, text in (("a", "a heron"), ("b", "a fox"), ("b", "an owl")):
        (here / "list" / f"{name}.txt").write_text(text)
        for _ in range(2):
            assert run("list").code == 0

    assert readings() == 3
    assert sandbox.posts == 3


def test_standard_input_is_read_each_time(
    run: Command, sandbox: Control, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        text = io.TextIOWrapper(io.BytesIO(table(many(2)).encode()))
        monkeypatch.setattr(sys, "stdin", text)
        assert run("-", "--format", "csv").code == 0

    assert readings() == 2
    assert sandbox.posts == 2


def test_the_problems_of_skipped_rows_are_told_by_each_run(
    run: Command, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", "id,prompt,seed\nheron,a heron,1\nfox,a fox,soon\n")
    told = [run(manifest, "--skip-invalid").stderr for _ in range(2)]

    assert readings() == 2
    assert all("'soon' is not a whole number" in text for text in told)


def test_a_list_that_was_refused_is_not_taken_for_one_that_was_listed(
    run: Command, here: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    run(write("list.csv", table(many(2))), "--limit", 1)
    write("other.csv", table({"fox": "a fox"}))
    for _ in range(2):
        assert run("other.csv").code == 2

    assert run("list.csv").code == 0
    assert readings() == 1
    assert sandbox.posts == 2


# The journal is not as the run left it


def test_a_journal_that_is_gone_takes_the_list_again(
    run: Command, folder: Path, sandbox: Control, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest, "--limit", 1)
    (folder / "batch.db").unlink()

    assert run(manifest).code == 0
    assert readings() == 2
    assert tally(folder) == {"saved": 3}
    assert sandbox.posts == 3


def test_a_row_that_somebody_deleted_comes_back(
    run: Command, folder: Path, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest, "--limit", 1)
    change(folder, "DELETE FROM requests WHERE id = 'row-3'")

    assert run(manifest).code == 0
    assert readings() == 2
    assert tally(folder) == {"saved": 3}


@pytest.fixture
def backup(folder: Path, here: Path) -> Callable[[], Callable[[], None]]:
    """Copy the journal; the answer puts the copy back."""

    def copy() -> Callable[[], None]:
        shutil.copy(folder / "batch.db", here / "backup.db")
        return lambda: shutil.copy(here / "backup.db", folder / "batch.db") and None

    return copy


def test_a_receipt_of_a_row_that_a_restored_journal_lacks_takes_the_list_again(
    run: Command,
    here: Path,
    folder: Path,
    sandbox: Control,
    write: Write,
    readings: Readings,
    backup: Callable[[], Callable[[], None]],
) -> None:
    first, path = table(many(1)), here / "list.csv"
    run(write("list.csv", first))
    was = path.stat()
    restore = backup()
    run(write("list.csv", table(many(2))))
    restore()
    put_back(path, first, was)
    assert run("list.csv").code == 0
    assert readings() == 3

    write("list.csv", table(many(2)))
    assert run("list.csv").code == 0
    assert states(folder) == {"row-1": "saved", "row-2": "saved"}
    assert sandbox.posts == 2
    assert query(folder, "SELECT COUNT(*) FROM requests WHERE model = ''") == [(0,)]


def test_a_damaged_journal_is_refused_before_the_list_is_taken_for_known(
    run: Command, folder: Path, write: Write, readings: Readings
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest, "--limit", 1)
    journal = folder / "batch.db"
    journal.write_bytes(b"x" * 100 + journal.read_bytes()[100:])

    assert run(manifest).code == 74
