"""How many texts a choice stands for, how long they can be, and what writing one out takes. Pure.

Counted, not tried: `{a|b}` written a thousand times is counted in a thousand steps.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from math import comb
from typing import NamedTuple

MOST = 10**300  # what is larger is counted as this


class Measure(NamedTuple):
    """texts: combinations, equal texts counted each. chars: the most that one text has.

    steps: for writing one out, and work: for drawing one, at most. height: choices inside one
    another.
    """

    texts: int
    chars: int
    steps: int
    work: int
    height: int


def of_text(text: str) -> Measure:
    return Measure(1, len(text), 1, 1, 0)


def of_all(parts: Iterable[Measure]) -> Measure:
    """Return the measure of texts that are written one behind the other."""
    texts, chars, steps, work, height = 1, 0, 1, 1, 0
    for part in parts:
        texts = min(texts * part.texts, MOST)
        chars = min(chars + part.chars, MOST)
        steps = min(steps + part.steps, MOST)
        work = min(work + part.work, MOST)
        height = max(height, part.height)
    return Measure(texts, chars, steps, work, height)


def of_choice(options: Sequence[Measure], low: int, high: int, separator: str) -> Measure:
    """Return the measure of a choice of `low` to `high` of the options, which are at least one."""
    texts, chars, steps, works, heights = zip(*options, strict=True)
    work = len(options)
    if low == high == 1:  # most choices, in a fifth of the time
        count, longest, step, work = sum(texts), max(chars), max(steps), work + max(works)
    else:
        count = sum(_ways(Counter(texts), high)[low:])
        longest = sum(heapq.nlargest(high, chars)) + len(separator) * max(high - 1, 0)
        step = sum(heapq.nlargest(high, steps))
        work += sum(heapq.nlargest(high, works))
    step += len(options) if count == 1 else 1
    height = 1 + max(heights)
    return Measure(min(count, MOST), min(longest, MOST), min(step, MOST), min(work, MOST), height)


def _ways(counts: Counter[int], most: int) -> list[int]:
    """Return in how many ways 0, 1, … `most` options can be chosen and written out.

    counts: how many options there are of each count. These are the coefficients of the product of
    all (1 + count * x).
    """
    factors = (
        [min(comb(many, k) * count**k, MOST) for k in range(min(many, most) + 1)]
        for count, many in counts.items()
    )
    return reduce(lambda a, b: _product(a, b, most), factors, [1])


def _product(a: list[int], b: list[int], most: int) -> list[int]:
    product = [0] * min(len(a) + len(b) - 1, most + 1)
    for i, one in enumerate(a):
        for k, other in enumerate(b[: len(product) - i], start=i):
            product[k] = min(product[k] + one * other, MOST)
    return product
