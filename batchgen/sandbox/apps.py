"""The two origins as ASGI applications: which call goes to which handler."""

import asyncio
import json
import re
import time
from contextlib import suppress
from urllib.parse import parse_qs

from batchgen.sandbox import media, submissions
from batchgen.sandbox.api_faults import answer_call
from batchgen.sandbox.call import ClientGone, HttpCall, Receive, Scope, Send
from batchgen.sandbox.catalogue import model_kind
from batchgen.sandbox.control import CONTROL, answer_control
from batchgen.sandbox.errors import BAD_TOKEN, NO_ROUTE, UNKNOWN_MODEL, WRONG_METHOD
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.media import media_format, output_count
from batchgen.sandbox.media_faults import MEDIA_FAULTS, MediaDelivery
from batchgen.sandbox.requests import answer_poll, cancel_request
from batchgen.sandbox.state import UNLIMITED_USD, SandboxState

MODELS = "/v1/models"
REQUEST = re.compile(r"/v1/requests/([^/]*)/(status|result|cancel)")
FILE = re.compile(r"/media/([A-Za-z0-9_-]+)/(\d{1,2})\.([a-z0-9]+)")
BALANCE = "/prod/v2/balance"
MAX_PAGE = 500  # models


def operation_of(path: str) -> tuple[str, str] | None:
    """The operation that a path of the API stands for, and the id in it."""
    if path.startswith(MODELS + "/"):
        return "model", path[len(MODELS) + 1 :]
    if found := REQUEST.fullmatch(path):
        return found[2], found[1]
    if path == MODELS:
        return "model", ""
    return ("balance", "") if path == BALANCE else None


class SandboxApi:
    """The API's origin, with the control endpoints beside it."""

    def __init__(self, state: SandboxState) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientGone):
            await self.route(HttpCall(scope, receive, send))

    async def route(self, call: HttpCall) -> None:
        if call.path.startswith(CONTROL):
            await answer_control(self.state, call)
            return
        found = operation_of(call.path)
        if found is None:
            await call.json(*NO_ROUTE)
            return
        operation, subject = found
        if operation == "model" and subject and call.method == "POST":
            operation = "submit"
        elif call.method != ("POST" if operation == "cancel" else "GET"):
            await call.json(*WRONG_METHOD)
            return
        if self.state.faults.drops_connection(operation):
            self.state.counts["dropped"] += 1
            await call.hang_up()
        elif operation == "submit":
            await submissions.receive_submission(self.state, call, subject)
        elif not submissions.known_token(self.state, call):
            await call.json(*BAD_TOKEN)
        elif operation in ("status", "result"):
            await answer_poll(self.state, call, subject, operation)
        elif operation == "cancel":
            await cancel_request(self.state, call, subject)
        else:
            await look_up(self.state, call, operation, subject)


async def look_up(state: SandboxState, call: HttpCall, operation: str, subject: str) -> None:
    """Answer a call about one model, all models or the balance."""
    fault = state.faults.pick(operation, "", subject, lambda: state.count(f"{operation} {subject}"))
    if fault is not None:
        await answer_call(call, fault, state.media_host, {})
        return
    if operation == "balance":
        left = UNLIMITED_USD if state.left is None else state.left
        await call.json(200, {"balance_usd": left, "currency": "USD"})
        return
    if subject == "categories":
        shown = [model.shown(state.options) for model in state.catalogue.models.values()]
        found = sorted({name for entry in shown for name in entry["categories"]})
        await call.json(200, {"categories": found})
        return
    if not subject:
        await list_models(state, call)
        return
    model = state.catalogue.find(subject, any_model=state.options.all_models)
    if model is None:
        await call.json(*UNKNOWN_MODEL)
    else:
        await call.json(200, model.shown(state.options))


async def list_models(state: SandboxState, call: HttpCall) -> None:
    """`?search=&category=&include_schema=&limit=&offset=` -> `{models, total, limit, offset}`."""
    asked = {name: values[-1] for name, values in parse_qs(call.query).items()}
    shown = [model.shown(state.options) for model in state.catalogue.models.values()]
    found = [
        entry
        for entry in shown
        if asked.get("search", "").lower() in f"{entry['model_id']} {entry['display_name']}".lower()
        and asked.get("category", "") in ("", *entry["categories"])
    ]
    if asked.get("include_schema") != "true":
        found = [{k: v for k, v in e.items() if k != "input_schema"} for e in found]
    offset = int(asked["offset"]) if asked.get("offset", "").isdecimal() else 0
    limit = int(asked["limit"]) if asked.get("limit", "").isdecimal() else 50
    limit = min(max(limit, 1), MAX_PAGE)
    page = {"models": found[offset : offset + limit], "total": len(found)}
    await call.json(200, page | {"limit": limit, "offset": offset})


class MediaServer:
    """The origin of the files. It needs no token, and counts the calls that send one."""

    def __init__(self, state: SandboxState) -> None:
        self.state = state
        if state.options.pictures == "stamped":
            # Now, since other calls would wait while it is drawn.
            media.blank_png(state.options.picture_size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = HttpCall(scope, receive, send)
        self.state.counts["media"] += 1
        if call.header(b"authorization") is not None:
            self.state.counts["media_with_token"] += 1
        if call.method not in ("GET", "HEAD"):
            await call.json(*WRONG_METHOD)
            return
        if self.state.faults.drops_connection("media"):
            await call.hang_up()
            return
        found = FILE.fullmatch(call.path)
        row = self.state.ledger.row(found[1]) if found else None
        if found is None or row is None or row.finish_at is None or row.finish_at > time.time():
            await call.answer(404, b"not found", kind=b"text/plain")
            return
        await self.deliver(call, row, int(found[2]), found[3])

    async def deliver(self, call: HttpCall, row: LedgerRow, n: int, extension: str) -> None:
        state = self.state
        given = json.loads(row.input)
        what = media_format(model_kind(row.model), given)
        if n >= output_count(given) or extension != what.extension:
            await call.answer(404, b"not found", kind=b"text/plain")
            return
        content = await self.content(row, n, what)
        fault = state.faults.pick(
            "media", state.text(row), row.input_sha256, lambda: state.count(f"media {call.path}")
        )
        if fault is None:
            await call.answer(200, content, kind=what.type)
        elif fault.name in MEDIA_FAULTS:
            await MEDIA_FAULTS[fault.name](MediaDelivery(call, content, what.type, fault.value))
        else:
            await answer_call(call, fault, state.media_host, {})

    async def content(self, row: LedgerRow, n: int, what: media.MediaFormat) -> bytes:
        """Return a file. It is made in a thread, so that other calls go on."""
        options = self.state.options
        subject = (row.input, n, options.picture_size)
        if what is media.PNG and options.pictures == "stamped":
            content = media.stamp_png(*subject)
        else:
            content = await asyncio.to_thread(media.make_file, what, *subject)
        return media.pad_png(content, options.picture_bytes) if what is media.PNG else content
