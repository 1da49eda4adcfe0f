"""Who is at the other end of a call: a program, or a front end such as the command line."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchgen import log
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.core.rows import Problem
from batchgen.core.states import State
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.engine.run_outcome import RUN_AGAIN
from batchgen.errors import ManifestInvalid, of_system
from batchgen.operations.find_batch import Ask, ask_nobody
from batchgen.operations.open_manifest import ProblemSink

if TYPE_CHECKING:
    from batchgen.engine.run_outcome import RunOutcome
    from batchgen.operations.execute import ShowProgress  # which brings the engine


def _nothing(*told: object) -> None:
    pass


@dataclass(frozen=True)
class Frontend:
    """What shows a call to a person and asks them. A program needs none.

    problem: gets each problem of the list. progress: makes what shows how far a run is; None is
    what `on_progress` says. ending: gets the folder, how the run ended, and the rows that are newly
    in trouble. ask: returns None where nobody is there.
    program: the command that a message tells to type. last: what is done when everything is said,
    also an error; None does it at the end of the call.
    owns_process: whether the process is the run's: its stderr shows the log, and a run that does
    not come to its end ends it. joins: no list is read; what is run is a batch that others work on.
    """

    problem: ProblemSink = _nothing
    progress: "ShowProgress | None" = None
    ending: "Callable[[Folder, RunOutcome, Counter[State]], None]" = _nothing
    ask: Ask = ask_nobody
    program: str = "batchgen"
    last: ExitStack | None = None
    owns_process: bool = False
    clock: Clock | None = None
    timing: Timing = DEFAULT_TIMING
    joins: bool = False


PROGRAM = Frontend()


@contextmanager
def answering(frontend: Frontend) -> Iterator[None]:
    """A call of a program or a front end: it is told in its own way, and gets errors of ours."""
    told = nullcontext() if frontend.owns_process else log.told_to_program()
    with told:
        try:
            yield
        except (MemoryError, RuntimeError, OSError) as error:
            found = of_system(error, RUN_AGAIN)
            if found is None:
                raise
            raise found from error


class Kept:
    """The first problems of a list. most: how many."""

    def __init__(self, show: ProblemSink, most: int) -> None:
        self.problems: list[Problem] = []
        self._show = show
        self._most = most

    def show(self, found: Problem) -> None:
        if len(self.problems) < self._most:
            self.problems.append(found)
        self._show(found)


@contextmanager
def problems_kept(show: ProblemSink, most: int) -> Iterator[Kept]:
    """Give the first problems of a list to the error of the block."""
    kept = Kept(show, most)
    try:
        yield kept
    except ManifestInvalid as error:
        error.problems = kept.problems
        raise
