"""What Python writes for the gallery: harmless, in exact pieces, narrowed, and no more than needed.

What a browser makes of it is in test_gallery_in_chromium.py.
"""

import csv
import json
import shlex
import sqlite3
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Once, Write
from helpers import Outcome, change, many, media, query, table, until
from hypothesis import given
from hypothesis import strategies as st
from sandbox_client import Control

from batchgen.batch_folder import Folder
from batchgen.files import write_whole
from batchgen.report import gallery, next_steps, tables
from batchgen.report.filters import read_picks

# Of a row, in the order that the script knows.
POSITION, ID, STATE, MODEL, INPUT, META, FILES, REQUEST_ID, COST = range(9)
ERROR, LISTED, PICK, COMMAND = 11, 16, 18, 19
PATH, SHA256, THUMB = 0, 6, 10  # of a file
COLUMNS = 20


class Page(HTMLParser):
    """What a browser would make of a page. elements: (name, attributes) in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def links(self) -> list[str]:
        return [a[n] for _, a in self.elements for n in ("src", "href") if n in a]


def page(folder: Path) -> Page:
    return Page(folder / "report" / "index.html")


def data(folder: Path) -> Path:
    return folder / "report" / "data"


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = gallery.read_data_file(data(folder) / "batch.js")
    return found


def pieces(folder: Path) -> list[list[list[Any]]]:
    return [
        gallery.read_data_file(data(folder) / f"rows-{n}.js")
        for n in range(1, facts(folder)["pieces"] + 1)
    ]


def rows(folder: Path) -> list[list[Any]]:
    return [row for piece in pieces(folder) for row in piece]


def ids(folder: Path) -> list[str]:
    return [row[ID] for row in rows(folder)]


# What came from outside is harmless


HOSTILE = (
    '</script><script>alert("x")</script><!--<img src=x onerror=alert(1)>"\'>'
    "\u2028\u2029<svg/onload=alert(1)>"
)


@pytest.fixture
def hostile(run: Command, folder: Path, sandbox: Control, write: Write, once: Once) -> Path:
    """A batch whose every text is an attack."""
    rows = [
        {"id": f"{HOSTILE}[{n}]", "prompt": f"{HOSTILE}[{n}]", "_note": HOSTILE} for n in (1, 2)
    ]

    def begin() -> None:
        sandbox.fault("failed", match="[2]", value=HOSTILE)
        run(write("<u>list.json", json.dumps(rows)))

    once("hostile", begin)
    return folder


def test_no_text_of_a_batch_ends_the_script_that_it_is_in(hostile: Path) -> None:
    for path in data(hostile).iterdir():
        text = path.read_text(encoding="utf-8")
        assert "<" not in text
        assert "\u2028" not in text
        assert "\u2029" not in text


def test_every_text_of_a_batch_arrives_as_it_is(hostile: Path) -> None:
    good, bad = rows(hostile)

    assert [row[INPUT] for row in (good, bad)] == [{"prompt": f"{HOSTILE}[{n}]"} for n in (1, 2)]
    assert good[META] == {"_note": HOSTILE}
    assert good[ID] == f"{HOSTILE}[1]"
    assert bad[ERROR].split() == HOSTILE.split()  # the journal keeps reasons on a line


def test_markup_in_a_batch_is_text_on_its_page(hostile: Path) -> None:
    found = page(hostile)
    scripts = [given for name, given in found.elements if name == "script"]
    attributes = {name for _, given in found.elements for name in given}

    assert scripts == [{}]  # ours, of which the policy has the hash
    assert {name for name, _ in found.elements}.isdisjoint({"u", "img", "iframe", "object", "base"})
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert HOSTILE in found.text


def test_the_page_forbids_itself_every_request_and_asks_for_its_own_files_only(
    hostile: Path,
) -> None:
    found = page(hostile)
    (policy,) = (
        given["content"]
        for name, given in found.elements
        if name == "meta" and given.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert not [link for link in found.links if ":" in link or link.startswith("/")]
    local = [link for link in found.links if not link.startswith(("#", ".."))]
    assert not [link for link in local if not (hostile / "report" / link).is_file()]


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=5))
def test_a_value_in_a_script_is_exact_and_harmless(value: Any) -> None:
    text = gallery.to_script_json(value)

    assert json.loads(text) == value
    assert not {"<", "\u2028", "\u2029"} & {*text}


# Facts and rows


def test_a_row_has_all_that_the_journal_knows_of_it(
    run: Command, folder: Path, write: Write
) -> None:
    rows_ = [{"id": "a & b", "prompt": "a fox", "seed": 7, "_shelf": "Animals"}]
    run(write("list.json", json.dumps(rows_)))

    (row,) = rows(folder)
    assert len(row) == COLUMNS
    assert row[:META + 1] == [
        *(1, "a & b", "saved", "ideogram/ideogram-v2/generate"),
        *({"prompt": "a fox", "seed": 7}, {"_shelf": "Animals"}),
    ]  # fmt: skip
    ((path, kind, width, height, seconds, size, sha256, note, n, choice, thumb),) = row[FILES]
    assert [path] == media(folder)
    assert (kind, seconds, note, n, choice, thumb) == ("image", *[None] * 5)
    assert max(width, height) == 64
    assert size == (folder / path).stat().st_size
    ((request_id, cost, price, saved_at),) = query(
        folder, "SELECT request_id, cost, price, saved_at FROM requests"
    )
    assert query(folder, "SELECT sha256 FROM outputs") == [(sha256,)]
    assert row[REQUEST_ID:ERROR + 1] == [request_id, cost, price, None, None]  # fmt: skip
    assert row[14:] == [saved_at, 1, 1, "list.json:1", None, None]


def test_the_facts_say_what_batch_it_is(run: Command, folder: Path, write: Write) -> None:
    run(write("list.csv", table(many(2))))

    found = facts(folder)
    assert (found["batch"], found["manifest"]) == ("list", "list.csv")
    assert (found["rows"], found["pieces"], found["size"]) == (2, 1, 1000)
    assert found["pictures"] == 2
    assert (found["narrowed"], found["left_out"]) == (None, 0)
    assert found["command"] == f"batchgen report {folder}"
    ((ended_at,),) = query(folder, "SELECT ended_at FROM runs")
    assert found["written_at"] == ended_at
    assert len(found["batch_id"]) == 16


def test_a_batch_keeps_its_name_for_the_browser_wherever_it_is_moved(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    manifest = write("list.csv", table(many(1)))
    run(manifest)
    before = facts(folder)["batch_id"]
    moved = folder.rename(folder.parent / "elsewhere")
    run(manifest, "--out", moved)
    other = write("other.csv", table(many(1)))
    run(other)

    assert facts(moved)["batch_id"] == before
    assert facts(folder)["batch_id"] != before


def test_a_row_that_the_manifest_has_no_longer_says_so(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"old": "an owl", "fox": "a fox"})))
    run(write("list.csv", table({"fox": "a fox"})))

    assert [(row[ID], row[LISTED]) for row in rows(folder)] == [("fox", 1), ("old", 0)]


def test_half_a_surrogate_pair_in_a_journal_is_no_obstacle(tmp_path: Path) -> None:
    with write_whole(tmp_path / "rows-1.js", keep_if_same=True) as file:
        file.write(f"gallery.rows(1,[{gallery.to_script_json(chr(0xD83D))}]);\n")

    assert gallery.read_data_file(tmp_path / "rows-1.js") == ["\ud83d"]


# The next step


def test_a_failed_and_an_unknown_row_come_with_the_command_that_settles_them(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", match="number 1", value="the model was tired")
    sandbox.fault("lost", match="number 3")
    run(write("list.csv", table(many(3))), "--concurrency", 1)

    assert [row[COMMAND] for row in rows(folder)] == [
        f"batchgen retry {folder} --id row-1",
        None,
        f"batchgen resolve {folder} --id row-3",
    ]
    text = page(folder).text
    assert f"batchgen retry {folder} --cause 'the model was tired'" in text
    assert f"batchgen resolve {folder}" in text


def test_the_commands_do_what_they_say(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", times=3, value="it's tired\x1b[2J; $(date)")
    run(write("list.json", json.dumps([{"id": f"a\t'{n}", "prompt": f"{n}"} for n in range(3)])))

    one = rows(folder)[0][COMMAND]
    error = rows(folder)[0][ERROR]
    every = next_steps.command_for_cause(str(folder), "failed", error)
    assert one.isprintable()
    assert every is not None
    assert batchgen(*said_by_shell(one)).stdout.startswith("1 row queued again")
    assert batchgen(*said_by_shell(every)).stdout.startswith("2 rows queued again")


def said_by_shell(command: str) -> list[str]:
    """The words after `batchgen`, as bash understands them."""
    printed = f"set -- {command}; shift; printf '%s\\0' \"$@\""
    done = subprocess.run(["bash", "-c", printed], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_command_to_copy_holds_nothing_that_would_steer_a_terminal(id: str) -> None:
    command = next_steps.command_for_row("out/list", "failed", id, listed=True)

    assert command is not None
    assert command.isprintable()
    if id.isprintable():
        assert shlex.split(command) == ["batchgen", "retry", "out/list", "--id", id]


@pytest.mark.parametrize("state", ["pending", "submitted", "completed", "saved", "invalid"])
def test_what_a_run_goes_on_with_by_itself_has_no_command(state: str) -> None:
    assert next_steps.command_for_row("out/list", state, "heron", listed=True) is None
    assert next_steps.command_for_cause("out/list", state, "asked again later") is None


def test_a_failed_row_that_is_not_listed_cannot_be_retried_but_an_unknown_one_settled() -> None:
    assert next_steps.command_for_row("out/list", "failed", "heron", listed=False) is None
    assert next_steps.command_for_row("out/list", "unknown", "heron", listed=False) is not None


def test_a_cancelled_row_is_named_by_its_state() -> None:
    command = next_steps.command_for_row("out/my list", "cancelled", "heron", listed=True)
    assert command == "batchgen retry 'out/my list' --state cancelled --id heron"


# The night


def test_the_page_has_the_timeline_with_what_slowed_and_stopped_the_night(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("429", times=2)
    run(write("list.csv", table(many(3))), "--limit", 2)

    found = page(folder)
    (drawing,) = (given for name, given in found.elements if name == "svg")
    assert drawing["role"] == "img"
    assert "Submitted: 2, completed: 2, told to slow down (429): 2, stopped: 1" in found.text
    assert "The limit of 2 submissions is reached." in found.text


# Pieces


def test_a_long_batch_comes_in_pieces_of_a_thousand_rows_in_order_and_a_shorter_one_in_fewer(
    run: Command, folder: Path, write: Write
) -> None:
    listed = many(1001)
    run(write("list.csv", table(listed)), "--limit", 0)

    assert [len(piece) for piece in pieces(folder)] == [1000, 1]
    assert ids(folder) == [*listed]
    for number in (1, 2):
        text = (data(folder) / f"rows-{number}.js").read_text(encoding="utf-8")
        assert text.startswith(f"gallery.rows({number},[\n")
        assert text.endswith("\n]);\n")

    left_by_an_older_batchgen = ("page-2.html", "report.css", "store.js")
    for name in left_by_an_older_batchgen:
        (folder / "report" / name).touch()
    run(write("list.csv", table(many(1))), "--limit", 0)

    assert sorted(path.name for path in data(folder).iterdir()) == ["batch.js", "rows-1.js"]
    for name in left_by_an_older_batchgen:
        assert not (folder / "report" / name).exists()
    assert not [*folder.glob("report/page-*"), *folder.glob("report/*.js")]


@pytest.mark.parametrize("count", [5, 6, 7, 13])
def test_what_is_beyond_the_limit_is_counted_and_in_the_tables(
    run: Command, folder: Path, write: Write, count: int
) -> None:
    run(write("list.csv", table(many(count))), "--limit", 0)
    size = gallery.GallerySize(rows_per_piece=2, max_pieces=3)
    tables.write_report_files(Folder(folder), size=size)

    assert ids(folder) == [*many(min(count, 6))]
    assert facts(folder)["rows"] == min(count, 6)
    assert facts(folder)["left_out"] == max(count - 6, 0)
    assert (folder / "results.jsonl").read_text(encoding="utf-8").count("\n") == count


def test_an_empty_batch_has_a_page_and_no_piece(run: Command, folder: Path, write: Write) -> None:
    run(write("list.csv", table(many(1))), "--limit", 0)
    change(folder, "DELETE FROM requests")
    run(write("list.csv", "id,prompt\n"), "--limit", 0)

    assert (folder / "report" / "index.html").is_file()


def test_a_file_that_stays_the_same_is_not_written_again(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(2))))
    report = folder / "report"
    before = {path: path.stat().st_ino for path in report.rglob("*") if path.is_file()}
    style = report / "gallery.css"
    style.write_text("/* somebody's own */", encoding="utf-8")

    batchgen("report", folder)

    after = {path: path.stat().st_ino for path in report.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after[path]} == {style}
    assert "somebody" not in style.read_text(encoding="utf-8")


def test_the_script_and_the_style_are_those_of_the_package(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(1))))

    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    for script in gallery.TEMPLATES.glob("*.js"):
        assert script.read_text(encoding="utf-8") in text
    for asset in gallery.TEMPLATES.glob("*.css"):
        assert (folder / "report" / asset.name).read_bytes() == asset.read_bytes()


# Thumbnails


@pytest.fixture
def large(sandbox: Control) -> None:
    """Pictures large enough for thumbnails."""
    sandbox.set(picture_size=600, picture_bytes=70_000)


@pytest.mark.usefixtures("large")
def test_a_large_picture_has_a_thumbnail_named_by_its_hash(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(2))))

    files = [row[FILES][0] for row in rows(folder)]
    assert [file[THUMB] for file in files] == [f"thumbs/{file[SHA256][:16]}.webp" for file in files]
    assert all((folder / "report" / file[THUMB]).stat().st_size < 64 * 1024 for file in files)


@pytest.mark.usefixtures("large")
def test_thumbnails_stay_while_their_rows_are_narrowed_away_and_go_with_their_pictures(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(2))))
    there = {path: path.stat().st_ino for path in (folder / "report" / "thumbs").iterdir()}
    batchgen("report", folder, "--where", "id=row-1")
    assert {path: path.stat().st_ino for path in there} == there

    change(folder, "DELETE FROM outputs WHERE key = (SELECT key FROM requests WHERE id = 'row-1')")
    batchgen("report", folder)

    (row,) = (row for row in rows(folder) if row[FILES])
    assert [path.name for path in (folder / "report" / "thumbs").iterdir()] == [
        Path(row[FILES][0][THUMB]).name
    ]


@pytest.mark.usefixtures("large")
def test_without_thumbnails_the_gallery_names_none(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(1))))
    batchgen("report", folder, "--no-thumbnails")

    assert rows(folder)[0][FILES][0][THUMB] is None


def test_a_page_that_is_written_while_a_run_goes_on_says_so(
    start: Any, batchgen: Command, folder: Path, write: Write
) -> None:
    process = start(write("list.csv", table(many(40))), "--rate", "20/m")
    until(process, lambda: folder.joinpath("batch.db").exists() and bool(saved(folder)))

    batchgen("report", folder)

    assert facts(folder)["running"]
    assert "A run was under way when this page was written" in page(folder).text
    process.terminate()
    process.communicate()
    assert not facts(folder)["running"]
    assert "A run was under way" not in page(folder).text


def saved(folder: Path) -> list[tuple[Any, ...]]:
    try:
        return query(folder, "SELECT id FROM requests WHERE state = 'saved'")
    except sqlite3.OperationalError:  # it has no tables yet
        return []


# --where and --picks


@pytest.fixture
def mixed(run: Command, folder: Path, sandbox: Control, write: Write, once: Once) -> Path:
    """Three rows: saved, failed, saved; a style and a shelf each."""
    listed = [
        {"id": "heron", "prompt": "a heron", "style": "anime", "_shelf": "Birds"},
        {"id": "fox", "prompt": "a fox", "style": "general", "_shelf": "Mammals"},
        {"id": "owl", "prompt": "an owl", "style": "general", "_shelf": "Birds"},
    ]

    def begin() -> None:
        sandbox.fault("failed", match="fox", value="the model was tired")
        run(write("list.json", json.dumps(listed)))

    once("mixed", begin)
    return folder


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (["state=failed"], ["fox"]),
        (["style=general"], ["fox", "owl"]),
        (["style!=general"], ["heron"]),
        (["_shelf=Birds", "style=general"], ["owl"]),
        (["prompt~HERON"], ["heron"]),
        (["error~tired"], ["fox"]),
        (["id!=fox", "state=saved"], ["heron", "owl"]),
    ],
)
def test_the_gallery_shows_what_fulfils_every_condition_and_the_tables_show_all(
    mixed: Path, batchgen: Command, where: list[str], shown: list[str]
) -> None:
    tables = [(mixed / name).read_bytes() for name in ("results.csv", "results.jsonl")]
    options = [word for condition in where for word in ("--where", condition)]

    told = batchgen("report", mixed, *options)

    assert told == Outcome(0, f"{mixed / 'report' / 'index.html'}\n", "")
    assert ids(mixed) == shown
    assert facts(mixed)["narrowed"] == ", ".join(where)
    assert [(mixed / n).read_bytes() for n in ("results.csv", "results.jsonl")] == tables
    batchgen("report", mixed)
    assert ids(mixed) == ["heron", "fox", "owl"]


def test_where_no_row_matches_the_gallery_is_empty_and_says_so(
    mixed: Path, batchgen: Command
) -> None:
    told = batchgen("report", mixed, "--where", "state=unknown")

    assert told.code == 0
    assert told.stdout.strip() == str(mixed / "report" / "index.html")
    assert "No row matches state=unknown." in told.stderr
    assert (facts(mixed)["rows"], facts(mixed)["pieces"], ids(mixed)) == (0, 0, [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "stlye=general"], "Did you mean style?"),
        (["--where", "state"], "Write NAME=VALUE"),
        (["--picks", "nowhere.csv"], "nowhere.csv cannot be read: No such file"),
        (["--picks", "other.csv"], "other.csv: this batch has no row 'swan'"),
        (["--picks", "latin.csv"], "latin.csv cannot be read: it is not UTF-8"),
    ],
)
def test_what_the_batch_does_not_have_is_refused_and_nothing_is_written(
    mixed: Path, batchgen: Command, here: Path, write: Write, options: list[str], said: str
) -> None:
    write("other.csv", "id,verdict\nheron,pick\nswan,pick\n")
    (here / "latin.csv").write_bytes("id\nfüchse\n".encode("latin-1"))
    before = {path: path.stat() for path in mixed.rglob("*") if path.is_file()}

    told = batchgen("report", mixed, *options)

    assert (told.code, told.stdout) == (2, "")
    assert said in told.stderr
    assert {p: p.stat().st_ino for p in before} == {p: s.st_ino for p, s in before.items()}


def test_picks_with_a_long_prompt_are_read_where_no_list_was_read_before() -> None:
    before = csv.field_size_limit(131_072)
    lines = ["id,verdict,prompt\n", f"owl,pick,{'long ' * 60_000}\n"]
    try:
        assert [*read_picks(lines, "picks.csv").by_id] == [("owl", None)]
    finally:
        csv.field_size_limit(before)


def test_picks_are_shown_with_their_marks_and_nothing_else(
    mixed: Path, batchgen: Command, write: Write
) -> None:
    ((request_id,),) = query(mixed, "SELECT request_id FROM requests WHERE id = 'owl'")
    lines = [
        "id,request_id,verdict,rating,note",
        f"owl,{request_id},pick,5,soft light",
        "fox,,reject,",
    ]
    write("picks.csv", "\ufeff" + "\r\n".join(lines) + "\r\n")

    told = batchgen("report", mixed, "--picks", "picks.csv")

    assert told.code == 0
    assert [(row[ID], row[PICK]) for row in rows(mixed)] == [
        ("fox", ["reject", 0, ""]),
        ("owl", ["pick", 5, "soft light"]),
    ]
    assert facts(mixed)["narrowed"] == "picks.csv"
