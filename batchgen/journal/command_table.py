"""What a person asks of a run that another process carries out: the table `commands`.

It is the one table that anybody but the holder of the folder's lock writes to, and nothing but
INSERT: one statement, which is a transaction of microseconds that waits for no disk and makes no
checkpoint. So the run, which takes its turn as before, never waits for it long. Only the holder of
the lock takes commands out; what it makes of one is an event, in the same transaction.

In a database any number of runs may go on. Each takes every command, and keeps in `machines` how
far it has read; one that all have read is taken out.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from batchgen.batch_folder import JournalPlace
from batchgen.clock import to_iso
from batchgen.core.addresses import JournalAddress
from batchgen.core.assignments import PAUSE, RESUME
from batchgen.core.states import RunEvent
from batchgen.core.timing import Timing
from batchgen.errors import StorageDamaged
from batchgen.files import refuse_linked_database
from batchgen.journal import stored_values
from batchgen.journal.database import Database, marks
from batchgen.journal.faults import storage_errors
from batchgen.journal.reader import Reader
from batchgen.journal.schema import VERSION
from batchgen.journal.sqlite.inspection import harden, refuse_foreign_schema

PAUSED, KEPT = "paused", "kept"  # the names under which `set_meta` keeps them
MOST_AT_ONCE = 100
COLUMNS = ("seq", "at", "run", "command", "value", "keep")


class Command(NamedTuple):
    """A row of the table.

    at: when it was asked. run: of which; None for whichever comes next. command: `pause`, `resume`
    or the name of a setting. value: of the setting, as it was written. keep: also for later runs.
    """

    seq: int
    at: str
    run: int | None
    command: str
    value: str
    keep: bool


def send(
    path: JournalPlace,
    run: int | None,
    asked: Mapping[str, str],
    *,
    keep: bool,
    now: float,
    timing: Timing,
) -> list[int]:
    """Ask something of a run, from another process; return the numbers of the commands.

    asked: the value by command. Raises StorageDamaged or one of its subclasses, also where the
    journal is of another version, so that its run does not know of commands.
    """
    rows = [(to_iso(now), run, name, value, int(keep)) for name, value in asked.items()]
    values = ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
    insert = f"INSERT INTO commands (at, run, command, value, keep) VALUES {values} RETURNING seq"
    parts = [value for row in rows for value in row]
    if isinstance(path, JournalAddress):
        # Here, since most batches need none of it.
        from batchgen.journal.postgres.connection import PostgresConnection

        with closing(PostgresConnection(path, timing, read_only=False)) as database:
            return [seq for (seq,) in database.execute(insert, parts)]
    refuse_linked_database(path)
    with storage_errors(path), closing(_connected(path, timing)) as connection:
        refuse_foreign_schema(connection, path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise StorageDamaged(
                f"{path} is of another version of batchgen, whose run takes no commands.",
                "Interrupt that run with Ctrl-C, and run the same command again.",
            )
        return [seq for (seq,) in connection.execute(insert, parts)]


def _connected(path: Path, timing: Timing) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timing.busy)
    try:
        harden(connection)
        # What is lost by a power cut was not taken yet. The run syncs what it takes.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def waiting(journal: Database, *, for_run: bool = False) -> list[tuple[int, Command | None]]:
    """Return the commands in their order, each with its number; None for one of somebody else.

    for_run: only those that this run has not taken yet. It reads what is committed and waits for
    nothing; mostly there is none.
    """
    unread = ""
    if for_run and journal.is_shared:
        mine = f"SELECT read_to FROM machines WHERE epoch = {journal.store.owner:d}"
        unread = f" WHERE seq > ({mine})"
    found = journal.fetch_committed(
        f"SELECT {', '.join(COLUMNS)} FROM commands{unread} ORDER BY seq LIMIT {MOST_AT_ONCE}",
        unchecked=COLUMNS,
    )
    return [(row[0], _read(row)) for row in found]


def _read(row: Sequence[Any]) -> Command | None:
    if stored_values.odd(dict(zip(COLUMNS, row, strict=True))):
        return None
    return Command._make([*row[:-1], bool(row[-1])])


def record_taken(
    journal: Database, seq: int, event: RunEvent, detail: str, memory: dict[str, Any]
) -> None:
    """Take a command out of the table, and record what was made of it. memory: for `set_meta`."""
    with journal.transaction():
        taken_out = "seq = ?"
        if journal.is_shared:
            journal.connection.execute(
                "UPDATE machines SET read_to = ? WHERE epoch = ?", (seq, journal.store.owner)
            )
            taken_out = "seq <= ? AND seq <= (SELECT MIN(read_to) FROM machines)"
        journal.connection.execute(f"DELETE FROM commands WHERE {taken_out}", (seq,))
        record_event(journal, event, detail, memory)


def record_event(journal: Database, event: RunEvent, detail: str, memory: dict[str, Any]) -> None:
    """Record an event of the run and no row. memory: as `set_meta` takes it."""
    with journal.transaction():
        journal.connection.execute(
            "INSERT INTO events (at, run, event, detail) VALUES (?, ?, ?, ?)",
            (journal.now(), journal.run, event, detail),
        )
        journal.set_meta(memory)


def settle(journal: Database) -> tuple[str, list[str]]:
    """Take out all commands that no run has taken, before the first begins or where none goes on.

    Returns since when the batch is paused, "" if it is not, and the names of what was to be set: a
    setting is for the run that went on when it was asked, which is over. The last pause or resume
    holds for whatever comes next.
    """
    if any(machine.takes_commands for machine in journal.other_machines()):
        return paused_since(journal), []  # they take them
    with journal.transaction():
        left = [command for _, command in waiting(journal) if command is not None]
        for command in left:
            if command.command in (PAUSE, RESUME):
                record_pause(journal, command.at if command.command == PAUSE else "")
        journal.connection.execute("DELETE FROM commands")
    missed = [one.command for one in left if one.command not in (PAUSE, RESUME)]
    return paused_since(journal), missed


def record_pause(journal: Database, at: str) -> None:
    """Record that the batch is paused since a time, or with "" that it is not any more."""
    before = paused_since(journal)
    if bool(at) != bool(before):
        event = RunEvent.PAUSED if at else RunEvent.RESUMED
        record_event(journal, event, "", {PAUSED: {"at": at} if at else None})


def paused_since(memory: Database | Reader) -> str:
    """Return since when a batch is paused, as the journal writes it; "" if it is not."""
    found = memory.get_meta(PAUSED)
    return found["at"] if found else ""


def kept(memory: Database | Reader) -> dict[str, str]:
    """Return what `set --keep` left for later runs, by setting."""
    return memory.get_meta(KEPT) or {}


class Steering(NamedTuple):
    """An event of a run and no row, for people. at: as the journal writes it."""

    seq: int
    at: str
    event: str
    detail: str


def history(reader: Reader, after: int = 0) -> list[Steering]:
    """Return what was asked of the batch's runs, after an event, in order."""
    found = reader.query(
        "SELECT seq, at, event, detail FROM events"
        f" WHERE seq > ? AND key IS NULL AND event IN ({marks([*RunEvent])}) ORDER BY seq",
        after,
        *RunEvent,
    )
    return [Steering(row["seq"], row["at"], row["event"], row["detail"] or "") for row in found]


def still_waiting(reader: Reader, numbers: Sequence[int]) -> bool:
    """Return whether a run has not taken all of these commands yet."""
    if reader.is_shared:
        behind = "SELECT EXISTS (SELECT 1 FROM machines WHERE read_to < ?) AS found"
        return bool(next(reader.query(behind, max(numbers)))["found"])
    (row,) = reader.query(
        f"SELECT EXISTS (SELECT 1 FROM commands WHERE seq IN ({marks(numbers)})) AS found",
        *numbers,
    )
    return bool(row["found"])
