"""The limits of what a list and a model's schema may take of time, memory and money. Pure.

A list can come from a stranger: a few kilobytes of it must not become a day of work, or a million
paid requests. All of these limits are far above what lists need. A person raises one on the command
line, `--raise-limit matrix-rows=200`; a manifest raises none, since its limits are against it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from batchgen.core.strict_json import MOST_DEPTH
from batchgen.core.text import closest_match, quote_value

_UNITS = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_NUMBER = re.compile(r"([0-9]{1,15})\s*([KMG]iB)?", re.IGNORECASE)


def _limit(value: int, bounds: str, why: str, *, most: int | None = None) -> Any:
    """bounds: what it is the most of. why: there is one. most: as far as it can be raised."""
    return field(default=value, metadata={"bounds": bounds, "why": why, "most": most})


@dataclass(frozen=True, slots=True)
class Limits:
    """Each limit by its name, with `_` for the `-` that people write."""

    matrix_rows: int = _limit(
        100,
        "requests that `matrix` makes of a row",
        "each is paid for",
    )
    matrix_total: int = _limit(
        1_000_000,
        "requests that `matrix` makes of all rows",
        "each takes time and disk before the first is sent",
    )
    default_bytes: int = _limit(
        1 << 20,
        "bytes that `defaults` and `matrix` add to a row, as JSON; a value counts as 64 at least",
        "a text written once is stored and sent with every row",
    )
    default_total: int = _limit(
        1 << 29,
        "bytes that `defaults`, `matrix` and `columns` add to all rows, counted so",
        "all rows are on disk before the first is sent",
    )
    unfolded_rows: int = _limit(
        100,
        "rows that a prompt unfolds into",
        "each is paid for",
    )
    unfolded_total: int = _limit(
        1_000_000,
        "rows that all prompts unfold into",
        "each takes time and disk before the first is sent",
    )
    unfolded_bytes: int = _limit(
        1 << 29,
        "bytes of all texts that prompts unfold into",
        "all rows are on disk before the first is sent",
    )
    row_bytes: int = _limit(
        1 << 22,
        "bytes of a line, of a row, or of a file that is one prompt",
        "a row is held in memory, where it takes up to thirty times as much",
        most=1 << 30,
    )
    row_values: int = _limit(
        100_000,
        "columns of a table, or values in a row or in the settings",
        "each takes some hundred bytes of memory",
    )
    file_bytes: int = _limit(
        1 << 28,
        "bytes of a YAML or JSON file",
        "it is held in memory as a whole; CSV, TSV, JSONL and text are not, and have no limit",
        most=1 << 32,
    )
    alias_values: int = _limit(
        100_000,
        "values that the aliases of a YAML file stand for",
        "aliases of aliases make billions of a few lines",
    )
    depth: int = _limit(
        64,
        "lists and objects inside one another",
        "no input of a model is so deep",
        most=MOST_DEPTH,
    )
    problems: int = _limit(
        200,
        "problems that are shown, of one kind a twentieth",
        "nobody reads more",
    )
    schema_bytes: int = _limit(
        1 << 24,
        "bytes of a model's schema",
        "those of RunComfy have some thousand",
        most=1 << 30,
    )
    workflow_bytes: int = _limit(
        1 << 22,
        "bytes of a file with a workflow",
        "it is sent with every row; most have some ten thousand",
        most=1 << 25,
    )
    schema_parts: int = _limit(
        10_000,
        "schemas and required names in a model's schema",
        "each takes time before the first row is read",
    )
    schema_steps: int = _limit(
        50_000,
        "steps to check a row by its model's schema; in the long run a fiftieth for each row",
        "a schema of a few lines can ask for years of work; those of RunComfy need hundreds",
    )

    def raised(self, by_field: Mapping[str, int]) -> "Limits":
        """Return these limits with some raised; one that is higher already stays."""
        return replace(self, **{n: max(value, getattr(self, n)) for n, value in by_field.items()})


DEFAULT_LIMITS = Limits()
MEANT = "If it is meant"
_FIELDS = {one.name: one for one in fields(Limits)}


def limit_name(field: str) -> str:
    """Return a limit's name as people write it."""
    return field.replace("_", "-")


def facts_of(field: str) -> Mapping[str, Any]:
    """Return what `_limit` was told of a limit."""
    return _FIELDS[field].metadata


def is_bytes(field: str) -> bool:
    return field.endswith("_bytes") or field == "default_total"


def show_limit(field: str, value: int) -> str:
    """Return a limit's value as it is written after `NAME=`: `200`, or `16MiB`, rounded up."""
    if not is_bytes(field) or value < 1 << 20:
        return str(value)
    return f"{-(-value // (1 << 20))}MiB"


def say_limit(limits: Limits, field: str) -> str:
    """Return `the limit matrix-rows is 100`."""
    return f"the limit {limit_name(field)} is {show_limit(field, getattr(limits, field))}"


def how_to_raise(field: str, needed: int, meant: str = MEANT) -> str:
    """Return a sentence with the option that raises a limit to what a list needs.

    meant: the words before it. "" where it cannot be raised so far.
    """
    most = facts_of(field)["most"]
    if most is not None and needed > most:
        return ""
    return f"{meant}, add --raise-limit {limit_name(field)}={show_limit(field, needed)}"


def parse_raised(text: str) -> tuple[str, int]:
    """Return the field and the value of `NAME=N`. Raises ValueError, which says what to write."""
    name, equals, written = text.partition("=")
    names = [limit_name(field) for field in _FIELDS]
    if not equals:
        raise ValueError(f"{quote_value(text)} is not NAME=N, as matrix-rows=200")
    field = name.strip().replace("-", "_")
    if field not in _FIELDS:
        near = closest_match(name, names)
        ways = f"Did you mean {near}?" if near else f"Limits are {', '.join(names)}."
        raise ValueError(f"{quote_value(name)} is no limit. {ways}")
    return field, _read(field, written.strip())


def _read(field: str, written: str) -> int:
    number, most = _NUMBER.fullmatch(written), facts_of(field)["most"]
    bytes_ = is_bytes(field)
    if number is None or (number[2] and not bytes_):
        units = ", or with a unit: 64MiB" if bytes_ else ""
        raise ValueError(f"{quote_value(written)} is not a whole number; write digits{units}")
    value = int(number[1]) * _UNITS[(number[2] or "").upper()]
    if most is not None and value > most:
        raise ValueError(f"{limit_name(field)} can be {show_limit(field, most)} at most")
    return value
