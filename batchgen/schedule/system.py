"""The user's crontab and the user's systemd, through their own commands."""

import os
import pwd
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from batchgen.errors import BatchgenError, UsageError

COMMAND_TIMEOUT_S = 60
_DAEMONS = {"cron", "crond", "cronie", "fcron", "dcron", "bcron"}


class SystemRefused(BatchgenError):
    """The crontab or systemd took nothing."""


def _run(words: list[str], content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command of the system. Raises UsageError without it, SystemRefused if it hangs."""
    try:
        return subprocess.run(
            words,
            input=content,
            capture_output=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise SystemRefused(f"{words[0]} gave no answer in {COMMAND_TIMEOUT_S} s.") from None
    except OSError as error:
        raise UsageError(
            f"{words[0]} cannot be started here: {error.strerror}.",
            "Install cron, or choose the other with --by.",
        ) from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"


def account_home() -> str:
    """Return the home of the user's account; "" where there is no account."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def run_in(folder: str, words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command with the streams of this one and an environment of its own.

    Returns its exit code. Raises UsageError where it cannot be started.
    """
    try:
        return subprocess.run(
            words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False
        ).returncode
    except OSError as error:
        raise UsageError(
            f"{words[0]} cannot be started in {folder}: {error.strerror}, and so tonight neither.",
            "Install the schedule again: batchgen schedule install --help",
        ) from None


# -- cron -----------------------------------------------------------------------------------------


def read_crontab() -> bytes:
    """Return the user's crontab, empty where there is none. Raises UsageError, SystemRefused."""
    done = _run(["crontab", "-l"])
    if done.returncode == 0:
        return done.stdout
    # Nothing but this means that there is none: to write after any other error could lose lines.
    if re.search(rb"no crontab for|can't open .*No such file", done.stderr):
        return b""
    raise SystemRefused(f"crontab -l: {_said(done)}. Nothing was changed.")


def write_crontab(content: bytes) -> None:
    """Replace the user's crontab, and read it back. Raises UsageError, SystemRefused."""
    done = _run(["crontab", "-"], content)
    if done.returncode:
        raise SystemRefused(f"crontab refuses the new lines: {_said(done)}. Nothing was changed.")
    if read_crontab() != content:
        raise SystemRefused("crontab -l does not show what was written.", "Look at: crontab -l")


def cron_environment() -> dict[str, str]:
    """Return what cron gives a command of the user, but for what the crontab sets.

    Source: crontab(5).
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = ""
    names = {"HOME": account_home(), "LOGNAME": user, "USER": user}
    return {**names, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}


def cron_runs() -> bool | None:
    """Say whether a cron daemon runs on this computer; None where that cannot be seen."""
    seen = False
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().strip() in _DAEMONS:
                return True
            seen = True
    return False if seen else None


# -- systemd --------------------------------------------------------------------------------------


def has_systemd() -> bool:
    """Say whether the user has a systemd of their own."""
    with suppress(BatchgenError):
        return _run(["systemctl", "--user", "show-environment"]).returncode == 0
    return False


def systemctl(*words: str) -> None:
    """Raises UsageError, SystemRefused."""
    done = _run(["systemctl", "--user", *words])
    if done.returncode:
        raise SystemRefused(f"systemctl --user {' '.join(words)}: {_said(done)}.")


def lingers() -> bool:
    """Say whether the user's systemd runs while the user is not logged in."""
    with suppress(BatchgenError):
        done = _run(["loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value"])
        return done.stdout.strip() == b"yes"
    return False


def systemd_environment() -> dict[str, str]:
    """Return what the user's systemd gives a service. Raises UsageError, SystemRefused.

    Source: systemctl(1), show-environment, which writes what a shell reads.
    """
    done = _run(["systemctl", "--user", "show-environment"])
    if done.returncode:
        raise SystemRefused(f"systemctl --user show-environment: {_said(done)}.")
    lines = done.stdout.decode(errors="surrogateescape").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name: _unquoted(value) for name, equals, value in pairs if equals}


def _unquoted(value: str) -> str:
    if value.startswith("$'") and value.endswith("'"):
        return re.sub(r"\\(.)", r"\1", value[2:-1])
    return value
