"""A reading of the manifest becomes the journal's rows, at once and as one by one."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.clock import Clock
from batchgen.core import identity
from batchgen.core.rows import Entry, Place, Problem, Row
from batchgen.errors import StorageDamaged
from batchgen.journal.receipts import Receipt
from batchgen.journal.recovery import Recovery
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal

MODEL = "ideogram/ideogram-v2/generate"
# Equal by case or form, or by what is added where a name is taken.
IDS = [
    "hero",
    "Hero",
    "ｈｅｒｏ",
    "hero.2",
    "HERO.2",
    "hero.3",
    "hero.2.2",
    "hero/2",
    "con",
    "a" * 90,
]
LISTS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(IDS),
        st.sampled_from(["a heron", "a fox"]),
        st.integers(0, 9).map(lambda n: n > 0),
    ),
    max_size=12,
    unique_by=lambda row: row[0] or object(),
)
Rows = list[tuple[str | None, str, bool]]


def listing_of(rows: Rows) -> StagedRows:
    listing = StagedRows()
    for position, (id, prompt, is_valid) in enumerate(rows, 1):
        place = Place("list.csv", position)
        if is_valid:
            listing.add(Row(position, place.source, id, MODEL, {"prompt": prompt}, {}))
        else:
            problems = [Problem(place, "it is too long", field="prompt")]
            listing.add_invalid(
                Entry(position, place, id, None, {"prompt": prompt}), MODEL, problems
            )
    return listing


def one_by_one(journal: Journal, listing: StagedRows) -> None:
    """What listing means: the plainest way to say it, and twenty times as slow."""
    db = journal.connection
    with journal.transaction():
        db.execute("UPDATE requests SET listed = 0")
        for row in listing:
            db.execute(
                "UPDATE requests SET position = ?, source = ?, meta = ?, listed = 1 WHERE key = ?",
                (row.position, row.source, row.meta, row.key),
            )
        db.execute(
            "DELETE FROM requests WHERE listed = 0 AND attempts = 0"
            " AND state IN ('pending', 'invalid')"
        )
        for row in listing:
            known = journal.fetch_one("SELECT model FROM requests WHERE key = ?", row.key)
            if known is not None and known[0]:
                continue
            id = row.id or identity.readable_id(row.position, json.loads(row.input))
            stem = name = identity.safe_name(id)
            n = 1
            while journal.fetch_one(
                "SELECT 1 FROM requests WHERE folded = ?", identity.fold_name(name)
            ):
                n += 1
                name = f"{stem}.{n}"
            found = (row.id or name, name, identity.fold_name(name), row.model, row.input)
            if known is not None:
                db.execute(
                    "UPDATE requests SET id = ?, name = ?, folded = ?, model = ?, input = ?"
                    " WHERE key = ?",
                    (*found, row.key),
                )
            else:
                state = "invalid" if row.problem else "pending"
                db.execute(
                    "INSERT INTO requests (id, name, folded, model, input, key, position, source,"
                    " meta, state, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(*found, row.key, row.position, row.source, row.meta),
                        *(state, row.problem or None),
                    ),
                )


def rows_of(journal: Journal) -> list[tuple[object, ...]]:
    return journal.fetch_all(
        "SELECT key, id, name, folded, position, listed, source, model, input, meta, state, error,"
        " attempts FROM requests ORDER BY key"
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal without rows, to be copied: its migrations take longer than a list's rows."""
    path = tmp_path_factory.mktemp("empty") / "batch.db"
    Journal(path, Clock()).close()
    return path


@settings(max_examples=150)
@given(
    st.lists(st.tuples(LISTS, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11))), max_size=4)
)
def test_whatever_the_lists_they_are_listed_as_one_by_one(
    empty: Path, story: list[tuple[Rows, set[int], set[int]]]
) -> None:
    """After each list of the story some rows are sent; of some only their receipts are left."""
    with tempfile.TemporaryDirectory() as folder:
        fast, plain = (
            Journal(shutil.copy(empty, Path(folder) / name), Clock())
            for name in ("fast.db", "plain.db")
        )
        for rows, sent, lost in story:
            listing = listing_of(rows)
            keys = [row.key for row in listing]
            if lost:
                receipts = [
                    Receipt(key, 1, f"request-{key}", "2026-01-01T00:00:00.000Z")
                    for n, key in enumerate(keys)
                    if n in lost and rows[n][2]
                ]
                for journal in (fast, plain):
                    Recovery(journal).recover(receipts, 0)
            Recovery(fast).list_rows(listing)
            one_by_one(plain, listing)
            assert rows_of(fast) == rows_of(plain)
            assert fast.state_counts == plain.count_states()
            listing.close()
            for journal in (fast, plain):
                for n in sent & {*range(len(keys))}:
                    journal.connection.execute(
                        "UPDATE requests SET attempts = 1, state = 'failed' WHERE key = ?"
                        " AND state = 'pending'",
                        (keys[n],),
                    )
        fast.close()
        plain.close()


def test_equal_rows_are_numbered_in_their_order_however_many(tmp_path: Path) -> None:
    listing = listing_of([(None, "a heron", True)] * 3 + [(None, "a fox", n > 0) for n in range(3)])
    heron = identity.row_digest(MODEL, {"prompt": "a heron"}, None)
    fox = identity.row_digest(MODEL, {"prompt": "a fox"}, None)

    keys = [row.key for row in listing]

    assert keys[:3] == [identity.row_key(heron, n) for n in range(3)]
    assert keys[4:] == [identity.row_key(fox, n) for n in range(2)]
    assert len({*keys}) == 6
    listing.close()


@given(st.lists(st.sampled_from(["", "a", "b", "Z", "é", "row-9", "row-10", "row-1", "row-010"])))
def test_an_id_is_claimed_once_in_whatever_order_they_come(ids: list[str]) -> None:
    listing = StagedRows()
    first: dict[str, str] = {}

    for line, id in enumerate(ids, 2):
        source = f"list.csv:{line}"
        assert listing.claim(id, source) == first.get(id)
        first.setdefault(id, source)
    listing.close()


@pytest.mark.parametrize("count", [199, 200, 201, 1001])
def test_rows_are_all_there_whatever_is_written_at_once(tmp_path: Path, count: int) -> None:
    listing = listing_of([(f"row-{n}", "a heron", True) for n in range(count)])
    journal = Journal(tmp_path / "batch.db", Clock())
    Recovery(journal).list_rows(listing)

    found = journal.fetch_all("SELECT id FROM requests ORDER BY position")
    assert [id for (id,) in found] == [f"row-{n}" for n in range(count)]
    assert len(listing) == count
    assert listing.models() == [MODEL]
    listing.close()
    journal.close()


def test_a_new_journal_may_take_work_in_proportion_to_its_list(tmp_path: Path) -> None:
    """Of a million rows a run was refused as if the journal, which was empty yet, were damaged."""
    listing = listing_of([(f"row-{n}", "a heron", True) for n in range(10_000)])
    journal = Journal(tmp_path / "batch.db", Clock())
    # 115 million steps, most of them additions, which are quick; an empty journal has 100 million.
    counting = (
        "WITH RECURSIVE c(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM c WHERE n < 113000)"
        f" SELECT COUNT({'+'.join('n' * 500)}) AS n FROM c"
    )

    with pytest.raises(StorageDamaged, match="takes more work than one of its size can need"):
        journal.fetch_one(counting)
    Recovery(journal).list_rows(listing)
    assert journal.fetch_one(counting) == (113_000,)
    listing.close()
    journal.close()
