"""The two origins as ASGI applications: which call goes to which handler."""

import asyncio
import re
import time
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import parse_qs

from batchgen.sandbox import media, submissions
from batchgen.sandbox.api_faults import FaultContext, answer_call
from batchgen.sandbox.call import ClientGone, HttpCall, Receive, Scope, Send
from batchgen.sandbox.control import CONTROL, answer_control
from batchgen.sandbox.deployments.service import OBJECT_INFO, shown_deployments
from batchgen.sandbox.errors import (
    BAD_TOKEN,
    NO_REQUEST,
    NO_ROUTE,
    UNKNOWN_MODEL,
    WRONG_METHOD,
)
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.media_faults import MEDIA_FAULTS, MediaDelivery
from batchgen.sandbox.requests import answer_poll, cancel_request, request_state
from batchgen.sandbox.service import Service
from batchgen.sandbox.services import DEPLOYMENTS, MODELS, service_of, text_of
from batchgen.sandbox.state import UNLIMITED_USD, SandboxState

MODELS_PATH = "/v1/models"
REQUEST = re.compile(r"/v1/requests/([^/]*)/(status|result|cancel)")
INFERENCE = re.compile(r"/prod/v[12]/deployments/([^/]+)/inference")
RUN = re.compile(r"/prod/v[12]/deployments/([^/]+)/requests/([^/]*)/(status|result|cancel)")
DEPLOYMENT = re.compile(r"/prod/v[12]/deployments(?:/([^/]+))?")
TYPES = re.compile(re.escape(OBJECT_INFO) + r"([^/]+)\.json")
FILE = re.compile(r"/media/([A-Za-z0-9_-]+)/(\d{1,2})\.([a-z0-9]+)")
BALANCE = "/prod/v2/balance"
MAX_PAGE = 500  # models


class Operation(NamedTuple):
    """What a path stands for. target: a model's or deployment's id. request_id: "" if none."""

    name: str
    service: Service
    target: str = ""
    request_id: str = ""


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation that a method and a path of the APIs stand for."""
    if path.startswith(MODELS_PATH + "/"):
        name = "submit" if method == "POST" else "model"
        return Operation(name, MODELS, path[len(MODELS_PATH) + 1 :])
    if found := REQUEST.fullmatch(path):
        return Operation(found[2], MODELS, "", found[1])
    if path == MODELS_PATH:
        return Operation("model", MODELS)
    if path == BALANCE:
        return Operation("balance", MODELS)
    if found := INFERENCE.fullmatch(path):
        return Operation("submit", DEPLOYMENTS, found[1])
    if found := RUN.fullmatch(path):
        return Operation(found[3], DEPLOYMENTS, found[1], found[2])
    if found := TYPES.fullmatch(path):
        return Operation("object-info", DEPLOYMENTS, found[1])
    if found := DEPLOYMENT.fullmatch(path):
        return Operation("deployment", DEPLOYMENTS, found[1] or "")
    return None


class SandboxApi:
    """The origin of both APIs, with the control endpoints beside them.

    In reality they have an origin each; paths tell them apart.
    """

    def __init__(self, state: SandboxState) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientGone):
            await self.route(HttpCall(scope, receive, send))

    async def route(self, call: HttpCall) -> None:
        state = self.state
        if call.path.startswith(CONTROL):
            await answer_control(state, call)
            return
        asked = operation_of(call.method, call.path)
        if asked is None:
            await call.json(*NO_ROUTE)
            return
        service, subject = asked.service, (asked.target, asked.request_id)
        if call.method != ("POST" if asked.name in ("submit", "cancel") else "GET"):
            await call.json(*WRONG_METHOD)
            return
        if state.faults.drops_connection(asked.name):
            state.counts["dropped"] += 1
            await call.hang_up()
        elif asked.name == "submit":
            await submissions.receive_submission(state, call, service, asked.target)
        elif asked.name == "object-info":  # where it is and whether it wants the token is not known
            await look_up(state, call, asked)
        elif not submissions.known_token(state, call):
            await call.json(*service.worded(state, *BAD_TOKEN))
        elif asked.name in ("status", "result"):
            await answer_poll(state, call, service, subject, asked.name)
        elif asked.name == "cancel":
            await cancel_request(state, call, service, subject)
        else:
            await look_up(state, call, asked)


async def look_up(state: SandboxState, call: HttpCall, asked: Operation) -> None:
    """Answer a call about models, deployments or the balance."""
    name, subject = asked.name, asked.target
    fault = state.faults.pick(name, "", subject, lambda: state.count(f"{name} {subject}"))
    if fault is not None:
        await answer_call(FaultContext(call, state, asked.service, {}), fault)
    elif name == "balance":
        left = UNLIMITED_USD if state.left is None else state.left
        await call.json(200, {"balance_usd": left, "currency": "USD"})
    elif name == "model":
        await look_up_model(state, call, subject)
    elif name == "deployment":
        shown = shown_deployments(state, subject, call.query)
        error = asked.service.worded(state, *NO_REQUEST)
        await call.json(*(error if shown is None else (200, shown)))
    else:
        found = state.deployments.get(subject)
        await call.json(*(NO_ROUTE if found is None else (200, found.object_info)))


async def look_up_model(state: SandboxState, call: HttpCall, subject: str) -> None:
    """Answer a call about one model, or all of them."""
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


def is_there(state: SandboxState, row: LedgerRow, now: float) -> bool:
    """Whether a request's files can be fetched."""
    return request_state(row, now) == "completed" and not service_of(row).is_gone(state, row, now)


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
        if types := TYPES.fullmatch(call.path):
            await look_up(self.state, call, Operation("object-info", DEPLOYMENTS, types[1]))
            return
        found = FILE.fullmatch(call.path)
        row = self.state.ledger.row(found[1]) if found else None
        if found is None or row is None or not is_there(self.state, row, time.time()):
            await call.answer(404, b"not found", kind=b"text/plain")
            return
        await self.deliver(call, row, int(found[2]), found[3])

    async def deliver(self, call: HttpCall, row: LedgerRow, n: int, extension: str) -> None:
        state = self.state
        service = service_of(row)
        files = service.files(state, row)
        if n >= len(files) or extension != (what := files[n]).extension:
            await call.answer(404, b"not found", kind=b"text/plain")
            return
        content = await self.content(row, n, what)
        fault = state.faults.pick(
            "media",
            text_of(state, row),
            row.input_sha256,
            lambda: state.count(f"media {call.path}"),
        )
        if fault is None:
            await call.answer(200, content, kind=what.type)
        elif fault.name in MEDIA_FAULTS:
            await MEDIA_FAULTS[fault.name](MediaDelivery(call, content, what.type, fault.value))
        else:
            await answer_call(FaultContext(call, state, service, {}), fault)

    async def content(self, row: LedgerRow, n: int, what: media.MediaFormat) -> bytes:
        """Return a file. It is made in a thread, so that other calls go on."""
        options = self.state.options
        subject = (service_of(row).picture(self.state, row), n, options.picture_size)
        if what is media.PNG and options.pictures == "stamped":
            content = media.stamp_png(*subject)
        else:
            content = await asyncio.to_thread(media.make_file, what, *subject)
        return media.pad_png(content, options.picture_bytes) if what is media.PNG else content
