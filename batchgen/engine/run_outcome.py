"""How a run ends: exit code and words. Pure. Source: docs/reference/exit-codes.md."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchgen.core.states import State
from batchgen.core.text import plural
from batchgen.engine.held_rows import HeldRows
from batchgen.errors import BatchgenError, ServiceUnreachable, StoppedEarly, StorageDamaged


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """code: the exit code. reason: what happened. remedy: what to do next; "" for nothing.

    calm: nothing that a person has to look at, so --quiet says nothing.
    said: the reason was shown when it arose.
    """

    code: int
    reason: str
    remedy: str = ""
    calm: bool = False
    said: bool = False

    @property
    def is_limit(self) -> bool:
        """Whether it is a limit that the person set: what was begun within it may go on."""
        return self.code == StoppedEarly.exit_code and self.calm

    @classmethod
    def of(cls, error: BatchgenError) -> "RunOutcome":
        return cls(error.exit_code, error.what, error.remedy)

    @classmethod
    def under_way(cls, error: BatchgenError) -> "RunOutcome":
        """What stopped a run that may have sent something: 74 would say that nothing was sent."""
        code = StoppedEarly.exit_code if isinstance(error, StorageDamaged) else error.exit_code
        return cls(code, error.what, error.remedy)


RUN_AGAIN = "Run the same command again to go on."
NO_MEMORY = RunOutcome(75, "There is not enough memory.", RUN_AGAIN)
_FOR_A_PERSON = (State.FAILED, State.CANCELLED, State.INVALID, State.UNKNOWN)
ALL_SAVED = RunOutcome(0, "Every row is saved.", calm=True)


def with_files_not_whole(outcome: RunOutcome, files: int) -> RunOutcome:
    """Return an outcome that also tells of files that were saved although they are not whole."""
    if not files:
        return outcome
    what = (
        f"{plural(files, 'file')} came damaged or cut short, twice the same, and kept so: look at"
        " those with a note in results.csv."
    )
    return replace(outcome, remedy="\n".join(filter(None, (outcome.remedy, what))), calm=False)


def blocked_outcome(held: HeldRows) -> RunOutcome:
    """How a run ends in which something before the API refused all that it sent."""
    remedy = (
        "Nobody can tell yet whether it was for the row or for all that is sent from here; the row"
        " stays pending. " + RUN_AGAIN
    )
    return RunOutcome(ServiceUnreachable.exit_code, held.describe(), remedy)


def final_outcome(
    counts: Mapping[State, int], stopped: RunOutcome | None, held: HeldRows, waiting: int = 0
) -> RunOutcome:
    """Say how a run ends.

    counts: the rows of the manifest, and those in flight, by state.
    stopped: why nothing more was submitted; None if everything was tried.
    held: rows that something before the API refused.
    waiting: rows whose result or file is said not to exist, which only time can settle.
    """
    left = sum(counts.get(s, 0) for s in (State.PENDING, State.SUBMITTING, State.SUBMITTED))
    if stopped is not None:
        # A stop that came when all was done stopped nothing, unless it is a finding of its own.
        harmless = stopped.code == 75 and not left and not counts.get(State.COMPLETED)
        if not harmless:
            return stopped
    if held.rows and not held.any_accepted:
        return blocked_outcome(held)
    completed = counts.get(State.COMPLETED, 0)
    if waiting and waiting == left + completed and not any(map(counts.get, _FOR_A_PERSON)):
        whose = "a row that is" if waiting == 1 else f"{waiting} rows that are"
        reason = f"All is saved but for {whose} paid for and not there yet. Later runs ask again."
        return RunOutcome(75, reason, RUN_AGAIN, calm=True)
    if left:
        reason = f"{plural(left, 'row')} not finished. {held.describe()}".strip()
        return RunOutcome(75, reason, RUN_AGAIN)
    amiss = [
        f"{counts[state]} {state}"
        for state in (State.COMPLETED, *_FOR_A_PERSON)
        if counts.get(state)
    ]
    if amiss:
        return RunOutcome(1, f"Not every row is saved: {', '.join(amiss)}.")
    if given_up := counts.get(State.WRITTEN_OFF):
        return replace(ALL_SAVED, reason=f"Every row is saved, but for {given_up} written off.")
    return ALL_SAVED
