"""Programs of others: bounded in time and words, and gone with all that they started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchgen.notify.process import MAX_LINES, run_program


class Shell:
    """Runs a line in a shell; said: what it printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def __call__(self, line: str, given: bytes = b"", seconds: float = 30.0) -> str:
        return run_program(
            ["/bin/sh", "-c", line],
            given,
            folder=self.folder,
            environment={"PATH": os.environ["PATH"], "SIZE": "large"},
            seconds=seconds,
            said=self.said.append,
        )


@pytest.fixture
def sh(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # where there is one; a zombie is gone, too
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def until(condition: object) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        os.sched_yield()
    return False


def test_it_reads_what_it_is_given_and_both_its_streams_are_heard(sh: Shell) -> None:
    assert sh("cat; echo $SIZE >&2; pwd", b"one\ntwo") == ""
    assert sh.said == ["one", "twolarge", str(sh.folder.resolve())]


def test_a_program_that_reads_nothing_keeps_nobody_waiting(sh: Shell) -> None:
    assert sh("true", b"x" * 10_000_000) == ""


def test_much_is_given_while_much_is_said(sh: Shell) -> None:
    assert sh("cat; echo; wc -c", b"one line\n" * 200_000) == ""
    assert sh.said[-1] == f"… and {200_002 - MAX_LINES} more lines"


@pytest.mark.parametrize(
    ("line", "why"), [("exit 3", "exit code 3"), ("kill -9 $$", "ended by signal 9")]
)
def test_why_it_failed_is_told(sh: Shell, line: str, why: str) -> None:
    assert sh(line) == why


def test_what_cannot_be_started_is_told(sh: Shell) -> None:
    sh.folder = sh.folder / "none"

    assert "cannot be started" in sh("true")


def test_after_its_time_it_is_killed_with_what_it_started(sh: Shell) -> None:
    why = sh("sleep 600 & echo $!; sleep 600", seconds=2.0)

    assert why == "it took longer than 2 s, and was ended"
    assert until(lambda: not alive(int(sh.said[0])))


def test_what_it_leaves_behind_is_not_waited_for(sh: Shell) -> None:
    before = time.monotonic()
    assert sh("sleep 60 & echo $!") == ""
    assert time.monotonic() - before < 30

    os.kill(int(sh.said[0]), signal.SIGKILL)


def test_what_it_leaves_behind_talking_is_not_listened_to(sh: Shell) -> None:
    assert sh("yes & echo $!; exec true") == ""


def test_words_without_end_are_cut(sh: Shell) -> None:
    assert sh("yes | head -n 100000") == ""

    assert len(sh.said) == MAX_LINES + 1
    assert sh.said[-1] == f"… and {100_000 - MAX_LINES} more lines"


def test_a_line_without_end_is_cut(sh: Shell) -> None:
    assert sh("head -c 3000000 /dev/zero | tr '\\0' x") == ""

    assert len("".join(sh.said)) < 10_000


def test_a_program_that_closes_its_output_is_waited_for(sh: Shell) -> None:
    assert sh("exec >&- 2>&-; read line; exit $line", b"7\n") == "exit code 7"


def test_a_signal_ends_it_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from batchgen.notify.process import run_program\n"
        "say = lambda line: print(line, flush=True)\n"
        "run_program(['/bin/sh', '-c', 'echo $$; sleep 600'], b'', folder=Path(), seconds=60,"
        " environment=os.environ, said=say)\n"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        shell = int(run.stdout.readline())
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=30)

    assert until(lambda: not alive(shell))
