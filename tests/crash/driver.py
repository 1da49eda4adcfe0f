"""Runs of batchgen with a fault built in, each in a process of its own.

Reads orders from standard input, a JSON object a line, and forks for each: a run then costs a
third of what a fresh interpreter does, and dies as really. The child installs the order's faults
(`FAULTS` and `MISTAKES` name them) and calls `batchgen.cli.main`.

    {"start": {"words": […], "cwd": …, "env": {…}, "errors": FILE, "faults": [[NAME, {…}], …]}}
        -> {"pid": 1234}
    {"wait": 1234} -> {"code": 75}     as subprocess has it: -9 is SIGKILL
"""

import asyncio
import errno
import gc
import importlib
import json
import os
import pkgutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

# Imported before the fork, so that a run need not.
import jinja2  # noqa: F401
import PIL.ImageOps
import sqlite_utils  # noqa: F401
import tqdm  # noqa: F401

import batchgen
from batchgen import files
from batchgen.api import client, deployment_api, model_api, submit_outcome
from batchgen.batch_folder import Folder
from batchgen.cli import main as cli
from batchgen.core.states import Event
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine import poller, run_state
from batchgen.engine.machines.account import SharedSlots
from batchgen.journal import schema
from batchgen.journal.database import Database
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.postgres.store import PostgresStore
from batchgen.journal.sqlite.store import SqliteStore
from batchgen.journal.writer import Journal
from batchgen.network import session
from batchgen.report import gallery

RUN_AT_MOST = int(os.environ.get("BATCHGEN_RUN_AT_MOST", "150"))  # seconds
PYTHON = sys.executable
# With a run that is to take a command, on a busy computer, and hasty with machines that are gone.
QUICK_LEASES = {"machine_look": 0.3, "machine_gone": 1.0, "machine_lease": 4.0}
LEASES = {} if os.environ.get("BATCHGEN_LEASES") == "usual" else QUICK_LEASES
PATIENT = replace(DEFAULT_TIMING, command_wait=30.0, **LEASES)
Patch = Callable[..., Any]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# -- where something can be done to a run --------------------------------------------------------


def on_every_step(step: Callable[[str], None]) -> None:
    """Call `step` before and after whatever a later run could find, and around the paid POST.

    Syncs are none: a kill leaves what was written, synced or not. Power cuts are `powercut.py`'s.
    """
    for name in ("link", "rename", "replace"):
        _around(os, name, step)
    _tearing(step)
    if "AWS_ENDPOINT_URL" in os.environ:
        _on_puts(step)
    on_statements(step)
    on_answers(lambda raw: step("the answer is read"))
    _on_the_wire(step)


def _around(owner: Any, name: str, step: Callable[[str], None]) -> None:
    original = getattr(owner, name)

    def stepped(*values: Any, **more: Any) -> Any:
        if _is_script(values[0]):
            return original(*values, **more)
        step(f"before {name}")
        result = original(*values, **more)
        step(f"after {name}")
        return result

    setattr(owner, name, stepped)


def _is_script(file: str | Path) -> bool:
    """The gallery has a dozen scripts, each written as its page is, and none says what was paid."""
    return ".js." in f"{Path(file).name}."


def _on_puts(step: Callable[[str], None]) -> None:
    """Into an object store; the mark by which a run tries the store is no step."""
    obstore: Any = importlib.import_module("obstore")
    original = obstore.put_async

    async def put_async(store: Any, path: str, *values: Any, **more: Any) -> Any:
        if path.startswith("."):
            return await original(store, path, *values, **more)
        step(f"before put to {more['mode']}")
        result = await original(store, path, *values, **more)
        step(f"after put to {more['mode']}")
        return result

    obstore.put_async = put_async


def _tearing(step: Callable[[str], None]) -> None:
    """A write in place can also be caught half-way.

    Before it and after it are steps for receipts.log alone. The other files, which say who holds a
    folder and when the next submission may leave, are written far more often, and a kill around
    such a write finds what the steps next to it find.
    """
    original = os.pwrite

    def pwrite(handle: int, content: bytes, at: int) -> int:
        is_receipt = Path(f"/proc/self/fd/{handle}").readlink().name == "receipts.log"
        if is_receipt:
            step("before pwrite")
        half = len(content) // 2
        original(handle, content[:half], at)
        step("in the middle of pwrite")
        original(handle, content[half:], at + half)
        if is_receipt:
            step("after pwrite")
        return len(content)

    os.pwrite = pwrite


def on_statements(step: Callable[[str], None], ends: tuple[str, ...] = ("COMMIT",)) -> None:
    """Call `step` around the statements that end transactions of batch.db."""

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if not sql.startswith(ends):
                return super().execute(sql, *values)
            step(f"before {sql}")
            found = super().execute(sql, *values)
            step(f"after {sql}")
            return found

        def commit(self) -> None:
            step("before commit()")
            super().commit()
            step("after commit()")

    connect = sqlite3.connect

    def watched(path: Any, *values: Any, **more: Any) -> sqlite3.Connection:
        if Path(str(path)).name == "batch.db":
            more["factory"] = Watched
        return connect(path, *values, **more)

    sqlite3.connect = watched
    commit = PostgresStore.commit

    def committed(self: Any) -> None:
        step("before COMMIT")
        commit(self)
        step("after COMMIT")

    PostgresStore.commit = committed


def on_answers(step: Callable[[bytes], None]) -> None:
    """Call `step` with the answer to each paid POST, once it is read and before it is used."""
    original = client.ApiClient.post_once

    async def post_once(self: Any, *values: Any) -> Any:
        response = await original(self, *values)
        step(response.content)
        return response

    client.ApiClient.post_once = post_once


def _on_the_wire(step: Callable[[str], None]) -> None:
    original = client.SingleUseBody.__aiter__

    async def parts(self: Any) -> Any:
        async for part in original(self):
            step("the intent is durable")
            yield part
            step("the body is on the wire")

    client.SingleUseBody.__aiter__ = parts


# -- faults ---------------------------------------------------------------------------------------


def kill_at(n: int, note: str, only: str = "") -> None:
    """SIGKILL at the n-th step. note: a file that then tells which it was. only: a part of the
    names of steps that count.
    """
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        seen += only in name
        if seen == n and only in name:
            Path(note).write_text(name)
            die()

    on_every_step(step)


def kill_at_answer(n: int) -> None:
    """SIGKILL when the n-th answer to a paid POST is read: accepted, and not recorded."""
    on_answers(_nth(n, die))


def _nth(n: int, act: Callable[[], None]) -> Callable[[Any], None]:
    seen = 0

    def step(_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == n:
            act()

    return step


def note_ids(note: str) -> None:
    """Write down, outside the folder, each request_id that reached the program."""

    def step(raw: bytes) -> None:
        try:
            found = json.loads(raw)["request_id"]
        except (ValueError, KeyError, TypeError):
            return
        with open(note, "a") as file:  # noqa: PTH123
            file.write(f"{found}\n")

    on_answers(step)


def signals_at_answer(number: int, times: int) -> None:
    """Send ourselves a signal the moment the first answer is read."""

    def act() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    on_answers(_nth(1, act))


def ignores(number: int) -> None:
    """A signal is ignored from the start, as whoever starts a run may have it."""
    signal.signal(number, signal.SIG_IGN)


def wait_at_answer(n: int, note: str, go_on: str) -> None:
    """When the n-th answer is read, tell the pipe `note` and stand still until `go_on` tells."""

    def act() -> None:
        _tell(note)
        with open(go_on, "rb", buffering=0) as pipe:  # noqa: PTH123
            pipe.read(1)

    on_answers(_nth(n, act))


def _tell(note: str) -> None:
    with open(note, "wb") as pipe:  # noqa: PTH123
        pipe.write(b"!")


def tell_try(n: int, note: str) -> None:
    """Tell the pipe `note` when W2 is tried for the n-th time; a try waits a tenth of a second."""
    enqueue, begin = WriteQueue.enqueue, Database.begin
    tell = _nth(n, lambda: _tell(note))

    def enqueuing(self: Any, write: Any, *values: Any, **more: Any) -> Any:
        if values or more:  # W2 has a receipt, and each further try of it a group of its own
            tell(None)
        return enqueue(self, write, *values, **more)

    def hasty(self: Any) -> None:
        self.connection.execute("PRAGMA busy_timeout = 100")
        begin(self)

    WriteQueue.enqueue, Database.begin = enqueuing, hasty


def kill_before(name: str) -> None:
    """SIGKILL at the first step of this name."""

    def step(found: str) -> None:
        if found == f"before {name}":
            die()

    on_every_step(step)


def journal_full(move: str, n: int = 1) -> None:
    """From the n-th move of this kind on SQLite may take no more pages, and needs one."""
    original = Journal.transition
    seen = 0

    def fuller(self: Any, key: str, old: Any, event: Event, *values: Any, **more: Any) -> None:
        nonlocal seen
        seen += event == move
        original(self, key, old, event, *values, **more)
        if event == move and seen >= n:
            (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
            self.connection.execute(f"PRAGMA max_page_count = {pages}")
            self.connection.execute("INSERT INTO memory VALUES ('filler', zeroblob(100000))")

    Journal.transition = fuller


def journal_full_until_ballast_is_dropped() -> None:
    """W2 finds no room; the ballast's makes some."""
    original, drop = Journal.transition, Folder.drop_ballast
    state = {"full": True}

    def fuller(self: Any, key: str, old: Any, event: Event, *values: Any, **more: Any) -> None:
        original(self, key, old, event, *values, **more)
        if event is Event.ACCEPTED and state["full"]:
            (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
            self.connection.execute(f"PRAGMA max_page_count = {pages}")
            self.connection.execute("INSERT INTO memory VALUES ('filler', zeroblob(100000))")

    def dropping(self: Folder) -> None:
        state["full"] = False
        drop(self)

    Journal.transition, Folder.drop_ballast = fuller, dropping


def commit_fails(n: int, *, ever: bool) -> None:
    """The n-th COMMIT fails with an I/O error, or that and every later one."""
    seen = 0

    def step(name: str) -> None:
        nonlocal seen
        if name == "before COMMIT":
            seen += 1
            if seen == n or (ever and seen > n):
                raise sqlite3.OperationalError("disk I/O error")  # SQLITE_IOERR_FSYNC's words

    on_statements(step)


def note_bodies_after_failure(note: str) -> None:
    """Touch `note` if a paid body leaves after a COMMIT has failed."""
    failed = False

    def step(name: str) -> None:
        if failed and name == "the intent is durable":
            Path(note).touch()

    _on_the_wire(step)
    undo = Database.rollback

    def undone(self: Any) -> None:
        nonlocal failed
        failed = True
        undo(self)

    Database.rollback = undone


def sync_fails(name: str, number: int = errno.EIO, after: int = 0) -> None:
    """Syncing fails for files whose name contains `name`, from the `after`-th success on."""
    seen = 0

    def failing(original: Callable[[int], None]) -> Callable[[int], None]:
        def sync(handle: int) -> None:
            nonlocal seen
            where = Path(f"/proc/self/fd/{handle}").readlink()
            if name in where.name:
                seen += 1
                if seen > after:
                    raise OSError(number, os.strerror(number))
            original(handle)

        return sync

    os.fsync, os.fdatasync = failing(os.fsync), failing(os.fdatasync)


def no_room_for_downloads(after: int) -> None:
    """Writing into a `.part` file of a picture fails with ENOSPC after so many bytes."""
    create = files.create_new_file

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.written = 0

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: Any) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, content: bytes) -> int:
            self.written += len(content)
            if self.written > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self.file.write(content))

    def made(path: Path, *inside: Path) -> Any:
        file = create(path, *inside)
        return Full(file) if path.suffix == ".part" else file

    files.create_new_file = made


def fill_disk_at_answer(filler: str, n: int, *, keeping: bool = True) -> None:
    """When the n-th answer is read, fill the file system to its last byte.

    keeping: leave the ballast, for the run to give back; otherwise it makes no room any more.
    """

    def act() -> None:
        with open(filler, "ab", buffering=0) as file:  # noqa: PTH123
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    on_answers(_nth(n, act))
    if not keeping:
        Folder.drop_ballast = lambda self: None


def checked_by_processes() -> None:
    """Downloads are checked as they are in every run but those of this driver."""
    sys.executable = PYTHON


# -- mistakes that somebody might make in batchgen one day ---------------------------------------


def start_up_resets_submitting() -> None:
    """Also as another machine would that lets go of one: a lease for what may be paid for."""

    def resetting(original: Patch, free: str) -> Patch:
        def let_go(self: Any, **how: Any) -> bool:
            taken = original(self, **how)
            if taken:
                self.writing.execute(
                    f"UPDATE requests SET state = 'pending' WHERE state = 'submitting'{free}"
                )
            return bool(taken)

        return let_go

    SqliteStore.let_go = resetting(SqliteStore.let_go, "")
    PostgresStore.let_go = resetting(PostgresStore.let_go, " AND owner IS NULL")


def lost_answers_are_repeated() -> None:
    def repeated(original: Patch) -> Patch:
        def classify(response: Any) -> Any:
            outcome = original(response)
            lost = isinstance(outcome, submit_outcome.OutcomeUnknown)
            return submit_outcome.Throttled(0.0, 503) if lost else outcome

        return classify

    model_api.classify_submit = repeated(model_api.classify_submit)
    deployment_api.classify_inference = repeated(deployment_api.classify_inference)


def nothing_before_the_post() -> None:
    """No W1: the row's intent is written along with the answer."""
    intend = Journal.record_submitting
    waiting: dict[str, tuple[Any, ...]] = {}

    def later(self: Any, row: Any, *values: Any) -> None:
        waiting[row.key] = (row, *values)

    def first(original: Patch) -> Patch:
        def wrapped(self: Any, row: Any, *values: Any, **more: Any) -> Any:
            if row.key in waiting:
                intend(self, *waiting.pop(row.key))
            return original(self, row, *values, **more)

        return wrapped

    Journal.record_submitting = later
    Journal.record_accepted = first(Journal.record_accepted)
    Journal.record_not_accepted = first(Journal.record_not_accepted)


def the_body_leaves_before_its_commit() -> None:
    async def parts(self: Any) -> Any:
        yield self._body
        await self._commit()

    client.SingleUseBody.__aiter__ = parts


def writes_name_no_owner() -> None:
    """A run that was let go writes on, as if it had its rows still."""

    def begin(self: Any) -> None:
        self.writing.script("BEGIN")

    PostgresStore.begin = begin
    Database.own = ""


def each_machine_has_a_rate_of_its_own() -> None:
    async def take(self: Any, count: int) -> list[float]:
        return [self._state.time()]

    SharedSlots._take = take


def synchronous_is_normal() -> None:
    original = SqliteStore._set_up

    def set_up(self: Any) -> None:
        original(self)
        self.writing.execute("PRAGMA synchronous = NORMAL")

    SqliteStore._set_up = set_up


def w2_can_be_cancelled() -> None:
    """An await stands between the id and the journal."""
    original = client.ApiClient.post_once

    async def post_once(self: Any, *values: Any) -> Any:
        response = await original(self, *values)
        await asyncio.sleep(0.2)
        return response

    client.ApiClient.post_once = post_once


FAULTS = (
    kill_at, kill_at_answer, kill_before, note_ids, signals_at_answer, wait_at_answer, tell_try,
    ignores,
    journal_full,
    journal_full_until_ballast_is_dropped, commit_fails, sync_fails, no_room_for_downloads,
    fill_disk_at_answer, note_bodies_after_failure, checked_by_processes,
)  # fmt: skip
MISTAKES = (
    start_up_resets_submitting, lost_answers_are_repeated, nothing_before_the_post,
    synchronous_is_normal, w2_can_be_cancelled,
    the_body_leaves_before_its_commit, writes_name_no_owner, each_machine_has_a_rate_of_its_own,
)  # fmt: skip
KNOWN: dict[str, Patch] = {fault.__name__: fault for fault in (*FAULTS, *MISTAKES)}


# -- the process ---------------------------------------------------------------------------------


def carry_out(order: dict[str, Any]) -> None:
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    nothing = os.open(os.devnull, os.O_RDWR)
    errors = os.open(order["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for handle, target in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(handle, target)
    signal.alarm(RUN_AT_MOST)
    if "--sandbox" not in order["words"]:
        # No other process can be had, so all that is written is a step of this one.
        sys.executable = "/no/python"
    # The sandbox is quick; so are we.
    poller.next_poll_delay = lambda age, *values, **more: max(0.01, age / 20)
    run_state.backoff_delay = lambda *values: 0.02
    for name, details in order["faults"]:
        KNOWN[name](**details)
    sys.argv = ["batchgen", *order["words"]]
    cli.main(timing=PATIENT)


def fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        carry_out(order)
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def prepare() -> None:
    """Do what every run would do once, so that a fork has it done: a third of a run's CPU."""
    for module in pkgutil.walk_packages(batchgen.__path__, "batchgen."):
        if not module.name.endswith(("__main__", "_worker")):
            importlib.import_module(module.name)
    PIL.Image.preinit()
    session.trusted_certificates()
    gallery._page_template()  # compiled
    with closing(sqlite3.connect(":memory:")) as journal:
        schema.migrate(journal)  # sqlite-utils looks for plugins in all packages
    gc.collect()
    gc.freeze()  # a collection in a run would write to every page, and copy it


def main() -> None:
    prepare()
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            answer = {"pid": fork(order["start"])}
        else:
            _, status = os.waitpid(order["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
