"""What the model's schema makes of an entry: a row to send, or every problem that it has."""

import json

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from batchgen.core import units
from batchgen.core.messages import duplicate_id_problem, model_id_problem
from batchgen.core.rows import Entry, Place, Problem, Row
from batchgen.errors import UsageError
from batchgen.validation.model_schema import (
    SchemaUnusable,
    find_input_schema,
    load_schema,
    normalize_schema,
)
from batchgen.validation.validator import Validator

SHARED = ROOT.parent / "shared" / "data" / "models"
MODEL = "ideogram/ideogram-v2/generate"
IDEOGRAM = load_schema(ROOT / "schemas" / f"{MODEL}.json")
needs_models = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared model schemas are absent")


def entry(values, *, cells=False, **other):
    names = frozenset(values) if cells else frozenset()
    return Entry(1, Place("list.csv", 7), other.pop("id", None), None, values, names, **other)


def check(schema, values, **how):
    """Return the input that would be sent, or the problems as (field, what, remedy)."""
    if isinstance(schema, dict):
        schema = normalize_schema(schema)
    result = Validator(schema).check_entry(entry(values, **how), default_model=MODEL)
    if isinstance(result, Row):
        return result.input
    return [(p.field, p.what, p.remedy) for p in result]


def one(kind, **more):
    """A schema with one property, `x`."""
    return {"type": "object", "properties": {"x": {"type": kind, **more}}}


def shared_model(name):
    return load_schema(SHARED / f"{name}.json")


def test_a_valid_entry_becomes_a_row_with_exactly_its_input():
    row = Validator(IDEOGRAM).check_entry(
        entry({"prompt": "A fox", "seed": 3}, id="fox", meta={"_note": "n"}), default_model=MODEL
    )

    assert row == Row(1, "list.csv:7", "fox", MODEL, {"prompt": "A fox", "seed": 3}, {"_note": "n"})


def test_defaults_of_the_schema_are_never_sent():
    assert check(IDEOGRAM, {"prompt": "A fox"}) == {"prompt": "A fox"}


CLASS = {"$ref": "#/$defs/a"}


def of_a_class(x, **definition):
    """A schema with one property, `x`, that CLASS in it refers to, as pydantic writes one."""
    return {"properties": {"x": x}, "$defs": {"a": definition}}


@pytest.mark.parametrize(
    ("schema", "cell", "value"),
    [
        (one("boolean"), "true", True),
        (one("boolean"), "FALSE", False),
        (one("integer"), "42", 42),
        (one("integer"), " -7 ", -7),
        (one("integer", enum=[5, 10]), "10", 10),
        ({"properties": {"x": {"enum": [5, 10]}}}, "10", 10),
        ({"properties": {"x": {"enum": ["auto", 5]}}}, "5", 5),
        ({"properties": {"x": {"enum": ["auto", 5]}}}, "auto", "auto"),
        (one("string", enum=["5", "10"]), "5", "5"),
        (one("string"), "42", "42"),
        (one("string"), "true", "true"),
        (one("string"), " edge ", " edge "),
        (one("string"), "null", "null"),
        (one("float"), "0.5", 0.5),
        (one("number"), "3", 3),
        (one("number"), "1e3", 1000.0),
        (one("array"), "https://a.example/b.png", ["https://a.example/b.png"]),
        (one("array"), '["a", "b"]', ["a", "b"]),
        (one("array", items={"type": "integer"}), "7", [7]),
        (one("object"), '{"a": [1]}', {"a": [1]}),
        (one(["integer", "null"]), "7", 7),
        (one(["string", "integer"]), "7", "7"),
        ({"properties": {"x": {}}}, "7", "7"),
        ({"properties": {"x": {"anyOf": [{"type": "integer"}, {"enum": ["auto"]}]}}}, "7", 7),
        (of_a_class({"anyOf": [CLASS, {"type": "null"}]}, type="integer"), "7", 7),
        (of_a_class({"allOf": [CLASS], "default": 1}, enum=[1, 2, 4]), "4", 4),
        (of_a_class({"oneOf": [CLASS]}, type="array", items={"type": "number"}), "0.5", [0.5]),
        (of_a_class({"type": "array", "items": CLASS}, type="integer"), "7", [7]),
    ],
)
def test_a_text_cell_gets_the_type_that_the_schema_wants(schema, cell, value):
    sent = check(schema, {"x": cell}, cells=True)

    assert sent == {"x": value}
    assert type(sent["x"]) is type(value)


@pytest.mark.parametrize(
    ("schema", "cell", "what"),
    [
        (one("integer"), "12a", "'12a' is not a whole number"),
        (one("integer"), "5.0", "'5.0' is not a whole number"),
        (one("integer"), "1_000", "'1_000' is not a whole number"),
        (one("integer"), "٣", "'٣' is not a whole number"),
        (one("integer"), "9" * 5000, f"'{'9' * 59}…' is not a whole number"),
        (one("boolean"), "yes", "'yes' is not true or false"),
        (one("boolean"), "1", "'1' is not true or false"),
        (one("number"), "0,5", "'0,5' is not a number"),
        (one("number"), "nan", "'nan' is not a number"),
        (one("number"), "1e999", "'1e999' is not a number"),
        (one("object"), "[1]", "'[1]' is not an object"),
    ],
)
def test_a_cell_is_not_read_generously(schema, cell, what):
    assert [(f, w) for f, w, _ in check(schema, {"x": cell}, cells=True)] == [("x", what)]


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        ("0,5", "Write 0.5, with a point for the decimals."),
        ("1,000", "Write 1000; if it has decimals, write them after a point."),
        ("-12,500", "Write -12500; if it has decimals, write them after a point."),
        ("0,125", "Write 0.125, with a point for the decimals."),
    ],
)
def test_a_comma_is_not_said_to_be_what_it_may_not_be(cell, remedy):
    assert [r for _, _, r in check(one("number"), {"x": cell}, cells=True)] == [remedy]


def test_a_cell_that_is_no_json_says_where_it_breaks():
    [(_, what, remedy)] = check(one("array"), {"x": "[1,"}, cells=True)

    assert what.startswith("'[1,' is not a list in JSON: expecting value")
    assert remedy == 'Write it like ["one", "two"].'


def test_only_cells_are_converted():
    assert check(IDEOGRAM, {"prompt": "A fox", "seed": "42"}) == [
        (
            "seed",
            "'42' is not a whole number",
            "Write digits only, without quotes, or leave it out to let the model choose.",
        )
    ]


@pytest.mark.parametrize(
    ("schema", "value", "what", "remedy"),
    [
        (
            one("string"),
            42,
            "42 is not a text",
            'Put it in quotes to send it as a text, like "42".',
        ),
        (one("string"), [1], "[1] is not a text", "Write a text."),
        (
            one("string"),
            None,
            "nothing is written here (null)",
            "Write a text, or take the name out.",
        ),
        (one("boolean"), 1, "1 is not true or false", None),
        (
            one("string", maxLength=3),
            "four",
            "it has 4 characters, too many",
            "Shorten it to 3 or fewer.",
        ),
        (one("string", minLength=3), "a", "it has 1 character, too few", "Write at least 3."),
        (one("integer", minimum=0), -1, "-1 is too small", "The least allowed is 0."),
        (one("integer", maximum=9), 10, "10 is too large", "The most allowed is 9."),
        (
            one("integer", minimum=0, exclusiveMinimum=True),
            0,
            "0 is too small",
            "Write more than 0.",
        ),
        (
            one("number", multipleOf=8),
            12,
            "12 does not fit the steps of 8",
            "Write a multiple of 8.",
        ),
        (one("array", maxItems=1), [1, 2], "the list has 2 values, too many", "Give 1 or fewer."),
        (one("array", minItems=1), [], "the list has 0 values, too few", "Give at least 1."),
        (one("array", uniqueItems=True), [1, 1], "a value is in the list more than once", None),
        (one("string", pattern="^a"), "b", "'b' does not have the form the model wants", None),
        (one("string", enum=["a", "b"]), "z", "'z' is not allowed", "Allowed: a, b."),
        (one("integer", enum=[5, 10]), 7, "7 is not allowed", "Allowed: 5, 10."),
        (one("string", enum=["5", "10"]), 5, None, None),
    ],
)
def test_each_rule_of_a_schema_has_its_own_sentence(schema, value, what, remedy):
    problems = check(schema, {"x": value})

    assert {field for field, _, _ in problems} == {"x"}
    assert what is None or what in {w for _, w, _ in problems}
    assert remedy is None or remedy in {r for _, _, r in problems}


def test_a_value_that_is_not_allowed_is_answered_with_the_nearest_that_is():
    [(field, what, remedy)] = check(IDEOGRAM, {"prompt": "A fox", "aspect_ratio": "16x9"})

    assert (field, what) == ("aspect_ratio", "'16x9' is not allowed")
    assert remedy.startswith("Did you mean 16:9? Allowed: 3:1, 16:9, ")


def test_a_whole_number_written_with_a_point_is_sent_as_written():
    sent = check(IDEOGRAM, {"prompt": "A fox", "seed": 5.0})

    assert type(sent["seed"]) is float


def test_all_problems_of_an_entry_are_told_at_once():
    problems = check(
        IDEOGRAM,
        {"promt": "A fox", "seed": "x1", "style": "anima", "expand_prompt": "maybe"},
        cells=True,
    )

    assert {field for field, _, _ in problems} == {
        "prompt", "promt", "seed", "style", "expand_prompt"
    }  # fmt: skip
    assert len(problems) == 5


def test_an_unknown_name_is_a_problem_with_a_suggestion():
    [(field, what, remedy)] = check(IDEOGRAM, {"prompt": "A fox", "Seed": 1})

    assert (field, what) == ("Seed", "the model has no input of this name")
    assert remedy.startswith("Did you mean seed?")
    assert "--meta Seed" in remedy


@pytest.mark.parametrize("prompt", ["", " ", "\n\t "])
def test_a_blank_prompt_is_a_problem(prompt):
    assert [w for _, w, _ in check(IDEOGRAM, {"prompt": prompt})] == [
        "it is blank, and the model needs it"
    ]


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://a.example/b.png", "begins with http://, and the service fetches https:// only"),
        ("a.example/b.png", "is not an https:// URL"),
        ("https://", "is not an https:// URL"),
        ("https:///b.png", "is not an https:// URL"),
        ("https://a.example/b c.png", "holds a space or an invisible character"),
        ("https://a.example/b\n.png", "holds a space or an invisible character"),
        ("https://[::1/b.png", "is not a URL"),
        ("data:image/png;base64,AAAA", "is not an https:// URL"),
    ],
)
@pytest.mark.parametrize("form", ["image_uri", "uri", "video_uris"])
def test_a_file_input_has_to_be_a_public_https_address(url, what, form):
    as_list = form.endswith("s")
    schema = one("array" if as_list else "string", format=form)

    [(field, said, _)] = check(schema, {"x": [url] if as_list else url})

    assert field == ("x[1]" if as_list else "x")
    assert said.endswith(what)


PICTURE = {"type": "string", "format": "image_uri"}
PICTURES = {"type": "array", "items": PICTURE}
FILM = {"type": "string", "format": "video_uri"}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"x": {"anyOf": [PICTURE, {"type": "null"}]}}, "image"),
        ({"x": {"oneOf": [PICTURE, PICTURES]}}, "image"),
        ({"x": {"allOf": [CLASS], "title": "Picture"}}, "image"),
        ({"x": {"anyOf": [{"type": "array", "items": CLASS}, {"type": "null"}]}}, None),
        ({"x": {"type": "array", "items": CLASS}}, "image"),
        ({"x": {"anyOf": [PICTURE, FILM]}}, ""),
        ({"x": {"anyOf": [PICTURE, {"type": "string"}]}}, None),
        ({"x": {"type": "string", "format": "file_uri"}}, ""),
        ({"x": {"type": "string", "format": "uri"}}, ""),
        ({"x": {"type": "string"}}, None),
    ],
)
def test_which_files_an_input_takes(schema, kind):
    found = normalize_schema({"properties": schema, "$defs": {"a": PICTURE}})

    assert Validator(found).hosted.get("x") == kind


def test_an_https_address_passes():
    url = "HTTPS://a.example:443/b.png?sig=%2F"

    assert check(one("string", format="image_uri"), {"x": url}) == {"x": url}


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@pytest.mark.parametrize("where", ["x", "list", "name", "id", "meta", "meta name"])
def test_text_that_cannot_be_sent_is_refused_wherever_it_is(text, where):
    schema = {"properties": {"x": {"type": "string"}, "o": {"type": "object"}}}
    values = {"x": text} if where == "x" else {"x": "ok"}
    if where == "list":
        values["o"] = {"a": ["ok", text]}
    if where == "name":
        values["o"] = {text: 1}
    meta = {"tag": {"a": [text]}} if where == "meta" else {}
    if where == "meta name":
        meta = {"tag": {text: 1}}

    [(_, what, _)] = check(schema, values, id=text if where == "id" else None, meta=meta)

    assert what.endswith("which cannot be sent")
    what.encode()


def test_a_problem_stands_at_the_value_where_its_place_is_known():
    written = entry(
        {"prompt": "A fox", "seed": -1}, id="fox", places={"seed": Place("list.yaml", 9, 11)}
    )

    [problem] = Validator(IDEOGRAM).check_entry(written, default_model=MODEL)

    assert problem == Problem(
        Place("list.yaml", 9, 11), "-1 is too small", "The least allowed is 0.", "fox", "seed"
    )


def test_a_problem_inside_a_list_says_which_value():
    schema = one("array", items={"type": "integer"})

    assert [f for f, _, _ in check(schema, {"x": [1, "2", 3, "4"]})] == ["x[2]", "x[4]"]


def test_messages_show_long_and_hostile_values_short_and_escaped():
    [(_, what, _)] = check(one("integer"), {"x": "\x1b[31m\u202e" + "y" * 10_000})

    assert len(what) < 120
    assert what.isprintable()


def test_a_condition_between_inputs_is_checked_too():
    schema = {
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "if": {"required": ["a"]},
        "then": {"required": ["b"]},
    }

    assert check(schema, {"a": 1}) == [
        ("", "b is missing", "Write it, or leave out what needs it.")
    ]
    assert check(schema, {"a": 1, "b": 2}) == {"a": 1, "b": 2}


def test_a_value_nested_too_deeply_is_a_problem_and_no_crash():
    deep = []
    for _ in range(5000):
        deep = [deep]
    schema = {"$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}}},
              "properties": {"x": {"$ref": "#/$defs/l"}}}  # fmt: skip

    [(field, what, _)] = check(schema, {"x": deep})
    assert (field, what) == ("", "checking it by the model's schema has no end")


VALUES = st.one_of(
    st.text(max_size=8),
    st.integers(-3, 2**31 + 1),
    st.booleans(),
    st.none(),
    st.floats(),
    st.sampled_from(["anime", "16:9", "", " "]),
)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "style", "aspect_ratio", "seed", "expand_prompt", "other"]),
        VALUES,
    )
)
def test_what_passes_without_the_judge_would_pass_the_judge(values):
    sent = check(IDEOGRAM, values)

    valid = Draft202012Validator(IDEOGRAM.document).is_valid(values)
    if isinstance(sent, dict):
        assert valid
        assert sent == values
    else:
        assert sent
        assert not valid or "other" in values or not str(values.get("prompt")).strip()


CELLS = st.one_of(
    st.text(max_size=8), st.sampled_from(["anime", "16:9", " ", "7", "+7", "true", "2147483648"])
)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "style", "aspect_ratio", "seed", "expand_prompt", "other"]),
        CELLS,
    ),
    st.none() | st.text(st.characters(codec=None), max_size=3),
    st.sets(st.sampled_from(["prompt", "style", "seed", "expand_prompt"])),
)
def test_a_row_of_cells_comes_to_the_same_with_and_without_the_short_cut(values, id, defaults):
    entry = Entry(1, Place("list.csv", 7), id, None, values, frozenset(values.keys() - defaults))
    quick, plain = Validator(IDEOGRAM), Validator(IDEOGRAM, quick=False)

    assert quick.check_entry(entry, default_model="a/b") == plain.check_entry(
        entry, default_model="a/b"
    )


@needs_models
@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("blackforestlabs/flux-3/text-to-video", {"prompt": "a", "duration": "5"}),
        (
            "google/nano-banana-2-lite/edit",
            {"prompt": "a", "image_urls": "https://a.example/b.png"},
        ),
        (
            "wan-ai/wan-2.7/image-to-video",
            {"prompt": "a", "image_url": "https://a.example/b.png", "duration": "5"},
        ),
        (
            "bytedance/seedream-5.0-pro/image-to-image",
            {"prompt": "a", "image": '["https://a.example/b.png"]'},
        ),
        ("openai/gpt-image-2/text-to-image", {"prompt": "a", "resolution": "1k"}),
    ],
)
def test_the_schemas_in_the_wild_take_sensible_cells(model, values):
    sent = check(shared_model(model), values, cells=True)

    assert isinstance(sent, dict), sent


@needs_models
def test_the_same_duration_is_a_text_for_one_model_and_a_number_for_the_next():
    flux = check(
        shared_model("blackforestlabs/flux-3/text-to-video"),
        {"prompt": "a", "duration": "5"},
        cells=True,
    )
    wan = check(
        shared_model("wan-ai/wan-2.7/image-to-video"),
        {"prompt": "a", "duration": "5", "image_url": "https://a.example/b.png"},
        cells=True,
    )

    assert (flux["duration"], wan["duration"]) == ("5", 5)


@needs_models
@pytest.mark.parametrize(
    ("model", "values", "fields"),
    [
        ("blackforestlabs/flux-3/text-to-video", {"prompt": "a", "duration": 5}, {"duration"}),
        ("google/nano-banana-2-lite/edit", {"prompt": "a"}, {"image_urls"}),
        ("google/nano-banana-2-lite/edit", {"prompt": "a", "image_urls": []}, {"image_urls"}),
        (
            "wan-ai/wan-2.7/image-to-video",
            {"prompt": "a", "image_url": "http://a.example", "negative_prompt": "x" * 501},
            {"image_url", "negative_prompt"},
        ),
        (
            "bytedance/seedream-5.0-pro/image-to-image",
            {"prompt": "", "image": ["b.png"]},
            {"prompt", "image[1]"},
        ),
        ("openai/gpt-image-2/text-to-image", {"prompt": "a", "resolution": "1K"}, {"resolution"}),
    ],
)
def test_the_schemas_in_the_wild_refuse_what_would_be_refused(model, values, fields):
    assert {field for field, _, _ in check(shared_model(model), values)} == fields


@pytest.mark.parametrize(
    "document",
    [
        {"input": {"properties": {"x": {}}}, "output": {"properties": {"image": {}}}},
        {"input_schema": {"properties": {"x": {}}}},
        {"schema": {"properties": {"x": {}}}},
        {"schema": {"input": {"properties": {"x": {}}}}},
        {
            "model_id": "a/b",
            "schema": {"input_schema": {"type": "object", "properties": {"x": {}}}},
        },
        {"properties": {"x": {}}},
    ],
)
def test_the_input_schema_is_found_wherever_it_is(document):
    assert normalize_schema(find_input_schema(document)).properties.keys() == {"x"}


def test_an_input_named_input_is_no_schema():
    found = find_input_schema({"properties": {"input": {"type": "string"}}})

    assert found["properties"].keys() == {"input"}


@pytest.mark.parametrize(
    "schema",
    [
        one("float"),
        one("hologram"),
        one("string", format="hologram_uri_list"),
        one("string", validations=[{"validation_rule": "file_size_mb<"}]),
        one("string", minimum="low", maxLength="many", enum="a,b", required="yes"),
        one("string", pattern="(?<name>a)"),
        one("array"),
        {"properties": {"x": {"type": "string", "nullable": True}}, "$schema": "urn:of-our-own"},
        {"$ref": "#/$defs/in", "$defs": {"in": {"properties": {"x": {"type": "string"}}}}},
        {"allOf": [{"properties": {"x": {"type": "string"}}}]},
    ],
)
def test_a_schema_of_another_dialect_is_put_in_order(schema):
    assert normalize_schema(schema).properties.keys() == {"x"}


@pytest.mark.parametrize(
    "schema",
    [
        one("hologram"),
        one("string", format="hologram"),
        one("string", validations=[{"validation_rule": "file_size_mb<"}]),
        one("string", minimum="low", maxLength="many", enum="a,b"),
        {"$ref": "#/$defs/in", "$defs": {"in": {"properties": {"x": {"type": "string"}}}}},
    ],
)
def test_what_a_schema_says_in_words_unknown_to_us_refuses_no_row(schema):
    assert check(schema, {"x": "b"}, cells=True) == {"x": "b"}


def test_a_property_that_says_itself_that_it_is_required_is():
    schema = {"properties": {"x": {"type": "string", "required": True}}}

    assert check(schema, {}) == [
        (
            "x",
            "it is missing, and the model needs it",
            "Write x in this row, or under defaults: for every row.",
        )
    ]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, "no properties"),
        ({"type": "array", "properties": {"x": {}}}, "describes array"),
        (one("string", **{"$ref": "https://a.example/schema.json"}), "nothing is fetched"),
        (one("string", **{"$ref": "#/$defs/absent"}), "does not hold"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema, reason):
    with pytest.raises(SchemaUnusable, match=reason):
        normalize_schema(schema)


# What may stand in a schema, and nothing that binds several parts together.
KEYWORDS = (
    *("type", "title", "description", "default", "examples", "enum", "const", "format", "items"),
    *("required", "minimum", "exclusiveMaximum", "multipleOf", "maxLength", "uniqueItems", "$ref"),
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(["", "string"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYWORDS), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), ODD), st.dictionaries(st.just("title"), ODD))
def test_what_is_taken_for_a_schema_is_one_by_the_standard(input, top):
    try:
        schema = normalize_schema({**top, "properties": {"x": input}})
    except SchemaUnusable:
        return

    Draft202012Validator.check_schema(schema.document)


@pytest.mark.parametrize(
    ("keyword", "value"), [("title", 5), ("description", ["a"]), ("examples", "a")]
)
def test_what_the_standard_does_not_allow_is_refused_with_its_place(keyword, value):
    with pytest.raises(SchemaUnusable, match=f"^at properties/x/{keyword}: "):
        normalize_schema(one("string", **{keyword: value}))


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"input": 1}', "[" * 20_000])
def test_a_schema_file_that_cannot_be_used_is_an_error_in_words(tmp_path, text):
    path = tmp_path / "model.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"model\.json is not a usable model schema"):
        load_schema(path)


def test_our_schema_is_the_one_of_the_models_page():
    stored = json.loads((ROOT / "schemas" / f"{MODEL}.json").read_text(encoding="utf-8"))

    assert stored["model_id"] == MODEL
    assert stored["input"]["required"] == ["prompt"]
    assert list(stored["input"]["properties"]) == [
        "prompt", "style", "aspect_ratio", "expand_prompt", "negative_prompt", "seed"
    ]  # fmt: skip
    assert stored["output"]["properties"].keys() == {"image", "video", "images", "videos"}


@pytest.mark.parametrize(
    ("id", "good"),
    [
        (MODEL, True),
        ("wan-ai/wan-2.7/image-to-video", True),
        ("Org/Model", True),
        ("a/b/c/d", True),
        ("ideogram", False),
        ("../requests/x", False),
        ("a/../b", False),
        ("a/b?x=1", False),
        ("a/b c", False),
        ("a/b/", False),
        ("/a/b", False),
        ("https://a.example/b", False),
        ("a/b\n", False),
        ("", False),
    ],
)
def test_a_model_id_can_stand_in_a_path(id, good):
    assert (model_id_problem(id) is None) == good


def test_a_duplicate_id_names_both_lines():
    problem = duplicate_id_problem(Place("list.csv", 9), "fox", "list.csv:2")

    assert str(problem.place) == "list.csv:9"
    assert "list.csv:2" in problem.what
    assert (problem.row, problem.field) == ("fox", "id")


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("60/m", 1),
        ("1/s", 1),
        ("3600/h", 1),
        ("86400/d", 1),
        ("30", 0.5),
        (120, 2),
        ("0.6 / m", 0.01),
    ],
)
def test_a_rate_is_a_number_and_a_unit(text, per_second):
    assert units.parse_rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6h", 21600),
        ("90m", 5400),
        ("1h30m", 5400),
        ("45s", 45),
        ("2d", 172800),
        (90, 90),
        ("1.5", 1.5),
    ],
)
def test_a_duration_is_numbers_and_units(text, seconds):
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *[
            (units.parse_rate, t)
            for t in ("", "0", "-1/m", "60/w", "60/", "fast", "1e3", True, "0/m")
        ],
        *[(units.parse_duration, t) for t in ("", "0", "0h", "-6h", "6x", "h", "m90", True)],
        *[(units.parse_clock_time, t) for t in ("", "7", "24:00", "07:60", "7am", "07:00:00")],
    ],
)
def test_what_is_no_rate_duration_or_time_is_refused_in_a_sentence(parse, text):
    with pytest.raises(ValueError, match=r"^A .*\.$"):
        parse(text)


def test_a_time_of_day_has_hours_and_minutes():
    assert units.parse_clock_time("07:05").isoformat() == "07:05:00"
    assert units.parse_clock_time(" 7:05 ").isoformat() == "07:05:00"
