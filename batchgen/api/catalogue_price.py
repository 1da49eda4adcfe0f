"""A model's price, by its catalogue entry. Source: docs/maintainers/wire.md, "Prices"."""

import re
from collections.abc import Mapping
from typing import Any

from batchgen.core.prices import OUTPUT_COUNT_INPUTS, Price, output_count
from batchgen.validation.model_schema import SchemaUnusable, find_input_schema, normalize_schema

MAX_PRICE_USD = 1e6
_PER_REQUEST = {"request", "generation", "run", "call", "video", "song"}
_PER_OUTPUT = {"output", "outputs", "image", "images"}
_NO_UNIT = {"per", "each", "api", "generated", "usd"}


def parse_price(entry: Mapping[str, Any]) -> Price | None:
    """Return a model's price by its catalogue entry; None where that cannot be known.

    A price by the second, token or megapixel says nothing about a request before it has run.
    """
    usd = entry.get("base_price_usd")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < MAX_PRICE_USD:
        return None
    unit = str(entry.get("price_unit") or "request").lower()
    words = set(re.findall(r"[a-z]+", unit)) - _NO_UNIT
    # `output` is a price and `output_token` is none, so no word may be unknown.
    if not words or not words <= _PER_REQUEST | _PER_OUTPUT:
        return None
    return Price(float(usd), _default_outputs(entry) if words & _PER_OUTPUT else None)


def _default_outputs(entry: Mapping[str, Any]) -> dict[str, int]:
    """Return the outputs that a model makes unasked, by input; one is left out."""
    try:
        properties = normalize_schema(find_input_schema(entry)).properties
    except SchemaUnusable:
        return {}
    defaults = {
        name: output_count(properties.get(name, {}).get("default")) for name in OUTPUT_COUNT_INPUTS
    }
    return {name: number for name, number in defaults.items() if number > 1}
