"""Outcomes so far -> may the next row be sent? Pure.

The first row of each model goes alone, the others when one was accepted. Many refusals in a row
from the same cause stop that model, not the others. So do three lost answers in a row, since each
may have been billed; if no model was accepted in between, they stop every POST.
"""

from dataclasses import dataclass, field

SAME_CAUSE = 10
LOST_IN_A_ROW = 3
LOST = "its answers are lost"


@dataclass
class _Model:
    proven: bool = False
    asking: int = 0  # POSTs without an answer yet
    cause: str = ""
    streak: int = 0
    lost: int = 0  # answers in a row that never came


@dataclass
class CircuitBreaker:
    models: dict[str, _Model] = field(default_factory=dict)
    lost_in_a_row: int = 0

    def _model(self, model: str) -> _Model:
        return self.models.setdefault(model, _Model())

    def may_send(self, model: str) -> bool:
        state = self._model(model)
        return state.proven or state.asking == 0

    def sending(self, model: str) -> None:
        self._model(model).asking += 1

    def answered(self, model: str) -> None:
        """The POST has ended, however it did."""
        self._model(model).asking -= 1

    def accepted(self, model: str) -> None:
        self._model(model).proven = True
        self.answered_clearly(model)

    def succeeded(self, model: str) -> None:
        self._model(model).streak = 0

    def failed(self, model: str, cause: str) -> None:
        """A row was refused, or its request failed, for `cause`."""
        state = self._model(model)
        state.streak = state.streak + 1 if cause == state.cause else 1
        state.cause = cause

    def answered_clearly(self, model: str) -> None:
        """A POST had an answer that leaves no doubt."""
        self._model(model).lost = 0
        self.lost_in_a_row = 0

    def lost(self, model: str) -> None:
        self._model(model).lost += 1
        self.lost_in_a_row += 1

    @property
    def stopped_models(self) -> dict[str, str]:
        """Models that get no more POSTs, each with the cause."""
        stopped = {n: m.cause for n, m in self.models.items() if m.streak >= SAME_CAUSE}
        lost = {n: LOST for n, m in self.models.items() if m.lost >= LOST_IN_A_ROW}
        return stopped | lost

    @property
    def silent(self) -> bool:
        """So many answers were lost in a row that no more may be risked."""
        return self.lost_in_a_row >= LOST_IN_A_ROW
