"""Culling: every output is a picture, and a night's pictures are gone through by keys alone."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from chromium import Says, opened, press, shoot, shown, sync_api

expect = sync_api.expect
browser, says = chromium.browser, chromium.says  # fixtures


@pytest.fixture(scope="module")
def several(says: Says, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of three pictures each, and one of one."""
    folder = tmp_path_factory.mktemp("several")
    model = "atelier/series/text-to-image"
    rows = [
        {"id": "heron", "prompt": "A heron", "num_images": 3},
        {"id": "fox", "prompt": "A fox"},
        {"id": "owl", "prompt": "An owl", "num_images": 3},
    ]
    list_ = folder / "several.json"
    list_.write_text(json.dumps({"model": model, "rows": rows}), encoding="utf-8")
    done = says("run", list_, "--out", folder / "several")
    assert done.returncode == 0, done.stderr
    return folder / "several"


@pytest.fixture
def page(browser: Any, several: Path) -> Iterator[Any]:
    with opened(browser, several) as found:
        expect(found.locator("#grid .tile").first).to_be_visible()
        yield found


def exported(page: Any, folder: Path, which: str = "picked", kind: str = "csv") -> Path:
    press(page, "e")
    page.locator("#which").select_option(which)
    page.locator(f"#export input[value={kind}]").check()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download").click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    press(page, "Escape")
    return path


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


# Every output is a picture


def test_every_output_has_its_own_tile_verdict_and_place(page: Any, tmp_path: Path) -> None:
    expect(page.locator("#status")).to_have_text("7 pictures of 3 rows")
    assert shown(page) == [
        "heron (1)",
        "heron (2)",
        "heron (3)",
        "fox",
        "owl (1)",
        "owl (2)",
        "owl (3)",
    ]
    sources = page.locator("#grid img").evaluate_all("all => all.map(one => one.src)")
    assert len({*sources}) == 7

    press(page, "ArrowRight", "p", "Enter")
    detail = page.locator("#detail")
    expect(detail.locator("h2")).to_have_text("heron (2)")
    expect(detail.locator(".films button")).to_have_count(3)
    shoot(page, "films")
    detail.locator(".films button").nth(2).click()
    expect(detail.locator("h2")).to_have_text("heron (3)")
    press(page, "x", "Escape")

    found = lines(exported(page, tmp_path, "decided"))
    assert [(one["id"], one["output"], one["verdict"]) for one in found] == [
        ("heron", "2", "pick"),
        ("heron", "3", "reject"),
    ]
    assert [Path(one["file"]).stem[-1] for one in found] == ["2", "3"]
    again = exported(page, tmp_path, "decided", "manifest")
    assert again.read_text(encoding="utf-8").count("heron") == 2  # one row: its id and its prompt


def test_picks_of_one_output_come_back_as_that_one(
    browser: Any, page: Any, several: Path, says: Says, tmp_path: Path
) -> None:
    press(page, "ArrowRight", "p", "5")
    path = exported(page, tmp_path)
    shutil.copytree(several, tmp_path / "copy")
    said = says("report", tmp_path / "copy", "--picks", path)
    assert said.returncode == 0, said.stderr
    with opened(browser, tmp_path / "copy") as other:
        expect(other.locator("#status")).to_have_text("1 row")
        assert shown(other) == ["heron (2)"]
        expect(other.locator("#n-picked")).to_have_text("1 picked")
    says("report", several, "--picks", path, "--to", tmp_path / "for-ada")
    there = [one.name for one in (tmp_path / "for-ada" / "images").iterdir()]
    assert there == [Path(lines(path)[0]["file"]).name]


def test_picks_made_before_outputs_were_told_apart_mean_all_of_a_row(
    browser: Any, several: Path, says: Says, tmp_path: Path
) -> None:
    (tmp_path / "old.csv").write_text("id,verdict\nheron,pick\n", encoding="utf-8")
    shutil.copytree(several, tmp_path / "copy")
    says("report", tmp_path / "copy", "--picks", tmp_path / "old.csv")
    with opened(browser, tmp_path / "copy") as page:
        expect(page.locator("#n-picked")).to_have_text("3 picked")
        press(page, "ArrowRight", "x")
        expect(page.locator("#n-picked")).to_have_text("2 picked")
