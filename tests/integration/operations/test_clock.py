"""The clock jumps: the computer sleeps, somebody sets the time, summer time ends.

What waits goes by the clock that nobody sets; what is stored is UTC. The wall clock here and that
other one are pretend, and each can be moved without the other.
"""

import asyncio
import re
import time
from bisect import bisect_left
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import NEVER_ASKING, PretendClock, many, query, table, tally
from sandbox_client import Control

from batchgen.clock import to_iso

HOUR, DAY = 3600.0, 86400.0
LONG = 1000.0  # seconds; a run that waits so long is either done or waits for a change
RATE = 0.1  # POSTs per second, in turn: between two of them this clock jumps
ONE_BY_ONE = ("--rate", f"{RATE}/s", "--concurrency", 1)
SLACK = 3.0  # seconds of real time that may lie between a row's turn and its intent


class JumpyClock(PretendClock):
    """Its wall clock is set by so many seconds when so many have passed; or the computer sleeps.

    plan: (after, by, asleep): once `after` seconds have passed, the wall clock jumps by `by` and
    the other one by `asleep`, which is 0 where that one stops while the computer sleeps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wrong = 0.0  # by how much the wall clock is off
        self.plan: list[tuple[float, float, float]] = []
        self._read: dict[str, float] = {}

    def now(self) -> float:
        now = super().now() + self.wrong
        self._read.setdefault(to_iso(now), self.monotonic())
        return now

    async def sleep(self, seconds: float) -> None:
        if seconds > LONG:  # whatever is under way ends it before it is over
            await asyncio.sleep(1.0)
        await super().sleep(seconds)
        if self.plan and self.ahead >= self.plan[0][0]:
            _, by, asleep = self.plan.pop(0)
            self.ahead += asleep
            self.wrong += by - asleep

    def when(self, stored: str) -> float:
        """The monotonic time at which a stored time was read."""
        return self._read[stored]


@pytest.fixture
def clock() -> JumpyClock:
    return JumpyClock()


def sent_at(folder: Path, clock: JumpyClock) -> list[float]:
    """The monotonic time of each POST, in order."""
    rows = query(folder, "SELECT at FROM events WHERE event = 'send' ORDER BY seq")
    return [clock.when(at) for (at,) in rows]


def most_above_the_rate(times: list[float], rate: float) -> float:
    """By how many POSTs the fullest window passes `rate` x its length + 1; never below 0."""
    return max(
        bisect_left(times, end) - n + 1 - (rate * (end - start + SLACK) + 1)
        for n, start in enumerate(times)
        for end in times[n:]
    )


def assert_no_burst(folder: Path, clock: JumpyClock, rate: float = RATE) -> None:
    times = sent_at(folder, clock)
    assert times == sorted(times)
    assert most_above_the_rate(times, rate) <= 0


# In the middle of a run

JUMPS = {
    "asleep for 8 hours, the other clock stood still": (8 * HOUR, 0.0),
    "asleep for 8 hours, the other clock went on": (8 * HOUR, 8 * HOUR),
    "set forward by a day": (DAY, 0.0),
    "set back by a day": (-DAY, 0.0),
    "set forward by 30 days": (30 * DAY, 0.0),
    "set back to 1970": (-20_000 * DAY, 0.0),
}


@pytest.mark.parametrize(("by", "asleep"), JUMPS.values(), ids=JUMPS)
def test_whatever_the_clock_does_in_mid_run_every_row_is_sent_once_and_in_its_turn(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    clock: JumpyClock,
    by: float,
    asleep: float,
) -> None:
    clock.plan = [(25.0, by, asleep)]
    outcome = run(write("list.csv", table(many(8))), *ONE_BY_ONE)

    assert clock.plan == []
    assert outcome.code == 0
    assert tally(folder) == {"saved": 8}
    assert sandbox.posts == 8
    assert_no_burst(folder, clock)
    assert clock.ahead - asleep < 300  # and nothing waited for the jump to be made good
    assert "days ago" not in outcome.stderr
    assert "has not ended" not in outcome.stderr


def test_the_test_for_bursts_knows_one() -> None:
    assert most_above_the_rate([0.0, 10.0, 20.0, 30.0], RATE) <= 0
    assert most_above_the_rate([0.0, 0.1, 0.2, 0.3], RATE) > 0


def test_a_wait_that_the_api_asked_for_outlasts_a_clock_that_is_set_forward(
    run: Command, folder: Path, sandbox: Control, write: Write, clock: JumpyClock
) -> None:
    sandbox.fault("429", match="number 2", value="600")
    clock.plan = [(1.0, DAY, 0.0)]
    assert run(write("list.csv", table(many(2))), "--concurrency", 1).code == 0

    first_try, again = sent_at(folder, clock)[1:]
    assert again - first_try >= 600 - SLACK


# From one run to the next


@pytest.mark.parametrize("by", [DAY, -DAY])
def test_a_clock_that_was_set_between_two_runs_holds_nobody_for_longer_than_an_hour(
    run: Command, folder: Path, sandbox: Control, write: Write, clock: JumpyClock, by: float
) -> None:
    manifest = write("list.csv", table(many(6)))
    run(manifest, "--limit", 3, *ONE_BY_ONE)
    clock.wrong = by
    before = clock.ahead

    assert run(manifest, *ONE_BY_ONE).code == 0
    assert sandbox.posts == 6
    assert_no_burst(folder, clock)
    assert clock.ahead - before < HOUR + 180


def test_a_journal_that_was_written_a_day_ahead_holds_nobody_for_a_day(
    run: Command, folder: Path, sandbox: Control, write: Write, clock: JumpyClock
) -> None:
    manifest = write("list.csv", table(many(2)))
    clock.wrong = DAY
    run(manifest, "--limit", 1, "--rate", "1/m")
    clock.wrong = 0.0
    before = clock.ahead

    assert run(manifest, "--rate", "1/m").code == 0
    assert clock.ahead - before < HOUR + 180
    first, second = sent_at(folder, clock)
    assert second - first >= 60 - SLACK


@pytest.mark.parametrize("days", [-2, 1, 400])
def test_no_clock_makes_a_result_expire_that_the_api_still_has(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    clock: JumpyClock,
    days: int,
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest, timing=NEVER_ASKING)
    assert tally(folder) == {"submitted": 3}
    clock.wrong = days * DAY

    assert run(manifest).code == 0
    assert tally(folder) == {"saved": 3}
    assert sandbox.posts == 3


@pytest.mark.parametrize("days", [0, 1])
def test_a_request_that_waited_for_the_next_run_says_nothing_of_how_long_requests_take(
    run: Command,
    folder: Path,
    write: Write,
    clock: JumpyClock,
    days: int,
) -> None:
    manifest = write("list.csv", table(many(1)))
    run(manifest, timing=NEVER_ASKING)
    clock.ahead += days * DAY
    run(manifest)

    learned = query(
        folder,
        "SELECT each.value FROM memory, json_each(memory.value) AS each"
        " WHERE memory.name = 'typical'",
    )
    assert all(seconds < 60 for (seconds,) in learned)


# What is stored

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TIMES = {
    "requests": ("created_at", "submitted_at", "completed_at", "saved_at"),
    "events": ("at",),
    "spending": ("at",),
    "runs": ("started_at", "ended_at"),
}


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns"])
def test_every_stored_time_is_utc_wherever_the_computer_is(
    run: Command,
    folder: Path,
    write: Write,
    clock: JumpyClock,
    in_zone: None,
) -> None:
    run(write("list.csv", table(many(1))))
    earliest, latest = to_iso(clock.now() - clock.ahead - 600), to_iso(clock.now() + 1)

    for name, columns in TIMES.items():
        for column in columns:
            found = query(folder, f"SELECT {column} FROM {name}")
            assert found
            for (text,) in found:
                assert MOMENT.fullmatch(text), (name, column)
                assert earliest < text < latest, (name, column)
    receipts = (folder / "receipts.log").read_bytes().strip(b"\0").decode()
    assert MOMENT.search(receipts)


@pytest.fixture
def in_zone(zone: str, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The computer's own zone."""
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


# Until


def in_two_hours() -> str:
    return f"{datetime.now() + timedelta(hours=2):%H:%M}"


def test_until_is_kept_by_a_computer_that_did_not_sleep(
    run: Command, sandbox: Control, write: Write, clock: JumpyClock
) -> None:
    manifest = write("list.csv", table(many(20)))
    outcome = run(manifest, "--rate", "5/h", "--until", in_two_hours(), "--concurrency", 1)

    assert outcome.code == 75
    assert sandbox.posts in (10, 11)


@pytest.mark.parametrize(
    "asleep", [8 * HOUR, 0.0], ids=["the other clock went on", "the other clock stood still"]
)
def test_a_computer_that_slept_past_until_submits_nothing_more_when_it_wakes(
    run: Command, folder: Path, sandbox: Control, write: Write, clock: JumpyClock, asleep: float
) -> None:
    clock.plan = [(30.0, 8 * HOUR, asleep)]
    manifest = write("list.csv", table(many(20)))
    outcome = run(manifest, "--rate", "6/m", "--until", in_two_hours(), "--concurrency", 1)

    assert outcome.code == 75
    assert "time limit" in outcome.stderr
    assert sandbox.posts <= 5
    assert tally(folder)["saved"] == sandbox.posts


def test_a_clock_that_is_set_back_in_mid_run_does_not_put_until_off(
    run: Command, sandbox: Control, write: Write, clock: JumpyClock
) -> None:
    clock.plan = [(30.0, -DAY, 0.0)]
    manifest = write("list.csv", table(many(20)))
    outcome = run(manifest, "--rate", "5/h", "--until", in_two_hours(), "--concurrency", 1)

    assert outcome.code == 75
    assert sandbox.posts in (10, 11)


def test_a_limit_of_time_holds_over_a_sleep_that_the_other_clock_saw(
    run: Command, sandbox: Control, write: Write, clock: JumpyClock
) -> None:
    clock.plan = [(30.0, 8 * HOUR, 8 * HOUR)]
    manifest = write("list.csv", table(many(20)))
    outcome = run(manifest, "--rate", "6/m", "--max-time", "6h", "--concurrency", 1)

    assert outcome.code == 75
    assert sandbox.posts <= 5


# Money

CAPS = ["--max-cost-per-day", "--max-cost-per-month"]


@pytest.mark.parametrize("option", CAPS)
@pytest.mark.parametrize("by", [-DAY, -400 * DAY])
def test_a_clock_that_is_set_back_in_mid_run_allows_no_cent_more(
    run: Command, sandbox: Control, write: Write, clock: JumpyClock, option: str, by: float
) -> None:
    clock.plan = [(100.0, by, 0.0)]  # what a busy computer takes really is little beside it
    manifest = write("list.csv", table(many(8)))
    outcome = run(manifest, option, 0.12, "--rate", "1/m", "--concurrency", 1)

    assert clock.plan == []
    assert outcome.code == 75
    assert sandbox.posts == 4
    assert sandbox.billed_usd <= 0.12 + 1e-9


@pytest.mark.parametrize("option", CAPS)
@pytest.mark.parametrize("by", [-DAY, -40 * DAY])
def test_a_clock_that_is_set_back_between_two_runs_allows_no_cent_more(
    run: Command, sandbox: Control, write: Write, clock: JumpyClock, option: str, by: float
) -> None:
    manifest = write("list.csv", table(many(8)))
    assert run(manifest, option, 0.12).code == 75
    clock.wrong = by

    assert run(manifest, option, 0.12).code == 75
    assert sandbox.posts == 4


@pytest.mark.parametrize("option", CAPS)
def test_what_was_spent_under_a_clock_that_went_ahead_counts_when_it_is_right_again(
    run: Command, sandbox: Control, write: Write, clock: JumpyClock, option: str
) -> None:
    manifest = write("list.csv", table(many(8)))
    clock.wrong = 40 * DAY
    assert run(manifest, option, 0.12).code == 75
    clock.wrong = 0.0

    assert run(manifest, option, 0.12).code == 75
    assert sandbox.posts == 4
