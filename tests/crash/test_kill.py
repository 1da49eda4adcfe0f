"""The real program, killed at random moments and started again, against the sandbox's ledger; and
what a signal leaves.

Short here; `BATCHGEN_KILLS=500 python -m pytest tests/crash/test_kill.py` makes a night of it.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, until
from sandbox_client import Control

from crash import (
    APIS,
    DEPLOYMENTS,
    GO_ON,
    MODELS,
    Api,
    Batch,
    Fault,
    check_the_books,
    fault,
    rehearsal,
)

KILLS = int(os.environ.get("BATCHGEN_KILLS", "8"))
KILLS_OF = {MODELS: KILLS, DEPLOYMENTS: max(KILLS // 2, 1)}
ROWS_A_KILL = 20


class Kept:
    """The ledger in a rehearsal's folder, whose sandbox has ended with the run."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "sandbox" / "sandbox.db"

    def _query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self._file)) as ledger:
            return ledger.execute(sql).fetchall()

    def ledger(self) -> list[dict[str, Any]]:
        found = self._query("SELECT request_id, input FROM accepted WHERE cancelled_at IS NULL")
        return [{"request_id": id, "input": text, "billed": True} for id, text in found]

    @property
    def billed_usd(self) -> float:
        ((usd,),) = self._query("SELECT SUM(price) FROM accepted WHERE cancelled_at IS NULL")
        return float(usd)


class Rehearsal(Batch):
    """A batch that is run by the real program, in processes of their own, with its own sandbox."""

    @contextmanager
    def running(self, rate: str = "15/s") -> "Iterator[subprocess.Popen[bytes]]":
        with subprocess.Popen(
            [sys.executable, "-m", "batchgen", *self.words, "--rate", rate],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def finished(self) -> int:
        """What cron does until the morning: start it until it has nothing left to do."""
        for _ in range(5):
            with self.running("200/s") as process:
                code = process.wait(timeout=120 + self.rows / 5)
            if code != GO_ON:
                return code
        return GO_ON

    def events(self) -> int:
        """How many changes of state there were; 0 while there is no journal."""
        try:
            return int(self.query("SELECT COUNT(*) FROM events")[0][0])
        except sqlite3.OperationalError:
            return 0

    def has_moved_since(self, events: int) -> bool:
        return self.events() > events


@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_run_that_is_killed_again_and_again_pays_once_and_loses_nothing(
    here: Path, sandbox: Control, api: Api
) -> None:
    """With deployments half as often."""
    kills = KILLS_OF[api]
    root = here / "batch"
    ledger: Any = Kept(root / "out")
    batch = Rehearsal(root, rehearsal(api, here, sandbox), ledger, ROWS_A_KILL * kills, api=api)
    dice = random.Random(KILLS)
    killed = 0
    for _ in range(kills):
        before = batch.events()
        with batch.running() as process:
            until(process, partial(batch.has_moved_since, before))
            try:
                process.wait(timeout=dice.uniform(0.0, 0.5))
            except subprocess.TimeoutExpired:
                process.send_signal(
                    dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
                )
                killed += 1
    code = batch.finished()

    assert killed > kills // 3
    check_the_books(batch)
    states = batch.states()
    assert code == (1 if "unknown" in states else 0)
    print(f"killed {killed} times: 0 lost, 0 paid twice, {states.get('unknown', 0)} unknown")


class Signalled(Batch):
    """Six rows, four at once, which take longer than anybody waits for a signal."""

    pid = 0

    def begin(self, *faults: Fault) -> None:
        self.sandbox.change_deployment(DEPLOYMENTS.options[1], max_instances=4)
        self.sandbox.set(seconds=3)
        self.pid = self.start(*faults)
        self.until(lambda: self.has("state = 'submitted'"))

    def has(self, condition: str) -> bool:
        """Whether a row of the journal meets `condition`; False while there is no journal."""
        try:
            return bool(self.query(f"SELECT 1 FROM requests WHERE {condition} LIMIT 1"))
        except sqlite3.OperationalError:
            return False

    def has_logged(self, words: str) -> bool:
        return words in (self.out / "batchgen.log").read_text(encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def code(self) -> int:
        return self.driver.wait(self.pid)


@pytest.fixture(params=APIS, ids=str)
def slow_batch(
    request: pytest.FixtureRequest, here: Path, reach: list[str], sandbox: Control
) -> Iterator[Signalled]:
    batch = Signalled(here / "batch", reach, sandbox, 6, "--concurrency", "4", api=request.param)
    yield batch
    check_the_books(batch)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"]
)
def test_one_signal_leaves_what_is_in_flight_to_the_next_run(
    slow_batch: Signalled, number: signal.Signals, code: int
) -> None:
    slow_batch.begin()
    slow_batch.signal(number)
    assert slow_batch.code() == code

    states = slow_batch.states()
    assert states.get("submitted", 0) >= 1
    assert "unknown" not in states
    assert (slow_batch.out / "results.csv").exists()
    slow_batch.sandbox.set(seconds=0)
    assert slow_batch.finish() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=["nohup", "background"])
def test_a_signal_that_the_starter_had_it_ignore_ends_nothing(
    slow_batch: Signalled, number: signal.Signals
) -> None:
    """As `nohup` does with SIGHUP, and a script's `&` with SIGINT."""
    slow_batch.begin(fault("ignores", number=number))
    slow_batch.signal(number)
    assert slow_batch.code() == 0

    assert slow_batch.states() == {"saved": 6}


def test_ctrl_c_collects_what_is_in_flight_and_submits_nothing_more(slow_batch: Signalled) -> None:
    slow_batch.begin()
    slow_batch.signal(signal.SIGINT)
    assert slow_batch.code() == 130

    states = slow_batch.states()
    assert states["saved"] >= 1
    assert states["pending"] >= 1
    assert set(states) == {"saved", "pending"}
    slow_batch.sandbox.set(seconds=0)
    assert slow_batch.finish() == 0


def test_ctrl_c_twice_leaves_now_and_the_next_run_goes_on(slow_batch: Signalled) -> None:
    slow_batch.begin()
    slow_batch.signal(signal.SIGINT)
    slow_batch.until(lambda: slow_batch.has_logged("Interrupted by SIGINT"))
    slow_batch.until(lambda: not slow_batch.has("state = 'submitting'"))
    slow_batch.signal(signal.SIGINT)
    assert slow_batch.code() == 130

    assert slow_batch.states()["submitted"] >= 1
    slow_batch.sandbox.set(seconds=0)
    code = slow_batch.finish()
    # A POST that had begun meanwhile has no answer: such a row is `unknown`, as it has to be.
    assert code == (1 if "unknown" in slow_batch.states() else 0)
    check_the_books(slow_batch)
