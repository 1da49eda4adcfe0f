"""A list of a few kilobytes is no day of work: each limit is named, and raised by the person only.

Memory is measured in a process of its own: what a reader allocates at once is no matter of time.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import pytest
from conftest import Command
from sandbox_client import Control

from batchgen.core.limits import DEFAULT_LIMITS
from batchgen.core.rows import Entry, Problem
from batchgen.manifest.manifest import open_manifest

MIB = 1 << 20


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path, **raised: int) -> list[Entry | Problem]:
    manifest = open_manifest(path, limits=DEFAULT_LIMITS.raised(raised))
    return [*manifest.problems, *manifest.entries(lambda _: ("prompt", "seed", "style", "size"))]


def read_within(path: Path, **limits: int) -> list[Entry | Problem]:
    """As `read`, within limits that may be lower than those of the program."""
    manifest = open_manifest(path, limits=replace(DEFAULT_LIMITS, **limits))
    return [*manifest.problems, *manifest.entries(lambda _: None)]


def told(path: Path, **raised: int) -> str:
    """What the only problem says."""
    [problem] = [one for one in read(path, **raised) if isinstance(one, Problem)]
    return f"{problem.what}\n{problem.remedy}"


# What settings make of a list


def test_a_matrix_of_many_requests_has_to_be_meant_by_the_person(
    tmp_path: Path, batchgen: Command
) -> None:
    path = write(tmp_path, "a.yaml", {"matrix": {"seed": list(range(101))}, "rows": ["A"]})

    outcome = batchgen("validate", path)
    assert outcome.code == 65
    assert "makes 101 requests of every row; the limit matrix-rows is 100\n" in outcome.stderr
    option = "--raise-limit matrix-rows=101"
    assert f"are meant and to be paid for, add {option}\n" in outcome.stderr
    for command in ("validate", "plan"):
        assert "101 rows" in batchgen(command, path, *option.split()).stdout


def test_a_run_pays_for_a_large_matrix_only_where_the_person_says_so_each_time(
    tmp_path: Path, batchgen: Command, sandbox: Control, reach: list[str]
) -> None:
    path = write(tmp_path, "a.yaml", {"matrix": {"seed": list(range(101))}, "rows": ["A"]})
    words = ("run", path, *reach, "--out", tmp_path / "out", "--limit", "1", "--yes")

    assert batchgen(*words).code == 65
    assert batchgen(*words, "--raise-limit", "matrix-rows=101").code == 75
    assert sandbox.posts == 1
    assert batchgen(*words).code == 65  # although the journal has all of the rows
    assert sandbox.posts == 1


def test_a_manifest_cannot_raise_a_limit_that_is_against_it(
    tmp_path: Path, batchgen: Command
) -> None:
    rows = "matrix: {seed: [1, 2]}\nrows: [A]\n"
    path = write(tmp_path, "a.yaml", f"rate: 1/s\nmax_matrix: 200\n{rows}")

    outcome = batchgen("validate", path)
    assert outcome.code == 65
    assert (
        f"{path}:2:13: max_matrix: a manifest can lower a limit, and raise none" in outcome.stderr
    )
    assert "add --raise-limit matrix-rows=200\n" in outcome.stderr
    assert batchgen("validate", path, "--raise-limit", "matrix-rows=200").code == 0
    path = write(tmp_path, "b.yaml", f"raise_limit: matrix-rows=200\n{rows}")
    assert "a manifest cannot set this\n  Use --raise-limit." in batchgen("plan", path).stderr


def test_a_manifest_can_lower_the_limit_of_its_matrix(tmp_path: Path) -> None:
    content = {"max_matrix": 2, "matrix": {"seed": [1, 2, 3]}, "rows": ["A"]}
    path = write(tmp_path, "a.yaml", content)

    assert "3 requests of every row, more than max_matrix: 2" in told(path)


def test_a_matrix_makes_no_endless_list_of_many_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", {"matrix": {"seed": list(range(100))}, "rows": ["A"] * 11})
    *entries, last = read_within(path, matrix_total=1000)

    assert len(entries) == 1000
    assert isinstance(last, Problem)
    assert last.whole
    assert last.what.endswith("1,100 requests up to this row; the limit matrix-total is 1000")
    assert len(read_within(path, matrix_total=1100)) == 1100
    assert DEFAULT_LIMITS.matrix_total == 1_000_000


@pytest.mark.parametrize(
    "settings",
    [
        {"defaults": {"style": "x" * 10_000}},
        {"matrix": {"style": ["x" * 10_000]}},
        {"columns": {f"i{n}": "prompt" for n in range(1000)}},
        {"defaults": {"style": "x" * 10_000}, "matrix": {"seed": [1, 2, 3, 4]}},
        {"matrix": {"seed": list(range(100))}},
    ],
    ids=["defaults", "matrix", "columns", "both", "the row itself"],
)
def test_a_text_that_is_written_once_is_no_gigabytes_of_rows(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    path = write(tmp_path, "a.json", {**settings, "rows": [{"prompt": "A" * 100}] * 200})
    *entries, last = read_within(path, default_total=MIB)

    assert isinstance(last, Problem)
    assert last.whole
    assert last.what.endswith("the limit default-total is 1MiB")
    assert last.remedy == "If it is meant, add --raise-limit default-total=2MiB"
    assert 0 < len(entries) < 11_000
    assert not isinstance(read(path)[-1], Problem)


def test_a_value_that_every_row_has_itself_is_not_added(tmp_path: Path) -> None:
    rows = [{"prompt": "A", "style": "own"}] * 1000
    path = write(tmp_path, "a.json", {"defaults": {"style": "x" * 10_000}, "rows": rows})

    assert not any(isinstance(one, Problem) for one in read_within(path, default_total=MIB))


@pytest.mark.parametrize("setting", ["defaults", "matrix"])
def test_a_setting_that_is_too_long_for_one_row_is_told_at_its_place(
    tmp_path: Path, setting: str
) -> None:
    value = "x" * (MIB + 1)
    values = {"defaults": value, "matrix": ["y", value]}
    path = write(tmp_path, "a.json", {setting: {"style": values[setting]}, "rows": ["A"]})

    assert " 1,048,577 bytes to every row; the limit default-bytes is 1MiB" in told(path)
    assert "--raise-limit default-bytes=2MiB" in told(path)
    assert not any(isinstance(one, Problem) for one in read(path, default_bytes=2 * MIB))


def test_a_matrix_of_odd_values_is_not_compared_each_with_each(tmp_path: Path) -> None:
    odd = [[n] if n % 2 else {"a": n} for n in range(40_000)]  # no sorting brings them together
    path = write(tmp_path, "a.json", {"matrix": {"size": odd}, "rows": ["A"]})

    assert "the matrix makes 40000 requests of every row" in told(path)


def test_many_settings_that_there_are_not_are_told_in_a_few_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", {**{f"s{n}": 1 for n in range(5000)}, "rows": ["A"]})
    problems = [one for one in read(path) if isinstance(one, Problem)]

    assert len(problems) == 11
    assert problems[-1].what == "4990 more names that are no settings"


def test_a_mistake_in_each_of_many_values_is_told_a_hundred_times(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", {"meta": list(range(50_000)), "rows": ["A"]})

    assert len([one for one in read(path) if isinstance(one, Problem)]) == 100


# What a file may be


LONG = [
    ("a.csv", "prompt,seed\nA,1\nB,2\n" + "x" * 900 + ",3\n", "row_bytes", ":4"),
    ("a.csv", 'prompt,seed\nA,1\n"' + "x\n" * 900 + '",3\n', "row_bytes", ":3"),
    ("a.jsonl", '"A"\n"' + "x" * 900 + '"\n', "row_bytes", ":2"),
    ("a.txt", "A\n" + "x" * 900 + "\n", "row_bytes", ":2"),
    ("a.json", '["A",\n["' + "x" * 900 + '"]]', "row_bytes", ":2:1"),
    ("a.json", '["A",\n{"prompt": "A", "seed": [' + "1, " * 900 + "1]}]", "row_bytes", ":2:25"),
    ("a.json", '{"rate": "' + "x" * 900 + '", "rows": []}', "row_bytes", ":1:10"),
    ("a.json", '["A",\n{"prompt": "' + "x" * 450 + '", "style": "' + "x" * 450 + '"}]',
     "row_bytes", ":2:1"),
    ("a.csv", "prompt" + ",b" * 60 + "\n", "row_values", ":1"),
    ("a.csv", "prompt,b\nA" + ",b" * 60 + "\n", "row_values", ":2"),
    ("a.tsv", "prompt\tb\nA" + "\tb" * 60 + "\n", "row_values", ":2"),
    ("a.jsonl", json.dumps({f"n{n}": n for n in range(60)}), "row_values", ":1"),
    ("a.json", json.dumps([{f"n{n}": n for n in range(60)}]), "row_values", ":1"),
    ("a.yaml", "- A\n- size: [" + "b, " * 60 + "b]\n", "row_values", ":2"),
    ("a.yaml", "rows:\n- A\n- size: [" + "b, " * 60 + "b]\n", "row_values", ":3"),
    ("a.yaml", "meta: [" + "b, " * 60 + "b]\nrows: [A]\n", "row_values", ":1"),
    ("a.yaml", "- " + "x" * 900 + "\n", "file_bytes", ""),
    ("a.json", json.dumps(["x" * 900]), "file_bytes", ""),
    ("a.jsonl", '{"size": ' + "[" * 9 + "]" * 9 + "}", "depth", ":1"),
    ("a.json", '[{"size": ' + "[" * 9 + "]" * 9 + "}]", "depth", ":1"),
    ("a.yaml", "- size: " + "[" * 9 + "]" * 9 + "\n", "depth", ":1"),
    ("a.yaml", "- size: &a [1, 2, 3]\n- size: [*a, *a, *a, *a]\n", "alias_values", ":2"),
]  # fmt: skip
SMALL = {"row_bytes": 500, "file_bytes": 500, "row_values": 50, "depth": 7, "alias_values": 12}


@pytest.mark.parametrize(("name", "content", "limit", "place"), LONG)
def test_what_is_too_much_is_refused_by_a_limit_that_can_be_raised(
    tmp_path: Path, name: str, content: str, limit: str, place: str
) -> None:
    path = write(tmp_path, name, content)
    found = read_within(path, **{limit: SMALL[limit]})

    [problem] = [one for one in found if isinstance(one, Problem)]
    shown = limit.replace("_", "-")
    assert problem.whole
    assert f"; the limit {shown} is {SMALL[limit]}" in problem.what
    assert f"If it is meant, add --raise-limit {shown}=" in problem.remedy
    assert str(problem.place).startswith(f"{path}{place}")
    assert "the limit" not in str(read(path))


def test_the_rows_of_a_long_json_are_read_by_the_piece_as_by_the_whole(tmp_path: Path) -> None:
    rows = [{"prompt": f'é{n} \\ " ]', "size": [n, 1.5, {"a": None}]} for n in range(120)]
    path = write(tmp_path, "a.json", rows)

    for longest in range(100, 140):  # the pieces end in each part of a row
        entries = read_within(path, row_bytes=longest)
        assert [one.values for one in entries if isinstance(one, Entry)] == rows


def test_a_mistake_in_a_long_json_is_told_at_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", '["A",\n{"prompt": tru},\n' + '"B",\n' * 500 + '"C"]')
    [problem] = [one for one in read_within(path, row_bytes=500) if isinstance(one, Problem)]

    assert str(problem.place) == f"{path}:2:12"
    assert problem.what == "this is not JSON: expecting value"


def test_a_prompt_in_a_file_of_its_own_has_the_length_of_a_row(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "x" * (5 * MIB))

    assert "the file is too large; the limit row-bytes is 4MiB" in told(tmp_path)
    [entry] = read(tmp_path, row_bytes=10 * MIB)
    assert isinstance(entry, Entry)


# Memory

MEASURED = """
import re, resource
from pathlib import Path
from batchgen.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
try:
    main()
except SystemExit as end:
    status = Path("/proc/self/status").read_text()
    print(end.code, re.search(r"VmHWM:\\s+(\\d+)", status)[1])
"""


def peak_mib(*words: str) -> float:
    """Return the memory that `batchgen validate` takes at most. It cannot take a gigabyte."""
    done = forked.run("validate", *words, code=MEASURED)
    assert done.stdout, done.stderr
    code, kib = done.stdout.split()[-2:]
    assert code in ("0", "65"), done.stderr
    return int(kib) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", lambda: ",".join(f"c{n}" for n in range(1_000_000)) + "\n"),
        ("a.csv", lambda: "prompt,seed\n" + ",".join(["ab"] * 2_000_000) + "\n"),
        ("a.json", lambda: '[{"prompt": [' + ",".join(["[]"] * 5_000_000) + "]}]"),
        ("a.jsonl", lambda: '{"prompt": [' + ",".join(["[]"] * 5_000_000) + "]}\n"),
        ("a.yaml", lambda: "- prompt: [" + ",".join("b" * 1_500_000) + "]\n"),
        ("a.yaml", lambda: "- {" + ", ".join(f"s{n}: {n}" for n in range(500_000)) + "}\n"),
        ("a.json", lambda: "[{" + ", ".join(f'"s{n}": {n}' for n in range(500_000)) + "}]"),
        ("a.yaml", lambda: "- a\n" * 100_000),
        ("a.csv", lambda: 'prompt\n"' + "x\n" * 10_000_000),
    ],
    ids=["columns", "cells", "lists", "lists of a line", "yaml", "yaml names", "names", "rows",
         "an open quote"],
)  # fmt: skip
def test_no_list_of_ten_megabytes_takes_more_than_300_mebibytes(
    here: Path, name: str, content: Any
) -> None:
    write(here, name, content())

    assert peak_mib(name) < 300
