"""A request's age -> when to ask again. Pure: the time and the dice are arguments."""

import random

SOONEST, LATEST = 0.1, 30.0
PATIENCE = 3600.0
FIRST_GUESS = 4.0  # seconds a request takes, before any was seen


def delay(age: float, typical: float | None, asked_to_wait: float | None = None) -> float:
    """Return the seconds to wait before asking about a request that is `age` seconds old.

    typical: the mean time that this model's requests took so far; None if none was seen.
    asked_to_wait: a Retry-After, None if there was none.

    Before the typical time there is little to see, so the first question comes shortly before it;
    from then on the questions come at a tenth of the typical time, and rarer as the request ages.
    """
    mean = FIRST_GUESS if typical is None else typical
    first = 0.8 * mean if typical is not None else 0.2 * mean
    ours = first - age if age < 0.9 * first else max(0.1 * mean, age / 8)
    return max(min(max(ours, SOONEST), LATEST), asked_to_wait or 0.0)


def backoff(tries: int, dice: random.Random, first: float = 0.5, latest: float = 60.0) -> float:
    """Return the seconds to wait after the `tries`-th failure in a row: full jitter, capped.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter", 2015.
    """
    return dice.uniform(0.2, 1.0) * min(latest, first * 2.0 ** min(max(tries - 1, 0), 30))


def learned(typical: float | None, took: float) -> float:
    """Return the new mean after a request took `took` seconds; the newest weigh most."""
    return took if typical is None else typical + (took - typical) * 0.1
