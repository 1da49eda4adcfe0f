"""What the API's catalogue and wallet say: a model's schema, its price, the balance."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from batchgen import event_loop
from batchgen.api import credentials
from batchgen.api.endpoint import Endpoint
from batchgen.api.poll_outcome import parse_balance
from batchgen.api.response import Response
from batchgen.api.submit_outcome import HaltReason, classify_submit
from batchgen.core.prices import OUTPUT_COUNT_INPUTS, Price, output_count
from batchgen.core.text import describe_error
from batchgen.errors import ServiceUnreachable, TokenRefused
from batchgen.validation.model_schema import SchemaUnusable, find_input_schema, normalize_schema

log = logging.getLogger("batchgen")


_BY_REQUEST = {"request", "generation", "run", "call", "video", "song"}


_BY_OUTPUT = {"output", "outputs", "image", "images"}


_BESIDE = {"per", "each", "api", "generated", "usd"}


def catalogue_price(found: Mapping[str, Any]) -> Price | None:
    """Return a model's price by its catalogue entry; None where that cannot be known.

    A price by the second, token or megapixel says nothing about a request before it has run.
    """
    usd = found.get("base_price_usd")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < 1e6:
        return None
    unit = str(found.get("price_unit") or "request").lower()
    words = set(re.findall(r"[a-z]+", unit)) - _BESIDE
    # `output` is a price and `output_token` is none, so no word may be unknown.
    if not words or not words <= _BY_REQUEST | _BY_OUTPUT:
        return None
    return Price(float(usd), _outputs(found) if words & _BY_OUTPUT else None)


def _outputs(found: Mapping[str, Any]) -> dict[str, int]:
    """How many outputs a model makes unasked, by the inputs that say so; 1 is left out."""
    try:
        properties = normalize_schema(find_input_schema(found)).properties
    except SchemaUnusable:
        return {}
    unasked = {
        name: output_count(properties.get(name, {}).get("default")) for name in OUTPUT_COUNT_INPUTS
    }
    return {name: most for name, most in unasked.items() if most > 1}


def schema_lookup(service: Endpoint) -> Callable[[str], dict[str, Any] | None]:
    """Return what asks the API about a model, once, and gives None where it knows no such model.

    It raises ServiceUnreachable where no answer came, and TokenRefused.
    """

    async def ask(model: str) -> Response:
        async with service.api() as api:
            return await api.model(model)

    def fetch(model: str) -> dict[str, Any] | None:
        reply = event_loop.run(ask(model))
        if reply.status is None:
            raise ServiceUnreachable(
                f"RunComfy cannot be reached and asked about {model}"
                f" ({describe_error(reply.error)})."
                " Nothing was sent.",
                "Run the same command again to go on.",
            )
        raise_if_token_refused(reply)
        found = reply.json()
        return found if reply.status == 200 and isinstance(found, dict) else None

    return fetch


def raise_if_token_refused(reply: Response) -> None:
    """Raise TokenRefused if that is what an answer to a free question says."""
    if reply.status is not None and classify_submit(reply, 0.0).stop is HaltReason.TOKEN:
        raise TokenRefused(
            "RunComfy refused the token. Nothing was sent.",
            TokenRefused.ANOTHER,
        )


def warn_of_low_balance(where: Endpoint, cost_of_all: Callable[[], float]) -> None:
    """Say now that the money will not last; where nobody knows the balance, say nothing.

    cost_of_all: USD of the pending rows.
    """
    url = credentials.balance_url(where.base)
    cost = 0.0 if url is None else cost_of_all()
    if not cost or url is None:
        return

    async def ask() -> Response:
        async with where.api() as api:
            return await api.balance(url)

    balance = parse_balance(event_loop.run(ask()))
    if balance is not None and balance < cost:
        log.warning(
            "The balance is $%.2f and the pending rows cost about $%.2f: the run stops when it is"
            " used up.",
            balance,
            cost,
        )
