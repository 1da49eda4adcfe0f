"""Send times and 429s so far -> when the next POST may go. Pure: the time is an argument.

Between two POSTs lies at least one interval, so no window holds more than rate x window + 1 of
them; nothing is saved up while idle. One 429 slows down once per episode: answers to requests that
were sent before the slow-down say nothing new.
"""

from dataclasses import dataclass, replace

CUT = 0.6  # what a 429 leaves of the rate at least
CLIMB = 0.03  # gained with each acceptance, as a share of the rate, while nothing is known above
APPROACH = 0.01  # of what is left to NEAR x the last 429's rate, gained with each acceptance
NEAR = 0.9
CREEP = 0.00005  # as CLIMB, from NEAR on, where POSTs are many: a 429 costs all of them a pause
CREEP_A_SECOND = 0.0001  # the same where they are few
PASSED = 1.05  # x the last 429's rate without another: whatever limited it is over
TELLING = 5  # acceptances between two 429s from which their rate tells what the API allows
SLOWEST = 1 / 3600


@dataclass(frozen=True, slots=True)
class Pace:
    """ceiling, rate: POSTs per second, as allowed by the person and as learned.

    next_at: the earliest time of the next POST.
    slowed_at: when the last episode of 429s began; requests sent before it belong to it.
    too_fast: the rate at which it began; None before the first.
    taken: acceptances since it began.
    """

    ceiling: float
    rate: float
    next_at: float = 0.0
    slowed_at: float = float("-inf")
    too_fast: float | None = None
    taken: int = 0

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
        rate = self.rate * CUT
        if self.taken >= TELLING and now > self.slowed_at:
            # What was let in between two refusals is at most a bucket short of what is allowed.
            allowed = self.taken / (now - self.slowed_at)
            rate = max(rate, min((allowed + self.rate) / 2, 0.97 * self.rate))
        rate = max(rate, SLOWEST)
        return replace(held, rate=rate, slowed_at=now, too_fast=self.rate, taken=0)

    def accepted(self, sent_at: float) -> "Pace":
        """A POST sent at `sent_at` was accepted: climb back, gently near the last bad rate."""
        if sent_at <= self.slowed_at:
            return self
        rate, too_fast = self.rate, self.too_fast
        if too_fast is None or rate > PASSED * too_fast:
            rate, too_fast = rate * (1 + CLIMB), None
        elif rate < NEAR * too_fast:
            rate += (NEAR * too_fast - rate) * APPROACH + rate * CREEP
        else:
            rate *= 1 + max(CREEP, CREEP_A_SECOND / rate)
        return replace(self, rate=min(self.ceiling, rate), too_fast=too_fast, taken=self.taken + 1)


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
        too_fast=rate / NEAR if rate < ceiling else None,
    )
