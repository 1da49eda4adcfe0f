"""Killed around every put into an object store, and at a sample of all other steps.

Models alone: where a file is kept is the same whatever made it.
"""

import shutil
from itertools import count
from pathlib import Path

import pytest
from sandbox_client import Control
from stores import Store

from crash import StoredBatch, check_the_books

SAMPLE = 16  # every so many steps


@pytest.fixture
def kit(here: Path, reach: list[str], sandbox: Control, store: Store) -> StoredBatch:
    return StoredBatch(here / "batch", reach, sandbox, store)


def killed_at(batch: StoredBatch, n: int, only: str = "", **options: object) -> str | None:
    """Run a new batch until step n; return its name, None if there is no such step.

    options: of the sandbox.
    """
    shutil.rmtree(batch.out, ignore_errors=True)
    for key in batch.store.names():
        batch.store.delete(key)
    batch.sandbox.reset()
    batch.sandbox.set(**options)
    return batch.killed_at(n, only)


def finish(batch: StoredBatch) -> None:
    batch.finish()
    check_the_books(batch)
    assert len(batch.kept()) == batch.states()["saved"]


def test_a_run_that_is_killed_around_any_put_is_finished_by_the_next(kit: StoredBatch) -> None:
    names = []
    for n in count(1):
        name = killed_at(kit, n, only="put")
        if name is None:
            break
        names.append(name)
        finish(kit)

    assert len(names) == 2 * kit.rows
    assert set(names) == {"before put to create", "after put to create"}


def test_so_is_one_with_a_large_file(
    here: Path, reach: list[str], sandbox: Control, store: Store
) -> None:
    batch = StoredBatch(here / "batch", reach, sandbox, store, rows=1)
    names = []
    for n in count(1):
        name = killed_at(batch, n, only="put", picture_bytes=9 << 20)
        if name is None:
            break
        names.append(name)
        finish(batch)

    steps = [
        f"{when} put to {how}" for how in ("create", "overwrite") for when in ("before", "after")
    ]
    assert names == steps


def test_so_is_one_that_is_killed_at_any_other_step(kit: StoredBatch) -> None:
    kills = 0
    for n in count(3, SAMPLE):
        if killed_at(kit, n) is None:
            break
        kills += 1
        finish(kit)

    assert kills > 4
