"""Requests that are held up on their way, so that they could leave together."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import TOKEN, PretendClock, many, query, table, tally
from resume import KEEPING, NoProgress
from sandbox_client import Control

from batchgen import event_loop
from batchgen.api.endpoint import Endpoint
from batchgen.api.model_api import ModelApi
from batchgen.api.runcomfy import RunComfy
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.journal import command_table
from batchgen.journal.recovery import open_journal
from batchgen.network.media_hosts import parse_media_host
from batchgen.operations import execute as execution
from batchgen.sandbox import Address

QUICK = replace(DEFAULT_TIMING, command_look=0.05)


@dataclass
class Crowd:
    """A name server that is silent until so many wait for it, and when each request left.

    The first request goes alone, and is not held up. on_held: done in each wait for a turn.
    leaving: the tasks that may wait for one.
    """

    count: int
    on_held: Callable[[], Awaitable[None]] | None = None
    waiting: int = 0
    left: list[float] = field(default_factory=list)
    leaving: set[Any] = field(default_factory=set)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Stalling(ModelApi):
    def __init__(self, real: ModelApi, crowd: Crowd, now: Callable[[], float]) -> None:
        self.__dict__.update(real.__dict__)
        self._crowd, self._clock_now = crowd, now

    async def submit(self, model: str, body: Any, commit: Any) -> Any:
        crowd = self._crowd
        crowd.waiting += bool(crowd.left)
        if crowd.waiting >= crowd.count:
            crowd.is_over.set()

        async def leave() -> None:
            crowd.leaving.add(asyncio.current_task())
            try:
                await commit()
            finally:
                crowd.leaving.discard(asyncio.current_task())
            crowd.left.append(self._clock_now())

        if crowd.left:
            await crowd.is_over.wait()
        return await super().submit(model, body, leave)


@dataclass(frozen=True, slots=True)
class Distant(Endpoint):
    crowd: Crowd = field(default_factory=lambda: Crowd(1))
    clock_now: Callable[[], float] = time.monotonic

    def services(self, *words: Any) -> RunComfy:
        found = Endpoint.services(self, *words)
        found.models = Stalling(found.models, self.crowd, self.clock_now)
        return found


class Waiting(PretendClock):
    """Waits by what the crowd says; a time limit is not there before it has gathered."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self._crowd = crowd

    async def sleep(self, seconds: float) -> None:
        if seconds > 50.0:
            await self._crowd.is_over.wait()
        if self._crowd.on_held is not None and asyncio.current_task() in self._crowd.leaving:
            await self._crowd.on_held()
        await super().sleep(seconds)


@pytest.fixture
def account(here: Path) -> Path:
    """The file of the rate that is shared with other batches."""
    return here / "account"


@pytest.fixture
def go_on(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control, account: Path
) -> Callable[..., RunOutcome]:
    """Go on with a batch of so many rows, none of which was sent."""

    def go(crowd: Crowd, policy: Policy, clock: Clock, claim: float = DEFAULT_TIMING.claim) -> Any:
        run(write("list.csv", table(many(crowd.count + 1))), "--limit", 0)
        batch, hosts = Folder(folder), (parse_media_host(address.media_host),)
        endpoint = Distant(
            *(address.base_url, TOKEN, hosts), use_proxy=False, shared_rate_file=account,
            crowd=crowd, clock_now=clock.monotonic,
        )  # fmt: skip
        with ExitStack() as stack:
            stack.enter_context(batch.locked())
            journal, receipts = open_journal(stack, batch, clock)
            journal.start_run("list.csv", {})
            run_it = execution.execute(
                journal, receipts, batch, endpoint, policy, KEEPING, lambda *_: NoProgress(),
                timing=replace(QUICK, claim=claim),
            )  # fmt: skip
            return event_loop.run(run_it)

    return go


@pytest.mark.parametrize("claim", [60.0, 0.2])
def test_requests_whose_connections_stood_still_leave_one_after_the_other(
    go_on: Callable[..., RunOutcome], folder: Path, sandbox: Control, claim: float
) -> None:
    """They wait for their turn, or go back where it is far ahead."""
    rate, crowd = 20.0, Crowd(12)

    outcome = go_on(crowd, Policy(rate=rate, concurrency=12), Clock(), claim)

    assert outcome.code == 0
    assert tally(folder) == {"saved": 13}
    assert sandbox.posts == 13
    back = query(folder, "SELECT COUNT(*) FROM events WHERE event = 'returned'")[0][0]
    assert (back > 0) == (claim < 12 / rate)
    for n, first in enumerate(crowd.left):
        for count, last in enumerate(crowd.left[n:], 1):
            assert count <= rate * (last - first + 0.1) + 1.1


def test_a_request_that_waits_for_its_turn_goes_back_where_the_batch_is_paused(
    go_on: Callable[..., RunOutcome],
    folder: Path,
    sandbox: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, seen = [{"pause": ""}], []

    class Seen(RunState):
        def __init__(self, *values: Any) -> None:
            super().__init__(*values)
            seen.append(self)

    monkeypatch.setattr(execution, "RunState", Seen)

    async def pause() -> None:
        if asked:
            command_table.send(
                *(Folder(folder).journal, 2, asked.pop()),
                keep=False, now=time.time(), timing=QUICK,
            )  # fmt: skip
        while not seen[-1].paused_since:
            await asyncio.sleep(0.01)

    crowd = Crowd(4, pause)

    outcome = go_on(crowd, Policy(rate=0.05, stop_after=1000.0), Waiting(crowd), 600.0)

    assert outcome.code == 75
    assert "batchgen resume" in outcome.remedy
    assert sandbox.posts == 3
    assert tally(folder) == {"saved": 3, "pending": 2}


def test_a_request_whose_turn_comes_after_the_time_limit_goes_back(
    go_on: Callable[..., RunOutcome], folder: Path, sandbox: Control
) -> None:
    crowd = Crowd(4)

    outcome = go_on(crowd, Policy(rate=0.05, stop_after=110.0), Waiting(crowd), 600.0)

    assert "time limit" in outcome.reason
    assert sandbox.posts == 3
    assert tally(folder) == {"saved": 3, "pending": 2}


def test_a_request_whose_connection_outlasts_the_time_limit_goes_back(
    go_on: Callable[..., RunOutcome], folder: Path, sandbox: Control
) -> None:
    class Long(asyncio.Event):
        def set(self) -> None:
            clock.ahead += 200.0
            super().set()

    crowd = Crowd(1, is_over=Long())
    clock = Waiting(crowd)

    outcome = go_on(crowd, Policy(rate=1.0, stop_after=110.0), clock)

    assert "time limit" in outcome.reason
    assert sandbox.posts == 1
    assert tally(folder) == {"saved": 1, "pending": 1}


def test_requests_that_wait_for_their_turn_heed_what_another_batch_was_told(
    go_on: Callable[..., RunOutcome], folder: Path, sandbox: Control, account: Path
) -> None:
    async def hold() -> None:
        SharedRateLimit(account).pause(clock.monotonic(), 3000.0)
        crowd.on_held = None

    crowd = Crowd(4, hold)
    clock = Waiting(crowd)

    assert go_on(crowd, Policy(rate=0.05), clock, 600.0).code == 0
    assert sandbox.posts == 5
    assert crowd.left[-1] - crowd.left[1] > 2900
