"""A journal with any value in any column: every command that reads it comes to an end in words."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from fuzzing import fuzz
from helpers import many, media, table
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_client import Control

READING = (
    *(("status",), ("status", "--json"), ("report",), ("report", "--json", "--no-thumbnails")),
    *(("verify",), ("resolve", "--json"), ("retry", "--state", "failed"), ("cancel",)),
)
KNOWN_CODES = {0, 1, 2, 65, 69, 74, 75, 77}
Change = tuple[tuple[str, str], Any]

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=9),
    st.text(st.characters(codec="utf-8"), max_size=9),
    st.sampled_from(
        ["", "../../x", "[" * 5000, "{}", "[]", "1e999", '"x"', "null", "true", "NaN",
         "9999-99-99T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-11-26",
         "pending", "saved", "=1+1", "\x1b[2J", "javascript:alert(1)", "9" * 5000,
         '{"rate": 0}', '{"learned": "x"}', '{"a/b": {"usd": 1e999}}', '{"a/b": [1]}', 1e300]
    ),
)  # fmt: skip


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


@pytest.fixture
def batch(run: Command, folder: Path, manifest: str) -> Iterator[Path]:
    """A batch of three rows, of which one was never sent; a copy of it is beside it."""
    assert run(manifest, "--limit", 2).code in (0, 75)
    shutil.copytree(folder, folder.with_name("whole"))
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def changes(batch: Path) -> st.SearchStrategy[list[Change]]:
    """Some columns of any table, each with the value that all its rows are to get."""
    with closing(sqlite3.connect(batch / "batch.db")) as db:
        tables = [n for (n,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns = [
            (name, column)
            for name in tables
            if not name.startswith(("sqlite_", "_sqlite"))
            for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (name,))
        ]
    return st.lists(st.tuples(st.sampled_from(columns), VALUES), min_size=1, max_size=3)


@pytest.fixture
def plant(batch: Path) -> Callable[[list[Change]], None]:
    """Make the batch as it was, then change it; what the tables do not take is left out."""

    def changed(changes: list[Change]) -> None:
        shutil.rmtree(batch)
        shutil.copytree(batch.with_name("whole"), batch)
        with closing(sqlite3.connect(batch / "batch.db")) as db:
            for (name, column), value in changes:
                try:
                    with db:
                        db.execute(f'UPDATE OR IGNORE "{name}" SET "{column}" = ?', (value,))
                except sqlite3.IntegrityError:
                    continue

    return changed


def test_every_command_reads_any_journal(
    batchgen: Command, batch: Path, reach: list[str], sandbox: Control, changes: Any, plant: Any
) -> None:
    billed = len(sandbox.ledger())

    @fuzz
    @given(changes, st.sampled_from(READING))
    def any_values(changes: list[Change], words: tuple[str, ...]) -> None:
        plant(changes)
        command, *options = words
        more = reach if command in ("verify", "resolve", "cancel") else []
        outcome = batchgen(command, batch, *options, *more)

        assert outcome.code in KNOWN_CODES, outcome
        assert outcome.code == 0 or outcome.stderr, outcome

    any_values()
    assert len(sandbox.ledger()) == billed


def test_a_run_with_any_journal_pays_for_nothing_again(
    run: Command,
    batchgen: Command,
    batch: Path,
    manifest: str,
    sandbox: Control,
    changes: Any,
    plant: Any,
) -> None:
    around = {path.name for path in batch.parent.parent.iterdir()}

    @settings(fuzz, max_examples=max(fuzz.max_examples // 4, 1))
    @given(changes, st.booleans())
    def any_values(changes: list[Change], plans: bool) -> None:
        plant(changes)
        before, files = sandbox.ledger(), {*media(batch)}
        outcome = batchgen("plan", manifest) if plans else run(manifest)

        assert outcome.code in KNOWN_CODES, outcome
        sent = len(sandbox.ledger()) - len(before)
        touched = {column for (name, column), _ in changes if name == "requests"}
        # Without its key a row is another one, and one that was never sent has no request_id.
        if "key" not in touched and not {"state", "request_id"} <= touched:
            assert sent <= (not plans), outcome
        assert files <= {*media(batch)}
        assert {path.name for path in batch.parent.parent.iterdir()} == around

    any_values()
