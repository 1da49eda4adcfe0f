"""Schemas that somebody else wrote: no value takes long to be checked, and none ends in a crash."""

from dataclasses import replace

import pytest

from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.core.rows import Entry, Place, Row
from batchgen.errors import UsageError
from batchgen.validation.bounded import BoundedValidator, TooMuchWork, compile_pattern
from batchgen.validation.model_schema import SchemaUnusable, normalize_schema
from batchgen.validation.validator import Validator


def check(document, values, *, cells=False, limits=DEFAULT_LIMITS):
    names = frozenset(values) if cells else frozenset()
    entry = Entry(1, Place("list.csv", 7), None, None, values, names)
    validator = Validator(normalize_schema(document), limits=limits)
    found = validator.check_entry(entry, default_model="a/b")
    return found.input if isinstance(found, Row) else [problem.what for problem in found]


def x(**schema):
    return {"type": "object", "properties": {"x": schema}}


NO_END = ["checking it by the model's schema has no end"]
TOO_LONG = [
    "checking it by the model's schema takes too many steps; the limit schema-steps is 50000"
]
# A tenth of it: what has no end reaches any limit, and this one sooner.
FEWER_STEPS = replace(DEFAULT_LIMITS, schema_steps=5_000)
TOO_LONG_FOR_FEWER = [TOO_LONG[0].replace("50000", "5000")]


def doubling(depth, keyword="allOf"):
    """Definitions, each of which refers to the next one twice: 2 ** depth steps."""
    steps = {str(n): {keyword: [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(depth)}
    return {
        "$defs": steps | {str(depth): {"type": "integer"}},
        "properties": {"x": {"$ref": "#/$defs/0"}},
    }


def test_a_pattern_that_backtracks_takes_no_longer_than_others():
    # Python's `re` needs 2 ** 40 steps for it.
    assert check(x(type="string", pattern="^(a+)+$"), {"x": "a" * 40 + "!"}) == [
        f"'{'a' * 40}!' does not have the form the model wants"
    ]


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "a{2000}", "[", "\ud800"])
def test_a_pattern_that_re2_does_not_compile_is_named_and_not_checked(pattern):
    schema = normalize_schema(x(type="string", pattern=pattern))

    assert compile_pattern(pattern) is None
    assert schema.unchecked == (pattern,)
    assert check(x(type="string", pattern=pattern), {"x": "anything"}) == {"x": "anything"}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (doubling(40), TOO_LONG_FOR_FEWER),
        (doubling(40, "anyOf"), TOO_LONG_FOR_FEWER),
        (
            {"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
            NO_END,
        ),
        ({"properties": {"x": {}}, "allOf": [{"$ref": "#"}]}, NO_END),
        (x(enum=[*range(60_000)]), TOO_LONG_FOR_FEWER),
        ({"properties": {"x": {}}, "allOf": [{"$ref": "#"}] * 1000}, TOO_LONG_FOR_FEWER),
    ],
    ids=["a tree", "a tree of choices", "a loop", "itself", "a million choices", "a thousand"],
)
def test_a_check_without_an_end_is_a_problem(document, told):
    assert check(document, {"x": "a"}, limits=FEWER_STEPS)[:1] == told


def test_more_steps_can_be_allowed_on_purpose():
    schema = normalize_schema(x(enum=[*range(60_000)]))
    entry = Entry(1, Place("list.csv", 7), None, None, {"x": 59_999})

    [problem] = Validator(schema).check_entry(entry, default_model="a/b")
    assert problem.remedy.endswith("If it is meant, add --raise-limit schema-steps=5000000")
    allowed = DEFAULT_LIMITS.raised({"schema_steps": 5_000_000})
    assert isinstance(
        Validator(schema, limits=allowed).check_entry(entry, default_model="a/b"), Row
    )


def test_a_part_of_a_schema_that_has_no_end_takes_a_cell_as_text():
    document = doubling(40) | {"properties": {"x": {"anyOf": [{"$ref": "#/$defs/0"}] * 2}}}

    assert check(document, {"x": "a"}, cells=True, limits=FEWER_STEPS) == TOO_LONG_FOR_FEWER


def test_a_cell_is_converted_by_definitions_of_older_drafts_too():
    document = {
        "properties": {"x": {"anyOf": [{"$ref": "#/definitions/n"}, {"type": "integer"}]}},
        "definitions": {"n": {"type": "string", "maxLength": 1}},
    }

    assert check(document, {"x": "12"}, cells=True) == {"x": 12}


def test_an_input_may_refer_to_a_schema_that_is_true_or_false():
    document = {"properties": {"x": {"$ref": "#/$defs/any"}}, "$defs": {"any": True}}

    assert check(document, {"x": 1}) == {"x": 1}
    assert check(document | {"$defs": {"any": False}}, {"x": 1}) != {"x": 1}


@pytest.mark.parametrize(
    ("step", "value", "fits"),
    [
        (0.1, 0.3, True),
        (0.1, 0.35, False),
        (3, 10**400, False),
        (0.5, 10**400, True),
        (1e-300, 1e300, True),
        (5, 15.0, True),
    ],
)
def test_steps_are_counted_as_they_are_written(step, value, fits):
    assert (check(x(multipleOf=step), {"x": value}) == {"x": value}) == fits


def test_a_long_list_is_looked_through_once_for_repetitions():
    different = [{"n": n} for n in range(20_000)]

    assert check(x(type="array", uniqueItems=True), {"x": different}) == {"x": different}
    assert check(x(type="array", uniqueItems=True), {"x": [1, 1.0]}) == [
        "a value is in the list more than once"
    ]
    assert check(x(type="array", uniqueItems=True), {"x": [1, True]}) == {"x": [1, True]}


@pytest.mark.parametrize("limit", [float("inf"), float("nan")])
def test_a_limit_that_is_no_number_is_no_limit(limit):
    assert check(x(type="number", multipleOf=limit, maximum=limit), {"x": 7}) == {"x": 7}


def test_a_schema_nested_too_deeply_is_refused():
    deep = {"type": "string"}
    for _ in range(4_000):
        deep = {"items": deep}

    with pytest.raises(SchemaUnusable, match="nested too deeply"):
        normalize_schema(x(**deep))


def test_the_work_is_counted_anew_for_each_value():
    validator = BoundedValidator({"type": "array", "items": {"type": "integer"}}, steps=5_000)

    for _ in range(5):
        assert validator.begin_row()
        assert validator.errors([1] * 2_000) == []
    validator.begin_row()
    with pytest.raises(TooMuchWork):
        validator.errors([1] * 6_000)


def test_the_parts_of_a_row_share_its_steps():
    validator = BoundedValidator({"type": "array", "items": {"type": "integer"}}, steps=100)

    validator.begin_row()
    assert validator.errors([1] * 60) == []
    with pytest.raises(TooMuchWork):
        validator.errors([1] * 60)


def test_rows_that_all_take_long_are_refused_together():
    schema = normalize_schema(x(type="array", items={"type": "integer"}))
    limits = replace(DEFAULT_LIMITS, schema_steps=1_000)
    validator = Validator(schema, limits=limits)
    entry = Entry(1, Place("list.csv", 7), None, None, {"x": [1] * 980})

    for _ in range(21):
        assert isinstance(validator.check_entry(entry, default_model="a/b"), Row)
    with pytest.raises(UsageError, match="schema-steps is 1000 for a row, and a fiftieth"):
        validator.check_entry(entry, default_model="a/b")
    few = Entry(1, Place("list.csv", 7), None, None, {"x": [1] * 8})
    validator = Validator(schema, limits=limits)
    for _ in range(1000):
        assert isinstance(validator.check_entry(few, default_model="a/b"), Row)


def test_a_pattern_that_a_large_text_takes_long_for_counts_by_both():
    document = x(type="string", pattern="(x|a|b)*a[ab]{900}c")

    assert check(document, {"x": "ab" * 100}) != TOO_LONG
    assert check(document, {"x": "ab" * 1_000_000}) == TOO_LONG


@pytest.mark.parametrize(
    "pattern",
    ["a?" * 3000, "[a-z]{0,1000}" * 76, "(x|a|b)*a.{1000}c"],
    ids=["long", "optional", "large"],
)
def test_a_pattern_that_takes_long_to_compile_or_match_is_not_checked(pattern):
    assert normalize_schema(x(type="string", pattern=pattern)).unchecked == (pattern,)


@pytest.mark.parametrize(
    "document",
    [
        {"properties": {f"p{n}": {"type": "string"} for n in range(1_000)}},
        {"properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}] * 1_000}}, "$defs": {"a": {}}},
        {"properties": {"x": {}}, "required": [f"r{n}" for n in range(1_000)]},
        {"properties": {"x": {"enum": [[]] * 1_000}}},
    ],
    ids=["properties", "references", "required", "values"],
)
def test_a_schema_of_too_many_parts_is_refused_by_a_limit_that_can_be_raised(document):
    limits = replace(DEFAULT_LIMITS, schema_parts=1_000)
    with pytest.raises(SchemaUnusable, match=r"the limit schema-parts is 1000$") as refused:
        normalize_schema(document, limits)
    assert refused.value.remedy == "If it is meant, add --raise-limit schema-parts=10000"
    assert normalize_schema(document)


def test_without_being_told_a_schema_may_have_ten_thousand_parts():
    with pytest.raises(SchemaUnusable, match=r"the limit schema-parts is 10000$"):
        normalize_schema({"properties": {f"p{n}": {} for n in range(10_000)}})


def test_a_schema_of_a_hundred_patterns_is_compiled_and_one_of_more_refused():
    def patterns(count):
        return {"properties": {f"p{n}": {"pattern": f"a{n}"} for n in range(count)}}

    assert normalize_schema(patterns(100)).unchecked == ()
    with pytest.raises(SchemaUnusable, match="it has 101 patterns, more than 100"):
        normalize_schema(patterns(101))


def test_of_a_row_a_hundred_problems_are_told():
    document = {"properties": {"x": {}}, "required": [f"r{n}" for n in range(5000)]}

    assert len(check(document, {"x": 1})) == 100
