"""When a request's end is seen, and after how many questions: batchgen's schedule and fixed ones.

No HTTP and no waiting: latencies are drawn, and a schedule is asked again and again when it would
ask next. All schedules see the same latencies.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, exp
from statistics import NormalDist, mean
from typing import NamedTuple

from batchgen.engine import poll_schedule

from .table import table

MEANS = (10.0, 60.0)  # seconds
SPREADS = (0.3, 0.5)  # sigma of the lognormal
WARM_UP = 200  # requests that teach before anything is counted
BUDGETS = (1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8)  # questions a row
GRID = 240  # ages that the best schedule may choose from


class Seen(NamedTuple):
    """polls: questions until the end was seen. at: the age then. before: the age at the last
    question that found it running; 0.0 where there was none."""

    polls: int
    at: float
    before: float


class Point(NamedTuple):
    """polls: questions a row. lag: mean seconds from the end to the answer, over the mean time."""

    polls: float
    lag: float


def adapter() -> tuple[Callable[[float], float], Callable[[Seen], None]]:
    """batchgen's own schedule: (age -> seconds to wait, what was seen -> None, to learn from it).

    The only place here that knows how batchgen.polling is called.
    """
    times = [poll_schedule.PRIOR_DURATIONS]

    def wait(age: float) -> float:
        return poll_schedule.next_poll_delay(age, times[0])

    def learn(seen: Seen) -> None:
        times[0] = poll_schedule.update_durations(times[0], seen.before, seen.at)

    return wait, learn


def drawn(average: float, spread: float, count: int, seed: int = 4) -> list[float]:
    """Seconds that requests take: lognormal with this mean and sigma."""
    dice = random.Random(seed)
    return [average * exp(dice.gauss(-spread * spread / 2, spread)) for _ in range(count)]


def watched(lasts: float, wait: Callable[[float], float]) -> Seen:
    """Ask about one request until its end is seen."""
    age, before, polls = wait(0.0), 0.0, 1
    while age < lasts:
        before, polls = age, polls + 1
        age += wait(age)
    return Seen(polls, age, before)


def ours(latencies: Sequence[float], average: float) -> Point:
    """batchgen's schedule, which learns from each request; the first WARM_UP are not counted."""
    wait, learn = adapter()
    polls, lags = [], []
    for n, lasts in enumerate(latencies):
        seen = watched(lasts, wait)
        learn(seen)
        if n >= WARM_UP:
            polls.append(seen.polls)
            lags.append(seen.at - lasts)
    return Point(mean(polls), mean(lags) / average)


def fixed(latencies: Sequence[float], average: float, first: float, every: float) -> Point:
    """Ask at the age `first` and then in intervals of `every`, both in seconds."""
    polls, lag = 0, 0.0
    for lasts in latencies:
        more = max(ceil((lasts - first) / every), 0)
        polls += 1 + more
        lag += first + more * every - lasts
    return Point(polls / len(latencies), lag / len(latencies) / average)


def fixed_schedules(latencies: Sequence[float], average: float) -> Iterator[tuple[str, Point]]:
    """A grid of fixed schedules, by their words; times as shares of the mean."""
    for n in range(2, 81, 2):
        every = n / 40
        yield f"every {every:g}", fixed(latencies, average, every * average, every * average)
    for n in range(4, 31):
        for m in range(1, 31):
            first, every = n / 20, m / 40
            point = fixed(latencies, average, first * average, every * average)
            yield f"at {first:g}, then every {every:g}", point


def best_possible(spread: float, price: float) -> Point:
    """What the best of all schedules reaches that knows the spread beforehand.

    It minimises lag + price x questions; the mean is 1. From the back: `cost[i]` is the least that
    is still to come once a question at age i found the request running.
    """
    bell = NormalDist(-spread * spread / 2, spread)
    ages = [exp(bell.inv_cdf((i + 0.5) / GRID)) for i in range(GRID)]
    total = [0.0]  # total[i]: the sum of the first i ages, each of which is 1/GRID likely
    for age in ages:
        total.append(total[-1] + age)
    cost, polls = [0.0] * (GRID + 1), [0.0] * (GRID + 1)
    for i in range(GRID - 1, -1, -1):
        left = (GRID - i) / GRID
        options = (
            (left * price + ((j - i) * ages[j - 1] - total[j] + total[i]) / GRID + cost[j], j)
            for j in range(i + 1, GRID + 1)
        )
        cost[i], best = min(options)
        polls[i] = left + polls[best]
    return Point(polls[0], cost[0] - price * polls[0])


def frontier(average: float, spread: float, count: int) -> dict[str, Point]:
    """Ours, and beside it the best within each budget of questions: fixed ones, and any at all.

    average: seconds. count: requests that are simulated for ours; fewer for the grid.
    """
    latencies = drawn(average, spread, count + WARM_UP)
    found = {"batchgen": ours(latencies, average)}
    grid = list(fixed_schedules(latencies[: min(count, 1500)], average))
    ideal = [best_possible(spread, 0.5 * 0.85**n) for n in range(40)]
    for budget in BUDGETS:
        within = [(point.lag, words, point) for words, point in grid if point.polls <= budget]
        if within:
            _, words, point = min(within)
            found[f"≤ {budget:g}: fixed, {words}"] = point
        known = [point for point in ideal if point.polls <= budget]
        if known:
            found[f"≤ {budget:g}: any that knows the spread"] = min(known, key=lambda p: p.lag)
    return found


def frontier_table(found: Mapping[str, Point]) -> str:
    """Times in the words of a schedule are shares of the mean time."""
    lines = [[name, f"{p.polls:.2f}", f"{p.lag:.1%}"] for name, p in found.items()]
    return table(["schedule", "polls/row", "lag / mean"], lines)
