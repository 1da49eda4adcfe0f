"""When to ask about a request again: soon enough to be useful, seldom enough to be polite."""

import json
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.backoff import backoff_delay
from batchgen.engine.poll_schedule import (
    MAX_DELAY_S,
    MIN_DELAY_S,
    POLL_SHARE,
    PRIOR_DURATIONS,
    DurationModel,
    next_poll_delay,
    read_durations,
    update_durations,
    with_ended,
    write_durations,
)

BACKOFF = DEFAULT_TIMING.backoff_first, DEFAULT_TIMING.backoff_max
AGES = st.floats(0, 10 * 86400)
TIMES = st.builds(DurationModel, st.floats(-3, 8), st.floats(0, 4), st.integers(0, 1000))


def lognormal(mean, sigma):
    return DurationModel(math.log(mean) - sigma**2 / 2, sigma**2, 1000)


def drawn(mean, sigma, count, seed=1):
    """Seconds that requests take."""
    dice = random.Random(seed)
    return [mean * math.exp(dice.gauss(-(sigma**2) / 2, sigma)) for _ in range(count)]


def questions(lasts, times):
    """The ages at which a request that lasts so long is asked about, the last one included."""
    ages = [next_poll_delay(0.0, times)]
    while ages[-1] < lasts:
        ages.append(ages[-1] + next_poll_delay(ages[-1], times))
    return ages


def taught(lengths, times=PRIOR_DURATIONS):
    """What is known after requests of these lengths, each asked about as was known by then."""
    for lasts in lengths:
        before, by = ([0.0, *questions(lasts, times)])[-2:]
        times = update_durations(times, before, by)
    return times


@given(AGES, TIMES)
def test_no_question_comes_too_soon_or_too_late(age, times):
    assert MIN_DELAY_S <= next_poll_delay(age, times) <= MAX_DELAY_S


@given(AGES, TIMES, st.floats(0, 3600))
def test_a_retry_after_is_waited_for(age, times, wait):
    assert next_poll_delay(age, times, wait) == max(next_poll_delay(age, times), wait)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 1.0])
def test_each_question_finds_the_same_share_of_those_that_still_run_ended(sigma):
    lengths = drawn(20.0, sigma, 4000)
    ages = questions(20.0, lognormal(20.0, sigma))

    for before, by in pairwise([0.0, *ages]):
        running = [lasts for lasts in lengths if lasts > before]
        ended = sum(lasts <= by for lasts in running)
        assert ended / len(running) == pytest.approx(POLL_SHARE, abs=0.05)


@pytest.mark.parametrize(("sigma", "most_lag", "most_polls"), [(0.3, 0.10, 4), (0.5, 0.12, 5)])
@pytest.mark.parametrize("mean", [3.0, 20.0, 90.0])
def test_a_warm_model_is_seen_soon_after_it_ended_with_few_questions(
    mean, sigma, most_lag, most_polls
):
    times = taught(drawn(mean, sigma, 300))
    lags, polls = [], []
    for lasts in drawn(mean, sigma, 1000, seed=2):
        ages = questions(lasts, times)
        lags.append(ages[-1] - lasts)
        polls.append(len(ages))
        times = update_durations(times, *([0.0, *ages])[-2:])

    assert sum(lags) / len(lags) <= most_lag * mean
    assert sum(polls) / len(polls) <= most_polls


@pytest.mark.parametrize("lasts", [0.5, 5.0, 60.0, 600.0, 3600.0])
def test_a_request_of_which_nothing_is_known_is_seen_soon_after_it_ended(lasts):
    ages = questions(lasts, PRIOR_DURATIONS)

    assert ages[-1] - lasts <= max(1.0, 0.5 * lasts)
    assert len(ages) <= 80


@given(st.integers(1, 10**6), st.integers())
def test_a_backoff_grows_to_a_minute_and_no_further(tries, seed):
    longest = min(60.0, 0.5 * 2.0 ** min(tries - 1, 30))

    assert 0.2 * longest <= backoff_delay(tries, random.Random(seed), *BACKOFF) <= longest


def test_two_that_failed_together_do_not_come_back_together():
    waits = {backoff_delay(5, random.Random(seed), *BACKOFF) for seed in range(20)}

    assert len(waits) == 20


def test_the_first_request_of_a_model_nobody_knows_is_asked_about_as_its_age_doubles():
    ages = [next_poll_delay(0.0, scout=True)]
    while ages[-1] < 1000:
        ages.append(ages[-1] + next_poll_delay(ages[-1], scout=True))

    assert ages[0] == MIN_DELAY_S
    assert all(later == min(2 * age, age + MAX_DELAY_S) for age, later in pairwise(ages))
    assert next_poll_delay(5.0, scout=True, retry_after=60.0) == 60.0
    known = lognormal(20.0, 0.3)
    assert next_poll_delay(5.0, known, scout=True) == next_poll_delay(5.0, known)


@pytest.mark.parametrize(("mean", "sigma"), [(0.5, 0.2), (10.0, 0.3), (200.0, 0.6)])
def test_how_long_a_model_takes_is_learned_from_when_its_ends_were_seen(mean, sigma):
    times = taught(drawn(mean, sigma, 400))

    assert times.log_mean == pytest.approx(math.log(mean) - sigma**2 / 2, abs=0.15)
    assert times.sigma == pytest.approx(sigma, abs=0.15)


def test_a_model_that_has_become_slower_is_learned_anew():
    times = taught(drawn(100.0, 0.3, 500), taught(drawn(10.0, 0.3, 300)))

    assert math.exp(times.log_mean) == pytest.approx(100.0, rel=0.2)


def test_one_odd_request_does_not_change_what_is_known_much():
    usual = lognormal(10.0, 0.3)
    odd = update_durations(usual, 55.0, 60.0)

    assert abs(odd.log_mean - usual.log_mean) < 0.1


def test_a_request_that_had_ended_long_before_anybody_asked_teaches_nothing():
    usual = lognormal(10.0, 0.3)
    late = update_durations(usual, 0.0, 86400.0)

    assert late.log_mean == pytest.approx(usual.log_mean)
    assert late.sigma == pytest.approx(usual.sigma)


def test_what_one_machine_has_learned_another_adds_to():
    one = with_ended({}, [("a", 9.0, 10.0)])
    kept = write_durations(one)["times"]
    both = with_ended(read_durations(json.loads(json.dumps(kept))), [("a", 9.0, 10.0), ("b", 1, 2)])

    assert both["a"] == with_ended({}, [("a", 9.0, 10.0)] * 2)["a"]
    assert both["a"].seen == 2
    assert both["b"].seen == 1
    assert read_durations(None) == {}
