"""When the next POST may go: never faster than allowed, and no slower than it must."""

import math
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.limiter import CUT, SLOWEST, Pace, resumed

RATES = st.floats(0.01, 50)
ANSWERS = st.sampled_from(["accepted", "429", "429 with a wait", "refused"])


def most_in_any_window(times, window):
    """The most of the ascending `times` that any half-open window of this length holds."""
    return max(
        (bisect_left(times, start + window - 1e-9) - n for n, start in enumerate(times)), default=0
    )


def answered(pace, how, now, sent_at, wait):
    if how == "accepted":
        return pace.accepted(sent_at)
    if how.startswith("429"):
        return pace.throttled(now, sent_at, wait if "wait" in how else None)
    return pace


@settings(deadline=None)
@given(
    RATES,
    st.lists(st.tuples(ANSWERS, st.floats(0, 5), st.floats(1, 100), st.integers(0, 6))),
    st.floats(0.1, 100),
)
def test_no_window_holds_more_posts_than_the_rate_times_its_length_and_one(ceiling, story, window):
    pace, now, times = Pace(ceiling, ceiling), 0.0, []
    for how, idle, wait, latency in story:
        now += pace.wait(now) + idle
        times.append(now)
        pace = pace.sent(now)
        # The answer can be to a POST of a while ago.
        pace = answered(pace, how, now, times[max(-len(times), -1 - latency)], wait)
        assert SLOWEST <= pace.rate <= ceiling or ceiling < SLOWEST

    assert most_in_any_window(times, window) <= ceiling * window + 1


def test_nothing_is_saved_up_while_idle():
    pace = Pace(1.0, 1.0).sent(0.0)

    pace = pace.sent(1000.0)

    assert pace.wait(1000.0) == 1.0


def test_the_first_post_goes_at_once():
    assert Pace(0.001, 0.001).wait(0.0) == 0.0


def test_one_429_slows_down():
    pace = Pace(1.0, 1.0).sent(0.0).throttled(0.5, sent_at=0.0, wait=None)

    assert pace.rate == CUT
    assert pace.wait(0.5) >= 1.0


def test_many_429s_of_one_episode_slow_down_once():
    pace = Pace(10.0, 10.0)
    for sent_at in (0.0, 0.1, 0.2, 0.3):
        pace = pace.sent(sent_at)

    for sent_at in (0.0, 0.1, 0.2, 0.3):
        pace = pace.throttled(0.4, sent_at, wait=None)

    assert pace.rate == 10.0 * CUT


def test_a_429_to_a_post_sent_after_the_slow_down_is_a_new_episode():
    pace = Pace(10.0, 10.0).throttled(1.0, sent_at=0.5, wait=None)

    pace = pace.throttled(2.0, sent_at=1.5, wait=None)

    assert pace.rate == pytest.approx(10.0 * CUT * CUT)


def test_no_number_of_429s_makes_it_stand_still():
    pace = Pace(1.0, 1.0)
    for time in range(1, 1000):
        pace = pace.throttled(float(time), sent_at=time - 0.5, wait=None)

    assert pace.rate == SLOWEST


@pytest.mark.parametrize("wait", [1.0, 30.0, 3600.0])
def test_a_retry_after_holds_every_post(wait):
    pace = Pace(100.0, 100.0).sent(0.0).throttled(5.0, sent_at=0.0, wait=wait)

    assert pace.wait(5.0) == wait


def test_a_later_429_of_the_same_episode_can_only_hold_longer():
    pace = Pace(1.0, 1.0).throttled(0.0, sent_at=-1.0, wait=100.0)

    assert pace.throttled(1.0, sent_at=-0.5, wait=10.0).wait(1.0) == 99.0
    assert pace.throttled(1.0, sent_at=-0.5, wait=200.0).wait(1.0) == 200.0


def test_an_acceptance_from_before_the_slow_down_says_nothing_new():
    pace = Pace(1.0, 1.0).throttled(10.0, sent_at=9.0, wait=None)

    assert pace.accepted(sent_at=9.5) == pace


@pytest.mark.parametrize("ceiling", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("episodes", [1, 2, 5])
def test_it_climbs_back_to_the_ceiling_and_no_further(ceiling, episodes):
    pace = Pace(ceiling, ceiling)
    for time in range(1, episodes + 1):
        pace = pace.throttled(float(time), sent_at=time - 0.5, wait=None)
    for n in range(10_000):
        pace = pace.accepted(sent_at=100.0 + n)

    assert pace.rate == ceiling


@pytest.mark.parametrize("allowed", [0.2, 1.0, 1.9])
def test_it_settles_close_below_the_rate_that_the_api_really_allows(allowed):
    # The API has a bucket of three, filled at `allowed` a second; the person allows two a second.
    pace, bucket, then, now = Pace(2.0, 2.0), 3.0, 0.0, 0.0
    accepted = refused = 0
    hours = 4 * 3600.0
    while now < hours:
        now += pace.wait(now)
        bucket, then = min(3.0, bucket + (now - then) * allowed), now
        pace = pace.sent(now)
        if bucket >= 1.0:
            bucket -= 1.0
            accepted += 1
            pace = pace.accepted(now)
        else:
            refused += 1
            pace = pace.throttled(now + 0.01, now, wait=None)

    assert accepted > 0.75 * allowed * hours
    assert refused < 0.02 * accepted


def test_what_was_let_in_between_two_429s_tells_how_much_is_allowed():
    pace = Pace(60.0, 60.0).throttled(0.0, sent_at=-1.0, wait=1.0)
    for n in range(20):
        pace = pace.accepted(sent_at=1.0 + n / 36)

    # Twenty in a second, at a rate of somewhat more than 36.
    slower = pace.throttled(1.0, sent_at=0.99, wait=1.0)

    assert slower.rate == pytest.approx((20 + pace.rate) / 2)


def test_near_the_rate_of_the_last_429_it_only_creeps():
    pace = Pace(60.0, 60.0).throttled(0.0, sent_at=-1.0, wait=None)
    for n in range(600):
        pace = pace.accepted(sent_at=1.0 + n)

    assert 0.88 * 60.0 < pace.rate < 0.95 * 60.0


def test_once_well_above_the_rate_of_the_last_429_it_is_free_again():
    pace = Pace(60.0, 32.0, too_fast=30.0, slowed_at=0.0).accepted(sent_at=1.0)

    assert pace.too_fast is None


# -- from one run to the next ----------------------------------------------------------------------


def test_the_first_run_of_all_begins_at_the_rate_that_the_person_allows():
    assert resumed(2.0, None) == Pace(2.0, 2.0)


def test_a_run_goes_on_at_the_rate_that_the_one_before_learned():
    assert resumed(2.0, (0.5, -60.0)).rate == 0.5


def test_a_run_that_learned_nothing_leaves_the_person_free_to_allow_more():
    assert resumed(2.0, (None, 0.0)).rate == 2.0


def test_a_learned_rate_never_beats_what_the_person_allows_now():
    assert resumed(2.0, (10.0, 0.0)).rate == 2.0


def test_a_learned_rate_climbs_back():
    pace = resumed(2.0, (0.5, 0.0))
    for n in range(10_000):
        pace = pace.accepted(sent_at=float(n))

    assert pace.rate == 2.0


def test_a_restart_waits_for_the_turn_that_the_run_before_had():
    assert resumed(1 / 60, (None, 45.0)).wait(0.0) == 45.0


@given(RATES, st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_restarting_after_every_post_does_not_burst(ceiling, pauses):
    now, saved, times = 0.0, None, []
    for pause in pauses:
        ahead = None if saved is None else (None, saved - now)
        pace = resumed(ceiling, ahead)  # its clock begins at 0, which is `now`
        wait = pace.wait(0.0)
        times.append(now + wait)
        saved = now + wait + pace.sent(wait).wait(wait)
        now += wait + pause

    for window in (1.0, 10.0, 100.0):
        assert most_in_any_window(times, window) <= ceiling * window + 1


@pytest.mark.parametrize(
    ("ahead", "wait"),
    [(-86400.0, 0.0), (86400.0, 3600.0), (math.inf, 3600.0), (-math.inf, 0.0)],
    ids=["set forward", "set back", "for ever", "since ever"],
)
def test_a_clock_that_jumped_holds_nothing_for_longer_than_an_hour(ahead, wait):
    assert resumed(1.0, (None, ahead)).wait(0.0) == wait
