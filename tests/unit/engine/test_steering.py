"""A command and what holds in a run: what holds from now on."""

from dataclasses import replace
from datetime import datetime

import pytest

from batchgen.core.budget import KEPT, CostLimits
from batchgen.core.states import RunEvent
from batchgen.engine.policy import Policy
from batchgen.engine.steering import Held, steer

NOW = datetime(2026, 11, 26, 23, 30)
ASKED_AT = "2026-11-26T22:29:59.000Z"
WRITTEN = Policy(rate=1.0, concurrency=16, limits=CostLimits(20.0), max_time=36000.0)
HELD = Held(WRITTEN)


def steered(command, value="", *, held=HELD, keep=False):
    """What a command leads to, half an hour after the beginning of a run."""
    asked = (command, value, keep)
    return steer(held, asked, written=WRITTEN, at=ASKED_AT, now=NOW, run_time=1800.0)


def test_a_pause_holds_from_when_it_was_asked_and_a_second_one_changes_nothing():
    first = steered("pause")
    again = steer(
        first.held, ("pause", "", False), written=WRITTEN, at="later", now=NOW, run_time=0.0
    )

    assert first.held == again.held == replace(HELD, paused_since=ASKED_AT)
    assert first.event == RunEvent.PAUSED
    assert first.setting == ""


def test_a_resume_takes_it_back():
    found = steered("resume", held=steered("pause").held)

    assert found.held == HELD
    assert found.event == RunEvent.RESUMED


@pytest.mark.parametrize(
    ("name", "value", "policy", "detail"),
    [
        ("rate", "20/m", {"rate": 1 / 3}, "rate 20/m (was 60/m)"),
        ("concurrency", "8", {"concurrency": 8}, "concurrency 8 (was 16)"),
        ("max-cost", "30", {"limits": CostLimits(30.0)}, "max-cost $30.00 (was $20.00)"),
        ("max-cost", "0", {"limits": CostLimits(0.0)}, "max-cost $0.00 (was $20.00)"),
    ],
)
def test_each_setting_changes_its_own_and_says_what_it_was(name, value, policy, detail):
    found = steered(name, value)

    assert found.held == Held(replace(WRITTEN, **policy))
    assert (found.event, found.detail, found.setting) == (RunEvent.SET, detail, name)


@pytest.mark.parametrize(
    ("until", "then"),
    [
        ("23:45", datetime(2026, 11, 26, 23, 45)),
        ("00:15", datetime(2026, 11, 27, 0, 15)),  # past midnight
        ("23:30", datetime(2026, 11, 27, 23, 30)),
        ("06:00", datetime(2026, 11, 27, 6)),
    ],
)
def test_until_is_the_next_time_that_clocks_show_that(until, then):
    policy = steered("until", until).held.policy

    assert policy.until == then.timestamp()
    assert policy.stop_after == min(36000.0, 1800.0 + (then - NOW).total_seconds())


def test_an_until_that_is_moved_later_leaves_the_longest_time_of_the_run():
    held = Held(replace(WRITTEN, until=NOW.timestamp() + 60, stop_after=1860.0))

    assert steered("until", "23:29", held=held).held.policy.stop_after == 36000.0


def test_default_is_what_the_command_line_and_the_list_say():
    held = steered("rate", "50/s", keep=True).held

    found = steered("rate", "default", held=held, keep=True)

    assert found.held == Held(WRITTEN, kept={})
    assert found.detail == "rate 60/m (was 50/s)"
    assert steered("until", "default").held == HELD


def test_a_limit_of_cost_of_a_day_stays_as_it_is():
    held = Held(replace(WRITTEN, limits=CostLimits(20.0, 5.0, 9.0)))

    assert steered("max-cost", "1", held=held).held.policy.limits == CostLimits(1.0, 5.0, 9.0)


def test_a_limit_of_cost_that_is_kept_says_so_and_one_for_this_run_does_not():
    kept = steered("max-cost", "1", keep=True)

    assert kept.held.policy.limits.set_by == {"batch": KEPT}
    for value, keep in (("2", False), ("default", True)):
        assert not steered("max-cost", value, held=kept.held, keep=keep).held.policy.limits.set_by


def test_what_is_kept_is_kept_as_it_was_written():
    found = steered("rate", "20/m", keep=True)

    assert found.held.kept == {"rate": "20/m"}
    assert "and kept" in found.detail
    assert steered("until", "06:00", held=found.held).held.kept == {"rate": "20/m"}


@pytest.mark.parametrize(
    ("name", "value"), [("rate", "nan"), ("max-cost", "-1"), ("out", "/etc"), ("", "")]
)
def test_what_cannot_be_read_changes_nothing(name, value):
    found = steered(name, value, keep=True)

    assert found.held == HELD
    assert found.event == RunEvent.NOT_SET
    assert found.setting == ""
