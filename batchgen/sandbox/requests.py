"""GET /v1/requests/{id}/status and /result, POST /v1/requests/{id}/cancel."""

import base64
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from batchgen.sandbox.api_faults import answer_call
from batchgen.sandbox.call import HttpCall
from batchgen.sandbox.catalogue import model_kind
from batchgen.sandbox.errors import BAD_REQUEST_ID, NO_REQUEST, error_body
from batchgen.sandbox.faults import AppliedFault
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.media import PNG, media_format, output_count
from batchgen.sandbox.placeholder import encode
from batchgen.sandbox.state import SandboxState

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
UNFINISHED = ("in_queue", "in_progress")
PENDING_WORDS = ("pending", "waiting", "starting", "processing")
PollAnswer = dict[str, Any]


def request_state(row: LedgerRow, now: float) -> str:
    if row.cancelled_at is not None:
        return "cancelled"
    if row.finish_at is None:
        return "in_queue"
    return "in_progress" if now < row.finish_at else "completed"


def timestamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


# (word, fault's value, how often this request met the fault) -> the word that is answered instead
REWORDINGS: dict[str, Callable[[str, Any, int], str]] = {
    "odd-word": lambda word, value, n: str(value) if word in UNFINISHED else word,
    "pending-words": lambda word, value, n: PENDING_WORDS[n % 4] if word in UNFINISHED else word,
    # At every second question, so that the state goes back and forth.
    "back-to-queue": lambda word, value, n: "in_queue" if word == "in_progress" and n % 2 else word,
    "upper-case": lambda word, value, n: word.upper(),
    "succeeded": lambda word, value, n: "succeeded" if word == "completed" else word,
}


def first_url(answer: PollAnswer) -> str:
    found = next(iter(answer["output"].values()))
    return str(found[0] if isinstance(found, list) else found)


def with_output(answer: PollAnswer, value: Any) -> PollAnswer:
    """The output under its usual name, replaced."""
    kind = next(iter(answer["output"]))
    many = isinstance(answer["output"][kind], list)
    return answer | {"output": {kind: [value] if many else value}}


def inline_picture(colour: str) -> str:
    """Return a small PNG in base64."""
    return base64.b64encode(encode(Image.new("RGB", (16, 16), colour), PNG.pillow)).decode()


# (the answer of a finished request, fault's value) -> what is answered instead
OUTCOMES: dict[str, Callable[[PollAnswer, Any], PollAnswer]] = {
    "failed": lambda answer, value: answer | {"status": "failed", "output": None, "error": value},
    "failed-in-200": lambda answer, value: error_body(
        int(value), "InternalError: generation failed"
    ),
    "canceled": lambda answer, value: answer | {"status": "canceled", "output": None},
    "empty-result": lambda answer, value: answer | {"output": {}},
    "null-output": lambda answer, value: answer | {"output": None},
    "bare-url": lambda answer, value: answer | {"output": first_url(answer)},
    "bare-list": lambda answer, value: answer | {"output": [first_url(answer)]},
    "media-other-host": with_output,
    # The picture itself; value: its colour. As a data: URI, and as some models name it.
    "inline": lambda answer, value: with_output(
        answer, f"data:image/png;base64,{inline_picture(value)}"
    ),
    "inline-base64": lambda answer, value: (
        answer | {"output": {"images": [{"b64_json": inline_picture(value)}]}}
    ),
    "url-blanks": lambda answer, value: with_output(answer, f" {first_url(answer)}?name=a fox\n"),
    # A URL of the input beside the output; value: the URL.
    "echo": lambda answer, value: (
        answer | {"output": {"input": {"image_url": value}, **answer["output"]}}
    ),
    "end-word": lambda answer, value: answer | {"status": value},
    "no-status": lambda answer, value: {k: v for k, v in answer.items() if k != "status"},
    # value: bytes of what nobody asked for.
    "large-result": lambda answer, value: answer | {"latents": "A" * int(value)},
    "no-cost": lambda answer, value: {k: v for k, v in answer.items() if k != "cost"},
    "number-cost": lambda answer, value: answer,
    "cost": lambda answer, value: answer | ({"cost": value} if "cost" in answer else {}),
}


def output(state: SandboxState, row: LedgerRow) -> dict[str, Any]:
    """`{"image": url}`, or `{"images": [url, ...]}` where several were asked for."""
    given = json.loads(row.input)
    kind = model_kind(row.model)
    count, extension = output_count(given), media_format(kind, given).extension
    start = f"http://{state.media_host}/media/{row.request_id}"
    urls = [f"{start}/{n}.{extension}" for n in range(count)]
    return {kind: urls[0]} if count == 1 else {f"{kind}s" if kind != "audio" else kind: urls}


def outcome(state: SandboxState, row: LedgerRow) -> AppliedFault | None:
    """The fault that was decided for a finished request; decided once, when first asked."""
    if row.outcome is not None:
        return AppliedFault(*json.loads(row.outcome))
    found = state.faults.pick(
        "outcome", state.text(row), row.input_sha256, lambda: state.ledger.posts_before(row)
    )
    if found is not None:
        state.ledger.decide(row.request_id, json.dumps(found))
    return found


def describe(
    state: SandboxState, row: LedgerRow, operation: str, now: float, *, cost: bool
) -> PollAnswer:
    """The answer to `status` or `result`, before any fault of its delivery."""
    word = request_state(row, now)
    answer: PollAnswer = {"request_id": row.request_id, "status": word}
    if word == "in_queue":
        answer["queue_position"] = state.queue.position(row.request_id)
    if operation == "status":
        answer |= state.urls(row.request_id)
    else:
        answer |= {"model_id": row.model, "created_at": timestamp(row.accepted_at), "output": None}
        if cost:
            answer["cost"] = row.price
    if word != "completed":
        return answer
    if operation == "result":
        answer |= {"output": output(state, row), "finished_at": timestamp(row.finish_at)}
    fault = outcome(state, row)
    if fault is None or (operation == "status" and fault.name not in ("failed", "canceled")):
        return answer
    changed = OUTCOMES[fault.name](answer, fault.value)
    return changed if operation == "result" else {k: changed[k] for k in answer}


async def find_request(
    state: SandboxState, call: HttpCall, request_id: str, now: float
) -> LedgerRow | None:
    """Return a request as it stands at `now`; where there is none, answer so and return None."""
    state.settle(now)
    row = state.ledger.row(request_id)
    if row is None:
        await call.json(*(NO_REQUEST if REQUEST_ID.fullmatch(request_id) else BAD_REQUEST_ID))
    return row


async def answer_poll(state: SandboxState, call: HttpCall, request_id: str, operation: str) -> None:
    """Answer a poll. operation: `status` or `result`."""
    state.counts["polls"] += 1
    now = time.time()
    row = await find_request(state, call, request_id, now)
    if row is None:
        return
    cost = "include_cost=true" in call.query.split("&")
    answer = describe(state, row, operation, now, cost=cost)
    unfinished = answer.get("status") in UNFINISHED
    if not unfinished:
        state.seen.setdefault(request_id, now)
    fault = state.faults.pick(
        operation, state.text(row), row.input_sha256, lambda: state.count(f"poll {request_id}")
    )
    if fault is not None and fault.name == "not-ready" and not unfinished:
        fault = None
    if fault is not None and fault.name in REWORDINGS:
        met = state.count(f"reword {request_id}")
        if "status" in answer:
            answer["status"] = REWORDINGS[fault.name](answer["status"], fault.value, met)
        fault = None
    await answer_call(call, fault, state.media_host, answer)


async def cancel_request(state: SandboxState, call: HttpCall, request_id: str) -> None:
    """Cancel a request that is in the queue; one that has started goes on."""
    now = time.time()
    row = await find_request(state, call, request_id, now)
    if row is None:
        return
    done = state.queue.remove(request_id)
    if done:
        state.ledger.store_cancellation(row, now)
    word = "cancelled" if done else request_state(row, now)
    outcome = "cancelled" if done else "not_cancellable"
    answer = {"request_id": request_id, "status": word, "outcome": outcome}
    fault = state.faults.pick(
        "cancel", state.text(row), row.input_sha256, lambda: state.count(f"cancel {request_id}")
    )
    await answer_call(call, fault, state.media_host, answer)
