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

    unit: of one output or second, whichever `of` says; None where no price was for one.
    """

    request: float | None = None
    unit: float | None = None
    of: Unit | None = None

    def after(self, cost: float | None, price: Price | None, input: str) -> "SeenCost":
        """Return the same after one more request. price: by which it was expected. input: JSON."""
        if cost is None:
            return self
        units = None if price is None else price.units(input)
        here = SeenCost(cost)
        if price is not None and units and price.unit is not Unit.REQUEST:
            here = SeenCost(cost, cost / units, price.unit)
        return here.beside(self)

    def beside(self, other: "SeenCost") -> "SeenCost":
        """Return the most that either has seen; where their units differ, of that of this one."""
        request = _most(self.request, other.request)
        if self.of is None or self.of is other.of:
            return SeenCost(request, _most(self.unit, other.unit), other.of)
        return SeenCost(request, self.unit, self.of)


def _most(*known: float | None) -> float | None:
    return max((usd for usd in known if usd is not None), default=None)


def read_seen(stored: Mapping[str, Any] | None) -> dict[str, SeenCost]:
    """Return the seen costs by model that the journal stores, as `[request, unit, of]`."""
    found = {model: _read_seen(value) for model, value in (stored or {}).items()}
    return {model: seen for model, seen in found.items() if seen is not None}


def _read_seen(value: Any) -> SeenCost | None:
    if not isinstance(value, list) or len(value) not in (2, 3):
        return None
    if not all(known is None or _is_usd(known) for known in value[:2]):
        return None
    request, unit, of = [*value, None][:3]  # two before it was kept what the unit is
    if unit is None or of not in (Unit.OUTPUT, Unit.SECOND):
        return SeenCost(request)
    return SeenCost(request, unit, Unit(of))


@dataclass(frozen=True, slots=True)
class Estimate:
    """usd: of one request; None where nothing is known. floor: it may well cost more."""

    usd: float | None
    floor: bool = False


def estimate(price: Price | None, seen: SeenCost | None, input: str) -> Estimate:
    """Return what a row is expected to cost, which is what is reserved for it.

    price: of its model, None where none is known. seen: what its model's requests have cost, None
        before the first has ended. input: JSON.

    The price counts, and where requests have cost more than it says, the most that they have cost:
    by the unit of the price, if it is known, else as a whole. Of a model whose price is a floor a
    small request may cost as much as a large one.
    """
    units = None if price is None else price.units(input)
    if price is None or units is None:
        return Estimate(None if seen is None else seen.request)
    seen = seen or SeenCost()
    same = seen.of is price.unit
    usd = price.usd * units
    if same:
        usd = max(usd, (seen.unit or 0.0) * units)
    if price.floor or not same:
        usd = max(usd, seen.request or 0.0)
    # Rounded, since a third of a cost times three is not that cost in binary.
    # Bounded, since a row may ask for any number of outputs, and the journal takes no such amount.
    return Estimate(min(round(usd, 9), MAX_USD), price.floor and seen.request is None)
