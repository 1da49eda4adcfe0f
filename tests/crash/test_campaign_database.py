"""Several machines want one batch; they are killed and put to sleep, and the server is stopped.

Short here. The night's size: `BATCHGEN_SEEDS=10 BATCHGEN_ROWS=300 python -m pytest
tests/crash/test_campaign_database.py -s`.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from databases import Database
from sandbox_client import Control

from crash import GO_ON, KILLED, DatabaseBatch, check_the_books
from crash.test_campaign import a_troubled_sandbox

SEEDS = int(os.environ.get("BATCHGEN_SEEDS", "1"))
ROWS = int(os.environ.get("BATCHGEN_ROWS", "12"))
MACHINES = 3
ROUNDS = 40
FINISH = 30


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_night_of_machines_that_die_pays_once_and_loses_nothing(
    here: Path, database: Database, seed: int
) -> None:
    dice = random.Random(seed)
    seen: Counter[str] = Counter()
    with a_troubled_sandbox(seed) as address, Control(address.base_url) as sandbox:
        reach = ["--base-url", address.base_url, "--media-host", address.media_host]
        first = DatabaseBatch(here / "batch", reach, sandbox, database, ROWS)
        machines = [first, *(first.elsewhere(n) for n in range(2, MACHINES + 1))]
        for _ in range(ROUNDS):
            if troubled_round(machines, dice, seen):
                break
        for _ in range(FINISH):
            code = dice.choice(machines).run()
            if code in (0, 1):
                break
        assert code in (0, 1)
        for machine in machines:  # what each may still hold
            machine.run()

        check_the_books(first)
        assert seen["killed"] + seen["server stopped"] + seen["put to sleep"] > 0
        print(f"seed {seed}: {dict(seen)}, {first.states()}")


def troubled_round(machines: list[DatabaseBatch], dice: random.Random, seen: Counter[str]) -> bool:
    """Start it on all machines at once, and let something happen; return whether it is done."""
    runs = [(machine, machine.start()) for machine in machines]
    time.sleep(dice.uniform(0.2, 1.5))
    happens: Callable[[], None] = dice.choice(
        [
            lambda: seen.update(["killed"]) or signalled(runs, dice, signal.SIGKILL),
            lambda: seen.update(["put to sleep"]) or slept(runs, dice),
            lambda: seen.update(["server stopped"]) or restarted(machines[0].database, dice),
        ]
    )
    happens()
    codes = [machine.driver.wait(pid) for machine, pid in runs]
    for (machine, _), code in zip(runs, codes, strict=True):
        assert code in (0, 1, GO_ON, KILLED), machine.said()
    seen.update(f"ended with {code}" for code in codes)
    return any(code in (0, 1) for code in codes)


def signalled(
    runs: list[tuple[DatabaseBatch, int]], dice: random.Random, number: signal.Signals
) -> None:
    for _, pid in dice.sample(runs, dice.randint(1, len(runs))):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def slept(runs: list[tuple[DatabaseBatch, int]], dice: random.Random) -> None:
    """One sleeps, its sessions are dropped as by a broken network, and it wakes up again."""
    machine, pid = dice.choice(runs)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    machine.database.disconnect()
    other = machine.elsewhere(9)
    other.run()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def restarted(database: Database, dice: random.Random) -> None:
    database.server.stop("immediate")
    time.sleep(dice.uniform(0.0, 1.0))
    database.server.start()
