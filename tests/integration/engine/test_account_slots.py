"""The slots of an account that several machines share, out of a real database."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from helpers import PretendClock

from batchgen.core.addresses import JournalAddress
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.cost_estimator import CostEstimator
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.policy import Policy
from batchgen.engine.rate_limiter import RateLimiter
from batchgen.engine.run_state import RunState
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.receipts import ReceiptLog
from batchgen.journal.writer import Journal

CLAIM_S = DEFAULT_TIMING.claim


class SlowAccount(Account):
    """Of a database whose answers take time. clock: that shows it."""

    clock: PretendClock
    takes_s = 0.0

    def keep(self, rate: str) -> None:
        super().keep(rate)
        self.clock.ahead += self.takes_s


Act = Callable[[SharedSlots, PretendClock, SlowAccount], Coroutine[Any, Any, Any]]


@pytest.fixture
def journal(database: Database) -> Iterator[Journal]:
    with closing(Journal(JournalAddress(database.url, "list"), PretendClock())) as found:
        yield found


def act(journal: Journal, folder: Path, rate: float, what: Act) -> Any:
    """What a run does with its slots. rate: submissions per second."""

    async def run() -> Any:
        clock = PretendClock()
        account = SlowAccount(journal, "somebody")
        account.clock = clock
        writes = WriteQueue(journal, ReceiptLog(folder / "receipts.log"))
        state = RunState(
            clock, random.Random(0), DEFAULT_TIMING, Policy(rate=rate),
            RateLimiter(rate, rate), CostEstimator({}, {}, limited=False),
        )  # fmt: skip
        try:
            return await what(SharedSlots(account, writes, state), clock, account)
        finally:
            writes.close()

    return asyncio.run(run())


def test_requests_that_were_held_up_get_a_new_slot_each(journal: Journal, tmp_path: Path) -> None:
    async def held_up(slots: SharedSlots, clock: PretendClock, _: Any) -> Any:
        clock.ahead += 10.0
        began = journal.store.now()
        delays = await asyncio.gather(*[slots.another_if_late(0.0, 60.0) for _ in range(10)])
        ((limiter,),) = journal.fetch_all("SELECT rate FROM batchgen.accounts")
        return max(delays), json.loads(limiter)["next_at"] - began

    last, taken = act(journal, tmp_path, 0.5, held_up)

    assert taken >= 10 / 0.5
    assert 9 < last <= 9 / 0.5


def test_one_that_was_not_takes_none(journal: Journal, tmp_path: Path) -> None:
    async def in_time(slots: SharedSlots, clock: PretendClock, _: Any) -> Any:
        clock.ahead += 0.9  # less than an interval
        return await slots.another_if_late(0.0, CLAIM_S), journal.fetch_all(
            "SELECT rate FROM batchgen.accounts"
        )

    assert act(journal, tmp_path, 1.0, in_time) == (0.0, [(None,)])


def test_a_slot_that_is_too_far_ahead_for_a_claim_is_kept_for_the_next(
    journal: Journal, tmp_path: Path
) -> None:
    async def held_up(slots: SharedSlots, clock: PretendClock, _: Any) -> Any:
        clock.ahead += 10.0
        first = await slots.another_if_late(0.0, CLAIM_S)
        second = await slots.another_if_late(0.0, CLAIM_S)
        return first, second, slots.has_any() and slots.delay()

    first, second, kept = act(journal, tmp_path, 0.25, held_up)

    assert (first, second) == (0.0, None)
    assert 3.0 < kept <= 4.0


def test_a_rate_that_was_deleted_begins_anew(journal: Journal, tmp_path: Path) -> None:
    async def look_and_take(slots: SharedSlots, *_: Any) -> Any:
        for step in (slots.look, lambda: slots.take(1), slots.tell, lambda: slots.hold(1.0)):
            journal.connection.execute("DELETE FROM batchgen.accounts")
            if done := step():
                await done
        return journal.fetch_all("SELECT account FROM batchgen.accounts")

    assert act(journal, tmp_path, 1.0, look_and_take) == [("somebody",)]


def test_a_database_that_answers_late_is_counted_on(journal: Journal, tmp_path: Path) -> None:
    async def take_some(slots: SharedSlots, clock: PretendClock, account: SlowAccount) -> Any:
        account.takes_s = 0.4
        await slots.take(1)
        first = slots.has_any()
        for _ in range(4):
            await slots.take(1)
        by_then = slots.has_any()
        began = clock.monotonic()
        clock.ahead += 0.45
        return first, by_then, await slots.another_if_late(began, CLAIM_S)

    assert act(journal, tmp_path, 1000.0, take_some) == (False, True, 0.0)
