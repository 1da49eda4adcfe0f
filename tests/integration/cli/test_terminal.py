"""Questions on a real terminal: a person in its foreground is asked, nobody else."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

ASK = "from batchgen.cli.terminal import ask; print('answer:', ask('Pay \\x1b[1m again?'))"


def at_a_terminal(answer: str, *command: str) -> str:
    """Run a command at a terminal of its own, type `answer`, and return all that it shows."""
    leader, follower = pty.openpty()
    # A session of its own, whose terminal this becomes when the child opens it by name.
    name = os.ttyname(follower)
    takes_it = f"import os; os.open({name!r}, os.O_RDWR); os.execvp({command[0]!r}, {command!r})"
    words = [sys.executable, "-c", takes_it]
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    child = subprocess.Popen(words, start_new_session=True, **streams)
    os.close(follower)
    os.write(leader, answer.encode())
    shown = b""
    with suppress(OSError):  # Linux says EIO when the last process has closed the terminal
        while piece := os.read(leader, 4096):
            shown += piece
    os.close(leader)
    assert child.wait(timeout=60) == 0
    return shown.decode()


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_at_a_terminal_is_asked_and_silence_is_no(typed: str, answer: bool) -> None:
    shown = at_a_terminal(typed, sys.executable, "-c", ASK)

    assert "Pay \\x1b[1m again? [y/N]" in shown
    assert f"answer: {answer}" in shown


def test_a_job_in_the_background_is_not_asked() -> None:
    script = f'{sys.executable} -c "$0" & wait'
    shown = at_a_terminal("", "/bin/bash", "-m", "-c", script, ASK)

    assert "answer: None" in shown
    assert "again?" not in shown


@pytest.mark.parametrize("closing", ["</dev/null", "<&-", "2>/dev/null", "2>&-"])
def test_without_a_terminal_on_both_sides_nobody_is_asked(closing: str) -> None:
    script = f'{sys.executable} -c "$0" {closing}'
    shown = at_a_terminal("", "/bin/sh", "-c", script, ASK)

    assert "answer: None" in shown
