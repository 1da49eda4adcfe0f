"""Which rows came into trouble since a person was last told of the batch."""

from collections import Counter
from collections.abc import Sequence

from batchgen.core.states import State
from batchgen.core.text import cause_kind
from batchgen.journal.database import ALWAYS_COUNTED, Database, marks


def last_event(journal: Database) -> int:
    """Return the number of the latest event; 0 if there is none. Raises StorageDamaged."""
    (seq,) = journal.fetch_one("SELECT COALESCE(MAX(seq), 0) AS seq FROM events")
    return int(seq)


def newly_in_trouble(
    journal: Database, states: Sequence[State], after_event: int, after: str
) -> Counter[State]:
    """Return how many rows came into one of these states after an event, by state.

    A row that failed again for the same cause as before is none of them, nor one that a person
    cancelled. after: when the person was told; an invalid row has no event, but a time at which it
    was listed. Raises StorageDamaged.
    """
    found = journal.fetch_all(
        "SELECT key, state, COALESCE(error, '') AS error, created_at,"
        " COALESCE((SELECT MAX(seq) FROM events WHERE events.key = requests.key), 0) AS seq"
        " FROM requests"
        f" WHERE state IN ({marks(states)})"
        f" AND (listed = 1 OR state IN ({marks(ALWAYS_COUNTED)}))",
        *states,
        *ALWAYS_COUNTED,
    )
    new: Counter[State] = Counter()
    for key, word, error, listed_at, event in found:
        state = State(word)
        if state is State.INVALID:
            new[state] += listed_at > after
        elif event > after_event:
            new[state] += not _is_known(journal, key, state, error, event, after_event)
    return +new


def _is_known(
    journal: Database, key: str, state: State, error: str, event: int, after_event: int
) -> bool:
    if state not in (State.FAILED, State.CANCELLED):
        return False  # each time anew it may have been billed, or is paid for and not here
    if state is State.CANCELLED:
        (run,) = journal.fetch_one("SELECT run FROM events WHERE seq = ?", event)
        if run is None:  # by `batchgen cancel`
            return True
    before = journal.fetch_one(
        'SELECT detail FROM events WHERE key = ? AND "to" = ? AND seq <= ? ORDER BY seq DESC',
        key,
        state,
        after_event,
    )
    return before is not None and cause_kind(before[0] or "") == cause_kind(error)
