"""When a list runs by itself: the time of its start, its days, and the window of each night. Pure.

Times are local and without a zone, as a person writes them.
"""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from batchgen.core.units import parse_clock_time

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(len(DAYS)))
# A clock that is set back a little, or a start a moment too early, is no other night.
EARLY = timedelta(minutes=5)
_WINDOW = re.compile(r"(?:(\S+)\s+)?([0-9:]+)-([0-9:]+)")


@dataclass(frozen=True, slots=True)
class Timetable:
    """at: the time of the start. days: on which it starts, 0 is Monday.

    until: the end of the window that begins with the start, on the next day where it is not later
        than `at`; None for a start without a window.
    """

    at: time
    days: frozenset[int] = EVERY_DAY
    until: time | None = None

    def next_start(self, now: datetime) -> datetime:
        """Return the first start after `now`."""
        return next(start for start in self._starts(now, 1) if start > now)

    def last_start(self, now: datetime) -> datetime:
        """Return the last start that is not after `now`."""
        return next(start for start in self._starts(now, -1) if start <= now)

    def window_end(self, now: datetime) -> datetime | None:
        """Return when the window in which `now` lies ends; None outside, and without a window.

        Where clocks show an hour twice, it ends in the pass in which `now` is, if in that hour.
        """
        if self.until is None:
            return None
        start = self.last_start(now + EARLY)
        end = datetime.combine(start, self.until)
        if end <= start:
            end += timedelta(days=1)
        return end.replace(fold=now.fold) if now < end else None

    def is_late(
        self, now: datetime, since: datetime, began: datetime | None, grace: timedelta
    ) -> bool:
        """Say whether the last start that was due before `grace` did not come about.

        since: when it was scheduled. began: when the last run began; None if there was none.
        """
        due = self.last_start(now - grace)
        return due > since and (began is None or began < due - EARLY)

    def window(self) -> str:
        """Return the notation of `parse_window`; "" without a window."""
        if self.until is None:
            return ""
        days = "" if self.days == EVERY_DAY else f"{show_days(self.days)} "
        return f"{days}{self.at:%H:%M}-{self.until:%H:%M}"

    def describe(self) -> str:
        days = "every day" if self.days == EVERY_DAY else show_days(self.days)
        until = "" if self.until is None else f", until {self.until:%H:%M}"
        return f"{days} at {self.at:%H:%M}{until}"

    def _starts(self, now: datetime, step: int) -> "list[datetime]":
        """Return the starts of the days around `now`, from yesterday or tomorrow on by `step`."""
        days = (now.date() + timedelta(days=step * n) for n in range(-1, len(DAYS) + 2))
        return [datetime.combine(day, self.at) for day in days if day.weekday() in self.days]


def parse_days(text: str) -> frozenset[int]:
    """Return the days of `mon-fri`, `sat,sun`, `fri-mon`, `daily`.

    Raises ValueError with a sentence for the person who wrote it.
    """
    if text.strip().lower() == "daily":
        return EVERY_DAY
    found: set[int] = set()
    for part in text.strip().lower().split(","):
        first, dash, last = part.strip().partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError("Days are written like mon-fri or sat,sun, or daily.")
        begin = DAYS.index(first)
        count = (DAYS.index(last) - begin) % len(DAYS) if dash else 0
        found |= {(begin + n) % len(DAYS) for n in range(count + 1)}
    return frozenset(found)


def show_days(days: frozenset[int]) -> str:
    """Return `mon-fri` for days that follow each other, else `mon,wed`."""
    listed = sorted(days)
    if len(listed) > 2 and listed[-1] - listed[0] == len(listed) - 1:
        return f"{DAYS[listed[0]]}-{DAYS[listed[-1]]}"
    return ",".join(DAYS[day] for day in listed)


def parse_window(text: str) -> Timetable:
    """Return the window of `01:30-07:00` or `mon-fri 22:00-06:00`; the days are those of its start.

    Raises ValueError with a sentence for the person who wrote it.
    """
    match = _WINDOW.fullmatch(text.strip())
    if not match:
        raise ValueError("A window is written like 01:30-07:00, or mon-fri 01:30-07:00.")
    days = EVERY_DAY if match[1] is None else parse_days(match[1])
    return Timetable(parse_clock_time(match[2]), days, parse_clock_time(match[3]))


def next_time(clock: time, now: datetime) -> datetime:
    """Return the next time that local clocks show hour and minute of `clock`, after `now`."""
    then = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return then if then > now else then + timedelta(days=1)
