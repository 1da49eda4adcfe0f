"""POST /v1/models/{model_id}: refuse, or accept and bill; then answer, or apply a fault."""

import json
import math
import time
import uuid
from email.utils import formatdate
from typing import Any, NamedTuple

from batchgen.sandbox import errors
from batchgen.sandbox.api_faults import answer_call
from batchgen.sandbox.call import BodyTooLarge, Header, HttpCall
from batchgen.sandbox.catalogue import SandboxModel
from batchgen.sandbox.data_uris import file_problems, noted
from batchgen.sandbox.faults import ACCEPTED_FIRST, marker_problem
from batchgen.sandbox.ledger import LedgerPost, LedgerRow, canonical_input
from batchgen.sandbox.media import prompt_text
from batchgen.sandbox.state import SandboxState, sha256

REFUSED_TOKEN = b"refused"  # the only token that is refused without --token


class Submission(NamedTuple):
    """A body that was read: its canonical JSON without files, its hash, and the object itself."""

    canonical: str
    sha256: str
    given: dict[str, Any]

    @property
    def text(self) -> str:
        return prompt_text(json.loads(self.canonical))


class Refusal(NamedTuple):
    """The answer to a POST that is not accepted. body: anything that JSON can hold."""

    status: int
    body: Any
    headers: tuple[Header, ...] = ()


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
        text = canonical_input(noted(given))
        encoded = text.encode()
    except (ValueError, RecursionError) as wrong:
        return Refusal(*errors.invalid_input(f"JSON decode error: {wrong}", "json_invalid"))
    if not isinstance(given, dict):
        return Refusal(*errors.invalid_input("Input should be an object", "object_type"))
    return Submission(text, sha256(encoded), given)


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


def rejection(state: SandboxState, model: SandboxModel, submission: Submission) -> Refusal | None:
    """Why a readable submission is not accepted: input or wallet."""
    if detail := model.problems(submission.given) or file_problems(submission.given):
        return Refusal(422, {"detail": detail})
    cost = model.cost(state.options, submission.given)
    if state.left is not None and state.left < cost - 1e-9:
        return Refusal(*errors.NO_BALANCE)
    return None


def accept(
    state: SandboxState, model: SandboxModel, submission: Submission, now: float, answer: str
) -> LedgerRow:
    """Give the submission a request_id and a place in the queue, and write it into the ledger."""
    text, digest = submission.text, submission.sha256
    slow = state.faults.pick("pace", text, digest, lambda: state.ledger.posts_of(digest))
    seconds = float(slow.value) if slow else state.seconds(digest)
    price = model.cost(state.options, submission.given)
    request_id = str(uuid.uuid4())
    state.queue.add(request_id, now, seconds)
    started = state.queue.advance(now)
    row = LedgerRow(
        state.ledger.last + 1, request_id, model.id, submission.canonical, digest,
        price, now, seconds, None, None, None, None,
    )  # fmt: skip
    state.ledger.accept(row, LedgerPost(now, model.id, digest, answer, request_id), started)
    return row


async def receive_submission(state: SandboxState, call: HttpCall, model_id: str) -> None:
    """Answer a POST: 401, 413, 422 and 429 come before anything else is looked at."""
    try:
        body = await call.body()
    except BodyTooLarge:
        await call.json(*errors.TOO_LARGE)
        return
    now = time.time()
    submission = read_submission(body)
    refusal = throttle(state) if known_token(state, call) else Refusal(*errors.BAD_TOKEN)
    if isinstance(submission, Refusal):
        refusal, digest = refusal or submission, sha256(body)
    else:
        digest = submission.sha256
        refusal = refusal or await decide(state, call, model_id, submission, now)
    if refusal is not None:
        state.ledger.refuse(LedgerPost(now, model_id, digest, str(refusal.status)))
        await call.json(refusal.status, refusal.body, *refusal.headers)


async def decide(
    state: SandboxState, call: HttpCall, model_id: str, submission: Submission, now: float
) -> Refusal | None:
    """Answer a submission that came with a good token and below the rate limit, or refuse it."""
    text, digest = submission.text, submission.sha256
    if wrong := marker_problem(text):
        return Refusal(*errors.invalid_input(wrong, "marker", "prompt"))
    fault = state.faults.pick("submit", text, digest, lambda: state.ledger.posts_of(digest))
    if fault is not None and fault.name not in ACCEPTED_FIRST:
        state.ledger.refuse(LedgerPost(now, model_id, digest, fault.name))
        await answer_call(call, fault, state.media_host, {})
        return None
    model = state.catalogue.find(model_id, any_model=state.options.all_models)
    if model is None:
        return Refusal(*errors.UNKNOWN_MODEL)
    if refusal := rejection(state, model, submission):
        return refusal
    row = accept(state, model, submission, now, fault.name if fault else "200")
    usual = {"request_id": row.request_id, **state.urls(row.request_id)}
    previous = state.ledger.previous_id(row.seq) if fault else None
    await answer_call(call, fault, state.media_host, usual, previous)
    return None
