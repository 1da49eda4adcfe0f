"""Runs the person's own command at the end of a run.

It is a shell's, as in a crontab, so pipes and variables work. It is told of the end in JSON on its
standard input, and in a few variables.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from batchgen.config import environment_for_programs
from batchgen.notify.ending import Ending
from batchgen.notify.process import run_program

log = logging.getLogger(__name__)

SHELL = "/bin/sh"


def run_hook(command: str | Sequence[str], ending: Ending, folder: Path, seconds: float) -> str:
    """Return why a command failed; "" if it did not. What it prints goes into the log.

    command: for the shell, or in words. folder: in which it runs. seconds: that it has.
    """
    environment = environment_for_programs(os.environ) | {
        "BATCHGEN_EXIT_CODE": str(ending.code),
        "BATCHGEN_FOLDER": ending.batch or "",
        "BATCHGEN_MANIFEST": ending.manifest,
    }
    told = json.dumps(ending.as_json(), ensure_ascii=True, indent=2) + "\n"
    return run_program(
        [SHELL, "-c", command] if isinstance(command, str) else command,
        told.encode(),
        folder=folder,
        environment=environment,
        seconds=seconds,
        said=lambda line: log.debug("on_finish: %s", line),
    )
