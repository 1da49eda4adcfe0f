"""GET …/requests/{id}/status and /result, POST …/requests/{id}/cancel, of both APIs."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

from batchgen.sandbox.api_faults import FaultContext, answer_call
from batchgen.sandbox.call import HttpCall
from batchgen.sandbox.errors import BAD_REQUEST_ID, NO_REQUEST
from batchgen.sandbox.faults import AppliedFault
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.service import PollAnswer, Service
from batchgen.sandbox.services import service_of, text_of
from batchgen.sandbox.state import SandboxState

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
UNFINISHED = ("in_queue", "in_progress")
PENDING_WORDS = ("pending", "waiting", "starting", "processing")


def request_state(row: LedgerRow, now: float) -> str:
    if row.cancelled_at is not None:
        return "cancelled"
    if row.finish_at is None or row.started_at is None or now < row.started_at:
        return "in_queue"
    return "in_progress" if now < row.finish_at else "completed"


# (word, fault's value, how often this request met the fault) -> the word that is answered instead
REWORDINGS: dict[str, Callable[[str, Any, int], str]] = {
    "odd-word": lambda word, value, n: str(value) if word in UNFINISHED else word,
    "pending-words": lambda word, value, n: PENDING_WORDS[n % 4] if word in UNFINISHED else word,
    # At every second question, so that the state goes back and forth.
    "back-to-queue": lambda word, value, n: "in_queue" if word == "in_progress" and n % 2 else word,
    "upper-case": lambda word, value, n: word.upper(),
    "succeeded": lambda word, value, n: "succeeded" if word == "completed" else word,
}


def outcome(state: SandboxState, row: LedgerRow) -> AppliedFault | None:
    """The fault that was decided for a finished request; decided once, when first asked."""
    if row.outcome is not None:
        return AppliedFault(*json.loads(row.outcome))
    found = state.faults.pick(
        "outcome", text_of(state, row), row.input_sha256, lambda: state.ledger.posts_before(row)
    )
    if found is not None:
        state.ledger.decide(row.request_id, json.dumps(found))
    return found


def describe(
    state: SandboxState, row: LedgerRow, operation: str, now: float, *, cost: bool
) -> PollAnswer:
    """The answer to `status` or `result`, before any fault of its delivery."""
    service = service_of(row)
    word = request_state(row, now)
    answer: PollAnswer = {"request_id": row.request_id}
    if word == "in_queue" and (operation == "status" or service.position_in_result):
        answer["queue_position"] = state.queue_of(row.model).position(row.request_id)
    if operation == "status":
        answer |= service.status(state, row, word)
    else:
        answer |= service.result(state, row, word, cost=cost)
    if word != "completed":
        return answer
    fault = outcome(state, row)
    if fault is None or (operation == "status" and fault.name not in service.outcomes_in_status):
        return answer
    changed = service.outcomes[fault.name](answer, fault.value)
    return changed if operation == "result" else {k: changed[k] for k in answer}


async def find_request(
    state: SandboxState, call: HttpCall, service: Service, subject: tuple[str, str], now: float
) -> LedgerRow | None:
    """Return a request as it stands at `now`; where there is none, answer so and return None.

    subject: what it was made to, "" if the path does not say, and its request_id.
    """
    state.settle(now)
    target, request_id = subject
    row = state.ledger.row(request_id)
    found = row is not None and service_of(row) is service and not service.is_gone(state, row, now)
    if row is not None and found and target in ("", row.model.removeprefix(service.prefix)):
        return row
    error = NO_REQUEST if REQUEST_ID.fullmatch(request_id) else BAD_REQUEST_ID
    await call.json(*service.worded(state, *error))
    return None


async def answer_poll(
    state: SandboxState, call: HttpCall, service: Service, subject: tuple[str, str], operation: str
) -> None:
    """Answer a poll. subject: as in find_request. operation: `status` or `result`."""
    state.counts["polls"] += 1
    now = time.time()
    row = await find_request(state, call, service, subject, now)
    if row is None:
        return
    request_id = row.request_id
    cost = "include_cost=true" in call.query.split("&")
    answer = describe(state, row, operation, now, cost=cost)
    unfinished = answer.get("status") in UNFINISHED
    if not unfinished:
        state.seen.setdefault(request_id, now)
    fault = state.faults.pick(
        operation, text_of(state, row), row.input_sha256, lambda: state.count(f"poll {request_id}")
    )
    if fault is not None and fault.name == "not-ready" and not unfinished:
        fault = None
    if fault is not None and fault.name in REWORDINGS:
        met = state.count(f"reword {request_id}")
        if "status" in answer:
            answer["status"] = REWORDINGS[fault.name](answer["status"], fault.value, met)
        fault = None
    await answer_call(FaultContext(call, state, service, answer), fault)


async def cancel_request(
    state: SandboxState, call: HttpCall, service: Service, subject: tuple[str, str]
) -> None:
    """Cancel a request where the API can. subject: as in find_request."""
    now = time.time()
    row = await find_request(state, call, service, subject, now)
    if row is None:
        return
    request_id = row.request_id
    done = service.cancel(state, row, now)
    word = "cancelled" if done else request_state(row, now)
    outcome = "cancelled" if done else "not_cancellable"
    answer = {"request_id": request_id, "status": word, "outcome": outcome}
    fault = state.faults.pick(
        "cancel", text_of(state, row), row.input_sha256, lambda: state.count(f"cancel {request_id}")
    )
    context = FaultContext(call, state, service, answer, status=service.cancelled_status)
    await answer_call(context, fault)
