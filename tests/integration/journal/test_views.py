"""The journal's views: what curious people ask of a batch, in one word each."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import MIGRATION_TO, as_before, many, query, table
from sandbox_client import Control
from sqlite_utils import Database

from batchgen.journal import schema
from batchgen.journal.reader import Reader
from batchgen.report.statistics import activity

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
    sandbox.fault("failed", match="number 4", times=None)
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


def test_a_row_that_was_given_up_counts_apart_from_those_that_failed(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("422", match="number 2")
    sandbox.fault("lost", match="number 3")
    run(manifest)
    batchgen("resolve", folder, "--all", "--write-off")

    for version in (None, 3):
        if version:
            as_before(folder, version)
            run(manifest)
        found = columns(view(folder, "by_model"), "saved", "failed", "unknown", "written_off")
        assert found == [(2, 1, 0, 1)]
        assert sum(hour["failed"] for hour in view(folder, "by_hour")) == 1


def test_by_hour_and_by_day_count_what_happened_then(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("429", times=1)
    sandbox.fault("422", match="number 2")
    assert run(manifest).code == 1

    hours = view(folder, "by_hour")
    totals = {name: sum(hour[name] for hour in hours) for name in hours[0] if name != "hour"}
    assert totals == {
        **{"submitted": 3, "returned": 1, "throttled": 1, "completed": 3, "saved": 3},
        **{"failed": 1, "files": 3},
    }
    assert query(folder, "SELECT event FROM events WHERE event IN ('returned', 'throttled')") == [
        ("throttled",)
    ]
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
        schema.migrate(journal)

    assert [name for name in schema.VIEWS if view(tmp_path, name)] == []


# Journals of before


def throttled_in_timeline(folder: Path) -> int:
    """How many 429s the timeline of the gallery has."""
    with closing(Reader(folder / "batch.db")) as reader:
        return sum(count.n for count in activity(reader) if count.kind == "throttled")


@pytest.fixture
def eventful(run: Command, sandbox: Control, write: Write) -> str:
    """A manifest whose first run met two 429s, a refused token and two rows that failed or are
    unknown, before all others were saved; one row was saved twice."""
    manifest = write("list.csv", table(many(6)))
    sandbox.fault("429", match="number 1", times=2)
    sandbox.fault("422", match="number 2")
    sandbox.fault("lost", match="number 3")
    sandbox.fault("401", match="number 5", times=1)
    assert run(manifest).code == 77
    assert run(manifest).code == 1
    return manifest


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_journal_of_before_is_migrated_by_the_next_run_and_pays_nothing(
    run: Command, folder: Path, sandbox: Control, eventful: str, version: int
) -> None:
    all_rows = "SELECT key, state, attempts, request_id, saved_at FROM requests ORDER BY key"
    before, posts = query(folder, all_rows), sandbox.posts
    as_before(folder, version)

    assert run(eventful).code == 1
    assert sandbox.posts == posts
    assert query(folder, all_rows) == before
    assert query(folder, "PRAGMA user_version") == [(schema.VERSION,)]
    assert {name for row in view(folder, "by_model") for name in row} > {"rows", "usd"}
    hours = view(folder, "by_hour")
    assert [sum(hour[name] for hour in hours) for name in ("returned", "throttled")] == [3, 2]
    if version == 1:
        assert query(folder, "SELECT DISTINCT delivered_sha256 FROM outputs") == [(None,)]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_journal_of_before_is_read_as_it_is(
    batchgen: Command, folder: Path, eventful: str, version: int
) -> None:
    assert throttled_in_timeline(folder) == 2
    as_before(folder, version)

    status = batchgen("status", folder)
    assert status.code == 0
    assert "4 saved" in status.stdout
    assert batchgen("report", folder).code == 0
    assert batchgen("plan", eventful).code == 0
    assert throttled_in_timeline(folder) == 2
    assert query(folder, "PRAGMA user_version") == [(version,)]


@pytest.mark.parametrize(
    "command", ["retry --state failed", "resolve --write-off --id row-3", "cancel", "verify"]
)
def test_every_command_that_writes_migrates_a_journal_of_before(
    batchgen: Command, folder: Path, eventful: str, command: str
) -> None:
    as_before(folder, 2)
    name, *options = command.split()

    assert batchgen(name, folder, *options).code == 0
    assert query(folder, "PRAGMA user_version") == [(schema.VERSION,)]


def test_the_view_of_version_2_stays_as_it_was_until_it_is_migrated(
    folder: Path, eventful: str
) -> None:
    as_before(folder, 2)

    assert sum(hour["returned"] for hour in view(folder, "by_hour")) == 3
    assert "throttled" not in view(folder, "by_hour")[0]


@pytest.mark.parametrize(("version", "last"), [(1, "slowest"), (2, "by_hour"), (3, "by_hour")])
def test_a_migration_that_fails_halfway_begins_again(
    tmp_path: Path, version: int, last: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "batch.db")) as journal:
        schema.migrate(journal, stop_before=MIGRATION_TO[version + 1])
        # A table where the migration wants its last view makes it fail.
        journal.execute(f"DROP VIEW IF EXISTS {last}")
        journal.execute(f"CREATE TABLE {last} (n)")
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(journal)
        journal.execute(f"DROP TABLE {last}")
        assert journal.execute("PRAGMA user_version").fetchone() == (version,)

        schema.migrate(journal)
        assert set(Database(journal).view_names()) == set(schema.VIEWS)
        assert journal.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
