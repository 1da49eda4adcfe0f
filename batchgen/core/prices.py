"""What a row costs by its model's price. Pure. Source: docs/maintainers/wire.md.

RunComfy prices image models by the output, and a row's input says how many outputs it asks for.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Inputs that say how many outputs a request makes, as models name them. Where a row has several
# (so many series of so many images), they multiply: a limit of cost needs the most that it may be.
OUTPUT_COUNT_INPUTS = (
    *("num_images", "number_of_images", "num_images_per_prompt", "max_images", "image_count"),
    *("num_outputs", "number_of_outputs", "num_samples", "num_generations", "num_videos"),
    *("batch_size", "n"),
)
MAX_OUTPUTS = 1_000_000  # by one input; a larger number could overflow a float


@dataclass(frozen=True, slots=True)
class Price:
    """usd: for a request, or for each output of one.

    outputs: None where it is for a request; else the numbers of outputs by the inputs that a model
        sets itself where a row does not, mostly none.
    """

    usd: float
    outputs: Mapping[str, int] | None = None

    def of(self, input: str) -> float:
        """Return the USD of a row; `input` is its JSON."""
        if self.outputs is None:
            return self.usd
        given = json.loads(input)
        written = {name: given[name] for name in OUTPUT_COUNT_INPUTS if given.get(name) is not None}
        usd = self.usd
        for value in {**self.outputs, **written}.values():
            usd *= output_count(value)
        return usd

    def stored(self) -> float | list[Any]:
        """Return what the journal stores: USD a request, or `[USD an output, outputs]`."""
        return self.usd if self.outputs is None else [self.usd, self.outputs]


def read_prices(stored: Mapping[str, Any] | None) -> dict[str, Price | None]:
    """Return the prices by model that the journal stores; None for what cannot be read."""
    return {model: _read_price(value) for model, value in (stored or {}).items()}


def _read_price(value: Any) -> Price | None:
    match value:
        case int() | float() if not isinstance(value, bool):
            return Price(float(value))
        case [int() | float() as usd, dict() as outputs]:
            return Price(float(usd), outputs)
    return None


def output_count(value: Any) -> int:
    """Return the outputs that the value of an input asks for; 1 where it is no count."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        return 1
    return math.ceil(min(value, MAX_OUTPUTS))
