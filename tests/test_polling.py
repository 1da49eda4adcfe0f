"""When to ask about a request again: soon enough to be useful, seldom enough to be polite."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.polling import LATEST, SOONEST, backoff, delay, learned

AGES = st.floats(0, 10 * 86400)
MEANS = st.none() | st.floats(0, 3600)


def questions(lasts, typical):
    """The ages at which a request that lasts so long is asked about, the last one included."""
    ages = [delay(0.0, typical)]
    while ages[-1] < lasts:
        ages.append(ages[-1] + delay(ages[-1], typical))
    return ages


@given(AGES, MEANS)
def test_no_question_comes_too_soon_or_too_late(age, typical):
    assert SOONEST <= delay(age, typical) <= LATEST


@given(AGES, MEANS, st.floats(0, 3600))
def test_a_retry_after_is_waited_for(age, typical, wait):
    assert delay(age, typical, wait) == max(delay(age, typical), wait)


@pytest.mark.parametrize("typical", [1.0, 10.0, 30.0])
def test_the_first_question_comes_shortly_before_the_typical_time(typical):
    first = delay(0.0, typical)

    assert 0.7 * typical <= first <= typical


@pytest.mark.parametrize("typical", [2.0, 10.0, 60.0, 120.0])
def test_a_request_of_typical_length_is_seen_soon_after_it_ended_with_few_questions(typical):
    ages = questions(typical, typical)

    assert ages[-1] <= 1.3 * typical
    assert len(ages) <= 8


@pytest.mark.parametrize("lasts", [0.5, 5.0, 60.0, 600.0, 3600.0])
def test_a_request_of_which_nothing_is_known_is_seen_soon_after_it_ended(lasts):
    ages = questions(lasts, None)

    assert ages[-1] - lasts <= max(1.0, 0.3 * lasts)
    assert len(ages) <= 40 + lasts / LATEST


@given(st.floats(0, 3600))
def test_questions_get_rarer_as_a_request_grows_older_than_typical(typical):
    late = [delay(typical * factor, typical) for factor in (1, 2, 5, 20, 100)]

    assert late == sorted(late)


@given(st.integers(1, 10**6), st.integers())
def test_a_backoff_grows_to_a_minute_and_no_further(tries, seed):
    longest = min(60.0, 0.5 * 2.0 ** min(tries - 1, 30))

    assert 0.2 * longest <= backoff(tries, random.Random(seed)) <= longest


def test_two_that_failed_together_do_not_come_back_together():
    waits = {backoff(5, random.Random(seed)) for seed in range(20)}

    assert len(waits) == 20


def test_the_first_request_of_a_model_teaches_how_long_it_takes():
    assert learned(None, 12.0) == 12.0


def test_the_typical_time_follows_what_is_seen():
    typical = 10.0
    for _ in range(50):
        typical = learned(typical, 30.0)

    assert typical == pytest.approx(30.0, rel=0.05)


def test_one_odd_request_does_not_change_the_typical_time_much():
    assert learned(10.0, 60.0) == 15.0
