"""What a run costs that waits an hour for a Retry-After. Linux alone: it reads /proc."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox_client import Control

from batchgen.sandbox import started

from .contenders import LIST, OUT
from .measure import Figures, environment
from .scenarios import Scenario, manifest
from .table import table

RETRY_AFTER_S = 3600
SETTLED_S = 3.0  # after which a run has nothing left to do but to wait
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def waiting(seconds: float) -> Figures:
    """wake_ups: of all threads, a minute. cpu_ms: CPU milliseconds a minute."""
    scenario = Scenario("waiting", 5, told=20.0)
    with (
        tempfile.TemporaryDirectory(prefix="batchgen-bench-") as name,
        started(None, options=scenario.sandbox_options()) as address,
        Control(address.base_url) as control,
    ):
        control.fault("429", value=RETRY_AFTER_S)
        folder = Path(name)
        (folder / LIST).write_text(manifest(scenario), encoding="utf-8")
        words = [sys.executable, "-m", "batchgen", "run", LIST, "--out", OUT, "--rate", "20/s"]
        reach = ["--base-url", address.base_url, "--media-host", address.media_host]
        with (folder / "said.txt").open("w") as said:
            run = subprocess.Popen(
                [*words, *reach], cwd=folder, env=environment(folder), stdout=said, stderr=said
            )
        try:
            while not control.posts:
                if run.poll() is not None:
                    raise RuntimeError((folder / "said.txt").read_text(encoding="utf-8")[-2000:])
                time.sleep(0.1)
            time.sleep(SETTLED_S)
            switches, cpu = _used(run.pid)
            time.sleep(seconds)
            switches_then, cpu_then = _used(run.pid)
        finally:
            run.send_signal(signal.SIGTERM)
            run.wait()
    minutes = seconds / 60
    return {
        "wake_ups": (switches_then - switches) / minutes,
        "cpu_ms": 1000 * (cpu_then - cpu) / minutes,
    }


def _used(pid: int) -> tuple[int, float]:
    """How often a process's threads went to sleep so far, and its CPU seconds."""
    switches = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        switches += int(fields["voluntary_ctxt_switches"])
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return switches, (int(after_name[11]) + int(after_name[12])) / CLOCK_TICKS


def waiting_table(found: Mapping[str, float]) -> str:
    lines = [["a minute", f"{found['wake_ups']:.0f}", f"{found['cpu_ms']:.0f}"]]
    return table(["", "wake-ups", "CPU ms"], lines)
