"""Who is told of an ending, and in which words."""

import pytest

from batchgen.core.states import State
from batchgen.engine.run_outcome import ALL_SAVED, TIME_LIMIT, News, RunOutcome
from batchgen.errors import BatchBusy, Declined, ManifestInvalid, OutsideWindow, TokenRefused
from batchgen.notify.ending import Ending
from batchgen.notify.ping_url import Moment

NUMBERS = {
    "counts": {"saved": 7, "failed": 2, "cancelled": 0, "unknown": 0, "completed": 0},
    "rehearsal": False,
    "causes": [{"rows": 2, "state": "failed", "cause": "too long", "example": "0007-a-heron"}],
    "money_usd": {"committed": 0.27, "unknown": 0, "unpriced": 0, "estimated": False},
}
PROMPT = "A heron standing in a reed bed at dusk"


def ended(outcome: RunOutcome) -> Ending:
    return Ending.of_run(outcome, news=News(any=False), manifest="/lists/night.csv")


def refused(error: Exception) -> Ending:
    return Ending.of_error(error, manifest="/lists/night.csv")


@pytest.mark.parametrize("outcome", [ALL_SAVED, TIME_LIMIT])
def test_a_run_that_did_what_it_was_to_do_is_a_success(outcome: RunOutcome) -> None:
    assert ended(outcome).moment is Moment.SUCCESS


@pytest.mark.parametrize(
    "outcome",
    [
        RunOutcome(1, "Not every row is saved: 1 failed.", calm=True),
        RunOutcome(75, "The balance is used up."),
        RunOutcome(75, "--max-cost is reached.", once="max_cost 5"),
        RunOutcome(143, "Interrupted by SIGTERM.", calm=True),
    ],
)
def test_a_run_that_did_not_is_a_failure(outcome: RunOutcome) -> None:
    assert ended(outcome).moment is Moment.FAIL


@pytest.mark.parametrize("state", ["failed", "cancelled", "invalid", "unknown"])
def test_a_limit_hides_no_row_that_a_person_has_to_settle(state: str) -> None:
    """Each night of a list that always reaches its --until was a success, whatever was unknown."""
    counts = dict.fromkeys(("pending", "saved", "failed", "cancelled", "invalid", "unknown"), 0)
    calm = NUMBERS | {"counts": counts | {"pending": 4, "saved": 9, "written_off": 1}}
    trouble = NUMBERS | {"counts": counts | {"pending": 4, state: 1}}

    assert ended(TIME_LIMIT).with_numbers("/out", calm).moment is Moment.SUCCESS
    assert ended(TIME_LIMIT).with_numbers("/out", trouble).moment is Moment.FAIL
    assert refused(OutsideWindow("It is day.")).with_numbers("/out", trouble).moment is None


@pytest.mark.parametrize("error", [ManifestInvalid("night.csv", 2), TokenRefused("no"), OSError(5)])
def test_a_run_that_did_not_begin_although_it_was_due_is_a_failure_and_news(
    error: Exception,
) -> None:
    assert (refused(error).moment, refused(error).news) == (Moment.FAIL, True)


@pytest.mark.parametrize("error", [BatchBusy("out", "1"), OutsideWindow("It is day."), Declined()])
def test_a_monitor_hears_nothing_of_a_run_that_was_not_due(error: Exception) -> None:
    assert refused(error).moment is None


def test_the_subject_says_first_what_is_new() -> None:
    outcome = RunOutcome(1, "Not every row is saved: 4 failed, 1 unknown.")
    new = News(any=True, rows={State.FAILED: 2, State.UNKNOWN: 1})
    told = Ending.of_run(outcome, news=new, manifest="/lists/night.csv")

    assert told.title() == (
        "night.csv: new: 2 failed, 1 unknown. Not every row is saved: 4 failed, 1 unknown."
    )
    assert ended(outcome).title() == "night.csv: Not every row is saved: 4 failed, 1 unknown."


def test_who_said_no_is_not_told_of_it() -> None:
    assert refused(BatchBusy("out", "1")).news
    assert not refused(Declined()).news


def test_the_words_have_states_money_causes_and_the_exit_code() -> None:
    ending = Ending(1, "Two failed.", "", Moment.FAIL, True, "/lists/night.csv", "/out", NUMBERS)

    assert ending.lines() == [
        "night.csv: Two failed.",
        "7 saved, 2 failed",
        "$0.27 spent or reserved",
        "2 failed: too long",
        "exit code 1",
    ]
    assert "batchgen retry /out" in ending.message("batchgen")
    assert "heron" not in ending.message("batchgen")  # an id has words of its prompt


@pytest.mark.parametrize("quotes", ["''", '""', "“”", "'", '"'])
def test_a_prompt_that_a_cause_repeats_in_quotes_is_left_out(quotes: str) -> None:
    cause = f"bad prompt {quotes[0]}{PROMPT}{quotes[1:]}"
    numbers = NUMBERS | {"causes": [{**NUMBERS["causes"][0], "cause": cause}]}  # type: ignore[index]
    ending = Ending(1, cause, cause, Moment.FAIL, True, "/night.csv", "/out", numbers)

    said = "\n".join([ending.title(), *ending.lines(), ending.message("batchgen")])
    assert "reed bed" not in said
    assert "bad prompt …" in said
