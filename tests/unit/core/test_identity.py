"""What a row is called, on every machine and every disk."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.core.identity import (
    canonical_json,
    fold_name,
    readable_id,
    row_digest,
    row_key,
    safe_name,
    slug,
)

MODEL = "ideogram/ideogram-v2/generate"
ANY_TEXT = st.text(st.characters(codec=None))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_base_is_the_same_in_every_version():
    # Were this to change, every row of every batch would be a new one, to be paid for again.
    assert row_digest(MODEL, {"prompt": "Bär", "seed": 1}, "bear") == (
        "7cb453cbae0d923dcfef4f63179d7c9b3d8c7ecd900bd6f872f249fa3366aec3"
    )
    assert row_key("0" * 64, 0) == "8cd0be019c911c9ab4c19eb087d08208"


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_the_order_of_the_inputs_makes_no_difference(values):
    turned = dict(reversed(values.items()))

    assert row_digest(MODEL, values, None) == row_digest(MODEL, turned, None)


@pytest.mark.parametrize(
    ("model", "values", "id"),
    [
        ("ideogram/ideogram-v3/generate", {"prompt": "a"}, None),
        (MODEL, {"prompt": "b"}, None),
        (MODEL, {"prompt": "a", "seed": 0}, None),
        (MODEL, {"prompt": "a"}, "a"),
        (MODEL, {"prompt": "a"}, ""),
        (MODEL, {"prompt": ["a"]}, None),
    ],
)
def test_another_model_input_or_id_is_another_row(model, values, id):
    assert row_digest(model, values, id) != row_digest(MODEL, {"prompt": "a"}, None)


def test_a_text_and_a_number_are_not_the_same_input():
    texts = [row_digest(MODEL, {"duration": d}, None) for d in ("5", 5, 5.0, True)]

    assert len(set(texts)) == 4


def test_equal_rows_are_told_apart_by_counting():
    same = row_digest(MODEL, {"prompt": "a"}, None)

    keys = [row_key(same, n) for n in range(100)]

    assert len(set(keys)) == 100
    assert all(len(k) == 32 and int(k, 16) >= 0 for k in keys)


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf")])
def test_what_cannot_be_sent_has_no_base(value):
    with pytest.raises(ValueError):
        row_digest(MODEL, {"prompt": value}, None)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("heron", "heron"),
        ("../x", "x"),
        ("/x", "x"),
        ("a/b\\c", "a-b-c"),
        ("..", "row"),
        ("///", "row"),
        ("", "row"),
        ("a\0b", "ab"),
        ("a\nb\tc", "a-b-c"),
        ("abc\u202egnp", "abcgnp"),
        ("a\u200bb\ufeff", "ab"),
        ("con", "_con"),
        ("CON.png", "_CON.png"),
        ("nul", "_nul"),
        ("com1", "_com1"),
        ("COM\u00b9", "_COM\u00b9"),
        ("console", "console"),
        ("a.", "a"),
        ("a. .", "a"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("~root", "root"),
        ('<>:"|?*', "row"),
        ("what?", "what"),
        ("A\u030a", "\u00c5"),
        ("灯台の夜明け", "灯台の夜明け"),
        ("x" * 300, "x" * 80),
        ("灯" * 300, "灯" * 50),
        ("\ud800", "row"),
    ],
)
def test_an_id_becomes_a_name_that_every_disk_takes(id, name):
    assert safe_name(id) == name


@given(ANY_TEXT)
def test_any_text_has_a_safe_name(text):
    name = safe_name(text)

    assert 1 <= len(name) <= 80
    assert len(name.encode()) <= 150
    assert not set(name) & set('/\\<>:"|?*\0\n\r\t')
    assert name[0] not in "-. ~"
    assert name[-1] not in ". "
    assert not any(unicodedata.category(c)[0] == "C" for c in name)
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Heron", "heron"),
        ("\u00c5", "A\u030a"),
        ("ﬁsh", "fish"),
        ("STRASSE", "straße"),
        ("É", "e\u0301"),
    ],
)
def test_names_that_a_disk_may_take_for_one_fold_to_one(one, other):
    assert fold_name(one) == fold_name(other)


def test_different_names_fold_to_different_ones():
    assert len({fold_name(name) for name in ("a", "b", "a-1", "ä", "a ")}) == 5


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A lighthouse at dawn, long exposure", "a-lighthouse-at-dawn-long-exposure"),
        ("Don’t look!", "dont-look"),
        ("灯台の夜明け", "灯台の夜明け"),
        ("हिन्दी में", "हिन्दी-में"),
        ("\n\t  \n", ""),
        ("!!!", ""),
        ("w" * 60, "w" * 40),
        ("one two three four five six seven eight nine", "one-two-three-four-five-six-seven-eight"),
        ("Größe <b>x</b>", "größe-b-x-b"),
    ],
)
def test_a_slug_is_the_first_words_of_a_prompt(prompt, words):
    assert slug(prompt) == words


@pytest.mark.parametrize(
    ("position", "values", "id"),
    [
        (7, {"prompt": "A lighthouse at dawn"}, "0007-a-lighthouse-at-dawn"),
        (7, {"seed": 3, "style": "anime", "prompt": "A fox"}, "0007-a-fox"),
        (7, {"style": "calm", "text": "A fox"}, "0007-a-fox"),
        (7, {"tags": "jazz, piano"}, "0007-jazz-piano"),
        (7, {"lyrics": "la la"}, "0007-la-la"),
        (12345, {"image": ["https://x"]}, "12345"),
        (7, {"prompt": "…"}, "0007"),
    ],
)
def test_a_row_without_an_id_gets_a_readable_one(position, values, id):
    assert readable_id(position, values) == id


@given(st.integers(1, 10**7), st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_readable_id_is_a_safe_name(position, values):
    id = readable_id(position, json.loads(json.dumps(values)))

    assert safe_name(id) == id


@given(
    st.text(),
    st.dictionaries(st.text(), JSON_VALUES | st.floats(allow_nan=False, allow_infinity=False)),
    st.none() | st.text(),
)
def test_the_base_and_the_text_of_a_row_are_those_of_the_plain_way(model, values, id):
    assert canonical_json(model, values, id) == (
        row_digest(model, values, id),
        json.dumps(values, ensure_ascii=False),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", ["\ud800"]])
def test_what_cannot_be_sent_has_no_base_in_either_way(value):
    for of in (row_digest, canonical_json):
        with pytest.raises(ValueError):
            of(MODEL, {"prompt": value}, None)


@given(ANY_TEXT | st.text(st.sampled_from("aZ09-_. ~'con")))
def test_the_short_cuts_for_plain_names_change_none(text):
    """A sign that is not ASCII, and nothing on any disk, leads around them."""
    safe = safe_name(text)
    if len(text) < 80 and "~" not in text:
        assert safe_name(f"{text}\u200b") == safe
    assert fold_name(safe) == unicodedata.normalize(
        "NFC", unicodedata.normalize("NFKC", safe).casefold()
    )


def test_an_id_with_marks_without_end_gets_a_name_in_the_time_that_its_length_takes():
    assert safe_name("a" + "\u0301\u0316" * 60_000).startswith("a\u0301\u0316")


def test_the_hash_of_a_workflow_is_no_prompt():
    digest = f"sha256:{'a' * 64}"

    assert readable_id(3, {"31.seed": 4, "workflow": digest}) == "0003"
    assert readable_id(3, {"workflow": digest, "6.text": "A heron"}) == "0003-a-heron"
    assert readable_id(3, {"workflow": "A heron"}) == "0003-a-heron"  # as a model may call it
