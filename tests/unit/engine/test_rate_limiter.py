"""When the next POST may go: never faster than allowed, and no slower than it must."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import replace

import pytest
from benchmarks.limits import Api, answers, back_after, figures
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchgen.engine.rate_limiter import (
    MAX_DOUBT,
    MAX_FIRST_SLOWDOWN,
    MAX_LOCKED_PAUSE_S,
    MAX_SLOWDOWN,
    MIN_RATE,
    MIN_SLOWDOWN,
    WINDOW_S,
    RateLimiter,
    earliest_submission,
    resume_rate_limiter,
)

RATES = st.floats(0.01, 50)
ANSWERS = st.sampled_from(["accepted", "429", "429 with a wait", "refused"])


def most_in_any_window(times, window):
    """The most of the ascending `times` that any half-open window of this length holds."""
    return max(
        (bisect_left(times, start + window - 1e-9) - n for n, start in enumerate(times)), default=0
    )


def answered(pace, how, now, sent_at, wait):
    if how == "accepted":
        return pace.after_acceptance(sent_at)
    if how.startswith("429"):
        return pace.after_429(now, sent_at, wait if "wait" in how else None)
    return pace


@given(
    RATES,
    st.lists(st.tuples(ANSWERS, st.floats(0, 5), st.floats(1, 100), st.integers(0, 6))),
    st.floats(0.1, 100),
)
def test_no_window_holds_more_posts_than_the_rate_times_its_length_and_one(ceiling, story, window):
    pace, now, times = RateLimiter(ceiling, ceiling), 0.0, []
    for how, idle, wait, latency in story:
        now += pace.delay(now) + idle
        times.append(now)
        pace = pace.after_submission(now)
        # The answer can be to a POST of a while ago.
        pace = answered(pace, how, now, times[max(-len(times), -1 - latency)], wait)
        assert MIN_RATE <= pace.rate <= ceiling or ceiling < MIN_RATE

    assert most_in_any_window(times, window) <= ceiling * window + 1


def test_nothing_is_saved_up_while_idle():
    pace = RateLimiter(1.0, 1.0).after_submission(0.0)

    pace = pace.after_submission(1000.0)

    assert pace.delay(1000.0) == 1.0


def test_the_first_post_goes_at_once():
    assert RateLimiter(0.001, 0.001).delay(0.0) == 0.0


def test_one_429_slows_down():
    pace = RateLimiter(1.0, 1.0).after_submission(0.0).after_429(0.5, sent_at=0.0, retry_after=None)

    assert pace.rate == 1.0 - MAX_SLOWDOWN
    assert pace.delay(0.5) >= 1.0


def test_many_429s_of_one_episode_slow_down_once():
    pace = RateLimiter(10.0, 10.0)
    for sent_at in (0.0, 0.1, 0.2, 0.3):
        pace = pace.after_submission(sent_at)

    for sent_at in (0.0, 0.1, 0.2, 0.3):
        pace = pace.after_429(0.4, sent_at, retry_after=None)

    assert pace.rate == 10.0 * (1 - MAX_SLOWDOWN)


def test_a_429_to_a_post_sent_after_the_slow_down_is_a_new_episode():
    pace = RateLimiter(10.0, 10.0).after_429(1.0, sent_at=0.5, retry_after=None)

    pace = pace.after_429(1.5, sent_at=1.5, retry_after=None)

    assert pace.rate == pytest.approx(10.0 * (1 - MAX_SLOWDOWN) ** 2)


def test_no_number_of_429s_makes_it_stand_still():
    pace = RateLimiter(1.0, 1.0)
    for time in range(1, 1000):
        pace = pace.after_429(float(time), sent_at=time - 0.5, retry_after=None)

    assert pace.rate == MIN_RATE


@pytest.mark.parametrize("wait", [1.0, 30.0, 3600.0])
def test_a_retry_after_holds_every_post(wait):
    pace = (
        RateLimiter(100.0, 100.0)
        .after_submission(0.0)
        .after_429(5.0, sent_at=0.0, retry_after=wait)
    )

    assert pace.delay(5.0) == wait


def test_a_later_429_of_the_same_episode_can_only_hold_longer():
    pace = RateLimiter(1.0, 1.0).after_429(0.0, sent_at=-1.0, retry_after=100.0)

    assert pace.after_429(1.0, sent_at=-0.5, retry_after=10.0).delay(1.0) == 99.0
    assert pace.after_429(1.0, sent_at=-0.5, retry_after=200.0).delay(1.0) == 200.0


def test_an_acceptance_from_before_the_slow_down_says_nothing_new():
    pace = RateLimiter(1.0, 1.0).after_429(10.0, sent_at=9.0, retry_after=None)

    assert pace.after_acceptance(sent_at=9.5) == pace


@pytest.mark.parametrize("ceiling", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("episodes", [1, 2, 5])
def test_it_climbs_back_to_the_ceiling_and_no_further(ceiling, episodes):
    pace = RateLimiter(ceiling, ceiling)
    for time in range(1, episodes + 1):
        pace = pace.after_429(float(time), sent_at=time - 0.5, retry_after=None)
    for n in range(10_000):
        pace = pace.after_acceptance(sent_at=100.0 + n)

    assert pace.rate == ceiling


def accepting(pace, count, since=0.0):
    """`count` POSTs were accepted, sent at the pace's rate from `since` on; also the end."""
    now = since
    for _ in range(count):
        now += 1 / pace.rate
        pace = pace.after_acceptance(now)
    return pace, now


def test_a_429_that_comes_soon_slows_down_far_and_one_that_comes_late_hardly():
    soon, now = accepting(RateLimiter(1.0, 1.0), 2)
    late, later = accepting(RateLimiter(1.0, 1.0), 2000)

    assert soon.after_429(now, now, retry_after=None).rate == 1.0 - MAX_SLOWDOWN
    assert late.after_429(later, later, retry_after=None).rate == 1.0 - MIN_SLOWDOWN


def test_it_slows_down_farther_where_the_pause_of_another_429_costs_more():
    soon, now = accepting(RateLimiter(60.0, 60.0), 2)

    assert soon.after_429(now, now, retry_after=1.0).rate == 60.0 * (1 - MAX_FIRST_SLOWDOWN)


def test_a_lone_429_at_an_allowed_rate_costs_little_and_not_for_long():
    pace, now = accepting(RateLimiter(20.0, 20.0), 2000)

    pace, then = accepting(pace.after_429(now, now, retry_after=1.0), 2900, now + 1.0)

    assert pace.rate == 20.0
    assert then - now < 150


def test_what_was_let_in_between_two_429s_is_not_given_up():
    pace = RateLimiter(60.0, 10.0, throttled_at=0.0, accepted=8, refused_rate=54.0)

    assert pace.after_429(1.0, 1.0, retry_after=None).rate == 8.0 > 10.0 * (1 - MAX_SLOWDOWN)


def test_the_nearer_to_the_last_bad_rate_the_less_it_gains():
    def gained(rate):
        return (
            RateLimiter(60.0, rate, throttled_at=0.0, refused_rate=30.0)
            .after_acceptance(sent_at=1.0)
            .rate
            / rate
            - 1
        )

    assert gained(15.0) > gained(29.0) > gained(30.0) > 0
    assert gained(30.0) < gained(31.0) < gained(45.0)


def test_while_little_is_known_it_does_not_hold_on_to_the_last_bad_rate():
    def seconds_to_pass(rate, share):
        pace = RateLimiter(60.0, rate).after_429(0.0, sent_at=-1.0, retry_after=None)
        pace = replace(pace, rate=0.9 * rate, refused_rate=rate, doubt=MAX_DOUBT * share * share)
        now = 0.0
        while pace.rate < 1.1 * rate:
            pace, now = accepting(pace, 1, now)
        return now

    assert seconds_to_pass(20.0, 0.4) < 0.7 * seconds_to_pass(20.0, 0.05)


def test_where_the_limit_is_a_count_by_the_minute_it_waits_for_the_next_minute_and_is_no_slower():
    pace, now = accepting(RateLimiter(1.2, 1.2), 60)
    pace = pace.after_429(now, now, retry_after=None)
    rate, waits = pace.rate, []

    for _ in range(7):
        now += pace.delay(now)
        pace = pace.after_429(now, now, retry_after=None)
        waits.append(pace.delay(now))

    assert pace.rate == rate > 0.9
    assert waits == sorted(waits)
    assert waits[-1] == MAX_LOCKED_PAUSE_S


# -- beside a bucket, simulated --------------------------------------------------------------------


def test_at_an_allowed_rate_there_is_no_429_and_nothing_is_lost():
    used, refused, _ = figures(Api(20.0), 20.0, 900.0)

    assert used > 0.98
    assert refused == 0


@pytest.mark.parametrize("told", [22.0, 30.0, 60.0, 200.0])
def test_a_rate_far_too_high_is_forgotten_within_seconds(told):
    used, refused, _ = figures(Api(20.0), told, 60.0)

    assert used > 0.85
    assert refused <= 15


@pytest.mark.parametrize("retry_after", ["whole", "none"])
@pytest.mark.parametrize(
    "api", [Api(0.5, 1.0, 0.3), Api(2.0, 3.0, 0.3), Api(20.0), Api(20.0, 5.0, 1.0)], ids=str
)
def test_in_the_long_run_it_stays_close_below_what_is_allowed(api, retry_after):
    seconds = max(1000.0, 3600.0 / api.allowed)  # by seconds and by submissions long enough
    limited = api._replace(retry_after=retry_after)
    used, refused, slowest = figures(limited, 3 * api.allowed, seconds)

    assert used > 0.95
    assert refused < 0.02 * api.allowed * seconds
    assert slowest > 0.85


@pytest.mark.parametrize("times", [1.5, 20])
@pytest.mark.parametrize("api", [Api(0.5, 1.0, 0.3), Api(2.0, 3.0, 0.3), Api(20.0)], ids=str)
def test_minutes_after_the_limit_is_gone_the_told_rate_is_back(api, times):
    assert back_after(api, times * api.allowed, settled=900.0) < 15 * 60


@settings(max_examples=20)
@given(
    st.builds(
        Api,
        allowed=st.floats(0.5, 40),
        burst=st.floats(1, 10),
        latency=st.floats(0.005, 1),
        retry_after=st.sampled_from(["whole", "exact", "none"]),
    ),
    st.floats(1.1, 50),
)
@example(Api(17.15625, 5.8125, 0.46875, "none"), 45.25)
def test_whatever_the_api_allows_most_of_it_is_used(api, times):
    told = times * api.allowed
    used, refused, slowest = figures(api, told, 300.0)

    assert used > 0.5
    # Before the first 429 comes back, `told * latency` submissions are under way.
    assert refused < 300 + 2 * told * api.latency
    assert slowest > 0.3


# -- from one run to the next ----------------------------------------------------------------------


def test_the_first_run_of_all_begins_at_the_rate_that_the_person_allows():
    assert resume_rate_limiter(2.0, None) == RateLimiter(2.0, 2.0)


def test_a_run_goes_on_at_the_rate_that_the_one_before_learned():
    assert resume_rate_limiter(2.0, (0.5, -60.0)).rate == 0.5


def test_a_run_that_learned_nothing_leaves_the_person_free_to_allow_more():
    assert resume_rate_limiter(2.0, (None, 0.0)).rate == 2.0


def test_a_learned_rate_never_beats_what_the_person_allows_now():
    assert resume_rate_limiter(2.0, (10.0, 0.0)).rate == 2.0


def test_at_the_rate_that_the_run_before_learned_there_are_few_429s():
    found = list(answers(Api(20.0), resume_rate_limiter(60.0, (19.6, 0.0)), 60.0))

    assert sum(one.refused for one in found) <= 1
    assert len(found) > 0.95 * 60 * 20


def test_a_learned_rate_climbs_back():
    pace = resume_rate_limiter(2.0, (0.5, 0.0))
    for n in range(10_000):
        pace = pace.after_acceptance(sent_at=float(n))

    assert pace.rate == 2.0


def test_a_restart_waits_for_the_turn_that_the_run_before_had():
    assert resume_rate_limiter(1 / 60, (None, 45.0)).delay(0.0) == 45.0


@given(RATES, st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_restarting_after_every_post_does_not_burst(ceiling, pauses):
    now, saved, times = 0.0, None, []
    for pause in pauses:
        ahead = None if saved is None else (None, saved - now)
        pace = resume_rate_limiter(ceiling, ahead)  # its clock begins at 0, which is `now`
        wait = pace.delay(0.0)
        times.append(now + wait)
        saved = now + wait + pace.after_submission(wait).delay(wait)
        now += wait + pause

    for window in (1.0, 10.0, 100.0):
        assert most_in_any_window(times, window) <= ceiling * window + 1


@pytest.mark.parametrize(
    ("ahead", "wait"),
    [(-86400.0, 0.0), (86400.0, 3600.0), (math.inf, 3600.0), (-math.inf, 0.0)],
    ids=["set forward", "set back", "for ever", "since ever"],
)
def test_a_clock_that_jumped_holds_nothing_for_longer_than_an_hour(ahead, wait):
    assert resume_rate_limiter(1.0, (None, ahead)).delay(0.0) == wait


# -- the person changes the rate under way ---------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("post"), st.floats(0, 5) | st.just(0.0), ANSWERS),
    st.tuples(st.just("posts"), st.integers(1, 80), st.just("")),
    st.tuples(st.just("set"), RATES, st.just("")),
    st.tuples(st.just("restart"), RATES, st.sampled_from(["at the end", "killed"])),
    st.tuples(st.just("wait"), st.floats(0, 200), st.just("")),
)


def of_the_last_minute(times, now):
    """What a run knows of the submissions so far: those of the last minute, and the last one."""
    return times[bisect_left(times, now - WINDOW_S) :] or times[-1:]


def windows_above(times, rate, allowed=1e-6):
    """The windows that end with the latest of `times` and hold more than `rate` allows."""
    last, most = times[-1], len(times) - 1 - allowed
    since = bisect_right(times, last - WINDOW_S + 1e-9)
    return [(len(times) - n, last - times[n])
            for n in range(since, len(times)) if most - n > rate * (last - times[n])]  # fmt: skip


class Submissions:
    """Sends as a run does, by a limiter whose rate is changed, and checks each submission."""

    def __init__(self, rate):
        self.rate, self.now, self.began, self.times = rate, 0.0, 0.0, []
        self.limiter, self.saved = RateLimiter(rate, rate), None

    def post(self, idle=0.0, answer="accepted"):
        time = self.now - self.began + idle
        time += self.limiter.delay(time)
        self.now = self.began + time
        self.limiter = self.limiter.after_submission(time)
        self.times.append(self.now)
        assert windows_above(self.times, self.rate) == []
        if len(self.times) > 1:
            assert self.times[-1] - self.times[-2] > 1 / self.rate - 1e-6
        self.limiter = answered(self.limiter, answer, time, time, 7.0)

    def known(self):
        return [at - self.began for at in of_the_last_minute(self.times, self.now)]

    def set(self, rate):
        self.rate = rate
        self.limiter = self.limiter.at_most(rate, self.known())

    def restart(self, rate, how):
        time = self.now - self.began
        if how == "at the end" or self.saved is None:
            learned = None if self.limiter.refused_rate is None else self.limiter.rate
            next_at = self.now + self.limiter.delay(time)
            self.saved = learned, next_at, self.now + self.limiter.pause(time)
        learned, next_at, paused = self.saved
        self.began, self.rate = self.now, rate
        self.limiter = resume_rate_limiter(
            rate, (learned, next_at - self.now), recent=self.known(), paused=paused - self.now
        )


@settings(max_examples=500)
@given(RATES, st.lists(STEPS, max_size=12))
@example(50.0, [("posts", 200, ""), ("set", 1.0, ""), ("post", 0.0, "accepted")])
@example(50.0, [("posts", 200, ""), ("restart", 1.0, "killed"), ("post", 0.0, "accepted")])
def test_at_no_submission_does_a_window_hold_more_than_the_rate_then_in_force(first, story):
    run = Submissions(first)
    for what, value, more in story:
        match what:
            case "post":
                run.post(value, more)
            case "posts":
                for _ in range(value):
                    run.post()
            case "set":
                run.set(value)
            case "restart":
                run.restart(value, more)
            case "wait":
                run.now += value


def test_a_rate_that_is_lowered_counts_what_was_sent_at_the_old_one():
    run = Submissions(1.0)
    for _ in range(60):
        run.post()

    run.set(20 / 60)

    run.post()
    assert run.times[-1] - run.times[-2] == pytest.approx(41.0)
    run.post()
    assert run.times[-1] - run.times[-2] == pytest.approx(3.0)


def test_a_rate_that_is_raised_holds_at_once():
    run = Submissions(1 / 3600)
    run.post()
    run.now += 10.0

    run.set(1.0)

    assert run.limiter.delay(run.now) == 0.0


def test_a_rate_that_is_raised_shortens_no_pause_that_the_api_asked_for():
    limiter = RateLimiter(1.0, 1.0).after_submission(0.0).after_429(0.5, 0.0, retry_after=100.0)

    assert limiter.at_most(50.0, [0.0]).delay(0.5) == 100.0
    assert limiter.at_most(0.1, [0.0]).delay(0.5) == 100.0


def test_what_429s_taught_holds_also_at_another_rate():
    limiter = RateLimiter(1.0, 1.0).after_submission(0.0).after_429(0.5, 0.0, retry_after=None)

    assert limiter.at_most(2.0, [0.0]).rate == limiter.rate < 1.0
    assert limiter.at_most(0.1, [0.0]).rate == 0.1


def test_before_the_first_submission_any_rate_lets_it_go_at_once():
    assert RateLimiter(1.0, 1.0).at_most(0.001, []).delay(0.0) == 0.0
    assert earliest_submission([], 1.0) == -math.inf
