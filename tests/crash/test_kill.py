"""The real program, killed at random moments and started again, against the sandbox's ledger.

Short here; `BATCHGEN_KILLS=500 python -m pytest tests/crash/test_kill.py` makes a night of it.
"""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, until

KILLS = int(os.environ.get("BATCHGEN_KILLS", "8"))
ROWS_A_KILL = 20
GO_ON = 75


class Batch:
    """A rehearsal in `folder`, run by the real program in a process of its own."""

    def __init__(self, folder: Path, rows: int, *options: str) -> None:
        self.folder = folder
        self.rows = rows
        self.out = folder / "out"
        manifest = folder / "list.txt"
        manifest.write_text("".join(f"Heron number {n}\n" for n in range(rows)), encoding="utf-8")
        self.command = [sys.executable, "-m", "batchgen", "run", str(manifest), "--sandbox"]
        self.command += ["--out", str(self.out), *options]

    def start(self, rate: str = "15/s", prefix: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*prefix, *self.command, "--rate", rate],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def finish(self) -> int:
        """What cron does until the morning: start it until it has nothing left to do."""
        for _ in range(5):
            with self.start("200/s") as process:
                code = process.wait(timeout=120 + self.rows / 5)
            if code != GO_ON:
                return code
        return GO_ON

    def journal(self, query: str) -> list[Any]:
        path = (self.out / "batch.db").as_uri()
        with closing(sqlite3.connect(f"{path}?mode=ro", uri=True)) as journal:
            return journal.execute(query).fetchall()

    def states(self) -> dict[str, int]:
        return dict(self.journal("SELECT state, COUNT(*) FROM requests GROUP BY state"))

    def ledger(self) -> list[tuple[str, str]]:
        """(request_id, prompt) of every request that the sandbox billed."""
        with closing(sqlite3.connect(self.out / "sandbox" / "sandbox.db")) as ledger:
            found = ledger.execute(
                "SELECT request_id, input FROM accepted WHERE cancelled_at IS NULL"
            ).fetchall()
        return [(request_id, json.loads(text)["prompt"]) for request_id, text in found]

    def has(self, condition: str) -> bool:
        """Whether a row of the journal meets `condition`; False while there is no journal."""
        try:
            return bool(self.journal(f"SELECT 1 FROM requests WHERE {condition} LIMIT 1"))
        except sqlite3.OperationalError:
            return False

    def events(self) -> int:
        """How many changes of state there were; 0 while there is no journal."""
        try:
            return int(self.journal("SELECT COUNT(*) FROM events")[0][0])
        except sqlite3.OperationalError:
            return 0

    def has_moved_since(self, events: int) -> bool:
        return self.events() > events

    def has_said(self, words: str) -> bool:
        return words in (self.out / "batchgen.log").read_text(encoding="utf-8")


def check_the_books(batch: Batch) -> None:
    """Ledger, journal and folder agree: nothing paid twice, nothing lost, every file whole."""
    ledger = batch.ledger()
    known = dict(batch.journal("SELECT request_id, state FROM requests WHERE request_id NOT NULL"))
    unknown = {
        json.loads(text)["prompt"]
        for (text,) in batch.journal("SELECT input FROM requests WHERE state = 'unknown'")
    }
    billed = Counter(prompt for _, prompt in ledger)

    assert [prompt for prompt, times in billed.items() if times > 1] == []
    assert [p for id, p in ledger if id not in known and p not in unknown] == []
    assert set(known) <= {id for id, _ in ledger}

    files = batch.journal("SELECT path, sha256 FROM outputs")
    for path, sha256 in files:
        assert hashlib.sha256((batch.out / path).read_bytes()).hexdigest() == sha256
    assert {path for path, _ in files} == {
        file.relative_to(batch.out).as_posix() for file in (batch.out / "images").iterdir()
    }


def test_a_run_that_is_killed_again_and_again_pays_once_and_loses_nothing(tmp_path: Path) -> None:
    rows = ROWS_A_KILL * KILLS
    batch = Batch(tmp_path, rows)
    dice = random.Random(KILLS)
    killed = 0
    for _ in range(KILLS):
        before = batch.events()
        with batch.start() as process:
            until(process, partial(batch.has_moved_since, before))
            try:
                process.wait(timeout=dice.uniform(0.0, 0.5))
            except subprocess.TimeoutExpired:
                process.send_signal(
                    dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
                )
                killed += 1
    code = batch.finish()

    assert killed > KILLS // 3
    check_the_books(batch)
    states = batch.states()
    assert states["saved"] + states.get("unknown", 0) == rows
    assert code == (1 if "unknown" in states else 0)
    print(f"killed {killed} times: 0 lost, 0 paid twice, {states.get('unknown', 0)} unknown")


@pytest.fixture
def slow_batch(tmp_path: Path) -> Iterator[Batch]:
    """A batch whose requests take longer than anybody waits for a signal."""
    batch = Batch(tmp_path, 6, "--concurrency", "4")
    manifest = tmp_path / "list.txt"
    manifest.write_text("".join(f"[[slow:3]] heron {n}\n" for n in range(6)), encoding="utf-8")
    yield batch
    check_the_books(batch)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"]
)
def test_one_signal_leaves_what_is_in_flight_to_the_next_run(
    slow_batch: Batch, number: signal.Signals, code: int
) -> None:
    with slow_batch.start() as process:
        until(process, lambda: slow_batch.has("state = 'submitted'"))
        process.send_signal(number)
        assert process.wait(timeout=60) == code

    states = slow_batch.states()
    assert states.get("submitted", 0) >= 1
    assert "unknown" not in states
    assert (slow_batch.out / "results.csv").exists()
    assert slow_batch.finish() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=["nohup", "background"])
def test_a_signal_that_the_starter_had_it_ignore_ends_nothing(
    slow_batch: Batch, number: signal.Signals
) -> None:
    """As `nohup` does with SIGHUP, and a script's `&` with SIGINT."""
    ignoring = ["sh", "-c", f"trap '' {number.name.removeprefix('SIG')}; exec \"$@\"", "sh"]
    with slow_batch.start(prefix=ignoring) as process:
        until(process, lambda: slow_batch.has("state = 'submitted'"))
        process.send_signal(number)
        assert process.wait(timeout=60) == 0

    assert slow_batch.states() == {"saved": 6}


def test_ctrl_c_collects_what_is_in_flight_and_submits_nothing_more(slow_batch: Batch) -> None:
    with slow_batch.start() as process:
        until(process, lambda: slow_batch.has("state = 'submitted'"))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130

    states = slow_batch.states()
    assert states["saved"] >= 1
    assert states["pending"] >= 1
    assert set(states) == {"saved", "pending"}
    assert slow_batch.finish() == 0


def test_ctrl_c_twice_leaves_now_and_the_next_run_goes_on(slow_batch: Batch) -> None:
    with slow_batch.start() as process:
        until(process, lambda: slow_batch.has("state = 'submitted'"))
        process.send_signal(signal.SIGINT)
        until(process, lambda: slow_batch.has_said("Interrupted by SIGINT"))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130

    assert slow_batch.states()["submitted"] >= 1
    assert slow_batch.finish() == 0
