"""What the person allowed a run. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchgen.core.budget import CostLimits
from batchgen.core.prices import Price


@dataclass(frozen=True, slots=True)
class Policy:
    """What the person allowed this run.

    rate: POSTs per second at most. concurrency: requests submitted and unfinished at most.
    limit: POSTs in this run at most; None is no limit.
    limits: what the batch may cost. prices: by model, None = unknown.
    versions: of what makes the rows of a model now, where it has any. closed: the models that take
        nothing now, each with the reason. per_second: USD by model, where time is billed.
    max_time, stop_after: seconds from the start of the run after which nothing is submitted; the
        second also where `until` falls by then. None is never.
    until: the same, in seconds since the epoch.
    last_position: that of the last row that was agreed to, and is sent; None is no limit.
    """

    rate: float = 1.0
    concurrency: int = 16
    limit: int | None = None
    limits: CostLimits = field(default_factory=CostLimits)
    prices: Mapping[str, Price | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    per_second: Mapping[str, float] = field(default_factory=dict)
    max_time: float | None = None
    stop_after: float | None = None
    until: float | None = None
    last_position: int | None = None
