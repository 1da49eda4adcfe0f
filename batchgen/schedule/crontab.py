"""A schedule as lines of a crontab, between markers of its own. Pure.

A crontab is bytes here: the lines of others are kept as they are. Source: crontab(5). Of all
characters cron reads one itself, `%`, which ends the command unless a backslash stands before it;
the rest is for the shell.
"""

import re
import shlex

from batchgen.core.timetable import EVERY_DAY
from batchgen.errors import UsageError
from batchgen.schedule.entry import Entry

MAX_LINE_BYTES = 990  # Debian's cron takes 998 in a command, and others no fewer


def block(entry: Entry) -> bytes:
    """Return the lines of a schedule. Raises UsageError for a line that cron would cut."""
    line = crontab_line(entry).encode()
    if len(line) > MAX_LINE_BYTES:
        raise UsageError(
            f"The line has {len(line)} bytes, and cron takes {MAX_LINE_BYTES}.",
            "Put the options into the manifest, or move the list to a shorter path.",
        )
    begin, end = _markers(entry.name)
    return b"\n".join([begin, line, end, b""])


def crontab_line(entry: Entry) -> str:
    at = entry.timetable.at
    days = entry.timetable.days
    # Sunday is 0 there.
    weekdays = (
        "*" if days == EVERY_DAY else ",".join(str(d) for d in sorted((n + 1) % 7 for n in days))
    )
    variables = [f"{name}={shlex.quote(value)}" for name, value in entry.environment.items()]
    command = " ".join([*variables, *map(shlex.quote, entry.command())])
    whole = f"cd {shlex.quote(entry.folder)} && {command}"
    return f"{at.minute} {at.hour} * * {weekdays} {whole.replace('%', chr(92) + '%')}"


def with_block(crontab: bytes, name: str, lines: bytes) -> bytes:
    """Return a crontab with the lines of a schedule in the place of its old ones, or at the end.

    Raises UsageError as `find_block` does.
    """
    found = find_block(crontab, name)
    if found is not None:
        begin, end = found
        return crontab[:begin] + lines + crontab[end:]
    whole = crontab if not crontab or crontab.endswith(b"\n") else crontab + b"\n"
    return whole + lines


def without_block(crontab: bytes, name: str) -> bytes:
    """Return a crontab without the lines of a schedule. Raises UsageError as `find_block` does."""
    found = find_block(crontab, name)
    return crontab if found is None else crontab[: found[0]] + crontab[found[1] :]


def find_block(crontab: bytes, name: str) -> tuple[int, int] | None:
    """Return where the lines of a schedule begin and end; None if there are none.

    Raises UsageError where the markers are not one pair: what lies between is somebody's.
    """
    begin, end = (
        [
            match.span()
            for match in re.finditer(rb"^" + re.escape(marker) + rb"(?:\n|\Z)", crontab, re.M)
        ]
        for marker in _markers(name)
    )
    if not begin and not end:
        return None
    if len(begin) != 1 or len(end) != 1 or end[0][0] < begin[0][1]:
        raise UsageError(
            f"The markers of the schedule {name!r} in your crontab are not one pair.",
            "Put them right, or remove its lines: crontab -e",
        )
    return begin[0][0], end[0][1]


# Source: crontab(5): quotes around a name or a value are taken away, and nothing is expanded.
_SETTING = re.compile(
    rb"""^[ \t]*["']?([A-Za-z_]\w*)["']?[ \t]*=[ \t]*(["']?)(.*?)\2[ \t]*$""", re.MULTILINE
)


def variables(crontab: bytes, name: str) -> dict[str, str]:
    """Return what lines above those of a schedule set for its command. Raises UsageError."""
    found = find_block(crontab, name)
    above = crontab[: found[0]] if found else crontab
    return {
        key.decode(): value.decode(errors="surrogateescape")
        for key, _, value in _SETTING.findall(above)
    }


def _markers(name: str) -> tuple[bytes, bytes]:
    begin = f"# batchgen schedule {name}: begin; change it with batchgen schedule"
    return begin.encode(), f"# batchgen schedule {name}: end".encode()
