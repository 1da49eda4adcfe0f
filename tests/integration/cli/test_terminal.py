"""Questions on a real terminal: a person in its foreground is asked, nobody else."""

import sys

import pytest
from helpers import at_a_terminal

ASK = "from batchgen.cli.terminal import ask; print('answer:', ask('Pay \\x1b[1m again?'))"


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_at_a_terminal_is_asked_and_silence_is_no(typed: str, answer: bool) -> None:
    code, shown = at_a_terminal(typed, sys.executable, "-c", ASK)

    assert "Pay \\x1b[1m again? [y/N]" in shown
    assert (code, f"answer: {answer}" in shown) == (0, True)


def test_a_job_in_the_background_is_not_asked() -> None:
    script = f'{sys.executable} -c "$0" & wait'
    code, shown = at_a_terminal("", "/bin/bash", "-m", "-c", script, ASK)

    assert (code, "answer: None" in shown) == (0, True)
    assert "again?" not in shown


@pytest.mark.parametrize("closing", ["</dev/null", "<&-", "2>/dev/null", "2>&-"])
def test_without_a_terminal_on_both_sides_nobody_is_asked(closing: str) -> None:
    script = f'{sys.executable} -c "$0" {closing}'
    code, shown = at_a_terminal("", "/bin/sh", "-c", script, ASK)

    assert (code, "answer: None" in shown) == (0, True)
