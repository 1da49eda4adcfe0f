"""Limits of a batch's cost, over all of its runs, and what a row counts for. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from batchgen.core.states import State


@dataclass(frozen=True, slots=True)
class CostLimits:
    """The most that the committed cost may be, USD; None is no limit.

    Days and months are those of the computer's time zone, as crontab's.
    """

    batch: float | None = None
    day: float | None = None
    month: float | None = None

    def any(self) -> bool:
        return (self.batch, self.day, self.month) != (None, None, None)


@dataclass(frozen=True, slots=True)
class ActiveLimit:
    """A limit that holds now.

    since: ISO 8601, UTC, from when on cost is counted; "" is from the beginning.
    option: of the command line. words: the period, in messages.
    """

    usd: float
    since: str
    option: str
    words: str


def active_limits(limits: CostLimits, now: datetime) -> list[ActiveLimit]:
    """Return the limits that hold at `now`, the narrowest last.

    now: a local time, naive or with a time zone, not with a mere offset: with that, the midnight
        before a change of clocks would be an hour off.
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


def _utc(local: datetime) -> str:
    return local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def committed_cost(
    state: State, price: float | None, cost: float | None, request_id: str | None
) -> float:
    """Return what a row's latest submission has cost or may yet cost, USD.

    price: reserved for it. cost: as the API says, None where it has not said. A request that was
    cancelled in the queue is not billed unless the API says so.
    """
    # Not in SQL: SQLite 3.40 takes every column in the RETURNING of an UPDATE for NOT NULL.
    if state in (State.SUBMITTING, State.UNKNOWN):
        return price or 0.0
    if state is State.CANCELLED:
        return cost or 0.0
    if request_id is None:
        return 0.0
    return (price if cost is None else cost) or 0.0


def first_exceeded(
    committed: Callable[[str], float], price: float, limits: list[ActiveLimit]
) -> ActiveLimit | None:
    """Return the first limit that a request of `price` USD could pass; None if there is none.

    committed: returns the USD that are spent, reserved or possibly spent since a time.
    """
    for limit in limits:
        # 1e-9, since a sum of cents is not exact in binary. `not <=`, since no comparison with NaN
        # holds, and a limit or price of NaN has to stop the request.
        if not committed(limit.since) + price <= limit.usd + 1e-9:
            return limit
    return None
