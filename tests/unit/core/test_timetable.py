"""When a list starts by itself, and until when its night lasts."""

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.core.timetable import (
    EVERY_DAY,
    Timetable,
    parse_days,
    parse_window,
    show_days,
)

MONDAY = datetime(2026, 11, 23)
WEEKDAYS = frozenset(range(5))
GRACE = timedelta(minutes=15)


def at(day: int, clock: str) -> datetime:
    """A time of that week; day 0 is its Monday."""
    return datetime.combine(MONDAY + timedelta(days=day), time.fromisoformat(clock))


NIGHT = Timetable(time(1, 30), EVERY_DAY, time(7))
EVENING = Timetable(time(23), WEEKDAYS, time(6))


@pytest.mark.parametrize(
    ("table", "now", "last", "following"),
    [
        (NIGHT, at(2, "01:30"), at(2, "01:30"), at(3, "01:30")),
        (NIGHT, at(2, "01:29"), at(1, "01:30"), at(2, "01:30")),
        (EVENING, at(5, "12:00"), at(4, "23:00"), at(7, "23:00")),
        (EVENING, at(0, "22:00"), at(-3, "23:00"), at(0, "23:00")),
        (Timetable(time(1), frozenset({2})), at(2, "00:59"), at(-5, "01:00"), at(2, "01:00")),
    ],
)
def test_the_starts_around_a_moment(
    table: Timetable, now: datetime, last: datetime, following: datetime
) -> None:
    assert (table.last_start(now), table.next_start(now)) == (last, following)


@pytest.mark.parametrize(
    ("table", "now", "end"),
    [
        (NIGHT, at(2, "01:30"), at(2, "07:00")),
        (NIGHT, at(2, "06:59"), at(2, "07:00")),
        (NIGHT, at(2, "07:00"), None),
        (NIGHT, at(2, "09:12"), None),  # a computer that slept all night
        (NIGHT, at(2, "01:26"), at(2, "07:00")),  # its clock was set back a little
        (NIGHT, at(2, "01:24"), None),
        (EVENING, at(4, "23:30"), at(5, "06:00")),
        (EVENING, at(5, "02:00"), at(5, "06:00")),  # Friday's night
        (EVENING, at(6, "02:00"), None),  # nobody's night
        (EVENING, at(5, "23:30"), None),
        (Timetable(time(1, 30)), at(2, "01:30"), None),
    ],
)
def test_a_window_is_that_of_its_own_night(
    table: Timetable, now: datetime, end: datetime | None
) -> None:
    assert table.window_end(now) == end


def test_in_an_hour_that_comes_twice_a_window_ends_in_the_pass_that_it_is() -> None:
    """Else a run of the second pass would end before it began."""
    night = Timetable(time(22), EVERY_DAY, time(1, 30))

    for fold in (0, 1):
        now = datetime(2026, 11, 1, 1, 15, fold=fold)
        end = night.window_end(now)
        assert (end, end is not None and end.fold) == (now.replace(minute=30), fold)


@pytest.mark.parametrize(
    ("now", "since", "began", "late"),
    [
        (at(2, "01:44"), at(0, "12:00"), at(1, "01:30"), False),  # within the grace
        (at(2, "01:46"), at(0, "12:00"), at(1, "01:30"), True),
        (at(2, "01:46"), at(0, "12:00"), at(2, "01:30"), False),
        (at(2, "23:00"), at(0, "12:00"), at(2, "08:00"), False),  # late, and it did begin
        (at(2, "12:00"), at(0, "12:00"), None, True),
        (at(2, "12:00"), at(2, "11:00"), None, False),  # not due yet
        (at(2, "12:00"), at(2, "11:00"), at(-9, "01:30"), False),
    ],
)
def test_a_start_that_was_due_and_did_not_come_is_late(
    now: datetime, since: datetime, began: datetime | None, late: bool
) -> None:
    assert NIGHT.is_late(now, since, began, GRACE) is late


def test_a_weekend_without_starts_is_not_late() -> None:
    assert not EVENING.is_late(at(6, "12:00"), at(-5, "12:00"), at(4, "23:00"), GRACE)


@pytest.mark.parametrize(
    ("text", "days", "shown"),
    [
        ("mon-fri", WEEKDAYS, "mon-fri"),
        ("Sat,SUN", {5, 6}, "sat,sun"),
        ("fri-mon", {4, 5, 6, 0}, "mon,fri,sat,sun"),
        ("wed", {2}, "wed"),
        ("mon, wed-thu", {0, 2, 3}, "mon,wed,thu"),
        ("daily", EVERY_DAY, "mon-sun"),
    ],
)
def test_days_are_read_and_shown(text: str, days: set[int], shown: str) -> None:
    assert parse_days(text) == days
    assert show_days(frozenset(days)) == shown


@pytest.mark.parametrize("text", ["", "monday", "mon-", "-fri", "mon,,tue", "1-5"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mon-fri"):
        parse_days(text)


@pytest.mark.parametrize("text", ["", "01:30", "01:30-", "mon 25:00-07:00", "x 01:30-07:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="written like"):
        parse_window(text)


times = st.times().map(lambda t: t.replace(second=0, microsecond=0))
days = st.frozensets(st.integers(0, 6), min_size=1)
tables = st.builds(Timetable, times, days, times)


@given(tables)
def test_a_window_is_read_as_it_is_written(table: Timetable) -> None:
    assert parse_window(table.window()) == table


@given(tables, st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))
def test_now_lies_between_two_starts_and_no_window_is_longer_than_a_day(
    table: Timetable, now: datetime
) -> None:
    last, following = table.last_start(now), table.next_start(now)

    assert last <= now < following
    assert following - last <= timedelta(days=7)
    end = table.window_end(now)
    assert end is None or now < end <= now + timedelta(days=1, minutes=5)
