"""Whether a journal's values can have been written by batchgen. Pure.

A journal can come from another person, and SQLite keeps a value of any type in any column. Values
become names of files, times, numbers and requests. So each is checked when it is read, by the name
of its column, whatever query finds it. Everything that any version of batchgen has written passes.
A path or a name that passes stays inside the batch folder.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import Any

from batchgen.core.assignments import is_kept
from batchgen.core.identity import REQUEST_ID_PATTERN, json_object
from batchgen.core.messages import model_id_problem
from batchgen.core.run_words import GIVEN, are_kept_options
from batchgen.core.states import State

KINDS = ("image", "video", "audio", "file")
MAX_NAME_BYTES = 255  # that common file systems take
MAX_NUMBER = 1e15  # of dollars, bytes or rows; floats count by ones up to here
# Not hidden; without control characters and separators, also those of Windows.
_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f]+")
FOLDERS = ("images", "videos", "audio", "files")
_SHA256 = re.compile(r"[0-9a-f]{64}")
FIRST_TIME, LAST_TIME = "1970", "3000"  # a computer without a clock begins with the first
# What is kept of the API's queue beside a time: how many wait, the lowest and highest position.
QUEUE_FIELDS = ("waiting", "first", "last")
_STATES = frozenset(State)
LEADS_TO_A_FILE = ("key", "name", "n", "path", "sha256", "delivered_sha256", "kind")


def is_name(value: Any) -> bool:
    """Return whether this is the name of one file, or the stem of one."""
    return (
        isinstance(value, str)
        and _NAME.fullmatch(value) is not None
        and len(value if value.isascii() else value.encode(errors="replace")) <= MAX_NAME_BYTES
    )


def is_path(value: Any) -> bool:
    """Return whether this is the path of an output, relative to the batch folder."""
    if not isinstance(value, str):
        return False
    folder, _, name = value.partition("/")
    return folder in FOLDERS and is_name(name)


def is_time(value: str) -> bool:
    """Return whether this is a time as the journal writes it: ISO 8601, UTC."""
    if not (FIRST_TIME <= value < LAST_TIME and value.endswith("Z")):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_json_object(value: str) -> bool:
    return json_object(value) is not None


def _is_in_range(value: float) -> bool:
    return 0 <= value < MAX_NUMBER


def _is_sha256(value: str) -> bool:
    return _SHA256.fullmatch(value) is not None


def _is_request_id(value: str) -> bool:
    return REQUEST_ID_PATTERN.fullmatch(value) is not None


@lru_cache(maxsize=1000)
def is_model(value: str) -> bool:
    """Return whether this is a model of a row that was sent, or may be."""
    return not value or model_id_problem(value) is None  # empty: known by its receipt only


_Check = tuple[tuple[type, ...], Callable[[Any], bool] | None]
_TEXT: _Check = ((str,), None)
_NUMBER: _Check = ((int, float), _is_in_range)
_COUNT: _Check = ((int,), _is_in_range)
_TIME: _Check = ((str,), is_time)


def _or_null(check: _Check) -> _Check:
    return (*check[0], NoneType), check[1]


# By the name that a query gives to a column; a table's own, or of a sum. What is not here is not
# checked, such as a number that SQLite counted. A value has one of these types and, unless it is
# NULL, passes the function.
_CHECKS: Mapping[str, _Check] = {
    **dict.fromkeys(("id", "model", "value", "event", "field", "command"), _TEXT),
    **dict.fromkeys(
        (
            *("source", "api_status", "error", "answer", "result", "url", "content_type", "note"),
            *("detail", "process", "version", "manifest", "ending", "cause", "example"),
        ),
        _or_null(_TEXT),
    ),
    **dict.fromkeys(("key", "name"), ((str,), is_name)),
    "state": ((str,), _STATES.__contains__),
    # Of a row that the journal may not have.
    "known_state": ((str, NoneType), _STATES.__contains__),
    "known_id": _or_null(_TEXT),
    "request_id": ((str, NoneType), _is_request_id),
    "input": ((str,), _is_json_object),
    "meta": ((str, NoneType), _is_json_object),
    **dict.fromkeys(("listed", "keep"), ((int,), (0, 1).__contains__)),
    **dict.fromkeys(("n", "position", "attempts", "attempt", "seq", "rows", "saved"), _COUNT),
    **dict.fromkeys(("bytes", "width", "height", "run"), _or_null(_COUNT)),
    **dict.fromkeys(("error_code", "exit_code"), ((int, NoneType), None)),
    **dict.fromkeys(("price", "cost", "duration"), _or_null(_NUMBER)),
    **dict.fromkeys(("usd", "cost_usd", "committed", "reserved", "unknown", "unpriced"), _NUMBER),
    **dict.fromkeys(("created_at", "submitted_at", "completed_at", "saved_at"), _or_null(_TIME)),
    **dict.fromkeys(("first", "last", "oldest", "ended_at"), _or_null(_TIME)),
    **dict.fromkeys(("at", "started_at"), _TIME),
    "path": ((str, NoneType), is_path),
    **dict.fromkeys(("sha256", "delivered_sha256"), ((str, NoneType), _is_sha256)),
    "kind": ((str, NoneType), KINDS.__contains__),
    # Of a request that may be sent. The model of an invalid row is what stood in the list.
    "sent_model": ((str,), is_model),
}


@lru_cache(maxsize=500)
def checker(
    columns: tuple[str, ...], *, but: tuple[str, ...] = ()
) -> Callable[[Sequence[Any]], str | None]:
    """Return a function that says which column of a row, if any, has a value that is not ours.

    columns: of the query, in its order. but: those that the caller checks itself.
    """
    known = [
        (at, name, *_CHECKS[name])
        for at, name in enumerate(columns)
        if name in _CHECKS and name not in but
    ]
    values = [(at, name, check) for at, name, _, check in known if check is not None]
    # Most rows have the same types. To look them up at once takes a tenth of the time.
    good: set[tuple[type, ...]] = set()

    def first_odd(row: Sequence[Any]) -> str | None:
        types = tuple(map(type, row))
        if types not in good:
            for at, name, allowed, _ in known:
                if types[at] not in allowed:
                    return name
            good.add(types)
        for at, name, check in values:
            if (value := row[at]) is not None and not check(value):
                return name
        return None

    return first_odd


def odd(values: Mapping[str, Any]) -> str | None:
    """Return the first column whose value batchgen does not write; None if there is none."""
    return checker(tuple(values))(tuple(values.values()))


# -- the memory of a batch -----------------------------------------------------------------------


def _is_real(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and _is_in_range(value)


def _is_pace(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_rate(value.get("rate"))
        and (value.get("learned") is None or _is_rate(value["learned"]))
        and _is_real(value.get("next_at"))
        and (value.get("paused_until") is None or _is_real(value["paused_until"]))
    )


def _is_rate(value: Any) -> bool:
    return _is_real(value) and 0 < value < MAX_NUMBER


def _is_durations(value: Any) -> bool:
    """Whether it has what makes each model's DurationModel: mean, variance, count."""
    return isinstance(value, dict) and all(
        isinstance(one, list)
        and len(one) == 3
        and all(map(_is_real, one))
        and abs(one[0]) < 100  # a logarithm of seconds
        and 0 <= one[1] < 10_000
        and _is_count(one[2])
        for one in value.values()
    )


def _is_told(value: Any) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {"seq", "at", "once"}:
        return False
    texts = [value.get("at", ""), value.get("once", "")]
    return _is_count(value.get("seq", 0)) and all(isinstance(text, str) for text in texts)


def _is_prices(value: Any) -> bool:
    """Whether the prices have times; what is no price is none to `read_prices`."""
    if not isinstance(value, dict):
        return False
    stamps = [price.get("at", "") for price in value.values() if isinstance(price, dict)]
    return all(isinstance(at, str) and (not at or is_time(at)) for at in stamps)


def _has_time(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("at"), str) and is_time(value["at"])


def _is_queue(value: Any) -> bool:
    return _has_time(value) and all(_is_count(value.get(name)) for name in QUEUE_FIELDS)


def _are_instances(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, dict)
        and isinstance(one.get("instance"), str)
        and isinstance(one.get("since"), str)
        and is_time(one["since"])
        and isinstance(one.get("waited"), int | float)
        for one in value.values()
    )


# What a run keeps of its options for those that join it without the list, by type.
_REAL, _YES_OR_NO = (int, float), bool
TOLD_OPTIONS: Mapping[str, Any] = {
    **dict.fromkeys(("rate", "max_cost", "max_cost_per_day", "max_cost_per_month"), _REAL),
    **dict.fromkeys(("concurrency", "max_outputs"), int),
    **dict.fromkeys(("price", "price_per_second"), (*_REAL, dict)),
    **dict.fromkeys(("provenance", "sidecars", "thumbnails"), _YES_OR_NO),
    "output_nodes": list,
}


def _are_told_options(value: Any) -> bool:
    def is_right(name: str, one: Any) -> bool:
        if TOLD_OPTIONS[name] is _YES_OR_NO or isinstance(one, bool):
            return TOLD_OPTIONS[name] is type(one)
        if not isinstance(one, TOLD_OPTIONS[name]):
            return False
        if isinstance(one, list):
            return all(isinstance(node, str) for node in one)
        numbers = [*one.values()] if isinstance(one, dict) else [one]
        if name in ("rate", "concurrency", "max_outputs") and numbers[0] <= 0:
            return False
        return all(_is_real(number) and _is_in_range(number) for number in numbers)

    known = isinstance(value, dict) and value.keys() <= TOLD_OPTIONS.keys()
    return known and all(is_right(*item) for item in value.items())


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_models(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and is_model(one) for one in value)


# By the name under which a run keeps it; null passes. Each price and each cost is checked where it
# is read.
_MEMORY: Mapping[str, Callable[[Any], bool]] = {
    "sandbox": lambda value: isinstance(value, bool),
    "manifest": lambda value: isinstance(value, str),
    "receipts_read": _is_count,
    "listed": _is_object,
    "prices": _is_prices,
    "costs": _is_object,
    "pace": _is_pace,
    "times": _is_durations,
    "told": _is_told,
    "unnamed_model": lambda value: isinstance(value, str) and model_id_problem(value) is None,
    "takes_files": _are_models,
    "paused": _has_time,
    "by_time": _are_models,
    "kept": is_kept,
    "queue": _is_queue,
    "instances": _are_instances,
    "options": _are_told_options,
    GIVEN: are_kept_options,
}


def remembered(name: str, text: str) -> Any:
    """Return what a run keeps under a name, from its JSON. Raises ValueError if it is not ours."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(name) from None
    if value is not None and name in _MEMORY and not _MEMORY[name](value):
        raise ValueError(name)
    return value
