"""Two batches of one account on one computer share one rate."""

import os
import struct
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import Command, Write
from helpers import TOKEN, PretendClock, many, query, table
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sandbox_client import Control

from batchgen.api.endpoint import shared_rate_file
from batchgen.engine.rate_limiter import WINDOW_S, RateLimiter, resume_rate_limiter
from batchgen.engine.shared_rate import CLOCK_TOLERANCE_S, SharedRateLimit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "account"


def test_whoever_comes_within_an_interval_of_the_others_turn_waits(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)

    assert one.acquire(100.0, 1.0) == 0.0
    assert other.acquire(100.4, 5.0) == pytest.approx(0.6)
    assert other.acquire(101.0, 5.0) == 0.0
    assert one.acquire(102.0, 1.0) == pytest.approx(4.0)


def test_a_pause_that_the_api_asked_one_for_holds_the_other(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)
    one.pause(100.0, 30.0)

    assert other.acquire(110.0, 1.0) == pytest.approx(20.0)
    one.pause(111.0, 1.0)  # an earlier end changes nothing
    assert other.acquire(112.0, 1.0) == pytest.approx(18.0)


def test_a_rate_that_is_raised_gives_back_the_slot_that_the_batch_had_taken(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)
    one.acquire(100.0, 3600.0)

    one.change(110.0, 0.0)

    assert other.acquire(110.0, 1.0) == 0.0


def test_a_rate_that_is_raised_takes_no_slot_or_pause_of_another_batch(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)
    one.acquire(100.0, 1.0)
    other.acquire(101.0, 60.0)

    one.change(102.0, 0.0)

    assert one.acquire(102.0, 1.0) == pytest.approx(59.0)
    other.pause(103.0, 600.0)
    one.change(104.0, 0.0)
    assert one.acquire(104.0, 1.0) == pytest.approx(599.0)


def test_a_rate_that_is_lowered_holds_the_account_until_it_is_kept_to(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)
    one.acquire(100.0, 0.02)

    one.change(101.0, 40.0)

    assert other.acquire(101.0, 0.02) == pytest.approx(40.0)
    one.change(111.0, 0.0)  # and raised again
    assert other.acquire(111.0, 0.02) == 0.0


def test_a_rate_that_is_changed_after_a_pause_leaves_the_slot_of_another_batch(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)
    other.acquire(100.0, 5.0)
    one.pause(100.0, 50.0)

    one.change(101.0, 0.0)

    assert one.acquire(101.0, 5.0) == pytest.approx(4.0)


# -- any story of several batches ------------------------------------------------------------------

RATES = st.sampled_from([0.2, 1.0, 5.0, 50.0])
STEPS = st.one_of(
    st.tuples(st.just("posts"), st.integers(1, 60)),
    st.tuples(st.just("set"), RATES),
    st.tuples(st.sampled_from(["ends", "is killed"]), RATES),
    st.tuples(st.just("is told to wait"), st.floats(0, 20)),
    st.tuples(st.just("rests"), st.floats(0, 90)),
)


class OneOfThem:
    """A batch that submits as the dispatcher lets it, and is steered and restarted as a run is."""

    def __init__(self, file: Path, rate: float) -> None:
        self.file, self.rate = file, rate
        self.times: list[float] = []
        self.limiter, self.shared = RateLimiter(rate, rate), SharedRateLimit(file)

    def known(self, now: float) -> list[float]:
        return [at for at in self.times if at >= now - WINDOW_S] or self.times[-1:]

    def post(self, now: float) -> float:
        """Submit as soon as it may; return when that was."""
        while True:
            now += self.limiter.delay(now)
            wait = self.shared.acquire(now, 1 / self.limiter.rate)
            if not wait:
                break
            now += wait
        self.limiter = self.limiter.after_submission(now)
        self.times.append(now)
        return now

    def set(self, now: float, rate: float) -> None:
        self.rate = rate
        self.limiter = self.limiter.at_most(rate, self.known(now))
        self.shared.change(now, self.limiter.delay(now))

    def start_again(self, now: float, rate: float, *, killed: bool) -> None:
        """A run's clock begins anew; this one stands for both, as far as the limiter can tell."""
        ahead = None if killed else (None, self.limiter.delay(now))
        known = [at - now for at in self.known(now)]
        limiter = resume_rate_limiter(rate, ahead, recent=known)
        paused = limiter.paused_until + now
        self.limiter = replace(limiter, next_at=limiter.next_at + now, paused_until=paused)
        self.rate = rate
        self.shared.close()
        self.shared = SharedRateLimit(self.file)


@settings(max_examples=150)
@example(
    [0.2, 0.2],
    [(1, ("posts", 1)), (0, ("is told to wait", 6.0)), (0, ("set", 0.2)), (0, ("posts", 1))],
)
@given(
    st.lists(RATES, min_size=2, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=14),
)
def test_no_window_of_an_account_holds_more_than_the_highest_rate_of_its_batches(
    rates: list[float], story: list[tuple[int, tuple[str, float]]]
) -> None:
    """Whatever is set and restarted when; each batch's own windows keep to its own rate as well."""
    with TemporaryDirectory() as folder:
        batches = [OneOfThem(Path(folder) / "account", rate) for rate in rates]
        now, all_times, highest = 1000.0, list[float](), list[float]()
        for number, (what, value) in story:
            batch = batches[number % len(batches)]
            match what:
                case "posts":
                    for _ in range(int(value)):
                        now = batch.post(now)
                        all_times.append(now)
                        highest.append(max(one.rate for one in batches))
                        assert not too_many(batch.times, [batch.rate] * len(batch.times))
                        assert not too_many(all_times, highest)
                case "set":
                    batch.set(now, value)
                case "ends" | "is killed":
                    batch.start_again(now, value, killed=what == "is killed")
                case "is told to wait":
                    batch.shared.pause(now, value)
                case "rests":
                    now += value
        for batch in batches:
            batch.shared.close()


def too_many(times: list[float], rates: list[float]) -> list[tuple[int, float]]:
    """The windows of less than WINDOW_S that end with the latest of `times` and hold too many.

    rates: the highest that was in force at each. Clocks agree by CLOCK_TOLERANCE_S each time.
    """
    found, rate = [], 0.0
    for n, (at, allowed) in enumerate(zip(reversed(times), reversed(rates), strict=True), 1):
        length, rate = times[-1] - at, max(rate, allowed)
        if length >= WINDOW_S - 1e-9:
            break
        if n > rate * (length + n * CLOCK_TOLERANCE_S) + 1 + 1e-6:
            found.append((n, length))
    return found


def test_after_the_computer_was_started_anew_nobody_waits(file: Path) -> None:
    SharedRateLimit(file).pause(1_000_000.0, 3600.0)

    assert SharedRateLimit(file).acquire(60.0, 1.0) == 0.0


def test_a_start_that_nothing_tells_of_costs_no_more_than_an_hour(file: Path) -> None:
    SharedRateLimit(file).acquire(500.0, 86400.0)

    assert SharedRateLimit(file).acquire(600.0, 1.0) == pytest.approx(3500.0)
    assert SharedRateLimit(file).acquire(600.0, 86400.0) == pytest.approx(86300.0)


def test_a_rate_below_one_an_hour_that_is_raised_gives_back_its_slot(file: Path) -> None:
    one, other = SharedRateLimit(file), SharedRateLimit(file)
    one.acquire(100.0, 86400.0)

    one.change(110.0, 0.0)

    assert other.acquire(110.0, 1.0) == 0.0


@pytest.mark.parametrize("odd", [1e18, float("inf"), float("nan")])
def test_a_damaged_file_holds_nobody_for_longer_than_an_hour(file: Path, odd: float) -> None:
    file.parent.mkdir()
    file.write_bytes(struct.pack("<dd", odd, 1000.0))
    batch = SharedRateLimit(file)

    assert batch.acquire(1000.0, 1.0) <= 3600.0
    batch.pause(1001.0, 30.0)  # nor does it hide what the API asked for
    assert batch.acquire(1002.0, 1.0) >= 29.0
    assert batch.acquire(4601.0, 1.0) == 0.0


def test_a_file_of_another_form_holds_nobody(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"odd")

    assert SharedRateLimit(file).acquire(100.0, 1.0) == 0.0


def test_without_a_folder_for_it_a_batch_goes_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    turns = SharedRateLimit(tmp_path / "state" / "account")

    assert [turns.acquire(100.0, 1.0), turns.acquire(100.0, 1.0)] == [0.0, 0.0]


def test_the_files_name_tells_accounts_apart_and_no_token() -> None:
    names = {
        shared_rate_file({"XDG_STATE_HOME": "/s"}, base, token).name
        for base in ("https://a.example/v1", "https://b.example/v1")
        for token in ("one", "other")
    }

    assert len(names) == 4
    assert not any("one" in name or "other" in name for name in names)


def test_a_second_batch_waits_for_the_turn_that_the_first_one_left(
    run: Command, batchgen: Command, reach: list[str], here: Path, folder: Path, write: Write,
    sandbox: Control, clock: PretendClock,
) -> None:  # fmt: skip
    slowly = ("--rate", "1/h")
    run(write("list.csv", table(many(1))), *slowly)
    before = clock.monotonic()
    other = here / "out" / "other"
    manifest = write("other.csv", table(many(1, "a fox")))

    outcome = batchgen("run", manifest, "--out", other, *slowly, *reach)

    assert outcome.code == 0
    assert sandbox.posts == 2
    assert clock.monotonic() - before > 3000
    assert query(other, "SELECT COUNT(*) FROM requests WHERE state = 'saved'") == [(1,)]
    files = (Path(os.environ["XDG_STATE_HOME"]) / "batchgen").iterdir()
    (state,) = (file for file in files if file.stem != "batches")
    assert TOKEN not in state.name
    assert state.stat().st_mode & 0o777 == 0o600
