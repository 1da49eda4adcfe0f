"""Media in an S3 bucket: a real server in a process of its own, and the whole path of a run."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import Command, Write
from helpers import TOKEN, Outcome, many, media, query, states, table, tally, until
from sandbox_client import Control
from stores import SECRET, Seen, Store

from batchgen.config import environment_without_secrets

FILES = "SELECT path, sha256, bytes FROM outputs ORDER BY path"
SERIES = "atelier/series/text-to-image"
QUICK = pytest.mark.timing(store_request=2.0, store_retrying=0.5, probe_step=2.0)


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


@pytest.fixture
def place(store: Store) -> str:
    return store.place("nightly/list")


@pytest.fixture
def verify(batchgen: Command, folder: Path, reach: list[str]) -> Callable[[], Outcome]:
    return lambda: batchgen("verify", folder, *reach)


def check_store(store: Store, folder: Path, prefix: str = "nightly/list") -> None:
    """What the journal says of each file is in the bucket, and nothing else."""
    saved = query(folder, FILES)
    assert store.names() == [f"{prefix}/{path}" for path, *_ in saved]
    for path, sha256, size in saved:
        content = store.get(f"{prefix}/{path}")
        assert len(content) == size
        assert hashlib.sha256(content).hexdigest() == sha256
        assert store.metadata(f"{prefix}/{path}")["x-amz-meta-sha256"] == sha256
        assert store.metadata(f"{prefix}/{path}")["content-type"] == "image/png"


# -- a run ----------------------------------------------------------------------------------------


def test_a_run_keeps_its_pictures_in_a_bucket(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    outcome = run(manifest, "--media", place)

    assert outcome.code == 0, outcome.stderr
    assert states(folder) == dict.fromkeys(many(3), "saved")
    assert media(folder) == []
    check_store(store, folder)
    assert sandbox.posts == 3


def test_the_next_run_goes_on_there_without_being_told(
    run: Command, folder: Path, manifest: str, store: Store, place: str
) -> None:
    run(manifest, "--limit", 1, "--media", place)
    outcome = run(manifest)

    assert outcome.code == 0, outcome.stderr
    check_store(store, folder)


def test_a_large_file_goes_in_parts(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    sandbox.set(picture_bytes=9 << 20)
    outcome = run(manifest, "--limit", 1, "--media", place)

    assert outcome.code == 75, outcome.stderr
    check_store(store, folder)
    ((_, _, size),) = query(folder, FILES + " LIMIT 1")
    assert size > 8 << 20
    assert [s.method for s in store.seen if "partNumber" in s.path] == ["PUT", "PUT"]


def test_a_file_of_many_bytes_has_a_small_picture_too_of_the_decoding_that_checks_it(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    sandbox.set(picture_size=900, picture_bytes=33 << 20)
    run(manifest, "--limit", 1, "--media", place)

    assert len(store.names()) == 1
    assert len([*(folder / "report").rglob("*.webp")]) == 1


def test_sidecars_stand_beside(
    run: Command, folder: Path, manifest: str, store: Store, place: str
) -> None:
    run(manifest, "--media", place, "--sidecars", "--limit", 1)
    (key, beside) = store.names()

    assert beside == f"{key}.json"
    assert json.loads(store.get(beside))["id"] == query(folder, "SELECT id FROM requests")[0][0]


def test_a_sidecar_never_replaces_what_somebody_else_has_there(
    run: Command, folder: Path, manifest: str, store: Store, place: str
) -> None:
    (id,) = many(1)
    store.put(f"nightly/list/images/{id}.png.json", b"mine")
    run(manifest, "--media", place, "--sidecars", "--limit", 1)

    assert store.get(f"nightly/list/images/{id}.png.json") == b"mine"


def test_an_object_of_somebody_else_stays(
    run: Command, folder: Path, manifest: str, store: Store, place: str
) -> None:
    (id,) = many(1)
    theirs = f"nightly/list/images/{id}.png"
    store.put(theirs, b"a picture of another batch", sha256="0" * 64)
    outcome = run(manifest, "--media", place)

    assert outcome.code == 0
    assert store.get(theirs) == b"a picture of another batch"
    (path,) = (path for path, *_ in query(folder, FILES) if path.startswith(f"images/{id}."))
    assert path.count(".") == 2  # with the beginning of its hash
    store.delete(theirs)
    check_store(store, folder)


# -- what a killed run left -----------------------------------------------------------------------


def unsaved(folder: Path) -> None:
    """Put the journal back to where it was before it recorded the files."""
    with closing(sqlite3.connect(folder / "batch.db")) as journal, journal:
        journal.execute("UPDATE outputs SET path = NULL, sha256 = NULL, bytes = NULL")
        journal.execute("UPDATE requests SET state = 'completed' WHERE state = 'saved'")


def test_what_a_killed_run_had_put_counts_as_this_file(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    run(manifest, "--media", place)
    before = store.names()
    unsaved(folder)
    outcome = run(manifest)

    assert outcome.code == 0, outcome.stderr
    assert store.names() == before
    check_store(store, folder)
    assert sandbox.posts == 3


def test_the_claim_of_a_killed_run_is_taken_up(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    sandbox.set(picture_bytes=9 << 20)
    run(manifest, "--limit", 1, "--media", place)
    ((path, sha256, _),) = query(folder, FILES + " LIMIT 1")
    store.put(f"nightly/list/{path}", b"", sha256=sha256)
    unsaved(folder)
    run(manifest, "--limit", 0)

    check_store(store, folder)


# -- where media go -------------------------------------------------------------------------------


def test_another_place_is_refused_once_the_batch_has_one(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    run(manifest, "--media", place, "--limit", 1)
    for other in (store.place("other"), f"{place}/deeper"):
        outcome = run(manifest, "--media", other)
        assert outcome.code == 2
        assert f"keeps its media in {place}" in outcome.stderr
        assert f"--media {place}" in outcome.stderr

    assert sandbox.posts == 1


def test_a_batch_of_the_folder_stays_there(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run(manifest, "--limit", 1)
    assert run(manifest, "--media", place).code == 2
    monkeypatch.setenv("BATCHGEN_MEDIA", store.place("all"))
    outcome = run(manifest)

    assert outcome.code == 0
    assert "Media stay in the folder itself, as this batch began" in outcome.stderr
    assert len(media(folder)) == 3
    assert store.seen == []


def test_a_variable_gives_each_batch_a_folder_of_its_own(
    run: Command, folder: Path, manifest: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGEN_MEDIA", store.place("all/"))
    assert run(manifest).code == 0
    check_store(store, folder, "all/list")
    monkeypatch.delenv("BATCHGEN_MEDIA")
    assert run(manifest).code == 0


def test_the_journal_of_a_stranger_chooses_no_place(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control,
    verify: Callable[[], Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    run(manifest, "--media", place, "--limit", 1)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    seen = len(store.seen)

    for outcome in (run(manifest), verify()):
        assert outcome.code == 2
        assert f"say so once to run, verify or pull: --media {place}" in outcome.stderr
    assert len(store.seen) == seen
    assert sandbox.posts == 1
    assert run(manifest, "--media", place).code == 0


@pytest.mark.parametrize(
    "place",
    [
        *(
            "s3://",
            "s3:///x",
            "ftp://bucket/x",
            "pictures",
            "s3://b/../c",
            "s3://b//c",
            "s3://b/c?d",
        ),
        *("s3://user:password@b/c", "s3://b/c#d", "https://b.s3.amazonaws.com/c", "s3://b:9/c"),
    ],
)
def test_what_is_no_place_is_refused(run: Command, manifest: str, place: str) -> None:
    outcome = run(manifest, "--media", place)

    assert outcome.code == 2
    assert "it looks like s3://bucket/prefix" in outcome.stderr


def test_a_list_cannot_choose(run: Command, write: Write, store: Store, sandbox: Control) -> None:
    manifest = write("list.yaml", f"media: {store.place('x')}\nrows:\n  - prompt: A heron\n")
    outcome = run(manifest)

    assert outcome.code == 65
    assert "Use --media. A list decides nothing about where files are written." in outcome.stderr
    assert store.seen == []


def test_a_batch_whose_journal_was_lost_goes_on_there(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    run(manifest, "--media", place)
    for path in folder.glob("batch.db*"):
        path.unlink()
    outcome = run(manifest)

    assert outcome.code == 0, outcome.stderr
    check_store(store, folder)
    assert sandbox.posts == 3


# -- a store that fails ---------------------------------------------------------------------------


def refusing(status: int, code: str) -> Callable[[Seen], tuple[int, bytes]]:
    body = (
        f"<Error><Code>{code}</Code><AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE</AWSAccessKeyId>"
        f"<StringToSign>{SECRET}</StringToSign></Error>"
    )
    return lambda request: (status, body.encode())


REFUSALS = {
    "refused this (403 AccessDenied)": refusing(403, "AccessDenied"),
    "refused this (403 InvalidAccessKeyId)": refusing(403, "InvalidAccessKeyId"),
    "has no such bucket": refusing(404, "NoSuchBucket"),
    "answered 503 SlowDown": refusing(503, "SlowDown"),
    "cannot put an object only where there is none": refusing(501, "NotImplemented"),
    "does not answer in time": lambda request: (0, b""),
}


@QUICK
@pytest.mark.parametrize("why", REFUSALS)
def test_a_store_that_fails_is_told_before_anything_is_paid(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control, why: str
) -> None:
    store.answer = REFUSALS[why]
    outcome = run(manifest, "--media", place)

    assert outcome.code == 69
    assert f"{place}: the store {why}. Nothing was sent." in outcome.stderr
    assert sandbox.posts == 0
    store.answer = lambda request: None
    assert run(manifest, "--media", place).code == 0
    check_store(store, folder)


@QUICK
def test_so_is_one_that_cannot_be_reached(
    run: Command, manifest: str, place: str, sandbox: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    outcome = run(manifest, "--media", place)

    assert outcome.code == 69
    assert f"{place}: the store cannot be reached. Nothing was sent." in outcome.stderr
    assert sandbox.posts == 0


@QUICK
def test_so_is_one_that_replaces_what_is_there(
    run: Command, manifest: str, store: Store, place: str, sandbox: Control
) -> None:
    store.forgets = "if-none-match"
    outcome = run(manifest, "--media", place)

    assert outcome.code == 69
    assert "cannot put an object only where there is none" in outcome.stderr
    assert sandbox.posts == 0


@QUICK
@pytest.mark.parametrize("why", ["refused this (403 AccessDenied)", "answered 503 SlowDown"])
def test_a_store_that_fails_under_way_loses_nothing(
    run: Command, folder: Path, write: Write, store: Store, place: str, sandbox: Control, why: str
) -> None:
    manifest = write("list.csv", table(many(6)))
    fault = REFUSALS[why]
    store.answer = lambda request: fault(request) if "/images/" in request.path else None
    outcome = run(manifest, "--media", place, "--concurrency", 1)

    assert outcome.code == 69
    assert f"{place}: the store {why}. What was paid for is not lost" in outcome.stderr
    assert "completed" in tally(folder)
    assert store.names() == []
    store.answer = fault
    refused = run(manifest)
    assert refused.code == 69
    assert "rows paid for and not fetched yet; RunComfy keeps results a week." in refused.stderr
    store.answer = lambda request: None
    assert run(manifest).code == 0
    check_store(store, folder)
    assert sandbox.posts == 6


@QUICK
def test_a_store_that_falls_silent_under_way_is_not_waited_for_by_every_row(
    run: Command, folder: Path, write: Write, store: Store, place: str, sandbox: Control
) -> None:
    manifest = write("list.csv", table(many(20)))
    store.answer = lambda request: (0, b"") if "/images/" in request.path else None
    outcome = run(manifest, "--media", place)

    assert outcome.code == 69
    assert f"{place}: the store does not answer in time." in outcome.stderr
    assert len(store.puts()) <= 2 * 4  # tries, and puts at once
    store.over.set()
    store.answer = lambda request: None
    assert run(manifest).code == 0
    check_store(store, folder)
    assert sandbox.posts == 20


def test_a_signal_ends_a_run_whose_store_is_silent(
    start: Callable[..., Popen[str]], folder: Path, manifest: str, store: Store, place: str
) -> None:
    store.answer = lambda request: (0, b"") if "/images/" in request.path else None
    process = start(manifest, "--media", place)
    until(process, lambda: bool(store.puts()))
    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 143
    assert "completed" in tally(folder)
    assert not {"saved", "unknown"} & tally(folder).keys()


@QUICK
def test_a_store_that_fails_for_a_moment_is_asked_again(
    run: Command, folder: Path, manifest: str, store: Store, place: str
) -> None:
    left = [3]

    def shaky(request: Seen) -> tuple[int, bytes] | None:
        if "/images/" not in request.path or not left[0]:
            return None
        left[0] -= 1
        return refusing(503, "SlowDown")(request)

    store.answer = shaky
    assert run(manifest, "--media", place).code == 0
    check_store(store, folder)


def test_an_answer_that_is_lost_after_the_put_makes_no_second_object(
    run: Command, folder: Path, manifest: str, store: Store, place: str
) -> None:
    """As of a proxy that answers 502 although the store has taken it: 412 is no other's object."""
    told: set[str] = set()

    def lost(request: Seen) -> tuple[int, bytes] | None:
        if request.method != "PUT" or "/images/" not in request.path or request.path in told:
            return None
        told.add(request.path)
        return 502, b""

    store.lost = lost
    assert run(manifest, "--media", place).code == 0
    check_store(store, folder)
    assert len(store.names()) == 3


@QUICK
def test_doctor_tries_the_store(
    batchgen: Command, reach: list[str], manifest: str, store: Store, place: str
) -> None:
    def media_found() -> dict[str, str]:
        told = batchgen("doctor", manifest, "--json", "--", *reach, "--media", place)
        findings = json.loads(told.stdout)["findings"]
        return next(found for found in findings if found["check"] == "media")

    assert media_found()["said"] == f"{place} takes files, and hands them out"
    store.answer = REFUSALS["has no such bucket"]
    found = media_found()
    assert (found["status"], found["said"]) == ("fail", f"{place}: the store has no such bucket")
    assert found["remedy"].startswith("Make the bucket")


# -- secrets --------------------------------------------------------------------------------------


@QUICK
@pytest.mark.parametrize("fault", [None, "refused this (403 AccessDenied)"])
def test_neither_side_gets_the_other_sides_secret(
    run: Command, folder: Path, manifest: str, store: Store, place: str, sandbox: Control,
    fault: str | None,
) -> None:  # fmt: skip
    if fault:
        refuse = REFUSALS[fault]
        store.answer = lambda request: refuse(request) if "/images/" in request.path else None
    outcome = run(manifest, "--media", place, "--verbose")

    assert TOKEN not in repr(store.seen)
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for secret in (SECRET, "AKIAIOSFODNN7EXAMPLE"):
        assert secret not in outcome.stderr
        assert secret not in repr(sandbox.log())
        assert not any(secret.encode() in content for content in written)
    assert SECRET not in repr(store.seen)


def test_processes_of_ours_get_no_credentials(store: Store) -> None:
    assert [name for name in environment_without_secrets() if name.startswith("AWS_")] == []


# -- verify ---------------------------------------------------------------------------------------


def test_verify_reads_the_store(
    run: Command, manifest: str, place: str, verify: Callable[[], Outcome], sandbox: Control
) -> None:
    run(manifest, "--media", place)
    outcome = verify()

    assert outcome.code == 0
    assert "3 whole, 0 restored" in outcome.stdout
    assert sandbox.posts == 3


def test_verify_fetches_what_is_missing_or_damaged_again_unpaid(
    run: Command, folder: Path, manifest: str, store: Store, place: str,
    verify: Callable[[], Outcome], sandbox: Control,
) -> None:  # fmt: skip
    run(manifest, "--media", place)
    missing, damaged, _ = store.names()
    store.delete(missing)
    store.put(damaged, b"damaged", sha256="0" * 64)
    outcome = verify()

    assert outcome.code == 0, outcome.stdout + outcome.stderr
    assert f"{missing.removeprefix('nightly/list/')}: it is missing" in outcome.stdout
    assert store.get(f"{damaged}.damaged-1") == b"damaged"
    store.delete(f"{damaged}.damaged-1")
    check_store(store, folder)
    assert sandbox.posts == 3
    assert [*folder.rglob("*.part")] == []


@QUICK
def test_verify_takes_a_store_that_fails_for_no_damage(
    run: Command, manifest: str, store: Store, place: str, verify: Callable[[], Outcome]
) -> None:
    run(manifest, "--media", place)
    store.answer = lambda r: refusing(503, "SlowDown")(r) if "/images/" in r.path else None
    puts = len(store.puts())
    outcome = verify()

    assert outcome.code == 69
    assert f"{place}: the store answered 503 SlowDown." in outcome.stderr
    assert len(store.puts()) == puts
