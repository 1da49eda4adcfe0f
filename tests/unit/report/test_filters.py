"""--where and --picks: which rows the gallery shows, and what is said where none can be meant."""

import csv
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.errors import UsageError
from batchgen.report.filters import (
    EVERYTHING,
    MAX_NOTE,
    ROW_FIELDS,
    Choice,
    Filter,
    comparable_text,
    parse_condition,
    read_picks,
)
from batchgen.report.tables import csv_cell

ROW = {
    "id": "heron",
    "request_id": "r-1",
    "state": "failed",
    "model": "atelier/brush",
    "error": "Content policy: refused",
    "error_code": 400,
    "cost": 0.03,
    "source": "list.csv:2",
    "input": {"prompt": "a heron", "seed": 7, "magic": True, "style": "anime", "meta.x": 1},
    "meta": {"Category": "Birds", "style": "from a book", "prompt": "own"},
    "outputs": [],
}
INPUTS, METAS = list(ROW["input"]), list(ROW["meta"])
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def holds(text, row=ROW):
    return parse_condition(text, INPUTS, METAS)(row)


def refusal(text):
    with pytest.raises(UsageError) as refused:
        parse_condition(text, INPUTS, METAS)
    return f"{refused.value.what} {refused.value.remedy}"


# --where


@pytest.mark.parametrize(
    "text",
    [
        *("state=failed", "id=heron", "model=atelier/brush", "error_code=400", "cost=0.03"),
        *("source=list.csv:2", "error~CONTENT", "error=Content policy: refused"),
        *("seed=7", "magic=true", "Category=Birds", "Category~bird", "seed~7"),
        *("state!=saved", "seed!=8", "magic!=True", "Category!=birds"),
        *("input.style=anime", "meta.style=from a book", "input.seed=7", "meta.x=1"),
    ],
)
def test_a_condition_that_the_row_fulfils(text):
    assert holds(text)


@pytest.mark.parametrize(
    "text", ["state=Failed", "seed=7.0", "magic=1", "seed!=7", "error~saved", "cost=0.030", "id="]
)
def test_a_condition_that_the_row_does_not_fulfil(text):
    assert not holds(text)


def test_what_a_row_does_not_have_is_an_empty_text():
    bare = {**ROW, "error": None, "input": {}}

    assert holds("error=", bare)
    assert holds("seed=", bare)
    assert holds("seed!=7", bare)
    assert not holds("error~policy", bare)


def test_the_value_begins_after_the_first_sign():
    row = {**ROW, "input": {**ROW["input"], "prompt": "1=1, a!=b ~ c"}}

    assert holds("input.prompt=1=1, a!=b ~ c", row)
    assert holds("input.prompt~!=b ~", row)


def test_all_conditions_have_to_hold():
    shows = Filter(("state=failed", "seed=7")).predicate(INPUTS, METAS)
    hides = Filter(("state=failed", "seed=8")).predicate(INPUTS, METAS)

    assert shows(ROW)
    assert not hides(ROW)
    assert EVERYTHING.predicate(INPUTS, METAS)(ROW)


def test_a_name_that_no_row_has_is_refused_with_the_nearest():
    assert "named 'stat'. Did you mean state?" in refusal("stat=failed")
    assert "Did you mean Category?" in refusal("categori=Birds")
    assert "The names of this batch: state, id, model" in refusal("zzzzzz=1")
    assert "no row has anything named 'input.Category'" in refusal("input.Category=Birds")


def test_a_name_of_an_input_and_of_metadata_needs_its_place():
    assert "Write input.style or meta.style." in refusal("style=anime")


@pytest.mark.parametrize("text", ["", "state", "=failed", "~x", "state:failed"])
def test_what_is_no_condition_is_refused_with_its_forms(text):
    assert "Write NAME=VALUE, NAME!=VALUE" in refusal(text)


@given(values)
def test_a_value_equals_its_own_words_and_contains_each_part_of_them(value):
    row = {**ROW, "input": {"prompt": value}}
    text = comparable_text(value)

    assert parse_condition(f"prompt={text}", ["prompt"], [])(row)
    assert not parse_condition(f"prompt!={text}", ["prompt"], [])(row)
    assert parse_condition(f"prompt~{text[1:3].upper()}", ["prompt"], [])(row) or not text.isascii()


@given(values, st.text())
def test_equal_and_not_equal_are_opposites(value, wanted):
    row = {**ROW, "input": {"prompt": value}}
    same, other = (
        parse_condition(f"prompt{sign}{wanted}", ["prompt"], [])(row) for sign in ("=", "!=")
    )

    assert same is not other
    assert same is (comparable_text(value) == wanted)


@given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_compared_as_json_has_them(value):
    assert comparable_text(value) == json.dumps(value)


def test_every_name_of_a_row_itself_can_be_asked_for():
    assert [name for name in ROW_FIELDS if name not in ROW] == []


# --picks


def file(*rows, names=("id", "request_id", "verdict", "rating"), **form):
    text = io.StringIO(newline="")
    csv.writer(text, **form).writerows([names, *rows])
    return read_picks(list(io.StringIO(text.getvalue(), newline="")), "picks.csv")


def refused(*rows, **form):
    with pytest.raises(UsageError) as refusal:
        file(*rows, **form)
    return refusal.value.what


def test_a_pick_finds_its_row_by_request_and_else_by_id():
    found = file(("other", "r-1", "pick", "4"), ("fox", "", "reject", ""))

    assert found.choice_of(ROW) == Choice("pick", 4)
    assert found.choice_of({**ROW, "id": "fox", "request_id": "r-9"}) == Choice("reject", 0)
    assert found.choice_of({**ROW, "request_id": "r-9"}) is None
    assert found.choice_of({**ROW, "request_id": None}) is None


def test_a_view_of_picks_shows_these_rows_only():
    view = Filter(("state=failed",), file(("heron", "", "pick", "")))
    shows = view.predicate(INPUTS, METAS)

    assert shows(ROW)
    assert not shows({**ROW, "id": "fox"})
    assert not shows({**ROW, "state": "saved"})
    assert view.description == "state=failed, picks.csv"
    assert EVERYTHING.description is None


def test_a_pick_of_an_output_is_of_that_one_and_one_without_a_number_of_all():
    several = {**ROW, "outputs": [{"n": n} for n in (1, 2, 3)]}
    names = ("id", "output", "verdict", "rating")
    view = Filter(picks=file(("heron", "2", "pick", "4"), ("fox", "", "pick", ""), names=names))

    assert view.choice_of(several, 2) == Choice("pick", 4)
    assert view.choice_of(several, 1) is view.choice_of(several) is None
    assert view.predicate(INPUTS, METAS)(several)
    assert [one["n"] for one in view.outputs_of(several)] == [2]
    assert [one["n"] for one in view.outputs_of({**several, "id": "fox"})] == [1, 2, 3]


@pytest.mark.parametrize("output", ["0", "-1", "two", "1.5"])
def test_an_output_is_a_number_from_one(output):
    said = refused(("heron", output), names=("id", "output"))
    assert said == f"picks.csv:2: the output '{output}' is no number from 1."


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_the_file_may_have_been_through_a_spreadsheet(delimiter, end):
    row = ("heron", "r-1", "pick", "5", "two\nlines")
    names = ("id", "request_id", "verdict", "rating", "prompt")
    found = file(row, names=names, delimiter=delimiter, lineterminator=end)

    assert found.choice_of(ROW) == Choice("pick", 5)


@pytest.mark.parametrize("name", ["id", "request_id"])
def test_one_column_is_enough(name):
    assert file((ROW[name],), names=(name,)).choice_of(ROW) == Choice("", 0)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
@example("\r=")
@example("a;'=b")
@example("''\t'=")
def test_an_id_is_read_back_whatever_a_spreadsheet_would_make_of_it(id):
    assert list(file((csv_cell(id), "", "pick", "")).by_id) == [(id, None)]


def test_a_note_is_read_as_it_was_written():
    names = ("id", "verdict", "note")
    for note in ("=1+1 hands", "two\nlines", "it's <b>", "x" * MAX_NOTE):
        found = file(("heron", "pick", csv_cell(note)), names=names)
        assert found.choice_of(ROW) == Choice("pick", 0, note)
    assert file(("heron", "pick"), names=("id", "verdict")).choice_of(ROW) == Choice("pick", 0, "")


def test_a_note_has_an_end():
    said = refused(("heron", "x" * (MAX_NOTE + 1)), names=("id", "note"))
    assert said == "picks.csv:2: the note has more than 1,000 characters."


def test_rows_that_the_batch_does_not_have_are_named():
    found = file(("heron", "r-1", "", ""), ("fox", "", "", ""), ("", "r-7", "", ""))
    found.require_rows([("heron", "r-1", 1), ("fox", None, 0), ("owl", "r-7", 2)])

    with pytest.raises(UsageError, match=r"this batch has no row 'fox', 'r-7'\."):
        found.require_rows([("heron", "r-1", 1)])


def test_an_output_that_the_row_does_not_have_is_named():
    names = ("id", "request_id", "output")
    found = file(("heron", "", "2"), ("", "r-7", "10"), ("", "r-7", "9"), names=names)
    found.require_rows([("heron", "r-1", 2), ("owl", "r-7", 10)])

    said = r"no row 'r-7' with an output 9, 'r-7' with an output 10\."
    with pytest.raises(UsageError, match=said):
        found.require_rows([("heron", "r-1", 2), ("owl", "r-7", 8)])


def test_of_many_that_the_batch_does_not_have_a_few_are_named():
    found = file(*((f"row-{n}", "", "", "") for n in range(1000)))

    with pytest.raises(UsageError, match="and 990 more"):
        found.require_rows([])


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (("heron", "", "maybe", ""), "picks.csv:3: the verdict 'maybe' is neither pick nor reject"),
        (("heron", "", "", "6"), "picks.csv:3: the rating '6' is none of 0 to 5"),
        (("", "", "pick", ""), "picks.csv:3: it names no row"),
    ],
)
def test_a_row_that_says_nothing_clear_is_refused_with_its_line(row, what):
    assert what in refused(("fox", "", "pick", "1"), row)


def test_a_file_of_something_else_is_refused():
    assert "picks.csv:1: it has neither a column id" in refused(("a heron",), names=("prompt",))
    with pytest.raises(UsageError, match="neither"):
        read_picks([], "picks.csv")
    with pytest.raises(UsageError, match="it is no CSV"):
        read_picks(["id,verdict\n", '"heron'], "picks.csv")
