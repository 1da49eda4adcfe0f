"""One contender in one scenario, once: start a fresh sandbox, run it, and read both sides."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from sandbox_client import Control

from batchgen.sandbox import Address, started

from .contenders import LIST, OUT, Contender
from .pictures import look
from .scenarios import Scenario, manifest

LAUNCH = Path(__file__).with_name("launch.py")
ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-the-sandbox"
STARTS = 5  # at most, where a contender's user would start it again
Figures = dict[str, Any]


def environment(folder: Path) -> dict[str, str]:
    """A child's environment: the token, this project to import, and no proxy or login of ours.

    What is imported is kept compiled, as it is where pip installed it.
    """
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"RUNCOMFY_TOKEN": TOKEN, "RUNCOMFY_CONFIG_DIR": str(folder), "PYTHONPATH": path}
    return clean | own


def launched(words: list[str], folder: Path, said: str = "said.txt") -> Figures:
    """Run a command in `folder`; return what launch.py tells of it. said: file of its output."""
    done = subprocess.run(
        [sys.executable, "-S", str(LAUNCH), said, *words],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Figures = json.loads(done.stdout)
    return found


def launched_to_the_end(contender: Contender, words: list[str], folder: Path) -> Figures:
    """Start it again as long as its exit code asks for it; sums of time, the largest memory."""
    total = launched(words, folder)
    for _ in range(STARTS - 1):
        if contender.again is None or total["exit_code"] != contender.again:
            break
        more = launched(words, folder)
        for name in ("seconds", "cpu_seconds"):
            more[name] += total[name]
        total = more | {"peak_bytes": max(total["peak_bytes"], more["peak_bytes"])}
    return total


def measure(contender: Contender, scenario: Scenario) -> Figures:
    """Return the figures of one run, see `figures`; and `said`, the end of what it printed."""
    with (
        started(None, options=scenario.sandbox_options()) as address,
        Control(address.base_url) as control,
    ):
        folder = Path(tempfile.mkdtemp(dir=scratch()))
        (folder / LIST).write_text(manifest(scenario), encoding="utf-8")
        if contender.pictures == OUT:
            (folder / OUT).mkdir()
        try:
            return attempt(contender, scenario, address, control, folder)
        finally:
            for path in folder.rglob("*"):
                if path.is_file():
                    os.truncate(path, 0)


@cache
def scratch() -> Path:
    """Where runs leave their files, which are emptied after each and removed when all are done.

    ext4 looks for an inode that was not freed within the last minute, so whoever runs after a few
    thousand files were removed is slowed down, by up to a millisecond for each of his own.
    """
    folder = Path(tempfile.mkdtemp(prefix="batchgen-bench-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def attempt(
    contender: Contender, scenario: Scenario, address: Address, control: Control, folder: Path
) -> Figures:
    before = control.cpu_seconds
    used = launched_to_the_end(contender, contender.command(scenario, address), folder)
    busy = control.cpu_seconds - before
    said = (folder / "said.txt").read_text(encoding="utf-8", errors="replace")
    return {
        **figures(scenario, used),
        **from_the_sandbox(scenario, control, folder / contender.pictures),
        "sandbox_busy": busy / used["seconds"],
        "exit_code": used["exit_code"],
        "said": said[-2000:],
    }


def figures(scenario: Scenario, used: Figures) -> Figures:
    """seconds: wall; rows_per_second; times_ideal: None where there is no ideal; cpu_ms: CPU
    milliseconds a row; peak_mib: the largest resident size."""
    ideal = scenario.ideal()
    return {
        "seconds": used["seconds"],
        "rows_per_second": scenario.rows / used["seconds"],
        "ideal_seconds": ideal,
        "times_ideal": None if ideal is None else used["seconds"] / ideal,
        "cpu_ms": 1000 * used["cpu_seconds"] / scenario.rows,
        "peak_mib": used["peak_bytes"] / 2**20,
    }


def from_the_sandbox(scenario: Scenario, control: Control, folder: Path) -> Figures:
    """What the API saw, and what came of it on disk.

    polls: questions a row, of either kind. lag: mean seconds from a request's end until a poll was
    answered with it. throttled: 429s. paid_twice: inputs that are billed more than once.
    lost: accepted with a whole answer, finished well, and no right picture.
    unanswered: billed, but the answer did not arrive, and there is no picture: nobody can know.
    saved, wrong: rows with a picture, and pictures that are not their row's.
    """
    counts, ledger = control.counts(), control.ledger()
    answers = {entry["request_id"]: entry["answer"] for entry in control.log()}
    prompts = scenario.prompts()
    pictures = look(scenario, prompts, folder)
    ids = {prompt: id for id, prompt in prompts.items()}
    lags = [row["seen_at"] - row["finish_at"] for row in ledger if row["seen_at"] is not None]
    billed: Counter[str] = Counter()
    lost, unanswered = set(), set()
    for row in ledger:
        prompt = json.loads(row["input"])["prompt"]
        billed[prompt] += row["billed"]
        if ids.get(prompt) in pictures.right or row["outcome"] is not None:
            continue
        (lost if answers[row["request_id"]] == "200" else unanswered).add(prompt)
    return {
        "polls": counts["polls"] / scenario.rows,
        "lag": mean(lags) if lags else None,
        "throttled": counts["by_answer"].get("429", 0),
        "paid_twice": sum(times > 1 for times in billed.values()),
        "lost": len(lost),
        "unanswered": len(unanswered - lost),
        "saved": len(pictures.right) / scenario.rows,
        "wrong": len(pictures.wrong),
    }
