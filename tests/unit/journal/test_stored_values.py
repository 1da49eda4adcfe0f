"""What of a journal's values batchgen can have written, by column."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.clock import to_iso
from batchgen.journal import stored_values

GOOD = {
    "id": "hero",
    "state": "written_off",
    "price": 0.03,
    "attempts": 0,
    "submitted_at": "2026-11-26T01:30:05.123Z",
    "error": None,
    "request_id": None,
    "input": '{"prompt": "a fox"}',
    "meta": "{}",
}
ODD = [
    *(("state", value) for value in ("0", "", None, 1)),
    *(("price", value) for value in (-0.01, float("inf"), "0.03", b"x")),
    *(("attempts", value) for value in (-1, 1.5, None, 2**62)),
    *(("submitted_at", v) for v in ("", "2026-11-26", "2026-13-01T00:00:00.000Z", 7)),
    *(("submitted_at", v) for v in ("0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")),
    *(("error", value) for value in (b"x", 7)),
    *(("request_id", value) for value in ("", "../x", "a b", 7)),
    *(("input", value) for value in ("", "[]", "[" * 100_000, "9" * 5000, None)),
    ("id", None),
    ("meta", "null"),
]


def test_what_batchgen_writes_is_not_odd() -> None:
    assert stored_values.odd(GOOD) is None
    assert stored_values.odd({**GOOD, "submitted_at": None, "price": None, "meta": None}) is None


@pytest.mark.parametrize(("column", "value"), ODD)
def test_any_other_value_is_found_by_its_column(column: str, value: Any) -> None:
    assert stored_values.odd({**GOOD, column: value}) == column


@given(st.floats(0, 3.2e10))
def test_every_time_that_is_written_passes(now: float) -> None:
    assert stored_values.is_time(to_iso(now))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pace", value) for value in ({"rate": 0, "learned": None, "next_at": 0}, {}, 7)),
        ("pace", {"rate": 1.0, "learned": "fast", "next_at": 0}),
        *(("times", value) for value in ({"a/b": [1]}, {"a/b": [0.4, -4.0, 1]}, [])),
        *(("told", value) for value in ({"seq": "x"}, {"other": 1}, [])),
        *(("prices", value) for value in ([], {"a/b": {"usd": 1, "at": "yesterday"}})),
        *(
            ("options", value)
            for value in (
                [],
                {"base_url": "https://a.example"},
                {"rate": "2/s"},
                {"rate": 0},
                {"rate": True},
                {"rate": -1.0},
                {"max_cost": -1},
                {"concurrency": 1.5},
                {"price": {"a/b": "1"}},
                {"output_nodes": "9"},
                {"output_nodes": [9]},
                {"sidecars": 1},
                {"price": []},
            )
        ),
        *(
            ("given", value)
            for value in (
                [],
                {"on_finish": "reboot"},
                {"model": 7},
                {"model": {"type": "object"}},
                {"schema": {"type": "object"}},
                {"fit": "yes"},
                {"fit": 1},
                {"samples": True},
                {"columns": ["prompt"]},
                {"columns": {"prompt": 1}},
                {"meta": "style"},
                {"price": {"a/b": {"usd": 1}}},
                {"raise_limit": {"matrix_rows": "1"}},
                {"max_cost": None},
            )
        ),
        *(("sandbox", 1), ("manifest", 7), ("receipts_read", -1), ("listed", "x"), ("costs", [])),
    ],
)
def test_a_memory_of_another_shape_is_none_of_ours(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        stored_values.remembered(name, json.dumps(value))


def test_a_memory_is_what_was_kept() -> None:
    pace = {"rate": 1.5, "learned": None, "next_at": 1.79e9}
    assert stored_values.remembered("pace", json.dumps(pace)) == pace
    assert stored_values.remembered("listed", "null") is None
    told = {"rate": 2, "max_cost": 0, "price": {"*": 0.03}, "output_nodes": ["9"], "sidecars": True}
    assert stored_values.remembered("options", json.dumps(told)) == told
    given = {"model": "a/b", "fit": True, "meta": ["*"], "price": {"*": 0.03}, "max_cost": 5}
    assert stored_values.remembered("given", json.dumps(given)) == given
