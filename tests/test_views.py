"""The journal's views: what curious people ask of a batch, in one word each."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import many, query, table
from sandbox_client import Control
from sqlite_utils import Database

from batchgen.journal import database, schema

LATER = "m002_delivered_and_views"
IDEOGRAM = "ideogram/ideogram-v2/generate"
SERIES = "atelier/series/text-to-image"


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(4)))


def view(folder: Path, name: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{(folder / 'batch.db').as_uri()}?mode=ro", uri=True)) as journal:
        return list(Database(journal).query(f"SELECT * FROM {name}"))


def columns(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in found]


def test_by_model_counts_rows_files_and_money(
    run: Command, folder: Path, sandbox: Control, write: Write, schemas: dict[str, Path]
) -> None:
    sandbox.fault("422", match="number 2")
    sandbox.fault("lost", match="number 3")
    sandbox.fault("media-404", match="number 4", times=None)
    rows = [f'{{"prompt": "number {n}", "id": "{n}"}}' for n in range(1, 5)]
    rows.append(f'{{"prompt": "three", "id": "s", "num_images": 3, "model": "{SERIES}"}}')
    manifest = write("list.jsonl", "\n".join(rows))
    assert run(manifest, "--schema", schemas[SERIES]).code == 1

    found = view(folder, "by_model")
    names = ("model", "rows", "saved", "failed", "unknown", "unfinished", "files")
    assert columns(found, *names) == [(IDEOGRAM, 4, 1, 2, 1, 0, 1), (SERIES, 1, 1, 0, 0, 0, 3)]
    ((spent,),) = query(folder, "SELECT SUM(usd) FROM spending")
    assert sum(row["usd"] or 0 for row in found) == pytest.approx(spent)
    assert found[0]["mean_seconds"] >= 0


def test_by_hour_and_by_day_count_what_happened_then(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("429", times=1)
    sandbox.fault("422", match="number 2")
    assert run(manifest).code == 1

    hours = view(folder, "by_hour")
    totals = {name: sum(hour[name] for hour in hours) for name in hours[0] if name != "hour"}
    assert totals == {
        **{"submitted": 3, "returned": 1, "completed": 3, "saved": 3, "failed": 1, "files": 3},
    }
    ((at,),) = query(folder, "SELECT MIN(at) FROM events")
    assert hours[0]["hour"] == at[:13] + ":00Z"
    days = view(folder, "by_day")
    assert sum(day["requests"] for day in days) == 3
    assert days[0]["day"] == at[:10]
    ((spent,),) = query(folder, "SELECT SUM(usd) FROM spending")
    assert sum(day["usd"] for day in days) == pytest.approx(spent)


def test_a_row_that_was_paid_for_twice_counts_twice_by_day_and_once_by_model(
    run: Command, batchgen: Command, folder: Path, manifest: str
) -> None:
    run(manifest)
    batchgen("retry", folder, "--state", "saved", "--id", "row-1")
    run(manifest)

    assert sum(day["requests"] for day in view(folder, "by_day")) == 5
    (model,) = view(folder, "by_model")
    assert (model["rows"], model["files"]) == (4, 4)
    assert model["usd"] == pytest.approx(sum(day["usd"] for day in view(folder, "by_day")))


def test_by_cause_tells_why_rows_are_not_saved(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("422", match="number 2")
    sandbox.fault("422", match="number 3")
    sandbox.fault("lost", match="number 4")
    run(manifest)

    found = view(folder, "by_cause")
    assert columns(found, "state", "rows", "example") == [
        ("failed", 2, "row-2"),
        ("unknown", 1, "row-4"),
    ]
    assert columns(found, "cause") == query(
        folder,
        "SELECT error FROM requests WHERE error IS NOT NULL GROUP BY error ORDER BY COUNT(*) DESC",
    )


def test_by_setting_compares_the_values_of_every_input_but_the_prompt(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="fox")
    run(write("list.csv", "prompt,style,seed\nowl,anime,7\nfox,anime,8\nelk,design,7\n"))

    found = columns(view(folder, "by_setting"), "setting", "value", "rows", "saved", "failed")
    assert found == [
        ("seed", 7, 2, 2, 0),
        ("seed", 8, 1, 0, 1),
        ("style", "anime", 2, 1, 1),
        ("style", "design", 1, 1, 0),
    ]


def test_files_has_every_file_with_its_prompt_and_request(
    run: Command, folder: Path, manifest: str
) -> None:
    run(manifest)

    found = view(folder, "files")
    assert sorted(columns(found, "path", "id", "prompt")) == [
        (f"images/row-{n}.png", f"row-{n}", f"a heron, number {n}") for n in range(1, 5)
    ]
    assert all((folder / row["path"]).stat().st_size == row["bytes"] for row in found)
    assert len({row["request_id"] for row in found}) == 4


def test_slowest_begins_with_the_row_that_took_longest(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    run(manifest)
    with closing(sqlite3.connect(folder / "batch.db")) as journal, journal:
        late = "strftime('%Y-%m-%dT%H:%M:%fZ', submitted_at, '+90 seconds')"
        journal.execute(f"UPDATE requests SET completed_at = {late} WHERE id = 'row-3'")

    found = view(folder, "slowest")
    assert columns(found, "id", "seconds")[0] == ("row-3", 90.0)
    assert len(found) == 4


def test_every_view_is_empty_while_nothing_happened_yet(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "batch.db")) as journal:
        schema.migrations.apply(Database(journal))

    assert [name for name in schema.VIEWS if view(tmp_path, name)] == []


# Journals of before


def as_before(folder: Path) -> None:
    """Make the journal what the first batchgen would have written."""
    now = folder / "batch.db"
    old = folder / "old.db"
    with closing(sqlite3.connect(old)) as journal:
        db = Database(journal)
        schema.migrations.apply(db, stop_before=LATER)
        assert journal.execute("PRAGMA user_version").fetchone() == (1,)
        tables = [name for name in db.table_names() if not name.startswith("_")]
        assert db.view_names() == []
        journal.execute("ATTACH ? AS now", (str(now),))
        for name in tables:
            names = ", ".join(f'"{column.name}"' for column in db.table(name).columns)
            journal.execute(f"INSERT INTO main.{name} SELECT {names} FROM now.{name}")
        journal.commit()
    for part in folder.glob("batch.db*"):
        part.unlink()
    shutil.move(old, now)


def test_a_journal_of_before_is_migrated_by_the_next_run_and_pays_nothing(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    run(manifest)
    before = query(folder, "SELECT key, state, request_id, saved_at FROM requests ORDER BY key")
    as_before(folder)

    assert run(manifest).code == 0
    assert sandbox.posts == 4
    after = query(folder, "SELECT key, state, request_id, saved_at FROM requests ORDER BY key")
    assert after == before
    assert query(folder, "PRAGMA user_version") == [(database.VERSION,)]
    assert query(folder, "SELECT DISTINCT delivered_sha256 FROM outputs") == [(None,)]
    assert [row["rows"] for row in view(folder, "by_model")] == [4]


def test_a_journal_of_before_is_read_as_it_is(
    batchgen: Command, run: Command, folder: Path, manifest: str
) -> None:
    run(manifest)
    as_before(folder)

    status = batchgen("status", folder)
    assert status.code == 0
    assert "4 saved" in status.stdout
    assert batchgen("report", folder).code == 0
    assert query(folder, "PRAGMA user_version") == [(1,)]


def test_a_migration_that_is_killed_halfway_begins_again(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "batch.db")) as journal:
        schema.migrations.apply(Database(journal), stop_before=LATER)
        journal.execute("CREATE VIEW slowest AS SELECT 1")  # so that it fails after the others
        with pytest.raises(sqlite3.OperationalError):
            schema.migrations.apply(Database(journal))
        journal.execute("DROP VIEW slowest")
        assert journal.execute("PRAGMA user_version").fetchone() == (1,)

        schema.migrations.apply(Database(journal))
        assert set(Database(journal).view_names()) == set(schema.VIEWS)
        assert journal.execute("PRAGMA user_version").fetchone() == (database.VERSION,)
