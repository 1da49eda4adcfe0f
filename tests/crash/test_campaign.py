"""Kills and faults by dice, the run started again until it is quiet, and then the books.

Short here. The night's size: `BATCHGEN_SEEDS=20 BATCHGEN_ROWS=60 python -m pytest
tests/crash/test_campaign.py`.
"""

import os
import random
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sandbox_client import Control

from batchgen.sandbox import Address, started
from crash import APIS, DEPLOYMENTS, GO_ON, KILLED, MODELS, Api, Batch, check_the_books, fault

SEEDS = int(os.environ.get("BATCHGEN_SEEDS", "3"))
ROWS = int(os.environ.get("BATCHGEN_ROWS", "25"))
SEEDS_OF = {MODELS: SEEDS, DEPLOYMENTS: max(SEEDS // 2, 1)}
KILLS_AT_MOST = ROWS
FAULTS = {
    **{"lost": 0.03, "lost-rst": 0.02, "500": 0.02, "504": 0.02, "hangup": 0.03, "429": 0.05},
    **{"cut-after-id": 0.03, "cut-before-id": 0.02, "html-200": 0.02, "id-beside-error": 0.02},
    **{"refuse-5xx": 0.02, "poll-500": 0.05, "poll-garbage": 0.03, "poll-drop": 0.03},
    **{"media-500": 0.05, "media-truncated": 0.05, "media-short": 0.03, "media-html": 0.03},
}


@pytest.mark.parametrize(
    ("api", "seed"), [(api, n) for api in APIS for n in range(1, SEEDS_OF[api] + 1)], ids=str
)
def test_a_night_of_kills_and_faults_pays_once_and_loses_nothing(
    here: Path, api: Api, seed: int
) -> None:
    dice = random.Random(seed)
    with a_troubled_sandbox(seed) as address, Control(address.base_url) as sandbox:
        reach = ["--base-url", address.base_url, "--media-host", address.media_host]
        batch = Batch(here / "batch", reach, sandbox, ROWS, api=api)
        ids = here / "ids"
        killed = 0
        for _ in range(KILLS_AT_MOST):
            n = dice.randint(1, 120)  # of some dozen a row
            code = batch.run(fault("kill_at", n=n, note=str(here / "step")))
            killed += code == KILLED
            assert code in (0, 1, GO_ON, KILLED), batch.said()
            if code in (0, 1):
                break
        for _ in range(20):
            code = batch.run(fault("note_ids", note=str(ids)))
            assert code in (0, 1, GO_ON), batch.said()
            if code != GO_ON:
                break

        check_the_books(batch, reached=ids)
        assert killed > 0
        states = batch.states()
        print(f"seed {seed}: killed {killed} times, {states}")


def a_troubled_sandbox(seed: int) -> AbstractContextManager[Address]:
    options = ["--seconds", "0", "--spread", "0", "--picture-size", "64", "--retry-after", "none"]
    options += ["--seed-dice", str(seed), "--cold-start", "0.1", "--full-queue", "429"]
    for name, probability in FAULTS.items():
        options += ["--fault", f"{name}={probability}"]
    return started(None, options=options)
