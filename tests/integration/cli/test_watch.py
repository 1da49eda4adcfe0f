"""`status --watch` beside a run: what it shows, and that it only reads."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import ROOT, PretendClock, many, query, table, until
from sandbox_client import Control

from batchgen.batch_folder import Folder
from batchgen.clock import from_iso
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.errors import UsageError
from batchgen.journal import follow
from batchgen.journal.follow import Follower
from batchgen.journal.reader import Reader
from batchgen.operations.watch import look
from batchgen.report.frame import Look
from batchgen.sandbox.deployments.samples import TEXT

WATCH = [sys.executable, "-m", "batchgen", "status", "--watch", "--interval", "0.2s"]


def test_it_goes_with_a_run_to_its_end_and_has_a_line_for_each_change(
    start: Callable[..., Any], folder: Path, write: Write, batchgen: Command, sandbox: Control
) -> None:
    # Seven seconds from the first look to the end: a busy computer may take two from look to look.
    process = start(write("list.csv", table(many(9))), "--rate", "1/s")
    until(process, lambda: sandbox.posts >= 2)

    done = batchgen("status", "--watch", "--interval", "0.2s", "--until-done", folder)

    lines = done.stdout.splitlines()
    assert (done.code, done.stderr) == (0, "")
    assert f"running (process {process.pid})" in lines[0]
    assert lines[-1].endswith("no run under way; the last one: Every row is saved.")
    assert len({text.split(" ", 1)[1] for text in lines}) == len(lines) > 2


def test_as_json_each_look_is_a_line(
    run: Command, folder: Path, write: Write, batchgen: Command, sandbox: Control
) -> None:
    sandbox.fault("422")
    run(write("list.csv", table(many(3))))

    done = batchgen("status", "--watch", "--until-done", "--json", folder)

    (found,) = map(json.loads, done.stdout.splitlines())
    assert found["counts"]["saved"] == 2
    assert found["running"] is False
    assert [one["id"] for one in found["problems"]] == ["row-1"]
    assert found["run"]["ending"].startswith("Not every row is saved")


def test_ctrl_c_ends_it_with_0_and_the_run_goes_on(
    start: Callable[..., Any], folder: Path, write: Write, sandbox: Control
) -> None:
    process = start(write("list.csv", table(many(100))), "--rate", "1/s")
    until(process, lambda: sandbox.posts >= 2)
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    watcher = subprocess.Popen([*WATCH, str(folder)], stdout=follower, env=environment)
    os.close(follower)
    shown = b""
    while shown.count(b"\x1b[J") < 3:  # frames, each over the one before
        shown += os.read(leader, 4096)

    watcher.send_signal(signal.SIGINT)

    assert watcher.wait(timeout=60) == 0
    assert b"in flight" in shown or b"rows" in shown
    assert b"A\r\x1b[J" in shown
    assert process.poll() is None
    os.close(leader)


@pytest.mark.parametrize("option", [[], ["--json"]], ids=["text", "json"])
def test_it_ends_when_its_reader_has_left_although_nothing_changes_any_more(
    saved: Callable[[int], Path], option: list[str]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [*WATCH, str(saved(1)), *option]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as watcher:
        try:
            assert watcher.stdout is not None
            watcher.stdout.readline()
            watcher.stdout.close()

            assert watcher.wait(timeout=30) == 0
        finally:
            watcher.kill()


def test_without_a_batch_and_without_a_run_there_is_nothing_to_watch(
    batchgen: Command, here: Path
) -> None:
    (here / "empty").mkdir()

    assert batchgen("status", "--watch", here / "empty").code == 2


def test_an_interval_is_for_watch_only(run: Command, folder: Path, batchgen: Command) -> None:
    assert batchgen("status", folder, "--interval", "1s").code == 2
    assert batchgen("status", folder, "--until-done").code == 2


def test_it_reads_the_events_of_the_latest_run_once(
    run: Command, folder: Path, write: Write
) -> None:
    manifest = write("list.csv", table(many(5)))
    run(manifest, "--limit", 2)
    follower = Follower()
    with closing(Reader(folder / "batch.db")) as reader:
        (last,) = query(folder, "SELECT MAX(at) FROM events WHERE event = 'send'")
        now = from_iso(last[0]) + 1
        follower.look(reader, now)
        follower.look(reader, now)
        assert (follower.submitted, len(follower.minute)) == (2, 2)
        follower.look(reader, now + follow.MINUTE_S)
        assert (follower.submitted, len(follower.minute)) == (2, 0)

        run(manifest)
        follower.look(reader, now)

    assert follower.submitted == 3
    assert follower.run == 2


def test_an_event_whose_commit_took_longer_is_read_after_later_ones(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(3))), "--limit", 1)
    follower = Follower()
    with closing(Reader(folder / "batch.db")) as reader:
        follower.look(reader, 0.0)
        ((last,),) = query(folder, "SELECT MAX(seq) FROM events")
        late, later = last + 1, last + 2
        for seq, seen in ((later, 2), (late, 3)):
            with closing(sqlite3.connect(folder / "batch.db")) as journal, journal:
                journal.execute(
                    'INSERT INTO events (seq, run, key, at, event, "from", "to")'
                    ' SELECT ?, run, key, at, event, "from", "to" FROM events'
                    " WHERE event = 'send' LIMIT 1",
                    [seq],
                )
            follower.look(reader, 0.0)
            assert follower.submitted == seen
        follower.look(reader, 0.0)
        follower.look(reader, 0.0)
    assert follower.submitted == 3


def test_the_rate_over_the_night_is_that_of_all_its_runs(
    run: Command, folder: Path, write: Write, batchgen: Command, clock: PretendClock
) -> None:
    manifest = write("list.csv", table(many(6)))

    def rates() -> dict[str, float | None]:
        found = json.loads(batchgen("status", "--watch", "--until-done", "--json", folder).stdout)
        rates: dict[str, float | None] = found["rate_per_second"]
        return rates

    run(manifest, "--limit", 1)
    clock.ahead += 24 * 3600
    run(manifest, "--limit", 2)
    assert rates()["night"] is None  # the run of the day before is another night's
    clock.ahead += 3600
    run(manifest)

    night = rates()["night"]
    assert night is not None
    assert 3600 * night == pytest.approx(5, rel=0.05)


def test_the_place_of_the_requests_in_the_queue_is_shown_while_they_wait(
    start: Callable[..., Any], folder: Path, write: Write, sandbox: Control
) -> None:
    sandbox.set(slots=1, seconds=1.0)
    process = start(write("list.csv", table(many(3))))

    def queue() -> dict[str, Any] | None:
        with suppress(UsageError):  # there is no batch yet
            return look(Folder(folder), Follower(), time.time(), DEFAULT_TIMING).queue
        return None

    seen: list[dict[str, Any]] = []

    def is_seen() -> bool:
        seen.extend(found for found in [queue()] if found)
        return bool(seen)

    until(process, is_seen)

    assert 1 <= seen[0]["waiting"] <= 2
    assert 0 <= seen[0]["first"] <= seen[0]["last"] <= 1
    assert process.wait(timeout=60) == 0
    assert queue() is None


def test_it_changes_no_byte_of_the_batch(
    run: Command, folder: Path, write: Write, batchgen: Command
) -> None:
    run(write("list.csv", table(many(2))))

    def files() -> dict[str, bytes]:
        # SQLite makes itself an empty log, and memory to share, to read with.
        kept = (path for path in folder.rglob("*") if path.is_file() and "-shm" not in path.name)
        read = {str(path): path.read_bytes() for path in kept}
        return {path: content for path, content in read.items() if content}

    before = files()
    batchgen("status", "--watch", "--until-done", folder)

    assert files() == before


def test_it_tells_which_instance_works_on_what_and_what_waits_for_one(
    start: Callable[..., Any], folder: Path, write: Write, batchgen: Command, sandbox: Control
) -> None:
    sandbox.set(seconds=600.0)
    path = write("list.csv", table(many(3)))
    process = start(path, "--deployment", TEXT, "--node", "prompt=6.text", "--concurrency", 3)

    def seen() -> Look:
        return look(Folder(folder), Follower(), time.time(), DEFAULT_TIMING)

    until(process, lambda: (folder / "batch.db").exists() and sandbox.accepted == 3)
    until(process, lambda: len(seen().numbers["instances"]) == 2 and seen().queue is not None)

    found = seen()
    at_work = {one["id"]: one["instance"] for one in found.numbers["instances"]}
    assert {*at_work.values()} == {one["instance_id"] for one in sandbox.instances()}
    assert len(at_work) == 2  # max_instances
    assert found.queue is not None
    assert found.queue.items() >= {"waiting": 1, "first": 0, "last": 0}.items()
    status = json.loads(batchgen("status", folder, "--json").stdout)["instances"]
    assert {one["id"]: one["instance"] for one in status} == at_work
    assert all(one["waited_seconds"] >= 0 for one in status)
    (line,) = [one for one in batchgen("status", folder).stdout.splitlines() if "instances" in one]
    assert all(f"{instance} on {id} for" in line for id, instance in at_work.items())
    process.kill()
    process.wait()
    assert seen().numbers["instances"] == found.numbers["instances"]  # they go on without us
