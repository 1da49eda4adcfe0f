"""What a batch may cost: pure limits, the ledger of every POST, and both over several runs."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import Command, Own, Write
from databases import Database
from helpers import NEVER_ASKING, PATIENT, PretendClock, at_a_terminal, many, query, table, tally
from sandbox_client import Control

from batchgen.api.catalogue_price import parse_price
from batchgen.config import DEFAULT_MODEL
from batchgen.core.budget import ActiveLimit, CostLimits, active_limits, first_exceeded
from batchgen.core.prices import OUTPUT_COUNT_INPUTS, Price, Unit, read_prices
from batchgen.core.timing import Timing
from batchgen.core.units import parse_usd

BERLIN = ZoneInfo("Europe/Berlin")
AUCKLAND = ZoneInfo("Pacific/Auckland")
NEW_YORK = ZoneInfo("America/New_York")
HAVANA = ZoneInfo("America/Havana")


# Limits, pure


def since(limits: CostLimits, now: datetime) -> list[str]:
    return [cap.since for cap in active_limits(limits, now)]


def test_without_a_limit_there_is_no_cap() -> None:
    assert active_limits(CostLimits(), datetime.now(UTC)) == []
    assert not CostLimits().any()


@pytest.mark.parametrize(
    "limits", [CostLimits(batch=0.0), CostLimits(day=0.0), CostLimits(month=0.0)]
)
def test_a_limit_of_zero_is_a_limit(limits: CostLimits) -> None:
    assert limits.any()
    (cap,) = active_limits(limits, datetime.now(UTC))
    assert first_exceeded(lambda since: 0.0, 0.03, [cap]) == cap


def test_a_batchs_limit_counts_from_the_beginning_and_names_its_option() -> None:
    (cap,) = active_limits(CostLimits(batch=2.5), datetime(2026, 7, 1, tzinfo=UTC))

    assert cap == ActiveLimit(2.5, "", "--max-cost", "the batch", "")


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        pytest.param(
            datetime(2026, 7, 14, 23, 59, 59, 999999, BERLIN),
            "2026-07-13T22:00:00.000Z",
            "2026-06-30T22:00:00.000Z",
            id="the last instant of a day",
        ),
        pytest.param(
            datetime(2026, 7, 15, tzinfo=BERLIN),
            "2026-07-14T22:00:00.000Z",
            "2026-06-30T22:00:00.000Z",
            id="midnight begins the day",
        ),
        pytest.param(
            datetime(2026, 8, 1, tzinfo=BERLIN),
            "2026-07-31T22:00:00.000Z",
            "2026-07-31T22:00:00.000Z",
            id="midnight begins the month",
        ),
        pytest.param(
            datetime(2026, 3, 29, 12, tzinfo=BERLIN),
            "2026-03-28T23:00:00.000Z",
            "2026-02-28T23:00:00.000Z",
            id="the day on which clocks go forward",
        ),
        pytest.param(
            datetime(2026, 10, 25, 12, tzinfo=BERLIN),
            "2026-10-24T22:00:00.000Z",
            "2026-09-30T22:00:00.000Z",
            id="the day on which clocks go back",
        ),
        pytest.param(
            datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK, fold=1),
            "2026-11-01T04:00:00.000Z",
            "2026-11-01T04:00:00.000Z",
            id="the hour that comes twice, on the first of a month",
        ),
        pytest.param(
            datetime(2026, 11, 1, 0, 30, tzinfo=HAVANA, fold=1),
            "2026-11-01T04:00:00.000Z",
            "2026-11-01T04:00:00.000Z",
            id="a midnight that comes twice",
        ),
        pytest.param(
            datetime(2026, 3, 8, 12, tzinfo=HAVANA),
            "2026-03-08T05:00:00.000Z",
            "2026-03-01T05:00:00.000Z",
            id="a midnight that clocks leave out",
        ),
        pytest.param(
            datetime(2027, 1, 1, 9, tzinfo=AUCKLAND),
            "2026-12-31T11:00:00.000Z",
            "2026-12-31T11:00:00.000Z",
            id="a new year that UTC has not reached",
        ),
        pytest.param(
            datetime(2028, 2, 29, 12, tzinfo=UTC),
            "2028-02-29T00:00:00.000Z",
            "2028-02-01T00:00:00.000Z",
            id="a leap day",
        ),
    ],
)
def test_days_and_months_begin_at_the_local_midnight(now: datetime, day: str, month: str) -> None:
    assert since(CostLimits(day=1.0), now) == [day]
    assert since(CostLimits(month=1.0), now) == [month]


def test_the_limit_that_is_passed_is_the_one_that_is_named() -> None:
    limits = active_limits(
        CostLimits(batch=9.0, day=1.0, month=5.0), datetime(2026, 7, 14, tzinfo=UTC)
    )
    batch, month, day = limits

    def over(of_all: float, of_month: float, of_day: float) -> ActiveLimit | None:
        sums = {batch.since: of_all, month.since: of_month, day.since: of_day}
        return first_exceeded(sums.__getitem__, 0.5, limits)

    assert over(2.0, 2.0, 0.2) is None
    assert over(2.0, 2.0, 0.6) == day
    assert over(4.6, 4.6, 0.2) == month
    assert over(8.6, 4.0, 0.2) == batch


def test_cents_that_add_up_to_the_limit_do_not_pass_it() -> None:
    limits = [ActiveLimit(0.3, "", "--max-cost", "the batch")]

    assert 0.1 + 0.1 + 0.1 > 0.3  # as binary has it
    assert first_exceeded(lambda since: 0.1 + 0.1, 0.1, limits) is None
    assert first_exceeded(lambda since: 0.1 + 0.1, 0.101, limits) == limits[0]


NAN = float("nan")


@pytest.mark.parametrize(("spent", "price", "limit"), [(0, 0, NAN), (0, NAN, 1), (NAN, 0, 1)])
def test_what_is_not_a_number_stops_what_it_would_let_through(
    spent: float, price: float, limit: float
) -> None:
    cap = ActiveLimit(limit, "", "--max-cost", "the batch")

    assert first_exceeded(lambda since: spent, price, [cap]) is cap


# Amounts as they are written


@pytest.mark.parametrize(
    ("text", "amount"),
    [("5", 5.0), ("5.00", 5.0), (" .5 ", 0.5), ("0", 0.0), ("1e+06", 1e6), ("1e9", 1e9)],
)
def test_an_amount_is_digits_and_a_point(text: str, amount: float) -> None:
    assert parse_usd(text) == amount


ODD_AMOUNTS = {
    **dict.fromkeys(("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e999", "1e10"), "5.00"),
    **dict.fromkeys(("-1", "+5", "", "five", "1_000", "٥", "1,500", "5 EUR"), "5.00"),
    **dict.fromkeys(("$5", "5$", "$ 5.00", "5,0", "USD 5", "5 usd"), "5.00"),
    "1,50": "1.50",
    "$0,5": "0.50",
    "12,34 USD": "12.34",
}


@pytest.mark.parametrize(("text", "advice"), ODD_AMOUNTS.items())
def test_what_is_not_an_amount_is_told_how_it_is_written(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match="is not an amount") as found:
        parse_usd(text)

    assert str(found.value) == f"{text!r} is not an amount; write {advice}."


@pytest.mark.parametrize("option", ["--max-cost", "--max-cost-per-day", "--max-cost-per-month"])
@pytest.mark.parametrize(
    ("text", "advice"), [("nan", "5.00"), ("inf", "5.00"), ("1,50", "1.50"), ("$5", "5.00")]
)
def test_a_limit_that_is_not_an_amount_sends_nothing(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    option: str,
    text: str,
    advice: str,
) -> None:
    outcome = run(write("list.csv", table(many(2))), option, text)

    assert (outcome.code, sandbox.posts, folder.exists()) == (2, 0, False)
    assert f"'{text}' is not an amount; write {advice}." in outcome.stderr


@pytest.mark.parametrize(
    "option", ["--rate", "--max-time", "--until", "--concurrency", "--limit", "--max-cost"]
)
def test_no_option_of_a_run_takes_what_is_not_a_finite_number(
    run: Command, sandbox: Control, write: Write, option: str
) -> None:
    manifest = write("list.csv", table(many(2)))
    for text in ("nan", "inf", "-inf", "1e999", "9" * 400):
        if option in ("--concurrency", "--limit") and text.isdigit():
            continue  # a whole number may be as large as it likes
        assert (run(manifest, option, text).code, sandbox.posts) == (2, 0), text


@pytest.mark.parametrize("setting", ["max_cost", "max_cost_per_day", "price", "rate", "max_time"])
def test_no_setting_of_a_json_manifest_takes_what_is_not_a_finite_number(
    run: Command, sandbox: Control, write: Write, setting: str
) -> None:
    for value in ("1e400", "NaN", "-Infinity", "1" + 400 * "0"):
        outcome = run(write("list.json", f'{{"{setting}": {value}, "rows": ["one"]}}'))
        assert (outcome.code, sandbox.posts) == (65, 0), value


@pytest.mark.parametrize(
    "setting",
    [
        *("max_cost", "max_cost_per_day", "max_cost_per_month", "price", "rate", "max_time"),
        *("until", "limit", "concurrency", "max_matrix"),
    ],
)
def test_no_setting_of_a_yaml_manifest_takes_what_is_not_a_finite_number(
    batchgen: Command, write: Write, setting: str
) -> None:
    for value in (".nan", ".inf", "-.inf", "nan", "1e999", "{a/b: .nan}"):
        manifest = write("list.yaml", f"{setting}: {value}\nrows: [one]\n")
        assert batchgen("validate", manifest).code == 65, value


# The ledger


def spending(folder: Path) -> dict[tuple[str, int], float]:
    """USD of each POST that cost something, by the row's id and the attempt."""
    rows = query(
        folder,
        "SELECT id, attempt, usd FROM spending JOIN requests USING (key) WHERE usd <> 0"
        " ORDER BY id, attempt",
    )
    return {(id, attempt): round(usd, 6) for id, attempt, usd in rows}


def money(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "summary.json").read_text())["money_usd"]
    return found


def test_every_accepted_request_is_in_the_ledger_at_its_time(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table(many(3))))

    assert spending(folder) == {(id, 1): 0.03 for id in many(3)}
    assert sandbox.billed_usd == money(folder)["committed"] == 0.09
    unlike = "SELECT id FROM requests JOIN spending USING (key) WHERE at <> submitted_at"
    assert query(folder, unlike) == []


def test_what_a_request_really_cost_takes_the_place_of_its_price(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("cost", match="number 1", value={"amount": 0.01, "currency": "USD"})
    sandbox.fault("cost", match="number 2", value=0.08)
    run(write("list.csv", table(many(3))))

    assert spending(folder) == {("row-1", 1): 0.01, ("row-2", 1): 0.08, ("row-3", 1): 0.03}


def test_a_post_that_was_surely_not_accepted_costs_nothing(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    for number, fault in enumerate(("422", "400001", "413", "429"), start=1):
        sandbox.fault(fault, match=f"number {number}")
    run(write("list.csv", table(many(5))))

    assert tally(folder) == {"failed": 3, "saved": 2}
    assert spending(folder) == {("row-4", 1): 0.03, ("row-5", 1): 0.03}  # a 429 is sent again


def test_every_time_that_a_row_is_sent_again_has_an_entry_of_its_own(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed")
    manifest = write("list.csv", table({"heron": "a heron"}))
    run(manifest)
    run(manifest, "--retry-failed")
    batchgen("retry", folder, "--state", "saved", "--id", "heron")
    run(manifest)

    assert spending(folder) == {("heron", 1): 0.03, ("heron", 2): 0.03, ("heron", 3): 0.03}
    assert money(folder)["committed"] == sandbox.billed_usd == 0.09


def test_a_saved_row_that_is_made_anew_keeps_its_old_file(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table({"heron": "a heron", "fox": "a fox"}))
    run(manifest)
    before = (folder / "images" / "heron.png").read_bytes()

    refused = batchgen("retry", folder, "--state", "saved")
    assert (refused.code, tally(folder)) == (2, {"saved": 2})
    assert batchgen("retry", folder, "--state", "saved", "--id", "heron").code == 0
    assert run(manifest).code == 0
    assert sandbox.posts == 3
    assert (folder / "images" / "heron.png").read_bytes() == before
    assert tally(folder) == {"saved": 2}


@pytest.mark.parametrize("answer", ["--write-off", "--send-again"])
def test_what_an_unknown_request_may_have_cost_stays_counted_however_it_is_settled(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write, answer: str
) -> None:
    sandbox.fault("lost")
    manifest = write("list.csv", table({"heron": "a heron"}))
    run(manifest)
    assert money(folder) == {
        "committed": 0.03,
        "reserved": 0,
        "unknown": 0.03,
        "unpriced": 0,
        "estimated": False,
        "estimated_least": None,
        "estimated_most": None,
    }

    batchgen("resolve", folder, "--all", answer)
    batchgen("report", folder)
    assert money(folder) == {
        "committed": 0.03,
        "reserved": 0,
        "unknown": 0,
        "unpriced": 0,
        "estimated": False,
        "estimated_least": None,
        "estimated_most": None,
    }

    run(manifest)
    assert money(folder)["committed"] == pytest.approx(sandbox.billed_usd)


def test_an_attached_request_is_counted_once(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write, reach: list[str]
) -> None:
    sandbox.fault("lost")
    manifest = write("list.csv", table({"heron": "a heron"}))
    run(manifest)
    request_id = sandbox.ledger()[0]["request_id"]

    batchgen("resolve", folder, "--id", "heron", "--attach", request_id, *reach)
    run(manifest)
    assert spending(folder) == {("heron", 1): 0.03}


# Limits over several runs


@pytest.fixture
def at(clock: PretendClock) -> Callable[[datetime], None]:
    """Set the pretend clock."""

    def set_it(when: datetime) -> None:
        clock.ahead = when.timestamp() - time.time()

    return set_it


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The computer's own zone."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def test_a_days_limit_holds_over_all_runs_of_the_day_and_the_next_day_goes_on(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
) -> None:
    manifest = write("list.csv", table(many(5)))
    for hour in (1, 9, 23):
        at(datetime(2030, 7, 14, hour, tzinfo=BERLIN))
        outcome = run(manifest, "--max-cost-per-day", 0.07)
        assert outcome.code == 75
        assert "$0.07 for today" in outcome.stderr
        assert sandbox.posts == 2

    at(datetime(2030, 7, 15, 0, 1, tzinfo=BERLIN))
    assert run(manifest, "--max-cost-per-day", 0.07).code == 75
    assert sandbox.posts == 4
    at(datetime(2030, 7, 16, 0, 1, tzinfo=BERLIN))
    assert run(manifest, "--max-cost-per-day", 0.07).code == 0
    assert sandbox.posts == 5


def test_a_months_limit_outlives_its_days_and_ends_with_the_month(
    run: Command,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
) -> None:
    manifest = write("list.csv", table(many(4)))
    for day in (1, 15, 31):
        at(datetime(2030, 7, day, 12, tzinfo=BERLIN))
        outcome = run(manifest, "--max-cost-per-month", 0.1)
        assert (outcome.code, sandbox.posts) == (75, 3)
        assert "--max-cost-per-month" in outcome.stderr

    at(datetime(2030, 8, 1, 0, 1, tzinfo=BERLIN))
    assert run(manifest, "--max-cost-per-month", 0.1).code == 0
    assert sandbox.posts == 4


def test_a_run_across_midnight_spends_from_both_days(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
) -> None:
    at(datetime(2030, 7, 14, 23, 20, tzinfo=BERLIN))
    # One after the other at 23:20, 23:40, 0:00, 0:20; two at once would make the clock jump twice.
    options = ("--max-cost-per-day", 0.07, "--rate", "3/h", "--concurrency", 1)
    outcome = run(write("list.csv", table(many(6))), *options)

    assert outcome.code == 75
    assert tally(folder) == {"saved": 4, "pending": 2}
    days = query(folder, "SELECT COUNT(*) FROM spending GROUP BY at >= '2030-07-14T22:00:00'")
    assert days == [(2,), (2,)]


@pytest.mark.parametrize("where", ["a file", "a database"])
def test_a_row_that_went_back_unsent_counts_on_the_day_on_which_it_is_sent(
    run: Command,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
    request: pytest.FixtureRequest,
    where: str,
) -> None:
    options: tuple[object, ...] = ("--max-cost-per-day", 0.03)
    if where == "a database":
        options += ("--journal", request.getfixturevalue("database").url)
    manifest = write("list.csv", table(many(2)))
    sandbox.fault("balance")
    at(datetime(2030, 7, 14, 23, tzinfo=BERLIN))
    assert run(manifest, *options).code == 75
    assert sandbox.accepted == 0

    for hour in (1, 9):
        at(datetime(2030, 7, 15, hour, tzinfo=BERLIN))
        outcome = run(manifest, *options)
        assert "$0.03 for today" in outcome.stderr
        assert (outcome.code, sandbox.accepted) == (75, 1)


def test_a_cost_that_becomes_known_on_the_next_day_counts_on_the_day_of_its_request(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
) -> None:
    sandbox.fault("404", times=None, on="model")  # so nothing is reserved
    manifest = write("list.csv", table(many(1)))
    at(datetime(2030, 7, 14, 23, tzinfo=BERLIN))
    assert run(manifest, timing=NEVER_ASKING).code == 75
    assert spending(folder) == {}

    at(datetime(2030, 7, 15, 1, tzinfo=BERLIN))
    assert run(manifest).code == 0
    (day,) = query(folder, "SELECT substr(at, 1, 10), usd FROM spending")
    assert day == ("2030-07-14", 0.03)


@pytest.mark.parametrize("option", ["--max-cost-per-day", "--max-cost-per-month"])
def test_a_limit_that_no_day_has_room_for_is_told_once_and_nobody_is_told_to_wait(
    run: Command, sandbox: Control, write: Write, option: str
) -> None:
    manifest = write("list.csv", table(many(2)))
    outcome = run(manifest, option, 0.02, "-q")
    assert (outcome.code, sandbox.posts) == (75, 0)
    assert "costs $0.03 and would pass the limit of $0.02" in outcome.stderr
    assert "run again" not in outcome.stderr

    again = run(manifest, option, 0.02, "-q")
    assert (again.code, again.stderr) == (75, "")


def test_on_the_day_on_which_clocks_go_back_the_first_hour_counts(
    run: Command,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
) -> None:
    manifest = write("list.csv", table(many(4)))
    at(datetime(2030, 10, 27, 0, 30, tzinfo=BERLIN))
    assert run(manifest, "--max-cost-per-day", 0.07).code == 75
    assert sandbox.posts == 2

    at(datetime(2030, 10, 27, 12, tzinfo=BERLIN))
    assert run(manifest, "--max-cost-per-day", 0.07).code == 75
    assert sandbox.posts == 2


def test_on_the_day_on_which_clocks_go_forward_the_day_before_does_not_count(
    run: Command,
    sandbox: Control,
    write: Write,
    at: Callable[[datetime], None],
    in_berlin: None,
) -> None:
    manifest = write("list.csv", table(many(4)))
    at(datetime(2030, 3, 30, 23, 30, tzinfo=BERLIN))
    run(manifest, "--max-cost-per-day", 0.07)

    at(datetime(2030, 3, 31, 12, tzinfo=BERLIN))
    assert run(manifest, "--max-cost-per-day", 0.07).code == 0
    assert sandbox.posts == 4


@pytest.mark.parametrize("option", ["--max-cost", "--max-cost-per-day", "--max-cost-per-month"])
def test_a_post_that_came_back_gives_its_reservation_back(
    run: Command, folder: Path, sandbox: Control, write: Write, option: str
) -> None:
    sandbox.fault("429", times=8)
    outcome = run(write("list.csv", table(many(3))), option, 0.09)

    assert outcome.code == 0
    assert tally(folder) == {"saved": 3}


@pytest.mark.parametrize("option", ["--max-cost", "--max-cost-per-day", "--max-cost-per-month"])
def test_an_unknown_request_counts_toward_every_limit(
    run: Command, folder: Path, sandbox: Control, write: Write, option: str
) -> None:
    sandbox.fault("lost", match="number 1")
    run(write("list.csv", table(many(4))), option, 0.07)

    assert tally(folder) == {"unknown": 1, "saved": 1, "pending": 2}


def test_what_was_written_off_still_counts_toward_a_limit(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost")
    manifest = write("list.csv", table(many(3)))
    run(manifest, "--max-cost-per-day", 0.07)
    batchgen("resolve", folder, "--all", "--write-off")

    assert run(manifest, "--max-cost-per-day", 0.07).code == 75
    assert tally(folder) == {"written_off": 1, "saved": 1, "pending": 1}
    assert sandbox.posts == 2


def test_the_manifest_can_carry_the_limits_and_an_option_beats_it(
    run: Command, sandbox: Control, write: Write
) -> None:
    rows = "max_cost_per_day: 0.03\nmax_cost_per_month: 0.07\nrows: [one, two, three, four]\n"
    manifest = write("list.yaml", rows)
    outcome = run(manifest)
    assert (outcome.code, sandbox.posts) == (75, 1)
    assert "Raise max_cost_per_day of the manifest to go on" in outcome.stderr

    outcome = run(manifest, "--max-cost-per-day", 1)
    assert (outcome.code, sandbox.posts) == (75, 2)
    assert "Raise max_cost_per_month of the manifest to go on" in outcome.stderr


def test_the_narrowest_of_several_limits_stops_the_run(
    run: Command, sandbox: Control, write: Write
) -> None:
    limits = ("--max-cost", 0.04, "--max-cost-per-day", 0.07, "--max-cost-per-month", 0.1)
    outcome = run(write("list.csv", table(many(5))), *limits)

    assert (outcome.code, sandbox.posts) == (75, 1)
    assert "Raise --max-cost to go on." in outcome.stderr


@pytest.mark.parametrize("option", ["--max-cost-per-day", "--max-cost-per-month"])
def test_a_limit_by_the_calendar_needs_a_price_too(
    run: Command, sandbox: Control, write: Write, option: str
) -> None:
    sandbox.fault("404", times=None, on="model")
    outcome = run(write("list.csv", table(many(2))), option, 1)

    assert (outcome.code, sandbox.posts) == (2, 0)
    assert "price:" in outcome.stderr


def test_a_limit_is_never_passed_by_rows_that_race_for_it(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("429", times=5)
    run(write("list.csv", table(many(30))), "--max-cost-per-day", 0.5, "--concurrency", 16)

    assert tally(folder) == {"saved": 16, "pending": 14}
    assert sandbox.billed_usd <= 0.5


# A price for each output


SERIES = "atelier/series/text-to-image"


def series(*counts: int | None) -> str:
    """A JSONL manifest of rows that ask for so many pictures; None does not say."""
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "prompt": f"{n}"} for n in range(len(counts))]
    for row, count in zip(rows, counts, strict=True):
        row |= {"model": SERIES} | ({} if count is None else {"num_images": count})
    return "\n".join(map(json.dumps, rows))


def prices_of(folder: Path) -> dict[str, float | None]:
    return dict(query(folder, "SELECT id, price FROM requests ORDER BY id"))


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"base_price_usd": 0.04, "price_unit": "output"}, Price(0.04, Unit.OUTPUT)),
        ({"base_price_usd": 0.04, "price_unit": "per_image"}, Price(0.04, Unit.OUTPUT)),
        ({"base_price_usd": 0.04, "price_unit": "request"}, Price(0.04)),
        ({"base_price_usd": 0.04, "price_unit": "per video"}, Price(0.04)),
        ({"base_price_usd": 0.04}, Price(0.04)),
        ({"base_price_usd": 0.04, "price_unit": "second"}, Price(0.04, Unit.SECOND)),
        ({"base_price_usd": 0.04, "price_unit": "per output second"}, Price(0.04, Unit.SECOND)),
        ({"base_price_usd": 0.04, "pricing_note": " \n"}, Price(0.04)),
        ({"base_price_usd": 0.04, "pricing_note": "Audio is extra"}, Price(0.04, floor=True)),
        ({"base_price_usd": 0.04, "pricing_note": ["2K"]}, Price(0.04, floor=True)),
        ({"base_price_usd": 0.04, "price_unit": "output_token"}, None),
        ({"base_price_usd": 0.04, "price_unit": "per image megapixel"}, None),
        ({"base_price_usd": 0.04, "price_unit": "per"}, None),
        ({"base_price_usd": "0.04", "price_unit": "output"}, None),
        ({"base_price_usd": float("nan"), "price_unit": "output"}, None),
    ],
)
def test_a_catalogues_price_is_for_a_request_an_output_or_a_second(
    entry: dict[str, Any], found: Price | None
) -> None:
    assert parse_price(entry) == found


def test_a_model_that_makes_several_outputs_unasked_is_priced_by_them() -> None:
    properties = {"num_images": {"type": "integer", "default": 4}, "n": {"default": 1}}
    entry = {"base_price_usd": 0.01, "price_unit": "output"}
    found = parse_price({**entry, "input_schema": {"properties": properties}})

    assert found == Price(0.01, Unit.OUTPUT, {"num_images": 4})
    assert found.units('{"prompt": "a"}') == found.units('{"num_images": null}') == 4
    assert found.units('{"num_images": 2}') == 2


@pytest.mark.parametrize(
    ("input", "outputs"),
    [
        ({}, 1),
        *(({name: 3}, 3) for name in OUTPUT_COUNT_INPUTS),
        ({"n": "4"}, 4),
        ({"n": 4.0}, 4),
        ({"num_images": 2, "max_images": 3}, 6),
        ({"n": True}, 1),
        ({"n": 0}, 1),
        ({"n": -2}, 1),
        ({"n": "auto"}, 1),
        ({"n": [5]}, 1),
        ({"n": 10**400}, 1_000_000),
        ({"prompt": '"n": 5'}, 1),
    ],
)
def test_a_row_is_priced_by_the_outputs_that_its_input_asks_for(
    input: dict[str, Any], outputs: int
) -> None:
    assert Price(0.5, Unit.OUTPUT).units(json.dumps(input)) == outputs
    assert Price(0.5).units(json.dumps(input)) == 1


def test_a_row_that_asks_for_more_than_anything_costs_passes_any_limit_and_stops_no_run(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="huge")
    counts = dict.fromkeys(("num_images", "batch_size", "n"), 10**6)
    # The model's own has limits.
    schema = {"properties": {"prompt": {}, **{name: {"type": "integer"} for name in counts}}}
    rows = [{"id": "huge", "prompt": "huge", **counts}, {"id": "usual", "prompt": "a fox"}]
    manifest = write("list.json", json.dumps({"model": SERIES, "schema": schema, "rows": rows}))
    limited = run(manifest, "--max-cost", 5)
    assert (limited.code, sandbox.posts) == (75, 0)
    assert "would pass the limit of $5.00" in limited.stderr

    run(manifest)
    assert tally(folder) == {"failed": 1, "saved": 1}
    assert query(folder, "SELECT state, price FROM requests WHERE id = 'huge'") == [("failed", 1e9)]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        *((5, 5), (7.5, 7.5), ("5", 5), (" 7.5 ", 7.5), (10**400, 1_000_000)),
        *(
            (value, None)
            for value in (None, 0, -5, "", "auto", "5s", "-5", "1e3", "nan", True, [5])
        ),
        *((value, None) for value in (float("nan"), {"duration": 5})),
    ],
    ids=str,
)
def test_a_row_is_priced_by_the_seconds_that_its_input_asks_for(
    duration: Any, seconds: float | None
) -> None:
    price = Price(0.15, Unit.SECOND, {"num_videos": 1})

    assert price.units(json.dumps({"duration": duration})) == seconds
    two = price.units(json.dumps({"duration": duration, "num_videos": 2}))
    assert two == (None if seconds is None else 2 * seconds)
    assert price.units("{}") is None


@pytest.mark.parametrize(
    "one",
    [
        Price(0.03),
        Price(0.03, Unit.OUTPUT, {"n": 4}),
        Price(0.15, Unit.SECOND, {}, True, "2026-11-26T01:30:00.000Z"),
    ],
)
def test_a_price_is_remembered_as_it_is(one: Price) -> None:
    assert read_prices(json.loads(json.dumps({"m": one.stored()}))) == {"m": one}


def test_an_older_journals_prices_are_for_a_request_and_a_strange_one_is_unknown() -> None:
    memory = {"a": 0.03, "b": None, "c": True, "d": "0.03", "e": [0.03], "f": {"usd": 0.03, "x": 1}}
    memory["g"] = {"usd": 0.03, "unit": "megapixel"}

    unknown = dict.fromkeys("bcdefg")
    assert read_prices(memory) == {"a": Price(0.03), **unknown}
    assert read_prices(None) == {}


def test_a_row_reserves_the_price_of_every_picture_that_it_asks_for(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", match="0")
    sandbox.fault("cost", match="1", value=0.05)
    run(write("list.jsonl", series(4, 2, None)))

    assert prices_of(folder) == {"r0": 0.12, "r1": 0.06, "r2": 0.03}
    # What is lost stays reserved as a whole; what the API says takes the place of a price.
    assert spending(folder) == {("r0", 1): 0.12, ("r1", 1): 0.05, ("r2", 1): 0.03}
    assert sandbox.billed_usd == 0.21


def test_a_price_for_a_request_reserves_what_a_request_has_cost_and_not_what_a_picture_has(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.jsonl", series(4, 4))
    run(manifest, "--limit", 1, "--max-cost", 5)
    run(manifest, "--price", 0.03, "--max-cost", 5)

    assert prices_of(folder) == {"r0": 0.12, "r1": 0.12}


def test_a_limit_of_cost_counts_pictures_and_not_rows(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    outcome = run(write("list.jsonl", series(4, 4, 4)), "--max-cost", 0.30)

    assert outcome.code == 75
    assert "The next request costs $0.12 and would pass the limit of $0.30" in outcome.stderr
    assert re.search(r"list\.jsonl:3: row '.*': The next request", outcome.stderr)
    assert tally(folder) == {"saved": 2, "pending": 1}
    assert sandbox.billed_usd == 0.24


def test_a_plan_and_the_warning_about_the_balance_count_pictures(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.jsonl", series(4, 2, None))
    sandbox.set(balance=0.2)
    outcome = run(manifest, "--limit", 2)
    assert "2 requests, about $0.18, balance $0.20.\n" in outcome.stderr
    assert "The balance is" not in outcome.stderr
    sandbox.set(balance=0.02)
    outcome = run(manifest)
    assert "1 request, about $0.03, balance $0.02.\n" in outcome.stderr
    assert "The balance is $0.02 and the pending rows cost about $0.03" in outcome.stderr

    planned = batchgen("plan", manifest, "--out", folder, "--json")
    assert json.loads(planned.stdout)["cost"] == 0.03


# Where the price is not the cost


CLIPS = "atelier/clips/text-to-video"


def clips(*durations: object) -> str:
    """A JSONL manifest of videos of so many seconds; None does not say."""
    rows = [
        {"id": f"r{n}", "prompt": f"clip {n}", "model": CLIPS}
        | ({} if seconds is None else {"duration": seconds})
        for n, seconds in enumerate(durations)
    ]
    return "\n".join(map(json.dumps, rows))


def test_a_video_is_reserved_by_its_seconds(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(price=0.15)
    outcome = run(write("list.jsonl", clips(5, "8")), "--max-cost", 1.95)

    assert "2 requests, about $1.95" in outcome.stderr
    assert (outcome.code, prices_of(folder)) == (0, {"r0": 0.75, "r1": 1.2})
    assert sandbox.billed_usd == money(folder)["committed"] == 1.95


def test_a_limit_refuses_a_video_of_which_nobody_knows_the_seconds(
    run: Command, sandbox: Control, write: Write
) -> None:
    manifest = write("list.jsonl", clips(5, None, "auto"))
    outcome = run(manifest, "--max-cost-per-day", 5)

    assert (outcome.code, sandbox.posts) == (2, 0)
    assert "--max-cost-per-day needs to know the price of each request" in outcome.stderr
    assert "row 'r1' (list.jsonl:2) has no duration (2 rows in all)" in outcome.stderr
    assert "--max-cost " not in outcome.stderr
    assert run(manifest, "--max-cost-per-day", 5, "--price", f"{CLIPS}=0.5").code == 0


def test_a_limit_leaves_a_row_alone_whose_price_is_not_known_until_one_has_its_cost(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(price=0.15)
    manifest = write("list.jsonl", clips(5, None))
    outcome = run(manifest, "--limit", 1, "--max-cost", 5)
    assert (outcome.code, sandbox.posts) == (75, 1)

    assert run(manifest, "--max-cost", 5).code == 0
    assert prices_of(folder) == {"r0": 0.75, "r1": 0.75}


@pytest.mark.parametrize("cap", [1.0, 3.0])
def test_where_requests_cost_more_than_the_catalogue_says_only_the_first_can_pass_a_limit(
    run: Command, folder: Path, sandbox: Control, write: Write, cap: float
) -> None:
    sandbox.set(cost_factor=50)  # $1.50 where the catalogue says $0.03
    manifest = write("list.csv", table(many(20)))
    outcome = run(manifest, "--max-cost", cap, "--concurrency", 16)

    assert outcome.code == 75
    assert sandbox.billed_usd == (1.5 if cap < 1.5 else 3.0)
    assert run(manifest, "--max-cost", cap).code == 75  # it has not been forgotten
    assert sandbox.billed_usd == (1.5 if cap < 1.5 else 3.0)
    assert f"The next request costs $1.50 and would pass the limit of ${cap:.2f}" in outcome.stderr


def run_a_dear_one(run: Command, sandbox: Control, write: Write, *options: object) -> str:
    """Return a list of 30 rows at $0.35, of which the first has cost $2.80: each reserves that."""
    sandbox.set(price=0.35, pricing_note="2K costs more")
    sandbox.fault("cost", match="number 1", value=2.8)
    manifest = write("list.csv", table(many(30)))
    assert run(manifest, "--limit", 1, *options).code == 75
    return manifest


@pytest.fixture
def dear_once(run: Command, sandbox: Control, write: Write) -> str:
    return run_a_dear_one(run, sandbox, write)


def cost_of_all(folder: Path) -> float:
    return round(sum(spending(folder).values()), 6)


@PATIENT  # and no limit of a day: the pretend clock passes midnight while they are under way
def test_what_is_reserved_for_requests_under_way_ends_no_run(
    run: Command, folder: Path, sandbox: Control, dear_once: str
) -> None:
    """Two of them reserved all that was left, and the run ended, although they came to $0.70."""
    sandbox.set(seconds=0.1)
    outcome = run(dear_once, "--max-cost", 10, "--concurrency", 16)

    assert (outcome.code, cost_of_all(folder)) == (75, 7.35)
    assert tally(folder) == {"saved": 14, "pending": 16}
    assert "costs $2.80 and would pass the limit of $10.00" in outcome.stderr
    assert "($7.35 is spent or reserved)" in outcome.stderr
    assert outcome.stderr.count("rows wait for the costs of requests under way") == 1


@PATIENT
def test_the_same_holds_of_a_batch_in_a_database(
    run: Command, sandbox: Control, write: Write, database: Database
) -> None:
    where = ("--journal", database.url)
    manifest = run_a_dear_one(run, sandbox, write, *where)
    sandbox.set(seconds=0.1)
    outcome = run(manifest, *where, "--max-cost", 10, "--concurrency", 16)

    assert (outcome.code, sandbox.accepted) == (75, 14)
    assert "($7.35 is spent or reserved)" in outcome.stderr


@pytest.mark.timing(max_polling=60.0)
def test_a_request_that_never_ends_is_not_waited_for_longer_than_it_is_asked_about(
    run: Command, folder: Path, sandbox: Control, dear_once: str
) -> None:
    sandbox.set(seconds=100_000)
    outcome = run(dear_once, "--max-cost", 6)

    assert outcome.code == 75
    assert "($5.60 is spent or reserved)" in outcome.stderr
    assert tally(folder) == {"saved": 1, "submitted": 1, "pending": 28}


def test_what_an_earlier_run_has_under_way_is_waited_for_as_well(
    run: Command, folder: Path, sandbox: Control, dear_once: str
) -> None:
    run(dear_once, "--limit", 1, timing=NEVER_ASKING)
    outcome = run(dear_once, "--max-cost", 6, "--limit", 1)

    assert "The limit of 1 submissions is reached" in outcome.stderr
    assert tally(folder) == {"saved": 3, "pending": 27}


def test_a_row_that_waits_for_a_cost_is_not_counted_as_submitted(
    run: Command, folder: Path, sandbox: Control, dear_once: str
) -> None:
    outcome = run(dear_once, "--max-cost", 6.5, "--limit", 3)

    assert "The limit of 3 submissions is reached" in outcome.stderr
    assert tally(folder) == {"saved": 4, "pending": 26}


def test_a_price_with_a_note_is_the_least_and_said_so(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write, reach: list[str]
) -> None:
    sandbox.set(price=0.15, pricing_note="1080p costs more", cost_factor=4)
    manifest = write("list.jsonl", clips(5, 5, 10))
    low = run(manifest, "--max-cost", 0.5)
    assert "The next request costs at least $0.75 and would pass the limit" in low.stderr
    assert sandbox.posts == 0
    planned = batchgen("plan", manifest, *reach)
    assert "would send 3 requests, for at least $3.00" in planned.stdout

    outcome = run(manifest, "--max-cost", 6)
    assert "3 requests, at least $3.00, balance" in outcome.stderr
    assert f"{CLIPS}: the first row goes alone until its cost is known." in outcome.stderr
    assert (outcome.code, sandbox.billed_usd) == (75, 6.0)
    assert "The next request costs $6.00 and would pass the limit of $6.00" in outcome.stderr
    assert prices_of(folder) == {"r0": 0.75, "r1": 3.0, "r2": None}
    again = batchgen("plan", manifest, *reach, "--json")
    assert json.loads(again.stdout) | {"cost": 6.0, "cost_is_floor": False} == json.loads(
        again.stdout
    )


def test_a_run_that_was_killed_beside_the_first_row_of_a_model_waits_for_its_cost(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(cost_factor=50)
    manifest = write("list.csv", table(many(20)))
    run(manifest, "--max-cost", 3, "--limit", 1, timing=NEVER_ASKING)
    assert tally(folder) == {"submitted": 1, "pending": 19}

    assert run(manifest, "--max-cost", 3).code == 75
    assert sandbox.billed_usd == 3.0


def test_a_first_row_that_never_ends_does_not_hold_the_others_for_ever(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=100_000)
    outcome = run(write("list.csv", table(many(3))), "--max-cost", 1, timing=Timing(max_polling=60))

    assert (outcome.code, tally(folder)) == (75, {"submitted": 3})


# What a run says before it pays


def test_a_run_says_what_it_is_about_to_spend_and_what_a_limit_leaves_of_that(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.set(balance=120.4)
    manifest = write("list.csv", table(many(1100)))
    outcome = run(manifest, "--max-cost", 0.06)
    words = "1,100 requests, about $33.00, of which --max-cost leaves $0.06, balance $120.40.\n"

    assert outcome.stderr.startswith(words)
    assert run(manifest, "--max-cost-per-day", 0.06).stderr.startswith(
        "1,098 requests, about $32.94, of which --max-cost-per-day leaves $0.00, balance $120.34.\n"
    )


def test_a_list_does_not_make_its_rows_look_cheaper_than_runcomfy_says(
    run: Command, batchgen: Command, reach: list[str], write: Write
) -> None:
    """A stranger's `price: 0` hid what was about to be spent, and nobody was asked."""
    manifest = write("gift.yaml", "price: 0\nrows: [one, two]\n")

    assert "for $0.06" in batchgen("plan", manifest, *reach).stdout
    outcome = run(manifest, "--max-cost", 0.05)
    assert f"{DEFAULT_MODEL}: RunComfy's price counts, not that of the list." in outcome.stderr
    assert "2 requests, about $0.06, of which --max-cost leaves $0.05" in outcome.stderr


def test_a_run_that_sends_nothing_says_nothing_and_asks_nobody_about_the_balance(
    run: Command, write: Write
) -> None:
    manifest = write("list.csv", table(many(2)))
    run(manifest)

    assert run(manifest).stderr.startswith("Every row is saved.\n")


def test_what_has_no_known_price_is_said_beside_what_has(
    run: Command, sandbox: Control, write: Write
) -> None:
    outcome = run(write("list.jsonl", clips(5, None, None)))

    assert "row 'r1' (list.jsonl:2) has no duration, so its price is not known" in outcome.stderr
    assert "3 requests, about $0.15 and 2 without a known price, balance" in outcome.stderr


EACH = """
import json, sys
from batchgen.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["batchgen", *words]
    try:
        main()
    except SystemExit as left:
        print("ended with", left.code or 0)
"""


@pytest.fixture
def at_terminal(here: Path, reach: list[str]) -> Callable[..., str]:
    """Run lists one after the other, in one process at a terminal, and type answers; return what
    is shown, with the exit code of each. A list comes with its options."""

    def run_them(answers: str, *runs: tuple[object, ...]) -> str:
        more = ["--rate", "1000/s", *reach]
        commands = [["run", *map(str, words), *more] for words in runs]
        return at_a_terminal(answers, sys.executable, "-c", EACH, json.dumps(commands))[1]

    return run_them


def ended_with(shown: str) -> list[int]:
    return [int(code) for code in re.findall(r"ended with (\d+)", shown)]


def test_a_person_at_a_terminal_is_asked_before_much_is_spent_or_nobody_knows_how_much(
    at_terminal: Callable[..., str], sandbox: Control, write: Write
) -> None:
    sandbox.set(price=10)
    manifest = write("list.csv", table(many(3)))
    unpriced = write("unpriced.jsonl", clips(None))
    shown = at_terminal("n\n\ny\n", (manifest,), (unpriced,), (manifest,))

    assert ended_with(shown) == [75, 75, 0]
    refused, of_unknown, agreed, _ = shown.split("ended with")
    assert "3 requests, about $30.00, balance" in refused
    assert "Spend about $30.00? [y/N]" in refused
    assert "Nothing was sent." in refused
    assert "Submit them without knowing what they cost? [y/N]" in of_unknown
    assert "Spend about $30.00? [y/N]" in agreed
    assert sandbox.posts == 3


def test_who_has_said_enough_is_not_asked(
    at_terminal: Callable[..., str], sandbox: Control, write: Write
) -> None:
    sandbox.set(price=10)
    sandbox.fault("422", times=None)  # it is enough that a row is submitted
    enough = [("--yes",), ("--ask-above", "30"), ("--max-cost", "25"), ("--limit", "2")]
    lists = [write(f"list-{n}.csv", table(many(3, f"{n}"))) for n, _ in enumerate(enough)]
    shown = at_terminal(
        "n\n" * 4, *[(list, *words) for list, words in zip(lists, enough, strict=True)]
    )

    assert len(ended_with(shown)) == len(enough)
    assert "[y/N]" not in shown
    assert sandbox.posts == 3 + 3 + 3 + 2


def test_the_sum_above_which_is_asked_may_stand_in_the_environment_and_in_no_manifest(
    at_terminal: Callable[..., str],
    run: Command,
    sandbox: Control,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = write("list.csv", table(many(3)))
    monkeypatch.setenv("BATCHGEN_ASK_ABOVE", "0.05")
    assert "Spend about $0.09? [y/N]" in at_terminal("n\n", (manifest,))
    for text in ("nan", "inf", "much"):
        monkeypatch.setenv("BATCHGEN_ASK_ABOVE", text)
        outcome = run(manifest)
        assert outcome.code == 2
        assert f"BATCHGEN_ASK_ABOVE: '{text}' is not an amount; write 5.00." in outcome.stderr
    monkeypatch.delenv("BATCHGEN_ASK_ABOVE")
    for setting in ("ask_above: 1000", "yes: true"):
        outcome = run(write("list.yaml", f"{setting}\nrows: [one]\n"))
        assert outcome.code == 65
        assert "a manifest cannot set this" in outcome.stderr
    assert sandbox.posts == 0


# --price


def test_a_price_on_the_command_line_is_for_any_list(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("404", times=None, on="model")
    sandbox.fault("no-cost", times=None)
    outcome = run(write("list.csv", table(many(3))), "--price", "0.06", "--max-cost", 0.15)

    assert "3 requests, about $0.18" in outcome.stderr
    assert (outcome.code, sandbox.accepted) == (75, 2)


@pytest.mark.parametrize(
    "words",
    [
        *(("nan",), ("inf",), ("-1",), ("a/b=nan",), ("a/b=",), ("=1",), ("1", "2"), ("$1",)),
        ("a/b=1", "a/b=2"),
    ],
    ids=str,
)
def test_a_price_that_cannot_be_read_is_a_usage_error(
    run: Command, sandbox: Control, write: Write, words: tuple[str, ...]
) -> None:
    options = [word for text in words for word in ("--price", text)]
    outcome = run(write("list.csv", table(many(1))), *options)

    assert (outcome.code, sandbox.posts) == (2, 0)
    assert "--price" in outcome.stderr


def test_a_price_that_a_person_names_is_for_a_request_however_many_pictures_it_makes(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("no-cost", times=None)
    rows = f"model: {SERIES}\nrows: [{{prompt: one, num_images: 4}}]\n"
    run(write("list.yaml", rows), "--price", 0.5)

    assert list(prices_of(folder).values()) == [0.5]


@pytest.mark.parametrize("price", ["0.0001", f"{{{DEFAULT_MODEL}: 0.0001}}"])
def test_the_price_of_a_list_does_not_take_the_place_of_the_configurations(
    run: Command,
    batchgen: Command,
    reach: list[str],
    sandbox: Control,
    write: Write,
    own: Own,
    price: str,
) -> None:
    """It could empty a limit of the person's own."""
    own(f'max_cost = 0.15\n[price]\n"{DEFAULT_MODEL}" = 0.06\n')
    sandbox.fault("404", times=None, on="model")
    sandbox.fault("no-cost", times=None)
    manifest = write("list.yaml", f"price: {price}\nrows: [one, two, three]\n")

    assert "for $0.18" in batchgen("plan", manifest, *reach).stdout
    shown = batchgen("config", "show", manifest).stdout
    assert re.search(rf"price \(yours\) +{DEFAULT_MODEL}=\$0.06 +configuration \(line 2\)", shown)
    outcome = run(manifest)
    assert "3 requests, about $0.18" in outcome.stderr
    assert (outcome.code, sandbox.accepted) == (75, 2)


def test_a_price_that_is_for_no_row_is_told_and_no_error(
    run: Command, batchgen: Command, reach: list[str], sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(1)))
    options = ["--price", "nosuch/model=0.5", "--price", f"{DEFAULT_MODEL}=0.06"]
    told = "The price of nosuch/model is for no row: none has this model."
    planned = batchgen("plan", manifest, *options, *reach)
    assert (planned.code, planned.stderr) == (0, f"{told}\n")

    for _ in range(2):  # the second time the list is not read
        outcome = run(manifest, *options)
        assert outcome.code == 0
        assert told in outcome.stderr
    assert f"price of {DEFAULT_MODEL}" not in outcome.stderr
