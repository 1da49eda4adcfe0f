"""Two batches of one account on one computer share one rate."""

import os
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import TOKEN, PretendClock, many, query, table
from sandbox_client import Control

from batchgen.api.endpoint import shared_rate_file
from batchgen.engine.shared_rate import SharedRateLimit


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


def test_after_the_computer_was_started_anew_nobody_waits(file: Path) -> None:
    SharedRateLimit(file).pause(1_000_000.0, 3600.0)

    assert SharedRateLimit(file).acquire(60.0, 1.0) == 0.0


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
