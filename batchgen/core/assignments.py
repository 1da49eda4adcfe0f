"""What of a run can be changed while it goes on, and how that is written. Pure.

The person who types a command, the batch that keeps it and the run that takes it read it by the
same table: a command that stands in a batch folder may be anybody's.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchgen.core import units
from batchgen.core.text import closest_match, quote_value

DEFAULT = "default"  # instead of a value: what the command line or the list says
PAUSE, RESUME = "pause", "resume"
MAX_CONCURRENCY = 100_000


def _parse_count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 0 < count <= MAX_CONCURRENCY:
        raise ValueError(f"{quote_value(text)} is not a number of requests; write 8.")
    return count


# By their names on the command line, without the dashes.
SETTINGS: Mapping[str, Callable[[str], Any]] = {
    "rate": units.parse_rate,
    "concurrency": _parse_count,
    "max-cost": units.parse_usd,
    "until": units.parse_clock_time,
}


def parse_setting(name: str, text: str) -> Any:
    """Return the value of a setting, a number or a time of day; None for `default`.

    Raises ValueError with a sentence for the person who wrote it.
    """
    if name not in SETTINGS:
        near = closest_match(name, SETTINGS)
        rest = f"Did you mean {near}?" if near else f"There are {', '.join(SETTINGS)}."
        raise ValueError(f"{quote_value(name)} is nothing that can be set in a run. {rest}")
    return None if text == DEFAULT else SETTINGS[name](text)


def read_assignments(words: Iterable[str]) -> dict[str, str]:
    """Return what each setting is set to, as written, from `rate=20/m concurrency=8`.

    Raises ValueError with a sentence for the person who wrote it.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name, text = name.strip().replace("_", "-"), text.strip()
        if not equals:
            raise ValueError(f"{quote_value(word)} is not NAME=VALUE, as rate=20/m.")
        parse_setting(name, text)
        if name in found:
            raise ValueError(f"{name} is set twice.")
        found[name] = text
    return found


def is_kept(value: Any) -> bool:
    """Whether this can be what `set --keep` left: texts by setting, each of which can be read."""
    if not isinstance(value, dict):
        return False
    try:
        read = [parse_setting(name, text) for name, text in value.items() if isinstance(text, str)]
    except ValueError:
        return False
    return len(read) == len(value) and None not in read


def in_words(settings: Mapping[str, str]) -> str:
    """Return `rate 20/m, until 06:00`."""
    return ", ".join(f"{name} {text}" for name, text in settings.items())
