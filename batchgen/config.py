"""Where settings come from: a flag beats the manifest, that the environment, that the default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batchgen.core.budget import CostLimits

if TYPE_CHECKING:  # the readers of manifests are not needed to find a batch
    from batchgen.manifest.settings import Settings

T = TypeVar("T")

DEFAULT_MODEL = "ideogram/ideogram-v2/generate"
DEFAULT_RATE = 1.0
DEFAULT_CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run` as they were given; None and empty where they were not."""

    out: Path | None = None
    rate: float | None = None
    concurrency: int | None = None
    limit: int | None = None
    max_cost: float | None = None
    max_cost_per_day: float | None = None
    max_cost_per_month: float | None = None
    max_time: float | None = None
    until: time | None = None
    retry_failed: bool = False
    on_unknown: str = "hold"
    skip_invalid: bool = False
    new_list: bool = False
    model: str | None = None
    schema: Path | None = None
    allow_path: tuple[Path, ...] = ()
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    meta: tuple[str, ...] = ()
    base_url: str | None = None
    media_hosts: tuple[str, ...] = ()
    sandbox: bool = False
    no_provenance: bool = False
    sidecars: bool = False
    no_thumbnails: bool = False


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What holds for a run after the merge. rate: POSTs per second; stop_after: seconds."""

    model: str
    schema: Path | None
    rate: float
    concurrency: int
    limit: int | None
    limits: CostLimits
    price: float | None
    prices: Mapping[str, float]
    stop_after: float | None
    until: float | None = None  # the same as seconds since the epoch: a computer may sleep


def merge_settings(
    flags: RunOptions, settings: "Settings", manifest: Path | None, now: datetime
) -> RunSettings:
    """now: local time without a zone, for --until, the next time that clocks here show that."""
    ends = [_first(flags.max_time, settings.max_time)]
    until = flags.until or settings.until
    ends_at = None
    if until is not None:
        ends.append(seconds_until(until, now))
        ends_at = now.timestamp() + seconds_until(until, now)
    schema = flags.schema
    if schema is None and settings.schema is not None:
        folder = manifest.parent if manifest is not None else Path()
        schema = folder / settings.schema
    return RunSettings(
        model=flags.model or settings.model or DEFAULT_MODEL,
        schema=schema,
        rate=flags.rate or settings.rate or DEFAULT_RATE,
        concurrency=flags.concurrency or settings.concurrency or DEFAULT_CONCURRENCY,
        limit=_first(flags.limit, settings.limit),
        limits=CostLimits(
            _first(flags.max_cost, settings.max_cost),
            _first(flags.max_cost_per_day, settings.max_cost_per_day),
            _first(flags.max_cost_per_month, settings.max_cost_per_month),
        ),
        price=settings.price,
        prices=settings.prices,
        stop_after=min((end for end in ends if end is not None), default=None),
        until=ends_at,
    )


def _first(flag: T | None, setting: T | None) -> T | None:
    return flag if flag is not None else setting


def seconds_until(until: time, now: datetime) -> float:
    """Return the seconds from `now` to the next time that local clocks show `until`."""
    then = now.replace(hour=until.hour, minute=until.minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return then.timestamp() - now.timestamp()


def default_out(manifest: str) -> Path:
    """The output folder of a manifest that names none: `out/<stem>` under the current folder."""
    stem = Path(manifest).resolve().stem if manifest != "-" else "stdin"
    return Path("out") / (stem or "batch")
