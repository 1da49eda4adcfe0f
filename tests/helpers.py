"""For the end-to-end tests: a batch folder as its user finds it, and a clock that jumps."""

import asyncio
import csv
import io
import os
import pty
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from batchgen.api.submit_outcome import (
    Accepted,
    Blocked,
    Halt,
    HaltReason,
    ModelHalt,
    NotAccepted,
    NotSent,
    OutcomeUnknown,
    Rejected,
    Throttled,
)
from batchgen.clock import Clock
from batchgen.core.states import Event
from batchgen.core.timing import Timing
from batchgen.journal import schema
from batchgen.media import provenance

# A pretend hour can be shorter than the real fifth of a second of a rehearsal's request.
PATIENT = pytest.mark.timing(max_polling=1e7)
# A run that submits and never asks.
NEVER_ASKING = Timing(max_polling=0.0)
ROOT = Path(__file__).parents[1]
TOKEN = "a-token-that-nobody-may-see"
# The variables that say where batchgen keeps what belongs to no batch.
OF_THE_USER = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
MEDIA_FOLDERS = ("images", "videos", "audio", "files")
# The migration that makes a version, and so the first that a journal of the version before lacks.
MIGRATION_TO = {2: "m002_delivered_and_views", 3: "m003_throttled", 4: "m004_written_off"}


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code and its two streams."""

    code: int
    stdout: str
    stderr: str


class PretendClock(Clock):
    """Runs with the real one, and jumps ahead instead of sleeping."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.ahead += max(seconds, 0.0)
        await asyncio.sleep(0)


def table(prompts: Mapping[str, str]) -> str:
    """A CSV manifest: each row's prompt by its id."""
    text = io.StringIO()
    csv.writer(text).writerows([("id", "prompt"), *prompts.items()])
    return text.getvalue()


def many(count: int, prompt: str = "a heron") -> dict[str, str]:
    """Rows `row-1`, `row-2`, …, each with a prompt of its own."""
    return {f"row-{n}": f"{prompt}, number {n}" for n in range(1, count + 1)}


def query(folder: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask a journal that no run holds."""
    with closing(sqlite3.connect(folder / "batch.db")) as journal:
        return journal.execute(sql, values).fetchall()


def change(folder: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "batch.db")) as journal, journal:
        assert journal.execute(sql, values).rowcount == 1


def states(folder: Path) -> dict[str, str]:
    """Each row's state by its id; a journal in which two rows share an id fails the test."""
    found = query(folder, "SELECT id, state FROM requests ORDER BY position")
    assert len(dict(found)) == len(found)
    return dict(found)


def tally(folder: Path) -> dict[str, int]:
    """How many rows are in each state."""
    return dict(query(folder, "SELECT state, COUNT(*) FROM requests GROUP BY state"))


def error_of(folder: Path, id: str) -> str:
    ((error,),) = query(folder, "SELECT error FROM requests WHERE id = ?", id)
    return str(error)


def media(folder: Path) -> list[str]:
    """Every file in the media folders, unfinished ones too."""
    found = (path for kind in MEDIA_FOLDERS for path in (folder / kind).glob("*"))
    return sorted(path.relative_to(folder).as_posix() for path in found)


@dataclass(frozen=True)
class Told:
    """The parts of a submission's outcome on which a row's money hangs, side by side.

    stop: why all others stop, or "row" where it is this row alone, or "model".
    """

    event: Event | None = None
    stop: HaltReason | str | None = None
    throttled: bool = False
    reason: str = ""
    code: int | None = None
    request_id: str | None = None
    wait: float | None = None
    offline: bool = False


def told(outcome: Any) -> Told:
    match outcome:
        case Accepted(request_id, note):
            return Told(Event.ACCEPTED, request_id=request_id, reason=note)
        case Throttled(retry_after, code):
            return Told(Event.THROTTLED, throttled=True, code=code, wait=retry_after)
        case Rejected(reason, code):
            return Told(Event.REJECTED, reason=reason, code=code)
        case NotAccepted(reason, code):
            return Told(Event.NOT_ACCEPTED, reason=reason, code=code)
        case Blocked(reason, code):
            return Told(Event.NOT_ACCEPTED, "row", reason=reason, code=code)
        case ModelHalt(row):
            return replace(told(row), stop="model")
        case OutcomeUnknown(reason, code):
            return Told(Event.OUTCOME_UNKNOWN, reason=reason, code=code)
        case NotSent(reason, offline):
            return Told(reason=reason, offline=offline)
        case Halt(row, why):
            return replace(told(row), stop=why)
    raise AssertionError(f"{outcome!r} is no outcome")


def at_a_terminal(answer: str, *command: str, after: str = "") -> tuple[int, str]:
    """Run a command at a terminal of its own, type `answer`, and return its exit code and all that
    it shows.

    after: what it shows before it is typed to. A question that hides its answer drops what was
        typed earlier.
    """
    leader, follower = pty.openpty()
    # A session of its own, whose terminal this becomes when the child opens it by name.
    words = ["/bin/sh", "-c", ': <>"$0"; exec "$@"', os.ttyname(follower), *command]
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    child = subprocess.Popen(words, start_new_session=True, **streams)
    os.close(follower)
    shown = converse(leader, answer, after)
    return child.wait(timeout=60), shown


def converse(leader: int, answer: str, after: str = "") -> str:
    """Type `answer` at a terminal; return all that it shows until nobody has it open any more."""
    if not after:
        os.write(leader, answer.encode())
    shown = b""
    with suppress(OSError):  # Linux says EIO when the last process has closed the terminal
        while piece := os.read(leader, 4096):
            shown += piece
            if after and after.encode() in shown:
                after = ""
                os.write(leader, answer.encode())
    os.close(leader)
    return shown.decode()


def until(
    process: "subprocess.Popen[Any]", reached: Callable[[], bool], every: float = 0.02
) -> None:
    """Wait until `reached`, or until the process has ended. every: seconds from look to look."""
    while process.poll() is None and not reached():
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=every)


def provenance_of(picture: Path) -> Mapping[str, Any] | None:
    with picture.open("rb") as file:
        return provenance.read_provenance(file)


def _places(here: Path) -> dict[str, Path]:
    """Where a command of a test writes, by a name for each."""
    return {"here": here} | {name: Path(os.environ[name]) for name in OF_THE_USER}


def keep(here: Path, at: Path) -> None:
    """Copy what a test has made in its current folder, and what batchgen keeps for the user."""
    for name, place in _places(here).items():
        shutil.copytree(place, at / name, symlinks=True)
    (at / "where").write_text(str(here))


def bring_back(at: Path, here: Path) -> None:
    """Give another test what `keep` has copied to `at`, as if it had been made in `here`."""
    for name, place in _places(here).items():
        shutil.copytree(at / name, place, symlinks=True, dirs_exist_ok=True)
    # A journal names its list by its whole path, and the list of batches each folder.
    paths = ((at / "where").read_text(), str(here))
    for folder in here.glob("out/*/"):
        change(
            folder, "UPDATE memory SET value = replace(value, ?, ?) WHERE name='manifest'", *paths
        )
    for listed in Path(os.environ["XDG_STATE_HOME"]).rglob("batches.json"):
        listed.write_text(listed.read_text().replace(*paths))


def as_before(folder: Path, version: int) -> None:
    """Make the journal what the batchgen of a version before would have written."""
    now = folder / "batch.db"
    old = folder / "old.db"
    with closing(sqlite3.connect(old)) as journal:
        schema.migrate(journal, stop_before=MIGRATION_TO[version + 1])
        assert journal.execute("PRAGMA user_version").fetchone() == (version,)
        db = Database(journal)
        tables = [name for name in db.table_names() if not name.startswith("_")]
        journal.execute("ATTACH ? AS now", (str(now),))
        for name in tables:
            names = ", ".join(f'"{column.name}"' for column in db.table(name).columns)
            journal.execute(f"INSERT INTO main.{name} SELECT {names} FROM now.{name}")
        # What a row that was given up was before it had a state of its own.
        journal.execute("UPDATE requests SET state = 'failed' WHERE state = 'written_off'")
        journal.execute("UPDATE events SET \"to\" = 'failed' WHERE event = 'written off'")
        if version < 3:  # what a 429 was before it had an event of its own
            journal.execute("UPDATE events SET event = 'returned' WHERE event = 'throttled'")
        journal.commit()
    for part in folder.glob("batch.db*"):
        part.unlink()
    shutil.move(old, now)
