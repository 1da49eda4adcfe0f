"""Tell a person how a run ended, or with --quiet find that there is nothing new to tell.

What was told is remembered in the journal, so that the same trouble makes one mail and not one
every night.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

from batchgen.core.states import State
from batchgen.engine.run_outcome import LATE, News, RunOutcome, Told, is_told, troubled_states
from batchgen.errors import StorageDamaged
from batchgen.journal.trouble import last_event, newly_in_trouble
from batchgen.journal.writer import Journal

MEMORY = "told"  # the name under which `set_meta` keeps it

# Shows an ending, and the rows that are newly in trouble, by state.
Tell = Callable[[RunOutcome, Counter[State]], None]


def tell(journal: Journal, outcome: RunOutcome, show: Tell, *, quiet: bool) -> News:
    """Show how a run ended, and remember that; with `quiet` only if there is news.

    Return what there is: what a person has to know and was not told before.
    """
    new: Counter[State] = Counter()
    try:
        told = Told(**(journal.get_meta(MEMORY) or {}))
        new = newly_in_trouble(journal, troubled_states(outcome), told.seq, told.at)
        if sum(new[state] for state in LATE) <= outcome.waiting:
            new = Counter({state: n for state, n in new.items() if state not in LATE})
        now = Told(last_event(journal), journal.now(), outcome.once or told.once)
    except StorageDamaged:  # then the outcome says so
        show(outcome, new)
        return News(True, new)
    news = is_told(outcome, new.total(), told)
    if quiet and not news:
        return News(False)
    show(outcome, new if quiet else Counter())
    with suppress(StorageDamaged), journal.transaction():
        journal.set_meta({MEMORY: asdict(now)})
    return News(news, new)
