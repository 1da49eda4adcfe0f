"""When to stop paying: a canary for each model, and no going on into a wall."""

import pytest

from batchgen.core.states import Event
from batchgen.engine.circuit_breaker import MAX_SAME_CAUSE, MAX_UNKNOWN_IN_A_ROW, CircuitBreaker

A, B = "ideogram/ideogram-v2/generate", "openai/gpt-image-2/text-to-image"


def asked(breaker, model):
    """Send a row of `model`, and hear of it."""
    assert breaker.may_submit(model)
    breaker.on_submitting(model)
    breaker.on_answered(model)


def accepted(breaker, model):
    asked(breaker, model)
    breaker.on_accepted(model)


def refused(breaker, model, cause, times=1):
    for _ in range(times):
        asked(breaker, model)
        breaker.on_clear_outcome(model)
        breaker.on_failed(model, cause)


def test_the_first_row_of_a_model_goes_alone():
    breaker = CircuitBreaker()
    breaker.on_submitting(A)

    assert not breaker.may_submit(A)


def test_the_canary_of_one_model_holds_up_no_other():
    breaker = CircuitBreaker()
    breaker.on_submitting(A)

    assert breaker.may_submit(B)


def test_the_others_follow_when_the_first_was_accepted():
    breaker = CircuitBreaker()
    accepted(breaker, A)

    for _ in range(5):
        assert breaker.may_submit(A)
        breaker.on_submitting(A)
    assert breaker.may_submit(A)


def test_the_others_follow_one_by_one_while_none_was_accepted():
    breaker = CircuitBreaker()
    refused(breaker, A, "seed: not an integer")

    assert breaker.may_submit(A)
    breaker.on_submitting(A)
    assert not breaker.may_submit(A)


def test_a_canary_that_was_never_sent_makes_room_for_the_next():
    breaker = CircuitBreaker()
    breaker.on_submitting(A)
    breaker.on_answered(A)

    assert breaker.may_submit(A)


def test_the_same_cause_ten_times_in_a_row_stops_that_model_only():
    breaker = CircuitBreaker()
    accepted(breaker, A)
    refused(breaker, A, "bad model", MAX_SAME_CAUSE)
    refused(breaker, B, "bad model", MAX_SAME_CAUSE - 1)

    assert MAX_SAME_CAUSE == 10
    assert breaker.stopped_models == {A: "bad model"}


def test_nine_times_stop_nothing():
    breaker = CircuitBreaker()
    refused(breaker, A, "bad model", MAX_SAME_CAUSE - 1)

    assert breaker.stopped_models == {}


def test_another_cause_begins_a_new_count():
    breaker = CircuitBreaker()
    refused(breaker, A, "bad seed", MAX_SAME_CAUSE - 1)
    refused(breaker, A, "content policy")
    refused(breaker, A, "bad seed", MAX_SAME_CAUSE - 1)

    assert breaker.stopped_models == {}


def test_a_picture_begins_a_new_count():
    breaker = CircuitBreaker()
    refused(breaker, A, "content policy", MAX_SAME_CAUSE - 1)
    breaker.on_completed(A)
    refused(breaker, A, "content policy", MAX_SAME_CAUSE - 1)

    assert breaker.stopped_models == {}


def test_being_accepted_alone_does_not_save_a_model_whose_requests_all_fail():
    breaker = CircuitBreaker()
    for _ in range(MAX_SAME_CAUSE):
        accepted(breaker, A)
        breaker.on_failed(A, "the model crashed")

    assert breaker.stopped_models == {A: "the model crashed"}


@pytest.mark.parametrize("answers", range(MAX_UNKNOWN_IN_A_ROW + 3))
def test_three_lost_answers_in_a_row_stop_every_post(answers):
    breaker = CircuitBreaker()
    for _ in range(answers):
        breaker.on_unknown(A)

    assert MAX_UNKNOWN_IN_A_ROW == 3
    assert breaker.stops_everything == (answers >= 3)


@pytest.mark.parametrize(
    "answer",
    [lambda breaker: accepted(breaker, A), lambda breaker: refused(breaker, A, "bad seed")],
    ids=["accepted", "refused"],
)
def test_an_answer_between_two_lost_ones_begins_a_new_count(answer):
    breaker = CircuitBreaker()
    breaker.on_unknown(A)
    breaker.on_unknown(A)
    answer(breaker)
    breaker.on_unknown(A)
    breaker.on_unknown(A)

    assert not breaker.stops_everything


def test_a_model_whose_answers_get_lost_is_stopped_while_another_works():
    breaker = CircuitBreaker()
    for _ in range(MAX_UNKNOWN_IN_A_ROW):
        breaker.on_unknown(A)
        accepted(breaker, B)

    assert list(breaker.stopped_models) == [A]
    assert not breaker.stops_everything


def test_a_failure_that_was_found_by_asking_says_nothing_about_lost_answers():
    breaker = CircuitBreaker()
    breaker.on_unknown(A)
    breaker.on_unknown(A)
    breaker.on_failed(A, "the model crashed")
    breaker.on_unknown(A)

    assert breaker.stops_everything


def test_a_model_that_the_api_does_not_take_stops_at_once_and_alone():
    breaker = CircuitBreaker()
    accepted(breaker, A)
    breaker.on_halted(A, "not allowed")

    assert breaker.stopped_models == {A: "not allowed"}
    assert not breaker.stops_everything


def test_a_cause_is_the_same_whatever_addresses_ids_and_numbers_are_in_it():
    breaker = CircuitBreaker()
    accepted(breaker, A)
    for n in range(MAX_SAME_CAUSE):
        refused(breaker, A, f"worker 10.0.0.{n}:80{n} has no memory for 5e3c9a52-8f7d-4c52-{n:04}")

    assert A in breaker.stopped_models


def test_the_first_row_with_a_file_goes_alone_too():
    breaker = CircuitBreaker()
    accepted(breaker, A)
    breaker.on_submitting(A, files=True)

    assert breaker.may_submit(A)
    assert not breaker.may_submit(A, files=True)


def test_the_others_with_files_follow_when_one_was_accepted():
    breaker = CircuitBreaker()
    breaker.on_submitting(A, files=True)
    breaker.on_answered(A, files=True)
    breaker.on_accepted(A, files=True)
    breaker.on_submitting(A, files=True)

    assert breaker.may_submit(A, files=True)
    assert breaker.takes_files == {A}


def test_a_row_without_a_file_says_nothing_about_files():
    breaker = CircuitBreaker()
    breaker.on_submitting(A, files=True)
    breaker.on_accepted(A)

    assert not breaker.may_submit(A, files=True)
    assert breaker.takes_files == set()


@pytest.mark.parametrize(
    ("events", "stopped", "everything"),
    [
        ([Event.OUTCOME_UNKNOWN] * 3, True, True),
        ([Event.OUTCOME_UNKNOWN, Event.ACCEPTED] * 3, False, False),
        ([Event.OUTCOME_UNKNOWN, Event.REJECTED] * 2, False, False),
        ([Event.ACCEPTED, Event.FAILED] * MAX_SAME_CAUSE, True, False),
        ([Event.REJECTED] * MAX_SAME_CAUSE, True, False),
        ([Event.FAILED] * (MAX_SAME_CAUSE - 1) + [Event.COMPLETED, Event.FAILED], False, False),
    ],
)
def test_what_the_journal_says_of_all_machines_counts_as_what_one_is_told(
    events, stopped, everything
):
    breaker = CircuitBreaker()
    for event in events:
        breaker.on_event(event, A, "the same cause")

    assert (A in breaker.stopped_models, breaker.stops_everything) == (stopped, everything)
