"""The control endpoints, `/_sandbox/...`: what arrived, what was billed, faults, and options.

They are outside /v1, need no token, and belong to tests; `tests/sandbox_client.py` is their client.
"""

import json
import math
import time
from typing import Any

from batchgen.sandbox.call import BodyTooLarge, HttpCall
from batchgen.sandbox.errors import NO_ROUTE, WRONG_METHOD
from batchgen.sandbox.faults import make_hook
from batchgen.sandbox.requests import request_state
from batchgen.sandbox.services import DEPLOYMENTS, service_of
from batchgen.sandbox.state import SandboxState

CONTROL = "/_sandbox/"
CHANGES = ("reset", "faults", "options", "deployment")
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
FROM_A_WEB_PAGE = (403, {"error": "these endpoints are for programs on this computer"})
COUNTED = ("polls", "media", "media_with_token", "throttled", "dropped")


def ledger(state: SandboxState) -> list[dict[str, Any]]:
    """Every accepted request in order, with its state, whether it is billed, and when a poll saw
    its end. One to a deployment is billed by the seconds of its instance until it was cancelled."""
    now = time.time()
    state.settle(now)
    return [
        row._asdict()
        | {
            "state": request_state(row, now),
            "billed": row.cancelled_at is None
            or (service_of(row) is DEPLOYMENTS and (row.started_at or math.inf) < row.cancelled_at),
            "seen_at": state.seen.get(row.request_id),
        }
        for row in state.ledger.rows()
    ]


def instances(state: SandboxState) -> list[dict[str, Any]]:
    """Every instance of a deployment, in the order in which they woke, with its bill so far."""
    now = time.time()
    state.settle(now)
    found = []
    for one in state.ledger.instances():
        seconds = max(min(one.down_at or now, now) - one.woke_at, 0.0)
        bill = {"seconds": seconds, "usd": seconds * one.usd_per_second}
        found.append(one._asdict() | bill)
    return found


def counts(state: SandboxState) -> dict[str, Any]:
    """posts, by_answer: POSTs that arrived whole; by_status: the accepted requests' states.

    posts, accepted, billed_usd and the two tables are kept with the folder; the other numbers
    are of this process.
    """
    now = time.time()
    state.settle(now)
    return {
        "posts": state.ledger.posts,
        "accepted": state.ledger.accepted,
        "billed_usd": round(state.billed, 6),
        "by_status": state.ledger.states(now),
        "by_answer": state.ledger.answers(),
        **{name: state.counts[name] for name in COUNTED},
    }


def is_ours(call: HttpCall) -> bool:
    """Whether no web page has made this call, in the browser of somebody on this computer.

    A browser names the page in Origin. Where the page's own name was made to lead to this computer
    there may be none, but the name is in Host.
    """
    host = (call.header(b"host") or b"").decode("latin-1").rpartition(":")[0]
    return call.header(b"origin") is None and host in LOOPBACK_NAMES


async def answer_control(state: SandboxState, call: HttpCall) -> None:
    """Answer a call of a control endpoint; 400 with the reason where it asks for what cannot be."""
    what = call.path.removeprefix(CONTROL)
    if not is_ours(call):
        await call.json(*FROM_A_WEB_PAGE)
        return
    if call.method != ("POST" if what in CHANGES else "GET"):
        await call.json(*WRONG_METHOD)
        return
    answer: Any = {}
    try:
        given = json.loads(await call.body() or b"{}")
        if not isinstance(given, dict):
            raise TypeError("an object is wanted")
        match what:
            case "ledger":
                answer = ledger(state)
            case "instances":
                answer = instances(state)
            case "counts":
                answer = counts(state)
            case "cpu":
                answer = time.process_time()
            case "log":
                answer = state.ledger.log()
            case "reset":
                state.reset()
            case "faults":
                state.faults.hooks.append(make_hook(given.pop("fault"), **given))
            case "deployment":
                answer = state.change_deployment(given.pop("id"), given).described
            case "options":
                state.change(given)
                answer = state.options.shown()
            case _:
                await call.json(*NO_ROUTE)
                return
    except (KeyError, TypeError, ValueError, RecursionError, BodyTooLarge) as wrong:
        await call.json(400, {"error": str(wrong)})
        return
    await call.json(200, answer)
