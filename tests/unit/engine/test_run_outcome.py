"""How a run ends: the exit codes that scripts and cron rely on."""

from collections import Counter

import pytest

from batchgen.core.states import State
from batchgen.engine.held_rows import HeldRow, HeldRows
from batchgen.engine.run_outcome import ALL_SAVED, RUN_AGAIN, RunOutcome, final_outcome
from batchgen.errors import BatchBusy, ManifestInvalid, NewerJournal, TokenRefused

LIMIT = RunOutcome(75, "The limit of 3 submissions is reached.", RUN_AGAIN, calm=True)
TOKEN = RunOutcome(77, "token refused", "Set RUNCOMFY_TOKEN.")
SIGNAL = RunOutcome(130, "Interrupted by SIGINT.", RUN_AGAIN, calm=True)
DAMAGE = RunOutcome(74, "batch.db cannot be used")


def test_a_run_that_saved_every_row_ends_with_0_and_says_nothing_under_quiet():
    ending = final_outcome({State.SAVED: 12}, None, HeldRows())

    assert (ending.code, ending.calm) == (0, True)


def test_a_row_that_a_person_gave_up_keeps_nobody_waiting():
    ending = final_outcome({State.SAVED: 12, State.WRITTEN_OFF: 2}, None, HeldRows())

    assert (ending.code, ending.calm) == (0, True)
    assert "2 written off" in ending.reason


def test_a_run_without_rows_has_saved_them_all():
    assert final_outcome({}, None, HeldRows()) == ALL_SAVED


@pytest.mark.parametrize(
    "state", [State.FAILED, State.CANCELLED, State.INVALID, State.UNKNOWN, State.COMPLETED]
)
def test_a_run_that_tried_everything_ends_with_1_if_a_row_needs_a_person(state):
    ending = final_outcome({State.SAVED: 5, state: 2}, None, HeldRows())

    assert ending.code == 1
    assert f"2 {state}" in ending.reason
    assert not ending.calm


@pytest.mark.parametrize("state", [State.PENDING, State.SUBMITTING, State.SUBMITTED])
def test_a_run_that_left_rows_unfinished_ends_with_75(state):
    ending = final_outcome({State.SAVED: 5, State.FAILED: 1, state: 2}, None, HeldRows())

    assert (ending.code, ending.remedy) == (75, RUN_AGAIN)
    assert "2 rows" in ending.reason


@pytest.mark.parametrize("stopped", [LIMIT, TOKEN, SIGNAL, DAMAGE], ids=lambda e: str(e.code))
def test_what_stopped_a_run_is_how_it_ends(stopped):
    assert final_outcome({State.SAVED: 1, State.PENDING: 1}, stopped, HeldRows()) is stopped


@pytest.mark.parametrize("state", [State.SUBMITTING, State.SUBMITTED, State.COMPLETED])
def test_a_limit_that_leaves_something_to_collect_is_how_a_run_ends(state):
    assert final_outcome({state: 1}, LIMIT, HeldRows()) is LIMIT


def test_a_limit_that_was_reached_when_all_was_done_stopped_nothing():
    assert final_outcome({State.SAVED: 3}, LIMIT, HeldRows()) == ALL_SAVED
    assert final_outcome({State.SAVED: 3, State.FAILED: 1}, LIMIT, HeldRows()).code == 1


@pytest.mark.parametrize("stopped", [TOKEN, SIGNAL, DAMAGE], ids=lambda e: str(e.code))
def test_a_refused_token_an_interruption_and_damage_are_told_even_when_all_is_saved(stopped):
    assert final_outcome({State.SAVED: 3}, stopped, HeldRows()) is stopped


def test_states_that_no_row_is_in_are_not_mentioned():
    ending = final_outcome({State.SAVED: 3, State.FAILED: 1, State.UNKNOWN: 0}, None, HeldRows())

    assert "unknown" not in ending.reason


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ManifestInvalid("list.csv", 2), 65),
        (NewerJournal("batch.db", 9, 1), 74),
        (BatchBusy("out/list", "process 7"), 75),
        (TokenRefused("There is no token.", "Get one."), 77),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_a_run_with_its_own_code_words_and_remedy(error, code):
    assert RunOutcome.of(error) == RunOutcome(code, str(error), error.remedy)


def test_a_run_in_which_nothing_got_through_to_the_api_ends_with_69_and_names_the_row():
    held = HeldRows([HeldRow("key", "list.csv:2: row 'heron'", "refused (403)", 403, 1.0)])
    counts = {State.SAVED: 1, State.PENDING: 1}

    ending = final_outcome(counts, None, held)
    assert (ending.code, ending.calm) == (69, False)
    assert "list.csv:2: row 'heron': refused (403)" in ending.reason

    held.any_accepted = True
    ending = final_outcome(counts, None, held)
    assert ending.code == 75
    assert "list.csv:2: row 'heron': refused (403)" in ending.reason


def test_rows_that_only_time_can_settle_are_routine():
    ending = final_outcome({State.SAVED: 3, State.COMPLETED: 1}, None, HeldRows(), waiting=1)
    assert (ending.code, ending.calm) == (75, True)

    counts = {State.SUBMITTED: 1, State.COMPLETED: 1}
    assert final_outcome(counts, None, HeldRows(), waiting=2).calm


@pytest.mark.parametrize(
    "others", [{State.COMPLETED: 2}, {State.SUBMITTED: 1, State.COMPLETED: 1}, {State.PENDING: 1}]
)
def test_a_row_that_is_late_for_another_reason_is_not(others):
    assert not final_outcome(Counter(others) + Counter([State.COMPLETED]), None, HeldRows(), 1).calm


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN])
def test_a_row_that_needs_a_person_is_told_beside_one_that_is_waited_for(state):
    ending = final_outcome({State.COMPLETED: 1, state: 1}, None, HeldRows(), waiting=1)

    assert (ending.code, ending.calm) == (1, False)
