"""One scheduled list, and the command that runs it. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, time
from typing import Any

from batchgen.core.addresses import (
    ADDRESS_VARIABLES,
    JOURNAL_VARIABLE,
    MEDIA_VARIABLE,
    journal_place_or_none,
)
from batchgen.core.timetable import Timetable
from batchgen.errors import UsageError

MAX_NAME_CHARS = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Where things are, and the way to the API; cron and systemd know none of what a shell exports.
CARRIED = (
    *("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "RUNCOMFY_CONFIG_DIR", "PYTHONPATH"),
    *("RUNCOMFY_MODEL_API_BASE", "RUNCOMFY_SERVERLESS_API_BASE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
    *("NO_PROXY", "no_proxy", JOURNAL_VARIABLE, MEDIA_VARIABLE),
)
# With one of these a run that stops before its end is no fault.
_STOPS_EARLY = ("--limit", "--until", "--max-time", "--max-cost-per-day", "--max-cost-per-month")


@dataclass(frozen=True, slots=True)
class Entry:
    """A list that runs by itself.

    manifest, folder: absolute; the run starts in `folder`. options: of the run, besides the window.
    out: its output folder if they name one, absolute. program: the words that start batchgen.
    environment: what the run gets beside what cron or systemd give it. by: "cron" or "systemd".
    since: when it was installed, local time. limited: whether the configuration had a limit of cost
        of a day or a month then.
    """

    name: str
    manifest: str
    folder: str
    timetable: Timetable
    by: str
    program: tuple[str, ...]
    since: datetime
    options: tuple[str, ...] = ()
    out: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    limited: bool = False

    def command(self) -> list[str]:
        """Return the words of the run."""
        quiet = [] if {"-q", "--quiet", "-v", "--verbose"} & {*self.options} else ["-q"]
        window = self.timetable.window()
        limits = ["--window", window] if window else []
        return [*self.program, "run", self.manifest, *quiet, *limits, *self.options]

    def is_rehearsal(self) -> bool:
        """Whether its runs go to the sandbox."""
        return "--sandbox" in self.options

    def database(self) -> str | None:
        """Return the database that its runs keep the journal in; None where it names none."""
        words = iter(self.options)
        said = self.environment.get(JOURNAL_VARIABLE)
        for word in words:
            name, equals, value = word.partition("=")
            if name == "--journal":
                said = value if equals else next(words, None)
        return journal_place_or_none(said)

    def may_stop_early(self) -> bool:
        """Whether exit code 75 is what the person asked for."""
        words = {word.partition("=")[0] for word in self.options}
        by_option = self.timetable.until is not None or not words.isdisjoint(_STOPS_EARLY)
        return by_option or self.limited

    def to_json(self) -> str:
        at, until = self.timetable.at, self.timetable.until
        told = asdict(self) | {
            "timetable": {
                "at": at.isoformat(),
                "days": sorted(self.timetable.days),
                "until": until and until.isoformat(),
            },
            "since": self.since.isoformat(),
        }
        return json.dumps(told, ensure_ascii=True, indent=1) + "\n"


def from_json(text: str) -> Entry:
    """Return what `to_json` wrote. Raises ValueError for anything else."""
    try:
        found: dict[str, Any] = json.loads(text)
        when = found.pop("timetable")
        until = when["until"] and time.fromisoformat(when["until"])
        timetable = Timetable(time.fromisoformat(when["at"]), frozenset(when["days"]), until)
        lists: dict[str, Any] = {n: tuple(map(str, found.pop(n))) for n in ("program", "options")}
        since = datetime.fromisoformat(found.pop("since"))
        return Entry(**found, **lists, timetable=timetable, since=since)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def name_of(manifest: str) -> str:
    """Return the name of a list's schedule where nobody names one: that of its file."""
    file = manifest.rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._")
    return plain[:MAX_NAME_CHARS] or "list"


def check_name(name: str) -> str:
    """Return a name that is right for a file, a unit and a marker. Raises UsageError."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARS:
        raise UsageError(
            f"{name!r} cannot be the name of a schedule.",
            f"Use letters, digits, - and _, {MAX_NAME_CHARS} of them at most.",
        )
    return name


def carried(environment: Mapping[str, str], home: str) -> tuple[dict[str, str], list[str]]:
    """Return what a scheduled run is given of an environment, and the variables that are left out.

    home: that of the user's account, which cron and systemd give.
    A proxy's address with a password in it is left out: a list of processes shows it. So are the
    addresses of those who are told of a run, which are secrets.
    """
    there = {name: environment[name] for name in CARRIED if environment.get(name)}
    if environment.get("HOME", home) != home:
        there["HOME"] = environment["HOME"]
    secret = [name for name, value in there.items() if _may_hold_secret(name, value)]
    told = [name for name in ADDRESS_VARIABLES.values() if environment.get(name)]
    return {name: value for name, value in there.items() if name not in secret}, secret + told


def _may_hold_secret(name: str, value: str) -> bool:
    if name == JOURNAL_VARIABLE:  # it has a user mostly, and may have a password anywhere
        return journal_place_or_none(value) is None
    return "@" in value and "://" in value


def check_words(entry: Entry) -> None:
    """Raise UsageError for a word that crons or systemds read differently from each other."""
    words = [entry.folder, *entry.command(), *entry.environment.values()]
    for word in words:
        if "\\" in word or not word.isprintable():
            raise UsageError(
                f"{word!r} has a backslash, a line break or the like, which no schedule can hold.",
                "Rename it, or move it to another folder.",
            )
