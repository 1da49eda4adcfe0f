"""A list that was saved by a spreadsheet or moved between systems is not paid for again unasked."""

import json
import sys
import unicodedata
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import as_before, at_a_terminal, media, query, states, table
from sandbox_client import Control

SAME = "sent already: what differs is how ids or texts are written"


def jsonl(*rows: dict[str, object]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param("a.csv", "id,prompt\n0001,a heron\n0002,a fox\n",
                     "id,prompt\n1,a heron\n2,a fox\n", id="zeros"),
        pytest.param("a.csv", "prompt\na heron\na fox\n",
                     "id,prompt\nheron,a heron\nfox,a fox\n", id="ids added"),
        pytest.param("a.csv", "id,prompt\nheron,a heron\nfox,a fox\n",
                     "prompt\na fox\na heron\n", id="ids taken out"),
        pytest.param("a.csv", 'id,prompt\nelk,"An elk\nin fog"\n',
                     'id,prompt\r\nelk,"An elk\r\nin fog"\r\n', id="CRLF in a cell"),
        pytest.param("a.txt", "a hen\nM\u00fcggel\n", "a hen \nMu\u0308ggel\n",
                     id="a blank at the end, and NFD"),
        pytest.param("a.jsonl", jsonl({"id": "g", "prompt": "a gnu", "seed": 7}),
                     jsonl({"id": "g", "prompt": "a gnu", "seed": 7.0}), id="floats"),
    ],
)  # fmt: skip
def test_a_list_that_was_only_rewritten_pays_for_nothing_and_says_so_once(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write,
    name: str, before: str, after: str,
) -> None:  # fmt: skip
    assert run(write(name, before)).code == 0
    posts, pictures = sandbox.posts, media(folder)

    write(name, after)
    told = json.loads(batchgen("plan", name, "--out", folder, "--json").stdout)
    assert told["counts"] == {"saved": posts}
    outcome = run(name)
    assert outcome.code == 0
    assert SAME in outcome.stderr
    write(name, after + "\n")
    again = run(name)
    assert again.code == 0
    assert SAME not in again.stderr
    assert sandbox.posts == posts
    assert media(folder) == pictures


def test_a_folder_of_texts_that_came_from_another_system_pays_for_nothing(
    run: Command, here: Path, sandbox: Control
) -> None:
    texts = here / "texts"
    texts.mkdir()
    (texts / "M\u00fcggel.txt").write_bytes(b"A lake\nin rain\n")
    assert run("texts").code == 0
    (texts / "M\u00fcggel.txt").unlink()
    moved = texts / unicodedata.normalize("NFD", "M\u00fcggel.txt")

    for content in (b"A lake\nin rain\n", b"A lake\r\nin rain\r\n", b"A lake\nin rain\n\n"):
        moved.write_bytes(content)
        assert run("texts").code == 0
    assert sandbox.posts == 1


def test_the_report_has_the_ids_of_the_list_and_the_files_that_were_paid_for(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", "id,prompt\n0001,a heron\n"))
    run(write("list.csv", "id,prompt\n1,a heron\n"))

    (line,) = (folder / "results.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["id"], row["state"]) == ("1", "saved")
    assert media(folder) == ["images/0001.png"]


def test_rows_in_flight_or_unknown_are_not_sent_again_under_another_writing(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", match="heron")
    sandbox.fault("media-500", times=None, match="fox")
    run(write("list.csv", "id,prompt\n01,a heron\n02,a fox\n"))
    assert states(folder) == {"01": "unknown", "02": "completed"}

    assert run(write("list.csv", "id,prompt\n1,a heron\n2,a fox\n")).code == 1
    assert states(folder) == {"1": "unknown", "2": "completed"}
    assert sandbox.posts == 2


def test_a_row_that_failed_is_sent_when_its_text_is_mended(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", times=1)
    assert run(write("list.csv", table({"heron": "a herron"}))).code == 1

    assert run(write("list.csv", table({"heron": "a heron"}))).code == 0
    assert sandbox.posts == 2


@pytest.mark.parametrize("fault", ["422", "canceled"])
def test_a_row_that_failed_or_was_cancelled_stays_so_where_only_its_writing_changes(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write, fault: str
) -> None:
    sandbox.fault(fault, match="heron")
    run(write("list.csv", table({"fox": "a fox", "heron": "a heron"})))
    state = states(folder)["heron"]
    assert state in ("failed", "cancelled")

    for text in ("prompt\na fox\na heron\n", table({"fox": "a fox", "heron": "a heron "})):
        write("list.csv", text)
        told = json.loads(batchgen("plan", "list.csv", "--out", folder, "--json").stdout)
        assert (told["counts"], told["sends"]) == ({"saved": 1, state: 1}, 0)
        assert run("list.csv").code == 1
    outcome = run(write("list.csv", table({"fox": "a fox", "grey": "a heron"})))
    assert outcome.code == 2
    assert "1 row was sent under another id (heron -> grey)" in outcome.stderr
    assert sandbox.posts == 2


def test_rows_under_other_ids_stop_the_run_before_anything_is_sent(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron", "fox": "a fox"})))
    write("list.csv", table({"grey": "a heron", "fox": "a fox", "owl": "an owl"}))

    for options in ((), ("--quiet",)):
        outcome = run("list.csv", *options)
        assert outcome.code == 2
        assert "1 row was sent under another id (heron -> grey)" in outcome.stderr
        assert "Nothing was sent." in outcome.stderr
        assert "--allow-changed" in outcome.stderr
    plan = batchgen("plan", "list.csv", "--out", folder).stdout
    assert 'renamed           grey (list.csv:2): id: "heron" -> "grey"' in plan
    assert "Without --allow-changed a run stops at 1 renamed row" in plan
    assert sandbox.posts == 2
    assert states(folder) == {"heron": "saved", "fox": "saved"}

    assert run("list.csv", "--allow-changed").code == 0
    assert sandbox.posts == 4
    assert run("list.csv").code == 0
    assert sandbox.posts == 4


def test_other_inputs_for_the_same_prompt_are_told_and_sent(
    run: Command, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", "id,prompt,style\nheron,a heron,anime\n"))

    outcome = run(write("list.csv", "id,prompt,style\nheron,a heron,realistic\n"))
    assert outcome.code == 0
    assert 'e.g. heron: style: "anime" -> "realistic".' in outcome.stderr
    assert sandbox.posts == 2
    write("list.csv", "id,prompt,style\nheron,a heron,design\n")
    assert run("list.csv", "--quiet").stderr == ""


def test_another_prompt_every_night_is_nobodys_business(
    run: Command, sandbox: Control, write: Write
) -> None:
    for night in range(2):
        outcome = run(write("list.csv", table({"row-1": f"night {night}"})))
        assert outcome.code == 0
        assert "paid" not in outcome.stderr
    assert sandbox.posts == 2


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_batch_of_before_is_found_too_and_a_plan_leaves_it_as_it_is(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write, version: int
) -> None:
    run(write("list.csv", "id,prompt\n0001,a heron\n"))
    as_before(folder, version)
    write("list.csv", "id,prompt\n1,a heron\n")

    told = json.loads(batchgen("plan", "list.csv", "--out", folder, "--json").stdout)
    assert told["counts"] == {"saved": 1}
    assert query(folder, "PRAGMA user_version") == [(version,)]
    assert run("list.csv").code == 0
    assert sandbox.posts == 1


def test_a_person_at_a_terminal_is_asked_whether_to_pay(
    run: Command, here: Path, folder: Path, reach: list[str], sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron"})))
    write("list.csv", table({"grey": "a heron"}))
    words = ["run", "list.csv", "--out", str(folder), *reach]

    ended, shown = at_a_terminal("", sys.executable, "-m", "batchgen", *words, "--yes")
    assert (ended, "Go on and pay?" in shown) == (2, False)
    for answer, code, posts in (("n", 2, 1), ("y", 0, 2)):
        ended, shown = at_a_terminal(f"{answer}\n", sys.executable, "-m", "batchgen", *words)
        assert "would be paid for again. Go on and pay? [y/N]" in shown
        assert ended == code
        assert sandbox.posts == posts
