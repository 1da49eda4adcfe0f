"""The judge of a submission: what came back for a paid POST, or that nothing did -> its row.

Pure. The rules are faults.md's table "May this POST be repeated?", first match wins; nothing else
leads to `RETURNED`.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

import aiohttp

from batchgen.api.response import (
    BAD_ACCOUNT,
    LISTED_CODES,
    NO_BALANCE,
    NOT_ALLOWED,
    TEXTS,
    Response,
    error_code_of,
    error_text_of,
)
from batchgen.api.retry_after import parse_retry_after
from batchgen.core.states import Event
from batchgen.core.text import describe_error

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ID_IN_BYTES = re.compile(rb'"request_id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
_ID_IN_URL = re.compile(r"/requests/([A-Za-z0-9_-]{1,128})(?:/|$)")
_NO_BALANCE = re.compile(
    r"insufficient (account )?(balance|funds?|credits?|resources?)"
    r"|not enough (balance|funds?|credits?)"
    r"|(balance|credits?) (is|are|has been|have been)? ?(insufficient|used up|exhausted|too low)"
    r"|out of (balance|funds?|credits?)|payment required",
    re.IGNORECASE,
)


class HaltReason(Enum):
    """Why no other row would fare better, with the exit code of a run that stops for it."""

    BALANCE = 75
    JOURNAL = 74
    TOKEN = 77
    SERVICE = 69


@dataclass(frozen=True, slots=True)
class SubmitOutcome:
    """What an answer to a submission means.

    event: what happened to the row; None when nothing did (the body was never opened).
    reason: for people; no token, no URL query.
    code: the API's error_code, else the HTTP status; None when there was neither.
    request_id: set with Event.ACCEPTED.
    throttled: the API asked to slow down; `wait` says for how many seconds, None = unsaid.
    offline: the API could not be reached; the same row can be sent later.
    stop: no other row would fare better.
    """

    event: Event | None
    reason: str = ""
    code: int | None = None
    request_id: str | None = None
    throttled: bool = False
    wait: float | None = None
    offline: bool = False
    stop: HaltReason | None = None


def classify_submit(reply: Response, now: float) -> SubmitOutcome:
    """Say what the answer to a paid POST means for its row.

    now: the wall clock in seconds since the epoch, for a Retry-After that is a date.
    """
    if not reply.opened:
        return _never_opened(reply.error)
    status = reply.status
    if status is None:
        return SubmitOutcome(
            Event.OUTCOME_UNKNOWN, f"the API took the request and {_how_it_broke(reply.error)}"
        )
    if 200 <= status < 300:
        return _after_2xx(reply, now)
    if 300 <= status < 400:
        event = Event.NOT_ACCEPTED if status in (307, 308) else Event.OUTCOME_UNKNOWN
        reason = f"the API answered with a redirect ({status}), which is not followed"
        return SubmitOutcome(event, reason, status, stop=HaltReason.SERVICE)
    if 400 <= status < 500:
        return _after_4xx(reply, status, now)
    return SubmitOutcome(
        Event.OUTCOME_UNKNOWN, _with_text(f"the API answered {status}", reply), status
    )


def _never_opened(error: BaseException | None) -> SubmitOutcome:
    if error is None or (isinstance(error, TEMPORARY) and not _needs_a_person(error)):
        return SubmitOutcome(None, f"not sent: {describe_error(error)}", offline=True)
    if not isinstance(error, Exception):  # cancelled before it was sent
        return SubmitOutcome(None, "not sent: interrupted")
    return SubmitOutcome(None, f"not sent: {describe_error(error)}", stop=HaltReason.SERVICE)


# Errors before the body that another try may cure; a bad certificate hides among the first.
TEMPORARY = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    aiohttp.ClientResponseError,
    OSError,  # TimeoutError is one
)


UNTRUSTED = (ssl.SSLCertVerificationError, aiohttp.ClientConnectorCertificateError)


def _needs_a_person(error: BaseException | None) -> bool:
    """A bad certificate, or a proxy that wants a login: no later try would fare better."""
    while error is not None:
        if isinstance(error, UNTRUSTED):
            return True
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
            return True
        error = error.__cause__ or error.__context__
    return False


def _after_2xx(reply: Response, now: float) -> SubmitOutcome:
    body = reply.json()
    if found := _request_id(body, reply.body):
        whole = reply.error is None and isinstance(body, dict)
        return SubmitOutcome(
            Event.ACCEPTED, "" if whole else "its answer broke off", request_id=found
        )
    code = error_code_of(body)
    if code in LISTED_CODES or code == HTTPStatus.TOO_MANY_REQUESTS:
        return _by_code(code, reply, now)
    if reply.error is not None:
        return SubmitOutcome(
            Event.OUTCOME_UNKNOWN, f"the API took the request and {_how_it_broke(reply.error)}"
        )
    return SubmitOutcome(
        Event.OUTCOME_UNKNOWN, f"the API answered {reply.status} without a request_id", code
    )


def _after_4xx(reply: Response, status: int, now: float) -> SubmitOutcome:
    code = error_code_of(reply.json())
    if status == HTTPStatus.PAYMENT_REQUIRED or _speaks_of_balance(reply.json()):
        return _by_code(NO_BALANCE, reply, now)
    if code in LISTED_CODES:
        return _by_code(code, reply, now)
    if status in (408, 409, 499):
        return SubmitOutcome(
            Event.OUTCOME_UNKNOWN, _with_text(f"the API answered {status}", reply), code or status
        )
    return _by_code(status, reply, now)


def _by_code(code: int, reply: Response, now: float) -> SubmitOutcome:
    text = error_text_of(reply) or f"error {code}"
    if code == NO_BALANCE:
        return SubmitOutcome(
            Event.NOT_ACCEPTED, f"balance used up: {text}", code, stop=HaltReason.BALANCE
        )
    if code in (BAD_ACCOUNT, NOT_ALLOWED, 401, 403):
        return SubmitOutcome(
            Event.NOT_ACCEPTED, f"token refused: {text}", code, stop=HaltReason.TOKEN
        )
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        wait = parse_retry_after(reply.headers.get("retry-after"), now)
        return SubmitOutcome(Event.NOT_ACCEPTED, "rate limit", code, throttled=True, wait=wait)
    return SubmitOutcome(Event.REJECTED, text, code)


def _speaks_of_balance(body: Any, depth: int = 0) -> bool:
    if not isinstance(body, Mapping) or depth > 4:
        return isinstance(body, str) and bool(_NO_BALANCE.search(body))
    # `detail` lists repeat the person's own input, so their words prove nothing.
    return any(_speaks_of_balance(body.get(name), depth + 1) for name in TEXTS)


def _request_id(body: Any, raw: bytes) -> str | None:
    if isinstance(body, dict):
        named = body.get("request_id")
        if isinstance(named, str) and REQUEST_ID_PATTERN.fullmatch(named):
            return named
        for name in ("status_url", "result_url"):
            url = body.get(name)
            if isinstance(url, str) and (match := _ID_IN_URL.search(url)):
                return match[1]
        return None
    match_in_bytes = _ID_IN_BYTES.search(raw)
    return match_in_bytes[1].decode() if match_in_bytes else None


def _how_it_broke(error: BaseException | None) -> str:
    if isinstance(error, TimeoutError):
        return "never answered"
    return f"its answer was lost ({describe_error(error)})"


def _with_text(what: str, reply: Response) -> str:
    text = error_text_of(reply)
    return f"{what}: {text}" if text else what
