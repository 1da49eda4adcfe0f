"""A command that comes at a certain moment of a run."""

import asyncio
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from conftest import Command, Write
from helpers import TOKEN, many, query, states, table
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


@dataclass(frozen=True, slots=True)
class Distant(Endpoint):
    """An API that is so far away."""

    batch: Path = Path()
    command: str = ""
    value: str = ""

    late: float = 0.0

    def services(self, *words: Any) -> RunComfy:
        found = Endpoint.services(self, *words)
        if self.late:
            found.models = Late(found.models, self.batch, self.late)
        else:
            found.models = Connecting(found.models, self.batch, {self.command: self.value})
        return found


def go_on(
    folder: Path, address: Address, command: str, value: str, policy: Policy, late: float = 0.0
) -> RunOutcome:
    batch, hosts = Folder(folder), (parse_media_host(address.media_host),)
    endpoint = Distant(
        *(address.base_url, TOKEN, hosts),
        use_proxy=False, batch=batch.journal, command=command, value=value, late=late,
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
