"""The kit leaves nothing behind that the next test would meet."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_client import Control

from crash import Batch, Pipe, fault


@pytest.fixture
def left() -> Iterator[list[int]]:
    """Runs that a test left behind; set up first, this looks for them when all else is cleared."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_run_that_a_test_leaves_standing_ends_with_the_test(
    left: list[int], here: Path, reach: list[str], sandbox: Control
) -> None:
    batch = Batch(here / "batch", reach, sandbox)
    arrived, go_on = Pipe(here / "arrived"), Pipe(here / "go-on")
    stand = fault("wait_at_answer", n=1, note=str(arrived.path), go_on=str(go_on.path))
    left.append(batch.start(stand))
    arrived.wait()
