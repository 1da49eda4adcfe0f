"""Any schema with any cell: a row, problems, or a refusal of the schema; never another end."""

from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from batchgen.core.rows import Entry, Place, Row
from batchgen.validation.model_schema import SchemaUnusable, find_input_schema, normalize_schema
from batchgen.validation.validator import Validator

# Among them what broke something before.
TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", "\x1f7", "\ud800", "a" * 40, "12", "0.3", "1e400", "[1,", "{", "true"]),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([10**400, -(10**4000), 1e308, 5e-324, float("inf"), float("nan"), 0.1]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("x"), inner, max_size=3)
    ),
    max_leaves=6,
)
REFERENCES = st.sampled_from(
    ["#", "#/", "#/$defs/a", "#/definitions/b", "#/properties/x", "#/allOf/0", "x", "#a", ""]
)
PATTERNS = st.sampled_from(["^(a+)+$", "(?=a)", "[", r"\d", "a{99999999999}", "(?P<n>", "^.$"])
TYPES = st.sampled_from(
    ["string", "integer", "number", "boolean", "array", "object", "null", "float", "Text", "x"]
)


def _object(inner):
    """A schema: keywords with what they take, and any keyword with anything."""
    several = st.lists(inner, max_size=3)
    named = st.dictionaries(st.sampled_from(["x", "y", "a", "b", "$ref"]), inner, max_size=3)
    meant = {
        "type": TYPES | st.lists(TYPES, max_size=2),
        "$ref": REFERENCES,
        "pattern": PATTERNS,
        "enum": st.lists(VALUES, max_size=3),
        "const": VALUES,
        "uniqueItems": st.booleans(),
        "required": st.lists(st.sampled_from(["x", "y"])) | st.booleans(),
        **dict.fromkeys(("properties", "$defs", "definitions"), named),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), several),
        **dict.fromkeys(("items", "not", "if", "then", "contains"), inner),
        **dict.fromkeys(("multipleOf", "minimum", "maximum", "minLength", "minItems"), NUMBERS),
    }
    orderly = st.fixed_dictionaries({}, optional=meant)
    odd = st.dictionaries(st.sampled_from(sorted(meant)), VALUES | inner, max_size=2)
    return st.builds(lambda a, b: a | b, orderly, odd)


SCHEMAS = st.recursive(st.booleans() | VALUES, _object, max_leaves=8)
DOCUMENTS = st.builds(
    lambda top, x, definitions: {**top, "properties": {"x": x}, **definitions},
    _object(SCHEMAS),
    SCHEMAS,
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("$defs", "definitions"), st.dictionaries(st.sampled_from("ab"), SCHEMAS, max_size=2)
        ),
    ),
)


@fuzz
@given(DOCUMENTS | SCHEMAS, st.dictionaries(st.sampled_from(["x", "y"]), VALUES), st.booleans())
def test_any_schema_and_any_values_come_to_an_end(document, values, cells):
    if cells:
        values = {name: value for name, value in values.items() if isinstance(value, str)}
    names = frozenset(values) if cells else frozenset()
    try:
        schema = normalize_schema(find_input_schema(document))
    except SchemaUnusable:
        return

    entry = Entry(1, Place("list.csv", 7), None, None, values, names)
    found = Validator(schema).check_entry(entry, default_model="a/b")

    assert isinstance(found, Row) or found
