"""How each fault on the API's origin answers a call: a table of small functions."""

import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from batchgen.sandbox.call import HTML, HttpCall
from batchgen.sandbox.errors import NOT_READY, REFUSALS, TOO_MANY_REQUESTS, error_body
from batchgen.sandbox.faults import SERVER_ERRORS, AppliedFault
from batchgen.sandbox.service import Service
from batchgen.sandbox.state import SandboxState

PADDING_BYTES = 5 * 2**20
OTHER_ID = "00000000-0000-4000-8000-000000000000"
FIREWALL_PAGE = (
    b"<!doctype html><html><head><title>Attention</title></head><body>Blocked</body></html>"
)
LOGIN_PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>Portal</body></html>"


@dataclass
class FaultContext:
    """A call that may meet a fault.

    service: the API that it is for. usual: the answer that it would have, with `status`.
    previous: the request_id that was given out before this one, if any. value: the fault's.
    """

    call: HttpCall
    state: SandboxState
    service: Service
    usual: Any
    status: int = 200
    previous: str | None = None
    value: Any = None


ApiFault = Callable[[FaultContext], Awaitable[None]]


async def hang_up(at: FaultContext) -> None:
    await at.call.hang_up()


async def reset_connection(at: FaultContext) -> None:
    await at.call.reset()


async def never_answer(at: FaultContext) -> None:
    await at.call.gone()


async def answer_page(at: FaultContext) -> None:
    await at.call.answer(200, LOGIN_PAGE, kind=HTML)


async def answer_firewall_page(at: FaultContext) -> None:
    await at.call.answer(403, FIREWALL_PAGE, kind=HTML)


async def answer_gzipped(at: FaultContext) -> None:
    """The usual answer, compressed though nobody asked for it, as some caches do."""
    body = gzip.compress(json.dumps(at.usual, separators=(",", ":")).encode())
    await at.call.answer(200, body, (b"content-encoding", b"gzip"))


async def answer_empty(at: FaultContext) -> None:
    await at.call.answer(200)


def answer_json(status: int, body: Any) -> ApiFault:
    return lambda at: at.call.json(*at.service.worded(at.state, status, body))


def answer_gateway_page(status: int) -> ApiFault:
    """A 5xx as gateways send it, as a page."""
    text = f"<html><body><h1>{status}</h1></body></html>".encode()
    return lambda at: at.call.answer(status, text, kind=HTML)


def answer_redirect(status: int) -> ApiFault:
    async def send_away(at: FaultContext) -> None:
        there = f"http://{at.state.media_host}{at.call.path}".encode()
        await at.call.answer(status, b"", (b"location", there))

    return send_away


def answer_changed(change: Callable[[FaultContext], dict[str, Any]], status: int = 200) -> ApiFault:
    """Another body than the usual one, or another status."""
    return lambda at: at.call.json(status, change(at))


def cut_answer(place: Callable[[bytes, bytes], int]) -> ApiFault:
    """Break off the usual answer; place: (body, request_id) -> how many bytes still arrive."""

    async def break_off(at: FaultContext) -> None:
        body = json.dumps(at.usual, separators=(",", ":")).encode()
        await at.call.begin(200, length=len(body))
        await at.call.send_part(body[: place(body, str(at.usual.get("request_id", "")).encode())])
        await at.call.hang_up()

    return break_off


async def refuse_5xx(at: FaultContext) -> None:
    await at.call.json(int(at.value), {"message": "Service unavailable; nothing was accepted"})


async def answer_status(at: FaultContext) -> None:
    """value: a status, or [status, body]."""
    status, body = at.value if isinstance(at.value, list) else (at.value, {"message": "told so"})
    await at.call.json(int(status), body)


async def answer_429(at: FaultContext) -> None:
    """value: the text of Retry-After; "none" leaves it out."""
    status, body = at.service.worded(at.state, *TOO_MANY_REQUESTS)
    told = () if at.value in (None, "none") else ((b"retry-after", str(at.value).encode()),)
    await at.call.json(status, body, *told)


async def answer_large(at: FaultContext) -> None:
    """value: "id-first", "id-last" (5 MiB of padding after or before it), or "endless"."""
    call = at.call
    usual = json.dumps(at.usual, separators=(",", ":")).encode()
    fill = b"x" * 2**16
    if at.value == "endless":
        await call.begin(200)
        await call.send_part(usual[:-1] + b',"padding":"')
        while not call.closed:
            await call.send_part(fill)
        return
    padding = b'"padding":"' + fill * (PADDING_BYTES // len(fill)) + b'"'
    last = at.value == "id-last"
    await call.answer(
        200, b"{%s,%s" % (padding, usual[1:]) if last else b"%s,%s}" % (usual[:-1], padding)
    )


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in names}


API_FAULTS: dict[str, ApiFault] = {
    **{name: answer_json(status, body) for name, (status, body) in REFUSALS.items()},
    **{name: answer_gateway_page(int(name)) for name in SERVER_ERRORS},
    "lost": hang_up,
    "lost-rst": reset_connection,
    "silent": never_answer,
    "hangup": hang_up,
    "drop": hang_up,
    "html-200": answer_page,
    "empty-200": answer_empty,
    "cut-after-id": cut_answer(lambda body, given: body.index(given) + len(given) + 2),
    "cut-before-id": cut_answer(lambda body, given: body.index(given) + len(given) // 2),
    "id-beside-error": answer_changed(lambda at: at.usual | error_body(500001, "InternalError")),
    "no-id": answer_changed(lambda at: {"status": "in_queue"}),
    "id-in-urls-only": answer_changed(lambda at: without(at.usual, "request_id")),
    "odd-id": answer_changed(
        lambda at: {"request_id": at.value, "status": "in_queue", "note": "an id of another shape"}
    ),
    "gzip": answer_gzipped,
    "firewall": answer_firewall_page,
    "202": answer_changed(lambda at: at.usual, 202),
    "same-id": answer_changed(
        lambda at: at.usual | ({"request_id": at.previous} if at.previous else {})
    ),
    "error-in-200": answer_changed(
        lambda at: error_body(int(at.value), "the answer is 200, the news is bad")
    ),
    "big-answer": answer_large,
    "refuse-5xx": refuse_5xx,
    "status": answer_status,
    "429": answer_429,
    "302": answer_redirect(302),
    "307": answer_redirect(307),
    "poll-gzip": answer_gzipped,
    "poll-firewall": answer_firewall_page,
    "not-ready": answer_json(*NOT_READY),  # only where it is true
    "poll-500": answer_gateway_page(500),
    "poll-401": answer_json(*REFUSALS["401"]),
    "poll-404": answer_json(*REFUSALS["404"]),
    "poll-429": answer_429,
    "poll-garbage": lambda at: at.call.answer(200, b'{"status": completed]\xff\xfe'),
    "poll-html": answer_page,
    "poll-empty": answer_empty,
    "poll-drop": hang_up,
    "poll-rst": reset_connection,
    "poll-silent": never_answer,
    "poll-cut": cut_answer(lambda body, given: len(body) // 2),
    "poll-other-id": answer_changed(lambda at: at.usual | {"request_id": OTHER_ID}),
}


async def answer_call(at: FaultContext, fault: AppliedFault | None) -> None:
    """Answer as usual, or as a fault of API_FAULTS does."""
    if fault is None:
        await at.call.json(at.status, at.usual)
    else:
        at.value = fault.value
        await API_FAULTS[fault.name](at)
