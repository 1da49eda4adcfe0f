"""What config.toml says, checked: settings of a run, and the folders that the person trusts. Pure.

The names are those of `RunOptions`. A line is found in the text, since a TOML document does not
say where its keys stand.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.core import units
from batchgen.core.addresses import parse_media_place, parse_notify_urls, parse_ping_url
from batchgen.core.messages import explain_schema_error
from batchgen.core.rows import Place, Problem
from batchgen.core.text import closest_match

# What is no setting of a run.
TRUSTED = "trusted"
# How a setting that is not written as it is meant becomes its value.
_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "rate": units.parse_rate,
    "ping": parse_ping_url,
    "notify": parse_notify_urls,
    "media": parse_media_place,
    "media_hosts": tuple,
    "on_finish": lambda command: command if isinstance(command, str) else tuple(command),
}
_ONLY_SAID_EACH_TIME = {
    **dict.fromkeys(
        ("on_unknown", "retry_failed", "allow_changed", "new_batch", "new_list"),
        "It can have rows paid for again, so each run says it: --{option}",
    ),
    **dict.fromkeys(
        ("yes", "allow_path", "allow_hooks", "allow_shared_folder", "raise_limit"),
        "Each run says it: --{option}",
    ),
    **dict.fromkeys(
        ("until", "window", "max_time"), "It is a schedule's: see batchgen schedule install --help"
    ),
    "token": "Store it with batchgen login; this file is shared and copied, a token is not.",
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a person's config.toml says.

    file: its path; None where there is no home for one. of_run: settings by the names of
    `RunOptions`, parsed. trusted: folders whose lists may run commands, absolute and without links.
    lines: of each key.
    """

    file: str | None = None
    of_run: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def trusts(self, folder: str) -> bool:
        """Whether lists in a folder may run commands. folder: absolute, without links."""
        return any(f"{folder}/".startswith(f"{place.rstrip('/')}/") for place in self.trusted)


def read_settings(
    document: Mapping[str, Any], text: str, file: str, home: str, schema: Any
) -> tuple[Configuration, list[Problem]]:
    """Return what is right in a document, and the problems with the rest, by their lines.

    document: of TOML. text: what it was read from. home: of the person, for `~`; "" is none.
    schema: the validator of schemas/config.schema.json. Folders are returned as they are written.
    """
    lines = {name: _line(name, text) for name in document}
    problems = [
        Problem(Place(file, lines[name]), what, remedy, field=name)
        for name, what, remedy in _wrong(document, schema)
    ]
    told = {problem.field for problem in problems}
    of_run: dict[str, Any] = {}
    trusted: list[str] = []
    for name, value in document.items():
        if name in told:
            continue
        try:
            if name == TRUSTED:
                trusted = [_folder(written, home) for written in value]
            else:
                of_run[name] = _PARSERS.get(name, lambda found: found)(value)
        except ValueError as error:
            what = "this cannot be read"
            problems.append(Problem(Place(file, lines[name]), what, str(error), field=name))
    problems.sort(key=lambda problem: problem.place)
    return Configuration(file, of_run, tuple(trusted), lines), problems


def _wrong(document: Mapping[str, Any], schema: Any) -> Iterator[tuple[str, str, str]]:
    """Yield name, what is wrong and the remedy of each setting that is wrong, once."""
    known = [*schema.schema["properties"]]
    told = set()
    for name, value in document.items():
        if name not in known:
            yield name, "there is no setting of this name", _remedy_of_unknown(name, known)
        # Neither is above or below any bound of a schema.
        elif any(isinstance(n, float) and not math.isfinite(n) for n in _numbers(value)):
            yield name, "this is no amount", "Write a number like 5.00."
        else:
            continue
        told.add(name)
    for error in schema.iter_errors(document):
        name = str(error.absolute_path[0]) if error.absolute_path else ""
        if name and name not in told:
            told.add(name)
            what, remedy = explain_schema_error(error)
            if error.validator in ("anyOf", "oneOf"):
                remedy = str(error.schema.get("description", ""))
            yield name, what, remedy


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    else:
        yield value


def _remedy_of_unknown(name: str, known: list[str]) -> str:
    option = name.replace("-", "_")
    if option in _ONLY_SAID_EACH_TIME:
        return _ONLY_SAID_EACH_TIME[option].format(option=option.replace("_", "-"))
    near = closest_match(option, known)
    return f"Did you mean {near}?" if near else f"Settings are {', '.join(known)}."


def _folder(written: str, home: str) -> str:
    """Return a trusted folder. Raises ValueError unless it is absolute, or begins with `~/`."""
    if home and re.match(r"~(/|\Z)", written):
        return f"{home}/{written[2:]}"
    if not written.startswith("/"):
        raise ValueError(f"Write the whole path of the folder, or ~/…; {written!r} is neither.")
    return written


def _line(name: str, text: str) -> int:
    """Return the line on which a key of the document stands first, 0 if it cannot be found."""
    key = rf"""^[ \t]*\[?[ \t]*["']?{re.escape(name)}["']?[ \t]*[=.\]]"""
    found = re.search(key, text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 0
