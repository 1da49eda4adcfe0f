"""The two origins as ASGI applications: which call goes to which handler."""

import asyncio
import json
import re
import time
from urllib.parse import parse_qs

from batchgen.sandbox import control, media, submissions
from batchgen.sandbox.api_faults import Trouble, commit
from batchgen.sandbox.call import Call, ClientGone, Receive, Scope, Send
from batchgen.sandbox.catalogue import Model
from batchgen.sandbox.errors import BAD_TOKEN, NO_ROUTE, UNKNOWN_MODEL, WRONG_METHOD
from batchgen.sandbox.ledger import Row
from batchgen.sandbox.media import form, how_many
from batchgen.sandbox.media_faults import MISDELIVERIES, Delivery
from batchgen.sandbox.requests import ask, cancel
from batchgen.sandbox.state import UNLIMITED_USD, Site

MODELS = "/v1/models"
REQUEST = re.compile(r"/v1/requests/([^/]*)/(status|result|cancel)")
FILE = re.compile(r"/media/([A-Za-z0-9_-]+)/(\d{1,2})\.([a-z0-9]+)")
BALANCE = "/prod/v2/balance"


def operation_of(path: str) -> tuple[str, str] | None:
    """The operation that a path of the API stands for, and the id in it."""
    if path.startswith(MODELS + "/"):
        return "model", path[len(MODELS) + 1 :]
    if found := REQUEST.fullmatch(path):
        return found[2], found[1]
    if path == MODELS:
        return "model", ""
    return ("balance", "") if path == BALANCE else None


class Api:
    """The API's origin, with the control endpoints beside it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.control = control.application(site)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/_sandbox/"):
            await self.control(scope, receive, send)
            return
        call = Call(scope, receive, send)
        try:
            await self.route(call)
        except ClientGone:
            return

    async def route(self, call: Call) -> None:
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
        if self.site.book.at_head(operation):
            self.site.counts["dropped"] += 1
            await call.close()
        elif operation == "submit":
            await submissions.submit(self.site, call, subject)
        elif not submissions.known_token(self.site, call):
            await call.json(*BAD_TOKEN)
        elif operation in ("status", "result"):
            await ask(self.site, call, subject, operation)
        elif operation == "cancel":
            await cancel(self.site, call, subject)
        else:
            await look_up(self.site, call, operation, subject)


async def look_up(site: Site, call: Call, operation: str, subject: str) -> None:
    """The calls that are about no request: one model, all models, the wallet."""
    fault = site.book.pick(operation, "", subject, lambda: site.count(f"{operation} {subject}"))
    if fault is not None:
        await commit(fault, Trouble(call, None, {}, f"http://{site.media_host}"))
        return
    if operation == "balance":
        left = UNLIMITED_USD if site.left is None else site.left
        await call.json(200, {"balance_usd": left, "currency": "USD"})
        return
    if not subject:
        await list_models(site, call)
        return
    model = site.catalogue.find(subject, any_model=site.options.all_models)
    if model is None:
        await call.json(*UNKNOWN_MODEL)
    else:
        await call.json(200, model.shown(site.options.price))


async def list_models(site: Site, call: Call) -> None:
    """`?search=&category=&include_schema=&limit=&offset=` -> `{models, total}`."""
    asked = {name: values[-1] for name, values in parse_qs(call.query).items()}
    shown = [model.shown(site.options.price) for model in site.catalogue.models.values()]
    found = [
        entry
        for entry in shown
        if asked.get("search", "").lower() in f"{entry['model_id']} {entry['display_name']}".lower()
        and asked.get("category", "") in ("", *entry["categories"])
    ]
    if asked.get("include_schema") != "true":
        found = [{k: v for k, v in e.items() if k not in ("input", "output")} for e in found]
    offset = int(asked["offset"]) if asked.get("offset", "").isdecimal() else 0
    limit = int(asked["limit"]) if asked.get("limit", "").isdecimal() else 50
    await call.json(200, {"models": found[offset : offset + limit], "total": len(found)})


class Media:
    """The origin of the files. It wants no token, and notes who sends one all the same."""

    def __init__(self, site: Site) -> None:
        self.site = site
        if site.options.pictures == "stamped":
            media.blank(site.options.picture_size)  # or every request waits while it is drawn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        self.site.counts["media"] += 1
        if call.header(b"authorization") is not None:
            self.site.counts["media_with_token"] += 1
        if call.method not in ("GET", "HEAD"):
            await call.json(*WRONG_METHOD)
            return
        if self.site.book.at_head("media"):
            await call.close()
            return
        found = FILE.fullmatch(call.path)
        row = self.site.store.row(found[1]) if found else None
        if found is None or row is None or row.finish_at is None or row.finish_at > time.time():
            await call.answer(404, b"not found", kind=b"text/plain")
            return
        await self.deliver(call, row, int(found[2]), found[3])

    async def deliver(self, call: Call, row: Row, n: int, extension: str) -> None:
        site = self.site
        given = json.loads(row.input)
        what = form(Model(row.model, {}, None).kind, given)
        if n >= how_many(given) or extension != what.extension:
            await call.answer(404, b"not found", kind=b"text/plain")
            return
        content = await self.content(row, n, what)
        fault = site.book.pick(
            "media", site.text(row), row.input_sha256, lambda: site.count(f"media {call.path}")
        )
        if fault is None:
            await call.answer(200, content, kind=what.type)
        elif fault.name in MISDELIVERIES:
            await MISDELIVERIES[fault.name](Delivery(call, content, what.type, fault.value))
        else:
            await commit(fault, Trouble(call, None, {}, f"http://{site.media_host}"))

    async def content(self, row: Row, n: int, what: media.Form) -> bytes:
        """The bytes of a file: kept, or made in a thread, so that nobody waits for a pen."""
        options, gallery = self.site.options, self.site.gallery
        key = (row.model, row.input_sha256, n, options.picture_size)
        if what is media.PNG and options.pictures == "stamped":
            stamped = media.stamped(row.input, n, options.picture_size)
            return media.padded(stamped, options.picture_bytes)
        content = gallery.find(key)
        if content is None:
            content = await asyncio.to_thread(media.make, what, row.input, n, options.picture_size)
            gallery.keep(key, content)
        return media.padded(content, options.picture_bytes) if what is media.PNG else content
