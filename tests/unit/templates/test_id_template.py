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


def test_braces_without_end_are_read_in_time():
    template = "{" * 100_000 + "{a}"

    assert parse_id_template(template).fill({"a": 1}) == "{" * 50_000 + "1"
