"""A command and what holds in a run -> what holds from now on, or why nothing changes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from batchgen.core import budget
from batchgen.core.assignments import PAUSE, RESUME, parse_setting
from batchgen.core.budget import show_usd
from batchgen.core.states import RunEvent
from batchgen.core.timetable import next_time
from batchgen.core.units import show_rate
from batchgen.engine.policy import Policy


@dataclass(frozen=True, slots=True)
class Held:
    """What holds in a run. paused_since: as the journal writes it; "" if the run is not paused.

    kept: what holds for later runs too, as written, by setting.
    """

    policy: Policy
    paused_since: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Steered:
    """What a command leads to. held: from now on. event, detail: what is recorded of it.

    setting: what was moved, as the command line names it; "" if no limit was.
    """

    held: Held
    event: RunEvent
    detail: str = ""
    setting: str = ""


def steer(
    held: Held,
    asked: tuple[str, str, bool],
    *,
    written: Policy,
    at: str,
    now: datetime,
    run_time: float,
) -> Steered:
    """Return what a command leads to.

    asked: the command, its value as written, and whether it is kept for later runs. at: when it was
    asked, as the journal writes it. written: what the command line and the list say, for `default`.
    now: local, without a zone. run_time: seconds since the run began.
    """
    command, text, keep = asked
    if command == PAUSE:
        return Steered(replace(held, paused_since=held.paused_since or at), RunEvent.PAUSED)
    if command == RESUME:
        return Steered(replace(held, paused_since=""), RunEvent.RESUMED)
    try:
        value = parse_setting(command, text)
    except ValueError as error:
        return Steered(held, RunEvent.NOT_SET, str(error))
    before = held.policy
    after = _changed(before, command, value, written, now, run_time, keep=keep)
    kept = dict(held.kept)
    if keep and value is None:
        kept.pop(command, None)
    elif keep:
        kept[command] = text
    forever = " and kept" if keep and value is not None else ""
    # A rate as it was written, since nobody looks for 5/s in 300/m.
    new = text if command == "rate" and value is not None else _show(after, command)
    detail = f"{command} {new}{forever} (was {_show(before, command)})"
    return Steered(replace(held, policy=after, kept=kept), RunEvent.SET, detail, command)


def _changed(
    policy: Policy,
    setting: str,
    value: Any,
    written: Policy,
    now: datetime,
    run_time: float,
    *,
    keep: bool,
) -> Policy:
    """value: None for what is written."""
    match setting:
        case "rate":
            return replace(policy, rate=written.rate if value is None else value)
        case "concurrency":
            return replace(policy, concurrency=written.concurrency if value is None else value)
        case "max-cost":
            usd = written.limits.batch if value is None else value
            kept = budget.KEPT if keep else None
            by = written.limits.set_by.get("batch") if value is None else kept
            others = {name: who for name, who in policy.limits.set_by.items() if name != "batch"}
            set_by = others if by is None else {**others, "batch": by}
            return replace(policy, limits=replace(policy.limits, batch=usd, set_by=set_by))
        case _:
            if value is None:
                return replace(policy, until=written.until, stop_after=written.stop_after)
            until = next_time(value, now).timestamp()
            left = run_time + until - now.timestamp()
            ends = [end for end in (left, policy.max_time) if end is not None]
            return replace(policy, until=until, stop_after=min(ends))


def _show(policy: Policy, setting: str) -> str:
    match setting:
        case "rate":
            return show_rate(policy.rate)
        case "concurrency":
            return str(policy.concurrency)
        case "max-cost":
            return "none" if policy.limits.batch is None else show_usd(policy.limits.batch)
        case _:
            if policy.until is None:
                return "none"
            return f"{datetime.fromtimestamp(policy.until):%Y-%m-%d %H:%M}"
