"""Killed at every single step, and at steps of the recovery from that.

A step is whatever a later run could find, before it and after it, and what happens to the paid
POST in between. The run kills itself at step 1, 2, … until one completes untouched. Deployments are
killed at a sample of the steps, which `BATCHGEN_STEPS=all` makes all of them. So is the recovery;
`BATCHGEN_PAIRS=all python -m pytest tests/crash/test_kill_points.py` tries all pairs.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from PIL import Image
from sandbox_client import Control

from batchgen.sandbox.deployments.samples import PHOTO, SAMPLES
from crash import APIS, DEPLOYMENTS, MODELS, Api, Batch, check_the_books

# Odd, since steps come in twos, before and after: of every eighth a slice would see but one half.
SLICES = 7
ALL_STEPS = os.environ.get("BATCHGEN_STEPS") == "all"
ALL_PAIRS = os.environ.get("BATCHGEN_PAIRS") == "all"
PAIRS = int(os.environ.get("BATCHGEN_KILL_PAIRS", "28"))
IN_A_ROW = 2  # kills in a recovery, then in the recovery from that
SLICES_OF = {MODELS: SLICES, DEPLOYMENTS: SLICES if ALL_STEPS else 1}
STEPS = 95  # about as many as a run of three rows has; a sample needs to know


@pytest.fixture
def api() -> Api:
    """Where batches are sent; a test may have others."""
    return MODELS


@pytest.fixture
def kit(here: Path, reach: list[str], sandbox: Control, api: Api) -> Batch:
    return Batch(here / "batch", reach, sandbox, api=api)


# A deployment that is sent the workflow of another one, whole.
OWN_WORKFLOW = replace(
    DEPLOYMENTS,
    name="own workflow",
    options=(*DEPLOYMENTS.options, "--workflow", "own.json"),
    sent=lambda sent: str(sent["workflow_api_json"]["6"]["inputs"]["text"]),
)
PHOTO_OPTIONS = {
    OWN_WORKFLOW: ("--node", "image=12.image"),
    MODELS: ("--model", "atelier/retouch/edit"),
    DEPLOYMENTS: ("--deployment", PHOTO, "--node", "image=12.image"),
}


@pytest.fixture
def photo_kit(here: Path, reach: list[str], sandbox: Control, api: Api) -> Batch:
    """Three rows with a local file each."""
    batch = Batch(here / "batch", reach, sandbox, 3, *PHOTO_OPTIONS[api], api=api)
    (workflow,) = (one["payload"]["workflow_api_json"] for one in SAMPLES if one["id"] == PHOTO)
    (batch.root / "own.json").write_text(json.dumps(workflow))
    rows = ["prompt,image"]
    for n, prompt in enumerate(batch.prompts()):
        Image.new("RGB", (64, 64), (n, n, n)).save(batch.root / f"{n}.png")
        rows.append(f"{prompt},{n}.png")
    (batch.root / "list.csv").write_text("\n".join(rows))
    batch.words[1] = "list.csv"
    return batch


def begin_again(batch: Batch) -> None:
    shutil.rmtree(batch.out, ignore_errors=True)
    batch.sandbox.reset()


@pytest.mark.parametrize(
    ("api", "first"), [(api, n) for api in APIS for n in range(1, SLICES_OF[api] + 1)], ids=str
)
def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(kit: Batch, first: int) -> None:
    names = []
    for n in count(first, SLICES):
        begin_again(kit)
        name = kit.killed_at(n)
        if name is None:
            break
        names.append(name)
        kit.finish()
        check_the_books(kit)

    check_the_books(kit)
    assert len(names) > 10
    assert len(set(names)) > 4


@pytest.mark.parametrize(
    ("api", "first"), [(api, 7 * n) for n, api in enumerate(PHOTO_OPTIONS, 1)], ids=str
)
def test_so_is_a_run_with_local_files(photo_kit: Batch, first: int) -> None:
    """Each way at other steps, and all together at every seventh."""
    for n in count(first, 7 * len(PHOTO_OPTIONS)):
        begin_again(photo_kit)
        if photo_kit.killed_at(n) is None:
            break
        photo_kit.finish()
        check_the_books(photo_kit)
        assert [*photo_kit.out.glob("tmp*")] == []

    sent = [row["input"] for row in photo_kit.sandbox.ledger()]
    assert all('"image":"data:sha256:' in body for body in sent)


@pytest.mark.parametrize(
    ("api", "part"), [*((MODELS, n) for n in range(SLICES)), (DEPLOYMENTS, 0)], ids=str
)
def test_kills_in_the_recovery_change_nothing(kit: Batch, part: int) -> None:
    again = 0
    for first, *others in chains(part):
        begin_again(kit)
        if kit.killed_at(first) is None:
            continue
        again += sum(kit.killed_at(other) is not None for other in others)
        kit.finish()
        check_the_books(kit)

    assert again > 0


def chains(part: int) -> Iterator[tuple[int, ...]]:
    """The step of a kill, those of the kills in the recoveries, each from all that came before."""
    if ALL_PAIRS:
        for first in range(1 + part, STEPS * 2, SLICES):
            for second in range(1, STEPS * 2):
                yield first, second
        return
    dice = random.Random(part)
    for _ in range(PAIRS // SLICES // IN_A_ROW):
        first = dice.randint(1, STEPS)
        # The later the first kill, the fewer steps a recovery has; a kill at a step that it does
        # not have would be in vain. So the earlier one comes first.
        last = STEPS - first * 3 // 4
        yield first, *sorted(dice.randint(1, last) for _ in range(IN_A_ROW))
