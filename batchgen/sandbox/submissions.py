"""A submission, to a model or a deployment: refused, or accepted; then answered, or a fault."""

import json
import math
import time
import uuid
from email.utils import formatdate
from typing import Any, NamedTuple

from batchgen.sandbox import errors
from batchgen.sandbox.api_faults import FaultContext, answer_call
from batchgen.sandbox.call import BodyTooLarge, HttpCall
from batchgen.sandbox.data_uris import noted
from batchgen.sandbox.faults import ACCEPTED_FIRST, AppliedFault, marker_problem
from batchgen.sandbox.ledger import LedgerPost, LedgerRow, LedgerWork, canonical_input
from batchgen.sandbox.service import Refusal, Service
from batchgen.sandbox.state import SandboxState, sha256

REFUSED_TOKEN = b"refused"  # the only token that is refused without --token


class Submission(NamedTuple):
    """A body that was read: its canonical JSON without the content of files, and its hash.

    given: the object itself. noted: the object without the content of files.
    """

    canonical: str
    sha256: str
    given: dict[str, Any]
    noted: dict[str, Any]


def known_token(state: SandboxState, call: HttpCall) -> bool:
    """Whether the call has a bearer token that is accepted."""
    scheme, _, token = (call.header(b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return False
    if state.options.token is not None:
        return token.strip() == state.options.token.encode()
    return token.strip() != REFUSED_TOKEN


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_submission(body: bytes) -> Submission | Refusal:
    """Decode a body; NaN, half of a surrogate pair and anything but an object are refused."""
    try:
        given = json.loads(body, parse_constant=refuse_constant)
        without_files = noted(given)
        text = canonical_input(without_files)
        encoded = text.encode()
    except (ValueError, RecursionError) as wrong:
        return Refusal(*errors.invalid_input(f"JSON decode error: {wrong}", "json_invalid"))
    if not isinstance(given, dict):
        return Refusal(*errors.invalid_input("Input should be an object", "object_type"))
    return Submission(text, sha256(encoded), given, without_files)


def throttle(state: SandboxState) -> Refusal | None:
    """Return the 429 for a POST above the rate; None lets it in."""
    wait = state.token_bucket.take(time.monotonic())
    if wait <= 0:
        return None
    state.counts["throttled"] += 1
    seconds = max(math.ceil(wait), 1)
    headers = {
        "seconds": ((b"retry-after", b"%d" % seconds),),
        "date": ((b"retry-after", formatdate(time.time() + seconds, usegmt=True).encode()),),
    }
    return Refusal(*errors.TOO_MANY_REQUESTS, headers.get(state.options.retry_after, ()))


def accept(
    state: SandboxState, service: Service, target: Any, submission: Submission, post: LedgerPost
) -> LedgerRow:
    """Give the submission a request_id and a place in the queue, and write it into the ledger.

    post: as it arrived, without the id.
    """
    digest, now = submission.sha256, post.arrived_at
    terms = service.terms(state, target, submission.noted)
    text = service.text(submission.noted)
    slow = state.faults.pick("pace", text, digest, lambda: state.ledger.posts_of(digest))
    usual = 0.0 if terms.repeats else state.seconds(digest)
    seconds = float(slow.value) if slow else usual
    outcome = json.dumps(AppliedFault("empty-result", None)) if terms.repeats else None
    request_id = str(uuid.uuid4())
    queue = state.queue_of(post.model)
    queue.add(request_id, now, seconds)
    started = queue.advance(now)
    row = LedgerRow(
        state.ledger.last + 1, request_id, post.model, submission.canonical, digest,
        terms.price, now, seconds, None, None, None, outcome,
    )  # fmt: skip
    work = None
    if terms.workflow is not None:
        digest = sha256(terms.workflow.encode())
        work = LedgerWork(
            request_id, post.model.removeprefix(service.prefix), digest, terms.workflow
        )
    state.ledger.accept(row, post._replace(request_id=request_id), started, work)
    return row


async def receive_submission(
    state: SandboxState, call: HttpCall, service: Service, subject: str
) -> None:
    """Answer a POST: 401, 413, 422 and 429 come before anything else is looked at."""
    try:
        body = await call.body()
    except BodyTooLarge:
        await call.json(*errors.TOO_LARGE)
        return
    post = LedgerPost(time.time(), service.prefix + subject, "", "200")
    submission = read_submission(body)
    refusal = throttle(state) if known_token(state, call) else Refusal(*errors.BAD_TOKEN)
    if isinstance(submission, Refusal):
        refusal, post = refusal or submission, post._replace(input_sha256=sha256(body))
    else:
        post = post._replace(input_sha256=submission.sha256)
        refusal = refusal or await decide(state, call, service, subject, submission, post)
    if refusal is not None:
        status, said = service.worded(state, refusal.status, refusal.body)
        state.ledger.refuse(post._replace(answer=str(status)))
        await call.json(status, said, *refusal.headers)


async def decide(
    state: SandboxState,
    call: HttpCall,
    service: Service,
    subject: str,
    submission: Submission,
    post: LedgerPost,
) -> Refusal | None:
    """Answer a submission that came with a good token and below the rate limit, or refuse it."""
    text, digest = service.text(submission.noted), submission.sha256
    if wrong := marker_problem(text):
        return Refusal(*errors.invalid_input(wrong, "marker", "prompt"))
    fault = state.faults.pick("submit", text, digest, lambda: state.ledger.posts_of(digest))
    if fault is not None and fault.name not in ACCEPTED_FIRST:
        state.ledger.refuse(post._replace(answer=fault.name))
        await answer_call(FaultContext(call, state, service, {}), fault)
        return None
    target = service.find(state, subject)
    if target is None:
        return Refusal(*errors.UNKNOWN_MODEL)
    if refusal := service.refusal(state, target, submission.given):
        return refusal
    post = post._replace(answer=fault.name if fault else "200")
    row = accept(state, service, target, submission, post)
    usual = {"request_id": row.request_id, **service.urls(state, row)}
    previous = state.ledger.previous_id(row.seq) if fault else None
    await answer_call(FaultContext(call, state, service, usual, previous=previous), fault)
    return None
