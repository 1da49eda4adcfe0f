"""The judge: what came back for a request, or that nothing did, and what it means for the row.

Pure. The rules for submissions are faults.md's table "May this POST be repeated?", first match
wins; nothing else leads to `RETURNED`. The codes are api.md's table of error codes.
"""

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any

import httpx

from batchgen.retry_after import seconds_to_wait
from batchgen.states import Event

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ID_IN_BYTES = re.compile(rb'"request_id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
_ID_IN_URL = re.compile(r"/requests/([A-Za-z0-9_-]{1,128})(?:/|$)")
_NO_BALANCE = re.compile(
    r"insufficient (account )?(balance|funds?|credits?|resources?)"
    r"|not enough (balance|funds?|credits?)"
    r"|(balance|credits?) (is|are|has been|have been)? ?(insufficient|used up|exhausted|too low)"
    r"|out of (balance|funds?|credits?)|payment required",
    re.IGNORECASE,
)

BAD_IDENTIFIER = 400001
NO_BALANCE = 400002
BAD_ACCOUNT = 400004
NOT_ALLOWED = 403001
NOT_FOUND = 404001
BAD_INPUT = 422001
LISTED_CODES = {BAD_IDENTIFIER, NO_BALANCE, BAD_ACCOUNT, NOT_ALLOWED, NOT_FOUND, BAD_INPUT, 422}


class Stop(Enum):
    """Why no other row would fare better, with the exit code of a run that stops for it."""

    BALANCE = 75
    JOURNAL = 74
    TOKEN = 77
    SERVICE = 69


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, unjudged.

    opened: the transport asked for the body of a paid POST, so it may have been accepted.
    status: the HTTP status; None when no answer began.
    headers: lower-cased names.
    body: what could be read of the answer, at most 1 MiB.
    error: what ended the exchange early; None when the answer is whole.
    """

    opened: bool = True
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: BaseException | None = None

    def json(self) -> Any:
        """The decoded body; None if it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Verdict:
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
    stop: Stop | None = None


def after_submit(reply: Reply, now: float) -> Verdict:
    """Say what the answer to a paid POST means for its row.

    now: the wall clock in seconds since the epoch, for a Retry-After that is a date.
    """
    if not reply.opened:
        return _never_opened(reply.error)
    status = reply.status
    if status is None:
        return Verdict(Event.LOST, f"the API took the request and {_how_it_broke(reply.error)}")
    if 200 <= status < 300:
        return _after_2xx(reply, now)
    if 300 <= status < 400:
        event = Event.RETURNED if status in (307, 308) else Event.LOST
        reason = f"the API answered with a redirect ({status}), which is not followed"
        return Verdict(event, reason, status, stop=Stop.SERVICE)
    if 400 <= status < 500:
        return _after_4xx(reply, status, now)
    return Verdict(Event.LOST, _with_text(f"the API answered {status}", reply), status)


def _never_opened(error: BaseException | None) -> Verdict:
    if error is None or (isinstance(error, TEMPORARY) and not _needs_a_person(error)):
        return Verdict(None, f"not sent: {describe(error)}", offline=True)
    if not isinstance(error, Exception):  # cancelled before it was sent
        return Verdict(None, "not sent: interrupted")
    return Verdict(None, f"not sent: {describe(error)}", stop=Stop.SERVICE)


# Errors before the body that another try may cure; a bad certificate hides among the first.
TEMPORARY = (
    httpx.ConnectError,
    httpx.TimeoutException,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
    OSError,
)


def _needs_a_person(error: BaseException | None) -> bool:
    """A bad certificate, or a proxy that wants a login: no later try would fare better."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        if isinstance(error, httpx.ProxyError) and "407" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _after_2xx(reply: Reply, now: float) -> Verdict:
    body = reply.json()
    if found := _request_id(body, reply.body):
        whole = reply.error is None and isinstance(body, dict)
        return Verdict(Event.ACCEPTED, "" if whole else "its answer broke off", request_id=found)
    code = _code(body)
    if code in LISTED_CODES or code == HTTPStatus.TOO_MANY_REQUESTS:
        return _by_code(code, reply, now)
    if reply.error is not None:
        return Verdict(Event.LOST, f"the API took the request and {_how_it_broke(reply.error)}")
    return Verdict(Event.LOST, f"the API answered {reply.status} without a request_id", code)


def _after_4xx(reply: Reply, status: int, now: float) -> Verdict:
    code = _code(reply.json())
    if status == HTTPStatus.PAYMENT_REQUIRED or _speaks_of_balance(reply.json()):
        return _by_code(NO_BALANCE, reply, now)
    if code in LISTED_CODES:
        return _by_code(code, reply, now)
    if status in (408, 409, 499):
        return Verdict(Event.LOST, _with_text(f"the API answered {status}", reply), code or status)
    return _by_code(status, reply, now)


def _by_code(code: int, reply: Reply, now: float) -> Verdict:
    text = error_text(reply) or f"error {code}"
    if code == NO_BALANCE:
        return Verdict(Event.RETURNED, f"balance used up: {text}", code, stop=Stop.BALANCE)
    if code in (BAD_ACCOUNT, NOT_ALLOWED, 401, 403):
        return Verdict(Event.RETURNED, f"token refused: {text}", code, stop=Stop.TOKEN)
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        wait = seconds_to_wait(reply.headers.get("retry-after"), now)
        return Verdict(Event.RETURNED, "rate limit", code, throttled=True, wait=wait)
    return Verdict(Event.REFUSED, text, code)


class Doing(Enum):
    """What an answer about an accepted request says of it."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ASK_AGAIN = "ask again"  # the answer says nothing about the request
    TOKEN_REFUSED = "token refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """What an answer to a question about an accepted request means. Asking is free.

    api_status: the API's own word, lower-cased; "" when it gave none.
    urls: the outputs, in order, with Doing.DONE.
    cost: USD, None when the API did not say.
    wait: seconds that the API asked to wait before the next question.
    """

    doing: Doing
    reason: str = ""
    code: int | None = None
    api_status: str = ""
    urls: tuple[str, ...] = ()
    cost: float | None = None
    wait: float | None = None


DONE_WORDS = {"completed", "succeeded", "success"}
FAILED_WORDS = {"failed", "error"}
CANCELLED_WORDS = {"cancelled", "canceled"}


def after_result(reply: Reply, request_id: str, now: float) -> Finding:
    """Say what the answer of the `result` endpoint means for the request `request_id`.

    Whatever is unclear means "ask again": an answer we cannot read never fails a paid request.
    """
    if reply.status is None or reply.error is not None:
        return Finding(Doing.ASK_AGAIN, describe(reply.error))
    body = reply.json()
    if _ended(reply.status, body, request_id):
        return _by_word(body)
    listed = reply.status < 500 and _code(body) in LISTED_CODES
    if listed or reply.status in (400, 401, 403, 404, 422):
        return _result_refused(reply, _code(body))
    if reply.status != HTTPStatus.OK or not isinstance(body, dict):
        wait = seconds_to_wait(reply.headers.get("retry-after"), now)
        return Finding(Doing.ASK_AGAIN, f"the API answered {reply.status}", wait=wait)
    if _shown(body.get("request_id") or request_id) != request_id:
        return Finding(Doing.ASK_AGAIN, "the API answered about another request")
    return _by_word(body)


def _ended(status: int, body: Any, request_id: str) -> bool:
    """Whether the request is said to have ended; its error_code is then its own, not the answer's.

    But the token's: such an answer says nothing about the request, whatever its words.
    """
    if status != HTTPStatus.OK or not isinstance(body, dict) or _code(body) == BAD_ACCOUNT:
        return False
    ended = DONE_WORDS | FAILED_WORDS | CANCELLED_WORDS
    return body.get("request_id") == request_id and _word(body) in ended


def _word(body: Mapping[str, Any]) -> str:
    return _shown(body.get("status") or "").strip().lower()[:40]


def _result_refused(reply: Reply, code: int | None) -> Finding:
    text = error_text(reply) or f"error {code or reply.status}"
    if code in (NOT_FOUND, NOT_ALLOWED, BAD_IDENTIFIER, BAD_INPUT):
        return Finding(Doing.FAILED, text, code)
    if code == BAD_ACCOUNT or reply.status in (401, 403):
        return Finding(Doing.TOKEN_REFUSED, text, code or reply.status)
    return Finding(Doing.ASK_AGAIN, text, code or reply.status)


def _by_word(body: dict[str, Any]) -> Finding:
    word = _word(body)
    cost = _cost(body.get("cost"))
    if word in CANCELLED_WORDS:
        return Finding(Doing.CANCELLED, "cancelled at RunComfy", api_status=word, cost=cost)
    if word in FAILED_WORDS:
        reason = _text_of(body) or "the model failed without saying why"
        return Finding(Doing.FAILED, reason, _code(body), word, cost=cost)
    if word in DONE_WORDS:
        urls = tuple(output_urls(body.get("output")))
        if not urls:
            reason = _text_of(body) or "completed without any output"
            return Finding(Doing.FAILED, reason, _code(body), word, cost=cost)
        return Finding(Doing.DONE, api_status=word, urls=urls, cost=cost)
    return Finding(Doing.RUNNING, api_status=word)


def output_urls(output: Any) -> list[str]:
    """Return the URLs in a result's `output`, each once, in order.

    output: `{"image": url}`, `{"images": [url, …]}`, the same for video and audio, a bare URL or a
        bare list (older docs), or names that we do not know: every http(s) URL in it counts.
    """
    found: dict[str, None] = {}

    def collect(value: Any, depth: int) -> None:
        if isinstance(value, str) and re.match(r"https?:", value, re.IGNORECASE):
            found.setdefault(_storable(value))
        elif isinstance(value, list | dict) and depth < 4:
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner, depth + 1)

    collect(output, 0)
    return list(found)


def after_cancel(reply: Reply) -> bool | None:
    """True: cancelled. False: it cannot be, and is still collected. None: no clear answer."""
    body = reply.json()
    if reply.status not in (200, 202) or not isinstance(body, dict):
        return None
    outcome = _shown(body.get("outcome") or body.get("status") or "").lower()
    if outcome in CANCELLED_WORDS:
        return True
    return False if outcome == "not_cancellable" else None


def balance_of(reply: Reply) -> float | None:
    """USD in the wallet; None where the answer does not say."""
    body = reply.json()
    value = (
        body.get("balance_usd")
        if reply.status == HTTPStatus.OK and isinstance(body, dict)
        else None
    )
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def describe(error: BaseException | None) -> str:
    """Say what broke, for a log line: the class is often all that httpx tells."""
    if error is None:
        return "no answer"
    text = _storable(" ".join(str(error).split())[:200])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def error_text(reply: Reply) -> str:
    """The API's own words about an error, on one line; "" when it has none."""
    body = reply.json()
    return _text_of(body) if isinstance(body, dict) else ""


_TEXTS = ("error_message", "message", "error", "detail")


def _text_of(body: Mapping[str, Any], depth: int = 0) -> str:
    for name in _TEXTS:
        value = body.get(name)
        if isinstance(value, Mapping) and depth < 4:
            value = _text_of(value, depth + 1)
        elif isinstance(value, list):
            value = "; ".join(_detail(item) for item in value[:10])
        if value and isinstance(value, str):
            return _storable(" ".join(value.split())[:500])
    return ""


def _detail(item: Any) -> str:
    """One item of a 422's `detail`: `{"loc": ["body", "seed"], "msg": "…"}` as `seed: …`."""
    if not isinstance(item, Mapping):
        return _shown(item)
    loc = item.get("loc")
    parts = loc if isinstance(loc, list) else [] if loc is None else [loc]
    where = ".".join(_shown(part) for part in parts if part != "body")
    return f"{where}: {_shown(item.get('msg', ''))}" if where else _shown(item.get("msg", item))


def _shown(value: Any) -> str:
    """A value of whatever shape as text; an answer can be nested too deeply even for that."""
    try:
        return str(value)
    except RecursionError:
        return ""


def _storable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can spell and no database takes."""
    return text.encode(errors="replace").decode()


def _speaks_of_balance(body: Any, depth: int = 0) -> bool:
    if not isinstance(body, Mapping) or depth > 4:
        return isinstance(body, str) and bool(_NO_BALANCE.search(body))
    # `detail` lists repeat the person's own input, so their words prove nothing.
    return any(_speaks_of_balance(body.get(name), depth + 1) for name in _TEXTS)


def _request_id(body: Any, raw: bytes) -> str | None:
    if isinstance(body, dict):
        named = body.get("request_id")
        if isinstance(named, str) and REQUEST_ID.fullmatch(named):
            return named
        for name in ("status_url", "result_url"):
            url = body.get(name)
            if isinstance(url, str) and (match := _ID_IN_URL.search(url)):
                return match[1]
        return None
    match_in_bytes = _ID_IN_BYTES.search(raw)
    return match_in_bytes[1].decode() if match_in_bytes else None


def _code(body: Any) -> int | None:
    """The error_code of a body, also where it stands inside `error`."""
    if not isinstance(body, dict):
        return None
    code = body.get("error_code")
    if code is None and isinstance(body.get("error"), dict):
        code = body["error"].get("error_code", body["error"].get("code"))
    try:
        number = int(code) if code is not None and not isinstance(code, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    # A number that the journal's columns cannot hold is no code.
    return number if number is not None and abs(number) < 1 << 63 else None


def _cost(value: Any) -> float | None:
    if isinstance(value, Mapping):
        value = next((value[n] for n in ("usd", "amount", "total", "cost") if n in value), None)
    try:
        cost = float(value) if value is not None and not isinstance(value, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return cost if cost is not None and 0 <= cost < 1e6 else None


def _how_it_broke(error: BaseException | None) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "never answered"
    return f"its answer was lost ({describe(error)})"


def _with_text(what: str, reply: Reply) -> str:
    text = error_text(reply)
    return f"{what}: {text}" if text else what
