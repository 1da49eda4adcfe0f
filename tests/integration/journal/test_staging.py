"""Staged rows: what is kept of a list, and what is only counted."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from batchgen.core.rows import EMPTY, Entry, Place, Problem, Row
from batchgen.journal.staging import StagedRows

PLACE = Place("a.csv", 3)


@pytest.fixture
def counted() -> Iterator[StagedRows]:
    with closing(StagedRows(keep=False)) as listing:
        yield listing


def test_rows_that_nobody_needs_are_counted_and_not_kept(counted: StagedRows) -> None:
    counted.add(Row(1, "a.csv:2", None, "a/b", {"prompt": "A"}, EMPTY))
    counted.add_invalid(Entry(2, PLACE, None, None, {}), "a/b", [Problem(PLACE, "it is missing")])

    assert len(counted) == 2
    assert list(counted) == []


def test_ids_are_compared_also_where_rows_are_only_counted(counted: StagedRows) -> None:
    claimed = [counted.claim(id, f"a.csv:{n}") for n, id in enumerate(("b", "a", "b"), start=2)]

    assert claimed == [None, None, "a.csv:2"]
