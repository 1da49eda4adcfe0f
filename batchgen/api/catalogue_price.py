"""A model's price, by its catalogue entry. Source: docs/maintainers/wire.md, "Prices"."""

import re
from collections.abc import Mapping
from typing import Any

from batchgen.core.prices import OUTPUT_COUNT_INPUTS, Price, Unit, output_count
from batchgen.validation.model_schema import SchemaUnusable, find_input_schema, normalize_schema

MAX_PRICE_USD = 1e6
_UNITS = {
    **dict.fromkeys(("request", "generation", "run", "call", "video", "song"), Unit.REQUEST),
    **dict.fromkeys(("output", "outputs", "image", "images"), Unit.OUTPUT),
    **dict.fromkeys(("second", "seconds", "sec"), Unit.SECOND),
}
_NO_UNIT = {"per", "each", "api", "generated", "usd"}


def parse_price(entry: Mapping[str, Any], at: str = "") -> Price | None:
    """Return a model's price by its catalogue entry; None where that cannot be known.

    A price by the token or megapixel says nothing about a request before it has run. A price with a
    note is a floor: the note tells people in words what else decides.
    at: when the catalogue said so, as `Price` has it.
    """
    usd, floor = base_price(entry), has_note(entry)
    if usd is None:
        return None
    words = re.findall(r"[a-z]+", str(entry.get("price_unit") or "request").lower())
    # `output` is a price and `output_token` is none, so no word may be unknown.
    units = {_UNITS.get(word) for word in words if word not in _NO_UNIT}
    if not units or None in units:
        return None
    unit = next(unit for unit in (Unit.SECOND, Unit.OUTPUT, Unit.REQUEST) if unit in units)
    outputs = {} if unit is Unit.REQUEST else _default_outputs(entry)
    return Price(usd, unit, outputs, floor, at)


def base_price(entry: Mapping[str, Any]) -> float | None:
    """Return the USD of one unit, whatever that is; None where the entry has no such number."""
    usd = entry.get("base_price_usd")
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < MAX_PRICE_USD:
        return None
    return float(usd)


def has_note(entry: Mapping[str, Any]) -> bool:
    """Whether a note says that a request may cost more."""
    return bool(str(entry.get("pricing_note") or "").strip())


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
