"""Where messages go: batchgen.log gets all of them, the terminal those of INFO and above.

Each module logs by a logger of its own name. DEBUG is every step of every row; INFO is what a
person at a terminal wants to know; WARNING is what may need a person; CRITICAL is what is lost if
nobody reads it now, such as a request_id that cannot be written down.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from batchgen.core.redaction import Secrets
from batchgen.core.text import shell_quote, terminal_safe
from batchgen.errors import UsageError
from batchgen.files import open_in_place, open_regular

log = logging.getLogger("batchgen")  # the parent of all loggers of the package
# Hidden in the log and on stderr, in what a service answers, and in the journal's columns of words,
# from which summary and tables are made. A row's input is paid for as it is, and kept as it is.
secrets = Secrets()


class _Form:
    """How lines are written to stderr. json_lines: each as a JSON object."""

    json_lines = False


def use_json_lines(*, wanted: bool) -> None:
    """Write every line of stderr as a JSON object from now on, or no longer."""
    _Form.json_lines = wanted


def writes_json_lines() -> bool:
    return _Form.json_lines


def write_stderr(text: str = "", level: str = "info") -> None:
    """Write a line to stderr, above a progress bar if there is one; do nothing without a stderr.

    A line break in it is shown as an escape. level: for programs, which read lines of JSON.
    """
    if _Form.json_lines:
        if text:
            write_json_line({"type": "message", "level": level, "text": text})
    else:
        _write_line(terminal_safe(secrets.hide(text)))


def write_json_line(value: Mapping[str, Any]) -> None:
    """Write an object to stderr, in one line."""
    _write_line(terminal_safe(secrets.hide(json.dumps(value))))


def _write_line(line: str) -> None:
    if sys.stderr is None:  # started with it closed
        return
    bars = sys.modules.get("tqdm")  # imported by whoever draws one, while there are descriptors
    write = print if bars is None else bars.tqdm.write
    with suppress(OSError, ValueError, UnicodeError):
        write(line, file=sys.stderr)
        sys.stderr.flush()


class _LogFile(logging.FileHandler):
    def format(self, record: logging.LogRecord) -> str:
        # A traceback's line breaks are its own.
        text = super().format(record)
        lines = text.split("\n") if record.exc_info else [text]
        return "\n".join(terminal_safe(secrets.hide(line)) for line in lines)


class _OwnLogFile(_LogFile):
    """A log in the batch folder, whose names may be somebody else's."""

    def _open(self) -> TextIOWrapper:
        handle = open_in_place(Path(self.baseFilename), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return open(handle, "a", encoding=self.encoding, errors=self.errors)  # noqa: PTH123


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_stderr(record.getMessage(), record.levelname.lower())


class _Program(logging.Handler):
    """What the terminal shows, for a program that called: as its root logger is set up."""

    def emit(self, record: logging.LogRecord) -> None:
        root = logging.getLogger()
        if root.isEnabledFor(record.levelno):
            text = secrets.hide(record.getMessage())
            root.handle(logging.makeLogRecord({**vars(record), "msg": text, "args": None}))


# How each line begins, by the formatter of `set_up`.
_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ ")
_OURS = (_LogFile, _Terminal, _Program)


class _Calls:
    """open: how many calls of a program go on. before: its logging, as it was before the first."""

    lock = threading.Lock()
    open = 0
    before: tuple[list[logging.Handler], int, bool, bool]


def set_up(
    own: Path, named: Path | None, *, quiet: bool, verbose: bool, to_program: bool = False
) -> None:
    """Log to a file and to the terminal.

    own: the log file of the batch. named: another that the person named, which may be a link.
    quiet: the terminal shows only what is lost otherwise; verbose: it shows every step.
    to_program: the program that called is told, instead of the terminal.
    """
    if named is not None:
        named.touch(mode=0o600)
    kind = _LogFile if named else _OwnLogFile
    file = kind(named or own, encoding="utf-8", errors="backslashreplace")
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    file.setFormatter(formatter)
    shown = _Program() if to_program else _Terminal()
    shown.setLevel(logging.CRITICAL if quiet else logging.DEBUG if verbose else logging.INFO)
    _use(file, shown, beside_others=to_program)
    logging.raiseExceptions = False  # a full disk must not fill the terminal with tracebacks


def refuse_foreign_log(file: Path) -> None:
    """Raise UsageError for a log that would stand in a file with something else, or in no folder.

    What fails when it is opened, as a folder, is left for then.
    """
    if not file.parent.is_dir():
        raise UsageError(
            f"There is no folder {file.parent} for --log-file {file}. Nothing was sent.",
            f"Make it first: mkdir -p {shell_quote(str(file.parent))}",
        )
    with suppress(OSError), open_regular(file) as begun:
        first = begun.readline(100)
        if first and not _LINE.match(first):
            raise UsageError(
                f"--log-file {file} is no log of batchgen, and would get its lines. Nothing was"
                " sent.",
                "Choose another file, or one that does not exist yet.",
            )


def show_steps() -> None:
    """Show every message on the terminal, in a command that keeps no log of its own."""
    terminal = _Terminal()
    terminal.setLevel(logging.DEBUG)
    _use(terminal)


@contextmanager
def told_to_program() -> Iterator[None]:
    """Tell the program that called what is said in the block, instead of the terminal.

    After the last of such blocks, which may be in several threads, its logging is as it was before.
    """
    with _Calls.lock:
        if not _Calls.open:
            _Calls.before = (log.handlers[:], log.level, log.propagate, logging.raiseExceptions)
            program = _Program()
            program.setLevel(logging.INFO)
            _use(program, beside_others=True)
        _Calls.open += 1
    try:
        yield
    finally:
        with _Calls.lock:
            _Calls.open -= 1
            if not _Calls.open:
                close()
                handlers, log.level, log.propagate, logging.raiseExceptions = _Calls.before
                log.handlers[:] = handlers


def _use(*handlers: logging.Handler, beside_others: bool = False) -> None:
    """beside_others: whether handlers that are not ours stay, as those of a program that called."""
    others = [handler for handler in log.handlers if not isinstance(handler, _OURS)]
    log.handlers[:] = [*handlers, *(others if beside_others else ())]
    log.setLevel(logging.DEBUG)
    log.propagate = False


def warn(text: str) -> None:
    """Log a warning; without a log, write it to stderr."""
    if any(isinstance(handler, _Terminal | _Program) for handler in log.handlers):
        log.warning("%s", text)
    else:
        write_stderr(text)


def close() -> None:
    """Close the log file. Later messages have to go through `write_stderr` or `warn`."""
    for handler in [one for one in log.handlers if isinstance(one, _OURS)]:
        log.removeHandler(handler)
        with suppress(OSError):  # what the disk did not take
            handler.close()
