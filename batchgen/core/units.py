"""The notations that options and manifests share: amounts, rates, durations, times of day."""

import math
import re
from datetime import time

MAX_USD = 1e9  # as in the schema of manifests
MAX_RATE = 1e6  # requests per second, which no computer sends
MAX_DURATION_S = 3650 * 86400  # ten years; beyond some more, a time is none that a clock has
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*([smhd]))?\s*")
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_USD = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NEARLY_USD = re.compile(r"(?:USD|\$)?\s*([0-9]{1,9})(?:[.,]([0-9]{1,2}))?\s*(?:USD|\$)?", re.I)


def parse_rate(text: str | int | float) -> float:
    """Return requests per second from `60/m`, `1/s`, `500/h` or `2000/d`; bare is per minute.

    Raises ValueError with a sentence for the person who wrote it.
    """
    match = _RATE.fullmatch(str(text))
    if isinstance(text, bool) or not match:
        raise ValueError("A rate is written like 60/m: a number, a slash and s, m, h or d.")
    per_second = float(match[1]) / UNIT_SECONDS[match[2] or "m"]
    if not 0 < per_second <= MAX_RATE:
        raise ValueError("A rate is more than zero, and 1000000/s at most; 60/m is one a second.")
    return per_second


def show_rate(rate: float) -> str:
    """Return requests per second in the unit that reads best: `60/m`, `50/s`."""
    for unit, seconds, least in (("s", 1, 10), ("m", 60, 1), ("h", 3600, 1)):
        if rate * seconds >= least:
            return f"{rate * seconds:.3g}/{unit}"
    return f"{rate * 86400:.3g}/d"


def show_span(seconds: float) -> str:
    """Return a span of time in the largest unit of which it has two: `90 min`, `3 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def parse_duration(text: str | int | float) -> float:
    """Return seconds from `6h`, `90m`, `1h30m`, `45s`, `2d`; a bare number is seconds.

    Raises ValueError with a sentence for the person who wrote it.
    """
    written = str(text).strip().replace(" ", "")
    match = _DURATION.fullmatch(written)
    if isinstance(text, bool):
        match = None
    elif re.fullmatch(r"[0-9]+(\.[0-9]+)?", written):
        match = _DURATION.fullmatch(f"{written}s")
    if not match or not written:
        raise ValueError("A duration is written like 6h, 90m, 1h30m or 45s.")
    parts = zip(match.groups(), "dhms", strict=True)
    seconds = sum(float(part or 0) * UNIT_SECONDS[unit] for part, unit in parts)
    if not 0 < seconds < math.inf:
        raise ValueError("A duration is more than zero; 90m is an hour and a half.")
    if seconds > MAX_DURATION_S:
        raise ValueError("A duration is ten years, 3650d, at most.")
    return seconds


def parse_usd(text: str) -> float:
    """Return an amount in USD from `5.00`. NaN is refused: no sum is ever above a limit of NaN.

    Raises ValueError with a sentence for the person who wrote it.
    """
    written = text.strip()
    if _USD.fullmatch(written) and (amount := float(written)) <= MAX_USD:
        return amount
    near = _NEARLY_USD.fullmatch(written)
    meant = float(f"{near[1]}.{near[2] or 0}") if near else 5.0
    raise ValueError(f"{text!r} is not an amount; write {meant:.2f}.")


def parse_clock_time(text: str) -> time:
    """Return the local time of day that `07:00` names.

    Raises ValueError with a sentence for the person who wrote it.
    """
    match = _CLOCK.fullmatch(str(text).strip())
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise ValueError("A time of day is written like 07:00, from 00:00 to 23:59.")
    return time(int(match[1]), int(match[2]))
