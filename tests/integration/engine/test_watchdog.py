"""A run that hangs at its end is ended, and one that works or waits for an answer is not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from conftest import Command, Write
from helpers import many, states, table, tally
from sandbox_client import Control

from batchgen.batch_folder import Folder

STOPPED_EARLY = 75


def program(code: str, *words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


WATCHED = """
import time
from batchgen.engine.watchdog import Watchdog
with Watchdog(0.5) as watchdog:
    {before}
    watchdog.begin()
    {after}
print("ended by itself")
"""


def test_what_hangs_after_the_beginning_is_ended_with_a_word_about_where() -> None:
    done = program(WATCHED.format(before="", after="time.sleep(60)"))

    assert (done.returncode, done.stdout) == (STOPPED_EARLY, "")
    assert "did not come to its end" in done.stderr
    assert "Run the same command again to go on." in done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("time.sleep(2)", ""),  # not begun
        ("", "end = time.monotonic() + 1.2\n    while time.monotonic() < end: pass"),  # at work
        ("", "watchdog.begin()"),
    ],
    ids=["not-begun", "at-work", "begun-twice"],
)
def test_what_waits_before_it_or_works_is_left_alone(before: str, after: str) -> None:
    done = program(WATCHED.format(before=before, after=after))

    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")


# A run whose progress display never closes; its options come as JSON.
HANGING = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
from batchgen.cli.progress import Progress
from batchgen.config import RunOptions
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.notify.announcer import Announcer
from batchgen.operations.run import run

class Hanging(Progress):
    def close(self):
        time.sleep(3600)

options = json.loads(sys.argv[2])
run(
    {**options, "out": Path(options["out"]), "media_hosts": tuple(options["media_hosts"])},
    sys.argv[1], print, lambda *given: Hanging(*given, quiet=True),
    lambda *told, **more: None, lambda question: None,
    Announcer(RunOptions(), sys.argv[1], DEFAULT_TIMING),
    timing=replace(DEFAULT_TIMING, closing=1.0),
)
"""


def test_a_run_that_hangs_when_all_is_collected_loses_nothing_and_frees_its_folder(
    run: Command, folder: Path, reach: list[str], sandbox: Control, write: Write
) -> None:
    options = {"out": str(folder), "base_url": reach[1], "media_hosts": [reach[3]], "rate": 1000.0}
    done = program(HANGING, write("list.csv", table(many(3))), json.dumps(options))

    assert done.returncode == STOPPED_EARLY, done.stderr
    assert "(in " in done.stderr
    assert Folder(folder).holder() is None
    assert states(folder) == dict.fromkeys(many(3), "saved")
    assert run("list.csv").code == 0
    assert sandbox.posts == 3


PATIENT_WITH_ANSWERS = """
from dataclasses import replace
from batchgen.cli.main import main
from batchgen.core.timing import DEFAULT_TIMING
main(timing=replace(DEFAULT_TIMING, closing=2.0, submit_read=6.0))
"""


def test_an_open_submission_is_waited_for_however_short_the_patience_is(
    here: Path, folder: Path, reach: list[str], sandbox: Control, write: Write
) -> None:
    sandbox.fault("silent")
    words = ["run", write("list.csv", table(many(1))), "--out", str(folder), *reach, "-v"]
    with Popen(
        [sys.executable, "-c", PATIENT_WITH_ANSWERS, *words], stderr=PIPE, text=True
    ) as child:
        wait_for(lambda: sandbox.posts == 1)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=60)

    assert child.returncode == 128 + signal.SIGTERM, said
    assert tally(folder) == {"unknown": 1}


def wait_for(it_is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not it_is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
