"""The sandbox: an emulator of RunComfy's APIs on this computer, for rehearsals and tests.

It answers as the API does, bills pretend money into a ledger of its own, draws placeholder
pictures, and has faults on request (`faults.py` lists them). This module only starts it in a
child process; nothing heavy is imported here.

Promise: it shares no code with the client that it judges. May import: nothing but errors and the
modules beside the folders.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from batchgen.config import environment_without_secrets
from batchgen.errors import ServiceUnreachable, UsageError

REQUIRED_PACKAGES = ("uvicorn", "httptools")
STOP_TIMEOUT_S = 5.0  # then it is killed


@dataclass(frozen=True)
class Address:
    """base_url: `http://127.0.0.1:PORT/v1`; media_host: `127.0.0.1:PORT`, another port."""

    base_url: str
    media_host: str

    @property
    def serverless_url(self) -> str:
        """Of deployments, `http://127.0.0.1:PORT/prod/v2`."""
        return f"{self.base_url.removesuffix('/v1')}/prod/v2"


def require_packages() -> None:
    """Raise UsageError if a package that the sandbox needs is not installed."""
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        what = f"The sandbox needs packages that are not installed: {names}."
        raise UsageError.for_lack_of("sandbox", what)


def spawn(folder: Path | None, options: Sequence[str], stderr: IO[str]) -> subprocess.Popen[str]:
    """Start a sandbox that ends with the pipe to its standard input, i.e. with this process."""
    command = [sys.executable, "-m", "batchgen", "sandbox", "--exit-with-stdin", *options]
    if folder is not None:
        command += ["--folder", str(folder)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment_without_secrets(),
    )


def read_address(child: subprocess.Popen[str], stderr: IO[str]) -> Address:
    """Return the address that the child prints when it listens.

    Raises ServiceUnreachable, with the last lines of stderr, if the child died instead.
    """
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        code = child.wait()
        stderr.seek(0)
        last = " ".join(" ".join(stderr.read().strip().splitlines()[-5:]).split())
        raise ServiceUnreachable(f"The sandbox did not start (exit code {code}). {last}".rstrip())
    said = json.loads(line)
    return Address(base_url=said["base_url"], media_host=said["media_host"])


def stop(child: subprocess.Popen[str]) -> None:
    """Let the child leave by closing its standard input; kill it if it does not."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()


@contextmanager
def started(folder: Path | None, *, options: Sequence[str] = ()) -> Iterator[Address]:
    """Run the sandbox in a child process for as long as the block lasts.

    folder: where it keeps its requests and its ledger, so that a later sandbox goes on with
        them; None keeps them in memory.
    options: as on the command line of `batchgen sandbox`, e.g. `["--seconds", "2"]`.

    Raises UsageError if packages are missing, ServiceUnreachable if the child dies at its start.
    """
    require_packages()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        child = spawn(folder, options, stderr)
        try:
            yield read_address(child, stderr)
        finally:
            stop(child)
