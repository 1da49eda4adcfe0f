"""Asks about accepted requests until they have ended. Asking is free and may be repeated."""

import logging
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, assert_never

from batchgen.api.poll_outcome import (
    Cancelled,
    Completed,
    Ended,
    Failed,
    Missing,
    Running,
    Unauthorized,
    Unclear,
)
from batchgen.api.service import PollResult, Services
from batchgen.api.submit_outcome import HaltReason
from batchgen.core.expiry import PAID_BUT_GONE, has_expired
from batchgen.core.states import Event
from batchgen.engine.poll_schedule import (
    PRIOR_DURATIONS,
    DurationModel,
    next_poll_delay,
    read_durations,
    with_ended,
    write_durations,
)
from batchgen.engine.rate_limiter import RateLimiter
from batchgen.engine.run_outcome import RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.errors import StorageDamaged, TokenRefused
from batchgen.journal.follow import INSTANCES, QUEUE
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.stored_values import QUEUE_FIELDS
from batchgen.journal.writer import Journal, Request

log = logging.getLogger(__name__)

MIN_POLLS_PER_S = 20.0
POLLS_PER_SUBMISSION = 4.0
UNCLEAR_IN_A_ROW = 5  # answers that say nothing, until a person is told
NOTE_EVERY_S = 2.0  # as `status --watch` looks
MOST_INSTANCES = 100  # that are kept: a deployment has fewer
REFUSED_IN_A_ROW = 3  # questions, until another kind of question is asked


@dataclass
class _Answers:
    """What the API has said of one request so far.

    unclear, missing: answers in a row that say nothing, or that there is no such request.
    missing_until: when this run asks no more, on the run's clock. told: what a person was told.
    retry_after: seconds, of the last answer. running_at: the age at which it was last seen running.
    """

    unclear: int = 0
    missing: int = 0
    missing_until: float = 0.0
    retry_after: float | None = None
    told: str = ""
    running_at: float = 0.0


class Poller:
    """durations: what each model's requests take, learned here and kept for the next run."""

    def __init__(
        self,
        journal: Journal,
        writes: WriteQueue,
        services: Services,
        run_state: RunState,
        max_rate: float,
    ) -> None:
        """max_rate: submissions per second; the questions have a limit of their own above it."""
        self._journal = journal
        self._writes = writes
        self._services = services
        self._state = run_state
        self._limiter = _limiter_of_questions(max_rate)
        self.durations = read_durations(journal.get_meta("times"))
        self._ended: list[tuple[str, float, float]] = []  # since others were told of them
        self._scouted: set[str] = set()
        self._positions: dict[str, int] = {}
        self._instances: dict[str, dict[str, Any]] = {}
        self._kept: tuple[tuple[int, int, int] | None, dict[str, Any]] = (None, {})
        self._next_note = 0.0

    def allow(self, max_rate: float) -> None:
        """The person allows another rate of submissions from now on."""
        self._limiter = _limiter_of_questions(max_rate)

    async def poll_until_ended(self, row: Request, *, at_once: bool) -> Request:
        """Ask until the request has ended, and record how; return the row as it is then.

        at_once: it may have ended long ago, while no run went on.
        The row is still `submitted` after an hour of asking, if no row waits for its place while
        others end, or where asking makes no sense, or
        where the API does not know it for five minutes.
        """
        try:
            return await self._poll(row, at_once=at_once)
        finally:
            self._positions.pop(row.key, None)
            self._instances.pop(row.key, None)

    async def _poll(self, row: Request, *, at_once: bool) -> Request:
        state = self._state
        start = state.time()
        age_at_start = max(0.0, state.clock.now() - (row.submitted_at or 0.0))
        scout = row.model not in self._scouted
        self._scouted.add(row.model)
        time_left = state.timing.max_polling
        answers = _Answers()
        while state.polling and (time_left > 0 or state.asks_on):
            age = age_at_start + state.time() - start
            delay = 0.0 if at_once else self._delay(row, answers, age, scout=scout)
            at_once = False
            began = state.time()
            await (state.sleep_unless_stopped if answers.missing else state.clock.sleep)(delay)
            result = await self.query(row)
            age = age_at_start + state.time() - start
            answers.retry_after = None
            if answers.missing and not isinstance(result.outcome, Missing | Unclear):
                answers.missing = 0
                state.waiting.discard(row.key)
            match result.outcome:
                case Running(_, note, position):
                    answers.running_at = age
                    answers.unclear = 0
                    if note and note != answers.told:
                        answers.told = note
                        await self._tell(row, f"{note}. It counts as running")
                    state.in_flight.add(row.key)
                    await self._note_place(row, position, result.instance, age)
                case Missing(reason, code):
                    kept_s = self._services.of(row.model).capabilities.results_kept_s
                    if has_expired(age, kept_s):
                        gone = Failed(f"{PAID_BUT_GONE}: {reason}", code)
                        return await self._record(row, gone, result.content)
                    if self._is_missing_for_long(row, answers):
                        await self._tell(row, f"not there yet: {reason}")
                        return row
                case Unclear() as unclear:
                    await self._on_unclear(row, answers, unclear, reached=not result.unreachable)
                case Unauthorized():
                    answers.unclear = 0
                case Completed(note=note):
                    if note:
                        log.warning("%s: %s. It has an output, which is fetched.", row.where, note)
                    self._learn_time(row.model, answers.running_at, age)
                    return await self._record(row, result.outcome, result.content)
                case Failed() | Cancelled():
                    return await self._record(row, result.outcome, result.content)
                case _:
                    assert_never(result.outcome)
            if answers.missing and not state.may_submit:
                return row  # it waits for nothing, and nothing would slow its questions down
            if not state.offline_tries:
                time_left -= max(delay, state.time() - began)  # an answer may take long to come
        if time_left <= 0:
            log.warning("%s has not ended in an hour of asking.", row.where)
        return row

    async def _note_place(
        self, row: Request, position: int | None, instance: str | None, age: float
    ) -> None:
        """Keep where the requests are, as far as the service says so, for `status`.

        position: in the service's queue. instance: that works on it. It is kept for all requests
        together, and no more often than is looked at it.
        """
        self._positions.pop(row.key, None)
        if position is not None:
            self._positions[row.key] = position
        if instance is None:
            self._instances.pop(row.key, None)
        elif self._instances.get(row.key, {}).get("instance") != instance:
            since, waited = self._journal.now(), round(age, 1)
            self._instances[row.key] = {"instance": instance, "since": since, "waited": waited}
        if self._state.time() < self._next_note:
            return
        known = self._positions.values()
        places = (len(known), min(known), max(known)) if known else None
        working = dict(islice(self._instances.items(), MOST_INSTANCES))
        if (places, working) == self._kept:
            return
        self._kept, self._next_note = (places, working), self._state.time() + NOTE_EVERY_S
        at = {"at": self._journal.now()}
        queue = places and dict(zip(QUEUE_FIELDS, places, strict=True)) | at
        memory = {QUEUE: queue, INSTANCES: working or None}
        await self._writes.enqueue(lambda: self._journal.set_meta(memory))

    def _delay(self, row: Request, answers: _Answers, age: float, *, scout: bool) -> float:
        """Return the seconds until the next question. age, scout: as `next_poll_delay` has them."""
        if answers.missing:
            return self._state.backoff(answers.missing)
        if answers.unclear:
            return max(self._state.backoff(answers.unclear), answers.retry_after or 0.0)
        return next_poll_delay(age, self._durations_of(row), answers.retry_after, scout=scout)

    def _is_missing_for_long(self, row: Request, answers: _Answers) -> bool:
        """Count an answer that there is no such request; return whether this run asks no more."""
        state = self._state
        if not answers.missing:
            state.wait_for(row.key)
            answers.missing_until = state.time() + state.timing.missing_limit
        answers.missing += 1
        return state.time() >= answers.missing_until or not state.may_submit

    async def _on_unclear(
        self, row: Request, answers: _Answers, unclear: Unclear, *, reached: bool
    ) -> None:
        """Count an answer that says nothing. reached: whether it was the API's."""
        answers.unclear += 1
        answers.retry_after = unclear.retry_after
        if answers.unclear == UNCLEAR_IN_A_ROW and reached:
            await self._tell(row, f"RunComfy gives no clear answer: {unclear.reason}")
        if unclear.code == 403 and answers.unclear == REFUSED_IN_A_ROW:
            await self._stop_if_all_is_refused(row, unclear.reason)

    def _learn_time(self, model: str, running_at: float, ended_by: float) -> None:
        """Learn from a request that has ended. Ages: as `update_durations` has them."""
        ended = (model, running_at, ended_by)
        self.durations = with_ended(self.durations, [ended])
        if self._journal.is_shared:
            self._ended.append(ended)

    def share_times(self) -> int:
        """Add what was learned here to what all machines know, inside a transaction of the caller.

        Returns how much was told, for `told` once it is committed. Where two machines tell in the
        same moment, one may be forgotten: the next requests teach it again.
        """
        known = read_durations(self._journal.get_meta("times"))
        self.durations = with_ended(known, self._ended)
        if self._ended:
            self._journal.set_meta(write_durations(self.durations))
        return len(self._ended)

    def told(self, count: int) -> None:
        del self._ended[:count]

    def _durations_of(self, row: Request) -> DurationModel:
        return self.durations.get(row.model, PRIOR_DURATIONS)

    async def query(self, row: Request) -> PollResult:
        """Ask once, within the limit of questions per second."""
        if row.request_id is None:
            raise StorageDamaged(f"{row.where} is {row.state} without a request.")
        state = self._state
        await self._wait_for_turn()
        result = await self._services.of(row.model).result(row.model, row.request_id)
        if result.unreachable:
            state.report_offline(f"{result.unreachable} while asking")
        else:
            state.report_online()
        if isinstance(result.outcome, Unauthorized):
            self._stop_for_token(row, result.outcome.reason)
        return self._with_cost(row, result)

    def _with_cost(self, row: Request, result: PollResult) -> PollResult:
        """Return the answer with a cost by the time that the request took, where none is said."""
        usd, ended = self._state.policy.per_second.get(row.model), result.outcome
        if usd is None or result.seconds is None or not isinstance(ended, Ended):
            return result
        if ended.cost is not None:
            return result
        return replace(result, outcome=replace(ended, cost=round(usd * result.seconds, 6)))

    async def _tell(self, row: Request, what: str) -> None:
        """Say on the terminal, in the log and in the report why a row has not ended."""
        log.warning("%s: %s.", row.where, what)
        await self._writes.enqueue(lambda: self._journal.set_error(row, what))

    async def _stop_if_all_is_refused(self, row: Request, reason: str) -> None:
        if await self._services.of(row.model).refusal(row.model) is HaltReason.TOKEN:
            self._stop_for_token(row, reason)

    def _stop_for_token(self, row: Request, reason: str) -> None:
        what = f"{row.where}: token refused: {reason}"
        self._state.stop(RunOutcome(77, what, TokenRefused.ANOTHER), polling=False)

    async def inline_output(self, row: Request, n: int) -> bytes | None:
        """Ask for the n-th output of a row whose result has it inline; None where it has not."""
        await self._wait_for_turn()
        service = self._services.of(row.model)
        return await service.inline_output(row.model, row.request_id or "", n)

    async def _wait_for_turn(self) -> None:
        """Wait until the limit of questions per second allows one more."""
        now = self._state.time()
        delay = self._limiter.delay(now)
        self._limiter = self._limiter.after_submission(now)
        if delay > 0:
            await self._state.clock.sleep(delay)

    async def _record(self, row: Request, outcome: Ended, content: str) -> Request:
        """W3: the outcome of a request that has ended."""
        await self._writes.enqueue(lambda: self._write(row, outcome, content))
        return await self._writes.read(lambda: self._journal.get_request(row.key))

    def _write(self, row: Request, outcome: Ended, content: str) -> None:
        code: int | None = None
        match outcome:
            case Completed(api_status, _, cost):
                memory = self._learn(row, cost, completed=True)
                kept = outcome.kept
                self._journal.record_completed(row, api_status, kept, cost, content, memory)
                return
            case Failed(reason, code, api_status, cost):
                event = Event.FAILED
            case Cancelled(api_status, cost):
                event, reason = Event.CANCELLED, "cancelled at RunComfy"
        log.warning("%s: %s", row.where, reason)
        self._learn(row, cost, completed=False)
        may_have_run = self._services.of(row.model).capabilities.cancels_running
        if event is Event.CANCELLED and cost is None and not may_have_run:
            cost = 0.0
        self._journal.record_ended(
            row, event, code, reason, api_status=api_status, cost=cost, result=content
        )

    def _learn(self, row: Request, cost: float | None, *, completed: bool) -> dict[str, Any]:
        """Return what the next run has to know of the costs, where this one has changed it."""
        costs = self._state.costs
        changed = costs.on_cost(row.model, row.input, cost, completed=completed)
        return costs.memory() if changed else {}


def _limiter_of_questions(max_rate: float) -> RateLimiter:
    polls = max(MIN_POLLS_PER_S, POLLS_PER_SUBMISSION * max_rate)
    return RateLimiter(polls, polls)
