"""The files that people open: exact where programs read them, harmless where people do."""

import csv
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import many, media, table
from sandbox_client import Control

from batchgen.report import gallery, tables

REPORTS = (
    *("results.csv", "results.jsonl", "summary.json"),
    *("report/index.html", "report/data/batch.js", "report/data/rows-1.js"),
)
ID, FILES = 1, 6  # of a row of the gallery


def cells(folder: Path, column: str) -> list[str]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def gallery_rows(folder: Path) -> list[list[Any]]:
    pieces = sorted((folder / "report" / "data").glob("rows-*.js"))
    return [row for piece in pieces for row in gallery.read_data_file(piece)]


# What a spreadsheet opens


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("https://evil.example")']


def test_no_cell_is_a_formula_and_every_line_of_json_is_exact(
    run: Command, folder: Path, write: Write
) -> None:
    rows = [
        {"id": f"{prompt[0]}row {n}", "prompt": prompt, "_note": prompt}
        for n, prompt in enumerate(FORMULAS)
        if prompt[0] != "\t"
    ] + [{"id": "tab", "prompt": "\t=1", "_note": "\t=1"}]
    run(write("list.json", json.dumps(rows)))

    for column in ("id", "input.prompt", "meta._note"):
        assert not [c for c in cells(folder, column) if c.startswith(("=", "+", "-", "@", "\t"))]
    expected = [f"'{row['prompt']}".replace("\t=", "\t'=") for row in rows]
    assert cells(folder, "input.prompt") == expected
    assert [line["input"] for line in lines(folder)] == [{"prompt": r["prompt"]} for r in rows]
    assert [line["meta"] for line in lines(folder)] == [{"_note": r["_note"]} for r in rows]
    assert [line["id"] for line in lines(folder)] == [row["id"] for row in rows]


def test_an_error_from_outside_is_no_formula_either(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", value="=cmd|'/c calc'!A1")
    run(write("list.csv", table({"heron": "a heron"})))

    assert cells(folder, "error") == ["'=cmd|'/c calc'!A1"]
    assert lines(folder)[0]["error"] == "=cmd|'/c calc'!A1"


def test_the_table_says_where_each_file_is_and_what_it_cost(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(3))))

    assert sorted(cells(folder, "files")) == media(folder)
    assert cells(folder, "cost") == ["0.03"] * 3
    assert cells(folder, "source") == ["list.csv:2", "list.csv:3", "list.csv:4"]
    assert [*folder.rglob("*.part")] == []


def test_a_prompt_of_several_lines_stays_one_cell(run: Command, folder: Path, write: Write) -> None:
    prompt = 'a heron,\nwith "quotes"; and a comma'
    run(write("list.json", json.dumps([{"prompt": prompt}])))

    assert cells(folder, "input.prompt") == [prompt]


# Order


def test_rows_stand_in_the_order_of_the_manifest_and_the_no_longer_listed_ones_last(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"old": "an owl", "fox": "a fox", "heron": "a heron"})))
    run(write("list.csv", table({"new": "a newt", "heron": "a heron", "fox": "a fox"})))

    order = ["new", "heron", "fox", "old"]
    assert cells(folder, "id") == order
    assert [line["id"] for line in lines(folder)] == order
    assert [row[ID] for row in gallery_rows(folder)] == order
    assert [line["listed"] for line in lines(folder)] == [True, True, True, False]


def test_a_row_with_several_files_or_none_is_one_row_in_every_report(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(3))))
    with closing(sqlite3.connect(folder / "batch.db")) as db, db:
        ((key,),) = db.execute("SELECT key FROM requests WHERE id = 'row-2'")
        db.execute("DELETE FROM outputs WHERE key = ?", (key,))
        for n in (2, 1):
            values = (key, n, "video", "https://x", f"videos/two-{n}.mp4")
            db.execute(
                "INSERT INTO outputs (key, n, kind, url, path) VALUES (?, ?, ?, ?, ?)", values
            )
        db.execute("DELETE FROM outputs WHERE key = (SELECT key FROM requests WHERE id = 'row-3')")

    batchgen("report", folder)

    assert [[output["n"] for output in line["outputs"]] for line in lines(folder)] == [
        [1],
        [1, 2],
        [],
    ]
    assert cells(folder, "files") == ["images/row-1.png", "videos/two-1.mp4 videos/two-2.mp4", ""]
    rows = gallery_rows(folder)
    assert [row[ID] for row in rows] == ["row-1", "row-2", "row-3"]
    assert [[file[1] for file in row[FILES]] for row in rows] == [["image"], ["video"] * 2, []]


def test_what_plays_has_its_seconds_beside_its_size(
    run: Command, folder: Path, write: Write
) -> None:
    rows = [
        {"id": "heron", "model": "atelier/clips/text-to-video", "prompt": "a heron takes off"},
        {"id": "rain", "model": "atelier/tunes/text-to-music", "tags": "rain, slow"},
        {"id": "fox", "prompt": "a fox"},
    ]
    run(write("list.json", json.dumps(rows)))

    assert cells(folder, "duration") == ["1.0", "0.25", ""]
    assert [bool(cell) for cell in cells(folder, "width")] == [True, False, True]
    assert [line["outputs"][0]["duration"] for line in lines(folder)] == [1.0, 0.25, None]
    assert [row[FILES][0][4] for row in gallery_rows(folder)] == [1.0, 0.25, None]


# When they are written


def test_the_report_comes_from_the_journal_alone(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="number 2")
    run(write("list.csv", table(many(3))))
    before = {name: (folder / name).read_bytes() for name in REPORTS}
    for name in REPORTS:
        (folder / name).unlink()
    (folder.parent.parent / "list.csv").unlink()
    sent = sandbox.counts()

    outcome = batchgen("report", folder)

    assert outcome.code == 0
    assert outcome.stdout.strip() == str(folder / "report" / "index.html")
    assert {name: (folder / name).read_bytes() for name in REPORTS} == before
    assert sandbox.counts() == sent


def test_a_run_that_stopped_early_leaves_a_report_too(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("401", match="number 2")
    run(write("list.csv", table(many(3))), "--concurrency", 1)

    assert [line["state"] for line in lines(folder)] == ["saved", "pending", "pending"]
    numbers = json.loads((folder / "summary.json").read_text())
    assert numbers["run"]["exit_code"] == 77
    assert numbers["counts"]["pending"] == 2


def test_the_summary_counts_causes_and_money(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", times=2, value="the model was tired")
    sandbox.fault("lost", match="number 6")
    run(write("list.csv", table(many(6))), "--concurrency", 1)

    numbers = json.loads((folder / "summary.json").read_text())
    tired, lost = numbers["causes"]
    assert (tired["rows"], tired["state"], tired["cause"]) == (2, "failed", "the model was tired")
    assert (lost["rows"], lost["state"], lost["example"]) == (1, "unknown", "row-6")
    assert numbers["money_usd"]["committed"] == pytest.approx(6 * 0.03)
    assert numbers["money_usd"]["unknown"] == pytest.approx(0.03)


def test_the_summary_has_the_sums_of_the_batch_and_of_each_model(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", match="number 2")
    model = "atelier/brush-2/text-to-image"
    rows = [
        {"id": f"row-{n}", "prompt": f"number {n}", **({"model": model} if n > 3 else {})}
        for n in range(1, 6)
    ]
    run(write("list.json", json.dumps(rows)))

    totals = json.loads((folder / "summary.json").read_text())["totals"]
    assert totals["pictures"] == 4
    assert totals["duration_seconds"] > 0
    hours = totals["duration_seconds"] / 3600
    assert totals["pictures_per_hour"] == pytest.approx(4 / hours, rel=0.1)
    assert [(m["rows"], m["saved"]) for m in totals["models"]] == [(3, 2), (2, 2)]
    costs = [m["cost_usd"] for m in totals["models"]]
    money = json.loads((folder / "summary.json").read_text())["money_usd"]["committed"]
    assert sum(costs) == pytest.approx(money)
    assert costs[0] == pytest.approx(3 * 0.03)


def runs_somewhere(cell: str, separators: str = r"[;\t\r\n]") -> bool:
    """Whether a spreadsheet of any region finds the beginning of a formula in a cell's text."""
    parts = re.split(separators, cell)
    return any(part.strip().strip('"\u200b\ufeff').strip().startswith(SIGNS) for part in parts)


SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
BEHIND = [
    *("  =1+1", "\u00a0=1+1", "\ufeff=1+1", "\u200b@SUM(A1)", "\n=1+1", '"=1+1', '" =1"'),
    *("a;=1+1", ";=1+1", "a; =1+1;b", "a\t=1+1", "\t\t=1", "a\r\n=cmd|'/c calc'!A0;", 'a;"=1"'),
    *(f"{sign}1" for sign in SIGNS),
    *(f"a;{sign}1" for sign in SIGNS),
]


@pytest.mark.parametrize("text", BEHIND)
def test_a_formula_is_none_behind_blanks_or_what_separates_cells_elsewhere(text: str) -> None:
    assert runs_somewhere(text)

    for cell in (tables.csv_cell(text), tables.csv_cell([text]), tables.csv_cell({text: 1})):
        assert not runs_somewhere(cell)
    assert tables.csv_cell(text).replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    "text", ["a cat, -style raw", "x = 1; y", "1-2", "me@example.com", "a;b", "it's", "", "a\nb"]
)
def test_a_text_without_a_formula_is_as_it_was(text: str) -> None:
    assert tables.csv_cell(text) == text


def test_a_long_text_of_blanks_and_line_breaks_takes_no_time() -> None:
    for text in ("\n" * 200_000, " " * 200_000, "; " * 100_000, ";" + '"' * 200_000):
        assert tables.csv_cell(text) == text


def test_the_name_of_a_column_is_no_formula_either(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.json", json.dumps([{"prompt": "a heron", "_a;=1+1": "x"}])))

    header, _ = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith("meta._a;'=1+1")


def test_excel_gets_a_table_of_its_own_and_scripts_keep_theirs(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"größe": "Ein Reiher; =1", "fox": 'a "fox",\nred'})))
    before = (folder / "results.csv").read_bytes()
    assert not (folder / "results-excel.csv").exists()

    for options, separator, cost in (([], ",", "0.03"), (["--decimal-comma"], ";", "0,03")):
        assert batchgen("report", folder, "--excel", *options).code == 0
        content = (folder / "results-excel.csv").read_bytes()
        assert content.startswith(b"\xef\xbb\xbfposition")
        table_of_it = csv.DictReader(
            content.decode("utf-8-sig").splitlines(keepends=True), delimiter=separator
        )
        found = [(row["id"], row["input.prompt"], row["cost"]) for row in table_of_it]
        assert found == [("größe", "Ein Reiher; '=1", cost), ("fox", 'a "fox",\nred', cost)]
        assert (folder / "results.csv").read_bytes() == before

    # It may be opened where commas separate cells.
    run(write("list.csv", table({"crane": "A crane, =1", "owl": "An owl,' ＠x,y"})), "--new-list")
    assert batchgen("report", folder, "--excel", "--decimal-comma").code == 0
    text = (folder / "results-excel.csv").read_text(encoding="utf-8-sig")
    assert not runs_somewhere(text, r"[,;\t\r\n]")
    assert "A crane, '=1" in text

    # A decimal comma is for Excel's table alone.
    assert batchgen("report", folder, "--decimal-comma").code == 2
