"""What a row costs by its model's price. Pure. Source: api.md, "Prices".

RunComfy prices image models by the output, and a row says itself how many of them it asks for.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Inputs that say how many outputs a request makes, as models name them. Where a row has several
# (so many series of so many images), they multiply: a limit of cost needs the most that it may be.
COUNTS = (
    *("num_images", "number_of_images", "num_images_per_prompt", "max_images", "image_count"),
    *("num_outputs", "number_of_outputs", "num_samples", "num_generations", "num_videos"),
    *("batch_size", "n"),
)
MOST = 1_000_000  # outputs, by one input; a number beyond floats is no sum


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
        written = {name: given[name] for name in COUNTS if given.get(name) is not None}
        usd = self.usd
        for value in {**self.outputs, **written}.values():
            usd *= count(value)
        return usd

    def memory(self) -> float | list[Any]:
        """The price as a journal keeps it: USD a request, or `[USD an output, outputs]`."""
        return self.usd if self.outputs is None else [self.usd, self.outputs]


def remembered(memory: Mapping[str, Any] | None) -> dict[str, Price | None]:
    """Return the prices by model that a journal keeps; None for what cannot be read."""
    return {model: _remembered(value) for model, value in (memory or {}).items()}


def _remembered(value: Any) -> Price | None:
    match value:
        case bool():
            return None
        case int() | float():
            return Price(float(value))
        case [int() | float() as usd, dict() as outputs]:
            return Price(float(usd), outputs)
    return None


def count(value: Any) -> int:
    """Return the outputs that an input's value asks for; 1 where it says nothing of the kind."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        return 1
    return math.ceil(min(value, MOST))
