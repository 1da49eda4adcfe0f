"""The states of a row, the events that change them, and the one table of transitions. Pure.

What is not in `TRANSITIONS` cannot happen: the journal looks there before every write. The states
are explained in docs/maintainers/architecture.md, "The life of a row".
"""

from enum import StrEnum


class State(StrEnum):
    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    COMPLETED = "completed"
    SAVED = "saved"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    WRITTEN_OFF = "written_off"


class Event(StrEnum):
    """What changes a row's state. The values stand in journals, so they never change."""

    SUBMIT = "send"  # the submission is about to leave
    ACCEPTED = "accepted"  # the API gave a request_id
    NOT_ACCEPTED = "returned"  # surely not accepted: no balance, token refused, never sent
    THROTTLED = "throttled"  # surely not accepted: answered with a rate limit (429)
    REJECTED = "refused"  # the API refused this input
    BLOCKED = "blocked"  # something before the API refused this row, and the API accepted others
    OUTCOME_UNKNOWN = "lost"  # it may or may not have been accepted
    RECEIPT = "receipt"  # a request_id that the journal had lost was found in receipts.log
    COMPLETED = "done"  # the result and its URLs are there
    FAILED = "failed"  # the API, or the host of the output, says there is and will be no output
    CANCELLED = "cancelled"
    SAVED = "saved"  # every output is on disk, checked
    ATTACHED = "attached"  # a person found the request of an unknown row
    WRITTEN_OFF = "written off"  # a person gave an unknown row up
    RETRY = "retry"  # a person, or a flag of theirs, asked for it to be sent again


class RunEvent(StrEnum):
    """What a person asked of a run under way. It changes no row; the values never change, too."""

    PAUSED = "paused"
    RESUMED = "resumed"
    SET = "set"
    NOT_SET = "not set"


S = State
TRANSITIONS: dict[State, dict[Event, State]] = {
    S.PENDING: {Event.SUBMIT: S.SUBMITTING, Event.BLOCKED: S.FAILED},
    # From SUBMITTING on, money may be spent. Only an answer that says "not accepted" leads back to
    # PENDING; anything less clear leads to UNKNOWN, and only a person leads out of that.
    S.SUBMITTING: {
        Event.ACCEPTED: S.SUBMITTED,
        Event.NOT_ACCEPTED: S.PENDING,
        Event.THROTTLED: S.PENDING,
        Event.REJECTED: S.FAILED,
        Event.OUTCOME_UNKNOWN: S.UNKNOWN,
    },
    S.SUBMITTED: {
        Event.COMPLETED: S.COMPLETED,
        Event.FAILED: S.FAILED,
        Event.CANCELLED: S.CANCELLED,
    },
    S.COMPLETED: {Event.SAVED: S.SAVED, Event.FAILED: S.FAILED},
    S.SAVED: {Event.RETRY: S.PENDING},
    S.FAILED: {Event.RETRY: S.PENDING},
    S.CANCELLED: {Event.RETRY: S.PENDING},
    S.INVALID: {},
    S.UNKNOWN: {
        Event.RETRY: S.PENDING,
        Event.ATTACHED: S.SUBMITTED,
        Event.WRITTEN_OFF: S.WRITTEN_OFF,
    },
    S.WRITTEN_OFF: {Event.RETRY: S.PENDING},
}
# A receipt proves that a request was accepted, whatever the state in an older journal.
for _transitions in TRANSITIONS.values():
    _transitions[Event.RECEIPT] = S.SUBMITTED

# A submission that ended so is no attempt and costs nothing.
SURELY_NOT_ACCEPTED = (Event.NOT_ACCEPTED, Event.THROTTLED)

UNFINISHED = (S.PENDING, S.SUBMITTING, S.SUBMITTED, S.COMPLETED)
IN_FLIGHT = (S.SUBMITTING, S.SUBMITTED)


class ImpossibleTransition(Exception):
    """A mistake in the program, or a journal that another program wrote to."""


def next_state(state: State, event: Event) -> State:
    """Return the state that `event` leads to from `state`.

    Raises ImpossibleTransition if the table has no such transition.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ImpossibleTransition(f"{event} cannot happen to a row that is {state}") from None


# Why a row is unknown whose run was killed or cut off in mid-request.
RUN_ENDED = "the run ended before the API's answer was on disk"
# Why a row of a deployment failed that sent what an earlier one had sent.
NOTHING_MADE = (
    "completed without any output. ComfyUI does not run again what has not changed, so a request"
    " whose inputs equal those of an earlier one makes nothing: change one, such as the seed"
)


def makes_nothing_again(cause: str) -> bool:
    """Whether a row that failed for this would fail so again, and be paid for, as it is."""
    return NOTHING_MADE in cause
