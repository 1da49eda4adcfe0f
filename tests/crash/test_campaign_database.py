"""Several machines work through one list, into one bucket, below one limit of cost.

They are killed and put to sleep, the server stops, and the store refuses, hangs, and loses answers.

Short here. The night's size: `BATCHGEN_ROWS=2000 BATCHGEN_MACHINES=5 BATCHGEN_RATE=20
BATCHGEN_RUN_AT_MOST=600 python -m pytest tests/crash/test_campaign_database.py -s`; with the
leases of a run in place of the kit's quick ones: `BATCHGEN_LEASES=usual`.
"""

import math
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
from stores import Answer, Seen, Store

from batchgen.sandbox import started
from crash import GO_ON, KILLED, DatabaseBatch, Fault, check_the_books, fault
from crash.test_campaign import FAULTS
from crash.test_steered_nights import WINDOW_S

SEEDS = int(os.environ.get("BATCHGEN_SEEDS", "1"))
ROWS = int(os.environ.get("BATCHGEN_ROWS", "40"))
MACHINES = int(os.environ.get("BATCHGEN_MACHINES", "3"))
RATE = float(os.environ.get("BATCHGEN_RATE", "10"))  # submissions per second
# Longer than a lease: of a run, or of the kit.
SLEEPS_S = 35.0 if os.environ.get("BATCHGEN_LEASES") == "usual" else 6.0
PATIENCE_S = 240 + 20 * ROWS / RATE
TROUBLED_S = PATIENCE_S / 2  # on a busy computer runs are killed before they have begun
UNREACHABLE = 69  # a run that begins while the store refuses
PRICE = 0.03
SHARE_OF_CAP = 0.6
CAP_REACHED = "would pass the limit"
# A submission may arrive this late: it has left with its slot, by machines that share two cores.
LATE_S = 0.5
# What comes damaged twice is kept. Where that machine dies before it says so, the file is left
# beside the whole one that the next fetches: no loss, but a file of no row.
UNTRIED = ("media-truncated", "media-short")


class Fleet:
    """Machines that are started again as soon as they end, as by cron, until one says it is done.

    seen: what happened, and how runs ended. store: that has troubles; None is none.
    """

    def __init__(
        self, machines: list[DatabaseBatch], dice: random.Random, store: Store | None = None
    ) -> None:
        self.machines = machines
        self.dice = dice
        self.seen: Counter[str] = Counter()
        self.store = store
        self._calm_at = math.inf  # when the store is well again
        self._runs: dict[int, DatabaseBatch] = {}
        self._asleep: dict[int, float] = {}  # until when

    def work(
        self, *, until: tuple[int, ...] = (0, 1), says: str = "", troubles: bool = True
    ) -> None:
        """Go on until each machine has ended with one of these codes, one after the other, and has
        said so.
        """
        begin, left = time.monotonic(), [*self.machines]
        end, calm_at, trouble_at = begin + PATIENCE_S, begin + TROUBLED_S, begin + 1.0
        while left or self._runs:
            assert time.monotonic() < end, self.seen
            busy = [*self._runs.values()]
            for machine in left:
                if machine not in busy:
                    self._runs[machine.start()] = machine
            time.sleep(0.05)
            self._wake()
            self._calm_store()
            for pid in [pid for pid in self._runs if machine.driver.has_ended(pid)]:
                machine = self._runs.pop(pid)
                self._asleep.pop(pid, None)
                code = machine.driver.wait(pid)
                self.seen[f"ended with {code}"] += 1
                assert code in (0, 1, UNREACHABLE, GO_ON, KILLED, -signal.SIGALRM), machine.said()
                if code in until and says in machine.said() and machine in left:
                    left.remove(machine)
                    troubles = False  # the list is through
            troubles = troubles and time.monotonic() < calm_at
            if troubles and self._runs and time.monotonic() >= trouble_at:
                self.dice.choice(
                    [self._kill, self._put_to_sleep, self._restart_server]
                    + [self._upset_store] * (self.store is not None)
                )()
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

    def _upset_store(self) -> None:
        assert self.store is not None
        self.seen["store upset"] += 1
        self._calm_at = time.monotonic() + self.dice.uniform(0.5, 3.0)
        how = self.dice.choice(["refuses", "is slow", "loses answers"])
        if how == "loses answers":
            self.store.lost = refused
        else:
            self.store.answer = refused if how == "refuses" else slowly

    def _calm_store(self) -> None:
        if self.store is not None and time.monotonic() >= self._calm_at:
            self.store.answer = self.store.lost = lambda request: None
            self._calm_at = math.inf


def refused(request: Seen) -> Answer | None:
    return 503, b"SlowDown"


def slowly(request: Seen) -> Answer | None:
    time.sleep(1.0)
    return None


def lateness(rate: float, sandbox: Control) -> tuple[int, float]:
    """Return how many arrived, and the seconds by which one of them did so too late, or the first
    of its window too early, for no window of up to WINDOW_S to hold more than rate x window + 1.
    """
    times = sorted(post["arrived_at"] for post in sandbox.log())
    late = 0.0
    for n, end in enumerate(times):
        for first in range(n, -1, -1):
            length = end - times[first]
            if length > WINDOW_S:
                break
            late = max(late, (n - first) / rate - length)
    return len(times), late


def machines_of(
    here: Path,
    reach: list[str],
    sandbox: Control,
    database: Database,
    rows: int,
    rate: float,
    store: Store | None = None,
) -> list[DatabaseBatch]:
    """Each has a disk and a home of its own."""
    first = DatabaseBatch(here / "batch", reach, sandbox, database, rows, store)
    first.words += ["--rate", f"{rate}/s", "--concurrency", "16"]
    return [first.elsewhere(n) for n in range(1, MACHINES + 1)]


def read_by(machine: DatabaseBatch) -> float:
    return float(machine.query("SELECT COALESCE(SUM(usd), 0) FROM spending")[0][0])


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_machines_that_die_sleep_and_lose_what_they_need_pay_once_and_lose_nothing(
    here: Path, database: Database, store: Store, seed: int
) -> None:
    begun = time.time()
    with a_sandbox(seed) as (reach, sandbox):
        machines = machines_of(here, reach, sandbox, database, ROWS, RATE, store)
        fleet = Fleet(machines, random.Random(seed), store)
        words = [*machines[0].words]
        cap = round(PRICE * ROWS * SHARE_OF_CAP, 2)
        for machine in machines:
            machine.words += ["--max-cost", str(cap)]
        fleet.work(until=(GO_ON,), says=CAP_REACHED)
        billed, reserved = sandbox.billed_usd, read_by(machines[0])
        for machine in machines:
            machine.words = machine.words[: len(words)]
        fleet.work()
        for machine in machines:  # what each may still hold
            machine.run()

        assert billed <= cap + 1e-9
        assert reserved <= cap + 1e-9
        posts, late = lateness(RATE, sandbox)
        check_the_books(machines[0])
        assert fleet.seen["killed"] + fleet.seen["put to sleep"] + fleet.seen["server stopped"] > 0
        print(
            f"seed {seed}: {MACHINES} machines, {ROWS} rows, {posts} POSTs in"
            f" {time.time() - begun:.0f} s, paid twice 0, lost 0, {RATE:.0f}/s kept but for"
            f" {late:.2f} s, ${billed:.2f} billed below a limit of ${cap:.2f};"
            f" {dict(fleet.seen)}, {machines[0].states()}"
        )
        assert late <= LATE_S


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
        limit = round(PRICE * ROWS * SHARE_OF_CAP, 2)
        for machine in fleet.machines:
            machine.words += ["--max-cost", str(limit)]
        fleet.work(until=(GO_ON,), says=CAP_REACHED, troubles=False)
        # Whoever came last may have left what was reserved for rows that went back unsent.
        assert fleet.machines[0].run() == GO_ON
        billed, reserved = sandbox.billed_usd, read_by(fleet.machines[0])

    assert limit - 2 * PRICE < billed <= limit + 1e-9
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
        posts, late = lateness(6.0, sandbox)

    assert posts == 60
    assert (late > LATE_S) == (mistake is not None), late
