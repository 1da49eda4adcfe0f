"""Options as keywords of Python: the names are those of a run, and values are read once."""

from datetime import time
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from batchgen import config
from batchgen.core.timetable import Timetable
from batchgen.errors import UsageError
from batchgen.library.keywords import OF_TERMINAL, Options, read_options

# What only the configuration can set, and what is no option.
NOT_GIVEN = {"all_per_day", "all_per_month", "own_price", "sources"}


def test_every_option_of_a_run_is_a_keyword_or_the_terminals() -> None:
    of_a_run = config.RunOptions.__dataclass_fields__.keys() - NOT_GIVEN

    assert get_type_hints(Options).keys() | {*OF_TERMINAL} == of_a_run
    assert get_type_hints(Options).keys() & {*OF_TERMINAL} == set()


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("rate", "30/m", 0.5),
        ("rate", 2, 2.0),
        ("max_time", "90m", 5400.0),
        ("max_time", 90, 90.0),
        ("until", "07:00", time(7)),
        ("until", time(6, 30), time(6, 30)),
        ("window", "22:00-06:00", Timetable(time(22), until=time(6))),
        ("max_cost", 20, 20.0),
        ("max_cost", 0.1 + 0.2, 0.1 + 0.2),
        ("price", {"a/b": 0.03, "*": 1}, {"a/b": 0.03, "*": 1.0}),
        ("out", "out/list", Path("out/list")),
        ("allow_path", ["photos"], (Path("photos"),)),
        ("meta", ["Category"], ("Category",)),
        ("notify", "ntfy://a ntfy://b", ("ntfy://a", "ntfy://b")),
        ("ping", "", ""),
        ("notify", [], ()),
        ("raise_limit", {"matrix-rows": 200}, {"matrix_rows": 200}),
        ("limit", 0, 0),
        ("sandbox", True, True),
    ],
)
def test_a_text_is_read_as_on_the_command_line_and_a_number_is_a_unit(
    name: str, written: Any, read: Any
) -> None:
    assert read_options({name: written}) == {name: read}
    assert read_options({name: read}) == {name: read}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_cost", float("nan")),
        ("max_cost", float("inf")),
        ("max_cost", -1),
        ("max_cost", True),
        ("price", {"a/b": float("nan")}),
        ("rate", 0),
        ("rate", float("inf")),
        ("rate", "fast"),
        ("max_time", -1),
        ("concurrency", 0),
        ("limit", -1),
        ("limit", 1.5),
        ("until", "25:00"),
        ("until", 7),
        ("expect_plan", "about three dollars"),
        ("on_unknown", "again"),
        ("meta", "Category"),
        ("allow_path", "photos"),
        ("media_hosts", "example.com"),
        ("retry_failed", "no"),
        ("out", 3),
        ("format", "xlsx"),
        ("ping", "hc-ping.com"),
        ("columns", 3),
        ("raise_limit", {"everything": 1}),
    ],
)
def test_what_cannot_be_read_is_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: "):
        read_options({name: value})


def test_none_gives_none_and_a_wrong_name_is_pythons_error() -> None:
    assert read_options({"max_cost": None}) == {}
    with pytest.raises(TypeError, match=r"'max_costs'\. Did you mean 'max_cost'"):
        read_options({"max_costs": 20})
