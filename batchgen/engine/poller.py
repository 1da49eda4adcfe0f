"""Asks about accepted requests until they have ended. Asking is free and may be repeated."""

import logging
from functools import partial

from batchgen.api.client import ApiClient
from batchgen.api.poll_outcome import PollOutcome, RequestStatus, classify_result
from batchgen.clock import Clock
from batchgen.core.states import Event
from batchgen.engine import backoff, poll_schedule, rate_limiter
from batchgen.engine.poll_schedule import DurationModel
from batchgen.engine.run_outcome import RunOutcome
from batchgen.engine.run_state import RunState
from batchgen.errors import TokenRefused
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.writer import Journal, Request

log = logging.getLogger("batchgen")

MIN_POLLS_PER_S = 20.0
POLLS_PER_SUBMISSION = 4.0


class Poller:
    """times: what each model's requests take, learned here and kept for the next run."""

    def __init__(
        self, journal: Journal, moves: WriteQueue, api: ApiClient, situation: RunState, rate: float
    ) -> None:
        """rate: POSTs per second at most; the questions' own budget per second goes with it."""
        self._journal = journal
        self._moves = moves
        self._api = api
        self._situation = situation
        polls = max(MIN_POLLS_PER_S, POLLS_PER_SUBMISSION * rate)
        self._pace = rate_limiter.RateLimiter(polls, polls)
        saved = journal.get_meta("times") or {}
        self.times = {model: DurationModel(*values) for model, values in saved.items()}
        self._scouted: set[str] = set()

    @property
    def _clock(self) -> Clock:
        return self._situation.clock

    async def watch(self, row: Request, *, at_once: bool) -> Request:
        """Ask until the request has ended, and record how; return the row as it is then.

        at_once: it may have ended long ago, while no run went on.
        It is still `submitted` where patience has, or where asking makes no sense any more.
        """
        start = self._situation.time()
        age_at_start = max(0.0, self._clock.now() - (row.submitted_at or 0.0))

        def age() -> float:
            return age_at_start + self._situation.time() - start

        scout = row.model not in self._scouted
        self._scouted.add(row.model)
        patience = poll_schedule.MAX_POLLING_S
        unanswered = 0
        asked_to_wait: float | None = None
        before = 0.0  # the age at which it still ran
        while self._situation.asking and patience > 0:
            if at_once:
                wait, at_once = 0.0, False
            elif unanswered:
                wait = max(backoff.backoff(unanswered, self._situation.dice), asked_to_wait or 0.0)
            else:
                wait = poll_schedule.next_poll_delay(
                    age(), self._times_of(row), asked_to_wait, scout=scout
                )
            await self._clock.sleep(wait)
            finding, raw = await self.ask(row)
            if finding.doing not in (
                RequestStatus.RUNNING,
                RequestStatus.ASK_AGAIN,
                RequestStatus.TOKEN_REFUSED,
            ):
                if finding.doing is RequestStatus.DONE:
                    self.times[row.model] = poll_schedule.update_durations(
                        self._times_of(row), before, age()
                    )
                await self._moves.do(partial(self._settle, row, finding, raw))
                return self._journal.get_request(row.key)
            unanswered = unanswered + 1 if finding.doing is RequestStatus.ASK_AGAIN else 0
            asked_to_wait = finding.wait
            if finding.doing is RequestStatus.RUNNING:
                before = age()
            if not self._situation.offline_tries:
                patience -= wait
        if patience <= 0:
            log.warning("%s: row %r has not ended in an hour of asking.", row.source, row.id)
        return row

    def _times_of(self, row: Request) -> DurationModel:
        return self.times.get(row.model, poll_schedule.PRIOR_DURATIONS)

    async def ask(self, row: Request) -> tuple[PollOutcome, str]:
        """Ask once, within the budget of questions; return what it means and the raw result."""
        now = self._situation.time()
        turn = self._pace.wait(now)
        self._pace = self._pace.sent(now)
        if turn > 0:
            await self._clock.sleep(turn)
        assert row.request_id is not None
        reply = await self._api.result(row.request_id)
        if reply.status is None:
            self._situation.offline(f"{type(reply.error).__name__} while asking")
        else:
            self._situation.online()
        finding = classify_result(reply, row.request_id, self._clock.now())
        if finding.doing is RequestStatus.TOKEN_REFUSED:
            ending = RunOutcome(77, f"token refused: {finding.reason}", TokenRefused.ANOTHER)
            self._situation.stop(ending, asking=False)
        return finding, reply.body.decode(errors="replace")

    def _settle(self, row: Request, finding: PollOutcome, raw: str) -> None:
        if finding.doing is RequestStatus.DONE:
            self._journal.record_completed(row, finding.api_status, finding.urls, finding.cost, raw)
            return
        event = Event.CANCELLED if finding.doing is RequestStatus.CANCELLED else Event.FAILED
        log.warning("%s: row %r: %s", row.source, row.id, finding.reason)
        self._journal.record_ended(
            row,
            event,
            finding.code,
            finding.reason,
            api_status=finding.api_status,
            cost=finding.cost,
            result=raw,
        )
