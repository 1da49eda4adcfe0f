"""Where a row's CPU goes, in a rush and at a calm 20 rows a second: batchgen alone."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from batchgen.sandbox import started

from .contenders import CONTENDERS, LIST
from .measure import launched
from .scenarios import Scenario, manifest
from .table import table

PACES = (
    Scenario("rush", 1000),
    Scenario("calm", 300, seconds=0.5, spread=0.5, told=20.0),
)
Budget = dict[str, float]


def budget(scenario: Scenario) -> Budget:
    """CPU microseconds a row by what they are spent on, the most first, and of all together."""
    (contender,) = (one for one in CONTENDERS if one.name == "batchgen")
    with (
        tempfile.TemporaryDirectory(prefix="batchgen-bench-") as name,
        started(None, options=scenario.sandbox_options()) as address,
    ):
        folder = Path(name)
        (folder / LIST).write_text(manifest(scenario), encoding="utf-8")
        python, flag, _, *words = contender.command(scenario, address)
        used = launched([python, flag, "tests.benchmarks.sampler", "spent.json", *words], folder)
        if used["exit_code"] != 0:
            raise RuntimeError((folder / "said.txt").read_text(encoding="utf-8")[-2000:])
        spent: Budget = json.loads((folder / "spent.json").read_text(encoding="utf-8"))
    by_row = {place: 1e6 * seconds / scenario.rows for place, seconds in spent.items()}
    found = dict(sorted(by_row.items(), key=lambda one: -one[1]))
    return {**found, "together": sum(found.values())}


def budget_table(found: Mapping[str, Budget]) -> str:
    places = dict.fromkeys(place for one in found.values() for place in one)
    lines = [
        [place, *(f"{one.get(place, 0.0):.0f}" for one in found.values())]
        for place in [*(place for place in places if place != "together"), "together"]
    ]
    return table(["CPU µs/row", *found], lines)
