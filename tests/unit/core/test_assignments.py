"""What of a run can be set under way, as it is written."""

import re
from datetime import time

import pytest

from batchgen.core.assignments import (
    MAX_CONCURRENCY,
    SETTINGS,
    in_words,
    is_kept,
    parse_setting,
    read_assignments,
)


def test_several_settings_are_read_as_they_are_written():
    words = ["rate=20/m", "concurrency=8", "max_cost=30", "until = 06:00"]

    asked = read_assignments(words)

    assert asked == {"rate": "20/m", "concurrency": "8", "max-cost": "30", "until": "06:00"}
    assert [parse_setting(*one) for one in asked.items()] == [1 / 3, 8, 30.0, time(6)]
    assert in_words(asked) == "rate 20/m, concurrency 8, max-cost 30, until 06:00"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("rat=3", "Did you mean rate?"),
        ("max-costs=3", "Did you mean max-cost?"),
        ("prompt=3", "There are rate, concurrency, max-cost, until."),
        ("rate", "is not NAME=VALUE"),
        ("rate=0", "A rate is more than zero"),
        ("rate=9999999999999999/s", "1000000/s at most"),
        ("rate=fast", "A rate is written like 60/m"),
        ("concurrency=0", "write 8"),
        ("concurrency=8.5", "write 8"),
        ("concurrency=²", "write 8"),
        (f"concurrency={MAX_CONCURRENCY + 1}", "write 8"),
        ("max-cost=nan", "is not an amount"),
        ("max-cost=$5", "write 5.00"),
        ("until=25:00", "A time of day is written like 07:00"),
        ("rate=", "A rate is written like 60/m"),
    ],
)
def test_a_wrong_name_or_value_is_told_with_what_would_be_right(word, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        read_assignments([word])


def test_a_setting_that_is_set_twice_is_refused():
    with pytest.raises(ValueError, match="rate is set twice"):
        read_assignments(["rate=1/s", "rate=2/s"])


@pytest.mark.parametrize("name", SETTINGS)
def test_default_is_no_value_of_its_own(name):
    assert parse_setting(name, "default") is None


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ({}, True),
        ({"rate": "20/m", "until": "06:00"}, True),
        ({"rate": "default"}, False),
        ({"rate": 20}, False),
        ({"rate": "nan"}, False),
        ({"out": "/etc"}, False),
        (["rate"], False),
        ("rate", False),
    ],
    ids=str,
)
def test_what_a_batch_keeps_is_what_set_can_have_left(value, ours):
    assert is_kept(value) == ours
