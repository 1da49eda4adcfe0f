"""A run is steered from other processes, killed and started again: no window above the rate.

The judge is the sandbox's own log of what arrived when.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_client import Control

from crash import (
    APIS,
    GO_ON,
    KILLED,
    MODELS,
    Api,
    Batch,
    check_the_books,
)

WINDOW_S = 60.0  # as the rate limiter promises
# A submission may leave this late, as its connection takes so long, and its command may be done
# with so much earlier.
LATE_S = 1.0


class Night:
    """A batch that is run, steered and killed, and which rate was in force when."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.process = 0  # the run's id
        self.rates: list[tuple[float, float, float]] = []  # since, until, POSTs per second
        self.pauses: list[tuple[float, float]] = []

    def run(self, rate: str, per_second: float) -> None:
        self._in_force(per_second)
        self.process = self.batch.start(options=["--rate", rate])

    def end(self) -> int:
        """Wait for the run's end; return its exit code."""
        return self.batch.driver.wait(self.process)

    def _in_force(self, per_second: float) -> None:
        self.rates.append((time.time(), float("inf"), per_second))

    def _over(self) -> None:
        """The rate before the last is in force no more."""
        since, _, per_second = self.rates[-2]
        self.rates[-2] = since, time.time() + LATE_S, per_second

    def say(self, *words: str) -> None:
        """A command from a second process, as a second terminal gives it."""
        begun = time.time()
        batch, errors = self.batch, self.batch.root / "said.txt"
        command = [words[0], str(batch.out), *words[1:]]
        pid = batch.driver.start(command, batch.root, errors, [])
        assert batch.driver.wait(pid) == 0, errors.read_text()
        print(f"{time.time() - begun:.1f} s", *words)

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
        os.kill(self.process, signal.SIGKILL)
        assert self.end() == KILLED
        self.run(rate, per_second)
        self._over()

    def submitted(self, more: int) -> None:
        """Wait until so many more were, or all are."""
        sandbox = self.batch.sandbox
        enough = min(sandbox.posts + more, self.batch.rows)
        self.batch.until(lambda: sandbox.posts >= enough)

    def arrivals(self) -> list[float]:
        return [post["arrived_at"] for post in self.batch.sandbox.log()]

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
def night(here: Path, reach: list[str], sandbox: Control) -> Callable[[Api, int], Night]:
    def begin(api: Api, rows: int) -> Night:
        # More at once than a deployment has instances: here the rate alone is to hold them back.
        options = ("--concurrency", "16")
        return Night(Batch(here / "batch", reach, sandbox, rows, *options, api=api))

    return begin


@pytest.mark.parametrize("api", APIS, ids=str)
def test_at_fifty_rows_a_second(night: Callable[[Api, int], Night], api: Api) -> None:
    rows = 400  # 160 are waited for; the others leave while commands start, slowly if it is busy
    steered = night(api, rows)
    steered.run("50/s", 50.0)
    steered.submitted(60)
    steered.set("20/s", 20.0)  # counts what the faster time has sent
    steered.submitted(10)
    steered.kill("50/s", 50.0)  # was set for that run only
    steered.submitted(30)
    steered.set("25/s", 25.0, "--keep")
    steered.pause()
    steered.kill("50/s", 25.0)
    assert steered.end() == GO_ON  # still paused
    steered.resume()
    steered.run("50/s", 25.0)  # kept, and the command line does not say less
    steered.submitted(30)
    steered.kill("50/s", 25.0)
    steered.submitted(30)

    assert steered.end() in (0, 1)
    steered.check()
    check_the_books(steered.batch)
    assert steered.batch.states()["saved"] > rows / 2


# Models alone: of a submission the limiter knows when it left and whether it was throttled, and
# that is learned at fifty a second as it is here.
def test_at_one_row_a_second(night: Callable[[Api, int], Night]) -> None:
    steered = night(MODELS, 30)
    steered.run("1/s", 1.0)
    steered.submitted(4)
    steered.set("30/m", 0.5)
    steered.submitted(2)
    steered.kill("1/s", 1.0)
    steered.submitted(2)
    steered.pause()
    steered.kill("1/s", 1.0)
    assert steered.end() == GO_ON
    steered.resume()
    steered.run("1/s", 1.0)
    steered.submitted(3)
    steered.set("5/s", 5.0)  # raised: at once
    steered.submitted(5)

    assert steered.end() in (0, 1)
    steered.check()
    check_the_books(steered.batch)
    assert steered.batch.states()["saved"] > 15
