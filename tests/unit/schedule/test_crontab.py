"""Lines of a crontab: what cron and a shell make of them, and that others stay as they are."""

import re
import subprocess
from datetime import datetime, time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.core.timetable import Timetable, parse_days
from batchgen.errors import UsageError
from batchgen.schedule import crontab
from batchgen.schedule.entry import (
    Entry,
    carried,
    check_name,
    check_words,
    from_json,
    name_of,
)

SINCE = datetime(2026, 11, 23, 12)
NIGHT = Timetable(time(1, 30), until=time(7))


def entry(**changed: object) -> Entry:
    values = {
        "name": "list",
        "manifest": "/home/me/list.csv",
        "folder": "/home/me",
        "timetable": NIGHT,
        "by": "cron",
        "program": ("/opt/batchgen",),
        "since": SINCE,
    }
    return Entry(**(values | changed))  # type: ignore[arg-type]


def test_a_line_says_when_where_and_what() -> None:
    assert crontab.crontab_line(entry()) == (
        "30 1 * * * cd /home/me && /opt/batchgen run /home/me/list.csv -q --window 01:30-07:00"
    )


@pytest.mark.parametrize(
    ("days", "field"),
    [("mon-fri", "1,2,3,4,5"), ("sat,sun", "0,6"), ("daily", "*"), ("sun", "0")],
)
def test_days_are_those_of_cron(days: str, field: str) -> None:
    line = crontab.crontab_line(entry(timetable=Timetable(time(22, 5), parse_days(days))))

    assert line.startswith(f"5 22 * * {field} cd ")


def as_cron_does(line: str) -> str:
    """The command that cron hands to the shell. Source: crontab(5), "the percent sign"."""
    command = line.split(" ", 5)[5]
    assert re.search(r"(?<!\\)%", command) is None
    return command.replace("\\%", "%")


ODD = ["it's", "50% done", "a  b", "$HOME", "`id`", '"q"', "ä€", "#x", "~", "*", "-n", "a;b&c|d"]


@pytest.mark.parametrize("odd", ODD)
def test_the_shell_gets_every_word_as_it_is(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / odd
    folder.mkdir()
    show = ("/usr/bin/env", "sh", "-c", 'pwd; printf "%s\\n" "$V" "$@"', "sh")
    line = crontab.crontab_line(
        entry(
            folder=str(folder),
            manifest=f"/x/{odd}",
            environment={"V": odd},
            options=("--out", odd),
            program=show,
        )
    )

    done = subprocess.run(
        ["/bin/sh", "-c", as_cron_does(line)], capture_output=True, text=True, check=True
    )

    words = [str(folder), odd, "run", f"/x/{odd}", "-q", "--window", "01:30-07:00", "--out", odd]
    assert done.stdout.splitlines() == words


@pytest.mark.parametrize("word", ["a\\b", "a\nb", "a\x1bb", "a\udcfc"])
def test_a_word_that_crons_read_differently_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="no schedule can hold"):
        check_words(entry(folder=word))
    check_words(entry())


def test_a_line_that_cron_would_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="cron takes 990"):
        crontab.block(entry(options=("--column", "x" * 990)))


OTHERS = st.lists(
    st.sampled_from([b"# mine", b"", b"MAILTO=me", b"5 4 * * * true \\%", b"\xff\xfe", b"x\r"])
).map(lambda lines: b"".join(line + b"\n" for line in lines))


@given(OTHERS, OTHERS)
def test_the_lines_of_others_stay_byte_for_byte(before: bytes, after: bytes) -> None:
    lines = crontab.block(entry())
    other = crontab.block(entry(name="list-2"))
    there = before + other
    whole = crontab.with_block(there, "list", lines) + after

    changed = crontab.block(entry(options=("--limit", "1")))
    assert whole == before + other + lines + after
    assert crontab.with_block(whole, "list", changed) == before + other + changed + after
    assert crontab.without_block(whole, "list") == before + other + after
    assert crontab.without_block(before, "list") == before


def test_a_last_line_without_an_end_gets_one() -> None:
    lines = crontab.block(entry())

    assert crontab.with_block(b"1 2 * * * true", "list", lines) == b"1 2 * * * true\n" + lines


def test_markers_that_somebody_broke_are_not_guessed_at() -> None:
    begin, line, end = crontab.block(entry()).splitlines(keepends=True)
    for broken in (begin + line, line + end, end + begin, begin + line + end + begin + end):
        with pytest.raises(UsageError, match="not one pair"):
            crontab.without_block(broken, "list")
        with pytest.raises(UsageError, match="not one pair"):
            crontab.with_block(broken, "list", b"")


def test_an_entry_is_read_as_it_was_written() -> None:
    one = entry(environment={"A": "b"}, options=("--limit", "1"), out="/x", timetable=NIGHT)

    assert from_json(one.to_json()) == one
    assert from_json(entry(timetable=Timetable(time(1))).to_json()).timetable.until is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"name": 1}', "[" * 10**5])
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize(
    ("manifest", "name"),
    [("/a/list.csv", "list"), ("/a/my list%.csv", "my-list"), ("/a/äöü.csv", "list")],
)
def test_a_schedule_has_the_name_of_its_list(manifest: str, name: str) -> None:
    assert check_name(name_of(manifest)) == name


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "a b", "a%", "a@b", "x" * 61])
def test_a_name_that_no_file_or_unit_takes_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        check_name(name)


def test_no_token_and_no_password_is_carried() -> None:
    environment = {
        "RUNCOMFY_TOKEN": "secret",
        "HTTPS_PROXY": "http://me:secret@proxy:80",
        "NO_PROXY": "localhost",
        "HOME": "/home/me",
        "XDG_STATE_HOME": "",
        "BATCHGEN_PING": "https://hc-ping.com/secret",
    }

    there, left_out = carried(environment, "/home/me")

    assert (there, left_out) == ({"NO_PROXY": "localhost"}, ["HTTPS_PROXY", "BATCHGEN_PING"])
    assert carried({"HOME": "/other"}, "/home/me")[0] == {"HOME": "/other"}


@pytest.mark.parametrize(
    ("options", "until", "early"),
    [((), None, False), ((), time(7), True), (("--limit=3",), None, True), (("-v",), None, False)],
)
def test_stopping_early_is_routine_with_a_limit(
    options: tuple[str, ...], until: time | None, early: bool
) -> None:
    one = entry(options=options, timetable=Timetable(time(1), until=until))

    assert one.may_stop_early() is early
    assert ("-q" in one.command()) is ("-v" not in options)


def test_what_lines_above_a_schedule_set_is_known() -> None:
    above = b'# A=1\nPATH=/usr/bin:/bin\n  MAILTO = \'\'\n"X Y"=1\nNAME=" a b "\nODD=\xff\n'
    jobs = b"5 4 * * * Z=1 true\n@daily W=1 true\n"
    whole = above + jobs + crontab.block(entry()) + b"LATER=1\n"

    assert crontab.variables(whole, "list") == {
        "PATH": "/usr/bin:/bin",
        "MAILTO": "",
        "NAME": " a b ",
        "ODD": "\udcff",
    }
