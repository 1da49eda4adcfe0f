"""Where settings, the API's address and the token come from, and which of them are refused."""

import json
import time as clock
import traceback
from datetime import datetime, time, timedelta, timezone
from pathlib import Path

import pytest

from batchgen import config, resources
from batchgen.api import credentials
from batchgen.api.deployment_schema import Conditions
from batchgen.cli.run import plan, run, validate
from batchgen.config import (
    DEFAULT_BASE_URL,
    TOKEN_VARIABLES,
    RunOptions,
    merge_options,
    seconds_until,
    view,
    with_kept,
)
from batchgen.core.budget import CostLimits
from batchgen.core.prices import Price
from batchgen.engine.collector import OutputOptions
from batchgen.engine.policy import Policy
from batchgen.errors import TokenRefused, UsageError
from batchgen.manifest.read_yaml import read_yaml
from batchgen.manifest.settings import read_settings
from batchgen.operations.prices import follow_instances, said_prices

VARIABLE = "RUNCOMFY_MODEL_API_BASE"
NOON = datetime(2026, 10, 18, 12, 0, tzinfo=timezone(timedelta(hours=2)))
SECRET = "rc-4f6d9b1c"


def merge(flags=None, manifest=None, environment=None, configuration=None, defaults=None):
    return merge_options(
        flags or {}, manifest or {}, environment or {}, configuration or {}, defaults or {}
    )


def settings_of(text):
    """The settings of a YAML manifest, which has to be right."""
    settings, problems = read_settings(read_yaml(text, "list.yaml"))
    assert problems == []
    return settings


# -- settings --------------------------------------------------------------------------------------

OPTIONS = sorted(RunOptions.__dataclass_fields__.keys() - {"sources"})
COMMANDS = (run, validate, plan)
# What a manifest sets about its own reading.
OF_READING = {"defaults", "matrix", "max_matrix", "rows", "from", "format", "columns", "meta", "id"}
OF_READING |= {"input", "deployment", "outputs"}


def test_where_nobody_says_anything_the_defaults_hold():
    found = merge()

    assert found.model == "ideogram/ideogram-v2/generate"
    assert (found.rate, found.concurrency, found.limit) == (1.0, 16, None)
    assert found.base_url == "https://model-api.runcomfy.net/v1"
    assert found.limits == CostLimits()
    assert found.sources == dict.fromkeys(OPTIONS, "default")


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_beats_the_manifest_and_the_manifest_a_default(name):
    for flags, manifest, value, source in (
        ({name: "a"}, {name: "b"}, "a", "flag"),
        ({}, {name: "b"}, "b", "manifest"),
        ({}, {}, "c", "default"),
    ):
        found = merge(flags, manifest, defaults={name: "c"})
        assert (getattr(found, name), found.sources[name]) == (value, source)


@pytest.mark.parametrize("name", ["base_url", "ask_above"])
def test_the_environment_beats_the_configuration_and_the_configuration_a_default(name):
    variable = config.VARIABLES[name]
    found = merge({}, {}, {variable: "7"}, {name: "own"}, {name: "c"})
    assert found.sources[name] == "environment"

    found = merge({}, {}, {variable: ""}, {name: "own"}, {name: "c"})
    assert (getattr(found, name), found.sources[name]) == ("own", "configuration")


def test_the_manifest_beats_the_configuration():
    found = merge({}, {"rate": 2.0}, configuration={"rate": 3.0, "concurrency": 4})

    assert (found.rate, found.concurrency) == (2.0, 4)
    assert found.sources["concurrency"] == "configuration"


@pytest.mark.parametrize(
    ("flag", "manifest", "own", "holds"),
    [
        (None, 9.0, 5.0, (5.0, "your configuration")),
        (None, 4.0, 5.0, (4.0, "the manifest")),
        (None, 0.0, 5.0, (0.0, "the manifest")),
        (None, 5.0, None, (5.0, "the manifest")),
        (9.0, 4.0, 5.0, (9.0, "")),
    ],
    ids=str,
)
def test_of_the_manifests_limit_and_the_configurations_the_lower_holds(flag, manifest, own, holds):
    layers = [{"max_cost": usd} if usd is not None else {} for usd in (flag, manifest, own)]
    limits = merge(layers[0], layers[1], configuration=layers[2]).limits

    assert (limits.batch, limits.set_by.get("batch", "")) == holds


def test_limits_of_a_day_and_a_month_of_the_configuration_hold_beside_those_of_the_manifest():
    own = {"max_cost_per_day": 5.0, "max_cost_per_month": 50.0}
    limits = merge({}, {"max_cost_per_day": 9.0}, configuration=own).limits
    assert limits == CostLimits(
        day=9.0, all_day=5.0, all_month=50.0, set_by={"day": "the manifest"}
    )

    limits = merge({"max_cost_per_day": 9.0}, {}, configuration=own).limits
    assert limits == CostLimits(day=9.0, all_month=50.0)


def test_every_setting_of_the_configuration_is_an_option_of_a_run_or_says_whom_it_trusts():
    path = resources.schemas_folder() / "config.schema.json"
    settings = json.loads(path.read_text(encoding="utf-8"))["properties"]

    assert settings.keys() - {*OPTIONS} == {"trusted"}


def test_a_flag_of_nothing_is_a_flag():
    found = merge({"max_cost": 0.0, "limit": 0}, {"max_cost": 9.0, "limit": 9})

    assert (found.limits, found.limit) == (CostLimits(0.0), 0)


def test_every_option_of_the_command_line_is_an_option_of_a_run_or_says_what_is_printed():
    params = {param.name for command in COMMANDS for param in command.params if param.expose_value}

    assert params - {*OPTIONS} == {
        *("manifest", "as_json", "dry_run", "check_urls", "progress", "no_ping", "no_notify"),
        "deployment",
    }


def test_every_setting_of_a_manifest_is_an_option_of_a_run_or_of_its_own_reading():
    path = resources.schemas_folder() / "manifest.schema.json"
    settings = json.loads(path.read_text(encoding="utf-8"))["$defs"]["settings"]["properties"]

    assert settings.keys() - {*OPTIONS} == OF_READING - {*OPTIONS}


def test_what_a_manifest_writes_is_handed_over_by_the_names_of_options_and_parsed():
    settings = settings_of(
        "rate: 2/s\nmax_time: 90m\nuntil: '07:00'\nprice: {a/b: 0.5}\nmax_cost: 5\nmeta: [a]\n"
        "schema: gpt.json\nmodel: a/b\nrows: [a heron]\n"
    )

    assert settings.run_options(Path("lists")) == {
        "rate": 2.0,
        "max_time": 5400.0,
        "until": time(7),
        "price": {"a/b": 0.5},
        "max_cost": 5,
        "schema": Path("lists/gpt.json"),
        "model": "a/b",
    }


@pytest.mark.parametrize(
    ("written", "price"),
    [
        (0.06, Price(0.06)),
        ({"a/b": 0.5}, Price(0.5)),
        (0, Price(0)),
        ({"c/d": 0.5}, None),
        ({"c/d": 0.5, "*": 0.1}, Price(0.1)),
        (None, None),
    ],
    ids=str,
)
def test_a_price_that_a_person_gives_is_for_all_models_or_for_one(written, price):
    given = {} if written is None else {"price": written}

    assert said_prices(merge_options(given, {}, {}, {}, {}), "a/b") == (price, None)
    assert said_prices(merge_options({}, given, {}, {}, {}), "a/b") == (None, price)
    assert said_prices(merge_options({}, {"price": 9.0}, {}, given, {}), "a/b") == (price, Price(9))


@pytest.mark.parametrize(
    ("flags", "most", "due", "requests"),
    [
        ({}, [1], [], 1),
        ({}, [1], ["deployments/0"], 1),
        ({}, [1, 2], ["deployments/0", "deployments/1"], 3),
        ({}, [1], ["deployments/0", "a/b"], 16),  # 16 rows of the model can be under way at once
        ({}, [1], ["a/b"], 16),
        ({}, [40], ["deployments/0", "a/b"], 40),
        ({}, [None], ["deployments/0"], 16),
        ({"concurrency": 2}, [1], ["deployments/0"], 2),
    ],
)
def test_as_many_requests_are_under_way_as_all_models_of_the_list_take(flags, most, due, requests):
    conditions = {f"deployments/{n}": Conditions(at_once=one) for n, one in enumerate(most)}

    assert follow_instances(merge(flags), conditions, due).concurrency == requests


def test_what_a_part_of_a_run_needs_is_taken_from_the_options_of_the_same_names():
    options = merge({"rate": 2.0, "max_cost": 5.0, "until": time(7), "provenance": False})
    computed = {"prices": {}, "per_second": {}, "versions": {}, "closed": {}, "last_position": 3}
    computed |= {"stop_after": None, "until": None}
    policy = view(Policy, options, **computed)

    assert policy == Policy(2.0, 16, None, CostLimits(5.0), last_position=3)
    assert view(OutputOptions, options) == OutputOptions(False, False, True, 100)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ({}, None),
        ({"max_time": 60.0}, 60.0),
        ({"until": time(13)}, 3600.0),
        ({"until": time(13), "max_time": 60.0}, 60.0),
        ({"until": time(13), "max_time": 86400.0}, 3600.0),
    ],
)
def test_a_run_stops_at_the_earlier_of_its_time_limits(written, seconds):
    assert merge(written).stop_after(NOON) == seconds


@pytest.mark.parametrize(
    ("listed", "own", "held"),
    [
        (0.001, 0.06, 0.06),
        ({"gpu": 0.001}, {"*": 0.06}, {"*": 0.06}),
        (0.001, {"gpu": 0.06}, {"*": 0.001, "gpu": 0.06}),
        ({"gpu": 0.001, "cpu": 0.002}, {"gpu": 0.06}, {"gpu": 0.06, "cpu": 0.002}),
    ],
)
def test_a_list_does_not_change_what_a_second_costs_by_the_configuration(listed, own, held):
    second = "price_per_second"
    options = merge_options({}, {second: listed}, {}, {second: own}, {})
    assert options.price_per_second == held

    typed = merge_options({second: 1.0}, {second: listed}, {}, {second: own}, {})
    assert typed.price_per_second == 1.0


def kept(flags, manifest, **texts):
    """The options of a run whose batch keeps these settings."""
    options = merge_options(flags, manifest, {}, {}, {})
    return with_kept(options, {name.replace("_", "-"): text for name, text in texts.items()}, NOON)


def test_what_a_batch_keeps_stands_for_what_nobody_typed():
    options = kept({}, {"rate": 1.0, "until": time(7)}, rate="50/s", concurrency="8", until="06:00")

    assert (options.rate, options.concurrency, options.until) == (50.0, 8, time(6))


def test_what_a_batch_keeps_loosens_nothing_that_was_typed():
    flags = {"rate": 1.0, "concurrency": 4, "until": time(13)}

    assert kept(flags, {}, rate="50/s", concurrency="8", until="14:00") == merge(flags)
    assert kept(flags, {}, rate="1/h").rate == 1 / 3600
    assert kept(flags, {}, until="12:30").until == time(12, 30)
    assert kept(flags, {}, until="11:00").until == time(13)  # that would be tomorrow


@pytest.mark.parametrize("where", [0, 1], ids=["on the command line", "in the list"])
def test_what_a_batch_keeps_never_raises_a_limit_of_cost(where):
    layers = [{}, {}]
    layers[where] = {"max_cost": 5.0}

    assert kept(*layers, max_cost="1000").max_cost == 5.0
    assert kept(*layers, max_cost="2").max_cost == 2.0
    assert kept({}, {}, max_cost="2").max_cost == 2.0


def test_until_is_a_point_in_time_for_a_computer_that_sleeps():
    assert merge({"until": time(13)}).ends_at(NOON) == NOON.timestamp() + 3600
    assert merge({"max_time": 60.0}).ends_at(NOON) is None


@pytest.mark.parametrize(
    ("until", "hours"), [(time(12, 30), 0.5), (time(11), 23.0), (time(12), 24.0), (time(0), 12.0)]
)
def test_until_names_the_next_time_that_the_clock_shows_that(until, hours):
    assert seconds_until(until, NOON) == hours * 3600


@pytest.mark.parametrize(
    ("evening", "hours"),
    [
        (datetime(2026, 10, 24, 22), 10.0),  # the night has an hour more
        (datetime(2026, 3, 28, 22), 8.0),  # the night has an hour less
        (datetime(2026, 6, 1, 22), 9.0),
    ],
)
def test_until_is_a_local_time_also_in_the_nights_when_clocks_change(monkeypatch, evening, hours):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    clock.tzset()
    try:
        assert seconds_until(time(7), evening) == hours * 3600
    finally:
        monkeypatch.undo()
        clock.tzset()


@pytest.mark.parametrize(
    ("manifest", "out"),
    [
        ("list.csv", "out/list"),
        ("/srv/lists/spring.v2.yaml", "out/spring.v2"),
        ("prompts/", "out/prompts"),
        ("-", "out/stdin"),
    ],
)
def test_the_output_folder_is_named_after_the_manifest(manifest, out):
    assert config.default_out(manifest) == Path(out)


# -- the API's address -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "environment", "source", "base"),
    [
        ({}, {}, "default", DEFAULT_BASE_URL),
        ({}, {VARIABLE: ""}, "default", DEFAULT_BASE_URL),
        ({}, {VARIABLE: "https://b.example/v1"}, "environment", "https://b.example/v1"),
        (
            {"base_url": "https://a.example/v1"},
            {VARIABLE: "https://b.example/v1"},
            "flag",
            "https://a.example/v1",
        ),
    ],
    ids=["default", "empty", "environment", "option first"],
)
def test_the_option_beats_the_environment_and_that_the_default(flags, environment, source, base):
    found = merge(flags, environment=environment)

    assert (found.base_url, found.sources["base_url"]) == (base, source)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.example/v1/", "https://api.example/v1"),
        (" https://api.example/v1\n", "https://api.example/v1"),
        ("https://api.example:8443/v1", "https://api.example:8443/v1"),
        ("https://api.example/prod/v1", "https://api.example/prod/v1"),
        ("HTTPS://api.example/v1", "HTTPS://api.example/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://localhost/v1", "http://localhost/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_a_base_is_https_or_on_this_computer(text, base):
    assert credentials.check_base_url(text) == base


@pytest.mark.parametrize(
    "text",
    [
        "http://api.example/v1",
        "http://localhost.example/v1",
        "http://127.0.0.1.example/v1",
        "http://10.0.0.1/v1",
        "http://2130706433/v1",
        "http://0x7f.1/v1",
        "http://localhost@evil.example/v1",
        "https://user@api.example/v1",
        "https://api.example@evil.example/v1",
        "https://evil.example\\@api.example/v1",
        "https://api.example/v1?key=x",
        "https://api.example/v1#x",
        "https://api.example",
        "https://api.example/",
        "https://api.example/v2",
        "https:///v1",
        "https://api.example:port/v1",
        "https://[::1/v1",
        "ftp://api.example/v1",
        "file:///v1",
        "api.example/v1",
        "//api.example/v1",
        "v1",
        "/",
    ],
)
def test_any_other_base_is_refused(text):
    with pytest.raises(UsageError) as refused:
        credentials.check_base_url(text)

    assert refused.value.remedy


# -- the token -------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    """An environment with an empty home for settings."""
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def logged_in(folder, content, mode=0o600):
    """What `runcomfy login` leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "token.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(mode)
    return path


def refusal(environment):
    """The error that a token in `environment` is refused with, as a person or a log shows it."""
    with pytest.raises(TokenRefused) as refused:
        credentials.find_token(environment)
    shown = "".join(traceback.format_exception(refused.value))
    return f"{refused.value!r} {refused.value.what} {refused.value.remedy} {shown}"


def test_the_names_are_those_of_runcomfys_programs_and_documents():
    assert TOKEN_VARIABLES == (
        "RUNCOMFY_TOKEN",
        "RUNCOMFY_API_KEY",
        "RUNCOMFY_API_TOKEN",
        "YOUR_API_TOKEN",
    )


@pytest.mark.parametrize("first", range(len(TOKEN_VARIABLES)))
def test_the_first_name_that_is_set_wins(home, first):
    names = {name: f"token-{n}" for n, name in enumerate(TOKEN_VARIABLES) if n >= first}
    empty = dict.fromkeys(TOKEN_VARIABLES[:first], "")

    assert credentials.find_token(home | empty | names) == f"token-{first}"


def test_the_environment_beats_the_file(tmp_path, home):
    logged_in(tmp_path / "runcomfy", {"access_token": "of-the-file"})

    assert credentials.find_token(home | {"YOUR_API_TOKEN": "of-the-name"}) == "of-the-name"


def test_without_a_name_the_file_of_runcomfy_login_is_read(tmp_path, home):
    logged_in(tmp_path / "runcomfy", {"access_token": SECRET, "expires": 1})

    assert credentials.find_token(home) == SECRET


def test_runcomfys_own_folder_beats_that_of_all_programs(tmp_path, home):
    logged_in(tmp_path / "runcomfy", {"access_token": "of-all"})
    logged_in(tmp_path / "own", {"access_token": "its-own"})

    assert (
        credentials.find_token(home | {"RUNCOMFY_CONFIG_DIR": str(tmp_path / "own")}) == "its-own"
    )


def test_without_any_variable_the_file_is_below_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert credentials.token_file({}) == tmp_path / ".config" / "runcomfy" / "token.json"


def test_without_any_token_all_places_are_named(home, tmp_path):
    text = refusal(home)

    assert all(name in text for name in (*TOKEN_VARIABLES, str(tmp_path), "--sandbox"))
    assert "Nothing was sent" in text


BAD_TOKENS = {
    "newline": f"{SECRET}\n",
    "carriage return": f"{SECRET}\r\n",
    "header injection": f"{SECRET}\r\nHost: evil.example",
    "space around": f" {SECRET} ",
    "space inside": f"Bearer {SECRET}",
    "only a space": " ",
    "smart quotes": f"“{SECRET}”",
    "NUL": f"{SECRET}\0",
    "zero-width space": f"{SECRET}\u200b",
    "umlaut": f"{SECRET}ä",
    "half a surrogate pair": f"{SECRET}\udc80",
}


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
@pytest.mark.parametrize("name", TOKEN_VARIABLES)
def test_a_token_that_no_header_takes_is_refused_without_being_shown(home, name, token):
    text = refusal(home | {name: token})

    assert SECRET not in text
    assert name in text


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_token_in_a_file_is_checked_and_hidden_like_any_other(tmp_path, home, token):
    path = logged_in(tmp_path / "runcomfy", {"access_token": token})

    text = refusal(home)

    assert SECRET not in text
    assert str(path) in text


@pytest.mark.parametrize(
    "content",
    [
        f'{{"access_token": "{SECRET}"'.encode(),
        f'["{SECRET}"]'.encode(),
        f'"{SECRET}"'.encode(),
        SECRET.encode(),
        SECRET.encode() + b"\xff",
        {"token": SECRET},
        {"access_token": [SECRET]},
        {"access_token": ""},
        {"access_token": None},
        b"",
    ],
    ids=str,
)
def test_a_file_without_a_token_is_refused_without_being_shown(tmp_path, home, content):
    path = logged_in(tmp_path / "runcomfy", content)

    text = refusal(home)

    assert SECRET not in text
    assert str(path) in text


def test_a_token_file_that_is_a_folder_is_refused(tmp_path, home):
    (tmp_path / "runcomfy" / "token.json").mkdir(parents=True)

    assert "cannot be read" in refusal(home)


@pytest.mark.parametrize(
    ("mode", "is_open"), [(0o600, False), (0o640, True), (0o604, True), (0o400, False)], ids=oct
)
def test_a_token_file_that_others_can_read_is_noticed(tmp_path, home, mode, is_open):
    logged_in(tmp_path / "runcomfy", {"access_token": SECRET}, mode)

    assert credentials.token_file_is_readable_by_others(home) is is_open


def test_a_token_file_that_is_not_used_or_not_there_is_no_worry(tmp_path, home):
    assert not credentials.token_file_is_readable_by_others(home)
    logged_in(tmp_path / "runcomfy", {"access_token": SECRET}, 0o644)
    assert not credentials.token_file_is_readable_by_others(home | {"RUNCOMFY_TOKEN": SECRET})
