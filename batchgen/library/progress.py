"""How far a run is, as a program is told: at the beginning, at most once a second, at the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batchgen.core.states import State
from batchgen.engine.stop import Stop
from batchgen.operations.execute import Numbers

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    counts: rows by state, which has the names that `status` shows: `counts["saved"]`; each state is
        there. committed_usd: spent, reserved for requests in flight, or possibly spent.
    rate: submissions per second that are allowed now. last: whether the run is over.
    """

    counts: Mapping[str, int]
    committed_usd: float
    rate: float
    last: bool = False

    @property
    def rows(self) -> int:
        """All rows of the list."""
        return sum(self.counts.values())


OnProgress = Callable[[Progress], None]


class ProgressCalls:
    """Calls a program with the progress of its run. What that raises ends the run, and is kept.

    error: what was raised first; None is nothing.
    """

    def __init__(self, call: OnProgress, stop: Stop) -> None:
        self.error: Exception | None = None
        self._call = call
        self._stop = stop

    def begin(self, numbers: Numbers, now: Callable[[], float]) -> "ProgressCalls":
        """Be what `execute` shows its progress by."""
        self._numbers, self._now = numbers, now
        self._tell(last=False)
        return self

    def changed(self) -> None:
        if self._now() >= self._next:
            self._tell(last=False)

    def close(self) -> None:
        self._tell(last=True)

    def _tell(self, *, last: bool) -> None:
        self._next = self._now() + EVERY_S
        if self.error is not None:
            return
        counts, committed, rate = self._numbers()
        every = {str(state): counts.get(state, 0) for state in State}
        try:
            self._call(Progress(every, committed, rate, last))
        except Exception as error:  # noqa: BLE001  # the program's own, which it gets back
            self.error = error
            self._stop.ask()
