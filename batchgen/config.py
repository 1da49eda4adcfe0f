"""The options of a run: where each comes from, and what holds after the merge.

A flag beats the manifest, the manifest the environment, the environment the person's
configuration, and that the default. Of a limit of cost the lowest of manifest and configuration
holds, and a price of the configuration before that of the manifest, which could empty the limit. An
option is declared once, here; `cli/options.py` or `cli/run.py` says how it is written on the
command line, and `schemas/manifest.schema.json` and `schemas/config.schema.json` whether a manifest
or the configuration may set it. The merge goes by name.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from batchgen.core import budget
from batchgen.core.addresses import (
    ADDRESS_VARIABLES,
    JOURNAL_VARIABLE,
    MEDIA_VARIABLE,
    parse_journal_place,
    parse_media_place,
    parse_notify_urls,
    parse_ping_url,
)
from batchgen.core.assignments import parse_setting
from batchgen.core.budget import CostLimits
from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.terms import Terms
from batchgen.core.timetable import Timetable, next_time
from batchgen.core.units import parse_usd
from batchgen.errors import UsageError

View = TypeVar("View")

DEFAULT_MODEL = "ideogram/ideogram-v2/generate"
DEFAULT_BASE_URL = "https://model-api.runcomfy.net/v1"
# The environment variables of options, by the option's name.
VARIABLES = {
    "base_url": "RUNCOMFY_MODEL_API_BASE",
    "serverless_url": "RUNCOMFY_SERVERLESS_API_BASE",
    "ask_above": "BATCHGEN_ASK_ABOVE",
    "media": MEDIA_VARIABLE,
    "journal": JOURNAL_VARIABLE,
    **ADDRESS_VARIABLES,
}
TOKEN_VARIABLES = ("RUNCOMFY_TOKEN", "RUNCOMFY_API_KEY", "RUNCOMFY_API_TOKEN", "YOUR_API_TOKEN")
SECRET_VARIABLES = (*TOKEN_VARIABLES, *ADDRESS_VARIABLES.values())
_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "ask_above": parse_usd,
    "media": parse_media_place,
    "journal": parse_journal_place,
    "ping": parse_ping_url,
    "notify": parse_notify_urls,
}


class Source(StrEnum):
    """Where an option's value comes from, the strongest first. KEPT: what `set --keep` left."""

    FLAG = "flag"
    KEPT = "kept"
    MANIFEST = "manifest"
    ENVIRONMENT = "environment"
    CONFIGURATION = "configuration"
    DEFAULT = "default"


_SETTERS = {
    Source.KEPT: budget.KEPT,
    Source.MANIFEST: budget.MANIFEST,
    Source.CONFIGURATION: budget.CONFIGURATION,
}
# The names that `CostLimits` has for options.
_LIMITS = {"batch": "max_cost", "day": "max_cost_per_day", "month": "max_cost_per_month"}


# Whom a run tells, and what it runs: of a manifest's only where the person trusts it.
HOOKS = ("ping", "notify", "notify_when", "notify_pictures", "on_finish")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Every option of a run, as it holds after the merge.

    out: the output folder. media: where media are kept instead, as `s3://bucket/prefix`.
    journal: the database that keeps the journal, as `postgresql://host/database`. batch: its name
        there; None is the list's stem.
    model: of rows that name none, or `deployments/ID`. schema: that of the model, or its file.
    workflow: a file with one that is sent to deployments.
    rate: POSTs per second. concurrency: requests in progress. limit: POSTs of this run.
    max_cost, max_cost_per_day, max_cost_per_month: USD that this batch may cost.
    all_per_day, all_per_month: USD that all batches of the person on this computer may cost.
    price: USD of a request, for all models or by model, "*" for all others; None where the API's
        price holds.
    own_price: the person's, as `price`, where that is of a list; it takes precedence.
    price_per_second: USD of an instance's second, for all hardware or by hardware, "*" for all
        other; None where nobody says.
    ask_above: USD; a person at a terminal is asked before a run spends more. yes: not asked.
    expect_plan: what a person or a program agreed to; the run does just that, or nothing.
    max_outputs: files of a row that are fetched. output_nodes: of a deployment's workflow, whose
        outputs are kept; none is all.
    max_time: seconds. until: a local time of day. window: of the night; outside it nothing runs.
    format, input_name, fit, columns, meta, id_template, allow_path: how the manifest is read.
        `input_name` is what each file of a folder is; with `fit` large pictures are sent smaller.
        `columns`, `nodes` and `meta` are what the command line adds to those of the manifest, which
        its reader knows; so are `id_template`, `expand`, `samples` and `sample_seed`, which take
        precedence over its own.
    raise_limit: values by the fields of `Limits`.
    allow_shared_folder: write to a folder that others can write to.
    ping: a URL; "" is nobody. notify: URLs. on_finish: a command, for the shell or in words.
    notify_when: `always` or `problems`. notify_pictures: send the first pictures along.
    allow_hooks: let the manifest say whom to tell, and what to run.
    sources: where each of these comes from, by name.
    """

    out: Path = Path("out")
    media: str | None = None
    journal: str | None = None
    batch: str | None = None
    model: str = DEFAULT_MODEL
    schema: Path | Mapping[str, Any] | None = None
    workflow: Path | None = None
    rate: float = 1.0
    concurrency: int = 16
    limit: int | None = None
    max_cost: float | None = None
    max_cost_per_day: float | None = None
    max_cost_per_month: float | None = None
    all_per_day: float | None = None
    all_per_month: float | None = None
    price: float | Mapping[str, float] | None = None
    own_price: float | Mapping[str, float] | None = None
    price_per_second: float | Mapping[str, float] | None = None
    ask_above: float = 25.0
    yes: bool = False
    expect_plan: Terms | None = None
    max_time: float | None = None
    until: time | None = None
    window: Timetable | None = None
    retry_failed: bool = False
    on_unknown: str = "hold"
    skip_invalid: bool = False
    new_list: bool = False
    new_batch: bool = False
    allow_changed: bool = False
    allow_shared_folder: bool = False
    allow_path: tuple[Path, ...] = ()
    raise_limit: Mapping[str, int] = field(default_factory=dict)
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    meta: tuple[str, ...] = ()
    id_template: str | None = None
    input_name: str | None = None
    fit: bool = False
    expand: bool = False
    samples: int | None = None
    sample_seed: int | None = None
    base_url: str = DEFAULT_BASE_URL
    serverless_url: str = ""
    media_hosts: tuple[str, ...] = ()
    sandbox: bool = False
    provenance: bool = True
    sidecars: bool = False
    thumbnails: bool = True
    max_outputs: int = 100
    output_nodes: tuple[str, ...] = ()
    quiet: bool = False
    verbose: bool = False
    log_file: Path | None = None
    ping: str | None = None
    notify: tuple[str, ...] = ()
    notify_when: str = "problems"
    notify_pictures: bool = False
    on_finish: str | tuple[str, ...] | None = None
    allow_hooks: bool = False
    sources: Mapping[str, Source] = field(default_factory=dict)

    def given(self) -> list[str]:
        """Return the options that are not left at their defaults, each with its source."""
        return [f"{n} ({source})" for n, source in self.sources.items() if source != Source.DEFAULT]

    @property
    def reading(self) -> Limits:
        """What a list and a schema may take."""
        return DEFAULT_LIMITS.raised(self.raise_limit)

    @property
    def limits(self) -> CostLimits:
        return CostLimits(
            self.max_cost,
            self.max_cost_per_day,
            self.max_cost_per_month,
            self.all_per_day,
            self.all_per_month,
            set_by={
                name: _SETTERS[source]
                for name, option in _LIMITS.items()
                if (source := self.sources.get(option)) in _SETTERS
            },
        )

    def ends_at(self, now: datetime) -> float | None:
        """Return the next `until` or the end of the window, whichever is earlier; None is never.

        In seconds since the epoch. now: local, without a zone.
        """
        until = None if self.until is None else now.timestamp() + seconds_until(self.until, now)
        window = None if self.window is None else self.window.window_end(now)
        ends = (until, None if window is None else window.timestamp())
        return min((end for end in ends if end is not None), default=None)

    def stop_after(self, now: datetime) -> float | None:
        """Return the seconds from `now` to `max_time` or `ends_at`, the earlier; None is never."""
        ends_at = self.ends_at(now)
        until = None if ends_at is None else ends_at - now.timestamp()
        return min((end for end in (self.max_time, until) if end is not None), default=None)


# What the configuration calls them, and the option that holds in their place.
_OF_ALL_BATCHES = {"max_cost_per_day": "all_per_day", "max_cost_per_month": "all_per_month"}


def merge_options(
    flags: Mapping[str, Any],
    manifest: Mapping[str, Any],
    environment: Mapping[str, str],
    configuration: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> RunOptions:
    """Return what holds, field by field.

    flags, manifest, configuration: what is written, by field. environment: by variable; an empty
    one says nothing. defaults: those that depend on the manifest; `RunOptions` has the others.
    Raises UsageError for a variable that cannot be read.
    """
    set_there = {
        name: _read_variable(name, key, value)
        for name, key in VARIABLES.items()
        if (value := environment.get(key))
    }
    own = _limits_of_all_batches(configuration, flags)
    limit = "max_cost"
    if limit in own and limit in manifest and own[limit] < manifest[limit]:
        manifest = {name: value for name, value in manifest.items() if name != limit}
    if "price" in own and "price" in manifest:
        own["own_price"] = own["price"]
    second = "price_per_second"
    if second in own and second in manifest:
        manifest = {**manifest, second: _with_own(manifest[second], own[second])}
    layers = {
        Source.FLAG: flags,
        Source.MANIFEST: manifest,
        Source.ENVIRONMENT: set_there,
        Source.CONFIGURATION: own,
        Source.DEFAULT: defaults,
    }
    values, sources = {}, {}
    for option in fields(RunOptions):
        if option.name == "sources":
            continue
        written = [source for source, layer in layers.items() if option.name in layer]
        sources[option.name] = written[0] if written else Source.DEFAULT
        if written:
            values[option.name] = layers[written[0]][option.name]
    return RunOptions(**values, sources=sources)


def _limits_of_all_batches(
    configuration: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a configuration with its limits per day and month as those of all batches together.

    They hold beside those of a manifest, which count its batch alone. A flag overrides both.
    """
    return {
        _OF_ALL_BATCHES.get(name, name): value
        for name, value in configuration.items()
        if not (name in _OF_ALL_BATCHES and name in flags)
    }


def _with_own(
    price: float | Mapping[str, float], own: float | Mapping[str, float]
) -> float | Mapping[str, float]:
    """Return a list's price with the person's, which takes precedence for what it is of."""
    if not isinstance(own, Mapping) or "*" in own:
        return own
    return {**(price if isinstance(price, Mapping) else {"*": price}), **own}


def _read_variable(name: str, key: str, value: str) -> Any:
    try:
        return _PARSERS.get(name, str)(value)
    except ValueError as error:
        raise UsageError(f"{key}: {error}") from None


def with_kept(options: RunOptions, kept: Mapping[str, str], now: datetime) -> RunOptions:
    """Return the options with what `set --keep` left in the batch. now: local, without a zone.

    kept: as written, by setting. A batch folder may come from anybody: what a person types for this
    run, or has in the configuration, is never loosened by it, and a limit of cost is not either,
    wherever it stands.
    """
    found = {name.replace("-", "_"): parse_setting(name, text) for name, text in kept.items()}
    for name, value in found.items():
        typed = getattr(options, name)
        own = options.sources.get(name) in (Source.FLAG, Source.CONFIGURATION)
        firm = own or name == "max_cost"
        if firm and typed is not None:
            order = partial(next_time, now=now) if name == "until" else float
            found[name] = min(value, typed, key=order)
    moved = {name: Source.KEPT for name in found if found[name] != getattr(options, name)}
    return replace(options, **found, sources={**options.sources, **moved})


def view(kind: type[View], options: RunOptions, **computed: Any) -> View:
    """Return a dataclass of what one part of a run needs, from the options of the same names.

    computed: its other fields.
    """
    names = (part.name for part in fields(kind) if part.name not in computed)  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in names}, **computed)


def seconds_until(until: time, now: datetime) -> float:
    """Return the seconds from `now` to the next time that local clocks show `until`."""
    return next_time(until, now).timestamp() - now.timestamp()


# Under these names a shell hands over a pipe or an open file; the next time it is another one.
_HANDED_OVER = re.compile(r"/dev/(stdin|stdout|stderr|tty|fd/\d+)|/proc/[^/]+(/task/\d+)?/fd/\d+")

# Or it writes a file for this command alone, in the folder for such files: `=(…)` of zsh, with
# TMPSUFFIX at its end, and psub of fish, which can make a folder.
_MADE_FOR_A_COMMAND = re.compile(r"zsh[A-Za-z0-9]{6}(\.\w+)?|\.psub\.\w{10}(/psub[^/]*)?")
_TEMPORARY = ("/tmp", "/private/tmp", "/var/tmp")


def has_name_of_its_own(manifest: str) -> bool:
    """Say whether a manifest can be found again by its path: not `-`, /dev/stdin, `<(…)`, `=(…)` or
    `(… | psub)`.
    """
    if manifest == "-":
        return False
    path = os.path.normpath(manifest)
    for folder in (*_TEMPORARY, os.path.normpath(os.environ.get("TMPDIR") or "/tmp")):
        if _MADE_FOR_A_COMMAND.fullmatch(path.removeprefix(f"{folder}/")) and path[:1] == "/":
            return False
    return not _HANDED_OVER.fullmatch(path)


def default_out(manifest: str) -> Path:
    """Return the output folder of a manifest that names none: `out/<stem>` in the current folder.

    The stem is that of the path as it was written, so a link has one folder whatever it leads to.
    Raises UsageError for `/dev/stdin`, `/dev/fd/N`, `<(…)` and the like.
    """
    if manifest == "-":
        return Path("out") / "stdin"
    if not has_name_of_its_own(manifest):
        raise UsageError(
            f"{manifest} has no name of its own, so the next run would not find its batch and"
            " would pay for every row again. Nothing was sent.",
            "Name the output folder with --out, or pipe the list into: batchgen run - --format"
            " FORMAT",
        )
    path = Path(manifest)
    stem = path.stem if path.name not in ("", "..") else path.resolve().stem
    return Path("out") / (stem or "batch")


def environment_for_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program of the person's own: without batchgen's secrets."""
    return {name: value for name, value in environment.items() if name not in SECRET_VARIABLES}


# What the credentials of a store or a database begin with, in the environment.
STORE_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "PG")


def environment_without_secrets() -> dict[str, str]:
    """Return the environment for a process of ours that needs no network: no token, no credentials
    of a store or a database, no proxies.
    """
    there = environment_for_programs(os.environ)
    return {
        name: value
        for name, value in there.items()
        if not name.lower().endswith("_proxy") and not name.startswith(STORE_VARIABLES)
    }
