"""How a run ends, in exit code and words, and whether --quiet tells of it. Pure.

Source: docs/reference/exit-codes.md; docs/maintainers/specification.md, "What --quiet tells".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from batchgen.core.states import State
from batchgen.core.text import plural, truncate
from batchgen.engine.held_rows import HeldRows
from batchgen.errors import BatchgenError, ServiceUnreachable, StoppedEarly, StorageDamaged


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """code: the exit code. reason: what happened. remedy: what to do next; "" for nothing.

    calm: routine, so --quiet tells of it only if rows are newly in trouble.
    once: what stopped the run stays until a person changes it, so --quiet tells of it once; equal
        for equal stops, "" for any other.
    setting: what moves the limit that stopped the run, as `set` names it; "" for none.
    waiting: rows that are late and that only time can settle, which is no trouble.
    said: the reason was shown when it arose.
    fault: something is out of order here, so the run is no success even if every row is saved.
    """

    code: int
    reason: str
    remedy: str = ""
    calm: bool = False
    once: str = ""
    setting: str = ""
    waiting: int = 0
    said: bool = False
    fault: bool = False

    @property
    def is_limit(self) -> bool:
        """Whether it is a limit that the person set: what was begun within it may go on."""
        return self.code == StoppedEarly.exit_code and self.calm

    def yields_to(self, later: "RunOutcome") -> bool:
        """Whether a later stop is the one to be told, since a limit or a pause would hide it."""
        if self.is_limit:
            return not later.calm or later.code >= 128  # a signal, which no limit hides
        return later.fault and not self.fault and self.code == StoppedEarly.exit_code

    @classmethod
    def of(cls, error: BatchgenError) -> "RunOutcome":
        return cls(error.exit_code, error.what, error.remedy)

    @classmethod
    def under_way(cls, error: BatchgenError) -> "RunOutcome":
        """What stopped a run that may have sent something: 74 would say that nothing was sent."""
        if isinstance(error, StoppedEarly):
            once = error.once
            return cls(error.exit_code, error.what, error.remedy, calm=error.calm, once=once)
        code = StoppedEarly.exit_code if isinstance(error, StorageDamaged) else error.exit_code
        # A lock or a database that was waited for does no harm once all is saved.
        fault = error.exit_code == StorageDamaged.exit_code
        return cls(code, error.what, error.remedy, fault=fault)


@dataclass(frozen=True, slots=True)
class Headway:
    """What came of a run's work.

    moved: whether any row changed its state. throttled: whether a submission was answered with a
    rate limit. unreachable: since when and why the API cannot be reached, "" if it can.
    stopped_models: the models of which nothing more was submitted, each with the cause.
    changed_files: why rows were not sent whose local files are not what was checked.
    """

    moved: bool = True
    throttled: bool = False
    unreachable: str = ""
    stopped_models: Mapping[str, str] = field(default_factory=dict)
    changed_files: tuple[str, ...] = ()

    def describe_stopped(self) -> str:
        """Name the first model that was stopped, and how many more there are; "" for none."""
        if not self.stopped_models:
            return ""
        model, cause = next(iter(self.stopped_models.items()))
        more = len(self.stopped_models) - 1
        others = f" Also {plural(more, 'more model')}." if more else ""
        return f"{model} was stopped: {truncate(cause, MAX_CAUSE_CHARS)}.{others}"

    def describe_changed(self) -> str:
        """Name the first row that was not sent for its file, and how many more; "" for none."""
        if not self.changed_files:
            return ""
        more = len(self.changed_files) - 1
        others = f" It was so with {plural(more, 'other row')} as well." if more else ""
        return f"{self.changed_files[0]}.{others} The next run checks the files again."


@dataclass(frozen=True, slots=True)
class Told:
    """What a person was told of a batch: its events up to `seq`, rows made up to `at`, and `once`
    of the last ending that was told. It stays in the journal's memory.
    """

    seq: int = 0
    at: str = ""
    once: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """any: whether there is what a person has to know and was not told before.

    rows: those that are newly in trouble, by state.
    """

    any: bool
    rows: Mapping[State, int] = field(default_factory=dict)


MAX_CAUSE_CHARS = 200
RUN_AGAIN = "Run the same command again to go on."
NO_MEMORY = RunOutcome(75, "There is not enough memory.", RUN_AGAIN, fault=True)
MISTAKE = RunOutcome(
    75,
    "A mistake in batchgen stopped the run; batchgen.log has the details.",
    RUN_AGAIN,
    fault=True,
)
ALL_SAVED = RunOutcome(0, "Every row is saved.", calm=True)
TIME_LIMIT = RunOutcome(
    75,
    "The time limit is reached: nothing more is submitted.",
    RUN_AGAIN,
    calm=True,
    setting="until",
)
LATE = (State.SUBMITTED, State.COMPLETED)  # accepted, and not here at the end of a run
FOR_A_PERSON = (State.FAILED, State.CANCELLED, State.INVALID, State.UNKNOWN)


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
    counts: Mapping[State, int],
    stopped: RunOutcome | None,
    held: HeldRows,
    waiting: int = 0,
    headway: Headway = Headway(),
    elsewhere: int = 0,
) -> RunOutcome:
    """Say how a run ends.

    counts: the rows of the manifest, and those in flight, by state.
    stopped: why nothing more was submitted; None if everything was tried.
    held: rows that something before the API refused.
    waiting: rows whose result or file is said not to exist, which only time can settle.
    elsewhere: unfinished rows that other machines have.
    """
    pending = counts.get(State.PENDING, 0)
    left = pending + sum(counts.get(s, 0) for s in (State.SUBMITTING, State.SUBMITTED))
    if stopped is not None:
        # A stop that came when all was done stopped nothing, unless it is a finding of its own.
        done = not left and not counts.get(State.COMPLETED)
        harmless = done and stopped.code == 75 and not stopped.fault
        if not harmless:
            return _with_what_kept_it(stopped, pending, held, headway)
    if held.rows and not held.any_accepted:
        return blocked_outcome(held)
    completed = counts.get(State.COMPLETED, 0)
    if elsewhere and left + completed <= elsewhere:
        reason = f"Nothing is left for this machine: others have {plural(elsewhere, 'row')}."
        return RunOutcome(75, reason, RUN_AGAIN, calm=True)
    if waiting and waiting == left + completed and not any(map(counts.get, FOR_A_PERSON)):
        whose = "a row that is" if waiting == 1 else f"{waiting} rows that are"
        reason = f"All is saved but for {whose} paid for and not there yet. Later runs ask again."
        return RunOutcome(75, reason, RUN_AGAIN, calm=True)
    if left:
        # An accepted row that is not finished waits for the API; nothing more could be done.
        why = (held.describe(), headway.describe_changed(), headway.describe_stopped())
        reason = " ".join([f"{plural(left, 'row')} not finished.", *filter(None, why)])
        return RunOutcome(75, reason, RUN_AGAIN, calm=not pending)
    amiss = [
        f"{counts[state]} {state}"
        for state in (State.COMPLETED, *FOR_A_PERSON)
        if counts.get(state)
    ]
    if amiss:
        return RunOutcome(1, f"Not every row is saved: {', '.join(amiss)}.", calm=True)
    if given_up := counts.get(State.WRITTEN_OFF):
        return replace(ALL_SAVED, reason=f"Every row is saved, but for {given_up} written off.")
    return ALL_SAVED


def _with_what_kept_it(
    stopped: RunOutcome, pending: int, held: HeldRows, headway: Headway
) -> RunOutcome:
    """Return a stop as it is, but for a limit of a run that could not do what it allowed."""
    if stopped.is_limit and headway.unreachable:
        reason = f"RunComfy could not be reached {headway.unreachable}. {stopped.reason}"
        return RunOutcome(69, reason, f"Check network and proxy. {RUN_AGAIN}")
    if stopped.reason == TIME_LIMIT.reason and pending and not headway.moved:
        limit = "RunComfy answered with its rate limit (429)." if headway.throttled else ""
        return replace(
            stopped,
            reason="The time limit is reached, and no row was accepted before."
            f" {held.describe() or limit}".rstrip(),
            calm=False,
            said=False,
        )
    if stopped.is_limit and pending and headway.stopped_models:
        reason = f"{stopped.reason} {headway.describe_stopped()}"
        return replace(stopped, reason=reason, calm=False, said=False)
    return stopped


def is_told(outcome: RunOutcome, newly_in_trouble: int, told: Told) -> bool:
    """Say whether a run with --quiet tells how it ended.

    It is silent if whatever was due and could be done was done, and nothing is amiss that a person
    was not told before. newly_in_trouble: rows.
    """
    if newly_in_trouble:
        return True
    if outcome.calm:
        return False
    return not outcome.once or outcome.once != told.once


def troubled_states(outcome: RunOutcome) -> tuple[State, ...]:
    """Return the states of rows that a person is told of.

    What an interrupted run left under way is no trouble: the next one goes on with it.
    """
    interrupted = outcome.code >= 128
    return FOR_A_PERSON if interrupted else (*FOR_A_PERSON, *LATE)
