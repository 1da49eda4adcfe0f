"""What a row is expected to cost: by its model's price, and by what its requests have cost. Pure.

RunComfy prices image models by the output, video and audio models by the second, and a row's input
says how many of them it asks for. A price with a note is the least that a request costs. Source:
docs/maintainers/wire.md, "Prices".
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

# Inputs that say how many outputs a request makes, as models name them. Where a row has several
# (so many series of so many images), they multiply: a limit of cost needs the most that it may be.
OUTPUT_COUNT_INPUTS = (
    *("num_images", "number_of_images", "num_images_per_prompt", "max_images", "image_count"),
    *("num_outputs", "number_of_outputs", "num_samples", "num_generations", "num_videos"),
    *("batch_size", "n"),
)
DURATION_INPUT = "duration"
MAX_USD = 1e9  # that one request can cost
MAX_UNITS = 1_000_000  # by one input; a larger number could overflow a float
_COUNT_NAME = re.compile(f'"({"|".join(OUTPUT_COUNT_INPUTS)})"')
_NUMBER = re.compile(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", re.ASCII)


class Unit(StrEnum):
    """What a price is for."""

    REQUEST = "request"
    OUTPUT = "output"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Price:
    """usd: for one unit.

    outputs: the numbers of outputs by the inputs that a model sets itself where a row does not,
        mostly none.
    floor: the service says that a request may cost more.
    at: when the service said so, as the journal writes times; "" where a person did.
    """

    usd: float
    unit: Unit = Unit.REQUEST
    outputs: Mapping[str, int] = field(default_factory=dict)
    floor: bool = False
    at: str = ""

    def units(self, input: str) -> float | None:
        """Return how many units a row asks for; None where it does not say. input: JSON."""
        if self.unit is Unit.REQUEST:
            return 1.0
        if self.unit is Unit.OUTPUT and not _COUNT_NAME.search(input):  # as in most of a million
            return float(math.prod(self.outputs.values()))
        given: dict[str, Any] = json.loads(input)
        seconds = _number(given.get(DURATION_INPUT)) if self.unit is Unit.SECOND else 1.0
        if seconds is None:
            return None
        written = {name: given[name] for name in OUTPUT_COUNT_INPUTS if given.get(name) is not None}
        return float(seconds * math.prod(map(output_count, {**self.outputs, **written}.values())))

    def stored(self) -> dict[str, Any]:
        """Return what the journal stores."""
        return asdict(self)


def read_prices(stored: Mapping[str, Any] | None) -> dict[str, Price | None]:
    """Return the prices by model that the journal stores; None for what cannot be read."""
    return {model: _read_price(value) for model, value in (stored or {}).items()}


def _read_price(value: Any) -> Price | None:
    if _is_usd(value):  # as 0.1.0 stored them
        return Price(float(value))
    try:
        price = Price(**value)
        price = replace(price, usd=float(price.usd), unit=Unit(price.unit))
        counts = price.outputs.values()
    except (TypeError, ValueError, AttributeError):
        return None
    whole = _is_usd(price.usd) and all(type(n) is int and 0 < n <= MAX_UNITS for n in counts)
    return price if whole else None


def _is_usd(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < MAX_USD


def output_count(value: Any) -> int:
    """Return the outputs that the value of an input asks for; 1 where it is no count."""
    number = _number(value)
    return 1 if number is None or number < 1 else math.ceil(number)


def _number(value: Any) -> float | None:
    """Return the positive number that an input is, also as a text; None where it is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, MAX_UNITS))


@dataclass(frozen=True, slots=True)
class SeenCost:
    """The most that requests of a model have cost so far, USD; None where the service has not said.

    unit: of one unit of the model's price.
    """

    request: float | None = None
    unit: float | None = None

    def after(self, cost: float | None, units: float | None) -> "SeenCost":
        """Return the same after one more request. units: None where it did not say how many."""
        if cost is None:
            return self
        of_unit = self.unit if not units else max(self.unit or 0.0, cost / units)
        return SeenCost(max(self.request or 0.0, cost), of_unit)

    def beside(self, other: "SeenCost") -> "SeenCost":
        """Return the most that either has seen."""
        pairs = ((self.request, other.request), (self.unit, other.unit))
        known = ([usd for usd in pair if usd is not None] for pair in pairs)
        return SeenCost(*(max(found, default=None) for found in known))


def read_seen(stored: Mapping[str, Any] | None) -> dict[str, SeenCost]:
    """Return the seen costs by model that the journal stores, as `[request, unit]`."""
    return {
        model: SeenCost(*value)
        for model, value in (stored or {}).items()
        if isinstance(value, list)
        and len(value) == 2
        and all(known is None or _is_usd(known) for known in value)
    }


@dataclass(frozen=True, slots=True)
class Estimate:
    """usd: of one request; None where nothing is known. floor: it may well cost more."""

    usd: float | None
    floor: bool = False


def estimate(price: Price | None, seen: SeenCost | None, input: str) -> Estimate:
    """Return what a row is expected to cost, which is what is reserved for it.

    price: of its model, None where none is known. seen: what its model's requests have cost, None
        before the first has ended. input: JSON.

    The price counts, and where requests have cost more than it says, the most that they have cost.
    Of a model whose price is a floor a small request may cost as much as a large one.
    """
    units = None if price is None else price.units(input)
    if price is None or units is None:
        return Estimate(None if seen is None else seen.request)
    seen = seen or SeenCost()
    usd = max(price.usd * units, (seen.unit or 0.0) * units)
    if price.floor:
        usd = max(usd, seen.request or 0.0)
    # Rounded, since a third of a cost times three is not that cost in binary.
    # Bounded, since a row may ask for any number of outputs, and the journal takes no such amount.
    return Estimate(min(round(usd, 9), MAX_USD), price.floor and seen.request is None)
