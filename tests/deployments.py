"""What tests of deployments share: which inputs of nodes a list has, and a rehearsal."""

import subprocess
import sys
from collections.abc import Callable

from helpers import Outcome

from batchgen.sandbox.deployments.samples import TEXT

NODES = ("--node", "prompt=6.text", "--node", "seed=31.seed")


def rehearse(
    batchgen: Callable[..., Outcome], base_url: str, manifest: str, *options: str
) -> "subprocess.CompletedProcess[str]":
    """Rehearse a list with the deployment TEXT, as it was fetched.

    base_url: of the API that it is fetched from, which sees no rehearsal. The rehearsal goes by the
    real clock, as its sandbox is another process.
    """
    fetched = batchgen("models", "fetch", f"deployments/{TEXT}", "--base-url", base_url)
    assert fetched.code == 0
    words = ["run", manifest, "--deployment", TEXT, *NODES, "--sandbox", *options]
    return subprocess.run(
        [sys.executable, "-m", "batchgen", *words], capture_output=True, encoding="utf-8"
    )
