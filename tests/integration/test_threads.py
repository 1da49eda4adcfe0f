"""Threads that are there from the beginning: a run, and its end, need no other."""

import _thread
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Write
from helpers import many, table, tally
from sandbox_client import Control

from batchgen import event_loop
from batchgen.threads import Threads


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From the n-th thread on (from 0), let each die as it does where there is no memory."""

    def after(count: int, how: Callable[..., int]) -> None:
        start, left = _thread.start_new_thread, iter(range(count))

        def start_new_thread(call: Callable[..., object], values: tuple[object, ...]) -> int:
            return how() if next(left, None) is None else start(call, values)

        monkeypatch.setattr(_thread, "start_new_thread", start_new_thread)

    return after


def refused() -> int:
    raise RuntimeError("can't start new thread")


def dies_at_once(start: Callable[..., int] = _thread.start_new_thread) -> int:
    def fail() -> None:
        raise MemoryError

    return start(fail, ())


@pytest.mark.parametrize("how", [refused, dies_at_once])
def test_threads_for_which_there_is_no_memory_are_told_as_that(
    short_of_memory: Callable[..., None],
    how: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    short_of_memory(2, how)
    hook = sys.unraisablehook
    with pytest.raises(MemoryError):
        Threads(4)

    assert sys.unraisablehook is hook
    assert capfd.readouterr().err == ""


def test_a_coroutine_that_has_no_threads_is_not_begun(
    short_of_memory: Callable[..., None], recwarn: pytest.WarningsRecorder
) -> None:
    short_of_memory(0, refused)

    async def main() -> None:
        raise AssertionError

    with pytest.raises(MemoryError):
        event_loop.run(main())
    assert not recwarn.list


def test_calls_give_their_result_or_raise() -> None:
    with Threads(2) as some:
        assert list(some.map(divmod, [7, 8], [2, 3])) == [(3, 1), (2, 2)]
        with pytest.raises(ZeroDivisionError):
            some.submit(divmod, 1, 0).result()
    with pytest.raises(RuntimeError):
        some.submit(divmod, 1, 1)


def test_a_call_that_never_comes_back_holds_nothing_up() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait()

    some = Threads(1, shutdown_timeout=0.01)
    under_way, waiting = some.submit(hang), some.submit(hang)
    begun.wait()
    some.shutdown(cancel_futures=True)

    assert under_way.running()
    assert waiting.cancelled()
    go_on.set()
    under_way.result()


# In a run

WATCHED = """
import _thread, json, sys, threading
from pathlib import Path
from batchgen.api.client import ApiClient
from batchgen.cli.main import main
from batchgen.cli import output
from batchgen.notify.announcer import Announcer
from batchgen.operations import run
from batchgen.report import tables

told = {"started": [], "opened": []}
since = set()
STARTS = ("_thread.start_new_thread", "os.fork", "os.posix_spawn", "subprocess.Popen")
CHECKER = "check_worker"  # which is waited for only so long, and replaced by a thread
OPENS = ("open", "socket.__new__", "sqlite3.connect")

def watch(event, values):
    if event in STARTS and "paid" in since and not (values[1:] and CHECKER in str(values[1])):
        told["started"].append(event)
    if event in OPENS and "reported" in since:
        told["opened"].append(f"{event} {values[0]}")

def after(owner, name, step, before=False):
    original = getattr(owner, name)
    def wrapped(*values, **more):
        if before:
            step()
        try:
            return original(*values, **more)
        finally:
            if not before:
                step()
    setattr(owner, name, wrapped)

def started(*values, start=_thread.start_new_thread):
    watch("_thread.start_new_thread", values)
    return start(*values)

# Before Python 3.12 no audit hook is told of a thread.
_thread.start_new_thread = threading._start_new_thread = started
after(ApiClient, "post_once", lambda: since.add("paid"), before=True)
after(tables, "write_report_files", lambda: since.add("reported"))
# The last words read the journal once more, and so does a message; where that cannot be opened,
# they are shorter.
after(output, "after_run", lambda: since.discard("reported"), before=True)
after(output, "after_run", lambda: since.add("reported"))
after(Announcer, "ended", lambda: since.discard("reported"), before=True)
after(run, "run", lambda: since.discard("reported"))  # the lock is given back
after(tables, "make_thumbnails", since.clear, before=True)
sys.addaudithook(watch)
note = Path(sys.argv.pop(1))
try:
    main()
finally:
    since.clear()
    note.write_text(json.dumps(told))
"""


def test_from_the_first_paid_post_on_no_thread_is_started_and_the_end_opens_nothing(
    here: Path, folder: Path, reach: list[str], sandbox: Control, write: Write
) -> None:
    words = ["run", write("list.csv", table(many(6))), "--out", str(folder), *reach]
    command = [sys.executable, "-c", WATCHED, "note.json", *words, "--rate", "1000/s", "--sidecars"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert tally(folder) == {"saved": 6}
    assert json.loads((here / "note.json").read_text()) == {"started": [], "opened": []}
