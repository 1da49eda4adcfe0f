"""The texts that a template stands for: all of them in order, or a sample. Pure.

In the order of all texts, what stands first changes last, as the digits of a number do, and options
come in the order in which they are written.

A sample is drawn by hashing, never by a generator of random numbers, whose results may differ from
one version of Python to the next. Each option gets a number from its own text, and the smallest is
taken. So an option that is added to a choice changes only the draws that it wins: the other texts
stay, and what was paid for them.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from math import log
from operator import itemgetter
from typing import NamedTuple

from batchgen.templates import measure
from batchgen.templates.measure import Measure

DOMAIN = "batchgen unfold v1"


class Branch(NamedTuple):
    """An option, or a whole prompt, with all that it names. weight, token: as `Option` has them."""

    parts: "tuple[str | Pick, ...]"
    weight: float
    token: bytes
    measure: Measure


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """A choice of `low` to `high` of the options. weighted: whether they differ in weight."""

    options: tuple[Branch, ...]
    low: int
    high: int
    separator: str
    weighted: bool
    measure: Measure

    @classmethod
    def of(cls, options: tuple[Branch, ...], low: int, high: int, separator: str) -> "Pick":
        weighted = len({option.weight for option in options}) > 1
        size = measure.of_choice([option.measure for option in options], low, high, separator)
        return cls(options, low, high, separator, weighted, size)


def all_texts(parts: tuple[str | Pick, ...]) -> Iterator[str]:
    """Yield each combination, also those that give an equal text."""
    # Only what can be more than one text is gone through; it is little if the count is.
    texts: list[str] = [""]
    picks: list[Pick] = []
    for part in parts:
        if isinstance(part, str):
            texts[-1] += part
        elif part.measure.texts == 1:
            texts[-1] += next(_picked(part))
        else:
            picks.append(part)
            texts.append("")
    return _combined(texts, picks, 0)


def _combined(texts: list[str], picks: list[Pick], at: int) -> Iterator[str]:
    if at == len(picks):
        yield texts[at]
        return
    for text in _picked(picks[at]):
        for rest in _combined(texts, picks, at + 1):
            yield texts[at] + text + rest


def _picked(pick: Pick) -> Iterator[str]:
    for size in range(pick.low, pick.high + 1):
        for options in combinations(pick.options, size):
            parts: list[str | Pick] = []
            for option in options:
                parts += [pick.separator, *option.parts]
            yield from all_texts(tuple(parts[1:]))


def drawn_texts(written: str, parts: tuple[str | Pick, ...], seed: int) -> Iterator[str]:
    """Yield draw after draw, without end. written: the prompt, which decides beside the seed."""
    draw = 0
    while True:
        key = _hash(b"", f"{DOMAIN}\n{seed}\n{draw}\n{written}".encode(errors="surrogatepass"))
        yield _drawn(parts, key)
        draw += 1


def _drawn(parts: tuple[str | Pick, ...], key: bytes) -> str:
    texts = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        own = _hash(key, f"part {number}".encode())
        chosen = _winners(part, _size(part, own), own)
        inside = [_drawn(one.parts, _hash(own, one.token)) for one in chosen]
        texts.append(part.separator.join(inside))
    return "".join(texts)


def _size(pick: Pick, key: bytes) -> int:
    """Return how many options are taken; each number has the same chance."""
    if pick.low == pick.high:
        return pick.low
    sizes = range(pick.low, pick.high + 1)
    return min(sizes, key=lambda size: _hash(key, f"size {size}".encode()))


def _winners(pick: Pick, size: int, key: bytes) -> list[Branch]:
    """Return so many of the options, in their order, by weight and without repetition.

    The smallest of exponential variables, each with its option's weight as its rate, is of an
    option with the chance of its weight. Source: Efraimidis and Spirakis, Weighted random sampling
    with a reservoir, 2006.
    """
    numbers = (int.from_bytes(_hash(key, b"option " + one.token)[:8]) for one in pick.options)
    if pick.weighted:
        scores: Iterator[float] = (
            -log((number + 0.5) / 2**64) / one.weight
            for number, one in zip(numbers, pick.options, strict=True)
        )
    else:
        scores = (-number for number in numbers)
    best = heapq.nsmallest(size, enumerate(scores), key=itemgetter(1))
    return [pick.options[at] for at, _ in sorted(best)]


def _hash(key: bytes, text: bytes) -> bytes:
    return blake2b(text, key=key, digest_size=16).digest()
