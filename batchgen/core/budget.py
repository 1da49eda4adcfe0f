"""Limits to what a batch may cost, over all of its runs. Pure: the time is an argument."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from batchgen.core.states import State


@dataclass(frozen=True, slots=True)
class CostLimits:
    """USD that spent + reserved + unknown may not pass; None is no limit.

    Days and months are the calendar's where the computer is: a crontab has the same midnight.
    """

    batch: float | None = None
    day: float | None = None
    month: float | None = None

    def any(self) -> bool:
        return (self.batch, self.day, self.month) != (None, None, None)


@dataclass(frozen=True, slots=True)
class ActiveLimit:
    """A limit as it stands now. since: an ISO 8601 stamp, UTC; "" counts from the beginning."""

    usd: float
    since: str
    option: str
    words: str


def active_limits(limits: CostLimits, now: datetime) -> list[ActiveLimit]:
    """Return the limits that hold at `now`, the narrowest last.

    now: a local time, naive or with a zone that knows its changes of clocks: with a mere offset
        the midnight before such a change would come out an hour off.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    every = (
        (limits.batch, None, "--max-cost", "the batch"),
        (limits.month, midnight.replace(day=1), "--max-cost-per-month", "this month"),
        (limits.day, midnight, "--max-cost-per-day", "today"),
    )
    return [
        ActiveLimit(usd, "" if start is None else _utc(start), option, words)
        for usd, start, option, words in every
        if usd is not None
    ]


def committed_cost(
    state: State, price: float | None, cost: float | None, request_id: str | None
) -> float:
    """Return what a row's latest POST has cost or may yet cost, in USD.

    price: reserved for it. cost: what the API said. A request that was cancelled in the queue is
    not billed unless the API says so.
    """
    # Not in SQL: SQLite 3.40 takes any column for NOT NULL in the RETURNING of an UPDATE.
    if state in (State.SUBMITTING, State.UNKNOWN):
        return price or 0.0
    if state is State.CANCELLED:
        return cost or 0.0
    if request_id is not None:
        return (price if cost is None else cost) or 0.0
    return 0.0


def _utc(local: datetime) -> str:
    return local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def first_exceeded(
    committed: Callable[[str], float], price: float, limits: list[ActiveLimit]
) -> ActiveLimit | None:
    """Return the first limit that a request of `price` USD could pass; None if there is none.

    committed: USD spent, reserved or possibly spent since a stamp.
    """
    for cap in limits:
        # A sum of cents is never exact in binary. And NaN, which no comparison holds for, has to
        # stop what it would let through as a limit or a price.
        if not committed(cap.since) + price <= cap.usd + 1e-9:
            return cap
    return None
