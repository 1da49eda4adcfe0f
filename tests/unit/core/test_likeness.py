"""What a spreadsheet, an editor or another system makes of a row is still that row."""

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.core import identity
from batchgen.core.likeness import (
    given_id,
    id_form,
    input_changes,
    prompt_form,
    request_form,
)

MODEL = "ideogram/ideogram-v2/generate"
Input = dict[str, Any]

TEXTS = st.text(st.sampled_from("ab é\u0301ü\n \t-Å"), min_size=1, max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | TEXTS | st.floats(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
INPUTS = st.dictionaries(st.sampled_from(["prompt", "seed", "style", "image"]), VALUES)


def texts(change: Callable[[str], str]) -> Callable[[Any], Any]:
    """Apply a change to every text of a value."""

    def apply(value: Any) -> Any:
        match value:
            case str():
                return change(value)
            case dict():
                return {name: apply(one) for name, one in value.items()}
            case list():
                return [apply(one) for one in value]
        return value

    return apply


def floats(value: Any) -> Any:
    """What pandas makes of whole numbers in a column that has a gap."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {name: floats(one) for name, one in value.items()}
        case list():
            return [floats(one) for one in value]
    return value


REWRITINGS = {
    "CRLF": texts(lambda text: text.replace("\n", "\r\n")),
    "CR": texts(lambda text: re.sub(r"\r*\n", "\r", text)),
    "NFD": texts(lambda text: unicodedata.normalize("NFD", text)),
    "NFC": texts(lambda text: unicodedata.normalize("NFC", text)),
    "a blank at the end": texts(lambda text: text + " "),
    "a line break at the end": texts(lambda text: text + "\n\n"),
    "blanks at the ends of lines": texts(lambda text: re.sub(r"(\r*\n)", r" \t\1", text)),
    "trimmed ends": texts(lambda text: text.rstrip()),
    "7.0": floats,
    "the order of names": lambda value: dict(reversed(value.items())),
}


@given(INPUTS, st.lists(st.sampled_from([*REWRITINGS]), max_size=4))
@example({"prompt": ["\na"]}, ["CRLF", "CRLF"])
@example({"prompt": "a\n\nb"}, ["CRLF", "blanks at the ends of lines", "CRLF", "CR"])
def test_a_request_that_is_written_differently_is_the_same_one(
    input: Input, how: list[str]
) -> None:
    written = input
    for name in how:
        written = REWRITINGS[name](written)

    assert request_form(MODEL, json.dumps(written)) == request_form(MODEL, json.dumps(input))
    assert prompt_form(json.dumps(written)) == prompt_form(json.dumps(input))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"prompt": "a heron"}, {"prompt": "a fox"}),
        ({"prompt": "a heron"}, {"prompt": "A heron"}),
        ({"prompt": "a heron"}, {"prompt": "a  heron"}),
        ({"prompt": "a heron"}, {"prompt": " a heron"}),
        ({"prompt": "a\nheron"}, {"prompt": "a heron"}),
        ({"prompt": "a\nheron"}, {"prompt": "a\n\nheron"}),
        ({"prompt": "a\rheron"}, {"prompt": "a\r\rheron"}),
        ({"prompt": "x²"}, {"prompt": "x2"}),
        ({"seed": 7}, {"seed": "7"}),
        ({"seed": 7}, {"seed": 7.5}),
        ({"seed": 1}, {"seed": True}),
        ({"seed": 0}, {}),
        ({"images": ["a", "b"]}, {"images": ["b", "a"]}),
    ],
)
def test_a_request_for_something_else_is_another_one(one: Input, other: Input) -> None:
    assert request_form(MODEL, json.dumps(one)) != request_form(MODEL, json.dumps(other))


def test_another_model_is_another_request_for_the_same_prompt() -> None:
    input = json.dumps({"prompt": "a heron"})

    assert request_form(MODEL, input) != request_form("another/model", input)
    assert prompt_form(json.dumps({"prompt": "a heron", "seed": 7})) == prompt_form(input)
    assert prompt_form(json.dumps({"seed": 7})) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("0001", "1"), ("1", "1.0"), ("007", "7.00"), ("a", " a "), ("Mu\u0308g", "M\u00fcg")],
)
def test_ids_that_a_spreadsheet_makes_of_each_other_are_alike(one: str, other: str) -> None:
    assert id_form(one) == id_form(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "10"), ("a1", "a01"), ("1", "1.5"), ("0", ""), ("a", "A"), ("a", "b")]
)
def test_other_ids_are_not(one: str, other: str) -> None:
    assert id_form(one) != id_form(other)


@given(st.none() | TEXTS.filter(str.strip), INPUTS)
def test_the_key_tells_whether_the_list_gave_the_id(id: str | None, input: Input) -> None:
    base, text = identity.canonical_json(MODEL, input, id)
    name = identity.safe_name(id or identity.readable_id(1, input))

    assert given_id(identity.row_key(base, 0), MODEL, text, id or name, name) == id


@pytest.mark.parametrize(
    "input",
    [
        "",
        "{",
        "[1]",
        "7",
        "[" * 9999,
        '{"a":' + "[" * 900 + "]" * 900 + "}",
        '{"prompt": "\\ud800"}',
    ],
)
def test_what_no_list_has_written_is_like_nothing_and_no_error(input: str) -> None:
    request_form(MODEL, input)
    prompt_form(input)
    given_id("0" * 32, MODEL, input, "a", "a")
    assert request_form(MODEL, "[1]") is None


def test_changes_name_each_input_that_differs() -> None:
    old = MODEL, json.dumps({"prompt": "a heron", "seed": 5})

    assert input_changes(old, MODEL, json.dumps({"prompt": "a heron", "seed": 5.0})) == (
        "seed: 5 -> 5.0",
    )
    assert input_changes(old, "b/c", json.dumps({"prompt": "a heron"}), ("a", "b")) == (
        'id: "a" -> "b"',
        f'model: "{MODEL}" -> "b/c"',
        "seed: 5 -> (none)",
    )


def test_a_changed_workflow_is_shown_by_the_beginning_of_its_hash() -> None:
    old, new = (json.dumps({"workflow": f"sha256:{digit * 64}"}) for digit in "ab")
    text = json.dumps({"workflow": "an input of a model that is called so"})

    assert input_changes(("m", old), "m", new) == (
        "workflow: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb",
    )
    assert input_changes(("m", old), "m", text) == (
        'workflow: sha256:aaaaaaaaaaaa -> "an input of a model that is called so"',
    )


def test_an_id_of_many_zeros_is_read_in_the_time_that_its_length_takes() -> None:
    assert id_form("0" * 1_000_000 + "x").endswith("0x")
    assert id_form("0" * 1_000_000 + "7") == "7"
    assert [id_form(one) for one in ("000", "0.0", "012.00", "7.5")] == ["0", "0", "12", "7.5"]
