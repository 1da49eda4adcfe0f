"""Files from a bucket into the folder, and the report from the folder into the bucket."""

import json
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import Outcome, many, media, query, table
from sandbox_client import Control
from stores import Store


@pytest.fixture
def place(store: Store) -> str:
    return store.place("spring")


@pytest.fixture
def batch(run: Command, write: Write, folder: Path, place: str, sandbox: Control) -> Path:
    """Three large pictures in a bucket."""
    sandbox.set(picture_size=900, picture_bytes=100_000)
    outcome = run(write("list.csv", table(many(3))), "--media", place)
    assert outcome.code == 0, outcome.stderr
    return folder


def files_here(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in media(folder)}


def check_files(store: Store, folder: Path) -> None:
    there = {
        path: store.get(f"spring/{path}") for (path,) in query(folder, "SELECT path FROM outputs")
    }
    assert files_here(folder) == there
    assert len(there) == 3


def test_pull_fetches_what_is_missing_here(
    batchgen: Command, batch: Path, store: Store, sandbox: Control
) -> None:
    outcome = batchgen("pull", batch)

    assert (outcome.code, outcome.stdout) == (0, "3 fetched, 0 here already, 0 left.\n")
    check_files(store, batch)
    (path, *_) = media(batch)
    (batch / path).unlink()
    assert batchgen("pull", batch).stdout == "1 fetched, 2 here already, 0 left.\n"
    check_files(store, batch)
    assert [*batch.rglob("*.part")] == []


def test_pull_names_only_what_is_as_it_was_saved_and_replaces_nothing(
    batchgen: Command, batch: Path, store: Store
) -> None:
    gone, changed, mine = (
        path for (path,) in query(batch, "SELECT path FROM outputs ORDER BY path")
    )
    store.delete(f"spring/{gone}")
    store.put(f"spring/{changed}", b"something else")
    (batch / mine).write_bytes(b"edited by me")
    outcome = batchgen("pull", batch)

    assert outcome.code == 1
    assert sorted(outcome.stdout.splitlines()[:3]) == sorted([
        f"{gone}: it is missing in the store",
        f"{changed}: changed in the store since it was saved",
        f"{mine}: another file here has its name, and stays",
    ])  # fmt: skip
    assert outcome.stdout.splitlines()[-1] == f"See what is wrong: batchgen verify {batch}"
    assert files_here(batch) == {mine: b"edited by me"}


def test_pull_of_a_batch_without_a_store_has_nothing_to_do(
    run: Command, batchgen: Command, write: Write, folder: Path, store: Store
) -> None:
    run(write("list.csv", table(many(1))))
    outcome = batchgen("pull", folder)

    assert (outcome.code, outcome.stdout) == (0, "0 fetched, 0 here already, 0 left.\n")
    assert store.seen == []


@pytest.mark.timing(store_request=2.0, store_retrying=0.5, probe_step=2.0)
def test_pull_says_when_the_store_fails(batchgen: Command, batch: Path, store: Store) -> None:
    store.answer = lambda r: (503, b"") if r.method == "GET" and "/images/" in r.path else None
    outcome = batchgen("pull", batch)

    assert outcome.code == 69
    assert "the store answered 503." in outcome.stderr
    assert [*batch.rglob("*.part")] == []


def test_the_gallery_has_small_pictures_of_what_is_not_here(batch: Path) -> None:
    thumbs = {path.stem for path in (batch / "report" / "thumbs").iterdir()}

    assert media(batch) == []
    assert thumbs == {sha[:16] for (sha,) in query(batch, "SELECT sha256 FROM outputs")}


def test_a_gallery_of_a_local_copy(batchgen: Command, batch: Path, store: Store) -> None:
    outcome = batchgen("report", batch, "--media", "download")

    assert outcome.code == 0
    assert outcome.stdout == f"{batch / 'report' / 'index.html'}\n"
    check_files(store, batch)


def test_chosen_files_are_shared_once_they_are_here(
    batchgen: Command, batch: Path, here: Path
) -> None:
    refused = batchgen("report", batch, "--to", "for-ada")
    assert refused.code == 74
    assert f"Fetch them first: batchgen pull {batch}" in refused.stderr

    assert batchgen("report", batch, "--to", "for-ada", "--media", "download").code == 0
    assert len([*(here / "for-ada" / "images").iterdir()]) == 3


def upload(batchgen: Command, batch: Path) -> Outcome:
    return batchgen("report", batch, "--media", "upload")


def test_the_report_is_put_beside_the_files(batchgen: Command, batch: Path, store: Store) -> None:
    outcome = upload(batchgen, batch)

    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == f"{store.place('spring')}/report/index.html\n"
    local = {
        path.relative_to(batch).as_posix(): path.read_bytes()
        for path in [
            *(batch / "report").rglob("*"),
            *batch.glob("results.*"),
            batch / "summary.json",
        ]
        if path.is_file()
    }
    there = {name.removeprefix("spring/") for name in store.names()}
    assert there == {*local, *(path for (path,) in query(batch, "SELECT path FROM outputs"))}
    assert {path: store.get(f"spring/{path}") for path in local} == local
    kinds = {path: store.metadata(f"spring/{path}")["content-type"] for path in local}
    assert kinds["report/index.html"] == "text/html; charset=utf-8"
    assert kinds["report/data/batch.js"] == "text/javascript; charset=utf-8"
    assert {kinds[path] for path in local if "/thumbs/" in path} == {"image/webp"}


def test_a_report_is_put_again_and_replaces_none_of_another_batch(
    run: Command, batchgen: Command, batch: Path, store: Store, write: Write, here: Path, place: str
) -> None:
    upload(batchgen, batch)
    assert upload(batchgen, batch).code == 0
    before = store.get("spring/results.csv")
    run(write("other.csv", table(many(2, "an owl"))), "--out", "other", "--media", place)
    outcome = upload(batchgen, here / "other")

    assert outcome.code == 2
    assert f"{place}/results.csv is not from a report of this batch, and stays." in outcome.stderr
    assert store.get("spring/results.csv") == before


def test_the_numbers_say_where_the_files_are(batchgen: Command, batch: Path, place: str) -> None:
    assert json.loads(batchgen("status", batch, "--json").stdout)["media"] == place
    assert f"  files in {place}\n" in batchgen("status", batch).stdout


def test_pull_knows_a_copied_folder_once_the_person_has_said_the_place(
    batchgen: Command, batch: Path, here: Path, place: str
) -> None:
    copy = here / "copy"
    batch.rename(copy)

    assert batchgen("pull", copy).code == 2
    assert batchgen("pull", copy, "--media", place).code == 0
    assert batchgen("pull", copy).stdout == "0 fetched, 3 here already, 0 left.\n"
