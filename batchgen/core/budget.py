"""Limits of a batch's cost, over all of its runs, and what a row counts for. Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from batchgen.core.prices import Estimate
from batchgen.core.states import State

CONFIGURATION, MANIFEST = "your configuration", "the manifest"  # who sets a limit
KEPT = "batchgen set"  # and with --keep


@dataclass(frozen=True, slots=True)
class CostLimits:
    """The most that the committed cost may be, USD; None is no limit.

    Days and months are those of the computer's time zone, as crontab's.
    batch, day, month: of one batch. all_day, all_month: of all batches of the person together, by
    the configuration.
    set_by: who sets `batch`, `day` and `month` where no option does, in words, by those names.
    """

    batch: float | None = None
    day: float | None = None
    month: float | None = None
    all_day: float | None = None
    all_month: float | None = None
    set_by: Mapping[str, str] = field(default_factory=dict)

    def any(self) -> bool:
        every = (self.batch, self.day, self.month, self.all_day, self.all_month)
        return any(limit is not None for limit in every)


@dataclass(frozen=True, slots=True)
class ActiveLimit:
    """A limit that holds now.

    since: ISO 8601, UTC, from when on cost is counted; "" is from the beginning.
    option: of the command line. words: the period, in messages. ends: when it has ended, in them.
    others: USD that other batches are committed to since then; None where they do not count.
    set_by: who sets it, in words; "" where the option does.
    """

    usd: float
    since: str
    option: str
    words: str
    ends: str = ""
    others: float | None = None
    set_by: str = ""

    @property
    def name(self) -> str:
        """The limit as the person wrote it: `--max-cost`, or `max_cost of the manifest`."""
        if not self.set_by:
            return self.option
        name = self.option.removeprefix("--")
        return f"{name if self.set_by == KEPT else name.replace('-', '_')} of {self.set_by}"

    def passed_by(self, committed: Callable[[str], float], price: float) -> bool:
        """Whether a request of `price` USD could pass it. committed: as `first_exceeded` has it."""
        return not self._has_room_for(self.committed(committed) + price)

    def renews_for(self, price: float | None) -> bool:
        """Whether the next day or month has room for a request of `price` USD, None if unknown."""
        return bool(self.since) and price is not None and self._has_room_for(price)

    def _has_room_for(self, usd: float) -> bool:
        # 1e-9, since a sum of cents is not exact in binary. No comparison with NaN holds, so a
        # limit or price of NaN has no room for anything.
        return usd <= self.usd + 1e-9

    def committed(self, committed: Callable[[str], float]) -> float:
        """Return the USD that count for it. committed: as `first_exceeded` has it."""
        return committed(self.since) + (self.others or 0.0)


def active_limits(
    limits: CostLimits, now: datetime, others: Callable[[str], float] = lambda since: 0.0
) -> list[ActiveLimit]:
    """Return the limits that hold at `now`, the narrowest last.

    now: a local time, naive or with a time zone, not with a mere offset: with that, the midnight
        before a change of clocks would be an hour off.
    others: returns the USD that the person's other batches are committed to since a time.
    """
    # The first one, where clocks go back to midnight and it comes twice.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    batch = ("", "--max-cost", "the batch", "")
    month = (_utc(midnight.replace(day=1)), "--max-cost-per-month", "this month", "next month")
    day = (_utc(midnight), "--max-cost-per-day", "today", "tomorrow")
    of_this = (
        (limits.batch, batch, "batch"),
        (limits.month, month, "month"),
        (limits.day, day, "day"),
    )
    of_all = ((limits.all_month, month), (limits.all_day, day))
    return [
        *(
            ActiveLimit(usd, *period, set_by=limits.set_by.get(name, ""))
            for usd, period, name in of_this
            if usd is not None
        ),
        *(
            ActiveLimit(usd, *period, others(period[0]), CONFIGURATION)
            for usd, period in of_all
            if usd is not None
        ),
    ]


def _utc(local: datetime) -> str:
    return local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def committed_cost(
    state: State, price: float | None, cost: float | None, request_id: str | None
) -> float:
    """Return what a row's latest submission has cost or may yet cost, USD.

    price: reserved for it. cost: as the API says, None where it has not said; 0 of a request that
    was surely cancelled in the queue. Another one may have run until then.
    """
    # Not in SQL: SQLite 3.40 takes every column in the RETURNING of an UPDATE for NOT NULL.
    if state in (State.SUBMITTING, State.UNKNOWN):
        return price or 0.0
    if request_id is None:
        return 0.0
    return (price if cost is None else cost) or 0.0


def first_exceeded(
    committed: Callable[[str], float], price: float | None, limits: list[ActiveLimit]
) -> ActiveLimit | None:
    """Return the first limit that a request of `price` USD could pass; None if there is none.

    A request whose price is not known could pass any.
    committed: returns the USD that are spent, reserved or possibly spent since a time.
    """
    price = math.inf if price is None else price
    return next((limit for limit in limits if limit.passed_by(committed, price)), None)


def may_fit_later(
    committed: Callable[[str], float],
    reserved: Callable[[str], float],
    price: float | None,
    limits: list[ActiveLimit],
    ahead: int = 0,
) -> bool:
    """Return whether a request that has no room now may have some when others have their costs.

    committed, price: as `first_exceeded` has them. reserved: returns the part of it that requests
    of this run hold, which have not ended: most may come back. ahead: requests that are about to
    reserve as much; they go first.
    """
    if first_exceeded(committed, price and price * (1 + ahead), limits) is None:
        return False
    without = first_exceeded(lambda since: committed(since) - reserved(since), price, limits)
    return ahead > 0 or without is None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run is about to spend.

    usd: of the requests whose price is known. floor: they may well cost more. unpriced: the number
    of the others. left: USD that the tightest limit leaves, and its option; None without a limit.
    balance: USD in the wallet; None where nobody says.
    """

    requests: int = 0
    usd: float = 0.0
    floor: bool = False
    unpriced: int = 0
    left: tuple[float, str] | None = None
    balance: float | None = None

    @property
    def at_most(self) -> float:
        """USD, as far as it is known."""
        return self.usd if self.left is None else min(self.usd, self.left[0])

    def is_above(self, usd: float) -> bool:
        """Whether it is more than so much, or may be, since nobody knows a price."""
        return bool(self.unpriced) or self.at_most > usd

    @property
    def question(self) -> str:
        """What a person is asked who may not want to spend that."""
        if self.unpriced == self.requests:
            return "Submit them without knowing what they cost?"
        least = "at least" if self.floor or self.unpriced else "about"
        return f"Spend {least} {show_usd(self.at_most)}?"

    def __str__(self) -> str:
        """`1,632 requests, about $97.92, balance $120.40`."""
        text = f"{self.requests:,} request{'' if self.requests == 1 else 's'}"
        if self.unpriced == self.requests:
            text += " without a known price"
        else:
            text += f", {'at least' if self.floor else 'about'} {show_usd(self.usd)}"
            if self.unpriced:
                text += f" and {self.unpriced:,} without a known price"
            if self.left is not None and self.at_most < self.usd:
                text += f", of which {self.left[1]} leaves {show_usd(self.at_most)}"
        return text if self.balance is None else f"{text}, balance {show_usd(self.balance)}"


def show_usd(usd: float) -> str:
    """Return `$1,234.50`; an amount below a cent with as many places as it needs."""
    if 0 < abs(usd) < 0.01:
        return f"${usd:.6f}".rstrip("0")
    return f"-${-usd:,.2f}" if usd < 0 else f"${usd:,.2f}"


def tightest(
    limits: list[ActiveLimit], committed: Callable[[str], float]
) -> tuple[float, str] | None:
    """Return the USD that the tightest limit leaves, and its option. committed: as above."""
    left = [(rest, name) for name, _, rest in what_is_left(limits, committed)]
    return min(left, default=None)


def what_is_left(
    limits: list[ActiveLimit], committed: Callable[[str], float]
) -> list[tuple[str, float, float]]:
    """Return the name of each limit, its USD, and the USD that it leaves. committed: as above."""
    return [
        (limit.name, limit.usd, max(limit.usd - limit.committed(committed), 0.0))
        for limit in limits
    ]


def limit_reached(
    limit: ActiveLimit, committed: Callable[[str], float], expected: Estimate
) -> tuple[str, str]:
    """Return what stopped a request, and what to do. committed: as `first_exceeded` has it."""
    if expected.usd is None:
        what = f"What the next request costs is not known, and {limit.name} has to know it."
        return f"{what} It was not sent.", "Say it with --price, in USD for a request."
    least = "at least " if expected.floor else ""
    by = " by all your batches" if limit.others is not None else ""
    spent = f"${limit.committed(committed):.2f} is spent or reserved{by}"
    raise_it = f"Raise {limit.name} to go on"
    if limit.set_by == CONFIGURATION:
        raise_it += f", or for one run say {limit.option}"
    if limit.set_by == KEPT:  # beside which no option raises it
        set_it = f"batchgen set BATCH {limit.option.removeprefix('--')}"
        raise_it = f"To raise it: {set_it}=USD --keep, or to lift it: {set_it}=default --keep"
    return (
        f"The next request costs {least}${expected.usd:.2f} and would pass the limit of"
        f" ${limit.usd:.2f} for {limit.words}, {limit.name} ({spent}). It was not sent.",
        raise_it + (f", or run again {limit.ends}." if limit.renews_for(expected.usd) else "."),
    )
