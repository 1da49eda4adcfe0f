"""Processes of Python in which batchgen is imported when they begin: each is a fork of one.

A fresh interpreter takes half a second of CPU before it does anything. Else they are the same: each
has streams of its own, dies by itself, and ends with all that an interpreter does at its end.

This file is the program too. It takes orders from a socket, with the three standard streams:

    {"code": …, "words": […], "cwd": …, "env": {…}, "terminal": false}  -> {"pid": 1234}
    {"wait": 1234} -> {"code": 75}      as subprocess has it: -9 is SIGKILL
"""

import atexit
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from helpers import converse

MAIN = "from batchgen.cli.main import main; main()"
AT_MOST_S = 300  # that one may run, on a busy computer


class Parent:
    """The process that is forked."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        root = Path(__file__).parents[1]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": str(root)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def close(self) -> None:
        self._link.close()
        self._process.wait()

    def ask(self, streams: Sequence[int] = (), **order: Any) -> Any:
        """streams: the standard streams of a process that is to be started."""
        message = f"{json.dumps(order)}\n".encode()
        sent = socket.send_fds(self._link, [message], streams)
        self._link.sendall(message[sent:])
        return json.loads(read_line(self._link)[0])


@cache
def parent() -> Parent:
    """The one that all tests of this process share."""
    found = Parent()
    atexit.register(found.close)
    return found


def start(
    words: Sequence[str], code: str, streams: Sequence[int], *, terminal: bool = False
) -> Callable[[], int]:
    """Start `code` in the current folder; return what waits for it and returns its exit code.

    words: of `sys.argv`. terminal: whether its streams are the terminal of a session of its own.
    """
    order = {"code": code, "words": list(words), "cwd": str(Path.cwd()), "terminal": terminal}
    pid = parent().ask(streams, **order, env=dict(os.environ))["pid"]
    return lambda: int(parent().ask(wait=pid)["code"])


def run(
    *words: str, code: str = MAIN, stdout: int | None = None, stderr: int | None = None
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run`, with nothing to read; a stream that is not given is captured."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        nothing, writer = os.pipe()
        os.close(writer)
        given = [
            nothing,
            out.fileno() if stdout is None else stdout,
            errors.fileno() if stderr is None else stderr,
        ]
        wait = start(words, code, given)
        os.close(nothing)
        ended = wait()
        for file in (out, errors):
            file.seek(0)
        return subprocess.CompletedProcess(words, ended, out.read(), errors.read())


def at_a_terminal(answer: str, *words: str, code: str = MAIN) -> tuple[int, str]:
    """As that of `helpers`, for `code` in place of a command."""
    leader, follower = pty.openpty()
    wait = start(words, code, [follower] * 3, terminal=True)
    os.close(follower)
    shown = converse(leader, answer)
    return wait(), shown


# -- the program -----------------------------------------------------------------------------------


def read_line(link: socket.socket) -> tuple[bytes, list[int]]:
    """Return a line, and the descriptors that came with it; nothing at the end."""
    line, handles, _, _ = socket.recv_fds(link, 1 << 16, 3)
    while line and not line.endswith(b"\n"):
        line += link.recv(1 << 16)
    return line, handles


def become(order: dict[str, Any], streams: list[int]) -> None:
    """Make this process the one that was asked for, and run its code."""
    signal.alarm(AT_MOST_S)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
        os.close(handle)
    if order["terminal"]:
        os.setsid()
        os.close(os.open(os.ttyname(0), os.O_RDWR))
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False)  # noqa: SIM115
        for number, mode in enumerate(("r", "w", "w"))
    )
    sys.argv = ["batchgen", *order["words"]]
    exec(order["code"], {"__name__": "__main__"})


def main() -> None:
    prepare()
    link = socket.socket(fileno=int(sys.argv[1]))
    while True:
        line, streams = read_line(link)
        if not line:
            return
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                link.close()
                become(order, streams)
                return  # it ends as every interpreter does
            for handle in streams:
                os.close(handle)
            answer = {"pid": pid}
        link.sendall(f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    from crash.driver import prepare

    main()
