"""What `init` writes is valid as it stands, and stays so when its comments are taken away."""

import io
import re

import pytest
from helpers import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchgen.core.rows import Row
from batchgen.errors import UsageError
from batchgen.manifest.manifest import open_manifest
from batchgen.operations.init import table_for_model, yaml_for_model
from batchgen.validation.model_schema import SchemaUnusable, load_schema, normalize_schema
from batchgen.validation.validator import Validator

MODEL = "atelier/brush-2/text-to-image"
SHARED = ROOT.parent / "shared" / "data" / "models"
IDEOGRAM = ROOT / "schemas" / "ideogram" / "ideogram-v2" / "generate.json"
OTHERS = (
    *("blackforestlabs/flux-3/text-to-video", "google/nano-banana-2-lite/edit"),
    *("wan-ai/wan-2.7/image-to-video", "bytedance/seedream-5.0-pro/image-to-image"),
    "openai/gpt-image-2/text-to-image",
)
absent = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared model schemas are absent")
FILES = [IDEOGRAM, *(pytest.param(SHARED / f"{name}.json", marks=absent) for name in OTHERS)]

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["true", "7", "16:9", "a #b", "a: b", "- x", "'", "é"]
)
NAMES = st.sampled_from(["prompt", "text", "seed", "image_url", "a b", "no", "é", "x-y"])
# A model that allows nothing but a NUL takes no text that could be sent.
CHOICES = TEXTS.filter(lambda text: text.strip() and "\0" not in text)
ODD_NAMES = NAMES | st.sampled_from(["id", "model", "_x", "<<", " a", "", "a\nb"]) | TEXTS


def typed(kind, **more):
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=more)


SIZES = st.integers(0, 4)
INTEGERS = typed("integer", minimum=st.integers(-9, 9), default=st.integers(-99, 99))
SCALARS = st.one_of(
    typed("string", minLength=SIZES, maxLength=st.integers(4, 9), default=TEXTS),
    st.fixed_dictionaries({"type": st.just("string"), "enum": st.lists(CHOICES, min_size=1)}),
    INTEGERS,
    typed("integer", maximum=st.integers(-9, 9), multipleOf=st.integers(1, 5)),
    typed("number", minimum=st.floats(-9, 9), default=st.floats(-99, 99)),
    typed("float", exclusiveMinimum=st.integers(-9, 9)),
    typed("boolean", default=st.booleans()),
    typed("string", format=st.sampled_from(["image_uri", "uri", "audio_uri"])),
    st.fixed_dictionaries({"enum": st.lists(st.integers(-9, 9), min_size=1, max_size=3)}),
)
# Schemas as the catalogue has them; for each a value can be found.
USUAL = (
    SCALARS
    | typed("array", items=SCALARS, minItems=SIZES)
    | typed("array", format=st.just("image_uris"), minItems=SIZES, maxItems=st.integers(4, 9))
)
# And whatever else a schema may say.
ODD = st.recursive(
    USUAL | st.dictionaries(st.sampled_from(["type", "enum", "default", "pattern", "not"]), TEXTS),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "anyOf": st.lists(inner, max_size=2),
            "items": inner,
            "not": inner,
            "pattern": st.sampled_from(["^a+$", "[", "^.{3}$"]),
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "required": st.lists(NAMES, max_size=2),
            "type": st.sampled_from(["object", "array", "string", "null", "x"]),
            "uniqueItems": st.booleans(),
            "minItems": SIZES,
            "default": st.none() | TEXTS | st.lists(TEXTS, max_size=2) | st.floats(),
        },
    ),
    max_leaves=5,
)


def model_of(names, inputs):
    properties = st.dictionaries(names, inputs, min_size=1, max_size=5)
    return properties.flatmap(
        lambda found: st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.just(found),
                "required": st.lists(st.sampled_from(sorted(found)), unique=True),
            }
        )
    )


def entries_of(text, form, schema):
    manifest = open_manifest(None, format=form, stdin=io.BytesIO(text.encode()))
    found = list(manifest.entries(lambda model: schema.properties))
    assert manifest.problems == []
    return found


def check(text, form, schema):
    """Return the inputs that a run would send; every row is valid."""
    validator = Validator(schema)
    rows = [
        validator.check_entry(one, default_model=MODEL) for one in entries_of(text, form, schema)
    ]
    assert [row for row in rows if not isinstance(row, Row)] == []
    return [row.input for row in rows]


def uncommented(text):
    """Without the `# ` before settings; the sentences at the top stay comments.

    So does `expand`, with which a choice may be no text that can be sent: `{`.
    """
    head, model, rest = text.partition("\nmodel:")
    return head + model + re.sub(r"^# (?!expand)", "", rest, flags=re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_written_for_a_known_model_is_valid_and_names_every_input(path):
    schema = load_schema(path)
    written = yaml_for_model(MODEL, Validator(schema), "list.yaml")

    for text in (written, uncommented(written)):
        rows = check(text, "yaml", schema)
        assert [row["prompt"][:8] for row in rows] == ["A lighth", "A paper "]
    assert set(rows[0]) == set(schema.properties)
    table = table_for_model(MODEL, Validator(schema))
    assert check(table, "csv", schema) == check(written, "yaml", schema)
    assert set(table.partition("\n")[0].split(",")) == {"id", "model", *schema.properties}


@settings(max_examples=100)
@given(model_of(NAMES, USUAL))
@example({"properties": {"prompt": {"type": "string", "enum": ["{"]}}, "required": ["prompt"]})
@example({"properties": {"style": {"type": "string", "enum": ['a\\"b: #']}}, "required": ["style"]})
def test_what_is_written_for_a_usual_schema_is_valid(document):
    schema = normalize_schema(document)
    text = yaml_for_model(MODEL, Validator(schema), "list.yaml")

    assert check(text, "yaml", schema)
    assert check(uncommented(text), "yaml", schema)


@settings(max_examples=100)
@given(model_of(ODD_NAMES, ODD), st.booleans())
def test_for_any_schema_what_is_written_is_valid_or_nothing_is_written(document, as_table):
    try:
        schema = normalize_schema(document)
    except SchemaUnusable:
        return
    validator = Validator(schema)
    try:
        table = table_for_model(MODEL, validator) if as_table else ""
        text = table or yaml_for_model(MODEL, validator, "list.yaml")
    except UsageError:
        return
    assert check(text, "csv" if as_table else "yaml", schema)
    if not as_table:
        entries_of(uncommented(text), "yaml", schema)


def test_a_value_that_nobody_can_guess_is_told_with_its_input():
    properties = {"prompt": {"type": "string"}, "code": {"type": "string", "pattern": "^[0-9]{9}$"}}
    schema = normalize_schema({"properties": properties, "required": ["code"]})

    with pytest.raises(UsageError, match="for its input code"):
        yaml_for_model(MODEL, Validator(schema), "list.yaml")


def test_a_comment_says_type_choices_bounds_and_default():
    schema = load_schema(IDEOGRAM)
    text = yaml_for_model(MODEL, Validator(schema), "list.yaml")

    assert re.search(
        r"^#   seed: 0 +# integer, minimum 0, maximum 2147483647; this is the model's default$",
        text,
        re.MULTILINE,
    )
    assert '"general", "realistic", "design", "render_3D", "anime"; this is the model\'s' in text
    assert re.search(r"^    prompt: A .* # string, required$", text, re.MULTILINE)
