"""One rate for all machines of an account, and what each tells the others."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.engine.machines.account_rate import (
    Answer,
    after_answers,
    read_limiter,
    take_slots,
    write_limiter,
)
from batchgen.engine.rate_limiter import RateLimiter

NOW = 1_795_780_000.0
TURNS = st.tuples(st.floats(0.0, 5.0), st.integers(1, 20), st.floats(0.2, 20.0))


@given(st.lists(TURNS, min_size=1, max_size=30))
def test_no_window_of_all_machines_holds_more_than_the_highest_rate(turns):
    """Whichever machine takes how many slots, and whenever."""
    limiter, now, slots = RateLimiter(20.0, 20.0), NOW, []
    for later, count, rate in turns:
        now += later
        limiter, found = take_slots(limiter, now, rate, count)
        assert all(slot >= now for slot in found)
        slots += found
    highest = max(rate for _, _, rate in turns)

    assert slots == sorted(slots)
    for first in range(len(slots)):
        for last in range(first, len(slots)):
            assert last - first + 1 <= highest * (slots[last] - slots[first] + 1e-5) + 1


def test_nothing_is_saved_up_while_nobody_takes_any():
    limiter, _ = take_slots(RateLimiter(2.0, 2.0), NOW, 2.0, 1)
    _, slots = take_slots(limiter, NOW + 3600.0, 2.0, 3)

    assert slots == [NOW + 3600.0, NOW + 3600.5, NOW + 3601.0]


def test_a_machine_that_may_less_slows_no_other_but_by_its_own_slots():
    limiter, slow = take_slots(RateLimiter(10.0, 10.0), NOW, 1.0, 1)
    limiter, fast = take_slots(limiter, NOW, 10.0, 2)

    assert slow == [NOW]
    assert fast == pytest.approx([NOW + 1.0, NOW + 1.1])


def test_a_429_of_one_machine_holds_back_all():
    limiter = after_answers(RateLimiter(10.0, 10.0), [Answer(NOW - 1.0, NOW, 30.0)])
    limiter, slots = take_slots(limiter, NOW, 10.0, 1)

    assert slots == [NOW + 30.0]
    assert limiter.rate < 10.0


def test_429s_of_several_machines_at_once_are_one_episode():
    one = [Answer(NOW - 1.0, NOW, 1.0)]
    many = [*one, *(Answer(NOW - 0.5, NOW + n / 10, 1.0) for n in range(5))]
    begun = RateLimiter(10.0, 10.0)

    assert after_answers(begun, many).rate == after_answers(begun, one).rate


def test_what_is_accepted_anywhere_lets_the_rate_climb_again():
    slowed = after_answers(RateLimiter(10.0, 10.0), [Answer(NOW - 1.0, NOW, 1.0)])

    assert after_answers(slowed, [Answer(NOW + 2.0)] * 20).rate > slowed.rate


def test_what_was_learned_is_read_as_it_was_written():
    learned = after_answers(RateLimiter(10.0, 10.0), [Answer(NOW - 1.0, NOW, 1.0)])

    assert read_limiter(write_limiter(learned), RateLimiter(10.0, 10.0), NOW) == learned
    assert read_limiter(write_limiter(RateLimiter(10.0, 10.0)), learned, NOW).rate == 10.0


def test_a_run_that_may_more_raises_what_all_may_have():
    kept = write_limiter(RateLimiter(1.0, 1.0))

    assert read_limiter(kept, RateLimiter(10.0, 10.0), NOW).rate == 10.0


def test_the_first_run_of_an_account_begins_with_its_own():
    mine = RateLimiter(3.0, 3.0, next_at=NOW + 9.0)

    assert read_limiter(None, mine, NOW) is mine


def test_a_clock_of_the_database_that_is_set_back_holds_no_machine_for_longer_than_an_hour():
    ahead = RateLimiter(1.0, 1.0).after_429(NOW + 86400.0, NOW + 86399.0, 600.0)
    kept, begun, slots = write_limiter(ahead), RateLimiter(1.0, 1.0), []
    for machine in range(50):
        now = NOW + machine / 100
        limiter, found = take_slots(read_limiter(kept, begun, now), now, 1.0, 1)
        kept, slots = write_limiter(limiter), slots + found

    assert slots[0] == NOW + 3600.0
    assert all(b - a >= 1.0 for a, b in pairwise(slots))  # and one after the other still


def test_whoever_only_looks_after_the_clock_was_set_back_puts_nothing_off():
    ahead = RateLimiter(1.0, 1.0).after_429(NOW + 86400.0, NOW + 86399.0, 600.0)
    seen = read_limiter(write_limiter(ahead), RateLimiter(1.0, 1.0), NOW)

    assert seen.paused_until <= NOW
    assert seen.after_acceptance(NOW + 1.0).rate > seen.rate


def test_machines_whose_slots_fill_more_than_an_hour_wait_for_their_turn():
    kept, slots, begun = write_limiter(RateLimiter(1 / 60, 1 / 60)), [], RateLimiter(1.0, 1 / 60)
    for _ in range(90):
        limiter, found = take_slots(read_limiter(kept, begun, NOW), NOW, 1 / 60, 1)
        kept, slots = write_limiter(limiter), slots + found

    assert slots[-1] == pytest.approx(NOW + 89 * 60.0)


@pytest.mark.parametrize(
    "odd",
    [
        "", "[]", "{}", "null", '{"rate": 1}',
        {"rate": 0.0}, {"rate": "1"}, {"rate": True}, {"next_at": float("inf")},
        {"patience_s": -1.0}, {"max_rate": float("nan")}, {"came_late": 1}, {"more": 1.0},
    ],
)  # fmt: skip
def test_what_batchgen_does_not_write_is_refused(odd):
    if isinstance(odd, dict):
        odd = json.dumps(json.loads(write_limiter(RateLimiter(1.0, 1.0))) | odd)

    with pytest.raises(ValueError):
        read_limiter(odd, RateLimiter(1.0, 1.0), NOW)
