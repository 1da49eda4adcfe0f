"""Which column of a list is taken for what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.manifest.guess import ColumnFacts, guess_columns

INPUTS = ("prompt", "style", "aspect_ratio", "seed")


def fits(name, value):
    return {"style": value in ("anime", "design"), "seed": str(value).isdigit()}.get(name, True)


def guess(rows, given=(), inputs=INPUTS):
    facts = {}
    for row in rows:
        for name, value in row.items():
            facts.setdefault(name, ColumnFacts(name)).add(value)
    return guess_columns([*facts.values()], inputs, fits, dict(given))


def targets(rows, **more):
    return {use.name: use.target for use in guess(rows, **more).uses}


def test_columns_of_the_model_s_names_are_its_inputs_however_they_are_written():
    row = {"ID": "1", "Prompt": "a fox", "Aspect Ratio": "1:1", "SEED": "7"}

    found = guess([row])

    assert found.columns == {
        "id": "ID", "prompt": "Prompt", "aspect_ratio": "Aspect Ratio", "seed": "SEED"
    }  # fmt: skip
    assert found.meta == []


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"caption": "a fox", "note": "a long story of a fox"}, "caption"),
        ({"title": "Fox", "caption": "a fox"}, "caption"),
        ({"a": "x", "b": "a red fox at dawn"}, "b"),
        ({"words": "fox"}, "words"),
        ({"a": "x", "b": "y"}, None),
        ({"caption": ["a fox"], "b": "a red fox at dawn"}, "b"),
    ],
)
def test_the_prompt_is_found_by_its_name_else_by_its_length(row, prompt):
    assert guess([row]).columns.get("prompt") == prompt


def test_a_column_is_the_id_only_where_each_value_comes_once():
    once = [{"uid": "a", "prompt": "a fox"}, {"uid": "b", "prompt": "an owl"}]

    assert targets(once)["uid"] == "id"
    assert targets([*once, *once])["uid"] is None
    assert targets([{"uid": True, "prompt": "a"}])["uid"] is None
    assert targets([{"uid": " ", "prompt": "a"}])["uid"] is None


def test_an_id_that_comes_twice_is_carried_along_under_another_name():
    found = guess([{"id": "a", "prompt": "a fox"}, {"id": "a", "prompt": "an owl"}])

    assert (found.columns, found.meta) == ({"_id": "id"}, [])


def test_a_model_column_counts_only_where_it_names_models():
    assert targets([{"model": "x/y/z", "prompt": "a"}])["model"] == "model"
    assert guess([{"model": "dall-e", "prompt": "a"}]).columns == {"_model": "model"}


def test_a_column_whose_values_do_not_fit_the_input_is_metadata_and_says_so():
    found = guess([{"prompt": "a fox", "style": "Abstract"}])

    assert found.meta == ["style"]
    assert found.uses[1].why == "its values do not fit the input style"
    # A few that do not are mistakes, which a person is to be told of.
    good = [{"prompt": "a", "style": "anime"}] * 2
    assert targets([*good, {"style": "Abstract"}])["style"] == "style"


def test_what_the_person_said_comes_first():
    row = {"prompt": "a fox", "long": "a red fox at dawn"}

    assert targets([row], given={"prompt": "long"}) == {"prompt": None, "long": "prompt"}


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["id", "model", "prompt", "Prompt", "text", "seed", "_x", "*", "é b"]),
            st.text(max_size=9) | st.integers() | st.none() | st.booleans(),
        ),
        max_size=6,
    )
)
def test_each_column_has_one_use_and_each_input_one_column(rows):
    found = guess(rows)
    taken = [use.target for use in found.uses if use.target]

    assert len(taken) == len(set(taken))
    assert len({use.name for use in found.uses}) == len(found.uses)
    for use in found.uses:
        settled = use.name in (use.target, *found.columns.values(), *found.meta)
        assert settled or use.name.startswith("_")
