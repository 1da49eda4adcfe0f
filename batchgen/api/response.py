"""What came back for a request, unjudged, and what can be read out of it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.core.text import replace_surrogates

BAD_IDENTIFIER = 400001
NO_BALANCE = 400002
BAD_ACCOUNT = 400004
NOT_ALLOWED = 403001
NOT_FOUND = 404001
BAD_INPUT = 422001
# Source: api.md, the table of error codes.
LISTED_CODES = {BAD_IDENTIFIER, NO_BALANCE, BAD_ACCOUNT, NOT_ALLOWED, NOT_FOUND, BAD_INPUT, 422}


@dataclass(frozen=True, slots=True)
class Response:
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


def error_text_of(reply: Response) -> str:
    """The API's own words about an error, on one line; "" when it has none."""
    body = reply.json()
    return text_of(body) if isinstance(body, dict) else ""


TEXTS = ("error_message", "message", "error", "detail")


def text_of(body: Mapping[str, Any], depth: int = 0) -> str:
    for name in TEXTS:
        value = body.get(name)
        if isinstance(value, Mapping) and depth < 4:
            value = text_of(value, depth + 1)
        elif isinstance(value, list):
            value = "; ".join(_detail(item) for item in value[:10])
        if value and isinstance(value, str):
            return replace_surrogates(" ".join(value.split())[:500])
    return ""


def _detail(item: Any) -> str:
    """One item of a 422's `detail`: `{"loc": ["body", "seed"], "msg": "…"}` as `seed: …`."""
    if not isinstance(item, Mapping):
        return to_text(item)
    loc = item.get("loc")
    parts = loc if isinstance(loc, list) else [] if loc is None else [loc]
    where = ".".join(to_text(part) for part in parts if part != "body")
    return f"{where}: {to_text(item.get('msg', ''))}" if where else to_text(item.get("msg", item))


def to_text(value: Any) -> str:
    """A value of whatever shape as text; an answer can be nested too deeply even for that."""
    try:
        return str(value)
    except RecursionError:
        return ""


def error_code_of(body: Any) -> int | None:
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
