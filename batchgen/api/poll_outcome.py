"""What the answer to a question about an accepted request means for its row. Pure.

Asking is free, so whatever is unclear means: ask again. No unreadable answer fails a paid request.
Source: docs/maintainers/wire.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchgen.api.outputs import beside, find_outputs
from batchgen.api.response import (
    BAD_ACCOUNT,
    BAD_IDENTIFIER,
    BAD_INPUT,
    LISTED_CODES,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    Response,
    find_text,
    to_text,
)
from batchgen.core.text import describe_error, truncate

COMPLETED_WORDS = {"completed", "succeeded", "success"}
FAILED_WORDS = {"failed", "error"}
CANCELLED_WORDS = {"cancelled", "canceled"}
QUEUED_WORDS = {"in_queue", "pending", "waiting", "queued"}
RUNNING_WORDS = QUEUED_WORDS | {"in_progress", "starting", "processing", "running"}
END_WORDS = COMPLETED_WORDS | FAILED_WORDS | CANCELLED_WORDS
MAX_COST_USD = 1e6
MAX_BALANCE_USD = 1e12
MAX_POSITION = 10**9


@dataclass(frozen=True, slots=True)
class Running:
    """api_status: the API's own word, lower-cased; "" when it gave none.

    note: what is odd about the answer, for a person; "" for nothing.
    queue_position: as RunComfy counts; None where it does not say.
    """

    api_status: str = ""
    note: str = ""
    queue_position: int | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """urls: the outputs, in order; `data:TYPE` for one that is in the result itself.

    cost: USD; None when the API did not say. beside: numbers, from 1, of URLs that may be no
    outputs, such as one that the model repeats from its input. note: as in Running.
    unwanted: numbers of outputs that the person does not keep.
    """

    api_status: str
    urls: tuple[str, ...]
    cost: float | None = None
    beside: frozenset[int] = frozenset()
    note: str = ""
    unwanted: frozenset[int] = frozenset()

    @property
    def kept(self) -> dict[int, str]:
        """The URLs of the outputs that are kept, by their numbers."""
        return {n: url for n, url in enumerate(self.urls, 1) if n not in self.unwanted}


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no output and there will be none.

    api_status: "" where the API refuses to tell.
    """

    reason: str
    code: int | None = None
    api_status: str = ""
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """The API knows no such request: not yet, or no more, since a result is not kept for ever."""

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    api_status: str
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Unclear:
    """The answer says nothing about the request. retry_after: seconds; None where unsaid."""

    reason: str
    code: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The token was refused: the answer says nothing about the request."""

    reason: str
    code: int | None


Ended = Completed | Failed | Cancelled
PollOutcome = Running | Ended | Missing | Unclear | Unauthorized


def classify_result(response: Response, request_id: str) -> PollOutcome:
    """Say what the answer of the `result` endpoint means for the request `request_id`."""
    if response.status is None or response.error is not None:
        return Unclear(describe_error(response.error))
    body = response.body
    if response.status == 200 and isinstance(body, dict) and _has_ended(response, request_id):
        return _by_word(response, body)
    if response.status < 500 and response.code == NOT_READY:
        return Running()
    listed = response.status < 500 and response.code in LISTED_CODES
    if listed or response.status in (400, 401, 403, 404, 422):
        return _refused(response)
    if response.status != 200 or not isinstance(body, dict):
        reason = f"the API answered {response.status}"
        return Unclear(reason, retry_after=response.retry_after)
    if to_text(body.get("request_id") or request_id) != request_id:
        return Unclear("the API answered about another request")
    return _by_word(response, body)


def _has_ended(response: Response, request_id: str) -> bool:
    """Whether the answer says that this request has ended.

    If so, an error_code in it is the request's own, such as why it failed. A refused token is the
    exception: such an answer says nothing about the request, whatever its words.
    """
    named = response.body.get("request_id") == request_id
    return named and _word(response.body) in END_WORDS and response.code != BAD_ACCOUNT


def _word(body: Mapping[str, Any]) -> str:
    return to_text(body.get("status") or "").strip().lower()[:40]


def _refused(response: Response) -> PollOutcome:
    code = response.code
    text = response.text or f"error {code or response.status}"
    if code == NOT_FOUND:
        return Missing(text, code)
    if code in (NOT_ALLOWED, BAD_IDENTIFIER, BAD_INPUT):
        return Failed(text, code)
    # A 403 without a code is a firewall's as often as the API's, and may be of this question alone.
    if code == BAD_ACCOUNT or response.status == 401:
        return Unauthorized(text, code or response.status)
    return Unclear(text, code or response.status)


def _by_word(response: Response, body: dict[str, Any]) -> PollOutcome:
    word = _word(body)
    cost = _parse_cost(body.get("cost"))
    if word in CANCELLED_WORDS:
        return Cancelled(word, cost)
    if word in FAILED_WORDS:
        reason = response.text or "the model failed without saying why"
        return Failed(reason, response.code, word, cost)
    note = _note_on(word, response.text)
    if word in RUNNING_WORDS:
        waits = word in QUEUED_WORDS
        position = _position(body.get("queue_position")) if waits else None
        return Running(word, queue_position=position)
    if outputs := find_outputs(body):
        urls = tuple(output.url for output in outputs)
        return Completed(word, urls, cost, beside(outputs), note)
    if word in COMPLETED_WORDS:
        return Failed(response.text or _no_output(body), response.code, word, cost)
    return Running(word, note)


def _note_on(word: str, text: str) -> str:
    if word in COMPLETED_WORDS:
        return ""
    said = f" ({text})" if text else ""
    if not word:
        return f"RunComfy's answer names no state{said}"
    return f"RunComfy says {word!r}, which is no word we know{said}"


def _position(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < MAX_POSITION else None


def _no_output(body: Mapping[str, Any]) -> str:
    output = body.get("output")
    said = find_text(output) if isinstance(output, Mapping) else ""
    if said or not output:
        return f"completed without any output{said and ': '}{said}"
    shown = truncate(" ".join(to_text(output).split()), 200)
    return (
        f"completed without an output that batchgen can fetch: {shown}."
        " Look at it in your account before you pay again"
    )


def _parse_cost(value: Any) -> float | None:
    """Return USD; None for what is no amount."""
    if isinstance(value, Mapping):
        value = next((value[n] for n in ("usd", "amount", "total", "cost") if n in value), None)
    try:
        cost = float(value) if value is not None and not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return cost if cost is not None and 0 <= cost < MAX_COST_USD else None


def classify_cancel(response: Response) -> bool | None:
    """Return True: cancelled. False: it cannot be, and still runs. None: no clear answer."""
    body = response.body
    if response.status not in (200, 202) or not isinstance(body, dict):
        return None
    outcome = to_text(body.get("outcome") or body.get("status") or "").lower()
    if outcome in CANCELLED_WORDS:
        return True
    return False if outcome == "not_cancellable" else None


def parse_balance(response: Response) -> float | None:
    """Return the USD in the wallet; None where the answer does not say."""
    body = response.body
    ok = response.status == 200 and isinstance(body, dict)
    value = body.get("balance_usd") if ok else None
    if isinstance(value, bool) or not isinstance(value, int | float) or response.code is not None:
        return None
    return float(value) if abs(value) < MAX_BALANCE_USD else None  # NaN is less than nothing
