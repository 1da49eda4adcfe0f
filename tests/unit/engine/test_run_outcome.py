"""How a run ends: the exit codes that scripts and cron rely on."""

from collections import Counter
from dataclasses import replace

import pytest

from batchgen.core.states import State
from batchgen.engine.held_rows import HeldRow, HeldRows
from batchgen.engine.run_outcome import (
    ALL_SAVED,
    MISTAKE,
    NO_MEMORY,
    RUN_AGAIN,
    TIME_LIMIT,
    Headway,
    RunOutcome,
    Told,
    final_outcome,
    is_told,
    troubled_states,
)
from batchgen.errors import (
    BatchBusy,
    JournalLocked,
    ManifestInvalid,
    NewerJournal,
    StoppedEarly,
    StorageDamaged,
    TokenRefused,
)

LIMIT = RunOutcome(75, "The limit of 3 submissions is reached.", RUN_AGAIN, calm=True)
TOKEN = RunOutcome(77, "token refused", "Set RUNCOMFY_TOKEN.")
SIGNAL = RunOutcome(130, "Interrupted by SIGINT.", RUN_AGAIN, calm=True)
DAMAGE = RunOutcome(74, "batch.db cannot be used")
DISK = RunOutcome.under_way(StorageDamaged("receipts.log: Input/output error."))


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


@pytest.mark.parametrize("stopped", [MISTAKE, NO_MEMORY, DISK], ids=lambda e: e.reason)
@pytest.mark.parametrize("others", [{}, {State.FAILED: 1}, {State.UNKNOWN: 1}], ids=str)
def test_what_is_out_of_order_here_is_told_even_when_all_is_saved(others, stopped):
    assert final_outcome({State.SAVED: 3, **others}, stopped, HeldRows()) is stopped


def test_a_journal_that_was_locked_for_a_while_does_no_harm_once_all_is_saved():
    locked = RunOutcome.under_way(JournalLocked("batch.db"))

    assert final_outcome({State.SAVED: 3}, locked, HeldRows()) == ALL_SAVED


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
    ending = final_outcome(Counter(others) + Counter([State.COMPLETED]), None, HeldRows(), 1)

    assert "Later runs ask again" not in ending.reason
    assert is_told(ending, newly_in_trouble=1, told=BEFORE)


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN])
def test_a_row_that_needs_a_person_is_told_beside_one_that_is_waited_for(state):
    ending = final_outcome({State.COMPLETED: 1, state: 1}, None, HeldRows(), waiting=1)

    assert ending.code == 1
    assert is_told(ending, newly_in_trouble=1, told=BEFORE)


# What --quiet tells

AWAY = Headway(moved=False, unreachable="since 01:30 (connection refused)")
AWAY_LATER = Headway(unreachable="since 03:12 (connection refused)")
IDLE = Headway(moved=False)
THROTTLED = Headway(moved=False, throttled=True)
WORKED = Headway()
STOPPED = Headway(stopped_models={"a/b": "not allowed", "c/d": "no luck"})
DAY = RunOutcome.under_way(StoppedEarly("The day's limit.", "Raise it.", calm=True, once="day 5"))
BATCH = RunOutcome.under_way(StoppedEarly("The batch's limit.", "Raise it.", once="batch 5"))
BALANCE = RunOutcome(75, "The balance is used up.", "Top up the account.")
PAUSED = RunOutcome(75, "The batch is paused.", once="paused")
DUE, DONE, WAITING = {State.PENDING: 9}, {State.SAVED: 9}, {State.SUBMITTED: 9}
BAD = {State.SAVED: 8, State.FAILED: 1}
BEFORE, BEFORE_AND_CAPPED = Told(seq=7), Told(seq=7, once="batch 5")

# What a night did: rows by state, what stopped it, what came of its work, rows that are newly in
# trouble, what was told before -> exit code, and whether --quiet tells of it.
NIGHTS = {
    "all is saved": (DONE, None, WORKED, 0, BEFORE, 0, False),
    "all was saved before": (DONE, None, IDLE, 0, BEFORE, 0, False),
    "the time limit, with work done": (DUE, TIME_LIMIT, WORKED, 0, BEFORE, 75, False),
    "the time limit, with work done and rows that failed": (
        *({**DUE, **BAD}, TIME_LIMIT, WORKED, 1, BEFORE, 75, True),
    ),
    "the time limit, with work done and rows that failed before": (
        *({**DUE, **BAD}, TIME_LIMIT, WORKED, 0, BEFORE, 75, False),
    ),
    "the time limit, and the API was down all night": (
        *(DUE, TIME_LIMIT, AWAY, 0, BEFORE, 69, True),
    ),
    "the time limit, and the API is down since three": (
        *(DUE, TIME_LIMIT, AWAY_LATER, 0, BEFORE, 69, True),
    ),
    "the time limit, and nothing but rate limits": (
        *(DUE, TIME_LIMIT, THROTTLED, 0, BEFORE, 75, True),
    ),
    "the time limit, and nothing was accepted": (DUE, TIME_LIMIT, IDLE, 0, BEFORE, 75, True),
    "the time limit, and accepted rows are waited for": (
        *(WAITING, TIME_LIMIT, IDLE, 0, BEFORE, 75, False),
    ),
    "the time limit, with work done and a model that was stopped": (
        *(DUE, TIME_LIMIT, STOPPED, 0, BEFORE, 75, True),
    ),
    "the limit of rows": (DUE, LIMIT, WORKED, 0, BEFORE, 75, False),
    "the limit of rows is none": (DUE, LIMIT, IDLE, 0, BEFORE, 75, False),
    "the limit of rows, and the API is down": (DUE, LIMIT, AWAY_LATER, 0, BEFORE, 69, True),
    "the day's cap": (DUE, DAY, WORKED, 0, BEFORE, 75, False),
    "the day's cap, used up before": (DUE, DAY, IDLE, 0, BEFORE, 75, False),
    "the batch's cap": (DUE, BATCH, WORKED, 0, BEFORE, 75, True),
    "the batch's cap, as it was told": (DUE, BATCH, IDLE, 0, BEFORE_AND_CAPPED, 75, False),
    "the batch's cap, as it was told, and rows that failed": (
        *({**DUE, **BAD}, BATCH, WORKED, 1, BEFORE_AND_CAPPED, 75, True),
    ),
    "no balance, every night": (DUE, BALANCE, IDLE, 0, BEFORE, 75, True),
    "no token, every night": (DUE, TOKEN, IDLE, 0, BEFORE, 77, True),
    "a signal": (DUE, SIGNAL, WORKED, 0, BEFORE, 130, False),
    "a signal, and rows that failed": ({**DUE, **BAD}, SIGNAL, WORKED, 1, BEFORE, 130, True),
    "damage": (DUE, DAMAGE, WORKED, 0, BEFORE, 74, True),
    "a mistake, and all is saved": (DONE, MISTAKE, WORKED, 0, BEFORE, 75, True),
    "the disk failed, and all is saved": (DONE, DISK, WORKED, 0, BEFORE, 75, True),
    "a pause, and all is saved": (DONE, PAUSED, IDLE, 0, BEFORE, 0, False),
    "rows failed": (BAD, None, WORKED, 1, BEFORE, 1, True),
    "rows failed before": (BAD, None, IDLE, 0, BEFORE, 1, False),
    "rows are left, since their model is stopped": (DUE, None, WORKED, 0, BEFORE, 75, True),
    "accepted rows are waited for": (WAITING, None, WORKED, 1, BEFORE, 75, True),
    "accepted rows are still waited for": (WAITING, None, IDLE, 0, BEFORE, 75, False),
}


@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS)
def test_quiet_tells_of_what_was_due_and_not_done_and_of_new_trouble(night):
    counts, stopped, headway, new, told, code, tells = night
    ending = final_outcome(counts, stopped, HeldRows(), headway=headway)

    assert (ending.code, is_told(ending, new, told)) == (code, tells)


@pytest.mark.parametrize(
    ("first", "later", "told"),
    [
        (LIMIT, TOKEN, TOKEN),
        (LIMIT, DISK, DISK),
        (LIMIT, TIME_LIMIT, LIMIT),
        (LIMIT, SIGNAL, SIGNAL),
        (SIGNAL, LIMIT, SIGNAL),
        (PAUSED, DISK, DISK),
        (PAUSED, BALANCE, PAUSED),
        (DISK, MISTAKE, DISK),
        (TOKEN, DISK, TOKEN),
    ],
    ids=lambda stop: stop.reason,
)
def test_of_two_stops_the_first_is_told_unless_it_would_hide_the_other(first, later, told):
    assert told is (later if first.yields_to(later) else first)


def test_a_night_without_the_api_says_since_when_and_why():
    ending = final_outcome(DUE, TIME_LIMIT, HeldRows(), headway=AWAY)

    assert "since 01:30 (connection refused)" in ending.reason
    assert TIME_LIMIT.reason in ending.reason
    assert RUN_AGAIN in ending.remedy


def test_a_night_of_rate_limits_says_so_and_an_ending_that_changed_is_said_again():
    ending = final_outcome(DUE, replace(TIME_LIMIT, said=True), HeldRows(), headway=THROTTLED)

    assert "429" in ending.reason
    assert not ending.said


def test_a_model_that_was_stopped_is_named_with_its_cause():
    for stopped in (TIME_LIMIT, None):
        ending = final_outcome(DUE, stopped, HeldRows(), headway=STOPPED)
        assert "a/b was stopped: not allowed. Also 1 more model." in ending.reason


def test_what_an_interrupted_run_left_under_way_is_no_trouble():
    under_way = {State.SUBMITTED, State.COMPLETED}

    assert not under_way & {*troubled_states(SIGNAL)}
    assert under_way < {*troubled_states(LIMIT)}
    assert {State.FAILED, State.UNKNOWN} <= {*troubled_states(SIGNAL)}
    assert State.WRITTEN_OFF not in troubled_states(LIMIT)


@pytest.mark.parametrize("state", [State.PENDING, State.SUBMITTED, State.COMPLETED])
def test_what_other_machines_have_is_waited_for_by_nobody(state):
    ending = final_outcome({State.SAVED: 5, state: 3}, None, HeldRows(), elsewhere=3)
    with_one_of_ours = final_outcome({State.SAVED: 5, State.PENDING: 4}, None, HeldRows(), 0,
                                     elsewhere=3)  # fmt: skip

    assert (ending.code, ending.calm) == (75, True)
    assert "others have 3 rows" in ending.reason
    assert "4 rows not finished" in with_one_of_ours.reason
