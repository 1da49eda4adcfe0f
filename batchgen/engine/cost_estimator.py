"""Prices, and what requests have cost -> what a row is expected to cost, and may it go yet? Pure.

A price in the catalogue can be wrong, or the least of several. So under a limit of cost the first
row of a model goes alone until it has ended. By then its cost is known, and from then on the
highest cost seen is what is reserved: only that first row can pass the limit, unless a later one
costs more than any before it.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from batchgen.core.prices import Estimate, Price, SeenCost, estimate


class CostEstimator:
    """prices: by model, None = unknown. seen: what each model's requests have cost so far.

    limited: whether there is a limit of cost. Without one nothing waits.
    """

    def __init__(
        self,
        prices: Mapping[str, Price | None],
        seen: Mapping[str, SeenCost],
        *,
        limited: bool,
    ) -> None:
        self._prices = prices
        self._seen = dict(seen)
        self.limited = limited
        self._under_way: Counter[str] = Counter()  # rows by model

    def estimate(self, model: str, input: str) -> Estimate:
        """Return what a row is expected to cost. input: JSON."""
        return estimate(self._prices.get(model), self._seen.get(model), input)

    def may_submit(self, model: str) -> bool:
        """Return whether a row of this model may go: not beside the first one, under a limit."""
        return not self.needs_cost(model) or not self._under_way[model]

    def needs_cost(self, model: str) -> bool:
        """Return whether a limit has to know what a row of this model costs, which nobody knows."""
        return self.limited and model not in self._seen

    def on_started(self, model: str) -> None:
        """A row is about to be submitted, or was submitted by an earlier run."""
        self._under_way[model] += 1

    def on_left(self, model: str) -> None:
        """A row that was started has ended, or is not asked about any more."""
        self._under_way[model] -= 1

    def on_cost(self, model: str, input: str, cost: float | None, *, completed: bool) -> bool:
        """A request has ended; return whether that changes what is expected of others.

        cost: USD; None where the service does not say, so that waiting would teach nothing.
        completed: with an output. What a failed one has cost says little about the others.
        """
        before = self._seen.get(model)
        if before is None and not completed:
            return False
        self._seen[model] = (before or SeenCost()).after(cost, self._prices.get(model), input)
        return self._seen[model] != before

    def learn(self, seen: Mapping[str, SeenCost]) -> None:
        """Take over what the requests of other machines have cost."""
        for model, cost in seen.items():
            self._seen[model] = self._seen.get(model, cost).beside(cost)

    def memory(self) -> dict[str, Any]:
        """Return what has been seen, for the journal; `read_seen` reads it."""
        costs = {model: [seen.request, seen.unit, seen.of] for model, seen in self._seen.items()}
        return {"costs": costs}
