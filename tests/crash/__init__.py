"""The crash kit: runs with faults built in, and the comparison that no fault may upset.

The judge is the sandbox's ledger, in a process of its own: what it billed, against what the journal
says and what lies in the folder.
"""

import atexit
import hashlib
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from databases import Database
from helpers import MEDIA_FOLDERS
from sandbox_client import Control
from stores import Store

from batchgen.sandbox.deployments.samples import TEXT

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")
GO_ON = 75
KILLED = -9
PATIENCE = 180.0  # seconds until a run that does not end fails its test

Fault = tuple[str, dict[str, Any]]


def fault(name: str, /, **details: Any) -> Fault:
    """A fault or a mistake of `driver.py`, by its name."""
    return name, details


@dataclass(frozen=True)
class Api:
    """One of the two services that a batch may be sent to.

    options: of the command line. kept, sent: the prompt in a row's input, and in a body. priced:
    whether a request has a price; else the seconds of instances are billed, whose they are not.
    """

    name: str
    options: tuple[str, ...]
    kept: Callable[[Any], str]
    sent: Callable[[Any], str]
    priced: bool

    def __str__(self) -> str:
        return self.name


MODELS = Api("models", (), lambda kept: str(kept["prompt"]), lambda sent: str(sent["prompt"]), True)
DEPLOYMENTS = Api(
    "deployments",
    ("--deployment", TEXT, "--node", "prompt=6.text", "--price", "0.03"),
    lambda kept: str(kept["6.text"]),
    lambda sent: str(sent["overrides"]["6"]["inputs"]["text"]),
    priced=False,
)
APIS = (MODELS, DEPLOYMENTS)


class Driver:
    """A process of `driver.py`, and the runs that it was told to start."""

    alive: ClassVar[list["Driver"]] = []

    def __init__(self, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [*prefix, sys.executable, str(DRIVER)],
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running: set[int] = set()
        self.alive.append(self)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.alive.remove(self)
        self.end_runs()
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def end_runs(self) -> None:
        """Kill the runs that nobody waited for."""
        for pid in [*self._running]:
            os.kill(pid, signal.SIGKILL)  # it is this run until the driver has waited for it
            self.wait(pid)

    def _order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        words: Sequence[str],
        cwd: Path,
        errors: Path,
        faults: Iterable[Fault],
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Start a run; return its process id. env: what it has beside this process's."""
        order = {"words": list(words), "cwd": str(cwd), "errors": str(errors)}
        self._order(start={**order, "faults": list(faults), "env": {**os.environ, **(env or {})}})
        pid = int(self._answer()["pid"])
        self._running.add(pid)
        return pid

    @staticmethod
    def has_ended(pid: int) -> bool:
        """Whether a run is over, and waits to be waited for."""
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def wait(self, pid: int) -> int:
        """Wait for a run's end; return its exit code, or minus the signal that killed it."""
        self._order(wait=pid)
        ended, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not ended:  # or its answer would be taken for one to the next order
            os.kill(pid, signal.SIGKILL)
        code = int(self._answer()["code"])
        self._running.remove(pid)
        assert ended, "the run does not end"
        return code


def end_runs() -> None:
    """Kill the runs that a test has left: they would send to the sandbox of the next."""
    for one in Driver.alive:
        one.end_runs()


@cache
def driver() -> Driver:
    """The one that all tests of this process share."""
    found = Driver()
    atexit.register(found.close)
    return found


class Batch:
    """A list of a few rows, its folder `out` in `root`, and the sandbox that it is sent to.

    reach: the options that lead there, with `--base-url`, or those of `rehearsal`. api: which of
    its two. sandbox: whoever has the ledger. make_driver: what starts its runs.
    """

    make_driver: ClassVar[Callable[[], Driver]] = staticmethod(driver)

    def __init__(
        self,
        root: Path,
        reach: Sequence[str],
        sandbox: Control,
        rows: int = 3,
        *options: str,
        api: Api = MODELS,
    ) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.out = root / "out"
        self.rows = rows
        self.sandbox = sandbox
        self.driver = self.make_driver()
        self.errors = root / "stderr.txt"
        self.env: dict[str, str] = {}
        self.faults: tuple[Fault, ...] = ()  # of each of its runs
        (root / "list.txt").write_text("".join(f"{prompt}\n" for prompt in self.prompts()))
        self.words = ["run", "list.txt", "--out", str(self.out), "--rate", "1000/s"]
        if "--sandbox" not in reach:
            reach = [*reach, "--serverless-url", sandbox.serverless_url]
        self.words += [*reach, *api.options, *options]
        self.api = api

    def content(self, path: str) -> bytes:
        """Return a kept file, by its path in the journal."""
        return (self.out / path).read_bytes()

    def kept(self) -> set[str]:
        """Return the paths of all kept files, as the journal would have them."""
        return {
            path.relative_to(self.out).as_posix()
            for kind in MEDIA_FOLDERS
            for path in (self.out / kind).glob("*")
            if path.suffix != ".part"
        }

    def prompts(self) -> list[str]:
        return [f"Heron number {n}" for n in range(1, self.rows + 1)]

    def start(self, *faults: Fault, options: Sequence[str] = ()) -> int:
        words = [*self.words, *options]
        return self.driver.start(words, self.root, self.errors, [*self.faults, *faults], self.env)

    def run(self, *faults: Fault, options: Sequence[str] = ()) -> int:
        """Return the exit code."""
        return self.driver.wait(self.start(*faults, options=options))

    def killed_at(self, n: int, only: str = "") -> str | None:
        """Run until the n-th step; return its name, None if there is no such step.

        only: as the fault `kill_at` has it.
        """
        note = self.root / "step.txt"
        code = self.run(fault("kill_at", n=n, note=str(note), only=only))
        if code != KILLED:
            assert code in (0, 1), self.said()
            return None
        return note.read_text()

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until `reached`."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < end, f"the run did not come so far: {self.said()}"
            time.sleep(0.05)

    def finish(self, *faults: Fault) -> int:
        """What cron does until the morning: start it until it has nothing left to do."""
        code = GO_ON
        for _ in range(6):
            code = self.run(*faults)
            if code != GO_ON:
                break
        assert code in (0, 1), f"exit code {code}: {self.said()}"
        return code

    def said(self) -> str:
        """What the latest run wrote on standard error."""
        return self.errors.read_text(encoding="utf-8")

    def query(self, sql: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(f"{self.out.as_uri()}/batch.db?mode=ro", uri=True)) as journal:
            return journal.execute(sql, values).fetchall()

    def is_whole(self) -> bool:
        return self.query("PRAGMA integrity_check") == [("ok",)]

    def states(self) -> dict[str, int]:
        return dict(self.query("SELECT state, COUNT(*) FROM requests GROUP BY state"))

    def request_ids(self) -> set[str]:
        found = self.query("SELECT request_id FROM requests WHERE request_id IS NOT NULL")
        return {request_id for (request_id,) in found}


class StoredBatch(Batch):
    """A batch whose media are kept in a bucket."""

    def __init__(
        self, root: Path, reach: Sequence[str], sandbox: Control, store: Store, rows: int = 3
    ) -> None:
        super().__init__(root, reach, sandbox, rows, "--media", store.place("kit"))
        self.store = store

    def content(self, path: str) -> bytes:
        return self.store.get(f"kit/{path}")

    def kept(self) -> set[str]:
        return {key.removeprefix("kit/") for key in self.store.names()}


class DatabaseBatch(Batch):
    """A batch whose journal is in PostgreSQL, and whose media are in a folder that is mounted.

    store: where they are kept in a bucket instead.
    """

    def __init__(
        self,
        root: Path,
        reach: Sequence[str],
        sandbox: Control,
        database: Database,
        rows: int = 3,
        store: Store | None = None,
        *,
        api: Api = MODELS,
    ) -> None:
        self.media = root / "media"
        self.media.mkdir(parents=True)
        self.database = database
        self.store = store
        media = str(self.media) if store is None else store.place("kit")
        places = ["--journal", database.url, "--media", media]
        super().__init__(root, reach, sandbox, rows, *places, api=api)

    def content(self, path: str) -> bytes:
        if self.store is not None:
            return self.store.get(f"kit/{path}")
        return (self.media / path).read_bytes()

    def kept(self) -> set[str]:
        if self.store is not None:
            return {key.removeprefix("kit/") for key in self.store.names()}
        found = (path for kind in MEDIA_FOLDERS for path in (self.media / kind).glob("*"))
        return {p.relative_to(self.media).as_posix() for p in found if p.suffix != ".part"}

    def query(self, sql: str, *values: Any) -> list[Any]:
        with closing(self.database.connect()) as connection:
            connection.execute("SET search_path = batchgen_list")
            return list(connection.execute(sql.replace("?", "%s"), values).fetchall())

    def is_whole(self) -> bool:
        return True  # its pages are the server's to check

    def forget(self) -> None:
        """Begin anew, with nothing of what was."""
        self.database.query("DROP SCHEMA IF EXISTS batchgen_list CASCADE")
        for folder in (self.out, self.media):
            shutil.rmtree(folder, ignore_errors=True)
        self.media.mkdir()
        self.sandbox.reset()

    def finish_elsewhere(self) -> int:
        """As `finish`, on another machine."""
        return self.elsewhere(2).finish()

    def elsewhere(self, n: int) -> "DatabaseBatch":
        """Return the batch as another machine sees it, the n-th."""
        there = copy(self)
        there.errors = self.root / f"stderr-{n}.txt"
        there.env = {"XDG_STATE_HOME": str(self.root / f"state-{n}")}
        there.out = self.root / f"out-{n}"
        there.words = [*self.words[:3], str(there.out), *self.words[4:]]
        return there

    def move(self) -> None:
        """The machine is gone with its disk: the next run is on another."""
        shutil.rmtree(self.out, ignore_errors=True)


def rehearsal(api: Api, folder: Path, sandbox: Control) -> list[str]:
    """The options of a rehearsal, which needs a deployment's workflow in a file."""
    if api is MODELS:
        return ["--sandbox"]
    file, errors = folder / "workflow.json", folder / "fetch.txt"
    words = ["models", "fetch", f"deployments/{TEXT}", "-o", str(file)]
    words += ["--serverless-url", sandbox.serverless_url]
    assert driver().wait(driver().start(words, folder, errors, [])) == 0, errors.read_text()
    return ["--sandbox", "--schema", str(file)]


class Pipe:
    """A named pipe, by which a run tells how far it is, or is told to go on."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._handle = os.open(path, os.O_RDWR)  # so that neither side ever waits to open it

    def close(self) -> None:
        os.close(self._handle)

    def wait(self) -> None:
        """Until the run has told."""
        ready, _, _ = select.select([self._handle], [], [], PATIENCE)
        assert ready, "the run did not come so far"
        os.read(self._handle, 1)

    def tell(self) -> None:
        """Let the run go on."""
        os.write(self._handle, b"!")


def check_the_books(
    batch: Batch, *, finished: bool = True, reached: Path | None = None, priced: bool = True
) -> None:
    """Ledger, journal and folder agree; raise AssertionError where they do not.

    finished: the last run ended with 0 or 1, so that every row is saved or unknown.
    reached: a file with the ids that reached a run which was not killed: each has to be known.
    priced: the journal is not one that was rebuilt from receipts, which know no prices.
    """
    _nothing_is_paid_twice_or_lost(batch)
    _journal_is_sound(batch)
    _files_are_whole(batch)
    if finished:
        states = batch.states()
        assert set(states) <= {"saved", "unknown"}, states
        assert sum(states.values()) == batch.rows, states
        assert [*batch.out.rglob("*.part")] == []
    if reached is not None and reached.exists():
        lost = set(reached.read_text().split()) - batch.request_ids()
        assert not lost, f"ids that reached the program are not in the journal: {lost}"
    if priced and batch.api.priced:
        ((reserved,),) = batch.query("SELECT COALESCE(SUM(usd), 0) FROM spending")
        billed = batch.sandbox.billed_usd
        assert reserved >= billed - 1e-6, f"${billed} are billed, the journal knows of ${reserved}"


def _journal_is_sound(batch: Batch) -> None:
    assert batch.is_whole()
    story = batch.query('SELECT key, "from", "to" FROM events ORDER BY seq')
    latest: dict[str, str] = {}
    for key, old, new in story:
        assert latest.get(key, old) == old, f"an event of {key} is missing"
        latest[key] = new
    states = dict(batch.query("SELECT key, state FROM requests"))
    assert all(states[key] == state for key, state in latest.items() if key in states)


def _nothing_is_paid_twice_or_lost(batch: Batch) -> None:
    kept, sent = batch.api.kept, batch.api.sent
    ledger = [
        (row["request_id"], sent(json.loads(row["input"])))
        for row in batch.sandbox.ledger()
        if row["billed"]
    ]
    rows = batch.query("SELECT request_id, state, input FROM requests")
    known = {id: kept(json.loads(given)) for id, _, given in rows if id}
    unknown = {kept(json.loads(given)) for _, state, given in rows if state == "unknown"}

    times = Counter(prompt for _, prompt in ledger)
    twice = {prompt: n for prompt, n in times.items() if n > 1}
    assert not twice, f"paid more than once: {twice}"
    lost = [prompt for id, prompt in ledger if id not in known and prompt not in unknown]
    assert not lost, f"billed, and the journal knows nothing of it: {lost}"
    invented = {id: prompt for id, prompt in known.items() if (id, prompt) not in ledger}
    assert not invented, f"requests that the API does not know, or of other rows: {invented}"


def _files_are_whole(batch: Batch) -> None:
    outputs = batch.query("SELECT path, bytes, sha256 FROM outputs WHERE path IS NOT NULL")
    for path, size, sha256 in outputs:
        content = batch.content(path)
        assert len(content) == size, f"{path} is not whole"
        assert hashlib.sha256(content).hexdigest() == sha256, f"{path} is not what was saved"
    bare = batch.query(
        "SELECT id FROM requests AS r WHERE state = 'saved' AND NOT EXISTS"
        " (SELECT 1 FROM outputs AS o WHERE o.key = r.key AND path IS NOT NULL)"
    )
    assert not bare, f"saved without a file: {bare}"
    found = batch.kept()
    # A run that was cut short may have named a file and not yet said so; the next one does.
    completed = batch.query("SELECT 1 FROM requests WHERE state = 'completed'")
    orphans = found - {path for path, *_ in outputs}
    assert not orphans or completed, f"files that belong to no row: {orphans}"
