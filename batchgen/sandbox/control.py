"""The control endpoints, `/_sandbox/...`: what arrived, what was billed, faults, and options.

They are outside /v1, need no token, and belong to tests; `tests/sandbox_client.py` is their client.
"""

import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from batchgen.sandbox.faults import make_hook
from batchgen.sandbox.requests import request_state
from batchgen.sandbox.state import SandboxState

COUNTED = ("polls", "media", "media_with_token", "throttled", "dropped")


def ledger(state: SandboxState) -> list[dict[str, Any]]:
    """Every accepted request in order, with its state, whether it is billed, and when a poll saw
    its end."""
    now = time.time()
    state.settle(now)
    return [
        row._asdict()
        | {
            "state": request_state(row, now),
            "billed": row.cancelled_at is None,
            "seen_at": state.seen.get(row.request_id),
        }
        for row in state.ledger.rows()
    ]


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
        "billed_usd": round(state.ledger.billed, 6),
        "by_status": state.ledger.states(now),
        "by_answer": state.ledger.answers(),
        **{name: state.counts[name] for name in COUNTED},
    }


def application(state: SandboxState) -> Starlette:
    async def get_ledger(request: Request) -> JSONResponse:
        return JSONResponse(ledger(state))

    async def get_counts(request: Request) -> JSONResponse:
        return JSONResponse(counts(state))

    async def get_log(request: Request) -> JSONResponse:
        return JSONResponse(state.ledger.log())

    async def get_cpu(request: Request) -> JSONResponse:
        return JSONResponse(time.process_time())

    async def reset(request: Request) -> JSONResponse:
        state.reset()
        return JSONResponse({})

    async def add_fault(request: Request) -> JSONResponse:
        asked = await request.json()
        try:
            state.faults.hooks.append(make_hook(asked.pop("fault"), **asked))
        except (KeyError, TypeError, ValueError) as wrong:
            return JSONResponse({"error": str(wrong)}, 400)
        return JSONResponse({})

    async def set_options(request: Request) -> JSONResponse:
        try:
            state.change(await request.json())
        except ValueError as wrong:
            return JSONResponse({"error": str(wrong)}, 400)
        return JSONResponse(state.options.shown())

    return Starlette(
        routes=[
            Route("/_sandbox/ledger", get_ledger),
            Route("/_sandbox/counts", get_counts),
            Route("/_sandbox/cpu", get_cpu),
            Route("/_sandbox/log", get_log, methods=["GET", "POST"]),
            Route("/_sandbox/reset", reset, methods=["POST"]),
            Route("/_sandbox/faults", add_fault, methods=["POST"]),
            Route("/_sandbox/options", set_options, methods=["POST"]),
        ]
    )
