"""verify: every file is hashed and decoded again, and what is broken comes back unpaid."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import Command, Write
from helpers import PATIENT, Outcome, change, many, media, provenance_of, query, table, tally
from PIL import Image
from sandbox_client import Control

SERIES = "atelier/series/text-to-image"
OTHER = "0" * 64  # the SHA-256 of another file


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


@pytest.fixture
def saved(run: Command, folder: Path, manifest: str) -> dict[str, bytes]:
    """A batch of three pictures; their bytes by their path."""
    run(manifest)
    return pictures(folder)


@pytest.fixture
def verify(by_thread: Command, folder: Path, reach: list[str]) -> Callable[[], Outcome]:
    return lambda: by_thread("verify", folder, *reach)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in media(folder)}


def delete(path: Path) -> None:
    path.unlink()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_another_picture(path: Path) -> None:
    shade = path.stat().st_size % 256  # another one each time
    Image.new("RGB", (8, 8 + shade)).save(path)


HARM = [delete, flip_a_bit, truncate, empty, replace_by_another_picture]


def test_whole_files_need_neither_token_nor_network(
    by_thread: Command,
    folder: Path,
    saved: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    outcome = by_thread("verify", folder)

    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == "3 whole, 0 restored, 0 lost.\n"


WHAT_IS_LOADED = """
import sys
from batchgen.cli.main import main
try:
    main()
finally:
    print("PIL.Image" in sys.modules)
"""


def test_pictures_are_decoded_by_another_process(folder: Path, saved: dict[str, bytes]) -> None:
    """They may be somebody else's, who made one that a decoder crashes on."""
    (folder / "images" / "row-2.png").write_bytes(b"")
    command = [sys.executable, "-c", WHAT_IS_LOADED, "verify", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "images/row-2.png: changed since" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_files_that_are_broken_are_named_and_come_back_unpaid_with_their_facts(
    verify: Callable[[], Outcome], run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(6)))
    run(manifest)
    saved = pictures(folder)
    assert all(provenance_of(folder / path) for path in saved)
    outputs = query(folder, "SELECT * FROM outputs ORDER BY path")
    broken = dict(zip(saved, HARM, strict=False))
    for path, harm in broken.items():
        harm(folder / path)
    outcome = verify()

    assert outcome.code == 0
    for path in broken:
        assert re.search(rf"^{path}: (it is|changed since)", outcome.stdout, re.MULTILINE)
        assert f"{path}: restored, unpaid\n" in outcome.stdout
    assert "1 whole, 5 restored, 0 lost." in outcome.stdout
    assert saved.items() <= pictures(folder).items()
    assert query(folder, "SELECT * FROM outputs ORDER BY path") == outputs
    assert verify().stdout == "6 whole, 0 restored, 0 lost.\n"
    assert run(manifest).code == 0
    assert sandbox.posts == 6


def test_a_damaged_file_is_put_aside_and_not_thrown_away(
    verify: Callable[[], Outcome], run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(4))))
    damage = dict(zip(pictures(folder), HARM[1:], strict=True))
    contents = {path: [] for path in damage}
    for _ in range(2):
        for path, harm in damage.items():
            harm(folder / path)
            contents[path].append((folder / path).read_bytes())
        verify()

    for path in damage:
        aside = [(folder / f"{path}.damaged-{n}").read_bytes() for n in (1, 2)]
        assert aside == contents[path]


def test_a_whole_folder_of_pictures_comes_back(
    verify: Callable[[], Outcome], folder: Path, sandbox: Control, saved: dict[str, bytes]
) -> None:
    shutil.rmtree(folder / "images")

    outcome = verify()
    assert outcome.code == 0
    assert "0 whole, 3 restored, 0 lost." in outcome.stdout
    assert pictures(folder) == saved
    assert sandbox.posts == 3


def test_of_several_outputs_the_broken_one_alone_comes_back(
    verify: Callable[[], Outcome],
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    schemas: dict[str, Path],
) -> None:
    sandbox.set(picture_size=256)
    rows = "id,prompt,num_images\nheron,a heron,3\n"
    run(write("list.csv", rows), "--model", SERIES, "--schema", schemas[SERIES])
    before = pictures(folder)
    assert len(set(before.values())) == 3
    (folder / "images" / "heron-3.png").unlink()
    fetched = sandbox.counts()["media"]

    outcome = verify()
    assert outcome.code == 0
    assert "2 whole, 1 restored, 0 lost." in outcome.stdout
    assert pictures(folder) == before
    assert sandbox.counts()["media"] == fetched + 1
    assert sandbox.posts == 1


@pytest.mark.parametrize("fault", ["media-404", "media-expired"])
def test_a_file_that_is_hosted_no_longer_is_lost_and_the_command_that_pays_again_is_told(
    verify: Callable[[], Outcome],
    batchgen: Command,
    run: Command,
    folder: Path,
    sandbox: Control,
    manifest: str,
    saved: dict[str, bytes],
    fault: str,
) -> None:
    sandbox.fault(fault, match="number 2", times=None)
    (folder / "images" / "row-2.png").unlink()
    assert verify().code == 69  # it may be there again, as long as results are kept
    long_ago = "UPDATE requests SET submitted_at = '2026-01-01T00:00:00.000Z' WHERE id = 'row-2'"
    change(folder, long_ago)
    flip_a_bit(folder / "images" / "row-3.png")

    outcome = verify()
    assert outcome.code == 1
    assert "1 whole, 1 restored, 1 lost." in outcome.stdout
    assert sandbox.posts == 3
    command = f"batchgen retry {folder} --state saved --id row-2"
    assert command in outcome.stdout
    assert batchgen(*command.split()[1:]).code == 0
    sandbox.reset()
    assert run(manifest).code == 0
    assert sandbox.posts == 1
    assert "row-2" in str(query(folder, "SELECT path FROM outputs"))


def test_a_damaged_file_stays_in_its_place_while_there_is_no_whole_one(
    verify: Callable[[], Outcome], folder: Path, sandbox: Control, saved: dict[str, bytes]
) -> None:
    sandbox.fault("media-404", times=None)
    target = folder / "images" / "row-2.png"
    truncate(target)
    before = pictures(folder)

    assert verify().code == 69
    assert pictures(folder) == before


@pytest.mark.parametrize("fault", ["media-500", "media-html", "media-truncated", "media-drop"])
def test_a_download_that_fails_for_now_is_not_called_lost(
    verify: Callable[[], Outcome], folder: Path, sandbox: Control, saved: dict[str, bytes],
    fault: str,
) -> None:  # fmt: skip
    (folder / "images" / "row-2.png").unlink()
    sandbox.fault(fault, times=2 if fault == "media-drop" else 1)  # a drop is asked once more

    outcome = verify()
    assert outcome.code == 69
    assert "0 lost." in outcome.stdout
    assert "retry" not in outcome.stdout
    assert verify().code == 0
    assert pictures(folder) == saved


@pytest.mark.parametrize("fault", ["401", "400004"])
def test_a_refused_token_is_no_loss(
    verify: Callable[[], Outcome], folder: Path, sandbox: Control, saved: dict[str, bytes],
    fault: str,
) -> None:  # fmt: skip
    (folder / "images" / "row-2.png").unlink()
    sandbox.fault(fault, on="result")

    outcome = verify()
    assert outcome.code == 77
    assert "lost" not in outcome.stdout
    assert verify().code == 0
    assert pictures(folder) == saved


def test_an_api_that_is_silent_about_a_file_that_moved_is_no_loss(
    verify: Callable[[], Outcome], folder: Path, sandbox: Control, saved: dict[str, bytes]
) -> None:
    (folder / "images" / "row-2.png").unlink()
    sandbox.fault("500", on="result")
    sandbox.fault("media-404")

    assert verify().code == 69
    assert verify().code == 0
    assert pictures(folder) == saved


def test_the_stored_url_serves_where_the_api_gives_no_answer(
    verify: Callable[[], Outcome], folder: Path, sandbox: Control, saved: dict[str, bytes]
) -> None:
    (folder / "images" / "row-2.png").unlink()
    sandbox.fault("500", on="result", times=None)

    assert verify().code == 0
    assert pictures(folder) == saved


def test_without_a_token_a_broken_file_is_named_and_left(
    verify: Callable[[], Outcome],
    folder: Path,
    saved: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    (folder / "images" / "row-2.png").unlink()

    outcome = verify()
    assert outcome.code == 77
    assert "images/row-2.png: it is missing" in outcome.stdout


def test_rows_without_a_file_are_not_its_business(
    verify: Callable[[], Outcome], run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="number 2")
    sandbox.fault("lost", match="number 3")
    run(write("list.csv", table(many(3))))

    assert verify().stdout == "1 whole, 0 restored, 0 lost.\n"
    assert tally(folder) == {"saved": 1, "failed": 1, "unknown": 1}


def test_a_row_that_is_listed_no_longer_keeps_its_picture(
    verify: Callable[[], Outcome], run: Command, folder: Path, sandbox: Control, write: Write,
    saved: dict[str, bytes],
) -> None:  # fmt: skip
    run(write("list.csv", table({"row-1": "a heron, number 1"})))
    (folder / "images" / "row-3.png").unlink()

    assert verify().code == 0
    assert pictures(folder) == saved
    assert sandbox.posts == 3


@PATIENT
def test_a_rehearsals_pictures_come_back_from_its_own_sandbox(
    batchgen: Command, folder: Path, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    batchgen("run", manifest, "--out", folder, "--sandbox")
    before = pictures(folder)
    (folder / "images" / "row-2.png").unlink()

    assert batchgen("verify", folder).code == 0
    assert pictures(folder) == before


def test_verify_waits_until_no_run_holds_the_batch(
    start: Callable[..., Popen[str]],
    verify: Callable[[], Outcome],
    sandbox: Control,
    manifest: str,
) -> None:
    sandbox.set(seconds=1000)
    child = start(manifest, "-v")
    assert any("accepted as" in line for line in child.stderr or ())

    outcome = verify()
    assert outcome.code == 75
    assert f"process {child.pid} " in outcome.stderr


# What pictures say of themselves


@pytest.fixture
def told(folder: Path, saved: dict[str, bytes]) -> dict[str, bytes]:
    """The batch, its pictures with their facts in them; their bytes by their path."""
    assert all(provenance_of(folder / path) for path in saved)
    return pictures(folder)


def test_a_picture_that_had_no_facts_comes_back_without(
    verify: Callable[[], Outcome], folder: Path, saved: dict[str, bytes]
) -> None:
    where = "WHERE path = 'images/row-2.png'"
    ((bare,),) = query(folder, f"SELECT COALESCE(delivered_sha256, sha256) FROM outputs {where}")
    change(folder, f"UPDATE outputs SET sha256 = ?, delivered_sha256 = NULL {where}", bare)
    (folder / "images" / "row-2.png").unlink()

    assert verify().code == 0
    content = (folder / "images" / "row-2.png").read_bytes()
    assert hashlib.sha256(content).hexdigest() == bare
    assert provenance_of(folder / "images" / "row-2.png") is None


def test_facts_that_an_older_batchgen_wrote_are_written_as_this_one_does(
    verify: Callable[[], Outcome], folder: Path, told: dict[str, bytes]
) -> None:
    change(folder, f"UPDATE outputs SET sha256 = '{OTHER}' WHERE path = 'images/row-2.png'")

    assert "images/row-2.png: restored, unpaid\n" in verify().stdout
    assert verify().stdout == "3 whole, 0 restored, 0 lost.\n"
    assert told.items() <= pictures(folder).items()


def test_a_host_that_delivers_another_picture_than_before_is_told_of(
    verify: Callable[[], Outcome], folder: Path, told: dict[str, bytes]
) -> None:
    where = "WHERE path = 'images/row-2.png'"
    change(folder, f"UPDATE outputs SET delivered_sha256 = '{OTHER}' {where}")
    (folder / "images" / "row-2.png").unlink()

    outcome = verify()
    assert outcome.code == 0
    assert "row-2.png: restored, unpaid; the host's file is not the one of before" in outcome.stdout
    assert verify().stdout == "3 whole, 0 restored, 0 lost.\n"


def test_of_pictures_that_changed_places_each_is_told_whose_it_is(
    verify: Callable[[], Outcome], folder: Path, told: dict[str, bytes]
) -> None:
    (folder / "images" / "row-2.png").write_bytes(told["images/row-3.png"])
    (folder / "images" / "row-3.png").write_bytes(told["images/row-2.png"])

    outcome = verify()
    for here, there in (("row-2", "row-3"), ("row-3", "row-2")):
        line = f"images/{here}.png: changed since it was saved, but the picture of row {there!r}\n"
        assert line in outcome.stdout
    assert told.items() <= pictures(folder).items()


def test_a_whole_picture_that_names_another_request_is_told_of_and_is_no_loss(
    verify: Callable[[], Outcome], folder: Path, told: dict[str, bytes]
) -> None:
    facts = provenance_of(folder / "images" / "row-2.png")
    assert facts is not None
    change(folder, "UPDATE requests SET request_id = 'another' WHERE id = 'row-2'")

    outcome = verify()
    assert outcome.code == 0
    assert outcome.stdout == (
        f"images/row-2.png: it is whole, but says that it is request {facts['request_id']};"
        " the journal has another\n3 whole, 0 restored, 0 lost.\n"
    )
    assert pictures(folder) == told


def test_an_output_that_was_in_the_result_is_restored_from_there(
    verify: Callable[[], Outcome], run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("inline")
    run(write("inline.csv", "id,prompt\nheron,a heron\n"))
    target = folder / "images" / "heron.png"
    whole = target.read_bytes()
    target.unlink()

    outcome = verify()
    assert outcome.code == 0
    assert "restored, unpaid" in outcome.stdout
    assert target.read_bytes() == whole
