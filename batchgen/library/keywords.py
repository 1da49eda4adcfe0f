"""The options of a run as keywords of Python: their types, and how they are read.

A text is read as on the command line. A number is in USD, seconds, or requests per second.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import time
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from batchgen.core import limits, units
from batchgen.core.addresses import (
    parse_batch_name,
    parse_journal_place,
    parse_media_place,
    parse_notify_urls,
    parse_ping_url,
)
from batchgen.core.targets import parse_node_input
from batchgen.core.terms import Terms, parse_terms
from batchgen.core.text import closest_match
from batchgen.core.timetable import Timetable, parse_window
from batchgen.errors import UsageError
from batchgen.manifest.formats import FORMATS

AnyPath = str | PathLike[str]


class ReadingOptions(TypedDict, total=False):
    """How a list is read."""

    out: AnyPath
    model: str
    schema: AnyPath
    workflow: AnyPath
    format: str
    input_name: str
    fit: bool
    columns: Mapping[str, str]
    nodes: Mapping[str, str]
    meta: Iterable[str]
    id_template: str
    expand: bool
    samples: int
    sample_seed: int
    allow_path: Iterable[AnyPath]
    raise_limit: Mapping[str, int]
    base_url: str
    serverless_url: str
    media_hosts: Iterable[str]


class Options(ReadingOptions, total=False):
    """Every option of a run. `plan` takes the same, and goes by those that it needs."""

    limit: int
    skip_invalid: bool
    retry_failed: bool
    on_unknown: str
    rate: str | float
    max_cost: float
    max_cost_per_day: float
    max_cost_per_month: float
    price: float | Mapping[str, float]
    price_per_second: float | Mapping[str, float]
    new_batch: bool
    media: str
    journal: str
    batch: str
    sandbox: bool
    concurrency: int
    expect_plan: str | Terms
    max_time: str | float
    until: str | time
    window: str | Timetable
    new_list: bool
    allow_changed: bool
    allow_shared_folder: bool
    provenance: bool
    sidecars: bool
    thumbnails: bool
    max_outputs: int
    output_nodes: Iterable[str]
    log_file: AnyPath
    ping: str
    notify: str | Iterable[str]
    notify_when: str
    notify_pictures: bool
    on_finish: str | Iterable[str]
    allow_hooks: bool


# What is about a terminal: the command line gives these, and a program has no use for them.
OF_TERMINAL = ("quiet", "verbose", "yes", "ask_above")


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as `config.RunOptions` has them; None gives none.

    Raises TypeError for a name that is no option, as Python does, and UsageError for a value that
    cannot be read.
    """
    known = (*get_type_hints(Options), *OF_TERMINAL)
    found = {}
    for name, value in given.items():
        if name not in known:
            near = closest_match(name, known)
            hint = f". Did you mean {near!r}?" if near else ""
            raise TypeError(f"got an unexpected keyword argument {name!r}{hint}")
        if value is None:
            continue
        try:
            found[name] = _READERS.get(name, lambda one: one)(value)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{name}: {error}") from None
    return found


def most_problems(flags: Mapping[str, Any]) -> int:
    """Return how many problems of a list are told one by one."""
    return limits.DEFAULT_LIMITS.raised(flags.get("raise_limit", {})).problems


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False.")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text.")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ValueError(f"{value!r} is one text; write [{value!r}].")
    return tuple(map(_text, value))


def _columns(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no mapping; write {{'prompt': 'Prompt'}}.")
    return {_text(name): _text(column) for name, column in value.items()}


def _path(value: Any) -> Path:
    return Path(fspath(value))


def _paths(value: Any) -> tuple[Path, ...]:
    if isinstance(value, str | PathLike):
        raise ValueError(f"{value!r} is one path; write [{value!r}].")
    return tuple(map(_path, value))


def _usd(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not an amount; write 5.00.")
    return units.parse_usd(str(value))  # which refuses NaN: no sum is above a limit of NaN


def _prices(value: Any) -> float | dict[str, float]:
    if isinstance(value, Mapping):
        return {_text(model): _usd(usd) for model, usd in value.items()}
    return _usd(value)


def _count(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{value!r} is not a whole number from {least} on.")
        return value

    return read


def _number_or(parse: Callable[[str], float], unit: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is neither a text nor a number of {unit}.")
        if not 0 < value < math.inf:
            raise ValueError(f"{value!r} is not a number of {unit} above zero.")
        return float(value)

    return read


def _or(parse: Callable[[str], Any], kind: type) -> Callable[[Any], Any]:
    """Read a text, or take what is of a kind as it is."""
    return lambda value: value if isinstance(value, kind) else parse(_text(value))


def _choice(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}.")
        return str(value)

    return read


def _limits(value: Mapping[str, Any]) -> dict[str, int]:
    return dict(
        limits.parse_raised(f"{limits.limit_name(name)}={number}") for name, number in value.items()
    )


_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("out", "schema", "workflow", "log_file"), _path),
    **dict.fromkeys(("model", "input_name", "id_template", "base_url", "serverless_url"), _text),
    **dict.fromkeys(("meta", "media_hosts", "output_nodes"), _texts),
    **dict.fromkeys(("samples", "concurrency", "max_outputs"), _count(1)),
    **dict.fromkeys(("max_cost", "max_cost_per_day", "max_cost_per_month", "ask_above"), _usd),
    **dict.fromkeys(
        (
            *("fit", "expand", "skip_invalid", "retry_failed", "new_batch", "new_list", "sandbox"),
            *("allow_changed", "allow_shared_folder", "allow_hooks", "provenance", "sidecars"),
            *("thumbnails", "notify_pictures", "quiet", "verbose", "yes"),
        ),
        _flag,
    ),
    "allow_path": _paths,
    "columns": _columns,
    "nodes": lambda value: {name: parse_node_input(one) for name, one in _columns(value).items()},
    "limit": _count(0),
    "raise_limit": _limits,
    "format": _choice(*FORMATS),
    "price": _prices,
    "price_per_second": _prices,
    "rate": _number_or(units.parse_rate, "requests per second"),
    "max_time": _number_or(units.parse_duration, "seconds"),
    "until": _or(units.parse_clock_time, time),
    "window": _or(parse_window, Timetable),
    "expect_plan": _or(parse_terms, Terms),
    "on_unknown": _choice("hold", "resubmit"),
    "notify_when": _choice("problems", "always"),
    # What is empty takes the place of what is configured.
    "media": lambda place: parse_media_place(_text(place)),
    "journal": lambda url: parse_journal_place(_text(url)),
    "batch": lambda name: parse_batch_name(_text(name)),
    "ping": lambda url: parse_ping_url(_text(url)) if url != "" else "",
    "notify": lambda urls: (
        parse_notify_urls(urls if isinstance(urls, str) else [*urls]) if urls else ()
    ),
    "on_finish": lambda command: command if isinstance(command, str) else tuple(command),
}
