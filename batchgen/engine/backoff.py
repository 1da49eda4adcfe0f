"""How long to wait after failures in a row. Pure: the randomness is an argument.

Exponential back-off with jitter: rows that failed together do not come back together. Source: AWS
Architecture Blog, "Exponential Backoff And Jitter", 2015.
"""

import random

MIN_SHARE = 0.2  # of the longest wait, so that a wait is never nothing


def backoff_delay(tries: int, rng: random.Random, first: float, longest: float) -> float:
    """Return the seconds to wait after the `tries`-th failure in a row.

    first: the longest wait after the first failure; it doubles with each. longest: its limit.
    """
    doublings = min(max(tries - 1, 0), 30)
    return rng.uniform(MIN_SHARE, 1.0) * min(longest, first * 2.0**doublings)
