"""Who takes part: batchgen, and scripts as people write them. Each is a command for one scenario.

Every contender gets the same list as JSON lines and leaves `FOLDER/<id>.png` behind.
"""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batchgen.sandbox import Address

from .scenarios import SCENARIOS, Scenario

HERE = Path(__file__).parent
LIST, OUT = "list.jsonl", "out"


@dataclass(frozen=True)
class Contender:
    """command: the words for one scenario, run in a folder that holds LIST; pictures: where it
    leaves them, below that folder. missing: why it cannot take part, or None.

    only: the scenarios it takes part in; empty is all of them. again: the exit code after which
    its user would start it once more.
    """

    name: str
    command: Callable[[Scenario, Address], list[str]]
    pictures: str
    missing: str | None = None
    only: tuple[str, ...] = ()
    again: int | None = None

    def takes_part(self, scenario: Scenario) -> bool:
        return self.missing is None and (not self.only or scenario.name in self.only)


def batchgen(scenario: Scenario, address: Address) -> list[str]:
    """The real program; everything but the addresses and the limits is its default."""
    return [
        *(sys.executable, "-m", "batchgen", "run", LIST, "--out", OUT),
        *("--base-url", address.base_url, "--media-host", address.media_host),
        *("--rate", f"{scenario.told:g}/s", "--concurrency", str(scenario.at_once)),
    ]


def script(file: str, *more: str) -> Callable[[Scenario, Address], list[str]]:
    """A script that is told `BASE_URL LIST FOLDER AT_ONCE` and `more`."""
    runner = [sys.executable] if file.endswith(".py") else ["/bin/sh"]

    def command(scenario: Scenario, address: Address) -> list[str]:
        words = [address.base_url, LIST, OUT, str(scenario.at_once), *more]
        return [*runner, str(HERE / file), *words]

    return command


def without(*programs: str) -> str | None:
    """Why something cannot run: the first of these programs that is not installed."""
    found = (name for name in programs if shutil.which(name) is None)
    return next((f"{name} is not installed" for name in found), None)


def without_package(name: str) -> str | None:
    """The same of a Python package."""
    there = importlib.util.find_spec(name) is not None
    return None if there else f"{name} is not installed; pip install 'batchgen[bench]'"


RATED = ("ratelimited", "overtold")
# Without jitter all come back at once after each 429, which takes minutes and tells nothing more.
UNRATED = tuple(one.name for one in SCENARIOS if one.name not in RATED)
AIOHTTP = without_package("aiohttp")

CONTENDERS = (
    Contender("batchgen", batchgen, f"{OUT}/images", again=75),
    Contender("httpx", script("naive_httpx.py"), OUT),
    Contender("aiohttp", script("naive_aiohttp.py"), OUT, AIOHTTP, only=UNRATED),
    Contender("aiohttp+jitter", script("naive_aiohttp.py", "jitter"), OUT, AIOHTTP, only=RATED),
    Contender("parallel+curl", script("naive_curl.sh"), OUT, without("parallel", "curl", "jq")),
)
