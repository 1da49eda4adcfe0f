"""Submissions and 429s so far -> when the next submission may go. Pure: the time is an argument.

Two promises hold by construction. Between two submissions lies at least one interval, so no window
of time holds more than rate x window + 1 of them; nothing is saved up while idle. And one episode
of 429s slows down once: an answer to a request that was sent before the slow-down says nothing new.

The person may change the rate under way. What a window holds is measured by the rate in force at
its end, so after a slow-down the submissions of the faster time count too: no window of up to
WINDOW_S holds more than the new rate x window + 1. Let p1, p2, … be the submissions so far, the
latest first, and r the new rate. A submission at t makes a window of n + 1 from pn to t, which is
right if t >= pn + n / r, and of no matter once it is longer than WINDOW_S. So the next one goes at
the latest of all pn + min(n / r, WINDOW_S), and not before p1 + 1 / r. That is enough for all that
follow: each adds one to a window and an interval, in which the rate allows one, to its length.
Windows that are longer are not held to the new rate: a list that was slowed from 60 to 20 a minute
would stand still for most of the night. `earliest_submission` is that maximum.

The rest finds an API's unknown limit with few 429s. The API is taken for a token bucket, which is
filled at the allowed rate and lets in up to `burst` submissions beyond it. From that follow

- how far to slow down. A rate that is too high by the share s empties the bucket in burst / s
  submissions. So the number accepted since the last 429 tells s: few mean that the rate is far too
  high, many that it is hardly too high.
- how fast to climb back. The rate grows with each acceptance, the slower, the nearer it is to the
  rate at which the next 429 is expected (`refused_rate`); beyond that rate it grows faster again,
  since the limit may be gone.

`python -m tests.benchmarks limits` simulates it against APIs of several kinds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

MAX_BURST = 10.0  # submissions that an API is taken to let in beyond its rate, before a 429 tells
MIN_SLOWDOWN = 0.02  # share of the rate that a 429 takes; after less the next 429 comes too soon
MAX_SLOWDOWN = 0.4  # after more, the climb back costs more than another 429 would
# The first 429 may take more than MAX_SLOWDOWN where its pause holds back this many submissions:
# there another 429 costs more than a long climb.
MAX_FIRST_SLOWDOWN = 0.7
COSTLY_PAUSE_SUBMISSIONS = 10
# Where the allowed rate is expected after a 429 that came late: this share of the way down from
# the refused rate to the slower one.
EXPECTED_SHARE = 2 / 3
# After a 429 that came early, all that is known is that the rate was too high: expected is then
# this share of the refused rate.
EXPECTED_EARLY_SHARE = 0.9
# Bounds of `patience_s`: a shorter one makes the rate swing, a longer one takes long to notice that
# a limit is gone.
MIN_PATIENCE_S, MAX_PATIENCE_S = 4.0, 20.0
PATIENCE_DIVISOR = 2  # patience is the time since the last 429 by this: rare 429s make it longer
# Bounds of `doubt`: after a 429 that took all of the rate, and after one that took hardly any.
MAX_DOUBT, MIN_DOUBT = 0.2, 0.001
MAX_WEIGHT_S = 0.5  # time that one acceptance stands for, at most, where submissions are rare
MAX_LOCKED_PAUSE_S = 60.0  # many APIs count by the minute
MIN_RATE = 1 / 3600
# The longest window that is measured by a rate that was lowered: many APIs count by the minute.
WINDOW_S = 60.0
# From now until a next submission that was kept, at most: later is by a clock that was set back.
LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """max_rate, rate: submissions per second, as allowed by the person and as learned.

    next_at: the earliest time of the next submission. paused_until: what the API asked to wait.
    throttled_at: when the latest episode of 429s began; requests sent before it belong to it.
    came_late: that episode began long after the one before, as at a rate that is hardly too high.
    accepted: acceptances since that episode.
    refused_rate: at which the next 429 is expected; None before the first 429 and at max_rate.
    patience_s: seconds in which the distance to refused_rate becomes a third of what it was, and
        three times as long once that rate is passed.
    doubt: share that is added to that distance, so that a wrong refused_rate does not hold the
        rate down for long.
    burst: submissions that the API lets in beyond its rate, at most, as far as is known.
    """

    max_rate: float
    rate: float
    next_at: float = 0.0
    paused_until: float = float("-inf")
    throttled_at: float = float("-inf")
    came_late: bool = False
    accepted: int = 0
    refused_rate: float | None = None
    patience_s: float = MIN_PATIENCE_S
    doubt: float = MIN_DOUBT
    burst: float = MAX_BURST

    def delay(self, now: float) -> float:
        """Return the seconds until the next submission may go."""
        return max(0.0, self.next_at - now)

    def pause(self, now: float) -> float:
        """Return the seconds until the pause that the API asked for is over."""
        return max(0.0, self.paused_until - now)

    def after_submission(self, now: float) -> "RateLimiter":
        return replace(self, next_at=max(self.next_at, now) + 1 / self.rate)

    def at_most(self, max_rate: float, recent: Sequence[float]) -> "RateLimiter":
        """The person allows another rate from now on; what 429s taught still holds.

        recent: the times of the submissions of the last WINDOW_S, ascending, and in any case the
            last one.
        """
        rate = max_rate if self.refused_rate is None else min(self.rate, max_rate)
        return replace(
            self,
            max_rate=max_rate,
            rate=rate,
            refused_rate=self.refused_rate if rate < max_rate else None,
            next_at=max(self.paused_until, earliest_submission(recent, rate)),
        )

    def after_429(self, now: float, sent_at: float, retry_after: float | None) -> "RateLimiter":
        """A request sent at `sent_at` was answered 429. retry_after: seconds; None where unsaid."""
        pause = retry_after if retry_after is not None else 1 / self.rate
        since = sent_at - self.throttled_at
        # Nothing was accepted at a rate that was hardly too high: what refuses is not a rate, but a
        # count that begins anew at some time.
        locked = self.came_late and not self.accepted
        if locked and since > 0:
            pause = max(pause, min(1 + 2 * since, MAX_LOCKED_PAUSE_S))
        until = max(self.paused_until, now + pause)
        paused = replace(self, next_at=max(self.next_at, until), paused_until=until)
        if since <= 0:
            return paused
        if locked:
            return replace(paused, throttled_at=now)
        grown = min(self._growth() * self.rate * (now - sent_at), 1.0)  # since it was sent
        costly = self.refused_rate is None and self.rate * pause > COSTLY_PAUSE_SUBMISSIONS
        most = MAX_FIRST_SLOWDOWN if costly else MAX_SLOWDOWN
        return replace(paused, throttled_at=now, rate=self.rate / (1 + grown))._slower(since, most)

    def _slower(self, since: float, most: float) -> "RateLimiter":
        """since: seconds between this 429 and the last. most: share of the rate to take."""
        rate = self.rate
        # A rate that has grown by a share g with each submission since it was right is too high by
        # sqrt(2 g burst) when the bucket is empty.
        share = max(
            MIN_SLOWDOWN,
            self.burst / (self.accepted + 1),
            sqrt(2 * self.burst * self._growth()),
        )
        late, share = share < most, min(share, most)
        # What was accepted between two 429s is allowed in any case.
        allowed = min(self.accepted / since, rate * (1 - MIN_SLOWDOWN))
        slower = min(self.max_rate, max(rate * (1 - share), allowed, MIN_RATE))
        expected = rate - EXPECTED_SHARE * (rate - slower) if late else EXPECTED_EARLY_SHARE * rate
        patience = max(self.accepted / rate / PATIENCE_DIVISOR, MIN_PATIENCE_S)
        # A burst taken for too large costs with each 429, so each makes it smaller.
        burst = min(self.burst / 2 if late else self.burst, self.accepted + 1)
        return replace(
            self,
            rate=slower,
            came_late=late,
            accepted=0,
            refused_rate=expected,
            patience_s=min(patience, MAX_PATIENCE_S) if late else MIN_PATIENCE_S,
            doubt=max(MIN_DOUBT, MAX_DOUBT * share * share),
            burst=max(1.0, burst),
        )

    def after_acceptance(self, sent_at: float) -> "RateLimiter":
        """A request sent at `sent_at` was accepted: climb back."""
        if sent_at <= self.throttled_at:
            return self
        rate = min(self.max_rate, self.rate * (1 + self._growth()))
        refused_rate = self.refused_rate if rate < self.max_rate else None
        return replace(self, rate=rate, accepted=self.accepted + 1, refused_rate=refused_rate)

    def _growth(self) -> float:
        """Return the share of the rate that an acceptance adds."""
        if self.refused_rate is None:
            return 0.0
        distance = abs(self.refused_rate / self.rate - 1) + self.doubt
        return min(1 / self.rate, MAX_WEIGHT_S) * distance / self.patience_s


def earliest_submission(recent: Sequence[float], rate: float) -> float:
    """Return when the next submission may go at `rate`, minus infinity where none was before.

    recent: as `RateLimiter.at_most` takes them.
    """
    due = (at + min(n / rate, WINDOW_S) for n, at in enumerate(reversed(recent), 1))
    return max([*due, *(at + 1 / rate for at in recent[-1:])], default=float("-inf"))


def resume_rate_limiter(
    max_rate: float,
    saved: tuple[float | None, float] | None,
    longest: float = LONGEST_S,
    recent: Sequence[float] = (),
    paused: float | None = None,
) -> RateLimiter:
    """Return the rate limiter of a new run, at time 0 on the run's own clock.

    saved: of the run before, the rate in submissions per second that 429s taught it, None where
        there were none; and the seconds from now until the next submission, negative where that is
        past. A clock that was set back can make these seconds huge: `longest` is their limit.
    recent: as `RateLimiter.at_most` takes them, none of them after 0; the rate may be lower now.
    paused: seconds from now until the API may be asked again; None where that is not known apart.
    """
    if saved is None:
        return RateLimiter(
            max_rate, max_rate, next_at=max(0.0, earliest_submission(recent, max_rate))
        )
    learned, ahead = saved
    rate = max_rate if learned is None else min(max_rate, max(learned, MIN_RATE))
    return RateLimiter(
        max_rate,
        rate,
        next_at=max(min(max(ahead, 0.0), longest), earliest_submission(recent, rate)),
        paused_until=min(ahead if paused is None else paused, longest),
        refused_rate=rate if rate < max_rate else None,
        patience_s=MAX_PATIENCE_S,
    )
