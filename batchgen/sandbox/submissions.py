"""POST /v1/models/{model_id}: refuse, or accept and bill; then answer, or misbehave."""

import json
import math
import time
import uuid
from email.utils import formatdate
from typing import Any, NamedTuple

from batchgen.sandbox.api_faults import Trouble, commit
from batchgen.sandbox.call import BodyTooLarge, Call, Header
from batchgen.sandbox.catalogue import Model
from batchgen.sandbox.errors import BAD_TOKEN, NO_BALANCE, TOO_FAST, TOO_LARGE, UNKNOWN_MODEL
from batchgen.sandbox.faults import ACCEPTED_FIRST, Applied
from batchgen.sandbox.ledger import Post, Row, canonical
from batchgen.sandbox.media import prompt_of
from batchgen.sandbox.state import Site, sha256

REFUSED_TOKEN = b"refused"  # the one literal that a sandbox without --token turns away


class Order(NamedTuple):
    """A body that was read: its canonical JSON, the hash of that, and the object itself."""

    canonical: str
    sha256: str
    given: dict[str, Any]

    @property
    def text(self) -> str:
        return prompt_of(self.given)


class Refusal(NamedTuple):
    status: int
    body: Any
    headers: tuple[Header, ...] = ()


def known_token(site: Site, call: Call) -> bool:
    scheme, _, token = (call.header(b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return False
    if site.options.token is not None:
        return token.strip() == site.options.token.encode()
    return token.strip() != REFUSED_TOKEN


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_order(body: bytes) -> Order | Refusal:
    """Decode a body; NaN, half of a surrogate pair and anything but an object are refused."""
    try:
        given = json.loads(body, parse_constant=no_constant)
        text = canonical(given)
        encoded = text.encode()
    except (ValueError, RecursionError) as wrong:
        found = {"loc": ["body"], "msg": f"JSON decode error: {wrong}", "type": "json_invalid"}
        return Refusal(422, {"detail": [found]})
    if not isinstance(given, dict):
        found = {"loc": ["body"], "msg": "Input should be an object", "type": "object_type"}
        return Refusal(422, {"detail": [found]})
    return Order(text, sha256(encoded), given)


def throttle(site: Site) -> Refusal | None:
    wait = site.bucket.take(time.monotonic())
    if wait <= 0:
        return None
    site.counts["throttled"] += 1
    seconds = max(math.ceil(wait), 1)
    told = {
        "seconds": ((b"retry-after", b"%d" % seconds),),
        "date": ((b"retry-after", formatdate(time.time() + seconds, usegmt=True).encode()),),
    }
    return Refusal(*TOO_FAST, told.get(site.options.retry_after, ()))


def unfit(site: Site, model_id: str, order: Order) -> Refusal | None:
    """Why a readable order is not accepted: model, input or wallet."""
    model = site.catalogue.find(model_id, any_model=site.options.all_models)
    if model is None:
        return Refusal(*UNKNOWN_MODEL)
    if detail := model.problems(order.given):
        return Refusal(422, {"detail": detail})
    if site.left is not None and site.left < model.cost(site.options.price, order.given) - 1e-9:
        return Refusal(*NO_BALANCE)
    return None


def accept(site: Site, model_id: str, order: Order, now: float, answer: str) -> Row:
    """Give the order an id and a place, and write it into the ledger."""
    slow = site.book.pick(
        "pace", order.text, order.sha256, lambda: site.store.posts_of(order.sha256)
    )
    seconds = float(slow.value) if slow else site.seconds(order.sha256)
    price = Model(model_id, {}, None).cost(site.options.price, order.given)
    request_id = str(uuid.uuid4())
    site.queue.add(request_id, now, seconds)
    started = site.queue.advance(now)
    row = Row(
        site.store.next_seq(), request_id, model_id, order.canonical, order.sha256,
        price, now, seconds, None, None, None, None,
    )  # fmt: skip
    site.store.accept(row, Post(now, model_id, order.sha256, answer, request_id), started)
    return row


async def submit(site: Site, call: Call, model_id: str) -> None:
    try:
        body = await call.body()
    except BodyTooLarge:
        await call.json(*TOO_LARGE)
        return
    now = time.time()
    order = read_order(body)
    if not known_token(site, call):
        refused: Refusal | None = Refusal(*BAD_TOKEN)
    else:
        refused = throttle(site) or (order if isinstance(order, Refusal) else None)
    if refused is not None or isinstance(order, Refusal):
        refused = refused or Refusal(*BAD_TOKEN)
        digest = order.sha256 if isinstance(order, Order) else sha256(body)
        site.store.refuse(Post(now, model_id, digest, str(refused.status)))
        await call.json(refused.status, refused.body, *refused.headers)
        return
    await decide(site, call, model_id, order, now)


async def decide(site: Site, call: Call, model_id: str, order: Order, now: float) -> None:
    """Answer an order that came with a good token at a good time."""
    before = site.store.posts_of
    fault = site.book.pick("submit", order.text, order.sha256, lambda: before(order.sha256))
    billed = fault is None or fault.name in ACCEPTED_FIRST
    if fault is not None and not billed:
        site.store.refuse(Post(now, model_id, order.sha256, fault.name))
        await commit(fault, Trouble(call, None, {}, f"http://{site.media_host}"))
        return
    refused = unfit(site, model_id, order)
    if refused is not None:
        site.store.refuse(Post(now, model_id, order.sha256, str(refused.status)))
        await call.json(refused.status, refused.body)
        return
    row = accept(site, model_id, order, now, fault.name if fault else "200")
    await reply(site, call, row, fault)


async def reply(site: Site, call: Call, row: Row, fault: Applied | None) -> None:
    usual = {"request_id": row.request_id, **site.urls(row.request_id)}
    if fault is None:
        await call.json(200, usual)
        return
    previous = site.store.previous_id(row.seq)
    await commit(fault, Trouble(call, None, usual, f"http://{site.media_host}", previous))
