"""Options that every command takes, before its name and behind it; colours, and the pager.

Each means the same in either place; where both have it, the one behind the name holds.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click
from click.core import ParameterSource

from batchgen import log
from batchgen.cli import streams
from batchgen.cli.terminal import is_attended
from batchgen.config import environment_without_secrets

_META = "batchgen.manners"


def remember(context: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep the value of an option for `given`; the callback also of a command's own."""
    name = param.name or ""
    if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        context.meta.setdefault(_META, {})[name] = value
        if name == "color":
            context.color = {"always": True, "never": False}.get(value, color_by(os.environ))
        elif name == "verbose" and value:
            log.show_steps()  # a run sets its log up later
    return value


def _option(*names: str, hidden: bool, **form: Any) -> click.Option:
    return click.Option(names, callback=remember, expose_value=False, hidden=hidden, **form)


def options(*, hidden: bool) -> list[click.Option]:
    """Return the options. hidden: in the help of a command; that of `batchgen` has them."""
    return [
        _option(
            *("-q", "--quiet"),
            is_flag=True,
            hidden=hidden,
            help="Print nothing unless you have to act, or asked for it.",
        ),
        _option(*("-v", "--verbose"), is_flag=True, hidden=hidden, help="Print every step."),
        _option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            hidden=hidden,
            help="Colour the words for states: auto is at a terminal.  [default: auto]",
        ),
        _option(
            "--no-pager",
            is_flag=True,
            hidden=hidden,
            help="Print long output at once, without $PAGER.",
        ),
    ]


def add_to(command: click.Command) -> None:
    """Let a command, and all below it, take the options that it does not have itself."""
    taken = {name for param in command.params for name in param.opts}
    command.params += [one for one in options(hidden=True) if not taken & {*one.opts}]
    for one in getattr(command, "commands", {}).values():
        add_to(one)


def given(name: str) -> Any:
    """Return the value of one of the options, by its name in Python; None where it is not given."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_META, {}).get(name)


def is_quiet() -> bool:
    return bool(given("quiet"))


def is_json() -> bool:
    """Whether the command line asks for JSON; it is looked at itself, since it may be wrong."""
    words = sys.argv[1:]
    return "--json" in (words[: words.index("--")] if "--" in words else words)


# -- colours ---------------------------------------------------------------------------------------


def color_by(environment: Mapping[str, str]) -> bool | None:
    """Say whether there are colours where no option says it; None is at a terminal only.

    NO_COLOR is https://no-color.org's, and comes first; FORCE_COLOR and CLICOLOR_FORCE are set to
    anything but 0; CLICOLOR=0 and a dumb terminal are as NO_COLOR.
    """
    if environment.get("NO_COLOR"):
        return False
    if any(
        environment.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")
    ):
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return False
    return None


# -- the pager -------------------------------------------------------------------------------------


def pager_command(environment: Mapping[str, str]) -> list[str]:
    """Return the words of the pager; empty where there is none."""
    try:
        words = shlex.split(environment.get("PAGER", "less"))
    except ValueError:
        return []
    return words if words and words != ["cat"] and shutil.which(words[0]) else []


@contextmanager
def paged() -> Iterator[None]:
    """Show what the block writes to stdout in a pager, where a person sits at the terminal.

    It starts with the first line, since problems come before that, on stderr. Whoever leaves it
    early sees no more, and the block goes on to its end.
    """
    words = pager_command(os.environ)
    reads = sys.stdout is not None and sys.stdout.isatty() and is_attended()
    if not reads or not words or given("no_pager") or is_dumb(os.environ):
        yield
        return
    context, before = click.get_current_context(), sys.stdout
    pager = _Pager(words)
    if context.color is None:
        context.color = True  # it is a terminal all the same
    sys.stdout = pager
    try:
        yield
    finally:
        sys.stdout = before
        pager.close()


def is_dumb(environment: Mapping[str, str]) -> bool:
    return environment.get("TERM", "dumb") == "dumb"


class _Pager:
    """A stream for text, into a pager that begins with the first of it."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._child: subprocess.Popen[str] | None = None
        self._text: TextIO | None = None

    def write(self, text: str) -> int:
        if self._text is None:
            # Of less, unless the person says otherwise: leave if all of it fits, and keep colours.
            environment = {"LESS": "FRX", **environment_without_secrets()}
            self._child = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, text=True, env=environment
            )
            _, self._text = streams.wrap(self._child.stdin)  # type: ignore[arg-type]
        return self._text.write(text)

    def flush(self) -> None:
        if self._text is not None:
            self._text.flush()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Wait until the person has read it. Ctrl-C is the pager's meanwhile."""
        if self._child is None or self._text is None:
            return
        self._text.close()
        with suppress(OSError):
            self._child.stdin.close()  # type: ignore[union-attr]
        while True:
            try:
                self._child.wait()
                return
            except KeyboardInterrupt:
                continue
