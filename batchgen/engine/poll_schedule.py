"""A request's age -> when to ask again. Pure: the time and the dice are arguments.

A model's requests take lognormal times, more or less. Each question is put when, of those that
still run, the same share will have ended. So a request is asked about `1 / SHARE` times on average
whatever its model, and the lag is close to the least possible for so many questions (`python -m
tests.benchmarks polling` prints it beside the best possible and the best fixed schedules).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

POLL_SHARE = 0.26
MIN_DELAY_S, MAX_DELAY_S = 0.02, 120.0
MAX_POLLING_S = 3600.0
MAX_OBSERVATIONS = 100  # requests; older ones fade
MIN_SIGMA = 0.05  # sigma; nothing is that regular, whatever the last requests did
_BELL = NormalDist()


@dataclass(frozen=True, slots=True)
class DurationModel:
    """What a model's requests took: mean and variance of the seconds' natural logarithm.

    seen: how many taught it.
    """

    log_mean: float = math.log(1.5)
    log_variance: float = 4.0
    seen: int = 0

    @property
    def sigma(self) -> float:
        return max(math.sqrt(self.log_variance), MIN_SIGMA)

    def score(self, seconds: float) -> float:
        """How many sigmas above the mean the logarithm of `seconds` is."""
        return (math.log(seconds) - self.log_mean) / self.sigma if seconds > 0 else -math.inf

    def ended(self, score: float) -> float:
        """The share of requests that have ended by then."""
        return _BELL.cdf(score) if math.isfinite(score) else 0.0


PRIOR_DURATIONS = (
    DurationModel()
)  # between a tenth of a second and a minute; the first ends tell more


def next_poll_delay(
    age: float,
    times: DurationModel = PRIOR_DURATIONS,
    asked_to_wait: float | None = None,
    *,
    scout: bool = False,
) -> float:
    """Return the seconds to wait before asking about a request that is `age` seconds old.

    asked_to_wait: a Retry-After, None if there was none.
    scout: it is the first of a model that nobody knows. It is asked about whenever its age has
        doubled, so that its end teaches the others as soon as possible.
    """
    if scout and not times.seen:
        return max(min(max(age, MIN_DELAY_S), MAX_DELAY_S), asked_to_wait or 0.0)
    running = 1.0 - times.ended(times.score(age))
    ours = age / 8  # far later than any other, nobody knows what became of it
    if running > 0.001:
        score = _BELL.inv_cdf(1.0 - (1.0 - POLL_SHARE) * running)
        ours = math.exp(times.log_mean + times.sigma * score) - age
    return max(min(max(ours, MIN_DELAY_S), MAX_DELAY_S), asked_to_wait or 0.0)


def update_durations(times: DurationModel, before: float, by: float) -> DurationModel:
    """Return what a request teaches that ended after the age `before` and by the age `by`, seconds.

    Of that interval only the part counts that is likely by what was known: the step of an
    expectation-maximisation for normal values that are known by their intervals.
    """
    low, high = times.score(before), times.score(by)
    share = times.ended(high) - times.ended(low)
    mean, variance = math.log(max((before + by) / 2, 1e-3)), 0.0
    if share > 1e-6:
        at_low, at_high = _height(low), _height(high)
        shift = (at_low - at_high) / share
        mean = times.log_mean + times.sigma * shift
        edges = (low * at_low if at_low else 0.0) - high * at_high
        variance = times.sigma**2 * max(1.0 + edges / share - shift**2, 0.0)
    weight = max(1.0 / (times.seen + 2), 1.0 / MAX_OBSERVATIONS)
    step = mean - times.log_mean
    return DurationModel(
        times.log_mean + weight * step,
        (1 - weight) * (times.log_variance + weight * step**2) + weight * variance,
        times.seen + 1,
    )


def _height(score: float) -> float:
    return _BELL.pdf(score) if math.isfinite(score) else 0.0
