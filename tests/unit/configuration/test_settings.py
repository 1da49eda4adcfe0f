"""What config.toml may say, and what is told of the rest."""

import tomllib

import pytest

from batchgen.configuration.file import schema_of_settings
from batchgen.configuration.settings import read_settings


def read(text, home="/home/mo"):
    return read_settings(tomllib.loads(text), text, "config.toml", home, schema_of_settings())


def problems_of(text, **more):
    return [(str(p.place), p.field, p.what, p.remedy) for p in read(text, **more)[1]]


def test_settings_are_parsed_as_those_of_a_manifest_and_know_their_lines():
    found, problems = read(
        '# mine\nrate = "20/m"\n"max_cost" = 5\n\ntrusted = ["~/lists", "/srv/lists", "~"]\n'
        'notify = ["ntfy://host/topic"]\non_finish = ["echo", "done"]\n[price]\n"a/b" = 0.5\n'
    )

    assert problems == []
    assert found.of_run == {
        "rate": pytest.approx(1 / 3),
        "max_cost": 5,
        "notify": ("ntfy://host/topic",),
        "on_finish": ("echo", "done"),
        "price": {"a/b": 0.5},
    }
    assert found.trusted == ("/home/mo/lists", "/srv/lists", "/home/mo/")
    assert found.lines == {
        **{"rate": 2, "max_cost": 3, "trusted": 5, "notify": 6, "on_finish": 7, "price": 8}
    }


def test_an_unknown_name_is_told_with_its_line_and_what_was_meant():
    assert problems_of("concurrency = 4\nmax-cost = 5\n") == [
        ("config.toml:2", "max-cost", "there is no setting of this name", "Did you mean max_cost?")
    ]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("on_unknown", "It can have rows paid for again, so each run says it: --on-unknown"),
        ("allow-path", "Each run says it: --allow-path"),
        ("token", "Store it with batchgen login; this file is shared and copied, a token is not."),
        ("window", "It is a schedule's: see batchgen schedule install --help"),
    ],
)
def test_what_is_said_elsewhere_is_told_where(name, remedy):
    ((_, _, _, told),) = problems_of(f"{name} = 'x'\n")

    assert told == remedy


@pytest.mark.parametrize(
    "setting",
    [
        *("max_cost = nan", "max_cost_per_day = inf", "ask_above = -1", "rate = nan", "rate = '0'"),
        *(
            "rate = [1]",
            "price = -0.1",
            "price = {a = nan}",
            "price = 1979-05-27",
            "max_cost = '5'",
        ),
        *("concurrency = 0", "concurrency = true", "model = 'x'", "model = '../../a/b'"),
        *("trusted = '~/lists'", "trusted = ['lists']", "trusted = ['~mo/lists']"),
        *("notify = 7", "on_finish = []", "provenance = 'no'", "media_hosts = [1]"),
        *(
            "ping = ''",
            "ping = 'x'",
            "notify = ['x']",
            "max_outputs = 0",
            "[sandbox]\nx = 1",
            "until = 07:00:00",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_once_with_its_line(setting):
    found, problems = read(f"# mine\n{setting}\n")

    assert [problem.place.line for problem in problems] == [2]
    assert problems[0].remedy
    assert (found.of_run, found.trusted) == ({}, ())


def test_all_problems_are_told_in_the_order_of_the_file():
    assert [place for place, *_ in problems_of("rat = 1\nmax_cost = -1\nlimits = 3\n")] == [
        *("config.toml:1", "config.toml:2", "config.toml:3")
    ]


def test_without_a_home_no_folder_is_trusted_by_a_tilde():
    ((_, _, _, remedy),) = problems_of("trusted = ['~/lists']\n", home="")

    assert remedy == "Write the whole path of the folder, or ~/…; '~/lists' is neither."


@pytest.mark.parametrize(
    ("folder", "is_trusted"),
    [
        ("/srv/lists", True),
        ("/srv/lists/spring", True),
        ("/srv/listsx", False),
        ("/srv", False),
        ("/", False),
    ],
)
def test_a_trusted_folder_stands_for_what_is_in_it(folder, is_trusted):
    found, _ = read("trusted = ['/srv/lists']\n")

    assert found.trusts(folder) is is_trusted
