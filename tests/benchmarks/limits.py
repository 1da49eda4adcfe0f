"""What batchgen's limiter makes of an API that allows less than the person told it.

No HTTP and no waiting: a bucket lets POSTs in or answers 429, each answer comes after a while, and
the limiter is asked when the next may go.
"""

import heapq
from collections.abc import Iterator, Mapping
from math import ceil, inf
from typing import NamedTuple

from batchgen.engine.rate_limiter import RateLimiter

from .table import table

START, LONG = 60.0, 3600.0  # seconds
AT_ONCE = 40  # POSTs without an answer, at most


class Api(NamedTuple):
    """A bucket of `burst` POSTs, filled with `allowed` a second.

    latency: seconds from a POST to its answer.
    retry_after: what a 429 says: "whole" seconds, rounded up, "exact" ones, or "none". As in the
        program, what says less than a second is taken for one.
    """

    allowed: float
    burst: float = 2.0
    latency: float = 0.02
    retry_after: str = "whole"

    def wait(self, level: float) -> float | None:
        seconds = max((1 - level) / self.allowed, 1.0)
        return {"none": None, "exact": seconds, "whole": float(ceil(seconds))}[self.retry_after]


class Answer(NamedTuple):
    """at: when it came, in seconds. refused: it was a 429. pace: what the limiter made of it."""

    at: float
    refused: bool
    pace: RateLimiter


def answers(api: Api, pace: RateLimiter, until: float, now: float = 0.0) -> Iterator[Answer]:
    """Send from `now` on, as fast as the limiter lets; the bucket is full then."""
    under_way: list[tuple[float, float, bool, float | None]] = []  # answered and sent at, …
    level, then = api.burst, now
    while now < until:
        due = max(now, pace.next_at)
        if under_way and (under_way[0][0] <= due or len(under_way) == AT_ONCE):
            now, sent_at, refused, wait = heapq.heappop(under_way)
            pace = pace.after_429(now, sent_at, wait) if refused else pace.after_acceptance(sent_at)
            yield Answer(now, refused, pace)
            continue
        now = due
        pace = pace.after_submission(now)
        level, then = min(api.burst, level + (now - then) * api.allowed), now
        refused = level < 1
        heapq.heappush(under_way, (now + api.latency, now, refused, api.wait(level)))
        level -= not refused


class Figures(NamedTuple):
    """used, slowest: shares of the allowed rate. refused: 429s."""

    used: float
    refused: int
    slowest: float


def figures(api: Api, told: float, seconds: float) -> Figures:
    """slowest: from a tenth of the time on, when the limit should be known."""
    found = list(answers(api, RateLimiter(told, told), seconds))
    refused = sum(one.refused for one in found)
    slowest = min(one.pace.rate for one in found if one.at > seconds / 10)
    allowed = api.burst + api.allowed * seconds
    return Figures((len(found) - refused) / allowed, refused, slowest / api.allowed)


def back_after(api: Api, told: float, settled: float = LONG / 2) -> float:
    """Seconds from the end of a limit until the told rate is reached, all but 2 % of it."""
    *_, last = answers(api, RateLimiter(told, told), settled)
    free = answers(Api(2 * told, 10.0), last.pace, settled + LONG, settled)
    return next((one.at - settled for one in free if one.pace.rate > 0.98 * told), inf)


class Line(NamedTuple):
    """start: of the first minute. long: of a long run. back: as of `back_after`."""

    start: Figures
    long: Figures
    back: float


def limits(seconds: float = LONG) -> dict[str, Line]:
    """Some APIs, each beside some told rates; seconds: how long the long runs are."""
    found = {}
    apis = (Api(0.5, 1.0, 0.3), Api(2.0, 1.0, 0.3), Api(20.0), Api(20.0, 5.0, 1.0), Api(80.0, 8.0))
    for api in (one._replace(retry_after=how) for one in apis for how in ("whole", "none")):
        for told in (1.1 * api.allowed, 3 * api.allowed, 20 * api.allowed):
            words = f"{api.allowed:g}/s, {api.burst:g} at once, Retry-After {api.retry_after}"
            found[f"{words}: told {told:g}/s"] = Line(
                figures(api, told, START), figures(api, told, seconds), back_after(api, told)
            )
    return found


def limits_table(found: Mapping[str, Line]) -> str:
    """The first minute, a long run, and how long it takes to be back once the limit is gone."""
    headings = ["API", "used", "429s", "used long", "429s", "slowest", "back s"]
    lines = []
    for name, (start, long, back) in found.items():
        early = f"{start.used:.1%}", str(start.refused)
        later = f"{long.used:.1%}", str(long.refused), f"{long.slowest:.2f}"
        lines.append([name, *early, *later, f"{back:.0f}"])
    return table(headings, lines)
