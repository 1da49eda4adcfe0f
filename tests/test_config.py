"""Where settings, the API's address and the token come from, and which of them are refused."""

import json
import time as clock
import traceback
from datetime import datetime, time, timedelta, timezone
from pathlib import Path

import pytest

from batchgen import config
from batchgen.api import credentials
from batchgen.api.credentials import DEFAULT_BASE, TOKEN_VARIABLES
from batchgen.config import RunOptions, RunSettings, merge_settings, seconds_until
from batchgen.core.budget import CostLimits
from batchgen.errors import TokenRefused, UsageError
from batchgen.manifest.settings import Settings

NOON = datetime(2026, 10, 18, 12, 0, tzinfo=timezone(timedelta(hours=2)))
SECRET = "rc-4f6d9b1c"


def merge(flags=None, settings=None, manifest=Path("lists/spring.yaml")):
    return merge_settings(flags or RunOptions(), settings or Settings(), manifest, NOON)


# -- settings --------------------------------------------------------------------------------------


def test_where_nobody_says_anything_the_defaults_hold():
    assert merge() == RunSettings(
        model="ideogram/ideogram-v2/generate",
        schema=None,
        rate=1.0,
        concurrency=16,
        limit=None,
        limits=CostLimits(),
        price=None,
        prices={},
        stop_after=None,
    )


BOTH = {
    "model": ("a/b", "c/d"),
    "rate": (0.5, 2.0),
    "concurrency": (4, 8),
    "limit": (10, 20),
}


@pytest.mark.parametrize(("name", "flag", "manifest"), [(n, *v) for n, v in BOTH.items()])
def test_a_flag_beats_the_manifest_and_the_manifest_the_default(name, flag, manifest):
    settings = Settings(**{name: manifest})

    assert getattr(merge(settings=settings), name) == manifest
    assert getattr(merge(RunOptions(**{name: flag}), settings), name) == flag


@pytest.mark.parametrize("name", ["batch", "day", "month"])
def test_a_cost_limit_in_a_flag_beats_the_manifest_also_with_zero(name):
    option = {"batch": "max_cost", "day": "max_cost_per_day", "month": "max_cost_per_month"}[name]
    settings = Settings(**{option: 9.0})

    assert merge(settings=settings).limits == CostLimits(**{name: 9.0})
    assert merge(RunOptions(**{option: 0.0}), settings).limits == CostLimits(**{name: 0.0})


def test_a_limit_of_zero_rows_is_a_limit():
    assert merge(RunOptions(limit=0), Settings(limit=9)).limit == 0


def test_prices_come_from_the_manifest():
    merge_of = merge(settings=Settings(price=0.06, prices={"a/b": 0.5}))

    assert (merge_of.price, merge_of.prices) == (0.06, {"a/b": 0.5})


def test_a_schema_in_a_manifest_stands_beside_it_and_one_in_a_flag_where_it_says():
    settings = Settings(schema="gpt.json")

    assert merge(settings=settings).schema == Path("lists/gpt.json")
    assert merge(settings=settings, manifest=None).schema == Path("gpt.json")
    assert merge(RunOptions(schema=Path("other.json")), settings).schema == Path("other.json")


@pytest.mark.parametrize(
    ("flags", "settings", "seconds"),
    [
        (RunOptions(max_time=60.0), Settings(), 60.0),
        (RunOptions(), Settings(max_time=60.0), 60.0),
        (RunOptions(max_time=60.0), Settings(max_time=5.0), 60.0),
        (RunOptions(until=time(13)), Settings(), 3600.0),
        (RunOptions(), Settings(until=time(13)), 3600.0),
        (RunOptions(until=time(14)), Settings(until=time(13)), 7200.0),
        (RunOptions(until=time(13), max_time=60.0), Settings(), 60.0),
        (RunOptions(until=time(13), max_time=86400.0), Settings(), 3600.0),
        (RunOptions(until=time(13)), Settings(max_time=60.0), 60.0),
    ],
)
def test_a_run_stops_at_the_earlier_of_its_time_limits(flags, settings, seconds):
    assert merge(flags, settings).stop_after == seconds


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
    ("option", "environment", "base"),
    [
        (None, {}, DEFAULT_BASE),
        (None, {"RUNCOMFY_MODEL_API_BASE": ""}, DEFAULT_BASE),
        (None, {"RUNCOMFY_MODEL_API_BASE": "https://b.example/v1"}, "https://b.example/v1"),
        (
            "https://a.example/v1",
            {"RUNCOMFY_MODEL_API_BASE": "https://b.example/v1"},
            "https://a.example/v1",
        ),
    ],
    ids=["default", "empty", "environment", "option first"],
)
def test_the_option_beats_the_environment_and_that_the_default(option, environment, base):
    assert credentials.base_url(option, environment) == base


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
    assert credentials.base_url(text, {}) == base


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
        credentials.base_url(text, {})

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
