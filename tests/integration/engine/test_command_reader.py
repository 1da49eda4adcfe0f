"""A command that comes at a certain moment of a run."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from conftest import Command, Write
from helpers import NEVER_ASKING, TOKEN, many, query, states, table
from resume import KEEPING, NoProgress
from sandbox_client import Control

from batchgen import event_loop
from batchgen.api.endpoint import Endpoint
from batchgen.api.model_api import ModelApi
from batchgen.api.runcomfy import RunComfy
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.config import DEFAULT_MODEL
from batchgen.core.budget import CostLimits
from batchgen.core.prices import Price
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import TIME_LIMIT, RunOutcome
from batchgen.journal import command_table
from batchgen.journal.recovery import open_journal
from batchgen.network.media_hosts import parse_media_host
from batchgen.operations.execute import execute
from batchgen.sandbox import Address

QUICK = replace(DEFAULT_TIMING, command_look=0.05)


class Connecting(ModelApi):
    """Whose first connection takes until the run has taken a command of another process."""

    def __init__(self, real: ModelApi, journal: Path, asked: dict[str, str]) -> None:
        self.__dict__.update(real.__dict__)
        self._batch, self._asked = journal, asked

    async def submit(self, *words: Any) -> Any:
        if self._asked:
            asked, self._asked = self._asked, {}
            command_table.send(
                self._batch, 2, asked, keep=False, now=time.time(), timing=DEFAULT_TIMING
            )
            while query(self._batch.parent, "SELECT COUNT(*) FROM commands") != [(0,)]:
                await asyncio.sleep(0.01)
        return await super().submit(*words)


class Late(ModelApi):
    """Before whose first answer to a question after `at` somebody moves the end of the run."""

    def __init__(self, real: ModelApi, journal: Path, at: float) -> None:
        self.__dict__.update(real.__dict__)
        self._batch, self._at = journal, at

    async def result(self, model: str, request_id: str) -> Any:
        if time.time() > self._at:
            self._at = math.inf
            until = {"until": f"{datetime.now() + timedelta(hours=1):%H:%M}"}
            command_table.send(
                self._batch, 2, until, keep=False, now=time.time(), timing=DEFAULT_TIMING
            )
        return await super().result(model, request_id)


class Held(ModelApi):
    """Which answers no question before a row was held, and the run has taken a command since.

    done: whether the command has had its effect.
    """

    def __init__(
        self, real: ModelApi, journal: Path, asked: dict[str, str], done: Callable[[], bool]
    ) -> None:
        self.__dict__.update(real.__dict__)
        self._batch, self._asked, self._done = journal, asked, done
        self._held = asyncio.Event()

    async def submit(self, *words: Any) -> Any:
        try:
            return await super().submit(*words)
        finally:
            self._held.set()

    async def result(self, model: str, request_id: str) -> Any:
        if self._asked:
            await self._held.wait()
            asked, self._asked = self._asked, {}
            command_table.send(
                self._batch, 3, asked, keep=False, now=time.time(), timing=DEFAULT_TIMING
            )
            async with asyncio.timeout(60.0):
                while query(self._batch.parent, "SELECT COUNT(*) FROM commands") != [(0,)]:
                    await asyncio.sleep(0.01)
                while not self._done():
                    await asyncio.sleep(0.01)
        return await super().result(model, request_id)


@dataclass(frozen=True, slots=True)
class Distant(Endpoint):
    """An API that is so far away."""

    batch: Path = Path()
    command: str = ""
    value: str = ""

    late: float = 0.0
    done: Callable[[], bool] | None = None

    def services(self, *words: Any) -> RunComfy:
        found = Endpoint.services(self, *words)
        if self.done is not None:
            found.models = Held(found.models, self.batch, {self.command: self.value}, self.done)
        elif self.late:
            found.models = Late(found.models, self.batch, self.late)
        else:
            found.models = Connecting(found.models, self.batch, {self.command: self.value})
        return found


def go_on(
    folder: Path, address: Address, command: str, value: str, policy: Policy, late: float = 0.0,
    done: Callable[[], bool] | None = None,
) -> RunOutcome:  # fmt: skip
    batch, hosts = Folder(folder), (parse_media_host(address.media_host),)
    endpoint = Distant(
        *(address.base_url, TOKEN, hosts),
        use_proxy=False, batch=batch.journal, command=command, value=value, late=late,
        done=done,
    )  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(batch.locked())
        journal, receipts = open_journal(stack, batch, Clock())
        journal.start_run("list.csv", {})
        run = execute(
            journal, receipts, batch, endpoint, policy, KEEPING, lambda *_: NoProgress(),
            timing=QUICK,
        )  # fmt: skip
        return event_loop.run(run)


def test_a_pause_holds_a_request_whose_connection_is_being_made(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    run(write("list.csv", table(many(2))), "--limit", 0)

    outcome = go_on(folder, address, "pause", "", Policy(rate=1000.0, stop_after=5.0))

    assert outcome.code == 75
    assert "batchgen resume" in outcome.remedy
    assert sandbox.posts == 0
    assert states(folder) == {"row-1": "pending", "row-2": "pending"}


def test_a_limit_that_is_lowered_holds_it_too(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    run(write("list.csv", table(many(2))), "--limit", 0)

    outcome = go_on(folder, address, "max-cost", "0", Policy(rate=1000.0))

    assert outcome.code == 75
    assert "--max-cost" in outcome.reason
    assert sandbox.posts == 0
    assert states(folder) == {"row-1": "pending", "row-2": "pending"}


def test_an_end_that_is_moved_before_all_is_collected_lets_it_go_on(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    run(write("list.csv", table({"slow": "[[slow:7]] a heron", "next": "a fox"})), "--limit", 0)
    end = time.time() + 3.0

    policy = Policy(rate=0.25, until=end, stop_after=3.0)
    outcome = go_on(folder, address, "", "", policy, late=end)

    assert outcome.code == 0
    assert states(folder) == {"slow": "saved", "next": "saved"}
    events = query(folder, "SELECT detail FROM events WHERE event = 'set'")
    assert [detail.startswith("until 20") for (detail,) in events] == [True]


# -- while a row waits for the cost of one that is under way --------------------------------------

ROOM_FOR_ONE = Policy(
    rate=1000.0, limits=CostLimits(batch=0.07), prices={DEFAULT_MODEL: Price(0.03)}
)


def one_is_under_way(run: Command, write: Write, prompt: str = "an owl") -> None:
    """Of three rows the first has its cost, and an earlier run has sent the second."""
    manifest = write("list.csv", table({"first": "a heron", "sent": prompt, "next": "a fox"}))
    run(manifest, "--limit", 1)
    run(manifest, "--limit", 1, timing=NEVER_ASKING)


def test_a_limit_that_is_raised_lets_a_row_go_that_waits_for_a_cost(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    one_is_under_way(run, write)

    def is_sent() -> bool:
        return states(folder)["next"] != "pending"

    outcome = go_on(folder, address, "max-cost", "1", ROOM_FOR_ONE, done=is_sent)

    assert outcome.code == 0
    assert states(folder) == {"first": "saved", "sent": "saved", "next": "saved"}


def test_a_pause_holds_a_row_that_waited_for_a_cost(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    one_is_under_way(run, write)
    policy = replace(ROOM_FOR_ONE, stop_after=3.0)
    outcome = go_on(folder, address, "pause", "", policy, done=lambda: True)

    assert outcome.code == 75
    assert "batchgen resume" in outcome.remedy
    assert states(folder) == {"first": "saved", "sent": "saved", "next": "pending"}


def test_the_time_limit_ends_a_run_in_which_a_row_waits_for_a_cost(
    run: Command, folder: Path, write: Write, address: Address, sandbox: Control
) -> None:
    one_is_under_way(run, write, "[[slow:4]] an owl")
    policy = replace(ROOM_FOR_ONE, stop_after=1.0)
    outcome = go_on(folder, address, "max-cost", "1", policy, late=math.inf)

    assert (outcome.code, outcome.reason) == (75, TIME_LIMIT.reason)
    assert states(folder) == {"first": "saved", "sent": "saved", "next": "pending"}
