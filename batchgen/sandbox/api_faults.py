"""How a fault on the API's origin is committed, once it is decided: a table of small functions."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from batchgen.sandbox.call import HTML, Call
from batchgen.sandbox.errors import REFUSALS, TOO_FAST, error
from batchgen.sandbox.faults import SERVER_ERRORS, Applied

BIG = 5 * 2**20
OTHER_ID = "00000000-0000-4000-8000-000000000000"
PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>Portal</body></html>"


@dataclass
class Trouble:
    """usual: the answer a call would have had. elsewhere: the other origin, `http://host:port`.
    previous: the request_id that was handed out before, if any."""

    call: Call
    value: Any
    usual: dict[str, Any]
    elsewhere: str
    previous: str | None = None


Misdeed = Callable[[Trouble], Awaitable[None]]


async def hang_up(at: Trouble) -> None:
    await at.call.close()


async def reset(at: Trouble) -> None:
    await at.call.reset()


async def say_nothing(at: Trouble) -> None:
    await at.call.gone()


async def page(at: Trouble) -> None:
    await at.call.answer(200, PAGE, kind=HTML)


async def nothing(at: Trouble) -> None:
    await at.call.answer(200)


async def garbage(at: Trouble) -> None:
    await at.call.answer(200, b'{"status": completed]\xff\xfe')


def plain(status: int, body: Any) -> Misdeed:
    async def refuse(at: Trouble) -> None:
        await at.call.json(status, body)

    return refuse


def gateway(status: int) -> Misdeed:
    """A 5xx as gateways send it, as a page."""
    text = f"<html><body><h1>{status}</h1></body></html>".encode()

    async def fail(at: Trouble) -> None:
        await at.call.answer(status, text, kind=HTML)

    return fail


def redirect(status: int) -> Misdeed:
    async def send_away(at: Trouble) -> None:
        there = (at.elsewhere + at.call.path).encode()
        await at.call.answer(status, b"", (b"location", there))

    return send_away


def changed(change: Callable[[Trouble], dict[str, Any]]) -> Misdeed:
    """A 200 with another body than the usual one."""

    async def lie(at: Trouble) -> None:
        await at.call.json(200, change(at))

    return lie


def cut(place: Callable[[bytes, bytes], int]) -> Misdeed:
    """Break off the usual answer; place: (body, request_id) -> how many bytes still arrive."""

    async def break_off(at: Trouble) -> None:
        body = json.dumps(at.usual, separators=(",", ":")).encode()
        await at.call.begin(200, length=len(body))
        await at.call.write(body[: place(body, str(at.usual.get("request_id", "")).encode())])
        await at.call.close()

    return break_off


async def refuse_5xx(at: Trouble) -> None:
    await at.call.json(int(at.value), {"message": "Service unavailable; nothing was accepted"})


async def any_status(at: Trouble) -> None:
    """value: a status, or [status, body]."""
    status, body = at.value if isinstance(at.value, list) else (at.value, {"message": "told so"})
    await at.call.json(int(status), body)


async def too_fast(at: Trouble) -> None:
    """value: the text of Retry-After; "none" leaves it out."""
    status, body = TOO_FAST
    told = () if at.value in (None, "none") else ((b"retry-after", str(at.value).encode()),)
    await at.call.json(status, body, *told)


async def big_answer(at: Trouble) -> None:
    """value: "id-first", "id-last" (5 MiB of padding after or before it), or "endless"."""
    call = at.call
    usual = json.dumps(at.usual, separators=(",", ":")).encode()
    fill = b"x" * 2**16
    if at.value == "endless":
        await call.begin(200)
        await call.write(usual[:-1] + b',"padding":"')
        while not call.closed:
            await call.write(fill)
        return
    padding = b'"padding":"' + fill * (BIG // len(fill)) + b'"'
    last = at.value == "id-last"
    await call.answer(
        200, b"{%s,%s" % (padding, usual[1:]) if last else b"%s,%s}" % (usual[:-1], padding)
    )


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in names}


MISDEEDS: dict[str, Misdeed] = {
    **{name: plain(status, body) for name, (status, body) in REFUSALS.items()},
    **{name: gateway(int(name)) for name in SERVER_ERRORS},
    "lost": hang_up,
    "lost-rst": reset,
    "silent": say_nothing,
    "hangup": hang_up,
    "drop": hang_up,
    "html-200": page,
    "empty-200": nothing,
    "cut-after-id": cut(lambda body, given: body.index(given) + len(given) + 2),
    "cut-before-id": cut(lambda body, given: body.index(given) + len(given) // 2),
    "id-beside-error": changed(lambda at: at.usual | error(500001, "InternalError")),
    "no-id": changed(lambda at: {"status": "in_queue"}),
    "id-in-urls-only": changed(lambda at: without(at.usual, "request_id")),
    "same-id": changed(lambda at: at.usual | {"request_id": at.previous or at.usual["request_id"]}),
    "error-in-200": changed(lambda at: error(int(at.value), "the answer is 200, the news is bad")),
    "big-answer": big_answer,
    "refuse-5xx": refuse_5xx,
    "status": any_status,
    "429": too_fast,
    "302": redirect(302),
    "307": redirect(307),
    "poll-500": gateway(500),
    "poll-401": plain(*REFUSALS["401"]),
    "poll-404": plain(*REFUSALS["404"]),
    "poll-429": too_fast,
    "poll-garbage": garbage,
    "poll-html": page,
    "poll-empty": nothing,
    "poll-drop": hang_up,
    "poll-rst": reset,
    "poll-silent": say_nothing,
    "poll-cut": cut(lambda body, given: len(body) // 2),
    "poll-other-id": changed(lambda at: at.usual | {"request_id": OTHER_ID}),
}


async def commit(fault: Applied, trouble: Trouble) -> None:
    """Commit a fault of MISDEEDS."""
    trouble.value = fault.value
    await MISDEEDS[fault.name](trouble)
