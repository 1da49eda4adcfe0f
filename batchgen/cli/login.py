"""The commands that store a token for runs that nobody sits beside, and remove it."""

import os
import sys

import click

from batchgen.cli.options import JSON
from batchgen.errors import UsageError
from batchgen.log import write_stderr


@click.command(short_help="Store your token, for every run from now on.")
@JSON
def login(as_json: bool) -> None:
    """Store your RunComfy token where every run finds it, also one from cron or systemd.

    The token is asked for without showing it, or read from standard input; it is never an option,
    because a list of processes shows options. It is kept in a file that only you can read,
    `~/.config/batchgen/token`, and replaces the one that was there. It is not tried: RunComfy is
    not asked. A token in the environment, as RUNCOMFY_TOKEN, comes first.

    \b
    Examples:
        batchgen login
        pass show runcomfy | batchgen login

    \b
    Exit codes:
        0    stored
        2    there is no token to read, or no place to keep it
        77   that cannot be a token
    """
    from batchgen.api.credentials import store_token
    from batchgen.cli import output
    from batchgen.config import TOKEN_VARIABLES

    path = store_token(os.environ, _read_token())
    first = [name for name in TOKEN_VARIABLES if os.environ.get(name)]
    if as_json:
        output.as_json({"path": str(path), "variables": first})
        return
    output.note(f"The token is stored in {path}, which only you can read.")
    for name in first:
        write_stderr(f"{name} is set here and comes first: unset {name}")


@click.command(short_help="Remove the token that login stored.")
@JSON
def logout(as_json: bool) -> None:
    """Remove the token that `batchgen login` stored.

    It stays valid: to withdraw it, delete it in your RunComfy profile. What `runcomfy login` stored
    is left alone.

    \b
    Examples:
        batchgen logout

    \b
    Exit codes:
        0    removed, or there was none
        2    there is no place where it could be
    """
    from batchgen.api.credentials import remove_token, token_file
    from batchgen.cli import output
    from batchgen.config import TOKEN_VARIABLES

    path = remove_token(os.environ)
    left = [name for name in TOKEN_VARIABLES if os.environ.get(name)]
    other = token_file(os.environ)
    if other is not None and other.exists():
        left.append(str(other))
    if as_json:
        output.as_json({"removed": path and str(path), "left": left})
        return
    output.note(f"{path} is removed." if path else "No token was stored.")
    if left:
        write_stderr(f"A token is still found in {', '.join(left)}.")


def _read_token() -> str:
    """Return what a person types, or the one line of standard input, without blanks around it."""
    from batchgen.api.credentials import MAX_TOKEN_BYTES
    from batchgen.cli.terminal import is_attended

    if is_attended():
        return str(click.prompt("RunComfy token", hide_input=True, err=True)).strip()
    try:
        # At a terminal in the background, or with no place for the question, nobody is waited for.
        text = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read(MAX_TOKEN_BYTES)
    except (OSError, ValueError):
        text = ""
    if not text.strip():
        raise UsageError(
            "There is no token to store: standard input has none.",
            "Type it at a terminal: batchgen login\nor pipe it in: batchgen login < FILE",
        )
    return text.strip()
