"""Several machines work through one list; they are killed and put to sleep, and the server stops.

Short here. The night's size: `BATCHGEN_ROWS=2000 BATCHGEN_MACHINES=5 BATCHGEN_RATE=20
BATCHGEN_RUN_AT_MOST=600 python -m pytest tests/crash/test_campaign_database.py -s`.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from databases import Database
from sandbox_client import Control

from batchgen.sandbox import started
from crash import GO_ON, KILLED, DatabaseBatch, Fault, check_the_books, fault
from crash.test_campaign import FAULTS
from crash.test_steered_nights import LATE_S, WINDOW_S

SEEDS = int(os.environ.get("BATCHGEN_SEEDS", "1"))
ROWS = int(os.environ.get("BATCHGEN_ROWS", "40"))
MACHINES = int(os.environ.get("BATCHGEN_MACHINES", "3"))
RATE = float(os.environ.get("BATCHGEN_RATE", "10"))  # submissions per second
SLEEPS_S = 6.0  # longer than a lease in the kit
PATIENCE_S = 60 + 20 * ROWS / RATE
SHARE_OF_CAP = 0.6
# What comes damaged twice is kept. Where that machine dies before it says so, the file is left
# beside the whole one that the next fetches: no loss, but a file of no row.
UNTRIED = ("media-truncated", "media-short")


class Fleet:
    """Machines that are started again as soon as they end, as by cron, until one says it is done.

    seen: what happened, and how runs ended.
    """

    def __init__(self, machines: list[DatabaseBatch], dice: random.Random) -> None:
        self.machines = machines
        self.dice = dice
        self.seen: Counter[str] = Counter()
        self._runs: dict[int, DatabaseBatch] = {}
        self._asleep: dict[int, float] = {}  # until when

    def work(self, *, until: tuple[int, ...] = (0, 1), troubles: bool = True) -> None:
        """Go on until each machine has ended with one of these codes, one after the other."""
        end, left = time.monotonic() + PATIENCE_S, [*self.machines]
        trouble_at = time.monotonic() + 1.0
        while left or self._runs:
            assert time.monotonic() < end, self.seen
            busy = [*self._runs.values()]
            for machine in left:
                if machine not in busy:
                    self._runs[machine.start()] = machine
            time.sleep(0.05)
            self._wake()
            for pid in [pid for pid in self._runs if machine.driver.has_ended(pid)]:
                machine = self._runs.pop(pid)
                self._asleep.pop(pid, None)
                code = machine.driver.wait(pid)
                self.seen[f"ended with {code}"] += 1
                assert code in (0, 1, GO_ON, KILLED, -signal.SIGALRM), machine.said()
                if code in until and machine in left:
                    left.remove(machine)
                    troubles = False  # the list is through
            if troubles and self._runs and time.monotonic() >= trouble_at:
                self.dice.choice([self._kill, self._put_to_sleep, self._restart_server])()
                trouble_at = time.monotonic() + self.dice.uniform(0.5, 3.0)

    def _one(self) -> int:
        return self.dice.choice([*self._runs])

    def _kill(self) -> None:
        self.seen["killed"] += 1
        with suppress(ProcessLookupError):
            os.kill(self._one(), signal.SIGKILL)

    def _put_to_sleep(self) -> None:
        pid = self._one()
        if pid not in self._asleep:
            self.seen["put to sleep"] += 1
            self._asleep[pid] = time.monotonic() + self.dice.choice([0.5, SLEEPS_S])
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def _wake(self) -> None:
        for pid in [pid for pid, until in self._asleep.items() if time.monotonic() >= until]:
            del self._asleep[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _restart_server(self) -> None:
        self.seen["server stopped"] += 1
        server = self.machines[0].database.server
        server.stop("immediate")
        time.sleep(self.dice.uniform(0.0, 1.0))
        server.start()


def no_window_above(rate: float, sandbox: Control) -> int:
    """Raise AssertionError where more than rate x window + 1 arrived; return how many did."""
    times = sorted(post["arrived_at"] for post in sandbox.log())
    for n, end in enumerate(times):
        for first in range(n, -1, -1):
            length = end - times[first]
            if length > WINDOW_S - LATE_S:
                break
            count = n - first + 1
            assert count <= rate * (length + LATE_S) + 1, f"{count} in {length:.2f} s"
    return len(times)


def machines_of(
    here: Path, reach: list[str], sandbox: Control, database: Database, rows: int, rate: float
) -> list[DatabaseBatch]:
    """Each has a disk and a home of its own."""
    first = DatabaseBatch(here / "batch", reach, sandbox, database, rows)
    first.words += ["--rate", f"{rate}/s", "--concurrency", "16"]
    return [first.elsewhere(n) for n in range(1, MACHINES + 1)]


def read_by(machine: DatabaseBatch) -> float:
    return float(machine.query("SELECT COALESCE(SUM(usd), 0) FROM spending")[0][0])


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_machines_that_die_sleep_and_lose_their_server_pay_once_and_lose_nothing(
    here: Path, database: Database, seed: int
) -> None:
    begun = time.time()
    with a_sandbox(seed) as (reach, sandbox):
        fleet = Fleet(machines_of(here, reach, sandbox, database, ROWS, RATE), random.Random(seed))
        first = fleet.machines[0]
        fleet.work()
        for machine in fleet.machines:  # what each may still hold
            machine.run()

        posts = no_window_above(RATE, sandbox)
        check_the_books(first)
        troubles = fleet.seen["killed"] + fleet.seen["put to sleep"] + fleet.seen["server stopped"]
        assert troubles > 0
        print(
            f"seed {seed}: {MACHINES} machines, {ROWS} rows, {posts} POSTs in"
            f" {time.time() - begun:.0f} s, paid twice 0, lost 0, no window above {RATE:.0f}/s;"
            f" {dict(fleet.seen)}, {first.states()}"
        )


@contextmanager
def a_sandbox(troubled: int | None = None) -> Iterator[tuple[list[str], Control]]:
    """A quick one. troubled: the seed of its dice, by which it fails now and then."""
    options = ["--seconds", "0", "--spread", "0", "--picture-size", "64", "--cold-start", "0"]
    if troubled is not None:
        options += ["--seed-dice", str(troubled), "--retry-after", "none"]
        for name, probability in FAULTS.items():
            if name in UNTRIED:
                continue
            # Of 429s by dice a rate is learned, at which a night never ends.
            options += ["--fault", f"{name}={probability / 10 if name == '429' else probability}"]
    with started(None, options=options) as address, Control(address.base_url) as sandbox:
        yield ["--base-url", address.base_url, "--media-host", address.media_host], sandbox


def test_no_limit_of_cost_is_passed_by_all_machines_together(
    here: Path, database: Database
) -> None:
    with a_sandbox() as (reach, sandbox):
        fleet = Fleet(machines_of(here, reach, sandbox, database, ROWS, 50.0), random.Random(1))
        price = 0.03
        limit = round(price * ROWS * SHARE_OF_CAP, 2)
        for machine in fleet.machines:
            machine.words += ["--max-cost", str(limit)]
        fleet.work(until=(GO_ON,), troubles=False)
        billed, reserved = sandbox.billed_usd, read_by(fleet.machines[0])

    assert limit - 2 * price < billed <= limit + 1e-9
    assert reserved <= limit + 1e-9
    print(f"{MACHINES} machines, a limit of ${limit}: ${billed:.2f} billed")


# -- the kit can fail ------------------------------------------------------------------------------


def work_through(fleet: Fleet, *mistake: Fault) -> None:
    for machine in fleet.machines:
        machine.faults = mistake
    fleet.work(troubles=False)


@pytest.mark.parametrize("mistake", [None, "each_machine_has_a_rate_of_its_own"])
def test_a_limiter_for_each_machine_upsets_the_rate(
    here: Path, database: Database, mistake: str | None
) -> None:
    with a_sandbox() as (reach, sandbox):
        fleet = Fleet(machines_of(here, reach, sandbox, database, 60, 6.0), random.Random(1))
        work_through(fleet, *([fault(mistake)] if mistake else []))
        if mistake is None:
            assert no_window_above(6.0, sandbox) == 60
        else:
            with pytest.raises(AssertionError, match=r"\d+ in \d"):
                no_window_above(6.0, sandbox)
