"""Send times and 429s so far -> when the next POST may go. Pure: the time is an argument.

Between two POSTs lies at least one interval, so no window holds more than rate x window + 1 of
them; nothing is saved up while idle. One 429 slows down once per episode: answers to requests that
were sent before the slow-down say nothing new.

How much it slows down follows from a picture of the API: a bucket, filled at the allowed rate, that
lets in a few POSTs beyond it. A rate far too high empties it soon, one hardly too high late.
"""

from dataclasses import dataclass, replace
from math import sqrt

BURST = 10.0  # POSTs that an API may let in beyond its rate; fewer as soon as a 429 came earlier
LEAST = 0.02  # share of the rate that a 429 takes: with less the next, and its pause, is too near
MOST = 0.4  # with more, the climb back costs more than another 429
DEEP = 0.7  # as MOST, for the first 429 where a second costs more: its pause holds back DEAR POSTs
DEAR = 10
AIM = 2 / 3  # of the way from the refused rate to the slower one: there the allowed one may be
NEAR = 0.9  # the same as a share of the refused rate, where all that is known is that it was high
QUICK, CALM = 4.0, 20.0  # bounds of `patience`: less swings, more takes long when a limit is gone
CALMING = 2  # patience is such a part of the time since the last 429; as they grow rare, it grows
DOUBT, SURE = 0.2, 0.001  # `doubt` after a 429 that took all, or hardly any, of the rate
WEIGHT = 0.5  # seconds that an acceptance counts for at most: where POSTs are few, 429s should be
LOCKED = 60.0  # seconds: many an API counts by the minute
SLOWEST = 1 / 3600


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """ceiling, rate: POSTs per second, as allowed by the person and as learned.

    next_at: the earliest time of the next POST.
    slowed_at: when the last episode of 429s began; requests sent before it belong to it.
    late: whether it began long after the one before, as it does at a rate that is hardly too high.
    taken: acceptances since.
    too_fast: the rate at which the next is expected; None before the first and at the ceiling.
    patience: seconds in which the distance to it becomes a third, or threefold once it is passed.
    doubt: share by which it counts as farther than it is, lest a wrong one holds the rate for long.
    burst: POSTs that the API lets in beyond its rate, at most.
    """

    ceiling: float
    rate: float
    next_at: float = 0.0
    slowed_at: float = float("-inf")
    late: bool = False
    taken: int = 0
    too_fast: float | None = None
    patience: float = QUICK
    doubt: float = SURE
    burst: float = BURST

    def wait(self, now: float) -> float:
        """Return the seconds until the next POST may go."""
        return max(0.0, self.next_at - now)

    def sent(self, now: float) -> "RateLimiter":
        return replace(self, next_at=max(self.next_at, now) + 1 / self.rate)

    def throttled(self, now: float, sent_at: float, wait: float | None) -> "RateLimiter":
        """A POST sent at `sent_at` was answered 429, with a Retry-After of `wait` seconds."""
        pause = wait if wait is not None else 1 / self.rate
        since = sent_at - self.slowed_at
        # Nothing was let in at a rate that was hardly too high: it is not the rate, but a count
        # that begins anew some time.
        locked = self.late and not self.taken
        if locked and since > 0:
            pause = max(pause, min(1 + 2 * since, LOCKED))
        held = replace(self, next_at=max(self.next_at, now + pause))
        if since <= 0:
            return held
        if locked:
            return replace(held, slowed_at=now)
        grown = min(self._growth() * self.rate * (now - sent_at), 1.0)  # since it was sent
        most = DEEP if self.too_fast is None and self.rate * pause > DEAR else MOST
        return replace(held, slowed_at=now, rate=self.rate / (1 + grown))._slower(since, most)

    def _slower(self, since: float, most: float) -> "RateLimiter":
        """since: seconds from the last 429 to this one; most: share of the rate that it takes."""
        rate = self.rate
        # A rate too high by a share s empties the bucket in burst / s POSTs; one that has grown by
        # a share g with each POST since it was right is too high by sqrt(2 g burst) by then.
        share = max(LEAST, self.burst / (self.taken + 1), sqrt(2 * self.burst * self._growth()))
        late, share = share < most, min(share, most)
        # What was let in between two refusals is allowed in any case.
        allowed = min(self.taken / since, rate * (1 - LEAST))
        slower = min(self.ceiling, max(rate * (1 - share), allowed, SLOWEST))
        return replace(
            self,
            rate=slower,
            late=late,
            taken=0,
            too_fast=rate - AIM * (rate - slower) if late else NEAR * rate,
            patience=min(max(self.taken / rate / CALMING, QUICK), CALM) if late else QUICK,
            doubt=max(SURE, DOUBT * share * share),
            # Taken for larger than it is, it costs with each 429; so it is believed ever less.
            burst=max(1.0, min(self.burst / 2 if late else self.burst, self.taken + 1)),
        )

    def accepted(self, sent_at: float) -> "RateLimiter":
        """A POST sent at `sent_at` was accepted: climb back."""
        if sent_at <= self.slowed_at:
            return self
        rate = min(self.ceiling, self.rate * (1 + self._growth()))
        too_fast = self.too_fast if rate < self.ceiling else None
        return replace(self, rate=rate, taken=self.taken + 1, too_fast=too_fast)

    def _growth(self) -> float:
        """The share of the rate that an acceptance adds: the less, the nearer to `too_fast`."""
        if self.too_fast is None:
            return 0.0
        distance = abs(self.too_fast / self.rate - 1) + self.doubt
        return min(1 / self.rate, WEIGHT) * distance / self.patience


def resume_rate_limiter(
    ceiling: float, saved: tuple[float | None, float] | None, longest: float = 3600.0
) -> RateLimiter:
    """Return the pace of a new run, at time 0 on its own clock.

    saved: (rate that 429s taught, in POSTs/s, None if there were none; seconds from now until the
        next POST) of the run before; negative seconds are past. A clock that was set back can make
        them huge, so they are capped.
    """
    if saved is None:
        return RateLimiter(ceiling, ceiling)
    learned, ahead = saved
    rate = ceiling if learned is None else min(ceiling, max(learned, SLOWEST))
    return RateLimiter(
        ceiling,
        rate,
        next_at=min(max(ahead, 0.0), longest),
        too_fast=rate if rate < ceiling else None,
        patience=CALM,
    )
