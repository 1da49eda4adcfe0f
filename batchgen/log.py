"""Where messages go: batchgen.log gets all of them, stderr what a person should see now."""

import logging
import os
import sys
import time
from io import TextIOWrapper
from pathlib import Path

from batchgen.core.text import terminal_safe
from batchgen.files import open_in_place

log = logging.getLogger("batchgen")


def write_stderr(text: str = "") -> None:
    """Write a line to stderr, above a progress bar if any; a lost terminal is no matter."""
    if sys.stderr is None:  # started with it closed
        return
    from tqdm import tqdm  # here, since most commands have nothing to say to stderr

    try:
        tqdm.write(terminal_safe(text), file=sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError, UnicodeError):
        pass


class _FileHandler(logging.FileHandler):
    def format(self, record: logging.LogRecord) -> str:
        return terminal_safe(super().format(record))


class _ToOwnFile(_FileHandler):
    """A log in the batch folder, whose names may be somebody else's."""

    def _open(self) -> TextIOWrapper:
        handle = open_in_place(Path(self.baseFilename), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return open(handle, "a", encoding=self.encoding, errors=self.errors)  # noqa: PTH123


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_stderr(record.getMessage())


def set_up(own: Path, named: Path | None, *, quiet: bool, verbose: bool) -> None:
    """own: the log file of the batch, unless the person has `named` another, which may be a link.

    quiet: only what needs a person; verbose: everything.
    """
    if named is None:
        file: _FileHandler = _ToOwnFile(own, encoding="utf-8", errors="backslashreplace")
    else:
        named.parent.mkdir(parents=True, exist_ok=True)
        named.touch(mode=0o600)
        file = _FileHandler(named, encoding="utf-8", errors="backslashreplace")
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    file.setFormatter(formatter)
    file.setLevel(logging.DEBUG if verbose else logging.INFO)
    person = _StderrHandler()
    person.setLevel(logging.CRITICAL if quiet else logging.DEBUG if verbose else logging.WARNING)
    log.handlers[:] = [file, person]
    log.setLevel(logging.DEBUG)
    log.propagate = False
    logging.raiseExceptions = False  # a full disk must not fill the terminal with tracebacks


def warn(text: str) -> None:
    """Log a warning; without a log, say it."""
    if any(isinstance(handler, _StderrHandler) for handler in log.handlers):
        log.warning("%s", text)
    else:
        write_stderr(text)


def close() -> None:
    """Let go of the log file; from here on only `say` speaks."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
