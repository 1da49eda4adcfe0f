"""How long a command takes that has next to nothing to do."""

import sys
import tempfile
from pathlib import Path
from statistics import median

from batchgen.sandbox import started

from .contenders import LIST, OUT
from .measure import launched
from .scenarios import Scenario, manifest
from .table import table

Milliseconds = dict[str, float]


def start_ups(times: int) -> Milliseconds:
    """The median wall time of each command, ms; they run in turn, `times` times."""
    scenario = Scenario("startup", 5, picture_size=64)
    with tempfile.TemporaryDirectory(prefix="batchgen-bench-") as name:
        folder = Path(name)
        (folder / LIST).write_text(manifest(scenario), encoding="utf-8")
        program = [sys.executable, "-m", "batchgen"]
        with started(None, options=scenario.sandbox_options()) as address:
            reach = ["--base-url", address.base_url, "--media-host", address.media_host]
            launched([*program, "run", LIST, "--out", OUT, "--rate", "100/s", *reach], folder)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "batchgen --help": [*program, "--help"],
            "batchgen status": [*program, "status", OUT],
        }
        took: dict[str, list[float]] = {what: [] for what in commands}
        for _ in range(times):
            for what, words in commands.items():
                took[what].append(1000 * launched(words, folder)["seconds"])
    return {what: median(found) for what, found in took.items()}


def start_up_table(found: Milliseconds) -> str:
    return table(["", "ms"], [[what, f"{ms:.0f}"] for what, ms in found.items()])
