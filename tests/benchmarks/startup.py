"""How long commands take that have next to nothing to do, and a run until its first POST.

As multiples of a Python that does nothing, since these are steadier than seconds on a computer that
does something else as well.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sandbox_client import Control

from batchgen.sandbox import started

from .contenders import LIST, OUT
from .measure import Figures, launched
from .scenarios import Scenario, manifest
from .table import medians, table

ROWS = 1000  # of the list that is planned
FEW_ROWS = 20
SENT = 10  # rows of the run
NOTHING = "python -c pass"
# Of a run of a CSV list in a new folder, beside Python's own: for HTTP, commands, rows, migrations.
PACKAGES = "import aiohttp, click, jsonschema, sqlite_utils"
FIRST_POST = f"batchgen run of {SENT} rows, to its first POST"
StartUps = dict[str, Figures]


def start_ups(times: int, rows: int = ROWS) -> StartUps:
    """The medians of each command; they run in turn, `times` times. rows: of the list.

    ms: until it ended, or until its first POST arrived. cpu_ms: of all of it. times_nothing: `ms`
    as a multiple of what a Python that does nothing took in the same round.
    """
    few, many = (Scenario("startup", rows, picture_size=64) for rows in (SENT, rows))
    with (
        tempfile.TemporaryDirectory(prefix="batchgen-bench-") as name,
        started(None, options=few.sandbox_options()) as address,
        Control(address.base_url) as control,
    ):
        folder = Path(name)
        (folder / LIST).write_text(manifest(few), encoding="utf-8")
        (folder / f"long-{LIST}").write_text(manifest(many), encoding="utf-8")
        program = [sys.executable, "-m", "batchgen"]
        reach = ["--base-url", address.base_url, "--media-host", address.media_host]
        run = [*program, "run", LIST, "--rate", "100/s", *reach, "--out"]
        launched([*run, OUT], folder)
        commands = {
            NOTHING: [sys.executable, "-c", "pass"],
            **{
                f'python -c "{code}"': [sys.executable, "-c", code]
                for code in ("import aiohttp", PACKAGES)
            },
            "batchgen --help": [*program, "--help"],
            "batchgen status": [*program, "status", OUT],
            f"batchgen validate of {rows} rows": [*program, "validate", f"long-{LIST}"],
            f"batchgen plan of {rows} rows": [*program, "plan", f"long-{LIST}", *reach],
        }
        rounds: list[StartUps] = []
        for n in range(times):
            used = {what: launched(words, folder) for what, words in commands.items()}
            sent = control.posts
            one = launched([*run, f"{OUT}-{n}"], folder)
            arrived = control.log()[sent]["arrived_at"]
            used[FIRST_POST] = one | {"seconds": arrived - one["started_at"]}
            rounds.append(used)
    return {what: _medians([_figures(what, used) for used in rounds]) for what in rounds[0]}


def _figures(what: str, used: StartUps) -> Figures:
    seconds = used[what]["seconds"]
    return {
        "ms": 1000 * seconds,
        "times_nothing": seconds / used[NOTHING]["seconds"],
        "cpu_ms": 1000 * used[what]["cpu_seconds"],
    }


def _medians(rounds: list[Figures]) -> Figures:
    return {**medians(rounds), "rounds": rounds}


def start_up_table(found: Mapping[str, Figures]) -> str:
    lines = [
        [what, f"{one['ms']:.0f}", f"{one['times_nothing']:.1f}", f"{one['cpu_ms']:.0f}"]
        for what, one in found.items()
    ]
    return table(["", "ms", f"× {NOTHING}", "CPU ms"], lines)
