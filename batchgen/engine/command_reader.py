"""Takes what a person asks of the run from another process: looks for it, records it, does it.

One indexed read a second, of a table that is mostly empty. Nothing else of the run is woken unless
something was asked.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from batchgen.core.assignments import PAUSE, RESUME
from batchgen.core.states import RunEvent
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.policy import Policy
from batchgen.engine.poller import Poller
from batchgen.engine.rate_limiter import WINDOW_S
from batchgen.engine.run_outcome import MISTAKE, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.engine.steering import Held, Steered, steer
from batchgen.errors import BatchgenError
from batchgen.journal import command_table
from batchgen.journal.command_table import Command
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.writer import Journal

log = logging.getLogger(__name__)

_NOT_OURS = "a command that batchgen does not write was left out"
_LATE = "it was asked of an earlier run"
_WORDS = {
    RunEvent.PAUSED: "Paused: nothing more is submitted; what was sent is still collected.",
    RunEvent.RESUMED: "Resumed.",
    RunEvent.SET: "Set: {detail}.",
    RunEvent.NOT_SET: "Not set: {detail}.",
}


@dataclass(eq=False)
class CommandReader:
    """written: what the command line and the list allow. kept: for later runs too, by setting."""

    _journal: Journal
    _writes: WriteQueue
    _state: RunState
    _poller: Poller
    _shared_rate: SharedRateLimit
    _written: Policy
    _kept: Mapping[str, str]
    _slots: SharedSlots | None = None
    _recorded: Steered | None = None  # what was not followed yet

    async def run(self) -> None:
        """Look for commands until the task is cancelled."""
        while True:
            await asyncio.sleep(self._state.timing.command_look)
            try:
                if not self._writes.is_away:
                    await self._look()
            except BatchgenError as error:  # of the journal
                if self._writes.passes(error):
                    log.debug("%s", error.what)
                    continue
                self._state.stop(RunOutcome.under_way(error))
                return
            except Exception as error:  # nobody could pause the run any more
                log.error("A mistake in batchgen", exc_info=error)
                self._state.stop(MISTAKE)
                return

    async def _look(self) -> None:
        if self._recorded is not None:
            await self._follow(self._recorded)
        with self._journal.at_once():
            found = command_table.waiting(self._journal, for_run=True)
        for seq, command in found:
            await self._take(seq, command)

    async def _take(self, seq: int, command: Command | None) -> None:
        held = self._held()
        steered = self._steered(held, command)
        before, after = _memory(held), _memory(steered.held)
        memory = {name: value for name, value in after.items() if value != before[name]}
        record = partial(command_table.record_taken, self._journal, seq)
        await self._writes.enqueue(partial(record, steered.event, steered.detail, memory))
        self._recorded = steered
        log.info("%s", _WORDS[steered.event].format(detail=steered.detail))
        await self._follow(steered)

    def _held(self) -> Held:
        state = self._state
        return Held(state.policy, state.paused_since, self._kept)

    def _steered(self, held: Held, command: Command | None) -> Steered:
        if command is None:
            return Steered(held, RunEvent.NOT_SET, _NOT_OURS)
        is_setting = command.command not in (PAUSE, RESUME)
        # What is asked where several may run is asked of all that take it.
        if is_setting and command.run != self._journal.run and not self._journal.is_shared:
            return Steered(held, RunEvent.NOT_SET, f"{command.command}: {_LATE}")
        return steer(
            held,
            (command.command, command.value, command.keep),
            written=self._written,
            at=command.at,
            now=datetime.fromtimestamp(self._state.clock.now()),
            run_time=self._state.time(),
        )

    async def _follow(self, steered: Steered) -> None:
        state, policy = self._state, steered.held.policy
        state.paused_since = steered.held.paused_since
        if policy.rate != state.policy.rate:
            await self._change_rate(policy.rate)
        state.policy, self._kept = policy, steered.held.kept
        state.costs.limited = policy.limits.any()
        state.lift(steered.setting)
        self._recorded = None

    async def _change_rate(self, rate: float) -> None:
        state = self._state
        state.limiter = state.limiter.at_most(rate, await self._recent())
        delay = state.limiter.delay(state.time())
        self._shared_rate.change(state.clock.monotonic(), delay)
        if self._slots is not None:
            await self._slots.hold(delay)
        self._poller.allow(rate)
        if delay > 1 / rate:
            log.info(
                "The last minute held more than that: the next submission may go in %.0f s.", delay
            )

    async def _recent(self) -> list[float]:
        """Return when the latest submissions of all machines left, on the run's clock."""
        recent = [*self._state.recent]
        if self._slots is None:
            return recent
        ahead = self._state.clock.now() - self._state.time()

        def read() -> None:
            nonlocal recent
            since = self._state.clock.now() - WINDOW_S
            recent = [at - ahead for at in self._journal.submissions_since(since)]

        await self._writes.enqueue(read)
        return recent


def _memory(held: Held) -> dict[str, Any]:
    """What later runs have to know, as `set_meta` takes it."""
    paused = {"at": held.paused_since} if held.paused_since else None
    return {command_table.PAUSED: paused, command_table.KEPT: dict(held.kept) or None}
