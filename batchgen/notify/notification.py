"""Sends a message by mail, chat or to the desktop, through apprise, in a process of its own.

apprise speaks to some hundred services, each in its way. In a process of its own none of them can
hold up the run, or crash it, or print what it likes; and the addresses, which are secrets, go there
by its standard input, so no list of processes has them.
"""

import importlib.util
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchgen.config import environment_for_programs
from batchgen.errors import UsageError
from batchgen.notify.notify_worker import FAILED
from batchgen.notify.process import KILLED, run_program

log = logging.getLogger(__name__)

# The process finds modules where this one does.
CODE = (
    "import sys; sys.path[:] = sys.argv[1:]; from batchgen.notify import notify_worker;"
    " notify_worker.main()"
)


def require_apprise() -> None:
    """Raise UsageError where apprise is not installed."""
    if importlib.util.find_spec("apprise") is None:
        raise UsageError.for_lack_of(
            "notify", "To notify needs a package that is not installed: apprise. Nothing was sent."
        )


def require_usable(urls: Sequence[str], seconds: float) -> None:
    """Raise UsageError for an address that apprise does not know. Nobody is sent anything."""
    require_apprise()
    unusable, _ = _ask_worker({"urls": urls}, seconds)
    if unusable:
        raise UsageError(
            f"Of the addresses to notify, {unusable}. Nothing was sent.",
            "How each is written: https://github.com/caronc/apprise/wiki",
        )


def send_notification(
    urls: Sequence[str],
    title: str,
    body: str,
    *,
    failed: bool,
    pictures: Sequence[Path] = (),
    seconds: float,
) -> str:
    """Send a message to each address; return which were not reached and why, "" if all were.

    failed: whether it is about a failure, which many services show. pictures: files of which a
    small sheet is sent along. seconds: for all of it.
    """
    message = {"urls": urls, "title": title, "body": body, "failed": failed}
    with_pictures = message | {"pictures": [str(path) for path in pictures]}
    missed, why = _ask_worker(with_pictures, seconds)
    if pictures and why.startswith(KILLED):  # by a decoder; the pictures come first
        missed, why = _ask_worker(message, seconds)
    return missed or why


def _ask_worker(request: dict[str, Any], seconds: float) -> tuple[str, str]:
    """Return which addresses failed and why, and why the process did."""
    failures: list[str] = []

    def hear(line: str) -> None:
        log.debug("notify: %s", line)
        if line.startswith(FAILED):
            failures.append(line.removeprefix(FAILED))

    why = run_program(
        [sys.executable, "-c", CODE, *sys.path],
        json.dumps(request).encode(),
        folder=Path("/"),
        environment=environment_for_programs(os.environ),
        seconds=seconds,
        said=hear,
    )
    return "; ".join(failures), why
