"""A list that was rewritten by a spreadsheet finds its paid rows, and no two of its rows one."""

import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.batch_folder import JournalPlace
from batchgen.clock import Clock
from batchgen.core.addresses import JournalAddress
from batchgen.core.rows import Row
from batchgen.journal.comparison import compare
from batchgen.journal.recovery import Recovery
from batchgen.journal.rewriting import HELD, PAID, Kind, Rewritten
from batchgen.journal.staging import StagedRows
from batchgen.journal.writer import Journal

MODEL = "ideogram/ideogram-v2/generate"
# A row: its id, and its prompt. Few prompts, so that many rows are alike but for their ids.
Rows = list[tuple[str | None, str]]
ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["0001", "0002", "003", "Müggel", "heron", "x"]),
        st.sampled_from(["a heron", "a\nfox", "Müggelsee"]),
    ),
    max_size=7,
    unique_by=lambda row: row[0] or object(),
)
Change = Callable[[str], str]
ID_CHANGES: dict[str, Change] = {
    "as they were": lambda id: id,
    "without zeros": lambda id: id.lstrip("0"),
    "as floats": lambda id: f"{id}.0" if id.isdecimal() else id,
    "taken apart": lambda id: unicodedata.normalize("NFD", id),
}
TEXT_CHANGES: dict[str, Change] = {
    "as they were": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "a blank": lambda text: f"{text} ",
    "a line break": lambda text: f"{text}\r\n",
    "taken apart": lambda text: unicodedata.normalize("NFD", text),
}


def staged(rows: Rows) -> StagedRows:
    listing = StagedRows()
    for position, (id, prompt) in enumerate(rows, 1):
        listing.add(Row(position, f"list.csv:{position}", id, MODEL, {"prompt": prompt}, {}))
    return listing


def list_rows(journal: Journal, rows: Rows) -> Rewritten:
    """List the rows as a run does, and pay for all of them."""
    with closing(staged(rows)) as listing:
        with compare(listing, journal.path) as comparison:
            found = comparison.pair_rewritten()
        Recovery(journal).list_rows(listing)
    with journal.transaction():
        journal.connection.execute(
            "UPDATE requests SET state = 'saved', attempts = 1 WHERE state = 'pending'"
        )
    return found


def paid(journal: Journal) -> int:
    return int(journal.fetch_one("SELECT COUNT(*) FROM requests")[0])


def listed(journal: Journal) -> list[tuple[int, str, str]]:
    return journal.fetch_all(
        "SELECT position, id, key FROM requests WHERE listed = 1 ORDER BY position"
    )


@pytest.fixture(params=["a file", "a database"])
def journal(tmp_path: Path, request: pytest.FixtureRequest):
    place: JournalPlace = tmp_path / "batch.db"
    if request.param == "a database":
        place = JournalAddress(request.getfixturevalue("database").url, "list")
    with closing(Journal(place, Clock())) as found:
        yield found


@settings(max_examples=60)
@given(
    ROWS,
    st.lists(
        st.tuples(st.sampled_from([*ID_CHANGES]), st.sampled_from([*TEXT_CHANGES]), st.booleans()),
        max_size=3,
    ),
)
def test_a_rewritten_list_pays_for_nothing_however_often_it_is_rewritten(
    rows: Rows, how: list[tuple[str, str, bool]]
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / "batch.db", Clock())) as journal,
    ):
        list_rows(journal, rows)
        keys = [key for _, _, key in listed(journal)]
        for ids, texts, again in how:
            changed = [
                (id and ID_CHANGES[ids](id), TEXT_CHANGES[texts](prompt)) for id, prompt in rows
            ]
            found = list_rows(journal, changed)
            assert Kind.RENAMED not in found.counts
            if again:
                assert not any(list_rows(journal, changed).counts.values())
            assert paid(journal) == len(rows)
            assert sorted(key for _, _, key in listed(journal)) == sorted(keys)
            assert [id for (id, _), (_, known, _) in zip(changed, listed(journal), strict=True)
                    if id not in (None, known)] == []  # fmt: skip


@settings(max_examples=60)
@given(st.lists(ROWS, min_size=2, max_size=4))
def test_no_row_is_merged_with_another_and_none_that_is_known_is_lost(lists: list[Rows]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / "batch.db", Clock())) as journal,
    ):
        for rows in lists:
            before = paid(journal)
            found = list_rows(journal, rows)
            # Each row of the list is a row of the journal of its own, and asks for what it says.
            assert [position for position, _, _ in listed(journal)] == [*range(1, len(rows) + 1)]
            assert len({key for _, _, key in listed(journal)}) == len(rows)
            prompts = journal.fetch_all(
                "SELECT input ->> 'prompt' FROM requests WHERE listed = 1 ORDER BY position"
            )
            assert [prompt for (prompt,) in prompts] == [prompt for _, prompt in rows]
            # What was not found among the paid rows is a new one.
            assert paid(journal) <= before + len(rows) - found.counts.get(Kind.SAME, 0)


def test_ids_that_are_added_or_taken_out_change_nothing(journal: Journal) -> None:
    list_rows(journal, [(None, "a heron"), (None, "a heron"), (None, "a fox")])

    found = list_rows(journal, [("one", "a heron"), ("two", "a heron"), ("fox", "a fox")])
    assert found.counts == {Kind.SAME: 3}
    assert [id for _, id, _ in listed(journal)] == ["one", "two", "fox"]
    list_rows(journal, [(None, "a heron"), (None, "a heron"), ("fox", "a fox")])
    list_rows(journal, [(None, "a fox"), (None, "a heron"), (None, "a heron")])
    assert paid(journal) == 3
    found = list_rows(journal, [("one", "a heron"), ("other", "a heron"), (None, "a fox")])
    assert found.counts.get(Kind.RENAMED) == 1


def test_of_rows_that_differ_by_their_ids_alone_each_finds_its_own(journal: Journal) -> None:
    list_rows(journal, [(f"00{n}", "a heron") for n in range(1, 6)])
    keys = [key for _, _, key in listed(journal)]

    list_rows(journal, [(str(n), "a heron") for n in (4, 2, 5, 1, 3)])
    assert [key for _, _, key in listed(journal)] == [keys[n - 1] for n in (4, 2, 5, 1, 3)]


def test_one_row_more_of_the_same_is_a_new_one(journal: Journal) -> None:
    list_rows(journal, [("1", "a heron"), ("2", "a heron")])

    found = list_rows(journal, [("01", "a heron"), ("02", "a heron"), ("03", "a heron")])
    assert found.counts == {Kind.SAME: 2}
    assert paid(journal) == 3


def test_both_writings_in_one_list_are_two_rows(journal: Journal) -> None:
    list_rows(journal, [("0001", "a heron")])
    list_rows(journal, [("1", "a heron")])
    assert paid(journal) == 1

    found = list_rows(journal, [("1", "a heron"), ("0001", "a heron")])
    assert not any(found.counts.values())
    assert paid(journal) == 2
    assert [id for _, id, _ in listed(journal)] == ["1", "0001"]


def test_what_was_taken_for_a_paid_row_stays_so_when_that_fails(journal: Journal) -> None:
    list_rows(journal, [("0001", "a heron")])
    list_rows(journal, [("1", "a heron")])
    with journal.transaction():
        journal.connection.execute("UPDATE requests SET state = 'failed'")

    list_rows(journal, [("1", "a heron"), ("2", "a fox")])
    assert journal.fetch_all("SELECT id, state FROM requests WHERE listed = 1") == [
        ("1", "failed"),
        ("2", "saved"),
    ]


@pytest.mark.parametrize("state", ["pending", "invalid"])
def test_a_row_that_was_not_sent_is_not_taken(journal: Journal, state: str) -> None:
    list_rows(journal, [("0001", "a heron")])
    with journal.transaction():
        journal.connection.execute("UPDATE requests SET state = ?", (state,))

    assert not list_rows(journal, [("1", "a heron")]).counts


@pytest.mark.parametrize("state", [*PAID, *HELD])
def test_a_row_that_was_sent_is_taken(journal: Journal, state: str) -> None:
    list_rows(journal, [("0001", "a heron")])
    with journal.transaction():
        journal.connection.execute("UPDATE requests SET state = ?", (state,))

    assert list_rows(journal, [("1", "a heron")]).counts == {Kind.SAME: 1}


def test_a_new_id_is_renamed_and_other_inputs_are_changed(journal: Journal) -> None:
    list_rows(journal, [("heron", "a heron"), ("fox", "a fox")])
    with closing(StagedRows()) as listing:
        listing.add(Row(1, "list.csv:2", "grey", MODEL, {"prompt": "a heron "}, {}))
        listing.add(Row(2, "list.csv:3", "fox", MODEL, {"prompt": "a fox", "seed": 7}, {}))
        with compare(listing, journal.path) as comparison:
            found = comparison.pair_rewritten()

    assert found.counts == {Kind.RENAMED: 1, Kind.CHANGED: 1}
    (renamed,), (changed,) = found.examples[Kind.RENAMED], found.examples[Kind.CHANGED]
    assert (renamed.paid_id, renamed.id) == ("heron", "grey")
    assert (changed.paid_input, changed.input) == (
        '{"prompt": "a fox"}',
        '{"prompt": "a fox", "seed": 7}',
    )
