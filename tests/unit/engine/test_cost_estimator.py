"""What is reserved for a row, and whether it may go: over thousands of histories of a batch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from batchgen.core.budget import ActiveLimit, first_exceeded, may_fit_later
from batchgen.core.prices import (
    OUTPUT_COUNT_INPUTS,
    Estimate,
    Price,
    SeenCost,
    Unit,
    estimate,
    read_seen,
)
from batchgen.engine.cost_estimator import CostEstimator

MODELS = ("a/pictures", "b/clips", "c/songs")
PRICES = {
    "a/pictures": Price(0.03, Unit.OUTPUT),
    "b/clips": Price(0.15, Unit.SECOND, floor=True),
    "c/songs": Price(0.10),
}


def estimator(limited: bool = True, **seen: SeenCost) -> CostEstimator:
    return CostEstimator(PRICES, seen, limited=limited)


def clip(seconds: float) -> str:
    return json.dumps({"prompt": "a heron", "duration": seconds})


# What is reserved


@pytest.mark.parametrize(
    ("price", "seen", "input", "expected"),
    [
        (Price(0.1), None, {}, Estimate(0.1)),
        (Price(0.1, floor=True), None, {}, Estimate(0.1, floor=True)),
        (Price(0.1, floor=True), SeenCost(), {}, Estimate(0.1, floor=True)),
        (Price(0.1, floor=True), SeenCost(0.4, 0.4), {}, Estimate(0.4)),
        (Price(0.1), SeenCost(0.4, 0.4), {}, Estimate(0.4)),
        (Price(0.1), SeenCost(0.05, 0.05), {}, Estimate(0.1)),
        # Of an exact price a large request says nothing about a small one; of a floor it may.
        (Price(0.1, Unit.OUTPUT), SeenCost(0.8, 0.1, Unit.OUTPUT), {"n": 1}, Estimate(0.1)),
        (
            Price(0.1, Unit.OUTPUT, {}, True),
            SeenCost(0.8, 0.1, Unit.OUTPUT),
            {"n": 1},
            Estimate(0.8),
        ),
        # What a unit has cost counts for each of them.
        (Price(0.1, Unit.OUTPUT), SeenCost(0.2, 0.2, Unit.OUTPUT), {"n": 4}, Estimate(0.8)),
        (
            Price(0.15, Unit.SECOND, {}, True),
            SeenCost(1.0, 0.5, Unit.SECOND),
            {"duration": "8"},
            Estimate(4.0),
        ),
        # One that was for another unit says nothing of this one; the dearest request does.
        (Price(0.03), SeenCost(0.12, 0.03, Unit.OUTPUT), {"n": 4}, Estimate(0.12)),
        (
            Price(0.07, Unit.SECOND),
            SeenCost(0.4, 0.4, Unit.OUTPUT),
            {"duration": 10},
            Estimate(0.7),
        ),
        (Price(0.07, Unit.SECOND), SeenCost(0.9), {"duration": 10}, Estimate(0.9)),
        (Price(0.15, Unit.SECOND), None, {}, Estimate(None)),
        (Price(0.15, Unit.SECOND), SeenCost(1.2), {"duration": "auto"}, Estimate(1.2)),
        (None, None, {}, Estimate(None)),
        (None, SeenCost(), {}, Estimate(None)),
        (None, SeenCost(0.7), {}, Estimate(0.7)),
        (Price(0.03, Unit.OUTPUT), SeenCost(0.1, 0.1 / 3, Unit.OUTPUT), {"n": 3}, Estimate(0.1)),
        # Above what the journal takes, and what any limit may be.
        (Price(0.03, Unit.OUTPUT), None, dict.fromkeys(OUTPUT_COUNT_INPUTS, 1e6), Estimate(1e9)),
    ],
)
def test_the_price_is_reserved_or_the_highest_cost_that_was_seen(
    price: Price | None, seen: SeenCost | None, input: dict[str, Any], expected: Estimate
) -> None:
    assert estimate(price, seen, json.dumps(input)) == expected


def test_the_first_row_of_a_model_goes_alone_until_its_cost_is_known() -> None:
    costs = estimator()
    costs.on_started("b/clips")

    assert not costs.may_submit("b/clips")
    assert costs.may_submit("a/pictures")
    assert costs.on_cost("b/clips", clip(5), 2.0, completed=True)
    costs.on_left("b/clips")
    costs.on_started("b/clips")
    assert costs.may_submit("b/clips")
    assert costs.estimate("b/clips", clip(5)) == Estimate(2.0)


def test_what_failed_teaches_nothing_and_the_next_row_goes_alone() -> None:
    costs = estimator()
    costs.on_started("b/clips")
    assert not costs.on_cost("b/clips", clip(5), 0.0, completed=False)
    costs.on_left("b/clips")

    assert costs.may_submit("b/clips")
    costs.on_started("b/clips")
    assert not costs.may_submit("b/clips")


def test_a_service_that_never_says_what_a_request_has_cost_is_not_waited_for_twice() -> None:
    costs = estimator()
    costs.on_started("b/clips")
    costs.on_cost("b/clips", clip(5), None, completed=True)

    assert costs.may_submit("b/clips")
    assert costs.estimate("b/clips", clip(5)) == Estimate(0.75, floor=True)


def test_without_a_limit_nothing_waits() -> None:
    costs = estimator(limited=False)
    costs.on_started("b/clips")

    assert costs.may_submit("b/clips")


def test_what_was_seen_outlives_the_run() -> None:
    costs = estimator()
    costs.on_cost("b/clips", clip(5), 2.0, completed=True)
    costs.on_cost("b/clips", clip(10), 3.0, completed=True)
    assert not costs.on_cost("b/clips", clip(5), 1.0, completed=True)
    memory = json.loads(json.dumps(costs.memory()["costs"]))

    assert read_seen(memory) == {"b/clips": SeenCost(3.0, 0.4, Unit.SECOND)}
    assert read_seen(None) == read_seen({"x": 1, "y": [1]}) == {}


@pytest.mark.parametrize("stored", [[0.12, 0.03], [0.12, 0.03, "megapixel"], [0.12, 0.03, None]])
def test_what_was_kept_of_no_known_unit_counts_for_a_request_alone(stored: list[Any]) -> None:
    assert read_seen({"a/b": stored}) == {"a/b": SeenCost(0.12)}


@pytest.mark.parametrize(
    ("first", "then", "reserved"),
    [
        (Price(0.03, Unit.OUTPUT), Price(0.03), 0.12),
        (Price(0.70), Price(0.07, Unit.SECOND), 0.70),
        (Price(0.07, Unit.SECOND), Price(0.03, Unit.OUTPUT), 0.70),
    ],
    ids=["output, request", "request, second", "second, output"],
)
def test_a_price_of_another_unit_reserves_what_requests_have_cost(
    first: Price, then: Price, reserved: float
) -> None:
    """What one output had cost was reserved for a request, and that of one for each second."""
    input = json.dumps({"duration": 10} if Unit.SECOND in (first.unit, then.unit) else {"n": 4})
    before = CostEstimator({"a/b": first}, {}, limited=True)
    before.on_cost("a/b", input, reserved, completed=True)
    seen = read_seen(json.loads(json.dumps(before.memory()["costs"])))

    assert CostEstimator({"a/b": then}, seen, limited=True).estimate("a/b", input).usd == reserved


def test_a_night_with_a_price_for_a_request_forgets_no_cost_of_an_output() -> None:
    seen = SeenCost(0.4, 0.1, Unit.OUTPUT)
    costs = CostEstimator({"a/b": Price(0.4)}, {"a/b": seen}, limited=True)

    assert costs.on_cost("a/b", '{"n": 4}', 0.5, completed=True)
    assert read_seen(costs.memory()["costs"]) == {"a/b": SeenCost(0.5, 0.1, Unit.OUTPUT)}


# Histories


@dataclass
class Batch:
    """A batch under a limit, over several runs, as the engine plays it.

    The service bills each request in its own way; the batch learns of a cost when a request ends.
    """

    cap: float
    factors: dict[str, list[float]]
    left: list[tuple[str, str]]
    seen: dict[str, SeenCost] = field(default_factory=dict)
    under_way: list[tuple[str, str, float, float]] = field(default_factory=list)
    committed: float = 0.0
    billed: float = 0.0
    surprise: float = 0.0  # USD by which first rows of a model cost more than was reserved
    highest: dict[str, float] = field(default_factory=dict)  # USD a unit, of what has ended

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin a run; what an earlier one submitted is under way."""
        self.costs = CostEstimator(PRICES, self.seen, limited=True)
        for model, *_ in self.under_way:
            self.costs.on_started(model)

    def submit(self) -> None:
        """Send the next row if it may go, as dispatcher and submitter do together."""
        if not self.left or not self.costs.may_submit(self.left[-1][0]):
            return
        model, input = self.left[-1]
        expected = self.costs.estimate(model, input)
        limit = ActiveLimit(self.cap, "", "--max-cost", "the batch")
        if first_exceeded(lambda since: self.committed, expected.usd, [limit]):
            return
        assert expected.usd is not None
        assert self.committed + expected.usd <= self.cap + 1e-9
        if model not in self.seen:
            assert model not in [other for other, *_ in self.under_way]
        units = PRICES[model].units(input) or 1.0
        assert expected.usd >= self.highest.get(model, 0.0) * units - 1e-8
        self.left.pop()
        factor = self.factors[model][len(self.left) % len(self.factors[model])]
        cost = PRICES[model].usd * units * factor
        self.billed += cost
        self.committed += expected.usd
        if model not in self.seen:
            self.surprise += max(cost - expected.usd, 0.0)
        self.under_way.append((model, input, expected.usd, cost))
        self.costs.on_started(model)

    def end(self, which: int, *, completed: bool) -> None:
        """End a request that is under way, with its cost; a failed one is billed as well."""
        if not self.under_way:
            return
        model, input, reserved, cost = self.under_way.pop(which % len(self.under_way))
        self.committed += cost - reserved
        self.costs.on_cost(model, input, cost, completed=completed)
        self.seen = read_seen(json.loads(json.dumps(self.costs.memory()["costs"])))
        if model in self.seen:
            units = PRICES[model].units(input) or 1.0
            self.highest[model] = max(self.highest.get(model, 0.0), cost / units * completed)
        self.costs.on_left(model)


INPUTS = {
    "a/pictures": st.integers(1, 4).map(lambda n: json.dumps({"num_images": n})),
    "b/clips": st.integers(1, 10).map(lambda s: json.dumps({"duration": str(s)})),
    "c/songs": st.just("{}"),
}
ROWS = st.lists(
    st.sampled_from(MODELS).flatmap(lambda model: INPUTS[model].map(lambda input: (model, input))),
    max_size=40,
)
STEPS = st.lists(
    st.one_of(
        st.just(("submit", 0)),
        st.tuples(st.sampled_from(["completed", "failed"]), st.integers(0, 9)),
        st.just(("restart", 0)),
    ),
    max_size=150,
)


def play(batch: Batch, steps: list[tuple[str, int]]) -> Iterator[None]:
    for what, which in [*steps, *[("completed", 0)] * len(batch.left)]:
        if what == "submit":
            batch.submit()
        elif what == "restart":
            batch.start()
        else:
            batch.end(which, completed=what == "completed")
        yield


@settings(max_examples=500)
@given(cap=st.floats(0, 30), rows=ROWS, steps=STEPS, data=st.data())
def test_no_history_sends_a_row_that_could_pass_the_limit_by_what_is_known(
    cap: float, rows: list[tuple[str, str]], steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Whatever each request costs; `Batch.submit` has the assertions."""
    factors = {m: data.draw(st.lists(st.floats(0, 20), min_size=1, max_size=5)) for m in MODELS}
    batch = Batch(cap, factors, rows[::-1])
    for _ in play(batch, steps):
        pass
    event(f"submitted: {len(rows) - len(batch.left) > 1}")


@settings(max_examples=1000)
@given(cap=st.floats(0, 30), rows=ROWS, steps=STEPS, data=st.data())
def test_where_a_model_has_one_price_only_its_first_row_can_pass_the_limit(
    cap: float, rows: list[tuple[str, str]], steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    """However wrong the catalogue is."""
    factors = {model: [data.draw(st.floats(0, 20))] for model in MODELS}
    batch = Batch(cap, factors, rows[::-1])
    for _ in play(batch, steps):
        assert batch.billed <= batch.cap + batch.surprise + 1e-6


# Whether what is reserved is waited for

DAY, BATCH = "2026-11-26T00:00:00.000Z", ""


@pytest.mark.parametrize(
    ("price", "reserved", "ahead", "waits"),
    [
        (1.0, {BATCH: 0.0, DAY: 0.0}, 0, False),  # others hold it, or it is spent
        (1.0, {BATCH: 1.0, DAY: 1.0}, 0, True),
        (1.0, {BATCH: 0.9, DAY: 0.9}, 0, False),  # too little, even if all of it comes back
        (1.0, {BATCH: 5.0, DAY: 0.0}, 0, False),  # it was sent yesterday
        (1.0, {BATCH: 0.0, DAY: 0.0}, 1, True),  # until that one has its reservation, or not
        (None, {BATCH: 5.0, DAY: 5.0}, 0, False),
    ],
)
def test_a_row_waits_where_what_this_run_has_reserved_may_make_room(
    price: float | None, reserved: dict[str, float], ahead: int, waits: bool
) -> None:
    committed = {BATCH: 8.0, DAY: 5.0}
    limits = [
        ActiveLimit(9.0, BATCH, "--max-cost", "the batch"),
        ActiveLimit(5.0, DAY, "--max-cost-per-day", "today"),
    ]

    found = may_fit_later(committed.__getitem__, reserved.__getitem__, price, limits, ahead)
    assert found is waits


def test_a_row_that_has_room_for_itself_and_those_ahead_of_it_waits_for_nothing() -> None:
    limits = [ActiveLimit(5.0, "", "--max-cost", "the batch")]

    assert not may_fit_later(lambda since: 2.0, lambda since: 2.0, 1.0, limits, ahead=2)
    assert may_fit_later(lambda since: 2.0, lambda since: 2.0, 1.0, limits, ahead=3)


@given(
    cap=st.floats(0, 30),
    reserved=st.floats(0.01, 3),
    shares=st.lists(st.floats(0, 1), max_size=40),
    at_once=st.integers(1, 9),
    data=st.data(),
)
def test_a_limit_ends_a_run_only_when_nothing_under_way_could_make_room(
    cap: float, reserved: float, shares: list[float], at_once: int, data: st.DataObject
) -> None:
    """Each request comes to a share of what is reserved for it, as below a floor price."""
    limits = [ActiveLimit(cap, "", "--max-cost", "the batch")]
    left, under_way, spent = shares[:], list[float](), 0.0

    def held(_: str) -> float:
        return reserved * len(under_way)

    def committed(_: str) -> float:
        return spent + held("")

    while left:
        if len(under_way) < at_once and not first_exceeded(committed, reserved, limits):
            under_way.append(left.pop() * reserved)
        elif len(under_way) == at_once or may_fit_later(committed, held, reserved, limits):
            spent += under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
        else:
            break
        assert committed("") <= cap + 1e-8
    assert not left or spent + reserved > cap


def test_what_requests_of_other_machines_have_cost_is_reserved_here_too() -> None:
    mine = estimator(**{"a/pictures": SeenCost(0.06, 0.03, Unit.OUTPUT)})
    mine.learn({"a/pictures": SeenCost(0.05, 0.05, Unit.OUTPUT), "c/songs": SeenCost(None, None)})
    mine.on_started("c/songs")

    known = SeenCost(0.06, 0.05, Unit.OUTPUT)
    assert read_seen(mine.memory()["costs"])["a/pictures"] == known
    mine.learn({"a/pictures": SeenCost(0.07, 0.5, Unit.SECOND)})
    assert read_seen(mine.memory()["costs"])["a/pictures"] == replace(known, request=0.07)
    assert mine.may_submit("c/songs")
