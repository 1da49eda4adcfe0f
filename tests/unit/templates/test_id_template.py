"""Ids that are made of what a row has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.templates.id_template import Unfilled, parse_id_template

NAMES = st.text(min_size=1).filter(lambda text: not {*"{}"} & {*text})
VALUES = st.text(min_size=1).filter(str.strip) | st.integers()


@given(st.lists(st.tuples(st.text(), NAMES, VALUES), min_size=1), st.text())
def test_a_template_gives_its_texts_and_the_values_and_nothing_else(parts, end):
    template = "".join(f"{_escaped(text)}{{{name}}}" for text, name, _ in parts) + _escaped(end)
    values = {name: value for _, name, value in parts}

    wanted = "".join(f"{text}{values[name]}" for text, name, _ in parts) + end
    assert parse_id_template(template).fill(values) == wanted


def _escaped(text):
    return text.replace("{", "{{").replace("}", "}}")


@pytest.mark.parametrize("text", ["", "hero", "{", "{}", "a}", "{{Category}}", "{a}-{b", "{a{b}}"])
def test_what_names_nothing_or_has_a_brace_alone_is_no_template(text):
    with pytest.raises(ValueError, match=r"\{Category\}-\{number\}"):
        parse_id_template(text)


@pytest.mark.parametrize("value", [None, "", "  ", True, [1], {"a": 1}])
def test_what_is_no_text_and_no_number_makes_no_id(value):
    with pytest.raises(Unfilled) as error:
        parse_id_template("{a}-{b}").fill({"a": 0, "b": value})
    assert (error.value.name, error.value.is_absent) == ("b", False)


def test_an_id_is_never_made_of_a_text_that_is_long_or_named_a_thousand_times():
    with pytest.raises(ValueError, match="it has 1,001 characters, more than 1,000"):
        parse_id_template("{a}" + "{" * 998)
    template = parse_id_template("{a}" * 300 + "{b}")

    assert len(template.fill({"a": "x" * 30, "b": 1})) == 9001
    with pytest.raises(Unfilled) as error:
        template.fill({"a": "x" * 40, "b": 1})
    assert (error.value.name, error.value.what[:14]) == ("a", "it is too long")
