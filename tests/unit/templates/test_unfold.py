"""Prompts that unfold: the grammar, the counting, and what is drawn."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, islice, product
from math import prod, sqrt
from time import process_time

import pytest
from helpers import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st

from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.templates.grammar import Choice, Wildcard, escape, looks_like_template, parse
from batchgen.templates.texts import all_texts, drawn_texts
from batchgen.templates.unfold import Unfolding
from batchgen.templates.wildcards import CannotUnfold, Wildcards, WildcardText


def reader(files):
    def read(name):
        if name not in files:
            raise CannotUnfold(f"there is no {name}")
        return WildcardText(f"{name}.txt", files[name])

    return read


def joined(prompt, files: Mapping[str, str] = {}):
    return Wildcards(reader(files)).joined(prompt)


def texts(prompt, files: Mapping[str, str] = {}, **how):
    how = {"limits": replace(DEFAULT_LIMITS, unfolded_rows=10**6), **how}
    return [one.text for one in Unfolding(reader(files), **how).texts(prompt)]


def refusal(prompt, files: Mapping[str, str] = {}, **how):
    with pytest.raises(CannotUnfold) as error:
        Unfolding(reader(files), **how).texts(prompt)
    return error.value


def draws(prompt, files: Mapping[str, str] = {}, seed=0):
    return drawn_texts(prompt, joined(prompt, files).parts, seed)


# What it means

COLOURS = {"colour": "# all of them\nred\n\n  blue \n"}


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("a red car", ["a red car"]),
        ("", [""]),
        ("a {red|blue} car", ["a red car", "a blue car"]),
        ("{a|b} {1|2}", ["a 1", "a 2", "b 1", "b 2"]),
        ("a car{, at night|}", ["a car, at night", "a car"]),
        ("a {{pale|dark} red|blue} car", ["a pale red car", "a dark red car", "a blue car"]),
        ("{ a | b }", [" a ", " b "]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, c"]),
        ("{2$$ and $$a|b|c}", ["a and b", "a and c", "b and c"]),
        ("{2$$$$a|b}", ["ab"]),
        ("{1-2$$a|b}", ["a", "b", "a, b"]),
        ("{-2$$a|b|c}", ["a", "b", "c", "a, b", "a, c", "b, c"]),
        ("{2-$$a|b|c}", ["a, b", "a, c", "b, c", "a, b, c"]),
        ("a car{0-1$$, at night}", ["a car", "a car, at night"]),
        ("{2$$a|{b|c}}", ["a, b", "a, c"]),
        ("{0.5::a|3::b| .25::c}", ["a", "b", "c"]),
        ("{1::|2::b}", ["", "b"]),
        ("a __colour__ car", ["a red car", "a blue car"]),
        ("{2$$__colour__}", ["red, blue"]),
        ("{__colour__}", ["red", "blue"]),
        ("{__colour__|green}", ["red", "blue", "green"]),
        ("a|b", ["a|b"]),
        ("$$ and $5", ["$$ and $5"]),
        ("a __ b, snake_case, __, ____", ["a __ b, snake_case, __, ____"]),
        (r"\{a\|b\} \__colour_\_ \\ \$ \: \#", ["{a|b} __colour__ \\ $ : #"]),
        (r"C:\new \a", [r"C:\new \a"]),
        (r"{16\::9|4\::3}", ["16::9", "4::3"]),
        (r"{2$$ \| $$a|b}", ["a | b"]),
        ("{a|a|b}", ["a", "b"]),
        ("{café|cafe\u0301|cafe}", ["café", "cafe"]),
    ],
)
def test_a_prompt_stands_for_these_texts(prompt, meant):
    assert texts(prompt, COLOURS) == meant


@pytest.mark.parametrize(
    ("prompt", "what", "character"),
    [
        ("a {red|blue car", "a { has no }", 3),
        ("a {red|{blue|x} car", "a { has no }", 3),
        ("a red} car", "a } has no {", 6),
        ("a {red} car", "there is nothing to choose in these braces", 3),
        ("{}", "there is nothing to choose in these braces", 1),
        ("{3$$a|b}", "3 options are to be picked, and there are 2", 1),
        ("{1-3$$a|b}", "3 options are to be picked, and there are 2", 1),
        ("{3-$$a|b}", "3 options are to be picked, and there are 2", 1),
        ("{3$$__colour__}", "3 options are to be picked, and there are 2", 1),
        ("{2-1$$a|b}", "2 to 1 options are none", 1),
        ("{$$a|b}", "nothing stands before $$", 1),
        ("{-$$a|b}", "nothing stands before $$", 1),
        ("{two$$a|b}", "what stands before $$ does not say how many options", 5),
        ("{a|0::b}", "a weight is more than zero", 4),
        ("a __hue__ car", "there is no hue", 3),
        ("{a|b __hue__}", "there is no hue", 6),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(prompt, what, character):
    error = refusal(prompt, COLOURS)

    assert (error.what, error.place) == (f"{what}, at character {character}", None)


def shown():
    """Each example of the page, with its texts."""
    page = (ROOT / "docs" / "reference" / "unfolding.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```none\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for example in re.split(r"^(?=\S)", block, flags=re.MULTILINE)[1:]:
            prompt, *meant = example.splitlines()
            yield prompt, [text.removeprefix("    ") for text in meant]


@pytest.mark.parametrize(("prompt", "meant"), [*shown()])
def test_what_the_page_shows_is_what_a_prompt_unfolds_into(prompt, meant):
    page = (ROOT / "docs" / "reference" / "unfolding.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = re.split(r"^# (\S+)\.txt.*\n", block, flags=re.MULTILINE)[1:]

    assert texts(prompt, dict(zip(found[::2], found[1::2], strict=True))) == meant


# The same, counted, written out, and by a model of it

WORDS = st.text("ab ,é", max_size=3)
FILES = {"f": "x\ny\nz", "g": "2::x\n{a|b}\n__f__", "h": "__g__ __f__"}


def choices(inner):
    option = st.tuples(st.sampled_from(["", "2::", ".5::"]), inner)
    several = st.lists(option, min_size=2, max_size=4)
    bounds = st.sampled_from(["", "1$$", "2$$", "1-2$$", "-2$$", "0-$$", "2$$ + $$"])
    return st.tuples(st.just("choice"), bounds, several)


TREES = st.recursive(
    WORDS.map(lambda text: ("text", text)) | st.sampled_from("fgh").map(lambda n: ("file", n)),
    lambda inner: choices(inner) | st.lists(inner, max_size=3).map(lambda some: ("all", some)),
    max_leaves=7,
)


def written(tree):
    kind, *rest = tree
    if kind == "text":
        return escape(rest[0])
    if kind == "file":
        return f"__{rest[0]}__"
    if kind == "all":
        return "".join(map(written, rest[0]))
    bounds, options = rest
    return f"{{{bounds}{'|'.join(weight + written(one) for weight, one in options)}}}"


def model(tree):
    """Every text of a tree, the slow and plain way."""
    kind, *rest = tree
    if kind == "text":
        return [rest[0]]
    if kind == "file":
        found = {"f": ["x", "y", "z"]}
        found["g"] = ["x", "a", "b", *found["f"]]
        found["h"] = [f"{g} {f}" for g, f in product(found["g"], found["f"])]
        return found[rest[0]]
    if kind == "all":
        return ["".join(one) for one in product(*map(model, rest[0]))]
    bounds, options = rest
    count, _, between = bounds.partition("$$")
    low, to, high = count.partition("-")
    least = int(low or 1)
    most = int(high or len(options)) if to else least
    separator = between.removesuffix("$$") if between else ", "
    return [
        separator.join(one)
        for size in range(least, most + 1)
        for some in combinations([model(tree) for _, tree in options], size)
        for one in product(*some)
    ]


@given(TREES)
def test_what_is_counted_is_what_is_written_out_in_the_order_stated(tree):
    whole = joined(written(tree), FILES)
    assume(whole.measure.texts <= 1000)
    found = [*islice(all_texts(whole.parts), 1001)]

    assert found == model(tree)
    assert whole.measure.texts == len(found)
    assert whole.measure.chars >= max(map(len, found))


@given(st.text())
def test_an_escaped_text_unfolds_into_itself(text):
    assert texts(escape(text)) == [text]
    assert texts(f"{{{escape(text)}|{escape(text)}!}}")[0] == text


@given(st.text("{}|$_\\:#-.0123ab ", max_size=40))
def test_any_text_has_a_meaning_or_is_refused(text):
    with suppress(CannotUnfold):
        assert list(Unfolding(reader({"a": "1", "b": "__a__"})).texts(text))


@given(TREES, st.integers())
def test_what_is_drawn_is_among_what_it_stands_for(tree, seed):
    prompt = written(tree)
    assume(joined(prompt, FILES).measure.texts <= 1000)

    assert {*islice(draws(prompt, FILES, seed), 5)} <= {*model(tree)}


def test_a_text_without_choices_has_none_of_the_marks():
    assert parse("a, b: c") == ("a, b: c",)
    assert [type(part) for part in parse("a {b|c} __d__")] == [str, Choice, str, Wildcard]


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("a {red|blue} car", True),
        ("a __colour__ car", True),
        ('{"prompt": "a fox"}', False),
        ("{masterpiece}, {{best}}", False),
        ("a | b, __, ____ and snake_case", False),
        ("a __ b __", False),
    ],
)
def test_a_text_that_would_unfold_is_told_from_others(text, looks):
    assert looks_like_template(text) is looks


# Files


def test_a_line_of_a_file_can_have_a_weight_and_choices_and_name_other_files():
    files = {"a": "2::x\n{y|z}, {1-2$$__b__}\n", "b": "1\n2"}

    assert texts("__a__!", files) == [
        "x!",
        "y, 1!",
        "y, 2!",
        "y, 1, 2!",
        "z, 1!",
        "z, 2!",
        "z, 1, 2!",
    ]


def test_files_that_name_each_other_in_a_circle_are_refused_where_it_closes():
    files = {"a": "x\n  y __b__", "b": "# c\n{1|__c__}", "c": "__b__"}

    error = refusal("__a__", files)

    assert error.what == "wildcards name each other in a circle, b -> c -> b"
    assert error.place == ("c.txt", 1, 1)
    assert refusal("__s__", {"s": "__s__"}).what.endswith("a circle, s -> s")


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("red\n  {blue", (2, 3), "a { has no }"),
        ("red\n\n2::a}", (3, 5), "a } has no {"),
        ("red\nblue __hue__", (2, 6), "there is no hue"),
        ("# nothing\n\n", (0, 0), "the file has no options"),
    ],
)
def test_a_mistake_in_a_file_is_told_at_its_place_there(text, place, what):
    error = refusal("a __colour__ car", {"colour": text})

    assert (error.what, error.place) == (what, ("colour.txt", *place))


def test_a_file_is_read_once():
    read = Counter()

    def count(name):
        read[name] += 1
        return WildcardText(name, "a\nb\nc")

    unfolding = Unfolding(count)
    for _ in range(5):
        assert len([*unfolding.texts("__a__ {2$$__a__}")]) == 9
    assert read == {"a": 1}


def test_a_file_that_cannot_be_used_is_not_read_again_for_every_prompt():
    read = Counter()

    def count(name):
        read[name] += 1
        return reader({"a": "{x", "b": "__a__"})(name)

    unfolding = Unfolding(count)

    def told(prompt):
        with pytest.raises(CannotUnfold) as error:
            unfolding.texts(prompt)
        return error.value.what, error.value.place

    first = told("__b__"), told("__a__"), told("x __c__")
    assert first == (told("__b__"), told("__a__"), told("x __c__"))
    assert first[0] == first[1] == ("a { has no }", ("a.txt", 1, 1))
    assert first[2] == ("there is no c, at character 3", None)
    for n in range(200):
        told(f"__n{n}__")
    assert max(read.values()) == 1
    assert len(read) == 100


def test_a_file_that_is_too_deep_here_can_be_used_elsewhere():
    files = {f"w{n}": f"__w{n + 1}__" for n in range(40)} | {"w40": "x"}
    unfolding = Unfolding(reader(files))
    with pytest.raises(CannotUnfold):
        unfolding.texts("__w0__")

    assert [one.text for one in unfolding.texts("__w20__")] == ["x"]


# Bounds


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("{a|b}" * 7, "128"),
        ("{a|b|c|d|e|f|g|h|i|j}" * 100, "about 10^100"),
        ("{a|b}" * 5000, "10^300 or more"),
        ("{50$$" + "|".join(map(str, range(100))) + "}", "about 10^29"),
        ("__h__" * 3, "5,832"),
    ],
)
def test_more_texts_than_anybody_meant_are_counted_and_refused(prompt, shown):
    start = process_time()
    error = refusal(prompt, FILES)

    assert error.what == f"it unfolds into {shown} rows; the limit unfolded-rows is 100"
    assert ("--raise-limit unfolded-rows=128\n" in error.remedy) == (shown == "128")
    assert "--samples 20" in error.remedy
    assert process_time() - start < 5


@pytest.mark.parametrize(
    "prompt",
    [
        *("{" * 100_000, "}" * 100_000, "{a|" * 50_000 + "b" + "}" * 50_000, "{a|b}" * 100_000),
        *(
            "{0-0$$a|b}" * 100_000,
            "{2$$" * 20_000,
            "{1-$$" + "a|" * 200_000 + "b}",
            "__x__" * 20_000,
            "{1-100$$" + "a|{b|c}|" * 4000 + "b}",
        ),
    ],
    ids=lambda prompt: prompt[:12],
)
def test_a_hundred_thousand_braces_are_refused_in_time(prompt):
    start = process_time()
    refusal(prompt, {"x": "__y__ __y__", "y": "a"})

    assert process_time() - start < 10


def test_a_prompt_of_a_megabyte_unfolds():
    long = "x" * 2**20

    assert [len(text) for text in texts(f"{long}{{a|bc}}")] == [2**20 + 1, 2**20 + 2]


def test_files_that_make_endless_texts_of_few_lines_are_refused():
    files = {f"w{n}": f"__w{n + 1}__ __w{n + 1}__" for n in range(30)} | {"w30": "x"}
    empty = {f"w{n}": f"__w{n + 1}____w{n + 1}__" for n in range(30)} | {"w30": "{0-0$$x|y}"}

    assert "more than 2,097,152 characters" in refusal("__w0__", files).what
    assert refusal("__w0__", empty).what == "unfolding it takes too long"
    assert refusal("__w0__ {a|b|c}", empty, samples=2).what == "unfolding it takes too long"


def test_files_are_nested_so_deep_and_no_deeper():
    files = {f"w{n}": f"__w{n + 1}__" for n in range(40)} | {"w40": "x"}

    assert texts("__w9__", files) == ["x"]
    assert "nested more than 32 deep" in refusal("__w8__", files).what
    # Also where the deeper ones were read before.
    assert "nested more than 32 deep" in refusal("__w9__ {a|{__w9__|b}}", files).what


def test_a_file_of_too_many_lines_is_refused():
    assert "more than 200,000 lines" in refusal("__x__", {"x": "a\n" * 200_001}).what


# Samples


def test_a_sample_is_the_same_everywhere():
    prompt = "{2$$__g__} {1-3$$a|b|c} {0.2::p|0.8::q}"

    assert texts(prompt, FILES, samples=5) == [
        "x, a a, b, c q",
        "x, a b q",
        "x, a a, b p",
        "x, b a q",
        "x, b a, b, c q",
    ]
    assert texts(prompt, FILES, samples=2, seed=1) != texts(prompt, FILES, samples=2)


def test_a_sample_has_so_many_different_texts_or_all_there_are():
    prompt = "{a|b|c|d|e}{1|2|3|4}"

    for samples in range(1, 20):
        assert len({*texts(prompt, samples=samples)}) == samples
    assert texts(prompt, samples=20) == texts(prompt, samples=99) == texts(prompt)


def test_a_larger_sample_begins_with_the_smaller_one():
    prompt = "{a|b|c|d|e}{1|2|3|4}"

    assert texts(prompt, samples=12)[:7] == texts(prompt, samples=7)


def test_a_sample_needs_no_more_draws_than_can_be():
    rare = "{" + "|".join(["999999999::a", *map(str, range(50))]) + "}"

    assert 1 <= len(texts(rare, samples=50)) < 50


def test_an_option_that_is_added_changes_the_draws_that_it_wins_and_no_others():
    before = [*islice(draws("__f__ {p|q}", {"f": "a\nb\nc"}), 400)]
    after = [*islice(draws("__f__ {p|q}", {"f": "a\nnew\nb\nc"}), 400)]

    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert all(new.startswith("new ") for new in changed)
    assert 60 < len(changed) < 140


@pytest.mark.parametrize(
    ("prompt", "chances"),
    [
        ("{a|b|c}", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        ("{0.5::a|b|.25::c}", {"a": 2 / 7, "b": 4 / 7, "c": 1 / 7}),
        ("{3::a|a|b}", {"a": 4 / 5, "b": 1 / 5}),
        ("__w__", {"a": 3 / 5, "b": 1 / 5, "c": 1 / 5}),
        ("{1-2$$a|b}", {"a": 1 / 4, "b": 1 / 4, "a, b": 1 / 2}),
        ("{2$$2::a|b|c}", {"a, b": 5 / 12, "a, c": 5 / 12, "b, c": 1 / 6}),
        ("{{3::a|b}|c}", {"a": 3 / 8, "b": 1 / 8, "c": 1 / 2}),
    ],
)
def test_options_come_as_often_as_their_weights_say(prompt, chances):
    total = 4000
    found = Counter(islice(draws(prompt, {"w": "3::a\nb\nc"}, seed=7), total))

    assert found.keys() == chances.keys()
    for text, chance in chances.items():
        # Five standard deviations; and it is the same each time.
        assert abs(found[text] - total * chance) < 5 * sqrt(total * chance * (1 - chance))


def test_prompts_that_differ_draw_differently():
    first = [*islice(draws("cat {a|b|c|d}"), 12)]
    second = [*islice(draws("dog {a|b|c|d}"), 12)]

    assert [text[-1] for text in first] != [text[-1] for text in second]


# What stands for a text


@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=8, unique=True))
def test_the_form_of_a_text_is_the_same_whatever_stands_beside_it(words):
    def forms(some):
        template = "{" + "|".join(some) + "|z}"
        return {one.text: one.form for one in Unfolding(reader({})).texts(template)}

    whole, half = forms(words), forms(words[1::2])
    assert half.items() <= whole.items()
    assert len({*whole.values()}) == len(whole) == len(words) + 1
    assert json.dumps(sorted(whole.values())).isascii()
    assert prod(len(form) == 10 for form in whole.values())
