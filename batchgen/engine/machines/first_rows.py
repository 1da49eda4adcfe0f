"""Which models another machine tries first. Pure: the time is an argument.

The first row of a model goes alone, over all machines, as it does over the rows of one: they leave
the model to whoever has its first row, until that was accepted, and below a limit of cost until it
has ended, so that its cost is known. Who has a row and cannot send it holds nobody up for long.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class TriedModel(NamedTuple):
    """How many rows of a model other machines have: pending or being sent, and accepted.

    under_way: sent and not ended, with those that no machine has any more.
    """

    model: str
    unsent: int
    accepted: int
    under_way: int


@dataclass
class FirstRows:
    """accepted: whether a row of a model was accepted here, in this run. costs_unknown: whether a
    limit of cost has to know what one of its rows costs, and that is not known. patience: seconds
    for a first row that another machine has not sent.
    """

    accepted: Callable[[str], bool]
    costs_unknown: Callable[[str], bool]
    patience: float
    _since: dict[str, float] = field(default_factory=dict)  # when each was found to be tried

    def left_to_others(self, tried: Iterable[TriedModel], now: float) -> set[str]:
        """Return the models of which this machine takes no row yet. now: seconds."""
        left, waits = set(), {}
        for model, unsent, accepted, under_way in tried:
            if self.costs_unknown(model) and under_way:
                left.add(model)
            elif unsent and not accepted and not self.accepted(model):
                waits[model] = self._since.get(model, now)
                if now - waits[model] < self.patience:
                    left.add(model)
        self._since = waits
        return left
