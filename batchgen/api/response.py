"""What came back for a request, decoded once. Pure: the time is an argument.

The rules that classify a submission (submit_outcome.py) and a question (poll_outcome.py) read these
values and decode nothing themselves. Source: docs/maintainers/wire.md, "Errors".
"""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchgen.api.retry_after import parse_retry_after
from batchgen.core.identity import REQUEST_ID_PATTERN
from batchgen.core.text import replace_surrogates, shorten_data_uris

BAD_IDENTIFIER = 400001
NO_BALANCE = 400002
BAD_ACCOUNT = 400004
NOT_READY = 400005
NOT_ALLOWED = 403001
NOT_FOUND = 404001
BAD_INPUT = 422001
LISTED_CODES = {BAD_IDENTIFIER, NO_BALANCE, BAD_ACCOUNT, NOT_ALLOWED, NOT_FOUND, BAD_INPUT, 422}
TEXT_NAMES = ("error_message", "message", "error", "detail")

# JSON of more values than this would take several hundred MiB of memory; no result has so many.
MAX_VALUES = 4_000_000
MAX_RESPONSE_BYTES = 1 << 20
EXCERPT_BYTES = 2000
_GZIP_START = b"\x1f\x8b"

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # as an escape, which may be one of a pair
_ID = REQUEST_ID_PATTERN.pattern
_ID_IN_BYTES = re.compile(rf'"request_id"\s*:\s*"({_ID})"'.encode())
_ID_IN_URL = re.compile(rf"/requests/({_ID})(?:/|$)")


class ResponseTooLarge(ValueError):
    """More came than is read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit >> 20} MiB")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, or what came of a request that got none.

    status: the HTTP status; None when no answer began.
    body: the decoded JSON; None where the answer is not JSON.
    content: the bytes as they came, but decompressed; cut where there would be too many.
    content_type: of the answer, in the API's words; "" without.
    code: the API's error_code; None when there is none.
    text: the API's own words about an error, on one line; "" when it has none.
    request_id: of an accepted submission, also where the answer broke off behind it; None without.
    retry_after: seconds, from 1 to 3600; None without a readable Retry-After.
    error: what ended the exchange early; None when the answer is whole.
    date: the Date header as it came; "" without.
    body_sent: the body of a paid POST was handed over, so the POST may have been accepted.
    """

    status: int | None = None
    body: Any = None
    content: bytes = b""
    content_type: str = ""
    code: int | None = None
    text: str = ""
    request_id: str | None = None
    retry_after: float | None = None
    error: BaseException | None = None
    body_sent: bool = True
    date: str = ""

    @property
    def excerpt(self) -> str:
        """What came, for a person: status, type and first bytes; "" where no answer began."""
        if self.status is None:
            return ""
        text = self.content[:EXCERPT_BYTES].decode(errors="backslashreplace")
        text = shorten_data_uris(text)
        return f"{self.status} {self.content_type[:100]}".strip() + (f"\n{text}" if text else "")


def decode(
    status: int | None,
    headers: Mapping[str, str],
    content: bytes,
    error: BaseException | None,
    now: float,
    *,
    body_sent: bool = True,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> Response:
    """Decode what was received.

    headers: by lower-case name. content: as much of the answer as came. error: what broke off the
    exchange. now: seconds since the epoch, for a Retry-After that is a date. max_bytes: that may
    come of compressed content.
    """
    received, content = content, decompress(content, headers.get("content-encoding", ""), max_bytes)
    if content is not received and len(content) == max_bytes:
        error = error or ResponseTooLarge(max_bytes)
    body = decode_json(content)
    return Response(
        status=status,
        body=body,
        content=content,
        content_type=headers.get("content-type", ""),
        code=_find_code(body),
        text=find_text(body) if isinstance(body, dict) else "",
        request_id=_find_request_id(body, content),
        retry_after=parse_retry_after(headers.get("retry-after"), now),
        error=error,
        body_sent=body_sent,
        date=headers.get("date", ""),
    )


def decompress(content: bytes, encoding: str, limit: int) -> bytes:
    """Return gzip'd or deflated content as it was before, at most `limit` bytes of it.

    encoding: of the header. batchgen asks for none, and some caches answer with one all the same,
    or name one that is not there, so gzip is told by its first bytes. Of a stream that breaks off
    comes what can be decoded; what is compressed in another way comes as it is.
    """
    if content.startswith(_GZIP_START):
        windows = [zlib.MAX_WBITS | 16]
    elif "deflate" in encoding.lower():
        windows = [zlib.MAX_WBITS, -zlib.MAX_WBITS]  # as the standard says, and as many send it
    else:
        return content
    for window in windows:
        try:
            decoded = zlib.decompressobj(window).decompress(content, limit)
        except zlib.error:
            continue
        if decoded:
            return decoded
    return content


def decode_json(content: bytes) -> Any:
    """Return the value without halves of surrogate pairs; None for no JSON, or too much of it."""
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return None
    try:
        # Not the bytes themselves: json takes halves that UTF-8 or UTF-16 cannot have.
        text = content.decode(json.detect_encoding(content), "replace")
        value = json.loads(text)
        return _without_halves(value) if _HALF.search(text) else value
    except (ValueError, RecursionError):
        return None


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [_without_halves(inner) for inner in value]
    if isinstance(value, dict):
        return {replace_surrogates(name): _without_halves(inner) for name, inner in value.items()}
    return value


def _find_request_id(body: Any, content: bytes) -> str | None:
    """Find it by its name, else in the URLs beside it; in the bytes where they are not JSON."""
    if not isinstance(body, dict):
        in_bytes = _ID_IN_BYTES.search(content)
        return in_bytes[1].decode() if in_bytes else None
    named = body.get("request_id")
    if isinstance(named, str) and REQUEST_ID_PATTERN.fullmatch(named):
        return named
    urls = (body.get(name) for name in ("status_url", "result_url"))
    found = (_ID_IN_URL.search(url) for url in urls if isinstance(url, str))
    return next((match[1] for match in found if match), None)


def _find_code(body: Any) -> int | None:
    """Find the error_code, also inside `error`."""
    if not isinstance(body, dict):
        return None
    code = body.get("error_code")
    if code is None and isinstance(body.get("error"), dict):
        code = body["error"].get("error_code", body["error"].get("code"))
    return read_code(code)


def read_code(code: Any) -> int | None:
    """Return a code as the journal's columns hold it; None for what is none."""
    try:
        number = int(code) if code is not None and not isinstance(code, bool) else None
    except (TypeError, ValueError, OverflowError):
        return None
    # The journal's columns hold 64 bits.
    return number if number is not None and abs(number) < 1 << 63 else None


def find_text(body: Mapping[str, Any], depth: int = 0) -> str:
    for name in TEXT_NAMES:
        value = body.get(name)
        if isinstance(value, Mapping) and depth < 4:
            value = find_text(value, depth + 1)
        elif isinstance(value, list):
            value = "; ".join(_describe_detail(item) for item in value[:10])
        if value and isinstance(value, str):
            # An answer may repeat the input, with the files in it.
            return " ".join(shorten_data_uris(value).split())[:500]
    return ""


def _describe_detail(item: Any) -> str:
    """Return an item of a 422's `detail`, `{"loc": ["body", "seed"], "msg": "…"}`, as `seed: …`."""
    if not isinstance(item, Mapping):
        return to_text(item)
    loc = item.get("loc")
    parts = loc if isinstance(loc, list) else [] if loc is None else [loc]
    where = ".".join(to_text(part) for part in parts if part != "body")
    return f"{where}: {to_text(item.get('msg', ''))}" if where else to_text(item.get("msg", item))


def to_text(value: Any) -> str:
    """Return any decoded value as text; "" where it is nested too deeply."""
    try:
        return str(value)
    except RecursionError:
        return ""
