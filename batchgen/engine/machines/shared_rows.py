"""The rows of a batch that other machines work through as well.

Rows are taken for this run before they are sent, some at a time, so that the others find some too;
what cannot be sent from here is let go.
"""

import logging
import math
from dataclasses import dataclass, field

from batchgen.engine.dispatcher import PendingRows
from batchgen.engine.machines.first_rows import FirstRows, TriedModel
from batchgen.errors import JournalLocked
from batchgen.journal.writer import Request

log = logging.getLogger(__name__)

TAKEN_AHEAD_S = 0.5  # of rows, which other machines cannot have meanwhile
MOST_TAKEN = 50
LOOK_AGAIN_S = 0.5  # for rows, after none was free


@dataclass(eq=False)
class SharedRows(PendingRows):
    _left: set[str] = field(default_factory=set)  # keys of rows that cannot be sent from here
    _look_at: float = 0.0  # when rows are looked for again
    _told: set[str] = field(default_factory=set)  # the models of which it was said that they wait
    _to_let_go: list[Request] = field(default_factory=list)  # which could not be written yet
    awaits_first: bool = False

    def __post_init__(self) -> None:
        state = self._state
        self._first_rows = FirstRows(
            state.breaker.has_accepted, state.costs.needs_cost, state.timing.machine_first
        )

    async def next_row(self) -> Request | None:
        await self._leave_when_offline()
        return await super().next_row()

    async def _leave_when_offline(self) -> None:
        """Leave rows to machines that reach the API, all but one, by which this one finds out."""
        if self._state.offline_tries and len(self._page) + len(self._given_back) > 1:
            await self.close()

    async def _drop_stopped(self) -> None:
        """Leave rows of a model that takes none from here to machines from which it may."""
        while True:  # one may stop meanwhile
            stopped = self._state.breaker.stopped_models
            rows = [row for row in (*self._page, *self._given_back) if row.model in stopped]
            if not rows:
                return
            self._page = [row for row in self._page if row.model not in stopped]
            self._given_back = [row for row in self._given_back if row.model not in stopped]
            await self._let_go_of(rows)

    async def _read_ahead(self) -> None:
        """Take rows for this run, where it has a place for one and some may be free."""
        state, now = self._state, self._state.time()
        if now < self._look_at or state.places <= 0:
            return
        last = state.policy.last_position
        count = max(min(math.ceil(state.limiter.rate * TAKEN_AHEAD_S), MOST_TAKEN), 1)
        if state.offline_tries:  # it may last, and the others can send them
            if state.open_posts:
                return
            count = 1
        found: list[Request] = []
        left: set[str] = set()

        def take() -> None:
            nonlocal found, left
            tried = map(TriedModel._make, self._journal.tried_by_others())
            left = self._first_rows.left_to_others(tried, now)
            skip = {*state.breaker.stopped_models, *left}
            found = self._journal.take_pending(count, skip, self._left, last)
            self.awaits_first = not found and self._journal.has_free(left)

        try:
            # Alone: who waits for his turn has nothing that others may wait for.
            await self._writes.enqueue(take, alone=True)
        except JournalLocked as locked:  # no harm: it is looked again
            log.debug("%s", locked.what)
            self._look_at = self._state.time() + LOOK_AGAIN_S
            self.awaits_first = True
            return
        self._page = found[::-1]
        if not found:
            self._look_at = now + LOOK_AGAIN_S
        if self.awaits_first:
            for model in sorted(left - self._told):
                log.info("%s: another machine tries its first row; the others wait.", model)
            self._told |= left

    async def put_back(self, row: Request) -> None:
        await self._let_go_of([row])

    async def leave(self, row: Request) -> None:
        """Leave a row to machines from which it can be sent: one may have the file."""
        self._left.add(row.key)
        await self._let_go_of([row])

    async def close(self) -> None:
        rows = [*self._page, *self._given_back]
        self._page, self._given_back = [], []
        await self._let_go_of(rows)

    async def _let_go_of(self, rows: list[Request]) -> None:
        rows = [*self._to_let_go, *rows]
        if not rows:
            return

        def let_go() -> None:
            for row in rows:
                self._journal.let_go_of(row.key)

        self._to_let_go = []
        try:
            await self._writes.enqueue(let_go)
        except JournalLocked as locked:  # no harm: it is tried again
            log.debug("%s", locked.what)
            self._to_let_go = rows
