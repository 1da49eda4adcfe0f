"""Sends rows, in the order of the manifest, as fast as limiter, breaker and person allow.

Decisions are the deciders': here a paid POST goes out, and what came of it is made durable before
anything else happens.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from batchgen.api.client import ApiClient
from batchgen.api.submit_outcome import HaltReason, SubmitOutcome, classify_submit
from batchgen.batch_folder import Folder
from batchgen.clock import show_time, to_iso
from batchgen.core.budget import active_limits
from batchgen.core.states import Event
from batchgen.engine import rate_limiter
from batchgen.engine.circuit_breaker import LOST, LOST_IN_A_ROW, SAME_CAUSE, CircuitBreaker
from batchgen.engine.policy import Policy
from batchgen.engine.run_outcome import NO_MEMORY, RUN_AGAIN, RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.errors import BatchgenError, JournalLocked, StoppedEarly, StorageDamaged, TokenRefused
from batchgen.journal.group_commit import Write, WriteQueue
from batchgen.journal.receipts import Receipt
from batchgen.journal.writer import Journal, Request, RequestIdInUse

log = logging.getLogger("batchgen")

MAX_COMMIT_TRIES = 7  # of ten seconds each, while somebody else keeps the journal locked

REMEDIES = {
    HaltReason.BALANCE: "Top up the account and run the same command again to go on.",
    HaltReason.TOKEN: TokenRefused.ANOTHER,
    HaltReason.SERVICE: "Check --base-url, the proxy and the certificate, then run the command"
    " again.",
}


class Submitter:
    """in_flight: the keys of rows that take up one of the run's places at the API."""

    def __init__(
        self,
        journal: Journal,
        folder: Folder,
        api: ApiClient,
        situation: RunState,
        policy: Policy,
        turns: SharedRateLimit,
        moves: WriteQueue,
    ) -> None:
        self._journal = journal
        self._moves = moves
        self._folder = folder
        self._api = api
        self._situation = situation
        self._policy = policy
        self._turns = turns
        self.pace = rate_limiter.resume_rate_limiter(policy.rate, self._saved_pace())
        self._remembered_rate = math.inf  # POSTs per second; none yet
        self.breaker = CircuitBreaker()
        self.in_flight: set[str] = set()
        self.open: set[str] = set()  # keys of rows whose POST has no outcome yet
        self._sent = 0
        self._page: list[Request] = []  # due rows, read ahead; the next one last
        self._returned: list[Request] = []  # rows that came back unaccepted, in the same order
        self._read_to = 0

    def _saved_pace(self) -> tuple[float | None, float] | None:
        """The rate that was learned, and the seconds until the next POST may go."""
        saved = self._journal.get_meta("pace")
        if not saved:
            return None
        now = self._situation.clock.now()
        rate = min(saved["learned"] or math.inf, self._policy.rate)
        last = self._journal.last_submitted_at()
        # A killed run has not said when its next POST was due. A clock set back must not matter.
        turn = 0.0 if last is None else min(last + 1 / rate - now, 1 / rate)
        return saved["learned"], max(saved["next_at"] - now, turn)

    def memory(self) -> dict[str, Any]:
        """What keeps a restart from bursting."""
        ahead = self.pace.wait(self._situation.time())
        next_at = self._situation.clock.now() + ahead
        learned = None if self.pace.too_fast is None else self.pace.rate
        self._remembered_rate = self.pace.rate
        return {"pace": {"rate": self.pace.rate, "learned": learned, "next_at": next_at}}

    def _news(self) -> dict[str, Any]:
        """The memory, where it says more than that a POST went out: that is an event anyway."""
        return self.memory() if abs(self.pace.rate / self._remembered_rate - 1) > 0.01 else {}

    async def run(self, begin: Callable[[Request], None]) -> None:
        """Hand every due row to `begin`, which is to call `submit` with it."""
        while self._situation.ending is None:
            row = self._due()
            if row is None and not self.open:
                return
            wait = math.inf if row is None else self._wait_before(row)
            if wait > 0:
                await self._situation.pause(wait)
            elif row is not None and not self._limit_reached():
                others = self._turns.take(self._situation.clock.monotonic(), 1 / self.pace.rate)
                if others > 0:
                    await self._situation.pause(min(others, self._time_left()))
                    continue
                self._take(row)
                begin(row)

    def _due(self) -> Request | None:
        """The next row to send; it stays where it is until `_take`."""
        stopped = self.breaker.stopped_models
        for rows in (self._returned, self._page):
            while rows and rows[-1].model in stopped:
                rows.pop()
        if not self._returned and not self._page:
            self._page = self._journal.next_pending(self._read_to, stopped)[::-1]
        return next(reversed(self._returned or self._page), None)

    def _wait_before(self, row: Request) -> float:
        """Seconds until `row` may go; infinite = until something changes."""
        now = self._situation.time()
        left = self._time_left()
        full = len(self.in_flight) >= self._policy.concurrency
        # In an outage one POST finds out for all whether it is over.
        probing = bool(self._situation.offline_tries and self.open)
        if full or probing or self._limit_in_doubt() or not self.breaker.may_send(row.model):
            return left
        return min(left, max(self.pace.wait(now), self._situation.offline_until - now, 0.0))

    def _time_left(self) -> float:
        """Seconds; by both clocks, since one may stand still while the computer sleeps."""
        stop_after, until = self._policy.stop_after, self._policy.until
        by_stop_after = math.inf if stop_after is None else stop_after - self._situation.time()
        by_until = math.inf if until is None else until - self._situation.clock.now()
        return max(min(by_stop_after, by_until), 0.0)

    def _limit_in_doubt(self) -> bool:
        """An open POST may yet come back unaccepted, and then it does not count."""
        limit = self._policy.limit
        return limit is not None and self._sent >= limit and bool(self.open)

    def _limit_reached(self) -> bool:
        limit = self._policy.limit
        if self._time_left() <= 0:
            reason = "The time limit is reached: nothing more is submitted."
            self._situation.stop(RunOutcome(75, reason, RUN_AGAIN, calm=True))
        elif limit is not None and self._sent >= limit:
            reason = f"The limit of {limit} submissions is reached."
            self._situation.stop(RunOutcome(75, reason, RUN_AGAIN, calm=True))
        return self._situation.ending is not None

    def _take(self, row: Request) -> None:
        if self._returned:
            self._returned.pop()
        else:
            self._page.pop()
            self._read_to = row.position
        self._sent += 1
        self.open.add(row.key)
        self.in_flight.add(row.key)
        self.breaker.sending(row.model)
        self.pace = self.pace.sent(self._situation.time())

    async def submit(self, row: Request) -> Request:
        """Send the row's paid POST, once; return the row as it is afterwards."""
        try:
            if self._situation.may_send:
                await self._submit(row)
        finally:
            self.open.discard(row.key)
            self.breaker.answered(row.model)
            self._situation.changed()
        return self._journal.get_request(row.key)

    async def _submit(self, row: Request) -> None:
        sent_at = self._situation.time()
        intent = self._moves.do(partial(self._intend, row))

        async def commit() -> None:
            try:
                await intent
                if self._moves.failure:  # of another row's, and this one's has not left yet
                    raise self._moves.failure
            except BatchgenError as error:
                # At once: other rows are about to send theirs.
                if self._situation.may_send:
                    self._situation.stop(RunOutcome.under_way(error))
                raise

        reply = await self._api.submit(row.model, row.input.encode(), commit)
        if await intent.drop() and not reply.opened:  # something came between it and the body
            await self._moves.do(
                partial(self._journal.record_not_accepted, row, Event.NOT_ACCEPTED, None, "")
            )
        if isinstance(reply.error, BatchgenError):
            return  # no byte of the body left
        if isinstance(reply.error, MemoryError):
            self._situation.stop(NO_MEMORY)
        verdict = classify_submit(reply, self._situation.clock.now())
        await self._record(row, verdict)
        await self._draw_conclusions(row, verdict, sent_at)
        if isinstance(reply.error, asyncio.CancelledError):
            raise reply.error

    def _intend(self, row: Request) -> None:
        if not self._situation.may_send:
            raise StoppedEarly("The run stopped before this request left.")
        limits = active_limits(
            self._policy.limits, datetime.fromtimestamp(self._situation.clock.now())
        )
        price = self._policy.prices.get(row.model)
        usd = None if price is None else price.of(row.input)
        self._journal.record_submitting(row, usd, limits, self._news())

    async def _record(self, row: Request, verdict: SubmitOutcome) -> None:
        if verdict.request_id is not None:
            await self._keep_id(row, verdict.request_id, verdict.reason)
        elif verdict.event is not None:
            answered = partial(self._journal.record_not_accepted, row, verdict.event)
            await self._moves.do(partial(answered, verdict.code, verdict.reason))
        if verdict.event in (Event.REJECTED, Event.OUTCOME_UNKNOWN):
            log.warning("%s: row %r: %s", row.source, row.id, verdict.reason)

    async def _keep_id(self, row: Request, request_id: str, note: str) -> None:
        """W2, and a receipt."""
        accepted = partial(self._journal.record_accepted, row, request_id, note)
        at = to_iso(self._situation.clock.now())
        due = self._moves.do(accepted, Receipt(row.key, row.attempts + 1, request_id, at))
        error: StorageDamaged | None = None
        try:
            await due
        except BatchgenError:  # it may be another row's
            try:
                error = await self._insist(accepted)
            except RequestIdInUse as twice:
                self._situation.stop(RunOutcome.of(twice))
                lost = partial(
                    self._journal.record_not_accepted, row, Event.OUTCOME_UNKNOWN, None, twice.what
                )
                await self._moves.do(lost)
                return
        log.info("%s: row %r: accepted as %s", row.source, row.id, request_id)
        if not due.noted:
            self._moves.note(due)
        if self._moves.unnoted is not None:
            error = error or StorageDamaged(f"{self._folder.receipts}: {self._moves.unnoted}")
        if error is not None:
            log.critical("Accepted as %s: row %r (%s).", request_id, row.id, row.source)
            self._situation.stop(RunOutcome.under_way(error))

    async def _insist(self, accepted: Write) -> StorageDamaged | None:
        """Try again and again, alone; return what is wrong with the disk. Raises IdInUse."""
        error: StorageDamaged | None = None
        for _ in range(MAX_COMMIT_TRIES):
            try:
                await self._moves.do(accepted, alone=True)
                # To have waited is no harm; a disk that failed once is not believed again.
                return None if isinstance(error, JournalLocked) else error
            except JournalLocked as locked:
                error = error or locked
            except StorageDamaged as failed:
                error = failed
                self._folder.drop_ballast()
        return error

    async def _draw_conclusions(self, row: Request, verdict: SubmitOutcome, sent_at: float) -> None:
        if verdict.event in (None, Event.NOT_ACCEPTED):
            self._sent -= 1
            self._returned = sorted([*self._returned, row], key=lambda back: -back.position)
        if verdict.offline:
            self._situation.offline(verdict.reason)
        elif verdict.code is not None or verdict.request_id is not None:
            self._situation.online()
        if verdict.stop is not None:
            ending = RunOutcome(verdict.stop.value, verdict.reason, REMEDIES[verdict.stop])
            self._situation.stop(ending)
        elif verdict.throttled:
            await self._slow_down(sent_at, verdict.wait)
        elif verdict.event is Event.ACCEPTED:
            self.pace = self.pace.accepted(sent_at)
            self.breaker.accepted(row.model)
        elif verdict.event is Event.REJECTED:
            self.breaker.answered_clearly(row.model)
            self.model_failed(row, verdict.reason)
        elif verdict.event is Event.OUTCOME_UNKNOWN:
            self._lost(row)

    def _lost(self, row: Request) -> None:
        known = self.breaker.stopped_models
        self.breaker.lost(row.model)
        if self.breaker.silent:
            reason = (
                f"{self.breaker.lost_in_a_row} answers in a row were lost, and each of those"
                " requests may have been billed: nothing more is submitted."
            )
            self._situation.stop(RunOutcome(75, reason, RUN_AGAIN))
        else:
            self._say_stopped(row.model, known)

    async def _slow_down(self, sent_at: float, wait: float | None) -> None:
        now = self._situation.time()
        waiting = self.pace.wait(now)
        self.pace = self.pace.throttled(now, sent_at, wait)
        ahead = self.pace.wait(now)
        self._turns.hold(self._situation.clock.monotonic(), ahead)
        if ahead > max(waiting, 10.0):
            until = show_time(self._situation.clock.now() + ahead)
            log.warning("Rate limit: waiting until %s.", until)
        if ahead > waiting + 1.0:  # whoever starts after a kill has to wait as well
            await self._moves.do(lambda: self._journal.set_meta(self.memory()))

    def model_failed(self, row: Request, cause: str) -> None:
        """A row was refused, or its request failed: many alike in a row stop the model."""
        known = self.breaker.stopped_models
        self.breaker.failed(row.model, cause)
        self._say_stopped(row.model, known)

    def _say_stopped(self, model: str, known: Mapping[str, str]) -> None:
        stopped = self.breaker.stopped_models
        if model in stopped and model not in known:
            log.warning(
                "%s: %d rows in a row failed with %r. Its other rows stay pending.",
                model,
                LOST_IN_A_ROW if stopped[model] == LOST else SAME_CAUSE,
                stopped[model],
            )
