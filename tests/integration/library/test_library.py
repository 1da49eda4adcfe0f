"""batchgen as a library: what a call returns and raises, how it is ended, what it leaves alone."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Command, Write
from helpers import many, states, table, tally
from sandbox_client import Control
from servers import HOST, Talk, listening

import batchgen
import batchgen as library
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.errors import (
    Interrupted,
    ManifestInvalid,
    ServiceUnreachable,
    StoppedEarly,
    StorageDamaged,
    TokenRefused,
    UsageError,
)
from batchgen.library.frontend import Frontend
from batchgen.sandbox import Address

Options = dict[str, Any]
IMPATIENT = Frontend(timing=replace(DEFAULT_TIMING, drain=0.2))
with_processes = pytest.mark.with_processes


@pytest.fixture
def options(
    request: pytest.FixtureRequest,
    folder: Path,
    address: Address,
    sandbox: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> Options:
    """The keywords that lead a run to the sandbox. Files are checked as by the fixture `run`."""
    if request.node.get_closest_marker("with_processes") is None:
        monkeypatch.setattr(sys, "executable", "/no/python")
    return {
        "out": folder,
        "rate": "1000/s",
        "base_url": address.base_url,
        "media_hosts": [address.media_host],
    }


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


def wait_for(it_is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not it_is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


async def becomes(it_is_so: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_for, it_is_so)


# -- what it returns -------------------------------------------------------------------------------


@with_processes
def test_a_list_is_validated_planned_run_and_read(manifest: str, options: Options) -> None:
    checked = batchgen.validate(manifest)
    seen: list[str] = []
    planned = batchgen.plan(manifest, on_row=lambda row: seen.append(row.what), **options)
    result = batchgen.run(manifest, expect_plan=planned.digest, **options)
    rows = [*result.batch.rows()]

    assert (checked.rows, checked.warnings) == (3, ())
    assert (planned.sends, round(planned.cost, 2), seen) == (3, 0.09, ["new"] * 3)
    assert (result.code, result.complete, result.reason) == (0, True, "Every row is saved.")
    assert [(row["id"], row["state"]) for row in rows] == [(id, "saved") for id in many(3)]
    assert all(
        (result.batch.folder / file["path"]).is_file() for r in rows for file in r["outputs"]
    )
    assert batchgen.plan(manifest, **options).sends == 0


def test_the_rows_and_numbers_are_those_of_the_reports(
    manifest: str, options: Options, batchgen: Command
) -> None:
    batch = library.run(manifest, **options).batch
    row = next(batch.rows())
    lines = (batch.folder / "results.jsonl").read_text(encoding="utf-8").splitlines()

    assert row.keys() == library.BatchRow.__annotations__.keys()
    assert row["outputs"][0].keys() == library.BatchFile.__annotations__.keys()
    assert [*batch.rows()] == [json.loads(line) for line in lines]
    assert batch.status() == json.loads(batchgen("status", batch.folder, "--json").stdout)
    assert library.open_batch(manifest).folder.resolve() == batch.folder
    assert [*batch.rows("failed")] == []
    with pytest.raises(UsageError, match="There is no batch in nowhere"):
        library.open_batch("nowhere")


def test_a_run_that_came_to_its_end_returns_whatever_became_of_its_rows(
    write: Write, options: Options
) -> None:
    rows = {"heron": "a heron", "fox": "a fox [[failed:no luck]]"}
    result = batchgen.run(write("list.csv", table(rows)), **options)

    assert (result.code, result.complete) == (1, False)
    assert [row["id"] for row in result.batch.rows("failed")] == ["fox"]


def test_the_command_goes_on_where_a_call_stopped(
    manifest: str, options: Options, run: Command, sandbox: Control
) -> None:
    with pytest.raises(StoppedEarly):
        batchgen.run(manifest, limit=1, **options)

    assert run(manifest).code == 0
    assert sandbox.accepted == 3


# -- what it raises --------------------------------------------------------------------------------


def test_an_invalid_list_is_raised_with_its_problems(write: Write, options: Options) -> None:
    bad = write("list.csv", "id,prompt,seed\nfox,a fox,12a\nowl,an owl,13b\n")

    for call in (batchgen.validate, batchgen.plan, batchgen.run):
        with pytest.raises(ManifestInvalid) as raised:
            call(bad, **options)  # type: ignore[operator]
        assert [(p.row, p.field, p.place.line) for p in raised.value.problems] == [
            ("fox", "seed", 2),
            ("owl", "seed", 3),
        ]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("401", TokenRefused), ("balance", StoppedEarly), ("403", ServiceUnreachable)],
)
def test_a_run_that_stopped_early_is_an_error_with_the_commands_code(
    manifest: str, options: Options, sandbox: Control, fault: str, kind: type[Exception]
) -> None:
    sandbox.fault(fault, times=None)
    with pytest.raises(kind) as raised:
        batchgen.run(manifest, **options)
    told = batchgen.run(manifest, check=False, **options)

    assert type(raised.value) is kind
    assert told.code == raised.value.exit_code  # type: ignore[attr-defined]


def test_a_service_out_of_reach_is_an_error(manifest: str, options: Options) -> None:
    with pytest.raises(ServiceUnreachable):
        batchgen.run(manifest, **options | {"base_url": "http://127.0.0.1:9/v1", "max_cost": 1})


def test_what_the_call_for_a_row_raises_comes_out_as_it_is(manifest: str, options: Options) -> None:
    def write_down(row: batchgen.PlannedRow) -> None:
        raise PermissionError("mine")

    with pytest.raises(PermissionError, match="mine"):
        batchgen.plan(manifest, on_row=write_down, **options)


def test_an_error_of_the_disk_is_one_of_ours(
    manifest: str, options: Options, here: Path, sandbox: Control
) -> None:
    with pytest.raises(StorageDamaged) as raised:
        batchgen.run(manifest, **options | {"log_file": here})

    assert raised.value.what == f"{here}: Is a directory."
    assert isinstance(raised.value.__cause__, OSError)
    assert sandbox.posts == 0


def test_a_wrong_keyword_makes_no_folder(manifest: str, options: Options, folder: Path) -> None:
    with pytest.raises(TypeError, match="Did you mean 'max_cost'"):
        batchgen.run(manifest, max_cots=1, **options)
    with pytest.raises(UsageError, match="max_cost: 'nan' is not an amount"):
        batchgen.run(manifest, max_cost=float("nan"), **options)

    assert not folder.exists()


# -- what it tells ---------------------------------------------------------------------------------


def test_progress_is_told_at_the_beginning_and_the_end(manifest: str, options: Options) -> None:
    told: list[batchgen.Progress] = []
    batchgen.run(manifest, on_progress=told.append, **options)

    assert [(p.counts["saved"], p.rows, p.last) for p in (told[0], told[-1])] == [
        (0, 3, False),
        (3, 3, True),
    ]
    assert told[-1].committed_usd == pytest.approx(0.09)


@pytest.mark.parametrize("awaited", [False, True])
def test_what_the_progress_call_raises_ends_the_run_and_is_raised(
    manifest: str, options: Options, folder: Path, *, awaited: bool
) -> None:
    def give_up(progress: batchgen.Progress) -> None:
        raise ZeroDivisionError("mine")

    def call() -> Any:
        if awaited:
            return asyncio.run(batchgen.run_async(manifest, on_progress=give_up, **options))
        return batchgen.run(manifest, on_progress=give_up, **options)

    with pytest.raises(ZeroDivisionError, match="mine"):
        call()

    batchgen.run(manifest, **options)
    assert tally(folder) == {"saved": 3}


LOGGING = """
import json, logging, sys
import batchgen

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s")
log = logging.getLogger("batchgen")
before = log.level, log.propagate, [*log.handlers]
batchgen.run(sys.argv[1], **json.loads(sys.argv[2]))
print((log.level, log.propagate, [*log.handlers]) == before)
"""


@with_processes
def test_nothing_is_printed_and_the_programs_logging_is_told_and_left_as_it_was(
    manifest: str, options: Options, folder: Path
) -> None:
    words = json.dumps(options | {"out": str(folder)})
    command = [sys.executable, "-c", LOGGING, manifest, words]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("INFO batchgen.operations.run\nTrue\n", "")
    assert "3 requests" in (folder / "batchgen.log").read_text(encoding="utf-8")


def test_importing_the_package_loads_nothing_else_of_it() -> None:
    code = (
        "import sys, batchgen; first = sorted(n for n in sys.modules if n.startswith('batchgen'));"
        " print(first, 'run' in dir(batchgen), callable(batchgen.run))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "['batchgen'] True True\n"
    assert all(hasattr(batchgen, name) for name in batchgen.__all__)
    with pytest.raises(AttributeError):
        _ = batchgen.runs  # type: ignore[attr-defined]


# -- threads, loops and signals --------------------------------------------------------------------


@with_processes
def test_a_call_from_another_thread_touches_no_signal(manifest: str, options: Options) -> None:
    found: list[Any] = []

    def in_thread() -> None:
        found.append(batchgen.run(manifest, on_progress=look, **options).code)

    def look(progress: batchgen.Progress) -> None:
        found.append([signal.getsignal(number) for number in numbers] == before)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()

    assert found[-1] == 0
    assert all(found[:-1])


@with_processes
def test_an_awaited_run_leaves_the_loop_free_and_tells_it_of_progress(
    manifest: str, options: Options
) -> None:
    threads: set[threading.Thread] = set()

    async def go() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        result = await batchgen.run_async(
            manifest, on_progress=lambda _: threads.add(threading.current_thread()), **options
        )
        ticking.cancel()
        return result.code, ticks

    code, ticks = asyncio.run(go())

    assert code == 0
    assert ticks > 100
    assert threads == {threading.main_thread()}


def test_a_running_loop_is_not_held_up(manifest: str, options: Options, folder: Path) -> None:
    async def go() -> None:
        batchgen.run(manifest, **options)

    with pytest.raises(UsageError) as raised:
        asyncio.run(go())
    assert "await batchgen.run_async" in raised.value.remedy
    assert not folder.exists()


def test_a_process_runs_one_batch_at_a_time(
    manifest: str, options: Options, sandbox: Control, write: Write, here: Path
) -> None:
    sandbox.fault("silent")
    other = write("other.csv", table({"owl": "an owl"}))

    async def go() -> None:
        first = asyncio.create_task(batchgen.run_async(manifest, frontend=IMPATIENT, **options))
        await becomes(lambda: sandbox.posts > 0)
        with pytest.raises(StoppedEarly, match="This process runs another batch"):
            await batchgen.run_async(other, **options | {"out": here / "other"})
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(go())
    assert not (here / "other").exists()
    assert batchgen.run(other, **options | {"out": here / "other"}).complete


def test_a_check_beside_a_run_leaves_the_log_of_the_run(
    manifest: str, options: Options, folder: Path, write: Write, sandbox: Control
) -> None:
    other, log = write("other.csv", table({"owl": "an owl"})), logging.getLogger("batchgen")
    before = (log.propagate, [*log.handlers])

    async def go() -> None:
        going_on = asyncio.create_task(batchgen.run_async(manifest, **options | {"rate": "2/s"}))
        await becomes(lambda: sandbox.posts > 0)
        await asyncio.to_thread(batchgen.validate, other)
        await going_on

    asyncio.run(go())
    assert (folder / "batchgen.log").read_text(encoding="utf-8").count("': saved") == 3
    assert (log.propagate, [*log.handlers]) == before


def holding_back(there: str, release: threading.Event) -> Talk:
    """The API at the URL `there`, whose answers to a POST come after `release`."""
    url = urlsplit(there)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(url.hostname, url.port)
        paid = False

        async def ask() -> None:
            nonlocal paid
            while piece := await reader.read(65536):
                paid = paid or piece.startswith(b"POST")
                far_writer.write(piece)
            far_writer.close()

        async def answer() -> None:
            while piece := await far_reader.read(65536):
                while paid and not release.is_set():
                    await asyncio.sleep(0.01)
                writer.write(piece)

        await asyncio.gather(ask(), answer())

    return talk


def test_a_cancelled_run_waits_for_the_answer_of_an_open_submission(
    write: Write, options: Options, folder: Path, address: Address, sandbox: Control
) -> None:
    manifest, release = write("list.csv", table({"heron": "a heron"})), threading.Event()

    async def go(**through: Any) -> None:
        task = asyncio.create_task(batchgen.run_async(manifest, **options | through))
        await becomes(lambda: sandbox.accepted == 1)
        task.cancel()
        release.set()
        await task

    with (
        listening(holding_back(address.base_url, release)) as port,
        pytest.raises(asyncio.CancelledError),
    ):
        asyncio.run(go(base_url=f"http://{HOST}:{port}/v1"))

    assert states(folder) == {"heron": "submitted"}
    assert batchgen.run(manifest, **options).complete
    assert sandbox.posts == 1


@pytest.mark.parametrize("how", ["by its grace", "by a second cancellation"])
def test_a_submission_that_nobody_answered_is_unknown_when_a_cancelled_run_ends(
    write: Write, options: Options, folder: Path, sandbox: Control, how: str
) -> None:
    sandbox.fault("silent")
    manifest = write("list.csv", table({"heron": "a heron"}))
    frontend = IMPATIENT if how == "by its grace" else Frontend()

    async def go() -> None:
        task = asyncio.create_task(batchgen.run_async(manifest, frontend=frontend, **options))
        await becomes(lambda: sandbox.posts == 1)
        task.cancel()
        if how == "by a second cancellation":
            await asyncio.sleep(0)
            task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(go())

    assert states(folder) == {"heron": "unknown"}
    batchgen.run(manifest, **options)
    assert sandbox.posts == 1


def test_a_time_limit_of_asyncio_ends_a_run_in_order(
    write: Write, options: Options, folder: Path, sandbox: Control
) -> None:
    manifest = write("list.csv", table(many(12)))

    async def go() -> None:
        async with asyncio.timeout(None) as limit:

            def enough(progress: batchgen.Progress) -> None:
                if progress.counts["pending"] < 12 and not limit.expired():
                    limit.reschedule(asyncio.get_running_loop().time())

            await batchgen.run_async(manifest, on_progress=enough, **options | {"rate": "1/s"})

    with pytest.raises(TimeoutError):
        asyncio.run(go())
    assert set(states(folder).values()) <= {"pending", "submitted", "completed", "saved"}
    assert batchgen.run(manifest, **options).complete
    assert max(sandbox.billed_per_input().values()) == 1


BY_SIGNAL = """
import json, signal, sys
import batchgen
from batchgen.errors import Interrupted

signal.signal(signal.SIGTERM, lambda *_: print("mine again"))
try:
    batchgen.run(sys.argv[1], **json.loads(sys.argv[2]))
except Interrupted as error:
    print(error.exit_code, error.what)
signal.raise_signal(signal.SIGTERM)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@with_processes
def test_in_the_main_thread_signals_end_a_run_and_are_the_programs_again(
    write: Write, options: Options, folder: Path, sandbox: Control
) -> None:
    manifest = write("list.csv", table(many(50)))
    words = json.dumps(options | {"out": str(folder), "rate": "5/s"})
    with subprocess.Popen(
        [sys.executable, "-c", BY_SIGNAL, manifest, words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        wait_for(lambda: sandbox.accepted > 0)
        child.send_signal(signal.SIGTERM)
        said, wrong = child.communicate(timeout=60)

    assert said.splitlines() == ["143 Interrupted by SIGTERM.", "mine again", "True"], wrong
    assert "unknown" not in tally(folder)


def test_a_run_that_was_asked_to_end_while_it_reads_its_list_sends_nothing(
    write: Write, options: Options, folder: Path, sandbox: Control
) -> None:
    manifest = write("list.csv", table(many(40_000)))

    async def go() -> None:
        task = asyncio.create_task(batchgen.run_async(manifest, **options))
        await becomes(lambda: (folder / ".lock").exists())
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(go())

    assert sandbox.posts == 0
    assert issubclass(Interrupted, StoppedEarly)
