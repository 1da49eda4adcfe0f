"""The one table of moves: what can happen to a row, and above all what cannot."""

from itertools import pairwise

import pytest

from batchgen.core.states import (
    IN_FLIGHT,
    SURELY_NOT_ACCEPTED,
    TRANSITIONS,
    UNFINISHED,
    Event,
    ImpossibleTransition,
    State,
    next_state,
)

EVERY_MOVE = [
    (state, event, new) for state, moves in TRANSITIONS.items() for event, new in moves.items()
]


def reachable(start, *, without=()):
    """The states that rows can come to from `start`, some events never happening."""
    found, to_visit = {start}, [start]
    while to_visit:
        for event, new in TRANSITIONS[to_visit.pop()].items():
            if event not in without and new not in found:
                found.add(new)
                to_visit.append(new)
    return found


def test_every_state_is_in_the_table():
    assert set(TRANSITIONS) == set(State)


def test_every_event_happens_somewhere():
    assert {event for _, event, _ in EVERY_MOVE} == set(Event)


def test_every_state_but_those_that_only_a_manifest_gives_is_led_to():
    assert {new for _, _, new in EVERY_MOVE} == set(State) - {State.INVALID}


def test_a_row_becomes_pending_again_only_if_surely_unpaid_or_because_a_person_said_so():
    back = {event for _, event, new in EVERY_MOVE if new is State.PENDING}

    assert back == {*SURELY_NOT_ACCEPTED, Event.RETRY}


@pytest.mark.parametrize("unpaid", SURELY_NOT_ACCEPTED)
def test_only_a_row_that_is_being_sent_can_come_back_unpaid(unpaid):
    assert [old for old, event, _ in EVERY_MOVE if event is unpaid] == [State.SUBMITTING]


def test_the_values_that_journals_hold_never_change():
    assert {event.name: event.value for event in Event} == {
        "SUBMIT": "send",
        "ACCEPTED": "accepted",
        "NOT_ACCEPTED": "returned",
        "THROTTLED": "throttled",
        "REJECTED": "refused",
        "BLOCKED": "blocked",
        "OUTCOME_UNKNOWN": "lost",
        "RECEIPT": "receipt",
        "COMPLETED": "done",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
        "SAVED": "saved",
        "ATTACHED": "attached",
        "WRITTEN_OFF": "written off",
        "RETRY": "retry",
    }


def test_only_a_pending_row_is_sent():
    assert [old for old, event, _ in EVERY_MOVE if event is Event.SUBMIT] == [State.PENDING]


def test_only_a_person_or_a_receipt_leads_out_of_unknown():
    a_person = {Event.RETRY, Event.ATTACHED, Event.WRITTEN_OFF}

    assert set(TRANSITIONS[State.UNKNOWN]) == {*a_person, Event.RECEIPT}


def test_only_a_row_whose_answer_was_lost_is_unknown():
    into = [(old, event) for old, event, new in EVERY_MOVE if new is State.UNKNOWN]

    assert into == [(State.SUBMITTING, Event.OUTCOME_UNKNOWN)]


def test_only_a_person_gives_a_row_up_and_only_an_unknown_one():
    into = [(old, event) for old, event, new in EVERY_MOVE if new is State.WRITTEN_OFF]

    assert into == [(State.UNKNOWN, Event.WRITTEN_OFF)]
    assert set(TRANSITIONS[State.WRITTEN_OFF]) == {Event.RETRY, Event.RECEIPT}


def test_what_was_never_valid_stays_so_but_for_a_receipt():
    assert set(TRANSITIONS[State.INVALID]) == {Event.RECEIPT}


def test_what_is_saved_stays_so_unless_a_person_wants_it_again():
    assert set(TRANSITIONS[State.SAVED]) == {Event.RETRY, Event.RECEIPT}


@pytest.mark.parametrize("state", State)
def test_a_receipt_makes_any_row_submitted(state):
    assert next_state(state, Event.RECEIPT) is State.SUBMITTED


@pytest.mark.parametrize("state", [State.SUBMITTED, State.COMPLETED, State.SAVED])
def test_what_was_accepted_is_never_sent_again_unless_it_fails_and_a_person_says_so(state):
    assert State.PENDING not in reachable(state, without={Event.RETRY})


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.UNKNOWN, State.WRITTEN_OFF])
def test_a_person_can_reopen_what_ended_without_a_picture(state):
    assert next_state(state, Event.RETRY) is State.PENDING


@pytest.mark.parametrize("state", UNFINISHED)
def test_whatever_is_unfinished_can_still_be_saved(state):
    assert State.SAVED in reachable(state)


def test_a_row_that_meets_no_trouble_goes_straight_to_saved():
    state, story = State.PENDING, [State.PENDING]
    for event in (Event.SUBMIT, Event.ACCEPTED, Event.COMPLETED, Event.SAVED):
        state = next_state(state, event)
        story.append(state)

    assert story == [*UNFINISHED, State.SAVED]
    assert set(IN_FLIGHT) < set(UNFINISHED)
    assert all(a is not b for a, b in pairwise(story))


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_is_not_in_the_table_cannot_happen(state, event):
    if event in TRANSITIONS[state]:
        assert next_state(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(ImpossibleTransition, match=f"^{event} cannot happen .* {state}$"):
            next_state(state, event)
