"""Send times and 429s so far -> when the next POST may go. Pure: the time is an argument.

Between two POSTs lies at least one interval, so no window holds more than rate x window + 1 of
them; nothing is saved up while idle. One 429 slows down once per episode: answers to requests that
were sent before the slow-down say nothing new.
"""

from dataclasses import dataclass, replace

CUT = 0.6  # what a 429 leaves of the rate
CLIMB = 0.03  # gained with each acceptance, as a share of the rate, well below the last 429's rate
CREEP = 0.002  # the same close to it, where the next 429 waits
SLOWEST = 1 / 3600


@dataclass(frozen=True, slots=True)
class Pace:
    """ceiling, rate: POSTs per second, as allowed by the person and as learned.

    next_at: the earliest time of the next POST.
    slowed_at: when the last episode of 429s began; requests sent before it belong to it.
    too_fast: the rate at which it began; None before the first.
    """

    ceiling: float
    rate: float
    next_at: float = 0.0
    slowed_at: float = float("-inf")
    too_fast: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds until the next POST may go."""
        return max(0.0, self.next_at - now)

    def sent(self, now: float) -> "Pace":
        return replace(self, next_at=max(self.next_at, now) + 1 / self.rate)

    def throttled(self, now: float, sent_at: float, wait: float | None) -> "Pace":
        """A POST sent at `sent_at` was answered 429, with a Retry-After of `wait` seconds."""
        pause = now + (wait if wait is not None else 1 / self.rate)
        held = replace(self, next_at=max(self.next_at, pause))
        if sent_at <= self.slowed_at:
            return held
        return replace(held, rate=max(self.rate * CUT, SLOWEST), slowed_at=now, too_fast=self.rate)

    def accepted(self, sent_at: float) -> "Pace":
        """A POST sent at `sent_at` was accepted: climb back, gently near the last bad rate."""
        if sent_at <= self.slowed_at or self.rate >= self.ceiling:
            return self
        near = self.too_fast is not None and self.rate > 0.8 * self.too_fast
        step = self.rate * (CREEP if near else CLIMB)
        return replace(self, rate=min(self.ceiling, self.rate + step))


def resumed(
    ceiling: float, saved: tuple[float | None, float] | None, longest: float = 3600.0
) -> Pace:
    """Return the pace of a new run, at time 0 on its own clock.

    saved: (rate that 429s taught, in POSTs/s, None if there were none; seconds from now until the
        next POST) of the run before; negative seconds are past. A clock that was set back can make
        them huge, so they are capped.
    """
    if saved is None:
        return Pace(ceiling, ceiling)
    learned, ahead = saved
    rate = ceiling if learned is None else learned
    return Pace(
        ceiling,
        min(ceiling, max(rate, SLOWEST)),
        next_at=min(max(ahead, 0.0), longest),
        too_fast=rate / 0.8 if rate < ceiling else None,
    )
