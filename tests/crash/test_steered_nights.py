"""A run is steered from other processes, killed and started again: no window above the rate.

The judge is the sandbox's own log of what arrived when.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Write
from helpers import ROOT, many, table, tally, until
from sandbox_client import Control

WINDOW_S = 60.0  # as the rate limiter promises
# A submission may leave this late, as its connection takes so long, and its command may be done
# with so much earlier.
LATE_S = 0.5


class Night:
    """A batch that is run, steered and killed, and which rate was in force when."""

    def __init__(
        self, start: Callable[..., Any], manifest: str, out: Path, sandbox: Control
    ) -> None:
        self._start, self._manifest, self._out = start, manifest, out
        self.sandbox = sandbox
        self.process: Any = None
        self.rates: list[tuple[float, float, float]] = []  # since, until, POSTs per second
        self.pauses: list[tuple[float, float]] = []

    def run(self, rate: str, per_second: float) -> None:
        self._in_force(per_second)
        self.process = self._start(self._manifest, "--rate", rate)

    def _in_force(self, per_second: float) -> None:
        self.rates.append((time.time(), float("inf"), per_second))

    def _over(self) -> None:
        """The rate before the last is in force no more."""
        since, _, per_second = self.rates[-2]
        self.rates[-2] = since, time.time() + LATE_S, per_second

    def say(self, *words: str) -> str:
        """A command from a second process, as a second terminal gives it."""
        begun = time.time()
        command = [sys.executable, "-m", "batchgen", words[0], str(self._out), *words[1:]]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"{time.time() - begun:.1f} s", *words, "->", done.stdout.splitlines()[0])
        return done.stdout

    def set(self, rate: str, per_second: float, *more: str) -> None:
        self._in_force(per_second)
        self.say("set", f"rate={rate}", *more)
        self._over()

    def pause(self) -> None:
        self.say("pause")
        self.pauses.append((time.time() + LATE_S, float("inf")))

    def resume(self) -> None:
        since, _ = self.pauses.pop()
        self.pauses.append((since, time.time()))
        self.say("resume")

    def kill(self, rate: str, per_second: float) -> None:
        """Kill it, and start it again, which may say another rate."""
        self.process.kill()
        self.process.wait()
        self.run(rate, per_second)
        self._over()

    def submitted(self, more: int) -> None:
        before = self.sandbox.posts
        until(self.process, lambda: self.sandbox.posts >= before + more)

    def arrivals(self) -> list[float]:
        return [post["arrived_at"] for post in self.sandbox.log()]

    def check(self) -> None:
        """At each submission, each window that ends there is within the rate then in force."""
        times = self.arrivals()
        for n, end in enumerate(times):
            assert not any(since < end < until for since, until in self.pauses)
            rate = max(rate for since, until, rate in self.rates if since <= end <= until)
            for first in range(n, -1, -1):
                length = end - times[first]
                if length > WINDOW_S - LATE_S:
                    break
                count = n - first + 1
                assert count <= rate * (length + LATE_S) + 1, (count, length, rate, n)
        print(f"{len(times)} submissions, no window above the rate: {self.rates}")


@pytest.fixture
def night(
    start: Callable[..., Any], write: Write, folder: Path, sandbox: Control
) -> Callable[[int], Night]:
    def begin(rows: int) -> Night:
        return Night(start, write("list.csv", table(many(rows))), folder, sandbox)

    return begin


def test_at_fifty_rows_a_second(night: Callable[[int], Night], folder: Path) -> None:
    batch = night(400)
    batch.run("50/s", 50.0)
    batch.submitted(60)
    batch.set("20/s", 20.0)  # counts what the faster time has sent
    batch.submitted(10)
    batch.kill("50/s", 50.0)  # was set for that run only
    batch.submitted(30)
    batch.set("25/s", 25.0, "--keep")
    batch.pause()
    batch.kill("50/s", 25.0)
    assert batch.process.wait(timeout=60) == 75  # still paused
    batch.resume()
    batch.run("50/s", 25.0)  # kept, and the command line does not say less
    batch.submitted(30)
    batch.kill("50/s", 25.0)
    batch.submitted(30)

    assert batch.process.wait(timeout=120) in (0, 1)
    batch.check()
    assert tally(folder)["saved"] >= 390


def test_at_one_row_a_second(night: Callable[[int], Night], folder: Path) -> None:
    batch = night(30)
    batch.run("1/s", 1.0)
    batch.submitted(4)
    batch.set("30/m", 0.5)
    batch.submitted(2)
    batch.kill("1/s", 1.0)
    batch.submitted(2)
    batch.pause()
    batch.kill("1/s", 1.0)
    assert batch.process.wait(timeout=60) == 75
    batch.resume()
    batch.run("1/s", 1.0)
    batch.submitted(3)
    batch.set("5/s", 5.0)  # raised: at once
    batch.submitted(5)

    assert batch.process.wait(timeout=120) in (0, 1)
    batch.check()
    assert tally(folder)["saved"] >= 28
