"""`status --watch`: a frame in place at a terminal, a line for each change without one."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from batchgen.cli import manners, streams
from batchgen.clock import Clock
from batchgen.core.timing import Timing
from batchgen.journal.follow import Follower
from batchgen.operations.watch import look
from batchgen.report import frame
from batchgen.report.frame import Look

if TYPE_CHECKING:
    from batchgen.batch_folder import Folder

# A look at a million rows takes a second: it is taken so rarely that a watcher is no load.
REST = 20


def watch(
    folder: "Folder",
    clock: Clock,
    timing: Timing,
    *,
    interval: float,
    until_done: bool,
    in_json: bool,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Show a batch until Ctrl-C, or until nobody reads it; with `until_done` until no run goes on.

    interval: seconds between two looks, at least. Raises what `look` raises.
    """
    follower, screen = Follower(), _Screen(in_json=in_json)
    try:
        while True:
            began = time.monotonic()
            found = look(folder, follower, clock.now(), timing)
            screen.show(found)
            if (until_done and not found.runner) or streams.reader_left():
                return
            wait(max(interval, REST * (time.monotonic() - began)))
    except KeyboardInterrupt:
        screen.leave()


class _Screen:
    """Where frames go: the terminal, or lines of text or JSON."""

    def __init__(self, *, in_json: bool) -> None:
        self._in_json = in_json
        at_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._redraws = at_terminal and not in_json and not manners.is_dumb(os.environ)
        self._height = 0  # lines of the last frame, which the next one covers
        self._said = ""

    def show(self, found: Look) -> None:
        if self._in_json:
            click.echo(json.dumps(frame.as_json(found)))  # ASCII, which steers no terminal
        elif self._redraws:
            size = shutil.get_terminal_size()
            lines = frame.frame(found, size.columns - 1)[: max(size.lines - 1, 1)]
            back = f"\x1b[{self._height}A" if self._height else ""
            click.echo(f"{back}\r\x1b[J" + "\n".join(lines), color=True)
            self._height = len(lines)
        else:
            said = frame.line(found)
            if said.split(" ", 1)[1:] != self._said.split(" ", 1)[1:]:  # but for the clock
                click.echo(said)
                self._said = said
        sys.stdout.flush()

    def leave(self) -> None:
        if self._redraws:
            click.echo()
