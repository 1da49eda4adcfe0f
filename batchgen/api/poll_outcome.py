"""The judge of a question: what an answer about an accepted request says of it. Pure.

Asking is free, so whatever is unclear means: ask again. No such answer fails a paid request.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

from batchgen.api.response import (
    BAD_ACCOUNT,
    BAD_IDENTIFIER,
    BAD_INPUT,
    LISTED_CODES,
    NOT_ALLOWED,
    NOT_FOUND,
    Response,
    error_code_of,
    error_text_of,
    text_of,
    to_text,
)
from batchgen.api.retry_after import parse_retry_after
from batchgen.core.text import describe_error, replace_surrogates


class RequestStatus(Enum):
    """What an answer about an accepted request says of it."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ASK_AGAIN = "ask again"  # the answer says nothing about the request
    TOKEN_REFUSED = "token refused"


@dataclass(frozen=True, slots=True)
class PollOutcome:
    """What an answer to a question about an accepted request means. Asking is free.

    api_status: the API's own word, lower-cased; "" when it gave none.
    urls: the outputs, in order, with Doing.DONE.
    cost: USD, None when the API did not say.
    wait: seconds that the API asked to wait before the next question.
    """

    doing: RequestStatus
    reason: str = ""
    code: int | None = None
    api_status: str = ""
    urls: tuple[str, ...] = ()
    cost: float | None = None
    wait: float | None = None


DONE_WORDS = {"completed", "succeeded", "success"}
FAILED_WORDS = {"failed", "error"}
CANCELLED_WORDS = {"cancelled", "canceled"}


def classify_result(reply: Response, request_id: str, now: float) -> PollOutcome:
    """Say what the answer of the `result` endpoint means for the request `request_id`.

    Whatever is unclear means "ask again": an answer we cannot read never fails a paid request.
    """
    if reply.status is None or reply.error is not None:
        return PollOutcome(RequestStatus.ASK_AGAIN, describe_error(reply.error))
    body = reply.json()
    if _ended(reply.status, body, request_id):
        return _by_word(body)
    listed = reply.status < 500 and error_code_of(body) in LISTED_CODES
    if listed or reply.status in (400, 401, 403, 404, 422):
        return _result_refused(reply, error_code_of(body))
    if reply.status != HTTPStatus.OK or not isinstance(body, dict):
        wait = parse_retry_after(reply.headers.get("retry-after"), now)
        return PollOutcome(RequestStatus.ASK_AGAIN, f"the API answered {reply.status}", wait=wait)
    if to_text(body.get("request_id") or request_id) != request_id:
        return PollOutcome(RequestStatus.ASK_AGAIN, "the API answered about another request")
    return _by_word(body)


def _ended(status: int, body: Any, request_id: str) -> bool:
    """Whether the request is said to have ended; its error_code is then its own, not the answer's.

    But the token's: such an answer says nothing about the request, whatever its words.
    """
    if status != HTTPStatus.OK or not isinstance(body, dict) or error_code_of(body) == BAD_ACCOUNT:
        return False
    ended = DONE_WORDS | FAILED_WORDS | CANCELLED_WORDS
    return body.get("request_id") == request_id and _word(body) in ended


def _word(body: Mapping[str, Any]) -> str:
    return to_text(body.get("status") or "").strip().lower()[:40]


def _result_refused(reply: Response, code: int | None) -> PollOutcome:
    text = error_text_of(reply) or f"error {code or reply.status}"
    if code in (NOT_FOUND, NOT_ALLOWED, BAD_IDENTIFIER, BAD_INPUT):
        return PollOutcome(RequestStatus.FAILED, text, code)
    if code == BAD_ACCOUNT or reply.status in (401, 403):
        return PollOutcome(RequestStatus.TOKEN_REFUSED, text, code or reply.status)
    return PollOutcome(RequestStatus.ASK_AGAIN, text, code or reply.status)


def _by_word(body: dict[str, Any]) -> PollOutcome:
    word = _word(body)
    cost = _cost(body.get("cost"))
    if word in CANCELLED_WORDS:
        return PollOutcome(
            RequestStatus.CANCELLED, "cancelled at RunComfy", api_status=word, cost=cost
        )
    if word in FAILED_WORDS:
        reason = text_of(body) or "the model failed without saying why"
        return PollOutcome(RequestStatus.FAILED, reason, error_code_of(body), word, cost=cost)
    if word in DONE_WORDS:
        urls = tuple(output_urls(body.get("output")))
        if not urls:
            reason = text_of(body) or "completed without any output"
            return PollOutcome(RequestStatus.FAILED, reason, error_code_of(body), word, cost=cost)
        return PollOutcome(RequestStatus.DONE, api_status=word, urls=urls, cost=cost)
    return PollOutcome(RequestStatus.RUNNING, api_status=word)


def output_urls(output: Any) -> list[str]:
    """Return the URLs in a result's `output`, each once, in order.

    output: `{"image": url}`, `{"images": [url, …]}`, the same for video and audio, a bare URL or a
        bare list (older docs), or names that we do not know: every http(s) URL in it counts.
    """
    found: dict[str, None] = {}

    def collect(value: Any, depth: int) -> None:
        if isinstance(value, str) and re.match(r"https?:", value, re.IGNORECASE):
            found.setdefault(replace_surrogates(value))
        elif isinstance(value, list | dict) and depth < 4:
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner, depth + 1)

    collect(output, 0)
    return list(found)


def _cost(value: Any) -> float | None:
    if isinstance(value, Mapping):
        value = next((value[n] for n in ("usd", "amount", "total", "cost") if n in value), None)
    try:
        cost = float(value) if value is not None and not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return cost if cost is not None and 0 <= cost < 1e6 else None


def classify_cancel(reply: Response) -> bool | None:
    """True: cancelled. False: it cannot be, and is still collected. None: no clear answer."""
    body = reply.json()
    if reply.status not in (200, 202) or not isinstance(body, dict):
        return None
    outcome = to_text(body.get("outcome") or body.get("status") or "").lower()
    if outcome in CANCELLED_WORDS:
        return True
    return False if outcome == "not_cancellable" else None


def parse_balance(reply: Response) -> float | None:
    """USD in the wallet; None where the answer does not say."""
    body = reply.json()
    value = (
        body.get("balance_usd")
        if reply.status == HTTPStatus.OK and isinstance(body, dict)
        else None
    )
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
