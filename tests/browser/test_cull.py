"""Culling: every output is a picture, and a night's pictures are gone through by keys alone."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from chromium import REDRAWN, Says, focused, opened, press, shoot, shown, sync_api
from PIL import Image

from batchgen.manifest.manifest import open_manifest
from batchgen.report.cells import escape_formulas

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

    press(page, "ArrowRight", "p", "ArrowLeft", "Enter")
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


# The choice comes back from a file


def dropped(page: Any, path: Path) -> None:
    """Drop a file on the page, as from a file manager."""
    page.evaluate(
        """([name, text]) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([text], name));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer, cancelable: true}));
        }""",
        [path.name, path.read_text(encoding="utf-8")],
    )


def test_picks_are_imported_in_another_browser_as_one_step(
    browser: Any, page: Any, several: Path, tmp_path: Path
) -> None:
    press(page, "ArrowRight", "p", "x", "5")
    path = exported(page, tmp_path, "decided")
    with opened(browser, several) as other:
        press(other, "3", "p")
        other.locator("#picks").set_input_files(path)
        expect(other.locator("#told")).to_have_text(
            f"{path.name}: 3 pictures changed; u takes it back."
        )
        shoot(other, "imported")
        marks = other.locator("#grid .marks").all_text_contents()
        assert marks == ["✓ ★★★", "✓ ", "✕ ", "★★★★★", "", "", ""]
        press(other, "u")
        expect(other.locator("#n-picked")).to_have_text("1 picked")
        expect(other.locator("#n-rejected")).to_have_text("0 rejected")
        dropped(other, path)
        expect(other.locator("#n-picked")).to_have_text("2 picked")
        dropped(other, path)
        expect(other.locator("#told")).to_contain_text("your choice is as it says already")
        other.reload()
        expect(other.locator("#n-picked")).to_have_text("2 picked")


def test_what_picks_name_and_the_page_does_not_have_is_counted_and_said(
    page: Any, tmp_path: Path
) -> None:
    path = tmp_path / "picks.csv"
    path.write_text(
        "\ufeffid;output;verdict;rating\r\n"
        "heron;2;reject;\r\n"  # of one output: before what is said of all
        "heron;;pick;4\r\n"
        'ghost;;pick;\r\n"<b>x</b>\nowl";;pick;\r\nfox;2;pick;\r\n\r\nfox;1;;1\r\n',
        encoding="utf-8",
    )
    dropped(page, path)
    expect(page.locator("#told")).to_have_text(
        "picks.csv: 4 pictures changed; u takes it back."
        " 3 lines name what is not here: ghost, <b>x</b>\nowl, fox (2)."
    )
    marks = page.locator("#grid .marks").all_text_contents()
    assert marks == ["✓ ★★★★", "✕ ", "✓ ★★★★", "★", "", "", ""]


UNCLEAR = [
    ("prompt\nA heron\n", "1: it has neither a column id nor a column request_id."),
    ("id,verdict\nfox,pick\nowl,maybe\n", "3: the verdict maybe is neither pick nor reject."),
    ("id,rating\nfox,6\n", "2: the rating 6 is none of 0 to 5."),
    ("id,output\nfox,0\n", "2: the output 0 is no number from 1."),
    ("id,request_id,verdict\n,,pick\n", "2: it names no row, since id"),
    ('id,verdict\n\n"fox"x,pick\n', "3: it is no CSV."),
    ('id,verdict\nowl,pick\n"fox,pick\n', "3: it is no CSV."),
]


def test_of_a_file_that_says_nothing_clear_nothing_is_taken(page: Any, tmp_path: Path) -> None:
    for n, (text, why) in enumerate(UNCLEAR):
        path = tmp_path / f"picks-{n}.csv"
        path.write_text(text, encoding="utf-8")
        dropped(page, path)
        expect(page.locator("#told")).to_contain_text(f"Nothing is taken from picks-{n}.csv:{why}")
        expect(page.locator("#n-picked")).to_have_text("0 picked")


def test_what_kept_a_spreadsheet_from_running_a_text_is_taken_off_again(page: Any) -> None:
    texts = ["=1+1", "'=1", "\t'x", "''\t'=", "a;'=b", "a\r=b", ' "@x', "＋1", "it's", "'", "a - b"]
    cells = [escape_formulas(text) for text in texts]
    assert page.evaluate("all => all.map(gallery.exports.uncell)", cells) == texts


# Notes


def test_a_note_is_written_by_keys_and_shown_found_kept_and_taken_back(
    browser: Any, page: Any, several: Path, says: Says, tmp_path: Path
) -> None:
    detail = page.locator("#detail")
    press(page, "ArrowRight", "n")
    expect(detail.get_by_label("Note")).to_be_focused()
    page.keyboard.type("=SUM(1) px F 5 hands")  # no key of it is a command
    shoot(page, "note")
    press(page, "Escape")
    expect(detail.locator("h2")).to_have_text("heron (2)")  # the picture stays open
    assert not page.evaluate("document.fullscreenElement")
    press(page, "Escape")
    tile = page.locator("#grid .tile").nth(1)
    expect(tile.locator(".said")).to_have_text("=SUM(1) px F 5 hands")
    expect(tile).to_have_attribute("aria-label", re.compile("note: =SUM"))
    expect(page.locator("#n-rated")).to_have_text("0 rated")
    shoot(page, "noted")

    page.locator("#search").fill("HANDS")
    expect(page.locator("#status")).to_have_text("1 of 7 pictures")
    page.locator("#search").fill('note:""')
    expect(page.locator("#status")).to_have_text("6 of 7 pictures")
    page.locator("#search").fill("")
    press(page, "Escape")
    path = exported(page, tmp_path, "decided")
    assert [(one["output"], one["note"]) for one in lines(path)] == [("2", "'=SUM(1) px F 5 hands")]

    page.reload()
    expect(tile.locator(".said")).to_have_text("=SUM(1) px F 5 hands")
    press(page, "ArrowRight", "n")
    page.keyboard.type(", no")
    detail.get_by_role("button", name="Next").click()
    expect(detail.get_by_label("Note")).to_have_value("")
    press(page, "u")
    expect(detail.locator("h2")).to_have_text("heron (2)")
    expect(detail.get_by_label("Note")).to_have_value("=SUM(1) px F 5 hands")

    shutil.copytree(several, tmp_path / "copy")
    says("report", tmp_path / "copy", "--picks", path)
    with opened(browser, tmp_path / "copy") as other:
        expect(other.locator(".said")).to_have_text("=SUM(1) px F 5 hands")
        other.evaluate("window.print = () => (window.printed = true)")
        other.get_by_role("button", name="Print").click()
        other.wait_for_function("() => window.printed")
        expect(other.locator("#sheet figcaption i")).to_have_text("=SUM(1) px F 5 hands")


def test_a_note_of_a_stranger_is_a_text_and_has_an_end(page: Any, tmp_path: Path) -> None:
    markup = "<img src=x onerror=alert(1)> \u202eback"
    path = tmp_path / "picks.csv"
    path.write_text(f"id,note\nfox,{markup}\n", encoding="utf-8")
    press(page, "ArrowRight", "ArrowRight", "ArrowRight", "p")
    dropped(page, path)
    tile = page.locator("#grid .tile").nth(3)
    expect(tile.locator(".said")).to_have_text(markup.replace("\u202e", "\\u202e"))
    expect(tile.locator(".marks")).to_have_text("✓")  # of which the file says nothing
    path.write_text(f"id,note\nfox,{'x' * 1001}\n", encoding="utf-8")
    dropped(page, path)
    expect(page.locator("#told")).to_contain_text(":2: the note has more than 1,000 characters.")
    path.write_text("id,verdict\nfox,reject\n", encoding="utf-8")  # from before there were notes
    dropped(page, path)
    expect(tile.locator(".marks")).to_have_text("✕")
    expect(tile.locator(".said")).to_have_count(1)


# A cull that flows


def test_a_decision_goes_on_and_can_be_taken_back_and_done_again(page: Any) -> None:
    press(page, "3", "p", "x", "p")  # from the first key: nothing was clicked
    assert focused(page) == "fox"
    expect(page.locator("#n-picked")).to_have_text("2 picked")
    press(page, "u", "Control+z")
    assert focused(page) == "heron (2)"
    expect(page.locator("#n-rejected")).to_have_text("0 rejected")
    press(page, "Control+y")
    expect(page.locator("#n-rejected")).to_have_text("1 rejected")
    press(page, "u", "u", "u")
    expect(page.locator("#n-rated")).to_have_text("0 rated")
    press(page, "u")
    expect(page.locator("#told")).to_have_text("There is nothing to take back.")


def test_with_a_decisions_stay_and_the_browser_remembers_it(page: Any) -> None:
    press(page, "a", "p")
    assert focused(page) == "heron (1)"
    page.reload()
    expect(page.locator("#grid .tile").first).to_be_visible()
    press(page, "ArrowRight", "p")
    assert focused(page) == "heron (2)"
    page.locator("#advance").check()
    go_to = page.locator("#grid .tile").first
    go_to.focus()
    press(page, "x", " ")
    assert focused(page) == "heron (3)"


def test_a_cull_goes_on_in_the_detail_and_while_a_filter_takes_away(page: Any) -> None:
    press(page, "Enter", "p", "x")
    expect(page.locator("#detail h2")).to_have_text("heron (3)")
    page.locator("#detail").get_by_role("button", name="Pick").click()
    expect(page.locator("#detail h2")).to_have_text("fox")
    press(page, "u")
    expect(page.locator("#detail h2")).to_have_text("heron (3)")
    press(page, "Escape")
    page.get_by_role("group", name="My choice").get_by_label("not decided").check()
    expect(page.locator("#status")).to_have_text("5 of 7 pictures")
    page.locator("#grid .tile").first.focus()
    press(page, "p")
    page.evaluate(REDRAWN)
    press(page, "p")
    assert focused(page) == "owl (1)"
    press(page, "u")
    assert focused(page) == "fox"


def test_after_a_click_on_a_filter_keys_mean_the_picture_with_the_ring(page: Any) -> None:
    press(page, "ArrowRight")
    page.get_by_role("group", name="prompt").get_by_label("A heron").check()
    expect(page.locator("#status")).to_have_text("3 of 7 pictures")
    press(page, "p")
    assert focused(page) == "heron (3)"
    assert page.locator("#grid .marks").all_text_contents() == ["", "✓ ", ""]
    page.locator("#advance").focus()
    press(page, "x", "u", "Enter")
    expect(page.locator("#detail h2")).to_have_text("heron (3)")


def test_many_are_selected_by_a_range_or_all_and_decided_at_once(page: Any) -> None:
    press(page, "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight")
    expect(page.locator("#n-selected")).to_have_text("3 selected")
    page.locator("#many").get_by_role("button", name="Reject").click()
    expect(page.locator("#n-rejected")).to_have_text("3 rejected")
    press(page, "Control+z")
    expect(page.locator("#n-rejected")).to_have_text("0 rejected")
    page.get_by_role("button", name="Deselect").click()
    page.locator("#grid .tile").nth(4).click(modifiers=["ControlOrMeta"])
    page.locator("#grid .tile").nth(6).click(modifiers=["Shift"])
    expect(page.locator("#n-selected")).to_have_text("3 selected")
    page.get_by_role("button", name="Select all 7 shown").click()
    expect(page.locator("#n-selected")).to_have_text("7 selected")
    page.get_by_role("button", name="Deselect").click()
    press(page, "Control+a")
    page.locator("#tray #many").get_by_role("button", name="Stars: 4").click()
    expect(page.locator("#n-rated")).to_have_text("7 rated")
    shoot(page, "many")


def test_the_mouse_finds_the_marks_on_the_picture_it_is_over(page: Any) -> None:
    tile = page.locator("#grid .tile").nth(1)
    tile.hover()
    shoot(page, "hover")
    tile.locator("[data-quick=pick]").click()
    tile.locator("[data-quick=star]").click()
    tile.locator("[data-quick=star]").click()
    expect(tile.locator(".marks")).to_have_text("✓ ★★")
    expect(page.locator("#detail")).to_be_hidden()


def test_a_finger_that_rests_selects_and_then_taps_do(browser: Any, several: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, several, **phone) as page:
        tiles = page.locator("#grid .tile")
        expect(tiles.first).to_be_visible()
        box = tiles.first.bounding_box()
        touch = page.context.new_cdp_session(page)
        at = [{"x": box["x"] + 20, "y": box["y"] + 20}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at})
        expect(page.locator("#n-selected")).to_have_text("1 selected")
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        tiles.nth(1).tap()
        expect(page.locator("#n-selected")).to_have_text("2 selected")
        expect(page.locator("#detail")).to_be_hidden()
        shoot(page, "many-phone")


# Zoom, and one against another


def scale(page: Any, picture: str) -> float:
    found: float = page.locator(picture).evaluate(
        "one => new DOMMatrix(getComputedStyle(one).transform).a"
    )
    return found


def test_zoom_keeps_the_point_under_the_pointer(
    browser: Any, several: Path, tmp_path: Path
) -> None:
    shutil.copytree(several, tmp_path / "large")
    Image.effect_noise((1600, 1200), 60).save(tmp_path / "large" / "images" / "heron.png")
    with opened(browser, tmp_path / "large") as page:
        press(page, "Enter")
        name = "#detail .stage img"
        picture = page.locator(name)
        # Loaded, from when on it has no size of its own:
        page.wait_for_function(f"() => document.querySelector('{name}').style.width === ''")
        whole = picture.bounding_box()
        x, y = whole["x"] + whole["width"] * 0.75, whole["y"] + whole["height"] * 0.25

        def under_pointer() -> list[float]:
            now = picture.bounding_box()
            return [(x - now["x"]) / now["width"], (y - now["y"]) / now["height"]]

        page.mouse.dblclick(x, y)
        assert scale(page, name) == pytest.approx(max(1600 / whole["width"], 2), rel=0.01)
        assert under_pointer() == pytest.approx([0.75, 0.25], abs=0.01)
        for _ in range(3):
            page.mouse.wheel(0, -200)
        page.evaluate(REDRAWN)
        larger = scale(page, name)
        assert larger > 3
        assert under_pointer() == pytest.approx([0.75, 0.25], abs=0.01)

        page.mouse.down()
        page.mouse.move(x - 60, y + 40)
        page.mouse.up()
        x, y = x - 60, y + 40
        assert under_pointer() == pytest.approx([0.75, 0.25], abs=0.01)
        before = picture.bounding_box()
        press(page, "ArrowRight")  # moves what is zoomed
        assert picture.bounding_box()["x"] < before["x"]
        expect(page.locator("#detail h2")).to_have_text("heron (1)")
        press(page, "z")
        assert scale(page, name) == 1
        press(page, "ArrowRight")
        expect(page.locator("#detail h2")).to_have_text("heron (2)")


def test_films_side_by_side_play_in_step(browser: Any, says: Says, tmp_path: Path) -> None:
    rows = [{"id": id, "prompt": f"A kite {id}"} for id in ("a", "b")]
    films = {"model": "atelier/clips/text-to-video", "rows": rows}
    (tmp_path / "films.json").write_text(json.dumps(films), encoding="utf-8")
    says("run", tmp_path / "films.json", "--out", tmp_path / "films")
    with opened(browser, tmp_path / "films") as page:
        press(page, "Control+a", "c")
        one, other = (page.locator("#beside video").nth(n) for n in (0, 1))
        for film in (one, other):
            expect(film).to_have_js_property("readyState", 4)
        one.evaluate("film => { film.currentTime = 0.6 }")
        expect(other).to_have_js_property("currentTime", 0.6)
        other.evaluate("film => film.play()")
        page.wait_for_function("() => document.querySelector('#beside video').played.length > 0")


def test_back_closes_the_picture_and_the_page_stays(page: Any) -> None:
    press(page, "ArrowRight", "Enter")
    expect(page.locator("#detail")).to_be_visible()
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()
    assert focused(page) == "heron (2)"
    press(page, "Enter", "Escape", "Enter")
    expect(page.locator("#detail")).to_be_visible()
    press(page, "F")
    page.wait_for_function("() => document.fullscreenElement")
    press(page, "F")
    page.wait_for_function("() => !document.fullscreenElement")
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()


def fingers(page: Any, *moves: list[tuple[float, float]]) -> None:
    """Put fingers on the page and move them; each of `moves` says where they are."""
    touch = page.context.new_cdp_session(page)
    for n, places in enumerate(moves):
        points = [{"x": x, "y": y, "id": id} for id, (x, y) in enumerate(places)]
        kind = "touchMove" if n else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_fingers_swipe_to_the_next_and_pinch(browser: Any, several: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, several, **phone) as page:
        page.locator("#grid .tile").first.tap()
        box = page.locator("#detail .stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        fingers(page, [(x + 90, y)], [(x + 20, y)], [(x - 90, y)])
        expect(page.locator("#detail h2")).to_have_text("heron (2)")
        fingers(page, [(x - 90, y)], [(x, y)], [(x + 90, y)])
        expect(page.locator("#detail h2")).to_have_text("heron (1)")
        apart = [[(x - d, y), (x + d, y)] for d in (20, 30, 45, 60)]
        fingers(page, *apart)
        page.evaluate(REDRAWN)
        assert scale(page, "#detail .stage img") == pytest.approx(3, rel=0.1)
        expect(page.locator("#detail h2")).to_have_text("heron (1)")
        shoot(page, "pinched")


def names(page: Any) -> list[str]:
    found: list[str] = page.locator("#beside .panes h3").all_text_contents()
    return found


def test_panes_are_zoomed_in_step_and_one_flickers_in_the_place_of_the_other(page: Any) -> None:
    press(page, "Control+a", "c")
    assert len(names(page)) == 7
    shoot(page, "seven")
    page.locator("#beside .view img").nth(2).evaluate("one => one.decode()")
    page.locator("#beside .view").nth(2).dblclick()
    found = {scale(page, f"#beside section:nth-child({n}) .view img") for n in range(1, 8)}
    assert found == {2}
    press(page, "z", "ArrowRight")
    page.keyboard.down("b")
    over = page.locator("#beside .over")
    expect(over).to_have_count(1)
    other = page.locator("#beside section:focus + section .view img").get_attribute("src")
    assert over.get_attribute("src") == other
    page.keyboard.up("b")
    expect(over).to_have_count(0)


def test_the_winner_stays_and_the_next_challenger_comes(page: Any) -> None:
    press(page, "s", "ArrowRight", "s", "c", "ArrowRight", "w")
    assert names(page) == ["heron (3)", "heron (2)"]
    press(page, "w")
    assert names(page) == ["fox", "heron (2)"]
    press(page, "ArrowLeft", "w", "w", "w")
    assert names(page) == ["fox", "owl (3)"]
    shoot(page, "challenger")
    press(page, "w")
    expect(page.locator("#told")).to_have_text("fox stays: no other is left.")
    press(page, "p", "Escape")
    expect(page.locator("#n-picked")).to_have_text("1 picked")
    assert focused(page) == "fox"


# A whole night


def test_a_cull_of_many_rows_by_keyboard_alone(browser: Any, says: Says, tmp_path: Path) -> None:
    """From the first key to the manifest that a run takes; the mouse is never touched.

    Of several windows full of pictures, of which the page has but those around the cursor.
    """
    rows = 61  # the last is a good one
    with (tmp_path / "night.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("id", "prompt"), *((f"r{n}", f"A kite {n}") for n in range(rows))]
        )
    done = says("run", tmp_path / "night.csv", "--out", tmp_path / "night")
    assert done.returncode == 0, done.stderr
    good = [f"r{n}" for n in range(rows) if n % 3 == 0]
    # The smaller a window, the fewer rows are several windows full.
    with opened(browser, tmp_path / "night", viewport={"width": 960, "height": 430}) as page:
        expect(page.locator("#status")).to_have_text(f"{rows} rows")
        # The rows come after their number.
        expect(page.locator("#grid .tile").first).to_be_visible()
        assert len(shown(page)) < rows / 2
        for n in range(rows - 1):
            press(page, "p" if n % 3 == 0 else "x")
        assert focused(page) == f"r{rows - 1}"
        press(page, "x", "u", "p")  # a wrong key, taken back
        expect(page.locator("#n-picked")).to_have_text(f"{len(good)} picked")
        expect(page.locator("#n-rejected")).to_have_text(f"{rows - len(good)} rejected")

        press(page, "e")
        expect(page.locator("#which")).to_be_focused()
        assert page.locator("#which").input_value() == "picked"
        press(page, "Tab", "ArrowDown", "ArrowDown")
        expect(page.locator("#export input[value=manifest]")).to_be_checked()
        with page.expect_download() as coming:
            press(page, *["Tab"] * 10)
            for _ in range(10):
                if page.evaluate("document.activeElement.matches('.download')"):
                    break
                press(page, "Shift+Tab")
            press(page, "Enter")
        path = tmp_path / "again.yaml"
        coming.value.save_as(path)
    valid = says("validate", path)
    assert valid.returncode == 0, valid.stdout + valid.stderr
    assert [entry.id for entry in open_manifest(path).entries()] == good
