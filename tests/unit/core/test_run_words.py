"""The words of the next run: read by the command line, they are the options of the last one."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchgen.cli.options import given_options
from batchgen.cli.run import run
from batchgen.core.run_words import OPTIONS, are_kept_options, run_words
from batchgen.manifest.formats import FORMATS

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
)
NAME = TEXT.filter(lambda text: "=" not in text)
USD = st.floats(0, 1e9) | st.integers(0, 10**9)
PRICE = USD | st.dictionaries(st.just("*") | TEXT.map(lambda text: f"a{text}b"), USD, min_size=2)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": TEXT | st.just("deployments/11111111-1111-4111-8111-111111111111"),
    "format": st.sampled_from([*FORMATS]),
    **dict.fromkeys(("input_name", "id_template"), TEXT),
    **dict.fromkeys(("fit", "expand", "skip_invalid"), st.just(True)),
    "columns": st.dictionaries(NAME, TEXT, min_size=1),
    "nodes": st.dictionaries(
        NAME, st.just("6.text") | TEXT.map(lambda text: f"6.{text}"), min_size=1
    ),
    "meta": st.lists(TEXT, min_size=1),
    "samples": st.integers(1, 10**30),
    "sample_seed": st.integers(),
    "limit": st.integers(0, 10**30),
    "raise_limit": st.dictionaries(
        st.sampled_from(["matrix_rows", "problems"]), st.integers(0, 10**14), min_size=1
    ),
    **dict.fromkeys(("max_cost", "max_cost_per_day", "max_cost_per_month"), USD),
    **dict.fromkeys(("price", "price_per_second"), PRICE),
}


def read(words: list[str]) -> Any:
    """What the command line makes of them, as JSON has it."""
    with run.make_context("run", ["list.csv", *words]) as context:
        return json.loads(json.dumps(given_options(context), default=str))


def test_every_option_that_is_kept_is_tried() -> None:
    assert VALUES.keys() == OPTIONS.keys()


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_the_words_say_to_the_command_line_what_was_given(options: dict[str, Any]) -> None:
    assert are_kept_options(options)
    assert read(run_words(options)) == options


def test_an_option_that_is_off_has_no_word() -> None:
    assert run_words({"fit": False, "expand": True}) == ["--expand"]
