"""A look at a batch -> the lines that show it, at a terminal or without one. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from batchgen.core.budget import show_usd
from batchgen.core.states import State
from batchgen.core.text import nonzero, plural, terminal_safe, truncate_columns
from batchgen.core.units import show_rate, show_span
from batchgen.report.summary_text import estimated

MOST_INSTANCES = 3  # that are shown
QUIET_S = 5.0  # after which it is said; each gives a sign once a second


@dataclass
class Look:
    """A batch at one moment.

    at: seconds since the epoch. batch: its folder. numbers: as the function of that name has them;
        empty where there is no journal yet.
    runner: who goes on with it; "" for nobody. doing: what a runner does that submits nothing yet.
    rate: learned, in submissions per second; None before the first. last_minute, of_run: the same,
        as they were. night: when the first of the night's runs began, seconds since the epoch, and
        of_night: the rate since then; None where this run is the only one.
    throttled: 429s of the run.
    in_flight: the ages of requests without a result, seconds, the oldest first.
    queue: how many of them wait in RunComfy's queue, and the lowest and highest position, as it
        said at a time; None where it does not say.
    expiring: results that are not fetched; first_to_expire: seconds until the first of them may be
        gone; None without one.
    problems, changes: as `Follower` has them.
    """

    at: float
    batch: str
    runner: str = ""
    doing: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    rate: float | None = None
    last_minute: float = 0.0
    of_run: float = 0.0
    night: float | None = None
    of_night: float | None = None
    throttled: int = 0
    in_flight: list[float] = field(default_factory=list)
    queue: dict[str, Any] | None = None
    expiring: int = 0
    first_to_expire: float | None = None
    problems: list[dict[str, str]] = field(default_factory=list)
    changes: list[dict[str, str]] = field(default_factory=list)

    @property
    def ends_at(self) -> float | None:
        """When the last row will have been submitted, as it goes now; None where nobody can say."""
        pending = self.numbers["counts"][State.PENDING] if self.numbers else 0
        rate = self.last_minute or self.rate
        if not (self.runner and pending and rate) or self.numbers["paused_since"]:
            return None
        return self.at + pending / rate


def frame(look: Look, width: int, zone: tzinfo | None = None) -> list[str]:
    """Return the lines of a screen. width: in columns. zone: of times; None is the local one."""
    lines = [f"{look.batch}  {_clock(look.at, zone, seconds=True)}", _state(look, zone)]
    if look.numbers:
        lines += _numbers(look, zone)
    return [truncate_columns(terminal_safe(" ".join(line.split("\n"))), width) for line in lines]


def _state(look: Look, zone: tzinfo | None) -> str:
    if look.doing:
        return f"{look.runner} is {look.doing}"
    if not look.runner:
        run = look.numbers.get("run") or {}
        if run.get("started_at") and not run.get("ended_at"):
            return "no run under way; the last one was killed: run it again to go on"
        ending = f"; the last one: {run['ending']}" if run.get("ending") else ""
        return f"no run under way{ending}"
    if since := look.numbers["paused_since"]:
        return f"paused since {_clock(_epoch(since), zone)} ({look.runner})"
    return f"running ({look.runner})"


def _numbers(look: Look, zone: tzinfo | None) -> list[str]:
    numbers = look.numbers
    counts = nonzero(numbers["counts"])
    lines = [f"  rows       {numbers['rows']:,}: {counts or 'none'}"]
    money = numbers["money_usd"]
    cost = f"{show_usd(money['committed'])} spent or reserved"
    if money["estimated"]:
        cost += f" ({estimated(money)})"
    if money["unknown"]:
        cost += f", {show_usd(money['unknown'])} of it for unknown rows"
    if money["unpriced"]:
        cost += f", and {plural(money['unpriced'], 'request')} without a known price"
    lines.append(f"  cost       {cost}{', all pretend' if numbers['rehearsal'] else ''}")
    now = _rate(look.last_minute)
    night = ""
    if look.night is not None:
        night = f", {_rate(look.of_night)} since {_clock(look.night, zone, look.at)}"
    lines.append(
        f"  rate       {now} now, {_rate(look.of_run)} over this run{night}{_learned(look)}"
    )
    if look.in_flight:
        oldest, middle = look.in_flight[0], look.in_flight[len(look.in_flight) // 2]
        ages = f"the oldest for {show_span(oldest)}, half for {show_span(middle)} or longer"
        lines.append(f"  in flight  {len(look.in_flight)}: {ages}")
    if found := numbers.get("instances"):
        lines.append(f"  instances  {shown_instances(found, look.at)}")
    if found := numbers.get("machines"):
        lines.append(f"  machines   {shown_machine(found[0], look.at)}")
        lines += [f"             {shown_machine(one, look.at)}" for one in found[1:]]
    if look.queue:
        first, last = look.queue["first"], look.queue["last"]
        where = f"position {first}" if first == last else f"positions {first} to {last}"
        lines.append(f"  queue      {look.queue['waiting']} wait at RunComfy, at {where}")
    if look.ends_at is not None:
        left = show_span(look.ends_at - look.at)
        lines.append(f"  submitted  by {_clock(look.ends_at, zone, look.at)}, in {left}")
    if look.first_to_expire is not None:
        seconds = look.first_to_expire
        gone = f"in {show_span(seconds)}" if seconds > 0 else "already"
        results = plural(look.expiring, "result")
        lines.append(f"  expiring   {results} not fetched, the first may be gone {gone}")
    if look.changes:
        change = look.changes[-1]
        lines.append(f"  changed    {_clock(_epoch(change['at']), zone, look.at)} {change['what']}")
    if look.problems:
        lines.append("  problems, the latest first")
        lines += [f"    {_problem(one, zone, look.at)}" for one in reversed(look.problems)]
    return lines


def shown_instances(found: list[dict[str, Any]], now: float) -> str:
    """Return `gpu-1 at work on heron for 20 s, after 3 min`, and so on; a few of many.

    found: as `follow.instances` returns them. now: seconds since the epoch.
    """
    shown = [
        f"{one['instance']} on {one['id']} for {show_span(max(now - _epoch(one['since']), 0.0))},"
        f" after {show_span(one['waited_seconds'])}"
        for one in found[:MOST_INSTANCES]
    ]
    more = len(found) - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more else [])])


def shown_machine(found: dict[str, Any], now: float) -> str:
    """Return `27017 on render-1, running for 3 min: 4 submitted`. found: of `Reader.machines`."""
    words = f"{found['process']}, {found['doing']} for {show_span(now - _epoch(found['since']))}"
    rows = ", ".join(f"{n} {state}" for state, n in sorted(found["rows"].items()))
    quiet = found["quiet_seconds"]
    silent = f"; not heard of for {show_span(quiet)}" if quiet > QUIET_S else ""
    return terminal_safe(f"{words}: {rows or 'no rows'}{silent}")


def _learned(look: Look) -> str:
    told = f", told to slow down (429) {plural(look.throttled, 'time')}" if look.throttled else ""
    allowed = f", at most {show_rate(look.rate)}" if look.rate else ""
    return f"{allowed}{told}"


def _rate(rate: float | None) -> str:
    return show_rate(rate) if rate else "nothing"


def _problem(problem: dict[str, str], zone: tzinfo | None, now: float) -> str:
    why = " ".join(problem["why"].split()) or "no reason given"
    return f"{_clock(_epoch(problem['at']), zone, now)} {problem['id']} {problem['state']}: {why}"


def line(look: Look, zone: tzinfo | None = None) -> str:
    """Return one line, for a log or a pipe: what changes, and no clock in seconds."""
    if not look.numbers:
        return terminal_safe(f"{_clock(look.at, zone)} {_state(look, zone)}")
    parts = [
        nonzero(look.numbers["counts"]) or "no rows",
        f"{_rate(look.last_minute)} now",
        show_usd(look.numbers["money_usd"]["committed"]),
        *([f"{look.throttled} × 429"] if look.throttled else []),
        _state(look, zone),
    ]
    return terminal_safe(f"{_clock(look.at, zone)} {' · '.join(parts)}")


def as_json(look: Look) -> dict[str, Any]:
    """Return the values of a frame, for a line of JSON. Times are ISO 8601, UTC; spans seconds."""
    return {
        "at": _iso(look.at),
        "batch": look.batch,
        "running": bool(look.runner and not look.doing),
        "process": look.runner or None,
        "doing": look.doing or None,
        **look.numbers,
        "rate_per_second": {
            "allowed": look.rate,
            "last_minute": round(look.last_minute, 4),
            "run": round(look.of_run, 4),
            "night": None if look.of_night is None else round(look.of_night, 4),
        },
        "night_since": None if look.night is None else _iso(look.night),
        "throttled": look.throttled,
        "in_flight_seconds": [round(age, 1) for age in look.in_flight],
        "queue": look.queue,
        "submitted_by": None if look.ends_at is None else _iso(look.ends_at),
        "first_expires_in_seconds": look.first_to_expire and round(look.first_to_expire, 1),
        "problems": look.problems,
        "changes": look.changes,
    }


def _epoch(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(
    at: float, zone: tzinfo | None, now: float | None = None, *, seconds: bool = False
) -> str:
    """Return the time of day, with the date where that is another than that of `now`."""
    then = datetime.fromtimestamp(at, zone)
    clock = f"{then:%H:%M:%S}" if seconds else f"{then:%H:%M}"
    other = now is not None and datetime.fromtimestamp(now, zone).date() != then.date()
    return f"{then:%Y-%m-%d} {clock}" if other else clock
