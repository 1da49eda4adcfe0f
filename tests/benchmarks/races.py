"""All contenders in all scenarios, in turn, and what of it fails the program."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sandbox_client import Control

from batchgen.sandbox import started

from .contenders import Contender
from .measure import Figures, measure
from .scenarios import Scenario
from .table import medians

LOAD = Path(__file__).with_name("load.py")
Say = Callable[[str], None]


def race(scenario: Scenario, contenders: Sequence[Contender], rounds: int, say: Say) -> Any:
    """Run the contenders in turn, A B A B; return by name their medians and `rounds`."""
    runs: dict[str, list[Figures]] = {one.name: [] for one in contenders}
    for n in range(rounds):
        for one in contenders:
            found = measure(one, scenario)
            runs[one.name].append(found)
            say(f"{scenario.name}: round {n + 1}: {one.name}: {found['seconds']:.2f} s")
    return {name: medians(found) | {"rounds": found} for name, found in runs.items()}


def faults(scenario: Scenario, found: dict[str, Any]) -> list[str]:
    """What must not be, in any round: a picture that is not its row's, a row lost or paid twice.

    Where the API makes trouble only batchgen promises that; the scripts are seen to break it.
    """
    wrong = []
    for name, figures in found.items():
        if scenario.troubles and name != "batchgen":
            continue
        for n, one in enumerate(figures["rounds"], 1):
            said = [f"{one[what]} {what}" for what in ("wrong", "lost", "paid_twice") if one[what]]
            if not scenario.troubles and one["saved"] < 1:
                said.append(f"{one['saved']:.1%} saved (exit code {one['exit_code']})")
            if said:
                wrong.append(f"{scenario.name}, {name}, round {n}: {', '.join(said)}")
    return wrong


def sandbox_alone(rows: int) -> dict[str, float]:
    """What the sandbox manages when nothing but asking is done: see load.py.

    requests_per_second: by the clock; requests_per_cpu_second: on one core of its own.
    """
    scenario = Scenario("load", rows)
    with (
        started(None, options=scenario.sandbox_options()) as address,
        Control(address.base_url) as control,
    ):
        before = control.cpu_seconds
        words = [address.base_url, address.media_host, str(rows), str(scenario.at_once)]
        done = subprocess.run(
            [sys.executable, str(LOAD), *words], stdout=subprocess.PIPE, check=True, env=os.environ
        )
        used = control.cpu_seconds - before
    said = json.loads(done.stdout)
    return {
        "requests_per_second": said["requests"] / said["seconds"],
        "requests_per_cpu_second": said["requests"] / used,
    }
