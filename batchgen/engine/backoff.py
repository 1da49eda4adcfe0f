"""How long to wait after failures in a row. Pure: the randomness is an argument."""

import random


def backoff(tries: int, dice: random.Random, first: float = 0.5, latest: float = 60.0) -> float:
    """Return the seconds to wait after the `tries`-th failure in a row: full jitter, capped.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter", 2015.
    """
    return dice.uniform(0.2, 1.0) * min(latest, first * 2.0 ** min(max(tries - 1, 0), 30))
