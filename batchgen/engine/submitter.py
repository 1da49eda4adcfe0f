"""Submits one row: sends its paid POST once, and makes the outcome durable before anything else.

The order, which docs/maintainers/architecture.md calls the life of an answer:

0. The body is made. A row whose local file is not what was checked stays `pending`, unsent.
1. `pending -> submitting` is recorded (W1) by the body itself, before its first byte leaves. One
   that was held up until then, together with others, waits for another turn, or goes back.
2. The service classifies whatever came back, or that nothing did, as a `SubmitOutcome`.
3. A request_id is recorded (W2), with a receipt. Any other outcome moves the row as the table in
   core/states.py says.
4. Only then the outcome is applied to the run: its rate, its circuit breaker, whether it goes on.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from batchgen.api.body import Body, StreamedBody
from batchgen.api.service import Services
from batchgen.api.submit_outcome import (
    Accepted,
    Blocked,
    Halt,
    HaltReason,
    ModelHalt,
    NotAccepted,
    NotSent,
    OutcomeUnknown,
    Rejected,
    RowOutcome,
    SubmitOutcome,
    Throttled,
    refusal_of_files,
)
from batchgen.batch_folder import Folder
from batchgen.clock import show_time, to_iso
from batchgen.core.budget import ActiveLimit, active_limits, first_exceeded, may_fit_later
from batchgen.core.local_files import FileChanged
from batchgen.core.states import Event
from batchgen.core.text import describe_error
from batchgen.engine.dispatcher import Dispatcher
from batchgen.engine.held_rows import HeldRow
from batchgen.engine.machines.account import SharedSlots
from batchgen.engine.other_batches import OtherBatches
from batchgen.engine.run_outcome import NO_MEMORY, RunOutcome, blocked_outcome
from batchgen.engine.run_state import RunState
from batchgen.engine.shared_rate import SharedRateLimit
from batchgen.errors import (
    BatchgenError,
    JournalLocked,
    JournalTaken,
    JournalUnreachable,
    StoppedEarly,
    StorageDamaged,
    TokenRefused,
)
from batchgen.inputs.payload import Payloads
from batchgen.journal.group_commit import PendingWrite, WriteQueue
from batchgen.journal.postgres.accounts import Account
from batchgen.journal.receipts import Receipt
from batchgen.journal.writer import CostLimitReached, HandedIn, Journal, Request, RequestIdInUse

log = logging.getLogger(__name__)

LONG_PAUSE_S = 10.0  # from here on a pause is told to the person

# The exit code of a run that stops for it, and what to do next.
_HALTS = {
    HaltReason.BALANCE: (75, "Top up the account and run the same command again to go on."),
    HaltReason.TOKEN: (77, TokenRefused.ANOTHER),
    HaltReason.SERVICE: (
        69,
        "Check --base-url, the proxy and the certificate, then run the command again.",
    ),
}


_TOO_LATE = "Too much time went by before this request left."


class Withheld(StoppedEarly):
    """The person wants nothing submitted now, so this request was not sent."""


@dataclass(eq=False)
class Submitter:
    _journal: Journal
    _folder: Folder
    _services: Services
    _state: RunState
    _shared_rate: SharedRateLimit
    _writes: WriteQueue
    _dispatcher: Dispatcher
    _others: OtherBatches
    _payloads: Payloads
    _account: Account | None = None  # that other machines submit to, by this database
    _slots: SharedSlots | None = None
    _unsent: set[str] = field(default_factory=set)  # keys of rows that go back to the dispatcher
    _is_near_limit: bool = False  # a row had to wait for the costs of others

    async def submit(self, row: Request) -> Request:
        """Send the row's paid POST, once; return the row as it is afterwards."""
        try:
            if self._state.may_submit:
                await self._submit_once(row, self._state.time())
            else:  # the limit that stopped the run may be moved
                self._unsent.add(row.key)
            return await self._writes.read(lambda: self._journal.get_request(row.key))
        finally:
            self._state.open_posts.discard(row.key)
            self._state.breaker.on_answered(row.model, files=bool(row.local_files))
            # Last: from here on another task may have the row.
            if row.key in self._unsent:
                self._unsent.remove(row.key)
                self._dispatcher.give_back(row)
            self._state.notify()

    def waits_for_costs(self, row: Request) -> bool:
        """Return whether a row has no room below a limit of cost until others have their costs.

        It is asked before the row takes a turn, and costs nothing until a limit is near. W1 has the
        last word. Raises StoppedEarly, StorageDamaged or one of its subclasses.
        """
        if not self._is_near_limit or self._writes.is_away:
            return False
        price = self._state.costs.estimate(row.model, row.input).usd
        with suppress(JournalLocked, JournalUnreachable), self._journal.at_once():
            reserved = self._journal.reserved()
            ahead = len(self._state.open_posts - reserved.keys())
            return self._may_fit_later(row, price, self._limits(), reserved, ahead)
        return False

    async def _submit_once(self, row: Request, dispatched_at: float) -> None:
        try:
            shape = self._services.of(row.model).capabilities.shape
            body = await self._payloads.open(row.input, shape)
        except FileChanged as error:
            await self._hold_changed(row, str(error))
            return
        with closing(body) if isinstance(body, StreamedBody) else nullcontext():
            await self._send(row, body, dispatched_at)

    async def _send(self, row: Request, body: Body, dispatched_at: float) -> None:
        task = asyncio.current_task()
        cancellations = task.cancelling() if task else 0
        sent_at = self._state.time()
        claimed_at = self._state.clock.now(), sent_at

        def record() -> None:
            nonlocal claimed_at
            claimed_at = self._state.clock.now(), self._state.time()
            self._record_submitting(row)

        submitting = self._writes.enqueue(record)
        handed_in = False

        async def commit() -> None:
            nonlocal handed_in
            try:
                await submitting
                await self._keep_to_rate(dispatched_at, claimed_at)
                await self._writes.read(lambda: self._refuse_beside_other_batches(row))
                self._refuse_old_claim(claimed_at)
                if self._writes.failure:  # of another row's write, and this body has not left yet
                    raise self._writes.failure
            except BatchgenError as error:
                handed_in = isinstance(error, HandedIn)
                # At once: other rows are about to send theirs.
                if self._state.may_submit and not isinstance(error, Withheld | HandedIn):
                    stop = RunOutcome.under_way(error)
                    if isinstance(error, CostLimitReached):
                        setting = "max-cost" if error.of_batch else ""
                        reason = f"{row.where}: {stop.reason}"
                        stop = replace(stop, reason=reason, setting=setting)
                    self._state.stop(stop)
                raise

        try:
            outcome = await self._services.of(row.model).submit(row.model, body, commit)
        except Exception as error:
            if await submitting.cancel():  # its body may have left
                reason = f"a mistake in batchgen ({describe_error(error)})"
                await self._record_not_accepted(row, Event.OUTCOME_UNKNOWN, None, reason)
            raise
        if isinstance(outcome, Rejected) and row.model not in self._state.breaker.takes_files:
            outcome = refusal_of_files(outcome, row.input)
        what_happened = _row_outcome(outcome)
        if await submitting.cancel() and isinstance(what_happened, NotSent):
            # It was recorded, and then something came between that and the body.
            await self._record_not_accepted(row, Event.NOT_ACCEPTED, None, "")
        await self._record(row, what_happened)
        if handed_in:
            await self._dispatcher.put_back(row)
        else:
            await self._apply_outcome(row, outcome, sent_at)
        if task and task.cancelling() > cancellations:
            raise asyncio.CancelledError

    # -- what is recorded --------------------------------------------------------------------------

    async def _keep_to_rate(self, dispatched_at: float, claimed_at: tuple[float, float]) -> None:
        """Wait for another turn where this request was held up. Raises StoppedEarly."""
        state = self._state
        if self._dispatcher.is_long_over():  # the computer slept while the connection was made
            raise Withheld(_TOO_LATE)
        left = min(state.timing.claim - self._age(claimed_at), self._dispatcher.time_left())
        end = state.time() + left
        if self._slots is None:
            delay = state.leave(left)
        else:
            delay = await self._slots.another_if_late(dispatched_at, left)
        while delay != 0.0:
            if delay is None or state.time() + delay > end:
                raise Withheld(_TOO_LATE)
            await state.clock.sleep(delay)
            self._refuse_if_nothing_is_sent()
            delay = 0.0
            if self._slots is None:  # another batch's may have been held up as well
                interval = 1 / state.limiter.rate
                delay = self._shared_rate.acquire(state.clock.monotonic(), interval)

    def _refuse_old_claim(self, claimed_at: tuple[float, float]) -> None:
        """Raise Withheld where this computer slept since: another may have let the row go."""
        if self._journal.is_shared and self._age(claimed_at) > self._state.timing.claim:
            raise Withheld(_TOO_LATE)

    def _age(self, claimed_at: tuple[float, float]) -> float:
        """claimed_at: by both clocks, since one may stand still while the computer sleeps."""
        now = self._state.clock.now(), self._state.time()
        return max(after - before for before, after in zip(claimed_at, now, strict=True))

    def _refuse_if_nothing_is_sent(self) -> None:
        if not self._state.may_submit:
            raise StoppedEarly("The run stopped before this request left.")
        if self._state.paused_since:  # while its connection was made
            raise Withheld("The batch was paused before this request left.")

    def _record_submitting(self, row: Request) -> None:
        """W1. Raises StoppedEarly, also where a cost limit would be exceeded."""
        self._refuse_if_nothing_is_sent()
        if self._account is not None and self._state.policy.limits.any():
            self._account.take()  # so that no other machine reserves beside this one
        expected = self._state.costs.estimate(row.model, row.input)
        memory = self._state.changed_rate_memory()
        version = self._state.policy.versions.get(row.model)
        limits = self._limits()
        try:
            self._journal.record_submitting(row, expected, limits, memory, version)
        except CostLimitReached:
            self._withhold_if_it_may_fit_later(row, expected.usd, limits)
            raise

    def _limits(self) -> list[ActiveLimit]:
        now = datetime.fromtimestamp(self._state.clock.now())
        return active_limits(self._state.policy.limits, now, self._others.committed_usd)

    def _refuse_beside_other_batches(self, row: Request) -> None:
        """Raise CostLimitReached if another batch has taken what a limit of all batches left.

        The reservation of the row is durable by now, so of two runs at least one sees the other's.
        """
        limits = self._limits()
        shared = [limit for limit in limits if limit.others is not None]
        if limit := first_exceeded(self._journal.committed_usd, 0.0, shared):
            self._withhold_if_it_may_fit_later(row, 0.0, limits)  # its price is committed
            expected = self._state.costs.estimate(row.model, row.input)
            raise CostLimitReached.at(limit, self._journal.committed_usd, expected)

    def _withhold_if_it_may_fit_later(
        self, row: Request, price: float | None, limits: list[ActiveLimit]
    ) -> None:
        """Raise Withheld where requests of this run hold what a row lacks. price: not yet counted.

        Most cost less than what is reserved, where one was dear; so the run goes on.
        """
        if not self._may_fit_later(row, price, limits, self._journal.reserved()):
            return
        if not self._is_near_limit:
            log.info("A limit of cost is reserved: rows wait for the costs of requests under way.")
        self._is_near_limit = True
        raise Withheld("This request waits until others have their cost.")

    def _may_fit_later(
        self,
        row: Request,
        price: float | None,
        limits: list[ActiveLimit],
        reserved: Mapping[str, tuple[str, float]],
        ahead: int = 0,
    ) -> bool:
        """reserved: as the journal has it. price, ahead: as `may_fit_later` of core has them."""
        keys = self._state.under_way - {row.key}
        held = [reserved[key] for key in keys & reserved.keys()]
        return may_fit_later(
            self._journal.committed_usd,
            lambda since: sum(usd for at, usd in held if at >= since),
            price,
            limits,
            ahead,
        )

    async def _record(self, row: Request, outcome: RowOutcome) -> None:
        match outcome:
            case Accepted(request_id, note):
                await self._record_accepted(row, request_id, note)
            case Throttled(code=code):
                await self._record_not_accepted(row, Event.THROTTLED, code, "rate limit")
            case NotAccepted(reason, code) | Blocked(reason, code):
                await self._record_not_accepted(row, Event.NOT_ACCEPTED, code, reason)
            case Rejected(reason, code):
                await self._record_not_accepted(row, Event.REJECTED, code, reason)
                log.warning("%s: %s", row.where, reason)
            case OutcomeUnknown(reason, code, answer):
                await self._record_not_accepted(row, Event.OUTCOME_UNKNOWN, code, reason, answer)
                log.warning("%s: %s", row.where, reason)
            case NotSent():
                pass
            case _:
                assert_never(outcome)

    async def _record_not_accepted(
        self, row: Request, event: Event, code: int | None, reason: str, answer: str = ""
    ) -> None:
        await self._writes.enqueue(
            lambda: self._journal.record_not_accepted(row, event, code, reason, answer)
        )

    async def _record_accepted(self, row: Request, request_id: str, note: str) -> None:
        """W2, and a receipt. Whatever fails, the request_id is written somewhere."""

        def write() -> None:
            self._journal.record_accepted(row, request_id, note)

        receipt = Receipt(row.key, row.attempts + 1, request_id, to_iso(self._state.clock.now()))
        pending = self._writes.enqueue(write, receipt)
        error: StorageDamaged | None = None
        try:
            await pending
        except Exception:  # noqa: BLE001  # it may be of another row of the same group
            try:
                error = await self._retry_commit(pending)
            except RequestIdInUse as in_use:
                self._state.stop(replace(RunOutcome.of(in_use), fault=True))
                await self._record_not_accepted(row, Event.OUTCOME_UNKNOWN, None, in_use.what)
                return
        log.debug("%s: accepted as %s", row.where, request_id)
        if not pending.receipt_written:
            self._writes.write_receipts(pending)
        if self._writes.receipts_failure is not None:
            failure = f"{self._folder.receipts}: {self._writes.receipts_failure}"
            error = error or StorageDamaged(failure)
        if error is not None:
            log.critical("Accepted as %s: row %r (%s).", request_id, row.id, row.source)
            self._state.stop(RunOutcome.under_way(error))

    async def _retry_commit(self, failed: PendingWrite) -> StorageDamaged | None:
        """Try again, in a group of its own; return what is wrong with the journal, None for
        nothing. Raises RequestIdInUse.
        """
        error: StorageDamaged | None = None
        for _ in range(self._state.timing.commit_tries):
            again = self._writes.enqueue(failed.write, failed.receipt, alone=True)
            again.receipt_written = failed.receipt_written
            try:
                await again
                # To have waited for a lock is no harm; a disk that failed once is not believed.
                return None if isinstance(error, JournalLocked) else error
            except (JournalTaken, JournalUnreachable) as gone:  # it was waited for
                return gone
            except JournalLocked as locked:
                error = error or locked
            except StorageDamaged as damaged:
                error = damaged
                self._folder.drop_ballast()
            except RequestIdInUse:
                raise
            except Exception as mistake:
                log.error("A mistake in batchgen", exc_info=mistake)
                return StorageDamaged(f"{self._journal.path}: {describe_error(mistake)}")
            finally:
                failed.receipt_written = again.receipt_written
        return error

    # -- what follows for the run ------------------------------------------------------------------

    async def _apply_outcome(self, row: Request, outcome: SubmitOutcome, sent_at: float) -> None:
        state = self._state
        what_happened = _row_outcome(outcome)
        if isinstance(what_happened, NotSent | NotAccepted | Throttled):
            self._unsent.add(row.key)
        if isinstance(what_happened, Accepted) or getattr(what_happened, "code", None) is not None:
            state.report_online()
        match outcome:
            case NotSent(reason, offline):
                if offline:
                    state.report_offline(reason)
            case Halt(why=HaltReason.MEMORY):
                state.stop(NO_MEMORY)
            case Halt(what_happened, why, perhaps_model):
                if perhaps_model and await self._is_covered(row):
                    state.report_halted(row.where, row.model, what_happened.reason)
                else:
                    self._halt(row, what_happened.reason, why)
            case ModelHalt(what_happened):
                state.held.on_answered()
                state.report_halted(row.where, row.model, what_happened.reason)
            case Blocked(reason, code):
                await self._hold(row, reason, code)
            case Throttled(retry_after):
                state.held.on_answered()
                await self._slow_down(sent_at, retry_after)
            case Accepted():
                state.limiter = state.limiter.after_acceptance(sent_at)
                if self._slots is not None:
                    self._slots.on_accepted(sent_at)
                state.breaker.on_accepted(row.model, files=bool(row.local_files))
                for held in state.held.on_accepted(sent_at):
                    await self._fail_held(held)
            case Rejected(reason):
                state.held.on_answered()
                state.breaker.on_clear_outcome(row.model)
                state.report_failure(row.model, reason)
            case OutcomeUnknown():
                state.report_unknown(row.where, row.model)
            case _:
                assert_never(outcome)

    def _halt(self, row: Request, reason: str, why: HaltReason) -> None:
        code, remedy = _HALTS[why]
        self._state.stop(RunOutcome(code, f"{row.where}: {reason}", remedy))

    async def _is_covered(self, row: Request) -> bool:
        """Whether the balance is known, and enough for this row."""
        expected, balance = self._state.costs.estimate(row.model, row.input), None
        if expected.usd is not None and not expected.floor:
            balance = await self._services.of(row.model).balance()
        return balance is not None and balance >= (expected.usd or 0.0)

    async def _hold(self, row: Request, reason: str, code: int) -> None:
        """Send the row no more in this run, and find out whether any other would fare better."""
        state = self._state
        self._dispatcher.uncount()
        log.warning("%s: %s. It stays pending for now.", row.where, reason)
        state.held.on_blocked(HeldRow(row.key, row.where, reason, code, state.time()))
        # The first in a row: a token that was refused shows with whatever is asked next.
        why = None
        if state.held.in_a_row == 1:
            why = await self._services.of(row.model).refusal(row.model)
        if why is not None:
            self._halt(row, f"{reason}, and so was a free question: {why.value}", why)
        elif state.held.stops_everything:
            state.stop(blocked_outcome(state.held))

    async def _hold_changed(self, row: Request, reason: str) -> None:
        """Leave a row pending whose file is not what was checked."""
        self._state.report_changed_file(row.where, reason)
        await self._dispatcher.leave(row)

    async def _fail_held(self, held: HeldRow) -> None:
        reason = f"{held.reason}, while others were accepted"
        await self._writes.enqueue(
            lambda: self._journal.record_blocked(held.key, held.code, reason)
        )
        log.warning("%s: %s", held.where, reason)

    async def _slow_down(self, sent_at: float, retry_after: float | None) -> None:
        state = self._state
        state.throttled = True
        now = state.time()
        before = state.limiter.delay(now)
        state.limiter = state.limiter.after_429(now, sent_at, retry_after)
        delay = state.limiter.delay(now)
        self._shared_rate.pause(state.clock.monotonic(), delay)
        if self._slots is not None:
            self._slots.on_429(sent_at, retry_after)
            await self._slots.tell()
        if delay > max(before, LONG_PAUSE_S):
            log.info("Rate limit: waiting until %s.", show_time(state.clock.now() + delay))
        if delay > before + 1.0:  # a run that starts after a kill has to wait as well
            await self._writes.enqueue(lambda: self._journal.set_meta(state.rate_memory()))


def _row_outcome(outcome: SubmitOutcome) -> RowOutcome:
    """Return what became of the row, whatever follows for others."""
    return outcome.row if isinstance(outcome, Halt | ModelHalt) else outcome
