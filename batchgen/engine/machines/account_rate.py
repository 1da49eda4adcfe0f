"""One rate for all machines of an account, in the words of one rate limiter. Pure.

The limiter stands in the database, on its clock, in seconds since the epoch. Each run takes slots
out of it, one for each submission, and tells it what became of its own: so a 429 of one slows all.
Each keeps to what its person allows; the limiter's `max_rate` is the highest of these.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any

from batchgen.engine.rate_limiter import LONGEST_S, RateLimiter

_KINDS = {field.name: field.type for field in fields(RateLimiter)}
MOST_IN_TURN = 100  # slots of all machines that may wait, at a slow rate one of each
_MAY_BE_INFINITE = ("next_at", "paused_until", "throttled_at")


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that was sent at a time was accepted, or answered 429 at another.

    throttled_at: None where it was accepted. retry_after: seconds; None where unsaid.
    """

    sent_at: float
    throttled_at: float | None = None
    retry_after: float | None = None


def read_limiter(text: str | None, begun: RateLimiter, now: float) -> RateLimiter:
    """Return the limiter that was kept; `begun` where there was none.

    begun: of this run, on the same clock. now: by that clock, which may have been set back since:
    then the next submission may go in an hour. Raises ValueError for a text that `write_limiter`
    does not write.
    """
    if text is None:
        return begun
    kept = json.loads(text)
    if not isinstance(kept, dict) or not _is_limiter(kept):
        raise ValueError(text)
    limiter = _by_the_clock(RateLimiter(**kept), begun.max_rate, now)
    if begun.max_rate <= limiter.max_rate:
        return limiter
    rate = begun.max_rate if limiter.refused_rate is None else limiter.rate
    return replace(limiter, max_rate=begun.max_rate, rate=rate)


def _by_the_clock(limiter: RateLimiter, max_rate: float, now: float) -> RateLimiter:
    longest = LONGEST_S + MOST_IN_TURN / min(limiter.rate, max_rate)
    if limiter.next_at - now <= longest:
        return limiter
    # Nothing but `next_at` says when: whoever only looks keeps nothing, and would put it off.
    return replace(
        limiter,
        next_at=now + LONGEST_S,
        paused_until=min(limiter.paused_until, now),
        throttled_at=min(limiter.throttled_at, now),
    )


def _is_limiter(kept: dict[str, Any]) -> bool:
    def is_right(name: str, value: Any) -> bool:
        if name == "came_late":
            return isinstance(value, bool)
        if value is None:
            return name == "refused_rate"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (isfinite(value) or (name in _MAY_BE_INFINITE and value < 0))

    right = kept.keys() == _KINDS.keys() and all(is_right(*item) for item in kept.items())
    return right and min(kept["rate"], kept["max_rate"], kept["patience_s"]) > 0


def write_limiter(limiter: RateLimiter) -> str:
    return json.dumps(asdict(limiter))


def after_answers(limiter: RateLimiter, answers: Iterable[Answer]) -> RateLimiter:
    for answer in answers:
        if answer.throttled_at is None:
            limiter = limiter.after_acceptance(answer.sent_at)
        else:
            limiter = limiter.after_429(answer.throttled_at, answer.sent_at, answer.retry_after)
    return limiter


def take_slots(
    limiter: RateLimiter, now: float, max_rate: float, count: int
) -> tuple[RateLimiter, list[float]]:
    """Return the limiter after so many submissions, and when each may go.

    max_rate: submissions per second, as the person of this run allows them.
    """
    mine = replace(limiter, rate=min(limiter.rate, max_rate))
    slots = []
    for _ in range(count):
        slots.append(max(mine.next_at, now))
        mine = mine.after_submission(now)
    return replace(limiter, next_at=mine.next_at), slots
