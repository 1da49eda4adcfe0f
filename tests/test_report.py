"""The files that people open: exact where programs read them, harmless where people do."""

import csv
import json
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import many, media, table

from batchgen import report
from batchgen.sandbox.control import Control

REPORTS = ("results.csv", "results.jsonl", "summary.json", "report/index.html", "report/report.css")


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
    def names(self) -> set[str]:
        return {name for name, _ in self.elements}

    @property
    def links(self) -> list[str]:
        return [a[n] for _, a in self.elements for n in ("src", "href") if n in a]


def cells(folder: Path, column: str) -> list[str]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def headings(folder: Path, page: str = "index.html") -> list[str]:
    text = (folder / "report" / page).read_text(encoding="utf-8")
    return [part.partition("</h2>")[0] for part in text.split("<h2>")[1:]]


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
    assert cells(folder, "input.prompt") == [f"'{row['prompt']}" for row in rows]
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


def test_a_prompt_of_several_lines_stays_one_cell(run: Command, folder: Path, write: Write) -> None:
    prompt = 'a heron,\nwith "quotes"; and a comma'
    run(write("list.json", json.dumps([{"prompt": prompt}])))

    assert cells(folder, "input.prompt") == [prompt]


# What a browser opens


HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>"\'><svg/onload=alert(1)>'


@pytest.fixture
def hostile(run: Command, folder: Path, sandbox: Control, write: Write) -> Page:
    """The gallery of a batch whose every text is an attack."""
    sandbox.fault("failed", match="[2]", value=HOSTILE)
    rows = [
        {"id": f"{HOSTILE}[{n}]", "prompt": f"{HOSTILE}[{n}]", "_note": HOSTILE} for n in (1, 2)
    ]
    run(write("<u>list.json", json.dumps(rows)))
    return Page(folder / "report" / "index.html")


def test_markup_in_a_batch_is_text_in_its_gallery(hostile: Page) -> None:
    assert hostile.names.isdisjoint({"script", "svg", "u", "iframe", "object", "style", "base"})
    attributes = {name for _, given in hostile.elements for name in given}
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert hostile.text.count(HOSTILE) >= 2 + 2 + 1


def test_the_gallery_forbids_itself_every_request_and_asks_for_its_own_files_only(
    hostile: Page, folder: Path
) -> None:
    policies = [
        given["content"]
        for name, given in hostile.elements
        if name == "meta" and given.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "script" not in policies[0]
    assert "http" not in policies[0]
    assert hostile.links
    assert not [link for link in hostile.links if ":" in link or link.startswith("/")]


def test_a_link_to_a_file_with_an_odd_name_leads_there(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"50% off & #1 füchse": "a fox"})))

    page = Page(folder / "report" / "index.html")
    sources = [given["src"] for name, given in page.elements if name == "img"]
    assert sources == ["../images/50%25%20off%20%26%20%231%20f%C3%BCchse.png"]
    assert media(folder) == ["images/50% off & #1 füchse.png"]


# Order and pages


def test_rows_stand_in_the_order_of_the_manifest_and_the_no_longer_listed_ones_last(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"old": "an owl", "fox": "a fox", "heron": "a heron"})))
    run(write("list.csv", table({"new": "a newt", "heron": "a heron", "fox": "a fox"})))

    order = ["new", "heron", "fox", "old"]
    assert cells(folder, "id") == order
    assert [line["id"] for line in lines(folder)] == order
    assert headings(folder) == order
    assert [line["listed"] for line in lines(folder)] == [True, True, True, False]
    assert "no longer listed" in Page(folder / "report" / "index.html").text


def test_a_long_batch_has_pages_of_a_thousand_rows_in_order(
    run: Command, folder: Path, write: Write
) -> None:
    rows = many(2001)
    run(write("list.csv", table(rows)), "--limit", 0)

    pages = ["index.html", "page-2.html", "page-3.html"]
    shown = [headings(folder, page) for page in pages]
    assert [len(ids) for ids in shown] == [1000, 1000, 1]
    assert [id for ids in shown for id in ids] == cells(folder, "id") == [*rows]
    assert set(pages) <= set(Page(folder / "report" / "index.html").links)


def test_of_a_thousand_pages_each_is_a_few_links_away_and_no_page_links_to_all() -> None:
    last = 1000
    reached, steps = {1}, 0
    while len(reached) < last:
        reached |= {n for page in reached for n in report.linked(page, last)}
        steps += 1

    assert steps <= 8
    assert max(len(report.linked(page, last)) for page in range(1, last + 1)) <= 13
    assert all({1, page, last} <= {*report.linked(page, last)} for page in range(1, last + 1))


def test_a_page_links_to_the_ones_before_and_after_it(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(2001))), "--limit", 0)

    ways = [
        {a["rel"]: a["href"] for name, a in Page(folder / "report" / page).elements if "rel" in a}
        for page in ("index.html", "page-2.html", "page-3.html")
    ]
    assert [{rel: page for rel, page in way.items() if rel != "stylesheet"} for way in ways] == [
        {"next": "page-2.html"},
        {"prev": "index.html", "next": "page-3.html"},
        {"prev": "page-2.html"},
    ]


def test_a_page_that_stays_the_same_is_not_written_again(
    run: Command, batchgen: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(2))))
    page, style = folder / "report" / "index.html", folder / "report" / "report.css"
    before = page.stat().st_ino
    style.write_text("/* somebody's own */", encoding="utf-8")

    batchgen("report", folder)

    assert page.stat().st_ino == before
    assert "somebody" not in style.read_text(encoding="utf-8")


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
    assert headings(folder) == ["row-1", "row-2", "row-3"]
    elements = [name for name, _ in Page(folder / "report" / "index.html").elements]
    assert (elements.count("img"), elements.count("video")) == (1, 2)


def test_pages_that_a_shorter_batch_does_not_need_are_removed(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table(many(1001))), "--limit", 0)
    run(write("list.csv", table(many(1))), "--limit", 0)

    assert sorted(p.name for p in (folder / "report").iterdir()) == ["index.html", "report.css"]


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


def test_no_report_is_left_half_written(run: Command, folder: Path, write: Write) -> None:
    run(write("list.csv", table(many(2))))
    assert [*folder.rglob("*.part")] == []
