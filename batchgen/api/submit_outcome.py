"""What the answer to a paid POST means for its row. Pure.

A paid POST may be repeated only where it was surely not accepted; in doubt its row becomes unknown
and waits for a person. Each rule is a line of "May this POST be repeated?" in
docs/maintainers/specification.md; the first that matches decides.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import aiohttp

from batchgen.api import response as codes
from batchgen.api.response import LISTED_CODES, NO_BALANCE, TEXT_NAMES, Response
from batchgen.core.identity import json_object
from batchgen.core.local_files import local_files
from batchgen.core.text import describe_error
from batchgen.errors import BatchgenError


class HaltReason(Enum):
    """Why no other row would fare better."""

    BALANCE = "the balance is used up"
    TOKEN = "the token was refused"
    SERVICE = "the API cannot be reached, or not safely"
    MEMORY = "there is not enough memory"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API gave a request_id. note: what was odd about the answer; "" for nothing."""

    request_id: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The API asked to slow down, and took nothing. retry_after: seconds; None where unsaid."""

    retry_after: float | None
    code: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The API refused this row's input, and took nothing."""

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the body left. offline: the API could not be reached."""

    reason: str
    offline: bool = False


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """The API took nothing, for a reason that is not the row's."""

    reason: str
    code: int | None


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something before the API refused the request, or sent it elsewhere; the API took nothing.

    Whether that is the row's fault shows with the next one: `engine/held_rows.py`.
    """

    reason: str
    code: int


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The API may have accepted the request.

    code: of the answer; None where there was none. answer: what came, for a person to look at.
    """

    reason: str
    code: int | None = None
    answer: str = ""


@dataclass(frozen=True, slots=True)
class ModelHalt:
    """The API takes no row of this model, and took not this one."""

    row: NotAccepted


@dataclass(frozen=True, slots=True)
class Halt:
    """What became of the row, and why no other row would fare better.

    perhaps_model: it may be for want of what this model costs; only the balance can tell.
    """

    row: NotSent | NotAccepted | OutcomeUnknown
    why: HaltReason
    perhaps_model: bool = False


# What became of one row.
RowOutcome = Accepted | Throttled | Rejected | NotSent | Blocked | NotAccepted | OutcomeUnknown
SubmitOutcome = (
    Accepted | Throttled | Rejected | NotSent | Blocked | OutcomeUnknown | ModelHalt | Halt
)

# Errors before the body that another try may cure; a bad certificate hides among the first.
TEMPORARY_ERRORS = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    aiohttp.ClientResponseError,
    OSError,  # TimeoutError is one
)
UNTRUSTED_ERRORS = (ssl.SSLCertVerificationError, aiohttp.ClientConnectorCertificateError)

_BALANCE_WORDS = re.compile(
    r"insufficient (account )?(balance|funds?|credits?|resources?)"
    r"|not enough (balance|funds?|credits?)"
    r"|(balance|credits?) (is|are|has been|have been)? ?(insufficient|used up|exhausted|too low)"
    r"|out of (balance|funds?|credits?)|payment required",
    re.IGNORECASE,
)


def classify_submit(response: Response) -> SubmitOutcome:
    """Say what the answer to a paid POST means for its row."""
    match _classify(response):
        case OutcomeUnknown() as unknown:
            return replace(unknown, answer=response.excerpt)
        case Halt(OutcomeUnknown() as unknown) as halt:
            return replace(halt, row=replace(unknown, answer=response.excerpt))
        case outcome:
            return outcome


def _classify(response: Response) -> SubmitOutcome:
    if not response.body_sent:
        return _before_the_body(response.error)
    if response.status is None:
        return _lost(response.error)
    for statuses, rule in _BY_STATUS:
        if response.status in statuses:
            return rule(response, response.status)
    return _unclear(response, response.status)


def _before_the_body(error: BaseException | None) -> SubmitOutcome:
    """A body that was never asked for was surely not accepted."""
    if isinstance(error, BatchgenError):  # the row could not be recorded as being submitted
        return NotSent(error.what)
    reason = f"not sent: {describe_error(error)}"
    if error is None or (isinstance(error, TEMPORARY_ERRORS) and not _needs_a_person(error)):
        return NotSent(reason, offline=True)
    if isinstance(error, MemoryError):
        return Halt(NotSent(reason), HaltReason.MEMORY)
    if not isinstance(error, Exception):
        return NotSent("not sent: interrupted")
    return Halt(NotSent(reason), HaltReason.SERVICE)


def _needs_a_person(error: BaseException | None) -> bool:
    """Whether no later try would fare better: a bad certificate, a proxy that wants a login."""
    while error is not None:
        if isinstance(error, UNTRUSTED_ERRORS):
            return True
        if isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407:
            return True
        error = error.__cause__ or error.__context__
    return False


def _success(response: Response, status: int) -> SubmitOutcome:
    if response.request_id is not None:
        whole = response.error is None and isinstance(response.body, dict)
        return Accepted(response.request_id, "" if whole else "its answer broke off")
    if response.code in LISTED_CODES or response.code == 429:
        return _by_code(response, response.code)
    if response.error is not None:
        return _lost(response.error)
    return OutcomeUnknown(f"the API answered {status} without a request_id", response.code)


def _unfollowed_redirect(response: Response, status: int) -> SubmitOutcome:
    """307 and 308 ask for the same POST elsewhere; any other may follow an accepted one."""
    reason = f"the API answered with a redirect ({status}), which is not followed"
    if status in (307, 308):
        return Blocked(reason, status)
    return Halt(OutcomeUnknown(reason, status), HaltReason.SERVICE)


def _client_error(response: Response, status: int) -> SubmitOutcome:
    if status == 402 and response.code != NO_BALANCE:
        said = response.text or "payment required"
        row = NotAccepted(f"balance used up: {said}", NO_BALANCE)
        return Halt(row, HaltReason.BALANCE, perhaps_model=True)
    if _mentions_balance(response.body):
        return _by_code(response, NO_BALANCE)
    if response.code in LISTED_CODES:
        return _by_code(response, response.code)
    if status == 403:
        said = response.text or "a firewall's page"
        return Blocked(f"refused before it reached RunComfy (403, {said})", status)
    if status in (408, 409, 499):  # a time-out, a conflict, a client that left: perhaps taken
        return _unclear(response, response.code or status)
    return _by_code(response, status)


def _unclear(response: Response, code: int) -> SubmitOutcome:
    said = f": {response.text}" if response.text else ""
    return OutcomeUnknown(f"the API answered {response.status}{said}", code)


_BY_STATUS: tuple[tuple[range, Callable[[Response, int], SubmitOutcome]], ...] = (
    (range(200, 300), _success),
    (range(300, 400), _unfollowed_redirect),
    (range(400, 500), _client_error),
    # 500, 502, 503, 504 and their kind: the server may have failed after it had accepted.
    (range(500, 600), _unclear),
)


def _by_code(response: Response, code: int) -> SubmitOutcome:
    """code: an error_code, else the HTTP status."""
    text = response.text or f"error {code}"
    match code:
        case codes.NO_BALANCE:
            return Halt(NotAccepted(f"balance used up: {text}", code), HaltReason.BALANCE)
        case codes.NOT_ALLOWED:
            return ModelHalt(NotAccepted(f"not allowed: {text}", code))
        case codes.BAD_ACCOUNT | 401:
            return Halt(NotAccepted(f"token refused: {text}", code), HaltReason.TOKEN)
        case 429:
            return Throttled(response.retry_after, code)
    return Rejected(text, code)


def refusal_of_files(outcome: Rejected, input: str) -> SubmitOutcome:
    """Say what a refusal means for a row of a model that has taken no local file so far.

    Whether the API takes files as `data:` URIs is not published, so it is not held against this
    row, unless the API names another of its inputs. input: the row's, as JSON.
    """
    values = json_object(input) or {}
    files = {name for name, _ in local_files(values)}
    if not files or outcome.code in (404, codes.NOT_FOUND, codes.BAD_IDENTIFIER):
        return outcome
    words = set(re.findall(r"\w+", outcome.reason.lower()))
    named = {name for name in values if name.lower() in words}
    if named and not named & files and not words & _FILE_WORDS:
        return outcome
    reason = (
        f"it refused the first local file, which is sent as a data: URI ({outcome.reason});"
        " what works for sure is the public https:// address of a file"
    )
    return ModelHalt(NotAccepted(reason, outcome.code))


_FILE_WORDS = {"base64", "data", "file", "media", "uri", "url"}


def _mentions_balance(body: Any, depth: int = 0) -> bool:
    if not isinstance(body, Mapping) or depth > 4:
        return isinstance(body, str) and bool(_BALANCE_WORDS.search(body))
    # `detail` lists repeat the person's own input, so their words prove nothing.
    return any(_mentions_balance(body.get(name), depth + 1) for name in TEXT_NAMES)


def refuses_token(response: Response) -> bool:
    """Whether the API itself says so; a 403 alone may be a firewall's, and of one path only."""
    return response.status == 401 or response.code == codes.BAD_ACCOUNT


def refusal_of_question(response: Response) -> HaltReason | None:
    """Say why no POST would fare better, by the answer to a free question; None for all others."""
    status = response.status or 0
    if refuses_token(response):
        return HaltReason.TOKEN
    if status == 403 and response.code not in LISTED_CODES:
        return HaltReason.TOKEN
    return HaltReason.SERVICE if 300 <= status < 400 else None


def _lost(error: BaseException | None) -> SubmitOutcome:
    """The body left, and no whole answer came."""
    how = "never answered"
    if not isinstance(error, TimeoutError):
        how = f"its answer was lost ({describe_error(error)})"
    unknown = OutcomeUnknown(f"the API took the request and {how}")
    return Halt(unknown, HaltReason.MEMORY) if isinstance(error, MemoryError) else unknown
