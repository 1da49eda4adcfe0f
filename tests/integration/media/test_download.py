"""No picture that was paid for is lost by us, and nothing else is taken for one."""

import asyncio
import csv
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import PretendClock, change, error_of, media, query, states, table
from PIL import Image
from resume import resume
from sandbox_client import Control
from servers import HOST, listening

from batchgen.core.expiry import DAY_S
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.media.download import DownloadLimits
from batchgen.sandbox import Address
from batchgen.sandbox.media_faults import MEDIA_FAULTS

# Hosts that a person may name by --media-host.
ALLOWABLE = {
    "https://evil.example/x.png",
    "https://runcomfy.net.evil.example/x.png",
    "https://cdn.runcomfy.net:8443/x.png",
    "http://localhost:{port}/media/x/0.png",
    "http://127.0.0.2:{port}/media/x/0.png",
}
GONE = ["media-404", "media-403", "media-expired"]
PICTURE = "images/heron.png"
SERIES = "atelier/series/text-to-image"


TWO_TRIES = {"download_tries": 2}
pytestmark = pytest.mark.timing(**TWO_TRIES)


def together(*faults: str) -> list[object]:
    """Faults for `parametrize`, a row of one list each. Two are alone: a dropped connection, since
    how often that is tried depends on the connections of others, and silence, which counts as that
    after a quarter of a second: a busy computer is silent for as long now and then."""
    alone = ("media-drop", "media-stall")
    hurried = pytest.mark.timing(**TWO_TRIES, download_read=0.25)
    rest = tuple(name for name in faults if name not in alone)
    return [
        pytest.param(rest, id="all others"),
        pytest.param(("media-drop",), id="media-drop"),
        pytest.param(("media-stall",), id="media-stall", marks=hurried),
    ]


def listed(write: Write, sandbox: Control, faults: Mapping[str, int | None]) -> str:
    """A list with a row for each fault, which has its name and meets it so often; its name."""
    for fault, times in faults.items():
        sandbox.fault(fault, times=times, match=f"<{fault}>")
    return write("list.csv", table({fault: f"a heron <{fault}>" for fault in faults}))


@pytest.fixture
def manifest(write: Write) -> str:
    """One row, `heron`."""
    return write("list.csv", table({"heron": "a heron"}))


def is_whole(folder: Path) -> bool:
    """Whether each picture is as the journal describes it."""
    outputs = query(folder, "SELECT path, bytes, sha256, width, height FROM outputs")
    for path, *described in outputs:
        content = (folder / path).read_bytes()
        with Image.open(folder / path) as picture:
            picture.load()
            seen = [len(content), hashlib.sha256(content).hexdigest(), *picture.size]
        if seen != described:
            return False
    return outputs != []


# What arrives

BROKEN = {
    "media-500": "answered 500",
    "media-html": "is text (text/html",
    "media-json": "is text (application/json)",
    "media-empty": "empty",
    "media-short": "broke off",
    "media-stall": "broke off (SocketTimeoutError",
    "media-drop": "broke off",
    "media-gzip-bomb": "compressed to less than a hundredth",
    "media-redirect-loop": "more than 3 redirects",
}

# Each is the same when it comes again.
NOT_WHOLE = {"media-truncated": "cut short", "media-corrupt": "the picture is damaged"}


def test_the_tables_have_every_fault_of_a_download() -> None:
    elsewhere = {"media-slow", "media-wrong-type", "media-redirect", *GONE}
    elsewhere |= {"media-endless", "media-huge-pixels"}
    assert set(BROKEN) | set(NOT_WHOLE) | elsewhere == set(MEDIA_FAULTS)


@pytest.mark.parametrize("faults", together(*BROKEN))
def test_a_broken_download_leaves_no_file_and_the_next_run_fetches_it_unpaid(
    run: Command, folder: Path, sandbox: Control, write: Write, faults: tuple[str, ...]
) -> None:
    # A loop of redirects is one try of four requests; a dropped connection, of two.
    tries = {"media-redirect-loop": 8, "media-drop": 4}
    manifest = listed(write, sandbox, {fault: tries.get(fault, 2) for fault in faults})

    assert run(manifest).code == 1
    assert states(folder) == dict.fromkeys(faults, "completed")
    for fault in faults:
        assert BROKEN[fault] in error_of(folder, fault)
    assert media(folder) == []

    assert run(manifest).code == 0
    assert states(folder) == dict.fromkeys(faults, "saved")
    assert media(folder) == sorted(f"images/{fault}.png" for fault in faults)
    assert is_whole(folder)
    assert query(folder, "SELECT DISTINCT error FROM requests") == [(None,)]
    assert sandbox.posts == len(faults)


@pytest.mark.parametrize("faults", together(*BROKEN, *NOT_WHOLE))
def test_a_download_that_breaks_once_is_tried_again_by_the_same_run(
    run: Command, folder: Path, sandbox: Control, write: Write, faults: tuple[str, ...]
) -> None:
    tries = {"media-redirect-loop": 4}
    manifest = listed(write, sandbox, {fault: tries.get(fault, 1) for fault in faults})

    assert run(manifest).code == 0
    assert media(folder) == sorted(f"images/{fault}.png" for fault in faults)
    assert is_whole(folder)


NOTES = "SELECT path, note, width, delivered_sha256 FROM outputs"


@pytest.mark.parametrize("fault", NOT_WHOLE)
def test_a_broken_file_that_comes_twice_the_same_is_kept_and_marked(
    run: Command, folder: Path, sandbox: Control, manifest: str, fault: str
) -> None:
    sandbox.fault(fault, times=None)

    outcome = run(manifest)
    assert (outcome.code, states(folder)) == (0, {"heron": "saved"})
    assert sandbox.counts()["media"] == 2
    ((path, note, width, delivered),) = query(folder, NOTES)
    assert note.startswith("kept as it came, twice the same")
    assert NOT_WHOLE[fault] in note
    assert note in outcome.stderr
    assert "1 file came damaged or cut short, twice the same" in outcome.stderr
    assert (path, width, delivered) == (PICTURE, None, None)
    (row,) = csv.DictReader((folder / "results.csv").read_text(encoding="utf-8").splitlines())
    assert row["note"] == note


def test_a_quiet_run_tells_of_a_file_that_is_not_whole_and_of_no_other(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-truncated", times=None)

    assert "twice the same" in run(manifest, "--quiet").stderr
    assert run(manifest, "--quiet").stderr == ""


@pytest.mark.timing(download_tries=3)
def test_a_file_that_is_cut_elsewhere_each_time_is_not_kept(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-truncated")
    sandbox.fault("media-corrupt")

    assert run(manifest).code == 0
    assert sandbox.counts()["media"] == 3
    assert query(folder, "SELECT note FROM outputs") == [(None,)]
    assert is_whole(folder)


def test_a_picture_of_too_many_pixels_is_kept_undecoded(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-huge-pixels")

    assert run(manifest).code == 0
    ((path, note, width, delivered),) = query(folder, NOTES)
    assert (path, note) == (PICTURE, "not decoded: it has 40000 x 40000 pixels")
    assert width == 40_000
    assert delivered is not None
    assert not (folder / "report" / "thumbs").exists()
    assert '"file",40000' in (folder / "report" / "data" / "rows-1.js").read_text(encoding="utf-8")


def test_an_endless_download_is_given_up_and_the_next_run_fetches_the_file_unpaid(
    run: Command, folder: Path, sandbox: Control, address: Address, manifest: str
) -> None:
    run(manifest, "--limit", 0)
    sandbox.fault("media-endless", times=2)

    small = DownloadLimits(max_file_bytes=4 << 20)
    twice = replace(DEFAULT_TIMING, **TWO_TRIES)
    assert resume(folder, address, timing=twice, limits=small).code == 1
    assert states(folder) == {"heron": "completed"}
    assert "larger than" in error_of(folder, "heron")
    assert media(folder) == []

    assert run(manifest).code == 0
    assert media(folder) == [PICTURE]
    assert sandbox.posts == 1


def test_a_host_that_sends_a_byte_per_second_is_given_up(
    run: Command, folder: Path, sandbox: Control, address: Address, manifest: str
) -> None:
    run(manifest, "--limit", 0)
    sandbox.fault("media-slow")

    hurried = replace(DEFAULT_TIMING, download_tries=1, download_grace=0.0)
    assert resume(folder, address, timing=hurried).code == 1
    assert "slower than 1 KiB/s" in error_of(folder, "heron")
    assert media(folder) == []


def test_a_file_of_many_pieces_is_fetched_whole(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.set(picture_bytes=1 << 20)
    assert run(manifest).code == 0
    assert is_whole(folder)
    assert (folder / PICTURE).stat().st_size >= 1 << 20


def test_the_extension_follows_the_bytes_and_not_the_url(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-wrong-type")

    assert run(manifest).code == 0
    assert media(folder) == ["images/heron.jpg"]
    assert is_whole(folder)
    assert query(folder, "SELECT content_type FROM outputs") == [("image/jpeg",)]


# What is gone


def test_a_url_that_no_longer_works_is_asked_for_again(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    assert run(listed(write, sandbox, {"media-404": 1, "media-expired": 1})).code == 0
    assert is_whole(folder)
    assert sandbox.counts()["polls"] == 4


def test_a_file_that_its_host_does_not_know_yet_is_waited_for(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, write: Write
) -> None:
    assert run(listed(write, sandbox, dict.fromkeys(GONE, 6))).code == 0
    assert is_whole(folder)
    assert 1 < clock.ahead < 300


def test_a_file_that_is_not_there_is_asked_for_by_later_runs_until_its_result_expires(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    clock: PretendClock,
    write: Write,
) -> None:
    listed(write, sandbox, dict.fromkeys(GONE))
    manifest = write("list.csv", table({**{id: f"<{id}>" for id in GONE}, "fox": "a fox"}))
    waiting, failed = dict.fromkeys(GONE, "completed"), dict.fromkeys(GONE, "failed")

    outcome = run(manifest)
    assert (outcome.code, states(folder)) == (75, {**waiting, "fox": "saved"})
    # The five minutes of a row may begin when those of another have been jumped over.
    assert 300 <= clock.ahead < len(GONE) * 400
    assert "paid for and not there yet" in outcome.stderr
    checked = batchgen("verify", folder)
    assert checked.code == 69
    for id in GONE:
        assert f"{id}: not fetched yet: the host of the output answered 4" in checked.stdout

    clock.ahead += 3 * DAY_S
    assert run(manifest, "-q").stderr == ""
    assert states(folder) == {**waiting, "fox": "saved"}

    clock.ahead += 4 * DAY_S
    before = clock.ahead
    assert run(manifest).code == 1
    assert clock.ahead - before < 5  # there is nothing left to wait for
    assert states(folder) == {**failed, "fox": "saved"}
    checked = batchgen("verify", folder)
    assert checked.code == 1
    assert "1 whole, 0 restored, 3 lost" in checked.stdout
    for id in GONE:
        assert error_of(folder, id).startswith("paid, but gone: the host")
        assert id in checked.stdout
    assert f"batchgen retry {folder} --id {GONE[0]}" in checked.stdout
    assert run(manifest).code == 1
    assert sandbox.posts == 4


def test_a_file_that_comes_late_is_fetched_by_the_next_run(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-404", times=2)
    assert run(manifest, timing=replace(DEFAULT_TIMING, missing_limit=0.0)).code == 75

    assert run(manifest).code == 0
    assert is_whole(folder)
    assert sandbox.posts == 1


# Where it comes from


def test_a_header_that_is_no_utf8_is_told_and_ends_no_run(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=\xe9\r\n"
            b"Content-Length: 4\r\n\r\nsad\n"
        )

    manifest = write("list.csv", table({"heron": "a heron", "fox": "a fox"}))
    with listening(talk) as port:
        away = f"http://{HOST}:{port}/heron.png"
        sandbox.fault("media-redirect", times=None, match="heron", value=away)
        outcome = run(manifest, "--media-host", f"{HOST}:{port}")

    assert outcome.code == 1, outcome
    assert states(folder) == {"heron": "completed", "fox": "saved"}
    assert "text/html; charset=?" in error_of(folder, "heron")


def test_a_redirect_to_the_same_host_is_followed(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-redirect")

    assert run(manifest).code == 0
    assert is_whole(folder)


ELSEWHERE = (
    "https://evil.example/x.png",
    "//evil.example/x.png",
    "https://evil.example\\.runcomfy.net/x.png",
    "https://runcomfy.net.evil.example/x.png",
    "https://169.254.169.254/latest",
    "https://cdn.runcomfy.net:8443/x.png",
    "http://cdn.runcomfy.net/x.png",
    "http://localhost:{port}/media/x/0.png",
    "http://127.0.0.2:{port}/media/x/0.png",
    "http://[::1]:{port}/media/x/0.png",
    "http://user@127.0.0.1:{port}/media/x/0.png",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x.png",
)


@pytest.mark.parametrize("given_by", ["media-redirect", "media-other-host"])
def test_a_url_that_leads_elsewhere_is_not_fetched(
    run: Command,
    folder: Path,
    sandbox: Control,
    address: Address,
    write: Write,
    given_by: str,
) -> None:
    port = address.media_host.rpartition(":")[2]
    rows = {f"row-{n}": target for n, target in enumerate(ELSEWHERE)}
    for id, target in rows.items():
        sandbox.fault(given_by, times=None, value=target.format(port=port), match=f"<{id}>")
    manifest = write("list.csv", table({id: f"a heron <{id}>" for id in rows}))

    assert run(manifest).code == 1
    assert media(folder) == []
    found = states(folder)
    for id, target in rows.items():
        # What a redirect, or a person by --media-host, may cure stays open.
        if given_by == "media-redirect" or target in ALLOWABLE:
            assert found[id] == "completed", target
        else:
            assert found[id] == "failed", target
            assert "paid" in error_of(folder, id) or "you pay again" in error_of(folder, id)
        if given_by == "media-other-host" and target in ALLOWABLE:
            host = target.format(port=port).split("/")[2]
            assert f"add --media-host {host}" in error_of(folder, id)
    redirects = 2 * len(rows) if given_by == "media-redirect" else 0
    assert sandbox.counts()["media"] == redirects
    assert run(manifest).code == 1
    assert sandbox.posts == len(rows)


# Several files of one row


def test_what_one_missing_file_of_a_row_leaves_is_fetched_all_the_same(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", f"id,model,prompt,num_images\nheron,{SERIES},a heron,3\n")
    sandbox.fault("media-html", times=2)

    assert run(manifest).code == 1
    assert states(folder) == {"heron": "completed"}
    assert media(folder) == ["images/heron-2.png", "images/heron-3.png"]
    fetched = sandbox.counts()["media"]

    assert run(manifest).code == 0
    assert len(media(folder)) == 3
    assert sandbox.counts()["media"] == fetched + 1
    assert sandbox.posts == 1


def test_a_row_of_which_one_file_is_gone_keeps_the_others(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, write: Write
) -> None:
    sandbox.fault("media-404", times=2)
    manifest = write("list.csv", f"id,model,prompt,num_images\nheron,{SERIES},a heron,3\n")

    assert run(manifest, timing=replace(DEFAULT_TIMING, missing_limit=0.0)).code == 75
    assert states(folder) == {"heron": "completed"}
    assert media(folder) == ["images/heron-2.png", "images/heron-3.png"]

    sandbox.fault("media-404", times=2)
    clock.ahead += 7 * DAY_S
    assert run(manifest).code == 1
    assert states(folder) == {"heron": "failed"}
    assert media(folder) == ["images/heron-2.png", "images/heron-3.png"]


def test_a_row_with_a_file_that_is_gone_and_one_that_is_late_stays_open(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("media-404", times=2)
    sandbox.fault("media-500", times=2)
    manifest = write("list.csv", f"id,model,prompt,num_images\nheron,{SERIES},a heron,3\n")

    no_wait = replace(DEFAULT_TIMING, download_tries=2, missing_limit=0.0)
    assert run(manifest, timing=no_wait).code == 1
    assert states(folder) == {"heron": "completed"}
    assert media(folder) == ["images/heron-3.png"]


# What is in the folder already


def test_a_foreign_file_with_our_name_is_kept_and_ours_gets_another(
    run: Command, folder: Path, manifest: str
) -> None:
    run(manifest, "--limit", 0)
    (folder / "images").mkdir()
    (folder / PICTURE).write_bytes(b"somebody else's")

    assert run(manifest).code == 0
    assert (folder / PICTURE).read_bytes() == b"somebody else's"
    ((ours, sha256),) = query(folder, "SELECT path, sha256 FROM outputs")
    assert media(folder) == sorted([PICTURE, ours])
    assert ours == f"images/heron.{sha256[:8]}.png"
    assert is_whole(folder)


def test_a_file_that_got_its_name_before_the_journal_heard_of_it_is_adopted(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    run(manifest)
    change(folder, "UPDATE outputs SET path = NULL, bytes = NULL, sha256 = NULL")
    change(folder, "UPDATE requests SET state = 'completed', saved_at = NULL")

    assert run(manifest).code == 0
    assert (states(folder), media(folder)) == ({"heron": "saved"}, [PICTURE])
    assert is_whole(folder)
    assert sandbox.posts == 1


def test_what_a_killed_run_left_half_done_is_cleared_away(
    run: Command, folder: Path, manifest: str
) -> None:
    run(manifest)
    (folder / "images" / ".0123-1.part").write_bytes(b"half")

    assert run(manifest).code == 0
    assert media(folder) == [PICTURE]


def test_pictures_without_a_journal_are_never_taken_for_a_fresh_start(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    run(manifest)
    for name in ("batch.db", "receipts.log"):
        (folder / name).unlink()

    outcome = run(manifest)
    assert outcome.code == 74
    assert "nobody can tell what was paid for" in outcome.stderr
    assert sandbox.posts == 1
    assert media(folder) == [PICTURE]


def test_a_journal_that_is_gone_is_rebuilt_from_the_receipts(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    run(manifest)
    (folder / "batch.db").unlink()

    assert run(manifest).code == 0
    assert (states(folder), media(folder)) == ({"heron": "saved"}, [PICTURE])
    assert sandbox.posts == 1


@pytest.mark.parametrize("id", ["../heron", "/heron", "con", "-rf", ".hidden", "a/b\\c", "heron."])
def test_no_id_leads_a_file_out_of_its_folder(
    run: Command, folder: Path, here: Path, write: Write, id: str
) -> None:
    before = {path.name for path in here.iterdir()}
    assert run(write("list.csv", table({id: "a heron"}))).code == 0

    (file,) = media(folder)
    assert Path(file).parent == Path("images")
    assert is_whole(folder)
    assert {path.name for path in here.iterdir()} == before | {"list.csv", "out"}


def test_ids_that_a_file_system_may_take_for_one_get_files_of_their_own(
    run: Command, folder: Path, write: Write
) -> None:
    ids = ("Heron", "heron", "caf\u00e9", "cafe\u0301", "a/b", "a-b")
    assert run(write("list.csv", table({id: f"the one called {id}" for id in ids}))).code == 0

    assert len({path.lower() for path in media(folder)}) == len(ids)
