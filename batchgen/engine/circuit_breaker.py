"""Outcomes so far -> may a row of this model be submitted? Pure.

The first row of each model goes alone, the others when one was accepted. So does its first row with
a local file: whether the service takes those is not published. Many failures in a row
from the same cause stop that model, not the others. So do three unknown outcomes in a row, since
each may have been billed; if no model was accepted in between, they stop every submission.
"""

from dataclasses import dataclass, field

from batchgen.core.states import Event
from batchgen.core.text import cause_kind

MAX_SAME_CAUSE = 10
MAX_UNKNOWN_IN_A_ROW = 3
UNKNOWN_CAUSE = "its answers are lost"


@dataclass
class _Model:
    """open_posts: without an outcome yet. failures, unknown: in a row; failures for `cause`.

    file_accepted, open_files: of the rows with local files alone.
    """

    accepted: bool = False
    open_posts: int = 0
    file_accepted: bool = False
    open_files: int = 0
    cause: str = ""
    failures: int = 0
    unknown: int = 0


@dataclass
class CircuitBreaker:
    """unknown_in_a_row: outcomes, whatever the model. halted: models that the API does not take.

    takes_files: models of which a row with a local file was accepted, in this run or before.
    files: an argument; whether the row has local files.
    """

    models: dict[str, _Model] = field(default_factory=dict)
    takes_files: set[str] = field(default_factory=set)
    unknown_in_a_row: int = 0
    halted: dict[str, str] = field(default_factory=dict)

    def _model(self, model: str) -> _Model:
        return self.models.setdefault(model, _Model())

    def may_submit(self, model: str, *, files: bool = False) -> bool:
        state = self._model(model)
        if files and state.open_files and not state.file_accepted:
            return False
        return state.accepted or state.open_posts == 0

    def has_accepted(self, model: str) -> bool:
        """Return whether a row of this model was accepted, in this run."""
        return self._model(model).accepted

    def on_submitting(self, model: str, *, files: bool = False) -> None:
        self._model(model).open_posts += 1
        self._model(model).open_files += files

    def on_answered(self, model: str, *, files: bool = False) -> None:
        """The POST has ended, whatever its outcome."""
        self._model(model).open_posts -= 1
        self._model(model).open_files -= files

    def on_accepted(self, model: str, *, files: bool = False) -> None:
        self._model(model).accepted = True
        if files:
            self._model(model).file_accepted = True
            self.takes_files.add(model)
        self.on_clear_outcome(model)

    def on_completed(self, model: str) -> None:
        self._model(model).failures = 0

    def on_failed(self, model: str, cause: str) -> None:
        """A row was rejected, or its request failed, for `cause`."""
        state = self._model(model)
        is_same = cause_kind(cause) == cause_kind(state.cause)
        state.failures = state.failures + 1 if is_same else 1
        state.cause = cause

    def on_clear_outcome(self, model: str) -> None:
        self._model(model).unknown = 0
        self.unknown_in_a_row = 0

    def on_unknown(self, model: str) -> None:
        self._model(model).unknown += 1
        self.unknown_in_a_row += 1

    def on_event(self, event: str, model: str, cause: str) -> None:
        """The journal says what became of a request, of this run or of another one.

        cause: why it failed.
        """
        match event:
            case Event.ACCEPTED:
                self.on_clear_outcome(model)
            case Event.OUTCOME_UNKNOWN:
                self.on_unknown(model)
            case Event.REJECTED:
                self.on_clear_outcome(model)
                self.on_failed(model, cause)
            case Event.FAILED:
                self.on_failed(model, cause)
            case Event.COMPLETED:
                self.on_completed(model)

    def on_halted(self, model: str, cause: str) -> None:
        """The API takes no row of this model."""
        self.halted[model] = cause

    @property
    def stopped_models(self) -> dict[str, str]:
        """The models of which nothing more is submitted, each with the cause."""
        stopped = {n: m.cause for n, m in self.models.items() if m.failures >= MAX_SAME_CAUSE}
        silent = {
            name: UNKNOWN_CAUSE
            for name, model in self.models.items()
            if model.unknown >= MAX_UNKNOWN_IN_A_ROW
        }
        return stopped | silent | self.halted

    @property
    def stops_everything(self) -> bool:
        return self.unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW
