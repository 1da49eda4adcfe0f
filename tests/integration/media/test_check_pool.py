"""Downloads are checked by a process; where there is none, by a thread that finds the same."""

import asyncio
import hashlib
import io
import os
import platform
import resource
import select
import signal
import struct
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, TypeVar

import pytest
from conftest import Command, Write
from crash import Batch, check_the_books, fault
from helpers import many, media, provenance_of, query, states, table
from PIL import Image, ImageChops, ImageStat
from sandbox_client import Control

from batchgen import event_loop
from batchgen.config import TOKEN_VARIABLES
from batchgen.media import provenance
from batchgen.media.check import CheckedFile, MediaBroken, check_file
from batchgen.media.check_pool import CheckPool
from batchgen.media.check_worker import MAX_MEMORY_BYTES
from batchgen.media.formats import GIF, JPEG, MAX_PIXELS, MP4, PNG, UNKNOWN, WEBM, WEBP, Format
from batchgen.media.thumbnails import make_thumbnail
from batchgen.sandbox import media as sandbox_media

Result = TypeVar("Result")
FACTS = provenance.make_provenance(
    id="heron",
    model="ideogram/ideogram-v2/generate",
    input={"prompt": "A heron, “at dusk” 🦢\n"},
    request_id="r-1",
    submitted_at="2026-11-22T23:00:00.000Z",
)


def picture(kind: str = "PNG") -> bytes:
    into = io.BytesIO()
    Image.effect_noise((37, 23), 80).save(into, kind)
    return into.getvalue()


WHOLE = picture()
ZIP = Format("file", "zip", "application/zip")


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system has no room for another process."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))


@pytest.fixture(scope="module")
def shared() -> Iterator[Callable[[Callable[[CheckPool], Coroutine[Any, Any, Result]]], Result]]:
    """Ask a pool whose process checks the files of many tests, as it does those of a run."""
    with event_loop.started() as runner:
        pool = CheckPool()
        yield lambda ask: runner.run(ask(pool))
        pool.close()


@pytest.fixture(params=["by a thread", "by a process"])
def checked(
    request: pytest.FixtureRequest, shared: Callable[..., CheckedFile], tmp_path: Path
) -> Callable[..., CheckedFile]:
    """Check a download, which is in memory, or in its file already; return what is found."""
    in_one = shared
    if request.param == "by a thread":
        request.getfixturevalue("no_process")
        in_one = in_pool

    def check(
        content: bytes,
        format: Format = PNG,
        *,
        on_disk: bool = False,
        facts: Any = FACTS,
        sent_before: Collection[str] = (),
    ) -> CheckedFile:
        part = tmp_path / ".heron-1.part"
        if on_disk:
            part.write_bytes(content)
        held = None if on_disk else content
        return in_one(lambda pool: pool.check(part, format, held, facts, sent_before))

    return check


def in_pool(ask: Callable[[CheckPool], Awaitable[Result]], **options: Any) -> Result:
    async def go() -> Result:
        pool = CheckPool(**options)
        try:
            return await ask(pool)
        finally:
            pool.close()

    return event_loop.run(go())


def test_processes_end_by_themselves_when_the_pool_is_closed(tmp_path: Path) -> None:
    async def check_one(pool: CheckPool) -> list[Popen[bytes]]:
        await pool.check(tmp_path / ".heron-1.part", PNG, WHOLE, None)
        return pool.processes

    # Killed ones would have -9, after a wait.
    assert [process.returncode for process in in_pool(check_one)] == [0]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Its thumbnail, from the same decoding


def noise(kind: str) -> bytes:
    into = io.BytesIO()
    Image.effect_noise((1000, 700), 80).save(into, kind)
    return into.getvalue()


@pytest.mark.parametrize("format", [PNG, JPEG, WEBP, GIF], ids=str)
def test_the_process_that_decodes_a_picture_makes_its_thumbnail(
    tmp_path: Path, format: Format
) -> None:
    report = tmp_path / "report"
    parts = [tmp_path / "images" / f".heron-{n}.part" for n in (1, 2)]
    parts[0].parent.mkdir()
    parts[1].write_bytes(noise(format.pillow))

    async def check_both(pool: CheckPool) -> list[CheckedFile]:
        held = (noise(format.pillow), None)  # the second is on disk
        return [
            await pool.check(part, format, content, FACTS)
            for part, content in zip(parts, held, strict=True)
        ]

    found = in_pool(check_both, report=report)

    made = [report / "thumbs" / f"{one.sha256[:16]}.webp" for one in found]
    assert sorted((report / "thumbs").iterdir()) == sorted(made)
    for part, thumbnail in zip(parts, made, strict=True):
        make_thumbnail(MAX_PIXELS, part, tmp_path / "alone.webp")
        with Image.open(thumbnail) as image, Image.open(tmp_path / "alone.webp") as alone:
            assert image.size == alone.size == (768, 538)
            (difference,) = ImageStat.Stat(ImageChops.difference(image, alone).convert("L")).mean
        assert difference < 8  # a JPEG is decoded at a fraction of its size where that suffices


@pytest.mark.parametrize(
    "content",
    [WHOLE, noise("PNG")[:-9], b"no picture"],
    ids=["small", "cut short", "no picture"],
)
def test_what_gets_no_thumbnail_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with suppress(MediaBroken):
        in_pool(
            lambda pool: pool.check(tmp_path / ".heron-1.part", PNG, content, None),
            report=tmp_path / "report",
        )

    assert not (tmp_path / "report").exists()


def test_where_a_thumbnail_cannot_be_written_the_picture_is_saved(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "report").symlink_to(elsewhere)

    async def check_two(pool: CheckPool) -> list[CheckedFile]:
        names = (tmp_path / f".heron-{n}.part" for n in (1, 2))
        return [await pool.check(part, PNG, noise("PNG"), None) for part in names]

    assert len(in_pool(check_two, report=tmp_path / "report")) == 2
    assert [*elsewhere.iterdir()] == []


# What is checked


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_a_picture_is_on_disk_with_its_facts_and_both_hashes(
    checked: Callable[..., CheckedFile], on_disk: bool
) -> None:
    found = checked(WHOLE, on_disk=on_disk)

    content = found.part.read_bytes()
    assert content == provenance.embed(WHOLE, PNG, FACTS)
    assert (found.format, found.width, found.height) == (PNG, 37, 23)
    assert (found.bytes, found.sha256) == (len(content), sha256(content))
    assert found.delivered_sha256 == sha256(WHOLE)


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_longer_facts_of_before_leave_nothing_behind(
    checked: Callable[..., CheckedFile], on_disk: bool
) -> None:
    longer = provenance.embed(WHOLE, PNG, {**FACTS, "input": {"prompt": "a" * 9000}})
    assert longer is not None

    found = checked(longer, on_disk=on_disk)

    content = found.part.read_bytes()
    assert content == provenance.embed(WHOLE, PNG, FACTS)
    assert found.bytes == len(content) < len(longer)
    assert found.delivered_sha256 == sha256(longer)


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize(
    ("content", "format", "facts", "size"),
    [
        (WHOLE, PNG, None, (37, 23)),
        (picture("GIF"), GIF, FACTS, (37, 23)),
        (sandbox_media.mp4(1), MP4, FACTS, (64, 64)),
        (sandbox_media.make_file(sandbox_media.WEBM, "{}", 1, 64), WEBM, FACTS, (64, 64)),
        (b"PK\3\4" + bytes(100), ZIP, FACTS, (None, None)),
    ],
    ids=["no facts", "no room for facts", "a film", "a film in WebM", "not known"],
)  # fmt: skip
def test_other_files_are_what_was_delivered(
    checked: Callable[..., CheckedFile],
    content: bytes,
    format: Format,
    facts: Any,
    size: tuple[int | None, int | None],
    on_disk: bool,
) -> None:
    found = checked(content, format, on_disk=on_disk, facts=facts)

    assert found.part.read_bytes() == content
    assert (found.bytes, found.sha256) == (len(content), sha256(content))
    assert (found.width, found.height, found.delivered_sha256) == (*size, None)


def test_a_picture_too_large_for_the_memory_is_decoded_and_told_nothing(tmp_path: Path) -> None:
    part = tmp_path / ".heron-1.part"
    part.write_bytes(WHOLE)
    found = check_file(part, PNG, None, FACTS, max_picture_bytes=len(WHOLE) - 1)

    assert (found.width, found.height) == (37, 23)
    assert found.part.read_bytes() == WHOLE
    assert (found.sha256, found.delivered_sha256) == (sha256(WHOLE), None)


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_a_damaged_picture_is_refused(checked: Callable[..., CheckedFile], on_disk: bool) -> None:
    with pytest.raises(MediaBroken, match="the picture is damaged"):
        checked(WHOLE[:300] + bytes(50) + WHOLE[350:], on_disk=on_disk)


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize(
    ("content", "format"),
    [(WHOLE[:300] + bytes(50) + WHOLE[350:], PNG), (WHOLE[:-1], PNG), (b"\0\1\2" * 9, UNKNOWN)],
    ids=["damaged", "cut short", "unknown"],
)
def test_what_is_broken_and_came_before_is_kept_as_it_is(
    checked: Callable[..., CheckedFile], content: bytes, format: Format, on_disk: bool
) -> None:
    with pytest.raises(MediaBroken) as refused:
        checked(content, format, on_disk=on_disk)
    assert refused.value.sha256 == sha256(content)

    found = checked(content, format, on_disk=on_disk, sent_before={"other", sha256(content)})
    assert found.part.read_bytes() == content
    assert (found.sha256, found.delivered_sha256) == (sha256(content), None)
    assert found.note == f"kept as it came, twice the same: {refused.value}"


def test_a_disk_that_fails_is_told_as_that(
    checked: Callable[..., CheckedFile], tmp_path: Path
) -> None:
    (tmp_path / ".heron-1.part").mkdir()
    with pytest.raises(FileExistsError):
        checked(WHOLE)


# The processes


def test_a_process_that_dies_of_a_picture_takes_only_that_along(tmp_path: Path) -> None:
    async def ask(pool: CheckPool) -> CheckedFile:
        await pool.check(tmp_path / "1.part", PNG, WHOLE, None)
        (process,) = pool.processes
        process.kill()
        with pytest.raises(MediaBroken, match="died") as refused:
            await pool.check(tmp_path / "2.part", PNG, WHOLE, None)
        assert refused.value.sha256 == sha256(WHOLE)
        return await pool.check(tmp_path / "3.part", PNG, WHOLE, None)

    assert in_pool(ask).width == 37


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_a_process_that_hangs_is_killed_and_its_file_kept_when_it_came_before(
    tmp_path: Path, on_disk: bool
) -> None:
    part = tmp_path / "2.part"

    async def ask(pool: CheckPool) -> tuple[CheckedFile, int]:
        await pool.check(tmp_path / "1.part", PNG, WHOLE, None)
        (process,) = pool.processes
        process.send_signal(signal.SIGSTOP)
        if on_disk:
            part.write_bytes(WHOLE)
        held, sent_before = None if on_disk else WHOLE, [sha256(WHOLE)]
        return await pool.check(part, PNG, held, FACTS, sent_before), process.wait()

    # As long as the process may take to start on a busy machine.
    found, ended = in_pool(ask, timeout_s=8.0)
    assert part.read_bytes() == WHOLE
    assert found.note == "kept as it came, twice the same: to check it took longer than 8 s"
    assert ended == -signal.SIGKILL


def test_a_calm_run_has_one_process_from_the_first_file_on(tmp_path: Path) -> None:
    async def ask(pool: CheckPool) -> tuple[int, int]:
        before = len(pool.processes)
        for n in range(3):
            await asyncio.gather(
                *(pool.check(tmp_path / f"{n}-{m}.part", PNG, WHOLE, None) for m in range(4))
            )
        return before, len(pool.processes)

    assert in_pool(ask) == (0, 1)


def test_a_rush_gets_more_processes_and_no_more_than_there_may_be(tmp_path: Path) -> None:
    async def ask(pool: CheckPool) -> int:
        await asyncio.gather(
            *(pool.check(tmp_path / f"{n}.part", PNG, WHOLE, None) for n in range(30))
        )
        return len(pool.processes)

    assert in_pool(ask, rush_s=0.0, processes=2) == 2


def test_a_file_that_takes_long_holds_others_up_for_no_longer_than_a_rush_begins(
    tmp_path: Path,
) -> None:
    async def ask(pool: CheckPool) -> int:
        await pool.check(tmp_path / "1.part", PNG, WHOLE, None)
        pool.processes[0].send_signal(signal.SIGSTOP)
        stuck = asyncio.create_task(pool.check(tmp_path / "2.part", PNG, WHOLE, None))
        await asyncio.sleep(0)
        await pool.check(tmp_path / "3.part", PNG, WHOLE, None)
        assert not stuck.done()
        pool.processes[0].send_signal(signal.SIGCONT)
        await stuck
        return len(pool.processes)

    assert in_pool(ask, rush_s=0.05) == 2


def test_large_pictures_are_decoded_one_at_a_time_and_hold_up_no_small_one(tmp_path: Path) -> None:
    into = io.BytesIO()
    Image.new("1", (6000, 5000)).save(into, "PNG")

    async def ask(pool: CheckPool) -> list[CheckedFile]:
        large = [pool.check(tmp_path / f"{n}.part", PNG, into.getvalue(), None) for n in range(3)]
        small = pool.check(tmp_path / "small.part", PNG, WHOLE, None)
        return await asyncio.gather(*large, small)

    found = in_pool(ask, rush_s=0.0)
    assert [one.width for one in found] == [6000, 6000, 6000, 37]
    assert {one.note for one in found} == {None}


def test_a_webp_of_a_few_bytes_takes_no_gigabytes(tmp_path: Path) -> None:
    """34 bytes that claim 16383 x 16383 pixels: Pillow made room for them when it opened it."""
    bits = 16382 | 16382 << 14
    chunk = b"VP8L" + struct.pack("<IBI", 14, 0x2F, bits) + bytes(9)
    content = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk

    found = in_pool(lambda pool: pool.check(tmp_path / "1.part", WEBP, content, None))
    assert found.note == "not decoded: it has 16383 x 16383 pixels"


def test_a_process_that_dies_takes_no_other_check_along(tmp_path: Path) -> None:
    async def ask(pool: CheckPool) -> list[CheckedFile | BaseException]:
        await pool.check(tmp_path / "1.part", PNG, WHOLE, None)
        pool.processes[0].send_signal(signal.SIGSTOP)
        checks = [
            asyncio.create_task(pool.check(tmp_path / f"{n}.part", PNG, WHOLE, None))
            for n in range(2, 4)
        ]
        await asyncio.sleep(0)
        pool.processes[0].kill()
        return await asyncio.gather(*checks, return_exceptions=True)

    died, whole = in_pool(ask)
    assert isinstance(died, MediaBroken)
    assert isinstance(whole, CheckedFile)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit of the address space")
def test_its_memory_has_a_limit(tmp_path: Path) -> None:
    async def ask(pool: CheckPool) -> tuple[int, int]:
        await pool.check(tmp_path / "1.part", PNG, WHOLE, None)
        return resource.prlimit(pool.processes[0].pid, resource.RLIMIT_AS)

    assert in_pool(ask) == (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/stat").exists(),
    reason="only glibc can be told so, and only Linux tells of it",
)
def test_memory_of_one_file_is_used_for_the_next(tmp_path: Path) -> None:
    image = Image.frombytes("L", (2000, 1000), os.urandom(2_000_000))
    into = io.BytesIO()
    image.save(into, "PNG")
    part, files = tmp_path / ".heron-1.part", 4

    async def check_some(pool: CheckPool) -> int:
        seen = []
        for _ in range(1 + files):
            part.write_bytes(into.getvalue())
            await pool.check(part, PNG, None, FACTS)
            (process,) = pool.processes
            stat = Path(f"/proc/{process.pid}/stat").read_text()
            seen.append(int(stat.rpartition(")")[2].split()[7]))  # pages that it was given
        return seen[-1] - seen[0]

    # Of 2 MB each, of which there are some five copies, and two million pixels.
    assert in_pool(check_some, rush_s=60.0) < 500 * files


def test_one_whose_picture_nobody_waits_for_any_more_is_ended(tmp_path: Path) -> None:
    async def ask(pool: CheckPool) -> int | None:
        check = asyncio.create_task(pool.check(tmp_path / "1.part", PNG, WHOLE, None))
        while not pool.processes:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await check
        (process,) = pool.processes
        return process.wait()

    assert in_pool(ask) == -signal.SIGKILL


@pytest.mark.parametrize("program", ["no-python", "/bin/false"], ids=["none", "dies at its start"])
def test_where_no_process_can_be_had_a_thread_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / program))

    async def ask(pool: CheckPool) -> list[CheckedFile]:
        checks = (pool.check(tmp_path / f"{n}.part", PNG, WHOLE, None) for n in range(3))
        return await asyncio.gather(*checks)

    assert [one.width for one in in_pool(ask)] == [37, 37, 37]


def test_they_have_no_token_and_ignore_what_is_meant_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TOKEN_VARIABLES:
        monkeypatch.setenv(name, "a-token")

    async def ask(pool: CheckPool) -> tuple[bytes, CheckedFile]:
        await pool.check(tmp_path / "1.part", PNG, WHOLE, None)
        (process,) = pool.processes
        pid = process.pid
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        environment = Path(f"/proc/{pid}/environ")
        found = environment.read_bytes() if environment.exists() else b""
        return found, await pool.check(tmp_path / "2.part", PNG, WHOLE, None)

    environment, found = in_pool(ask)
    assert b"a-token" not in environment
    assert found.width == 37


ABANDONED = """
import signal, sys
from pathlib import Path
from batchgen import event_loop
from batchgen.media.check_pool import CheckPool
from batchgen.media.formats import PNG

async def check():
    pool = CheckPool()
    await pool.check(Path(sys.argv[1]), PNG, sys.stdin.buffer.read(), None)
    print(pool.processes[0].pid, flush=True)
    signal.pause()

event_loop.run(check())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pidfd_open is Linux's")
def test_a_process_ends_when_the_run_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ABANDONED, str(tmp_path / "1.part")]
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdin.write(WHOLE)
        run.stdin.close()
        process = os.pidfd_open(int(run.stdout.readline()))
        run.kill()
    try:
        assert select.select([process], [], [], 10.0)[0] == [process]
    finally:
        os.close(process)


# In a run


def test_a_run_in_which_no_process_can_be_had_leaves_the_same(
    run: Command, folder: Path, write: Write, no_process: None
) -> None:
    assert run(write("list.csv", table(many(8)))).code == 0

    assert set(states(folder).values()) == {"saved"}
    assert len(media(folder)) == 8
    for path, found in query(folder, "SELECT path, sha256 FROM outputs"):
        assert sha256((folder / path).read_bytes()) == found
        assert (provenance_of(folder / path) or {})["id"] == Path(path).stem


# Files are checked when a service has nothing more to do with them, so that models will do.
def test_a_run_killed_while_processes_check_goes_on(
    here: Path, reach: list[str], sandbox: Control
) -> None:
    kit = Batch(here / "batch", reach, sandbox, 30)
    for n in (30, 60, 120, 240):
        kit.run(fault("checked_by_processes"), fault("kill_at", n=n, note=str(here / "note")))
    kit.finish(fault("checked_by_processes"))
    check_the_books(kit)
