"""The limits of what a list may take, and how a person raises one."""

import re
from dataclasses import fields

import pytest

from batchgen.core.limits import (
    DEFAULT_LIMITS,
    Limits,
    facts_of,
    how_to_raise,
    limit_name,
    parse_raised,
    say_limit,
    show_limit,
)

NAMES = [one.name for one in fields(Limits)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("matrix-rows=200", ("matrix_rows", 200)),
        ("matrix_rows=200", ("matrix_rows", 200)),
        ("row-bytes=9000000", ("row_bytes", 9_000_000)),
        ("row-bytes=16MiB", ("row_bytes", 16 << 20)),
        ("default-total=2 gib", ("default_total", 2 << 30)),
        ("depth=150", ("depth", 150)),
    ],
)
def test_a_limit_is_raised_by_its_name(text, expected):
    assert parse_raised(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("matrix-rows", "'matrix-rows' is not NAME=N, as matrix-rows=200"),
        ("matrix-row=2", "'matrix-row' is no limit. Did you mean matrix-rows?"),
        ("=2", "'' is no limit. Limits are matrix-rows, "),
        ("matrix-rows=", "'' is not a whole number; write digits"),
        ("matrix-rows=1MiB", "'1MiB' is not a whole number; write digits"),
        ("matrix-rows=-1", "'-1' is not a whole number; write digits"),
        ("row-bytes=1.5MiB", "'1.5MiB' is not a whole number; write digits, or with a unit: 64MiB"),
        (f"matrix-rows={'9' * 5000}", "is not a whole number; write digits"),
        ("depth=151", "depth can be 150 at most"),
        ("row-bytes=2GiB", "row-bytes can be 1024MiB at most"),
    ],
)
def test_what_raises_no_limit_is_told_with_what_to_write(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_raised(text)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_message_says_to_type_raises_the_limit_far_enough(name):
    for needed in (getattr(DEFAULT_LIMITS, name) + 1, 2 * getattr(DEFAULT_LIMITS, name)):
        words = how_to_raise(name, needed).split()
        field, value = parse_raised(words[-1])

        assert words[-2] == "--raise-limit"
        assert getattr(DEFAULT_LIMITS.raised({field: value}), name) >= needed


def test_what_cannot_be_raised_so_far_has_no_option():
    assert how_to_raise("depth", 151) == ""


def test_a_limit_is_never_lowered():
    raised = DEFAULT_LIMITS.raised({"matrix_rows": 1, "depth": 100})

    assert (raised.matrix_rows, raised.depth) == (100, 100)
    assert raised.row_bytes == DEFAULT_LIMITS.row_bytes


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_says_what_it_is_for(name):
    facts = facts_of(name)

    assert facts["bounds"]
    assert facts["why"]
    assert say_limit(DEFAULT_LIMITS, name).startswith(f"the limit {limit_name(name)} is ")


def test_bytes_are_shown_in_the_unit_that_people_write():
    assert show_limit("row_bytes", (8 << 20) + 1) == "9MiB"
    assert show_limit("row_bytes", 1000) == "1000"
    assert show_limit("matrix_rows", 8 << 20) == str(8 << 20)
