"""A request's age -> when to ask about it again. Pure: the time is an argument.

The theory. How long a model's requests take is close to lognormal, so two numbers describe it: the
mean and the variance of the logarithm. Each question is put when, of the requests that are still
running, the same share will have ended (POLL_SHARE). Then a request is asked about 1 / POLL_SHARE
times on average whatever its model, and the time between its end and the question that sees it is
close to the least possible for so many questions. `python -m tests.benchmarks polling` prints it
beside the best possible schedule and the best fixed ones.

The two numbers are learned from each request that ends, of which only an interval is known: it was
still running at one question and had ended at the next.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from statistics import NormalDist
from typing import Any

POLL_SHARE = 0.26
MIN_DELAY_S, MAX_DELAY_S = 0.02, 120.0
MAX_OBSERVATIONS = 100  # requests that count; older ones fade
MIN_SIGMA = 0.05  # nothing is more regular than this, whatever the last requests did
# Far later than any other request, nobody knows what became of one: ask after a part of its age.
OVERDUE_SHARE = 0.001  # of requests that take longer
OVERDUE_DIVISOR = 8
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class DurationModel:
    """What a model's requests take: mean and variance of the natural logarithm of the seconds.

    seen: how many requests taught it.
    """

    log_mean: float = math.log(1.5)
    log_variance: float = 4.0
    seen: int = 0

    @property
    def sigma(self) -> float:
        return max(math.sqrt(self.log_variance), MIN_SIGMA)

    def score(self, seconds: float) -> float:
        """Return how many sigmas the logarithm of `seconds` is above the mean."""
        return (math.log(seconds) - self.log_mean) / self.sigma if seconds > 0 else -math.inf

    def ended(self, score: float) -> float:
        """Return the share of requests that have ended by then."""
        return _NORMAL.cdf(score) if math.isfinite(score) else 0.0


# Between a tenth of a second and a minute; the first requests that end tell more.
PRIOR_DURATIONS = DurationModel()


def next_poll_delay(
    age: float,
    durations: DurationModel = PRIOR_DURATIONS,
    retry_after: float | None = None,
    *,
    scout: bool = False,
) -> float:
    """Return the seconds to wait before asking about a request that is `age` seconds old.

    retry_after: what the API asked for, in seconds; None if it did not.
    scout: it is the first of a model that nobody knows. It is asked about whenever its age has
        doubled, so that its end teaches the others as soon as possible.
    """
    if scout and not durations.seen:
        return max(min(max(age, MIN_DELAY_S), MAX_DELAY_S), retry_after or 0.0)
    running = 1.0 - durations.ended(durations.score(age))
    delay = age / OVERDUE_DIVISOR
    if running > OVERDUE_SHARE:
        score = _NORMAL.inv_cdf(1.0 - (1.0 - POLL_SHARE) * running)
        delay = math.exp(durations.log_mean + durations.sigma * score) - age
    return max(min(max(delay, MIN_DELAY_S), MAX_DELAY_S), retry_after or 0.0)


def update_durations(durations: DurationModel, running_at: float, ended_by: float) -> DurationModel:
    """Return what a request teaches that ended between two ages, in seconds.

    running_at: the age at which it was last seen running. ended_by: the age at which it was seen to
    have ended. Of that interval each part counts as much as it is likely by what was known: one
    step of the expectation-maximisation algorithm for normal values known by intervals.
    """
    low, high = durations.score(running_at), durations.score(ended_by)
    share = durations.ended(high) - durations.ended(low)
    mean, variance = math.log(max((running_at + ended_by) / 2, 1e-3)), 0.0
    if share > 1e-6:
        at_low, at_high = _density(low), _density(high)
        shift = (at_low - at_high) / share
        mean = durations.log_mean + durations.sigma * shift
        edges = (low * at_low if at_low else 0.0) - high * at_high
        variance = durations.sigma**2 * max(1.0 + edges / share - shift**2, 0.0)
    weight = max(1.0 / (durations.seen + 2), 1.0 / MAX_OBSERVATIONS)
    step = mean - durations.log_mean
    return DurationModel(
        durations.log_mean + weight * step,
        (1 - weight) * (durations.log_variance + weight * step**2) + weight * variance,
        durations.seen + 1,
    )


def with_ended(
    known: Mapping[str, DurationModel], ended: Iterable[tuple[str, float, float]]
) -> dict[str, DurationModel]:
    """Return what is known of each model, after requests that have ended.

    ended: the model of each, and its ages as `update_durations` has them.
    """
    found = dict(known)
    for model, running_at, ended_by in ended:
        before = found.get(model, PRIOR_DURATIONS)
        found[model] = update_durations(before, running_at, ended_by)
    return found


def read_durations(kept: Any) -> dict[str, DurationModel]:
    """Return what the journal keeps, as `write_durations` has written it; None is nothing."""
    return {model: DurationModel(*values) for model, values in (kept or {}).items()}


def write_durations(known: Mapping[str, DurationModel]) -> dict[str, Any]:
    return {"times": {model: astuple(durations) for model, durations in known.items()}}


def _density(score: float) -> float:
    return _NORMAL.pdf(score) if math.isfinite(score) else 0.0
