"""The power is cut at every fsync, and what no fsync had asked for is gone.

The sandbox is another computer: nothing of it is lost. `BATCHGEN_CUTS=all python -m pytest
tests/crash/test_power_cut.py` cuts at each fsync; here every third is, with the kinder disk and
with deployments fewer, and others.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sandbox_client import Control

from crash import APIS, DEPLOYMENTS, MODELS, Api, Batch, Driver, check_the_books, fault
from crash.powercut import PoweredBatch, disk_after

STRIDE = 1 if os.environ.get("BATCHGEN_CUTS") == "all" else 3
SLICES = 3


@pytest.fixture
def api() -> Api:
    """Where batches are sent; a test may have others."""
    return MODELS


@pytest.fixture
def kit(here: Path, reach: list[str], sandbox: Control, api: Api) -> PoweredBatch:
    return PoweredBatch(here / "batch", reach, sandbox, api=api)


# The first fsync of each slice. Where not all are cut, each way has others.
WAYS = [(MODELS, "worst", (1, 4, 7)), (MODELS, "kinder", (2, 6)), (DEPLOYMENTS, "worst", (8,))]
EVERY_CUT = [
    (api, disk, first)
    for api, disk, some in WAYS
    for first in (range(1, SLICES + 1) if STRIDE == 1 else some)
]


@pytest.mark.parametrize(("api", "disk", "first"), EVERY_CUT, ids=str)
def test_a_run_goes_on_after_a_power_cut_at_any_fsync(
    kit: PoweredBatch, first: int, disk: str
) -> None:
    cuts = 0
    for n in count(first, STRIDE * SLICES):
        kit.begin_again()
        if not kit.cut(n):
            break
        cuts += 1
        dice = None if disk == "worst" else random.Random(n)
        disk_after(kit.disk, kit.copies, dice)
        kit.finish()
        check_the_books(kit)

    assert cuts > 3


# -- the same, seen from outside -----------------------------------------------------------------

# As strace writes them: quoted, and with escapes.
BODY = re.compile(r'(^, "|\\r\\n\\r\\n)\{\\"(prompt|overrides)')
ASK = re.compile(r"GET \S*/requests/")
CALL = re.compile(r"^\d+ +(\w+)\((\d+)(<[^>]*>)?(.*)$")


@pytest.fixture
def trace(here: Path, reach: list[str], sandbox: Control) -> list[str]:
    """What a run of three rows to each API, one after the other, synced and sent, in order:
    `journal`, `receipt`, `body`, `ask`."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = here / "trace.txt"
    # What is not to be traced goes on at its usual speed, which an old strace cannot have.
    for command in (["strace", "-f", "--seccomp-bpf"], ["strace", "-f"]):
        tried = subprocess.run([*command, "-o", str(log), "true"], capture_output=True)
        if tried.returncode == 0:
            break
    else:
        pytest.skip("strace may not trace here")
    calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg"
    traced = Driver(prefix=[*command, "-y", "-s", "600", "-e", calls, "-o", str(log)])
    try:
        for api in APIS:
            batch = Batch(here / str(api), reach, sandbox, 3, "--concurrency", "1", api=api)
            batch.driver = traced
            assert batch.run() == 0
    finally:
        traced.close()
    return list(events(log.read_text(errors="replace").splitlines()))


def events(lines: list[str]) -> Iterator[str]:
    for line in lines:
        call = CALL.match(line)
        if call is None:
            continue
        name, _, target, rest = call.groups()
        if name in ("fsync", "fdatasync"):
            if "batch.db" in (target or ""):
                yield "journal"
            elif "receipts.log" in (target or ""):
                yield "receipt"
        elif BODY.search(rest):
            yield "body"
        elif ASK.search(rest):
            yield "ask"


def test_the_journal_is_synced_before_each_body_and_after_each_id(trace: list[str]) -> None:
    assert trace.count("body") == 3 * len(APIS)
    for place in [n for n, event in enumerate(trace) if event == "body"]:
        before = trace[:place][::-1]
        since_last = before[: before.index("body")] if "body" in before else before
        assert since_last[0] == "journal", trace  # nothing comes between W1 and its body
        after = trace[place + 1 :]
        until_next = after[: min(after.index(e) for e in ("ask", "body") if e in after)]
        assert "journal" in until_next, trace
        assert "receipt" in until_next, trace
        assert until_next.index("journal") < until_next.index("receipt"), trace


@pytest.mark.parametrize("api", APIS, ids=str)
def test_a_run_that_has_ended_has_everything_on_the_disk(kit: PoweredBatch) -> None:
    kit.begin_again()

    assert not kit.cut(10_000, fault("note_ids", note=str(kit.root / "ids")))
    disk_after(kit.disk, kit.copies)
    check_the_books(kit, reached=kit.root / "ids")
