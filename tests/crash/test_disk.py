"""The disk fails: it is full, or it says that it could not write.

New POSTs stop, nothing is paid twice, nothing is lost, and with a disk that works again the same
command finishes. The failures are those of SQLite and of the system, provoked by `crash/driver.py`;
where this process may mount, a file system is really full.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sandbox_client import Control

from crash import APIS, DEPLOYMENTS, GO_ON, MODELS, Api, Batch, check_the_books, fault

DAMAGED = 74
EVERY_COMMIT = os.environ.get("BATCHGEN_STEPS") == "all"


@pytest.fixture(params=APIS, ids=str)
def api(request: pytest.FixtureRequest) -> Api:
    """Where batches are sent: to both, unless a test says otherwise."""
    found: Api = request.param
    return found


@pytest.fixture
def kit(here: Path, reach: list[str], sandbox: Control, api: Api) -> Batch:
    return Batch(here / "batch", reach, sandbox, api=api)


def parts(batch: Batch) -> list[Path]:
    return [*batch.out.rglob("*.part")]


def test_a_journal_without_room_for_the_intent_lets_no_body_leave(kit: Batch) -> None:
    code = kit.run(fault("journal_full", move="send"))

    assert code == GO_ON, kit.said()
    assert kit.sandbox.posts == 0
    assert kit.states() == {"pending": 3}
    assert kit.finish() == 0
    check_the_books(kit)


def test_a_journal_that_fills_up_under_way_stops_new_posts_and_collects_the_rest(
    kit: Batch,
) -> None:
    code = kit.run(fault("journal_full", move="send", n=3))

    assert code == GO_ON, kit.said()
    # On a busy computer the second intent shares its transaction with the third, which fails.
    assert kit.sandbox.posts in (1, 2)
    check_the_books(kit, finished=False)
    assert kit.finish() == 0
    check_the_books(kit)


def test_an_id_for_which_there_is_no_room_gets_that_of_the_ballast(kit: Batch) -> None:
    code = kit.run(fault("journal_full_until_ballast_is_dropped"), fault("note_ids", note="ids"))

    assert code in (0, GO_ON), kit.said()
    assert "unknown" not in kit.states()
    check_the_books(kit, finished=False, reached=kit.root / "ids")
    assert kit.finish() == 0
    check_the_books(kit)


def test_an_id_that_cannot_be_journalled_at_all_is_said_aloud_and_found_by_its_receipt(
    kit: Batch,
) -> None:
    code = kit.run(fault("journal_full", move="accepted"))

    assert code == GO_ON, kit.said()
    (request_id,) = (row["request_id"] for row in kit.sandbox.ledger())
    assert request_id in kit.said()
    assert request_id in (kit.out / "receipts.log").read_text(encoding="utf-8")
    assert kit.finish() == 0
    check_the_books(kit)


def test_a_picture_that_the_disk_does_not_take_is_not_saved_and_no_part_of_it_kept(
    kit: Batch,
) -> None:
    """No room for its first byte, or for one in its middle; its sync fails."""
    for trouble in (
        fault("no_room_for_downloads", after=0),
        fault("no_room_for_downloads", after=100),
        fault("sync_fails", name="-1.part"),
    ):
        code = kit.run(trouble)

        assert code == GO_ON, kit.said()
        assert parts(kit) == []
        assert set(kit.states()) <= {"completed", "submitted", "pending"}
        check_the_books(kit, finished=False)
    assert kit.finish() == 0
    check_the_books(kit)


@pytest.mark.parametrize(
    ("api", "number"),
    [(MODELS, errno.EIO), (DEPLOYMENTS, errno.ENOSPC)],
    ids=["models-EIO", "deployments-ENOSPC"],
)
def test_a_receipt_that_cannot_be_synced_stops_new_posts(kit: Batch, number: int) -> None:
    # The first sync makes the file's room.
    code = kit.run(fault("sync_fails", name="receipts.log", number=number, after=1))

    assert code == GO_ON, kit.said()
    assert kit.sandbox.posts == 1
    (request_id,) = kit.request_ids()
    assert request_id in kit.said()
    assert kit.finish() == 0
    check_the_books(kit)


@pytest.mark.parametrize("api", [MODELS], ids=str)
def test_a_disk_that_failed_at_the_last_receipt_is_no_success(
    here: Path, reach: list[str], sandbox: Control, api: Api
) -> None:
    """Although every row is saved: the next batch would be sent to the same disk."""
    kit = Batch(here / "batch", reach, sandbox, 1, api=api)
    code = kit.run(fault("sync_fails", name="receipts.log", number=errno.EIO, after=1))

    assert code == GO_ON, kit.said()
    assert kit.states() == {"saved": 1}
    assert kit.finish() == 0


def test_a_receipts_file_that_cannot_be_made_lets_nothing_be_sent(kit: Batch) -> None:
    code = kit.run(fault("sync_fails", name="receipts.log"))

    assert code == DAMAGED, kit.said()
    assert kit.sandbox.posts == 0
    assert kit.finish() == 0
    check_the_books(kit)


def test_a_report_that_cannot_be_written_loses_nothing_and_is_no_success(kit: Batch) -> None:
    for name in ("results.csv", "index.html", "summary.json"):
        code = kit.run(fault("sync_fails", name=name))

        assert code == GO_ON, kit.said()
        assert kit.states() == {"saved": 3}
        check_the_books(kit)
    assert kit.finish() == 0


@pytest.mark.parametrize(
    ("api", "ever", "stride"),
    [
        (MODELS, False, 1),
        (MODELS, True, 1 if EVERY_COMMIT else 4),
        (DEPLOYMENTS, True, 1 if EVERY_COMMIT else 6),
    ],
    ids=["models-once", "models-for ever", "deployments-for ever"],
)
def test_whatever_commit_fails_nothing_is_posted_after_it(
    here: Path, reach: list[str], sandbox: Control, api: Api, ever: bool, stride: int
) -> None:
    """From the first transaction of a run to its last.

    Where the disk fails for ever every fourth, since of that a run sees less than of one failure,
    and with deployments every sixth, since their transactions are the same; with
    `BATCHGEN_STEPS=all` all.
    """
    kit = Batch(here / "batch", reach, sandbox, 2, api=api)
    for n in count(1, stride):
        shutil.rmtree(kit.out, ignore_errors=True)
        kit.sandbox.reset()
        ids = kit.root / f"ids-{n}"
        note = kit.root / f"posts-{n}"
        code = kit.run(
            fault("note_ids", note=str(ids)),
            fault("note_bodies_after_failure", note=str(note)),
            fault("commit_fails", n=n, ever=ever),
        )
        assert not note.exists(), f"a POST left after COMMIT {n} had failed"
        if code == 0 and "disk I/O error" not in kit.said():
            break
        kit.finish()
        check_the_books(kit, reached=ids)
        assert kit.states() == {"saved": 2}, f"COMMIT {n}: {kit.said()}"

    assert n > 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes, a quarter of which is ballast."""
    place = tmp_path / "disk"
    place.mkdir()
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        pytest.skip("mounting a small file system is for Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this process may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("ballast", [True, False], ids=["with ballast", "without"])
def test_a_file_system_that_is_really_full_when_the_id_comes_loses_nothing(
    small_disk: Path, here: Path, reach: list[str], sandbox: Control, api: Api, ballast: bool
) -> None:
    kit = Batch(small_disk / "batch", reach, sandbox, api=api)
    filler = small_disk / "filler"
    ids = here / "ids"
    kit.errors = here / "stderr.txt"
    code = kit.run(
        fault("note_ids", note=str(ids)),
        fault("fill_disk_at_answer", filler=str(filler), n=2, keeping=ballast),
    )
    filler.unlink()

    # With the ballast's room all that was sent already may be seen through.
    assert code in ((0, GO_ON) if ballast else (GO_ON,)), kit.said()
    assert set(ids.read_text().split()) == {row["request_id"] for row in sandbox.ledger()}
    known = kit.request_ids() | set((kit.out / "receipts.log").read_text().split())
    assert set(ids.read_text().split()) <= known
    assert kit.finish() == 0
    check_the_books(kit)
    assert kit.states() == {"saved": 3}
