"""Questions to a person who sits at the terminal. Nobody else is ever waited for."""

import os
import sys

import click

from batchgen.core.text import terminal_safe


def is_attended() -> bool:
    """Whether a person can be asked: stdin and stderr are a terminal, and its foreground is ours.

    A job in the background (`batchgen run … &`) would be stopped by the attempt to read.
    """
    try:
        if sys.stdin is None or sys.stderr is None:
            return False
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no terminal controls this process, or a stream is closed
        return False


def ask(question: str) -> bool | None:
    """Ask a question with yes or no, on stderr; return the answer, None if nobody can be asked.

    Only "y" and "yes" are a yes. Raises click.Abort on Ctrl-C and at the end of input.
    """
    if not is_attended():
        return None
    return click.confirm(terminal_safe(question), default=False, err=True)
