"""GET /v1/requests/{id}/status and /result, POST /v1/requests/{id}/cancel."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from batchgen.sandbox.api_faults import MISDEEDS, Trouble, commit
from batchgen.sandbox.call import Call
from batchgen.sandbox.catalogue import Model
from batchgen.sandbox.errors import BAD_REQUEST_ID, NO_REQUEST, error
from batchgen.sandbox.faults import Applied
from batchgen.sandbox.ledger import Row
from batchgen.sandbox.media import form, how_many
from batchgen.sandbox.state import Site

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
UNFINISHED = ("in_queue", "in_progress")
PENDING_WORDS = ("pending", "waiting", "starting", "processing")
Answer = dict[str, Any]


def state(row: Row, now: float) -> str:
    if row.cancelled_at is not None:
        return "cancelled"
    if row.finish_at is None:
        return "in_queue"
    return "in_progress" if now < row.finish_at else "completed"


def stamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


# (word, fault's value, how often this request met the fault) -> the word that is said instead
REWORDINGS: dict[str, Callable[[str, Any, int], str]] = {
    "odd-word": lambda word, value, n: str(value) if word in UNFINISHED else word,
    "pending-words": lambda word, value, n: PENDING_WORDS[n % 4] if word in UNFINISHED else word,
    # Every second time, so that whoever asks sees the state go back and forth.
    "back-to-queue": lambda word, value, n: "in_queue" if word == "in_progress" and n % 2 else word,
    "upper-case": lambda word, value, n: word.upper(),
    "succeeded": lambda word, value, n: "succeeded" if word == "completed" else word,
}


def first_url(answer: Answer) -> str:
    found = next(iter(answer["output"].values()))
    return str(found[0] if isinstance(found, list) else found)


def other_host(answer: Answer, value: Any) -> Answer:
    kind = next(iter(answer["output"]))
    many = isinstance(answer["output"][kind], list)
    return answer | {"output": {kind: [value] if many else value}}


# (the answer of a finished request, fault's value) -> what is answered instead
OUTCOMES: dict[str, Callable[[Answer, Any], Answer]] = {
    "failed": lambda answer, value: answer | {"status": "failed", "output": None, "error": value},
    "failed-in-200": lambda answer, value: error(int(value), "InternalError: generation failed"),
    "canceled": lambda answer, value: answer | {"status": "canceled", "output": None},
    "empty-result": lambda answer, value: answer | {"output": {}},
    "null-output": lambda answer, value: answer | {"output": None},
    "bare-url": lambda answer, value: answer | {"output": first_url(answer)},
    "bare-list": lambda answer, value: answer | {"output": [first_url(answer)]},
    "media-other-host": other_host,
    "no-cost": lambda answer, value: {k: v for k, v in answer.items() if k != "cost"},
    "number-cost": lambda answer, value: answer,
    "cost": lambda answer, value: answer | ({"cost": value} if "cost" in answer else {}),
}


def output(site: Site, row: Row) -> dict[str, Any]:
    """`{"image": url}`, or `{"images": [url, ...]}` where several were asked for."""
    given = json.loads(row.input)
    kind = Model(row.model, {}, None).kind
    count, extension = how_many(given), form(kind, given).extension
    start = f"http://{site.media_host}/media/{row.request_id}"
    urls = [f"{start}/{n}.{extension}" for n in range(count)]
    return {kind: urls[0]} if count == 1 else {f"{kind}s" if kind != "audio" else kind: urls}


def outcome(site: Site, row: Row) -> Applied | None:
    """The fault that was decided for a finished request; decided once, when first asked."""
    if row.outcome is not None:
        return Applied(*json.loads(row.outcome))
    found = site.book.pick(
        "outcome", site.text(row), row.input_sha256, lambda: site.store.posts_before(row)
    )
    if found is not None:
        site.store.decide(row.request_id, json.dumps(found))
    return found


def describe(site: Site, row: Row, operation: str, now: float, *, cost: bool) -> Answer:
    """The answer to `status` or `result`, before any misdeed on the way."""
    word = state(row, now)
    answer: Answer = {"request_id": row.request_id, "status": word}
    if word == "in_queue":
        answer["queue_position"] = site.queue.position(row.request_id)
    if operation == "status":
        answer |= site.urls(row.request_id)
    else:
        answer |= {"model_id": row.model, "created_at": stamp(row.accepted_at), "output": None}
        if cost:
            answer["cost"] = row.price
    if word != "completed":
        return answer
    if operation == "result":
        answer |= {"output": output(site, row), "finished_at": stamp(row.finish_at)}
    fault = outcome(site, row)
    if fault is None or (operation == "status" and fault.name not in ("failed", "canceled")):
        return answer
    changed = OUTCOMES[fault.name](answer, fault.value)
    return changed if operation == "result" else {k: changed[k] for k in answer}


async def ask(site: Site, call: Call, request_id: str, operation: str) -> None:
    """Answer a poll. operation: `status` or `result`."""
    site.counts["polls"] += 1
    now = time.time()
    site.settle(now)
    row = site.store.row(request_id)
    if row is None:
        await call.json(*(NO_REQUEST if REQUEST_ID.fullmatch(request_id) else BAD_REQUEST_ID))
        return
    cost = "include_cost=true" in call.query.split("&")
    answer = describe(site, row, operation, now, cost=cost)
    if answer.get("status") not in UNFINISHED:
        site.seen.setdefault(request_id, now)
    fault = site.book.pick(
        operation, site.text(row), row.input_sha256, lambda: site.count(f"poll {request_id}")
    )
    if fault is None:
        await call.json(200, answer)
    elif fault.name in MISDEEDS:
        await commit(fault, Trouble(call, None, answer, f"http://{site.media_host}"))
    else:
        met = site.count(f"reword {request_id}")
        if "status" in answer:
            answer["status"] = REWORDINGS[fault.name](answer["status"], fault.value, met)
        await call.json(200, answer)


async def cancel(site: Site, call: Call, request_id: str) -> None:
    """Cancel what is in the queue; whatever has its place keeps it."""
    now = time.time()
    site.settle(now)
    row = site.store.row(request_id)
    if row is None:
        await call.json(*(NO_REQUEST if REQUEST_ID.fullmatch(request_id) else BAD_REQUEST_ID))
        return
    done = site.queue.cancel(request_id)
    if done:
        site.store.cancel(row, now)
    word = "cancelled" if done else state(row, now)
    outcome = "cancelled" if done else "not_cancellable"
    answer = {"request_id": request_id, "status": word, "outcome": outcome}
    fault = site.book.pick(
        "cancel", site.text(row), row.input_sha256, lambda: site.count(f"cancel {request_id}")
    )
    if fault is None:
        await call.json(200, answer)
    else:
        await commit(fault, Trouble(call, None, answer, f"http://{site.media_host}"))
