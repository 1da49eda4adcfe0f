"""The gallery, as a person has it: Chromium opens it from disk, and keys and clicks do the rest."""

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from chromium import REDRAWN, Says, focused, opened, press, shoot, shown, sync_api
from helpers import query, tally
from PIL import Image

from batchgen.manifest.manifest import open_manifest
from batchgen.sandbox import Address
from batchgen.sandbox.deployments.samples import SAMPLES, SIZES, TEXT

expect = sync_api.expect
browser, says = chromium.browser, chromium.says  # fixtures
Opens = Callable[..., Any]

HOSTILE = {
    "markup": "</script><script>alert(1)</script><img src=x onerror=alert(2)> &amp; {{ 7 * 7 }}",
    "quotes": "\"'`\\ \\n ${x} {'a': \"b\"}: - # ! % & * | > @",
    "rtl": "مالك الحزين عند الغروب \u202ereversed\u202c שלום",
    "turned-\u202egnp.exe": "turned \u2067too",
    "emoji": "👩🏽‍🚀🏳️‍🌈 𝒳 e\u0301",
    "marks": "a\u0085b\u2028c\u2029d\ufeffe\u007ff\u00adg\th\nj\u200b",
    "formula": "=HYPERLINK(1)",
    "long": "long " * 1000,
    "yes": "yes",
    "number": "007",
}
MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # that turn a text
PAIRS = {"dunes": "Lanterns crossing dunes", "roofs": "Rooftops after rain"}


def manifest() -> dict[str, Any]:
    """Two prompts × two styles × two seeds, what tries to break out, and what goes wrong."""
    rows: list[dict[str, Any]] = [
        {"id": f"{id}-seed{seed}-style{style}", "prompt": prompt, "seed": seed, "style": style}
        for id, prompt in PAIRS.items()
        for seed in (1, 2)
        for style in ("realistic", "anime")
    ]
    ratios = ("16:9", "3:1", "9:16")
    for n, row in enumerate(rows):
        row |= {"aspect_ratio": ratios[n % 2 + n // 4], "Category": "pair"}
    rows += [{"id": id, "prompt": text, "Category": text} for id, text in HOSTILE.items()]
    rows += [
        {"id": "fails", "prompt": "A fox [[failed:=no \u202eluck <b>today</b>]]"},
        {"id": "lost", "prompt": "An owl [[lost]]"},
        {"id": "clip", "model": "atelier/clips/text-to-video", "prompt": "A kite flies"},
        {"id": "tune", "model": "atelier/tunes/text-to-music", "tags": "slow waltz"},
    ]
    return {"meta": ["Category"], "rows": rows}


ROWS = len(manifest()["rows"])


@pytest.fixture(scope="module")
def batch(says: Says, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    (folder / "night.json").write_text(json.dumps(manifest()), encoding="utf-8")
    done = says("run", folder / "night.json", "--out", folder / "night")
    assert done.returncode == 1, done.stderr
    assert tally(folder / "night") == {"saved": ROWS - 2, "failed": 1, "unknown": 1}
    return folder / "night"


@pytest.fixture
def page(browser: Any, batch: Path) -> Iterator[Any]:
    with opened(browser, batch) as found:
        yield found


def go_to(page: Any, id: str) -> None:
    """Put the focus on a row's tile, as somebody does who searches for it."""
    expect(page.locator("#grid .tile").first).to_be_visible()  # from now on it answers
    tile = page.locator("#grid .tile", has=page.get_by_text(id, exact=True))
    # Searched for at first: what is far below is drawn once it has been the cursor's.
    for search in (id.partition("\\")[0], ""):
        page.locator("#search").fill(search)
        page.evaluate(REDRAWN)  # or the grid is drawn after the focus was set, and sets its own
        tile.evaluate("tile => tile.focus()")
    assert focused(page) == id


def show_undecided(page: Any) -> None:
    page.evaluate(REDRAWN)
    page.get_by_role("group", name="My choice").get_by_label("not decided").focus()
    press(page, " ")


def downloaded(page: Any, folder: Path, button: str = "Download") -> Path:
    with page.expect_download() as coming:
        page.get_by_role("button", name=button).click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    return path


# Look


def test_the_page_opens_with_every_row_and_its_numbers_and_no_alert(page: Any) -> None:
    expect(page.locator("#status")).to_have_text(f"{ROWS} rows")
    expect(page.locator("h1")).to_contain_text("night")
    expect(page.locator(".figures .saved")).to_have_text(f"{ROWS - 2} saved")
    expect(page.locator(".figures .unknown")).to_have_text("1 unknown")
    assert shown(page)[:2] == ["dunes-seed1-stylerealistic", "dunes-seed1-styleanime"]
    expect(page.get_by_role("alert")).to_have_count(0)
    shoot(page, "grid")


def test_pictures_have_their_own_aspect_and_fill_each_line(page: Any) -> None:
    pictures = page.locator("#grid img").evaluate_all(
        "all => all.slice(0, 6).map(img => img.decode().then(() =>"
        " [img.clientWidth / img.clientHeight, img.naturalWidth / img.naturalHeight]))"
        ".reduce((done, one) => done.then(l => one.then(x => [...l, x])), Promise.resolve([]))"
    )
    assert len(pictures) == 6
    assert all(abs(drawn - own) < 0.06 * own for drawn, own in pictures)
    grid = page.locator("#grid").bounding_box()
    boxes = page.locator("#grid .tile").evaluate_all(
        "all => all.map(t => [t.offsetTop, t.offsetLeft + t.offsetWidth])"
    )
    ends = {top: max(end for at, end in boxes if at == top) for top, _ in boxes}
    *whole, _last = [ends[top] for top in sorted(ends)]
    assert all(abs(end - grid["width"]) <= 2 for end in whole)


def test_search_and_filters_narrow_and_count(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("dunes lanterns")
    expect(page.locator("#status")).to_have_text(f"4 of {ROWS} rows")

    style = page.get_by_role("group", name="style")
    expect(style.locator("label")).to_have_text(["anime2", "realistic2"])
    style.get_by_label("anime").check()

    expect(page.locator("#status")).to_have_text(f"2 of {ROWS} rows")
    assert shown(page) == ["dunes-seed1-styleanime", "dunes-seed2-styleanime"]
    expect(style.locator("label")).to_have_text(["anime2", "realistic2"])
    expect(page.get_by_role("group", name="seed").locator("label")).to_have_text(["11", "21"])
    page.get_by_role("button", name="Show everything").click()
    expect(page.locator("#status")).to_have_text(f"{ROWS} rows")


def test_words_in_quotes_belong_together_and_nothing_found_is_said(page: Any) -> None:
    page.locator("#search").fill('"dunes lanterns"')
    expect(page.locator("#nothing")).to_be_visible()
    page.locator("#search").fill('"crossing dunes"')
    expect(page.locator("#status")).to_have_text(f"4 of {ROWS} rows")


def found(page: Any, search: str) -> str:
    page.locator("#search").fill(search)
    page.evaluate(REDRAWN)
    return str(page.locator("#status").inner_text())


def test_search_knows_fields_and_what_is_not_wanted(page: Any) -> None:
    expect(page.locator("#status")).to_have_text(f"{ROWS} rows")
    some = {
        "style:anime": 4,
        "style:anime dunes": 2,
        "-style:anime category:pair": 4,
        'prompt:"crossing dunes" seed:1': 2,
        "seed:>1 style:realistic": 2,
        "seed:>=1 -seed:2": 4,
        "category:pair -rooftops": 4,
        '-"crossing dunes" state:saved category:pair': 4,
        "state:failed": 1,
        "model:text-to-music": 1,
        "16:9": 2,  # no field: a word
    }
    for search, count in some.items():
        assert found(page, search) == f"{count} of {ROWS} rows", search
    assert found(page, "aspect_ratio:16:9") != f"0 of {ROWS} rows"
    assert found(page, 'style:""') == f"{ROWS - 8} of {ROWS} rows"
    assert found(page, "dunes style:") == f"4 of {ROWS} rows"  # not yet said which


def test_what_is_asked_stands_in_the_address_and_survives_a_reload(page: Any) -> None:
    expect(page.locator("#status")).to_have_text(f"{ROWS} rows")
    assert "#" not in page.url
    page.get_by_role("group", name="style").get_by_label("anime").check()
    page.locator("#search").fill("dunes -seed:7")
    page.locator("#sort").select_option("id")
    page.locator("#down").click()
    page.locator("#size").fill("300")
    expect(page.locator("#status")).to_have_text(f"2 of {ROWS} rows")
    names = shown(page)

    page.reload()

    expect(page.locator("#status")).to_have_text(f"2 of {ROWS} rows")
    assert shown(page) == names == ["dunes-seed2-styleanime", "dunes-seed1-styleanime"]
    expect(page.locator("#search")).to_have_value("dunes -seed:7")
    expect(page.locator("#sort")).to_have_value("id")
    expect(page.locator("#down")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#size")).to_have_value("300")
    expect(page.locator("#chips")).to_contain_text("style: anime")

    page.locator("#as-matrix").click()
    page.locator("#across-axis").select_option("input.aspect_ratio")
    page.evaluate(REDRAWN)
    page.reload()

    expect(page.locator("#matrix")).to_be_visible()
    expect(page.locator("#across-axis")).to_have_value("input.aspect_ratio")
    page.get_by_role("button", name="Show everything").click()
    page.locator("#as-grid").click()
    expect(page.locator("#status")).to_have_text(f"{ROWS} rows")


def test_rows_are_put_in_order_by_any_field_those_without_it_last(page: Any) -> None:
    page.locator("#sort").select_option(label="seed")
    page.get_by_role("button", name="Reverse").click()

    expect(page.locator("#grid .name").first).to_have_text("dunes-seed2-stylerealistic")
    order = shown(page)
    assert ["seed2" in id for id in order[:4]] == [True] * 4
    assert ["seed1" in id for id in order[4:8]] == [True] * 4


GROUPS = """() => {
    // The tiles under each head, by their tops and lefts, as a person reads them.
    const place = (one) => one.getBoundingClientRect();
    const tiles = [...document.querySelectorAll("#grid .tile")];
    const heads = [...document.querySelectorAll("#grid .head")];
    heads.sort((a, b) => place(a).top - place(b).top);
    const words = (one, what) => one.querySelector(what).textContent;
    return heads.map((head, n) => {
        const [top, end] = [place(head).bottom, heads[n + 1] ? place(heads[n + 1]).top : Infinity];
        const isMine = (one) => place(one).top >= top - 1 && place(one).bottom <= end + 1;
        return [words(head, "b"), tiles.filter(isMine).map((one) => words(one, ".name"))];
    });
}"""


def test_pictures_are_grouped_by_prompt_and_the_cursor_crosses_the_groups(
    page: Any, batch: Path
) -> None:
    page.locator("#search").fill("style:anime")
    press(page, "Enter", "g")
    expect(page.locator("#grid .head")).to_have_count(2)
    dunes, roofs = ([f"{id}-seed{seed}-styleanime" for seed in (1, 2)] for id in PAIRS)
    assert page.evaluate(GROUPS) == [[PAIRS["dunes"], dunes], [PAIRS["roofs"], roofs]]
    shoot(page, "grouped")
    press(page, "ArrowRight", "p")  # and on to the next
    assert focused(page) == roofs[0]
    press(page, "ArrowUp")
    assert focused(page) in dunes

    page.locator("#grid .head").last.click()
    expect(page.locator("#n-selected")).to_have_text("2 selected")
    page.reload()
    expect(page.locator("#group")).to_have_value("prompt")
    expect(page.locator("#grid .head")).to_have_count(2)

    page.locator("#search").fill("")
    page.locator("#sort").select_option("input.seed")
    page.locator("#down").click()
    page.locator("#group").select_option("input.style")
    expect(page.locator("#grid .head b")).to_have_text(["realistic", "anime", "(none)"])
    found = dict(page.evaluate(GROUPS))
    seeds = [int(id.split("seed")[1][0]) for id in found["anime"]]
    assert seeds == [2, 2, 1, 1]  # in the order of all
    press(page, "Escape", "m")
    expect(page.locator("#group")).to_be_hidden()
    press(page, "m", "g")
    expect(page.locator("#grid .head")).to_have_count(0)
    assert "group" not in page.url


def test_arrows_walk_enter_opens_escape_comes_back_to_the_same_picture(page: Any) -> None:
    go_to(page, "dunes-seed1-stylerealistic")
    press(page, "ArrowRight", "ArrowDown", "ArrowUp", "Enter")
    detail = page.locator("#detail")
    expect(detail.locator("h2")).to_have_text("dunes-seed1-styleanime")
    press(page, "ArrowRight", "ArrowRight")
    expect(detail.locator("h2")).to_have_text("dunes-seed2-styleanime")
    expect(detail.locator(".at")).to_have_text(f"4 of {ROWS}")
    shoot(page, "detail")
    press(page, "Escape")

    expect(detail).to_be_hidden()
    assert focused(page) == "dunes-seed2-styleanime"
    press(page, "End")
    assert focused(page) == "tune"
    press(page, "Home")
    assert focused(page) == "dunes-seed1-stylerealistic"


def test_the_detail_has_every_setting_and_copies_it(browser: Any, batch: Path) -> None:
    with opened(browser, batch, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator("#grid .tile").first.click()
        side = page.locator("#detail .side")
        expect(side).to_contain_text("realistic")
        ((request,),) = query(batch, "SELECT request_id FROM requests WHERE position = 1")
        expect(side).to_contain_text(request)
        expect(side).to_contain_text("images/dunes-seed1-stylerealistic.png")
        expect(side).to_contain_text("$0.03")

        def copied(name: str) -> str:
            page.get_by_role("button", name=name).click()
            expect(page.locator("#told")).to_have_text("Copied.")
            text: str = page.evaluate("navigator.clipboard.readText()")
            return text

        assert copied("Copy: style") == "realistic"
        assert copied("Copy: Prompt") == PAIRS["dunes"]
        row = json.loads(copied("Copy as manifest row").removeprefix("- "))
        assert row == manifest()["rows"][0] | {"model": "ideogram/ideogram-v2/generate"}


def shown_as_escape(mark: re.Match[str]) -> str:
    """A mark that turns the direction of a text is shown, since it could make it say another."""
    return f"\\u{ord(mark[0]):04x}"


def test_every_text_of_a_batch_is_shown_as_it_is(page: Any) -> None:
    for id, prompt in HOSTILE.items():
        go_to(page, MARKS.sub(shown_as_escape, id))
        press(page, "Enter")
        text = page.locator("#detail .prompt").evaluate("p => p.textContent")
        assert text == MARKS.sub(shown_as_escape, prompt)
        press(page, "Escape")
    said = page.evaluate(
        """[document.body.innerText, ...document.querySelectorAll("[title]")]
            .map((one) => one.title ?? one).join("\\n")"""
    )
    assert "turned-\\u202egnp.exe" in said
    assert not MARKS.search(said)
    assert (
        page.evaluate("document.querySelectorAll('main script, dialog script, b > b').length") == 0
    )


def test_a_picture_file_says_which_row_it_is(page: Any, batch: Path, tmp_path: Path) -> None:
    def hand_over(path: Path) -> None:
        page.locator("#picture").set_input_files(path)

    picture = page.locator("#picture")
    picture.evaluate("p => p.onclick = (event) => { event.preventDefault(); p.asked = true; }")
    page.keyboard.press("o")
    assert picture.evaluate("p => p.asked")

    Image.new("RGB", (8, 8)).save(tmp_path / "foreign.png")
    hand_over(tmp_path / "foreign.png")
    expect(page.locator("#told")).to_have_text("foreign.png does not say what it was made from.")

    (tmp_path / "renamed.png").write_bytes(
        (batch / "images" / "dunes-seed2-styleanime.png").read_bytes()
    )
    hand_over(tmp_path / "renamed.png")
    expect(page.locator("#detail h2")).to_have_text("dunes-seed2-styleanime")


def test_what_is_not_saved_is_shown_with_its_reason_and_next_step(page: Any) -> None:
    causes = page.locator(".about table").first
    expect(causes).to_contain_text("=no \\u202eluck <b>today</b>")
    expect(causes).to_contain_text("batchgen retry")
    expect(page.locator(".about svg[role=img]")).to_be_visible()
    shoot(page, "night")
    causes.get_by_role("button", name="Show: =no \\u202eluck").click()
    expect(page.locator("#status")).to_have_text(f"1 of {ROWS} rows")

    page.locator("#grid .tile").click()
    expect(page.locator("#detail .why")).to_contain_text("=no \\u202eluck <b>today</b>")
    expect(page.locator("#detail .command")).to_contain_text("--id fails")


def test_a_film_of_a_rehearsal_can_be_played(page: Any) -> None:
    page.locator("#search").fill("kite")
    film = page.locator("#grid .tile video")
    expect(film).to_have_count(1)
    film.evaluate("film => film.scrollIntoView()")

    page.wait_for_function("() => document.querySelector('#grid .tile video').readyState >= 2")
    assert film.evaluate("film => [film.videoWidth, film.duration, film.error]") == [64, 1, None]


def test_a_film_in_webm_of_a_rehearsal_can_be_played(
    browser: Any, says: Says, tmp_path: Path
) -> None:
    row = {"id": "kite", "prompt": "A kite", "output_format": "webm"}
    schema = {"properties": {name: {"type": "string"} for name in ("prompt", "output_format")}}
    films = {"model": "atelier/own/text-to-video", "schema": schema, "rows": [row]}
    (tmp_path / "films.json").write_text(json.dumps(films), encoding="utf-8")
    # The rehearsal's own sandbox knows the model by the schema that the list carries.
    done = says("run", tmp_path / "films.json", "--out", tmp_path / "films", "--sandbox")
    assert done.returncode == 0, done.stderr
    with opened(browser, tmp_path / "films") as page:
        film = page.locator("#grid .tile video")
        expect(film).to_have_js_property("readyState", 4)
        assert film.evaluate("film => [film.videoWidth > 0, film.duration, film.error]") == [
            True,
            1,
            None,
        ]
        assert film.evaluate("film => film.src.includes('.webm')")
        expect(page.locator("#grid .badge")).to_have_text("▶ 0:01")


def test_sound_and_video_wait_until_they_are_asked_for(page: Any) -> None:
    for id, kind in (("clip", "video"), ("tune", "audio")):
        go_to(page, id)
        press(page, "Enter")
        player = page.locator(f"#detail {kind}")
        expect(player).to_be_visible()
        assert player.evaluate("player => player.controls && player.paused")
        expect(page.locator("#detail .side dt", has_text="kB")).to_contain_text("0:01, ")
        press(page, "Escape")


def test_any_two_fields_make_a_matrix(page: Any) -> None:
    page.locator("#search").fill("dunes")
    page.get_by_role("button", name="Matrix").click()
    page.locator("#down-axis").select_option(label="seed")
    page.locator("#across-axis").select_option(label="style")

    cells = page.locator("#matrix tbody tr").evaluate_all(
        "lines => lines.map(line => [...line.querySelectorAll('td')].map(cell =>"
        " [...cell.querySelectorAll('.name')].map(name => name.textContent)))"
    )
    assert cells == [
        [[f"dunes-seed{seed}-style{style}"] for style in ("realistic", "anime")] for seed in (1, 2)
    ]
    page.locator("#matrix .tile").first.focus()
    press(page, "ArrowDown", "ArrowRight")
    assert focused(page) == "dunes-seed2-styleanime"
    shoot(page, "matrix")
    press(page, "Enter", "Escape")
    assert focused(page) == "dunes-seed2-styleanime"


def fits(page: Any) -> bool:
    """Whether nothing is wider than the window, and nothing but the page scrolls."""
    found: bool = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth
            && [...document.querySelectorAll("#matrix, #matrix *")].every((one) =>
                !["auto", "scroll"].includes(getComputedStyle(one).overflowY))"""
    )
    return found


def test_a_matrix_of_1632_prompts_and_4_seeds_scrolls_with_the_page(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    prompts = [f"{(n * 7919) % 1632} things on a table, seen from above" for n in range(1632)]
    inputs = [{"prompt": prompt, "seed": seed} for prompt in prompts for seed in (3, 1, 20, 4)]
    folder = with_inputs(batch, tmp_path / "many", inputs)
    with opened(browser, folder) as page:
        press(page, "m")
        expect(page.locator("#matrix caption")).to_have_text("4 × 1,632.")
        heads = page.locator("#matrix thead button").all_text_contents()
        assert heads == ["1", "3", "4", "20"]
        first = page.locator("#matrix tbody th").first
        expect(first).to_have_text(prompts[0])  # in the manifest's order
        assert page.locator("#matrix .tile").count() < 120
        assert fits(page)
        shoot(page, "matrix-many")
        width = page.locator("#matrix td.cell, #matrix .cell").first.bounding_box()["width"]
        assert width * 4 > page.locator("#matrix").bounding_box()["width"] * 0.75

        page.mouse.wheel(0, 100_000)
        page.wait_for_function("() => scrollY > 90_000")
        page.evaluate(REDRAWN)
        middle = page.locator("#matrix thead th").first.bounding_box()
        assert 0 < middle["y"] < 200  # the heads stay
        assert page.locator("#matrix .tile").count() < 120
        shoot(page, "matrix-scrolled")
        page.locator("#matrix .tile").first.focus()
        press(page, "End")
        assert focused(page) == "row-6527"  # seed 20 is the third in the list
        press(page, "ArrowUp", "ArrowLeft")
        assert focused(page) == "row-6524"
        press(page, "Home")
        assert focused(page) == "row-2"
        press(page, *["ArrowDown"] * 30)
        assert focused(page) == "row-122"
        press(page, "Enter", "Escape")
        assert focused(page) == "row-122"

        page.locator("#size").fill("460")  # fewer columns have room
        expect(page.locator("#columns")).to_contain_text("of 4 across")
        columns = page.locator("#matrix thead button").count()
        assert columns < 4
        press(page, *["ArrowRight"] * 3)
        page.locator("#matrix .tile[tabindex='0']").focus()
        press(page, *["ArrowRight"] * 3)
        assert focused(page) == "row-123"
        assert fits(page)


def test_heads_and_more_of_a_matrix_open_what_they_name_and_slices_are_of_a_third_field(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    inputs = [
        {"prompt": prompt, "seed": seed, "style": style, "aspect_ratio": "1:1", "cfg": cfg}
        for prompt in ("zebra", "apple")
        for seed in (1, 2)
        for style in ("oil", "ink")
        for cfg in (1, 2, 3)
    ]
    folder = with_inputs(batch, tmp_path / "some", inputs)
    with opened(browser, folder) as page:
        press(page, "m")
        page.locator("#across-axis").select_option("input.seed")
        expect(page.locator("#matrix tbody th")).to_have_text(["zebra", "apple"])
        more = page.locator("#matrix .more")
        expect(more).to_have_text(["+2"] * 4)
        shoot(page, "matrix-more")
        more.nth(1).click()
        expect(page.locator("#detail h2")).to_have_text("row-11")
        expect(page.locator("#detail .at")).to_have_text("5 of 6")
        press(page, "ArrowRight", "Escape")
        assert focused(page) == "row-10"  # the last of its cell that has a tile

        page.locator("#across-axis").select_option("input.cfg")
        for width in (1281, 1280, 1279):  # a third of which is no whole number
            page.set_viewport_size({"width": width, "height": 860})
            page.wait_for_function(
                "() => { const all = [...document.querySelectorAll('#matrix td')[1]"
                ".querySelectorAll('.tile')].map(one => one.getBoundingClientRect().top);"
                " return all[0] === all[1] && all[1] < all[2] && all[2] === all[3]; }"
            )
        page.locator("#across-axis").select_option("input.seed")

        page.locator("#slice-axis").select_option("input.style")
        expect(page.locator("#slice-value option:checked")).to_have_text("oil")
        expect(page.locator("#status")).to_have_text("12 of 24 rows")
        expect(more).to_have_count(0)
        page.locator("#matrix .tile").first.focus()
        press(page, "]")
        expect(page.locator("#slice-value option:checked")).to_have_text("ink")
        expect(page.locator("#chips")).to_contain_text("style: ink")
        page.reload()
        expect(page.locator("#slice-axis")).to_have_value("input.style")
        expect(page.locator("#slice-value option:checked")).to_have_text("ink")
        page.locator("#slice-axis").select_option("")
        expect(page.locator("#status")).to_have_text("24 rows")

        page.locator("#matrix tbody th button", has_text="apple").click()
        expect(page.locator("#status")).to_have_text("12 of 24 rows")
        expect(page.locator("#chips")).to_contain_text("prompt: apple")
        page.locator("#matrix tbody th button", has_text="apple").press("Enter")
        expect(page.locator("#status")).to_have_text("24 rows")


def test_two_to_four_pictures_stand_side_by_side_with_what_differs(page: Any) -> None:
    go_to(page, "dunes-seed1-stylerealistic")
    press(page, "s", "c")
    expect(page.locator("#told")).to_contain_text("Select two or more")
    press(page, "ArrowRight", "s", "c")

    panes = page.locator("#beside .panes > section")
    expect(panes).to_have_count(2)
    expect(panes.first.locator("dt")).to_have_text(["style", "aspect_ratio"])
    press(page, "ArrowRight", "p")
    expect(panes.nth(1).get_by_role("button", name="Pick")).to_have_attribute(
        "aria-pressed", "true"
    )
    shoot(page, "beside")
    press(page, "Escape")
    assert focused(page) == "dunes-seed1-styleanime"
    expect(page.locator("#n-picked")).to_have_text("1 picked")


# Choose


def choose(page: Any) -> None:
    """Two picks, one of them rated, a reject, and a rating alone."""
    go_to(page, "dunes-seed1-stylerealistic")
    press(page, "5", "p", "x", "p", "3")


def test_a_choice_is_one_key_and_is_kept(page: Any) -> None:
    choose(page)
    page.reload()

    for name, words in (("picked", "2 picked"), ("rejected", "1 rejected"), ("rated", "2 rated")):
        expect(page.locator(f"#n-{name}")).to_have_text(words)
    tile = page.locator("#grid .tile").first
    assert "picked, 5 stars" in tile.get_attribute("aria-label")
    bars = page.get_by_role("group", name="My rating").locator(".barred")
    shares = bars.evaluate_all("all => all.map(one => one.style.getPropertyValue('--share'))")
    assert shares == ["100%", "100%"]  # one of five stars, one of three
    shoot(page, "chosen")
    go_to(page, "dunes-seed1-stylerealistic")
    press(page, "p", "0")
    expect(page.locator("#n-picked")).to_have_text("1 picked")
    expect(page.locator("#n-rated")).to_have_text("1 rated")


def test_keys_mean_every_selected_row_and_filters_know_the_choice(page: Any) -> None:
    go_to(page, "dunes-seed1-stylerealistic")
    press(page, "s", "ArrowRight", "s", "ArrowRight", "s", "x")
    expect(page.locator("#n-rejected")).to_have_text("3 rejected")
    press(page, "Escape")
    expect(page.locator("#n-selected")).to_have_text("0 selected")

    mine = page.get_by_role("group", name="My choice")
    mine.get_by_label("rejected").check()
    expect(page.locator("#status")).to_have_text(f"3 of {ROWS} rows")


def test_a_browser_that_keeps_nothing_says_so_and_works_on(browser: Any, batch: Path) -> None:
    broken = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})"
    with opened(browser, batch, script=broken) as page:
        choose(page)
        expect(page.locator("#n-picked")).to_have_text("2 picked")
        expect(page.locator("#told")).to_contain_text("keeps nothing")


def test_the_choice_goes_out_as_csv_and_comes_back(
    browser: Any, batch: Path, page: Any, says: Says, tmp_path: Path
) -> None:
    choose(page)
    go_to(page, "formula")
    press(page, "p", "e")
    page.locator("#which").select_option("decided")
    path = downloaded(page, tmp_path)

    with path.open(encoding="utf-8", newline="") as file:
        rows = [[row[c] for c in ("id", "verdict", "rating")] for row in csv.DictReader(file)]
    assert rows == [
        ["dunes-seed1-stylerealistic", "pick", "5"],
        ["dunes-seed1-styleanime", "reject", ""],
        ["dunes-seed2-stylerealistic", "pick", ""],
        ["dunes-seed2-styleanime", "", "3"],
        ["formula", "pick", ""],
    ]
    assert "'=HYPERLINK" in path.read_text(encoding="utf-8")

    copy = tmp_path / "night"
    shutil.copytree(batch, copy)
    done = says("report", copy, "--picks", path)
    assert done.returncode == 0, done.stderr
    with opened(browser, copy) as other:
        expect(other.locator("#n-picked")).to_have_text("3 picked")
        expect(other.locator("#n-rejected")).to_have_text("1 rejected")
        expect(other.locator(".note")).to_contain_text(path.name)


def again(
    page: Any, folder: Path, which: str, how: str, button: str = "Download", **fields: str
) -> Path:
    """Export rows as a manifest."""
    press(page, "e")
    page.locator("#which").select_option(which)
    page.get_by_label("Manifest, to run").check()
    page.locator(f"#export input[name=how][value={how}]").check()
    for name, words in fields.items():
        page.locator(f"#export input[name={name}]").fill(words)
    shoot(page, f"export-{how}")
    return downloaded(page, folder, button)


def inputs(folder: Path) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    found = query(folder, "SELECT id, model, input, meta FROM requests ORDER BY position")
    return [(id, model, json.loads(input), json.loads(meta)) for id, model, input, meta in found]


def entries(path: Path) -> list[Any]:
    """The rows of a manifest, as a run reads them."""
    return [*open_manifest(path).entries()]


def test_the_list_of_files_goes_out_and_is_copied(page: Any, batch: Path, tmp_path: Path) -> None:
    page.locator("#search").fill("state:saved dunes")
    expect(page.locator("#status")).to_have_text(f"4 of {ROWS} rows")
    page.locator("#exports").click()
    page.locator("#which").select_option("shown")
    page.get_by_label("List of files").check()
    expect(page.locator("#export .told")).to_contain_text("4 files.")
    path = downloaded(page, tmp_path)
    assert path.name == "night-files.txt"
    listed = path.read_text(encoding="utf-8").splitlines()
    assert len(listed) == 4
    assert all((batch / line).is_file() for line in listed)
    page.locator("#export").get_by_role("button", name="Copy").click()
    expect(page.locator("#told")).to_have_text("Copied.")


def test_an_exported_manifest_sends_every_row_exactly_as_it_was(
    page: Any, batch: Path, says: Says, tmp_path: Path
) -> None:
    path = again(page, tmp_path, "shown", "same")

    done = says("run", path, "--out", tmp_path / "again")
    assert tally(tmp_path / "again") == {"saved": ROWS - 2, "failed": 1, "unknown": 1}, done.stderr
    assert inputs(tmp_path / "again") == inputs(batch)


def test_an_exported_manifest_is_valid_without_the_api(
    page: Any, says: Says, tmp_path: Path
) -> None:
    page.get_by_role("group", name="Model").get_by_label("ideogram").check()
    expect(page.locator("#status")).to_have_text(f"{ROWS - 2} of {ROWS} rows")
    path = again(page, tmp_path, "shown", "same")

    done = says("validate", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_these_again_with_four_seeds(page: Any, tmp_path: Path) -> None:
    choose(page)
    path = again(page, tmp_path, "picked", "seeds", seeds="4")
    told = page.locator("#export .told")
    expect(told).to_contain_text("4 requests, about $0.12. 1 row became equal")

    # The batch has seeds 1 and 2 of this prompt in this style.
    assert [(entry.id, entry.values["seed"]) for entry in entries(path)] == [
        (f"dunes-stylerealistic-seed{n}", n) for n in (3, 4, 5, 6)
    ]


def test_these_again_in_another_style(page: Any, tmp_path: Path) -> None:
    choose(page)
    path = again(page, tmp_path, "picked", "other", name="style", words="design")

    assert [(entry.id, entry.values["style"]) for entry in entries(path)] == [
        (f"dunes-seed{n}-styledesign", "design") for n in (1, 2)
    ]


def test_what_the_batch_has_already_is_said_with_its_price_and_can_be_left_out(
    page: Any, tmp_path: Path
) -> None:
    choose(page)
    path = again(page, tmp_path, "picked", "same")
    told = page.locator("#export .told")
    expect(told).to_contain_text(
        "2 requests, about $0.06. 2 of them are in this batch already, saved or under way:"
        " they would be paid for again."
    )
    assert len(entries(path)) == 2
    page.get_by_label("leave out what this batch has").check()
    expect(told).to_contain_text("0 requests, about $0.00. 2 more are in this batch already")
    expect(page.get_by_role("button", name="Download")).to_be_disabled()

    press(page, "Escape")
    go_to(page, "dunes-seed2-stylerealistic")
    page.locator("#search").fill("dunes")
    page.evaluate(REDRAWN)
    page.locator("#exports").click()
    page.locator("#which").select_option("shown")
    page.locator("#export input[name=name]").fill("aspect_ratio")
    page.locator("#export input[name=words]").fill("16:9")
    expect(told).to_contain_text("2 requests, about $0.06. 2 more are in this batch already")


def test_a_value_is_checked_against_the_schema(page: Any) -> None:
    choose(page)
    press(page, "e")
    page.locator("#which").select_option("picked")
    page.get_by_label("Manifest, to run").check()
    problem, download = (
        page.locator("#export .problem"),
        page.get_by_role("button", name="Download"),
    )
    for name, value, wrong in (
        ("style", "anmie", "style of ideogram/ideogram-v2/generate is one of: auto, general,"),
        ("stlye", "anime", "ideogram/ideogram-v2/generate has no input stlye."),
        ("id", "anime", "ideogram/ideogram-v2/generate has no input id."),
        ("seed", "many", "seed of ideogram/ideogram-v2/generate is of the type integer."),
    ):
        page.locator("#export input[name=name]").fill(name)
        page.locator("#export input[name=words]").fill(value)
        expect(problem).to_contain_text(wrong)
        expect(download).to_be_disabled()
        shoot(page, "export-wrong")
    page.locator("#export input[name=name]").fill("style")
    page.locator("#export input[name=words]").fill("anime")
    expect(problem).to_have_text("")
    expect(download).to_be_enabled()
    offered = page.locator("#input-values option").evaluate_all("all => all.map(o => o.value)")
    assert offered == ["auto", "general", "realistic", "design", "render_3D", "anime"]


@pytest.mark.parametrize("title", ["a\x7fb\u2028c \U0001f98a </script>", "long " * 60_000])
def test_an_export_carries_the_schema_of_a_model_of_ones_own_or_names_it(
    browser: Any, says: Says, tmp_path: Path, title: str
) -> None:
    steps = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
    fields = {"prompt": {"type": "string", "title": title}, "steps": steps}
    schema = {"type": "object", "properties": fields}
    (tmp_path / "own.json").write_text(json.dumps(schema), encoding="utf-8")
    (tmp_path / "list.csv").write_text("prompt\nA fox\nAn owl\n", encoding="utf-8")
    model = ("--model", "atelier/own/text-to-image", "--schema", tmp_path / "own.json")
    night = tmp_path / "it's night"
    says("run", tmp_path / "list.csv", "--out", night, *model)
    with opened(browser, night) as page:
        path = again(page, tmp_path, "shown", "same")
        told = page.locator("#export .told").text_content()
        page.locator("#export input[name=how][value=seeds]").check()
        expect(page.locator("#export .problem")).to_contain_text("has no input seed")

    (tmp_path / "own.json").unlink()
    options = shlex.split(told.rpartition(" run ")[2])[1:]
    carried = len(title) < 1000
    assert carried is (options == [])
    done = says("validate", path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    if carried:
        says("run", path, "--out", tmp_path / "again")
        copies = [
            one / "schemas/atelier/own/text-to-image.json" for one in (night, tmp_path / "again")
        ]
        first, second = (json.loads(one.read_text(encoding="utf-8")) for one in copies)
        assert first == second


def test_models_that_are_each_given_a_schema_are_exported_into_a_manifest_of_their_own(
    browser: Any, says: Says, tmp_path: Path
) -> None:
    night = tmp_path / "night"
    listed = []
    for name in ("own", "other"):  # a run is given one schema, and has those of the runs before
        model = f"atelier/{name}/text-to-image"
        fields = {"prompt": {"type": "string"}, name: {"type": "integer"}}
        listed.append({"id": name, "model": model, "prompt": "A fox", name: 7})
        plain = {"id": "plain", "model": "ideogram/ideogram-v2/generate", "prompt": "A plain fox"}
        rows = [*listed, plain]
        one = {"model": model, "schema": {"properties": fields}, "rows": rows}
        (tmp_path / "list.json").write_text(json.dumps(one), encoding="utf-8")
        done = says("run", tmp_path / "list.json", "--out", night)
        assert done.returncode == 1, done.stderr  # the sandbox has no such models
    with opened(browser, night) as page:
        first = again(page, tmp_path, "shown", "same", button="Download night-again-1.yaml")
        expect(page.locator("#export .told")).to_contain_text("so these are 2 manifests")
        commands = page.locator("#export .told").text_content().rpartition("Then: ")[2].split("; ")
        assert commands == [f"batchgen run night-again-{n}.yaml" for n in (1, 2)]
        shoot(page, "export-apart")
        second = downloaded(page, tmp_path, "Download night-again-2.yaml")
        page.locator("#which").select_option("picked")
        expect(page.get_by_role("button", name="Download")).to_have_count(1)
    assert [[one.id for one in entries(path)] for path in (first, second)] == [
        ["own", "plain"],
        ["other"],
    ]
    for path in (first, second):
        says("run", path, "--out", tmp_path / path.stem)
    sent = [row for path in (first, second) for row in inputs(tmp_path / path.stem)]
    assert sorted(sent) == sorted(inputs(night))


def test_several_inputs_are_changed_at_once(page: Any, tmp_path: Path) -> None:
    page.locator("#search").fill("dunes")
    expect(page.locator("#status")).to_have_text(f"4 of {ROWS} rows")
    page.locator("#exports").click()
    page.locator("#which").select_option("shown")
    page.get_by_label("Manifest, to run").check()
    page.locator("#export input[name=name]").fill("style")
    page.locator("#export input[name=words]").fill("design")
    page.get_by_role("button", name="and another input").click()
    page.keyboard.type("aspect_ratio")
    page.locator("#export .pair").nth(1).get_by_label("Value").fill("1:1000")
    expect(page.locator("#export .problem")).to_contain_text("aspect_ratio")
    offered = page.locator("#input-values option").evaluate_all("all => all.map(o => o.value)")
    assert "1:1" in offered
    page.locator("#export .pair").nth(1).get_by_label("Value").fill("1:1")
    expect(page.locator("#export .problem")).to_have_text("")
    shoot(page, "export-several")
    found = entries(downloaded(page, tmp_path))
    assert [(one.id, one.values["style"], one.values["aspect_ratio"]) for one in found] == [
        (f"dunes-seed{seed}-styledesign", "design", "1:1") for seed in (1, 2)
    ]


def test_the_command_for_a_workflow_of_ones_own_names_the_copy_of_the_batch(
    browser: Any, says: Says, tmp_path: Path, address: Address
) -> None:
    (workflow,) = (one["payload"]["workflow_api_json"] for one in SAMPLES if one["id"] == SIZES)
    (tmp_path / "own.json").write_text(json.dumps(workflow), encoding="utf-8")
    (tmp_path / "list.csv").write_text("id,prompt\na,A fox\nb,An owl\n", encoding="utf-8")
    own = ("--deployment", TEXT, "--node", "prompt=6.text", "--workflow", tmp_path / "own.json")
    done = says("run", tmp_path / "list.csv", "--out", tmp_path / "it's night", *own)
    assert done.returncode == 0, done.stderr
    with opened(browser, tmp_path / "it's night") as page:
        path = again(page, tmp_path, "shown", "same")
        told = page.locator("#export .told").text_content()

    (tmp_path / "own.json").unlink()
    options = shlex.split(told.rpartition(" run ")[2])[1:]
    assert options[::2] == ["--workflow"]
    reach = ("--out", tmp_path / "it's night", "--base-url", address.base_url)
    done = says("plan", path, *reach, *options)
    assert "2 rows: 2 saved" in done.stdout, done.stdout + done.stderr


# The keyboard keeps its place, and messages are seen


def test_keys_work_from_the_first_second_and_while_rows_leave_the_filter(page: Any) -> None:
    press(page, "p")
    expect(page.locator("#n-picked")).to_have_text("1 picked")
    assert focused(page) == "dunes-seed1-styleanime"

    show_undecided(page)
    expect(page.locator("#status")).to_have_text(f"{ROWS - 1} of {ROWS} rows")
    page.locator("#grid .tile").nth(1).evaluate("tile => tile.focus()")
    for left, key in ((2, "p"), (3, "x"), (4, "3"), (5, "p")):
        press(page, key)
        expect(page.locator("#status")).to_have_text(
            f"{ROWS - left + (left > 3)} of {ROWS} rows"  # a rating alone decides nothing
        )
        page.evaluate(REDRAWN)
    assert focused(page) != ""
    expect(page.locator("#n-picked")).to_have_text("3 picked")


def test_the_cursor_stays_where_a_rating_moves_its_row_far_away(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    with opened(browser, pieces(batch, tmp_path / "many", 1, 400)) as page:
        expect(page.locator("#status")).to_have_text("400 rows")
        page.locator("#sort").select_option("rating")
        page.evaluate(REDRAWN)
        page.locator("#grid .tile").first.evaluate("tile => tile.focus()")
        press(page, "End")
        assert focused(page) == "row-400"
        press(page, "ArrowLeft", "5")
        page.evaluate(REDRAWN)
        assert focused(page) == "row-400"
        press(page, "4")
        expect(page.locator("#n-rated")).to_have_text("2 rated")


def test_the_matrix_keeps_the_focus_when_it_is_drawn_again(page: Any) -> None:
    press(page, "p")
    show_undecided(page)
    press(page, "m")
    page.locator("#matrix .tile").nth(1).focus()
    press(page, "p")
    page.evaluate(REDRAWN)
    assert focused(page) != ""
    press(page, "x")
    expect(page.locator("#n-rejected")).to_have_text("1 rejected")


def test_in_the_detail_space_goes_on_and_no_button_has_the_focus(page: Any) -> None:
    go_to(page, "dunes-seed1-styleanime")
    press(page, "Enter", "Enter")
    title = page.locator("#detail h2")
    expect(title).to_have_text("dunes-seed1-styleanime")
    press(page, " ")
    expect(title).to_have_text("dunes-seed2-stylerealistic")
    press(page, "Shift+Space")
    expect(title).to_have_text("dunes-seed1-styleanime")

    page.locator("#detail .prev").click()  # which ends at the first row, and is disabled
    expect(title).to_have_text("dunes-seed1-stylerealistic")
    press(page, "ArrowRight")
    expect(title).to_have_text("dunes-seed1-styleanime")


def test_dialogs_take_the_focus_when_they_open_and_not_before(page: Any) -> None:
    has_focus = "selector => document.querySelector(selector) === document.activeElement"
    page.locator("#grid .tile").first.click()
    assert page.evaluate(has_focus, "#detail .stage")
    press(page, "Escape", "e")
    assert page.evaluate(has_focus, "#which")
    # Of one in a closed dialog Chromium complains where somebody was quicker, one time in many.
    assert page.locator("[autofocus]").count() == 0


def test_a_message_lies_above_the_dialog_that_is_open(page: Any) -> None:
    on_top = """() => {
        const told = document.getElementById('told');
        const {left, top, width, height} = told.getBoundingClientRect();
        return document.elementFromPoint(left + width / 2, top + height / 2) === told;
    }"""
    page.locator("#grid .tile").first.click()
    page.clock.install(time=0)
    page.clock.pause_at(1)  # a message goes after four seconds
    page.locator("#detail .copy").first.click()
    expect(page.locator("#told")).to_have_text("Copied.")
    assert page.evaluate(on_top)
    press(page, "Escape")
    page.wait_for_function(on_top)  # the page hears a little later that its dialog is closed


def test_show_goes_to_the_rows_of_a_cause(page: Any) -> None:
    page.get_by_role("button", name="Show: =no \\u202eluck").click()
    expect(page.locator("#grid .tile")).to_have_count(1)
    assert focused(page) == "fails"
    expect(page.locator("#grid .tile")).to_be_in_viewport(ratio=1)


def test_the_night_is_open_and_its_numbers_show_their_rows(page: Any) -> None:
    expect(page.locator(".causes")).to_be_visible()
    page.get_by_role("button", name="1 failed").click()
    expect(page.locator("#status")).to_have_text(f"1 of {ROWS} rows")
    assert shown(page) == ["fails"]
    card = page.locator("#grid .tile .card")
    expect(card).to_contain_text("no \\u202eluck <b>today</b>")
    expect(card).to_contain_text("A fox")
    costs = page.locator(".models tr", has_text="tunes").locator(".number")
    expect(costs.last).to_have_text(re.compile(r"\$0\.[0-9][1-9]"))  # and no zero behind it
    page.get_by_role("button", name="atelier/clips/text-to-video").click()
    assert shown(page) == ["clip"]


def test_the_detail_has_utc_beside_local_times(browser: Any, batch: Path) -> None:
    ((utc,),) = query(batch, "SELECT saved_at FROM requests WHERE position = 1")
    with opened(browser, batch, timezone_id="Asia/Kolkata") as page:
        page.locator("#grid .tile").first.click()
        expect(page.locator("#detail .side")).to_contain_text(f"({utc[11:19]} UTC)")
        expect(page.locator("#detail .side")).to_contain_text(re.compile(r"took\D*[1-9]\d* s"))


def name_thumbnail(folder: Path, name: str) -> None:
    """Let the rows of the first piece, which have no thumbnails, name this one."""
    data = folder / "report" / "data" / "rows-1.js"
    text = data.read_text(encoding="utf-8")
    data.write_text(text.replace(", null]]", f', "thumbs/{name}"]]'), encoding="utf-8")


def test_a_picture_has_its_size_and_thumbnail_while_it_loads(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    folder = pieces(batch, tmp_path / "many", 1, 10)
    (folder / "report" / "thumbs").mkdir(exist_ok=True)
    Image.new("RGB", (16, 9)).save(folder / "report" / "thumbs" / "small.webp")
    name_thumbnail(folder, "small.webp")
    with opened(browser, folder) as page:
        width, height, behind = page.evaluate(
            """() => {
                document.querySelector('#grid .tile').click();
                const picture = document.querySelector('#detail .stage img');
                // In the same task, so that it cannot have come.
                const {width, height} = picture.getBoundingClientRect();
                return [width, height, picture.style.backgroundImage];
            }"""
        )
        assert (width, height) == (64, 36)
        assert "small.webp" in behind


def test_a_tile_is_sharp_at_twice_the_density_and_shows_what_it_can(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    folder = pieces(batch, tmp_path / "many", 1, 2)
    (folder / "report" / "thumbs").mkdir(exist_ok=True)
    Image.new("RGB", (768, 432)).save(folder / "report" / "thumbs" / "small.webp")
    whole = folder / "images" / "dunes-seed1-stylerealistic.png"
    Image.new("RGB", (1536, 864)).save(whole)
    name_thumbnail(folder, "small.webp")
    data = folder / "report" / "data" / "rows-1.js"
    text = data.read_text(encoding="utf-8").replace('"image", 64, 36,', '"image", 1536, 864,')
    data.write_text(text, encoding="utf-8")
    width = "img => img.decode().then(() => [img.currentSrc.split('/').pop(), img.clientWidth])"
    with opened(browser, folder, quietly=False, device_scale_factor=2) as page:
        picture = page.locator("#grid img").first
        source, wide = picture.evaluate(width)
        assert source == "small.webp"
        assert 2 * wide <= 768
        page.locator("#size").fill("400")
        page.evaluate(REDRAWN)
        source, wide = picture.evaluate(width)
        assert source == whole.name
        assert 768 < 2 * wide <= 1536
        whole.unlink()
        page.reload()
        expect(picture).to_have_js_property("srcset", "")
        assert picture.evaluate(width)[0] == "small.webp"


def test_a_film_has_its_own_aspect_and_a_click_on_it_does_not_zoom(page: Any) -> None:
    page.locator("#search").fill("kite")
    film = page.locator("#grid .tile video")
    film.evaluate("film => film.scrollIntoView()")
    page.wait_for_function(
        "() => { const film = document.querySelector('#grid .tile video');"
        " return film.videoWidth && Math.abs(film.clientWidth / film.clientHeight"
        " - film.videoWidth / film.videoHeight) < 0.06; }"
    )
    go_to(page, "clip")
    press(page, "s", "ArrowRight", "s", "c")
    page.locator("#beside video").click()
    assert not page.locator("#beside .panes.zoomed").count()


def test_selection_is_seen_in_forced_colours(browser: Any, batch: Path) -> None:
    with opened(browser, batch, forced_colors="active") as page:
        go_to(page, "dunes-seed1-stylerealistic")
        press(page, "s", "ArrowRight")
        face = page.locator("#grid .tile").first.locator(".face")
        assert face.evaluate("face => getComputedStyle(face).outlineStyle") == "double"
        colour = "button => getComputedStyle(button).backgroundColor"
        grid, matrix = page.locator("#as-grid"), page.locator("#as-matrix")
        assert grid.evaluate(colour) != matrix.evaluate(colour)
        shoot(page, "forced")


# Many rows


def pieces(batch: Path, folder: Path, count: int, size: int) -> Path:
    """A copy of the batch whose data are `count` pieces of `size` rows that say their number."""
    return with_inputs(
        batch, folder, [{"prompt": f"number {n + 1}"} for n in range(count * size)], size
    )


def with_inputs(batch: Path, folder: Path, inputs: list[dict[str, Any]], size: int = 1000) -> Path:
    """A copy of the batch whose rows, row-1 and so on, have these inputs besides their own."""
    shutil.copytree(batch, folder)
    data = folder / "report" / "data"
    text = (data / "batch.js").read_text(encoding="utf-8")
    facts = json.loads(text[text.index("{") : text.rindex(")")])
    count = -(-len(inputs) // size)
    facts |= {"rows": len(inputs), "pictures": len(inputs), "pieces": count, "size": size}
    (data / "batch.js").write_text(f"gallery.open({json.dumps(facts)});", encoding="utf-8")
    text = (data / "rows-1.js").read_text(encoding="utf-8")
    row = json.loads(text[text.index("[") : text.rindex(")")])[0]
    for number in range(count):
        rows = [
            [n, f"row-{n}", *row[2:4], {**row[4], **one}, *row[5:7], f"r-{n}", *row[8:]]
            for n, one in enumerate(inputs, 1)
            if (n - 1) // size == number
        ]
        path = data / f"rows-{number + 1}.js"
        path.write_text(f"gallery.rows({number + 1}, {json.dumps(rows)});", encoding="utf-8")
    return folder


def test_pieces_are_loaded_when_they_are_needed(browser: Any, batch: Path, tmp_path: Path) -> None:
    folder = pieces(batch, tmp_path / "many", 30, 100)
    with opened(browser, folder) as page:
        expect(page.locator("#status")).to_have_text("3,000 rows")
        expect(page.locator("#loading")).to_have_text("")
        assert page.evaluate("gallery.list.length") == 2000

        page.locator("#search").fill('"number 2999"')
        expect(page.locator("#status")).to_have_text("1 of 3,000 rows")
        assert shown(page) == ["row-2999"]


def test_of_many_rows_few_are_in_the_page_and_the_focus_stays(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    folder = pieces(batch, tmp_path / "many", 3, 1000)
    with opened(browser, folder) as page:
        expect(page.locator("#loading")).to_have_text("")
        go_to(page, "row-1")
        page.mouse.wheel(0, 60_000)
        expect(page.locator("[aria-posinset='40']")).to_have_count(0)
        assert page.locator("#grid .tile").count() < 150
        assert focused(page) == "row-1"
        press(page, "End")
        assert focused(page) == "row-3000"
        expect(page.locator("#grid .tile").last).to_be_in_viewport()


def test_a_missing_piece_is_named_and_the_others_are_shown(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    folder = pieces(batch, tmp_path / "many", 3, 10)
    (folder / "report" / "data" / "rows-2.js").unlink()
    with opened(browser, folder, quietly=False) as page:
        expect(page.locator("#loading")).to_contain_text("Piece 2")
        assert len(shown(page)) == 10


def test_without_its_thumbnail_a_picture_is_shown_itself(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    folder = pieces(batch, tmp_path / "many", 1, 10)
    name_thumbnail(folder, "none.webp")
    with opened(browser, folder, quietly=False) as page:
        picture = page.locator("#grid img").first
        expect(picture).to_have_attribute("src", "../images/dunes-seed1-stylerealistic.png")
        assert picture.evaluate("img => img.decode().then(() => img.naturalWidth)") == 64


def test_what_is_no_picture_film_or_sound_is_named_and_cannot_be_opened(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    folder = pieces(batch, tmp_path / "files", 1, 10)
    data = folder / "report" / "data" / "rows-1.js"
    text = data.read_text(encoding="utf-8")
    assert '"images/dunes-seed1-stylerealistic.png", "image"' in text
    new = text.replace('"images/', '"files/').replace(', "image", ', ', "file", ')
    data.write_text(new, encoding="utf-8")

    with opened(browser, folder) as page:
        name = "files/dunes-seed1-stylerealistic.png"
        expect(page.locator("#grid .card").first).to_contain_text(name)
        expect(page.locator("#grid img")).to_have_count(0)
        go_to(page, "row-1")
        press(page, "Enter")
        expect(page.locator("#detail .stage .card")).to_contain_text(name)
        expect(page.locator("#detail a")).to_have_count(0)


# Everyone

AXE = """rules => axe.run(document, {resultTypes: ['violations'], preload: false, ...rules}).then(
    found => found.violations.map(one => [one.id, one.help, one.nodes.map(n => n.html)]))"""
COLOURS = {"runOnly": ["color-contrast"]}  # all that differs in the dark


@pytest.mark.parametrize("scheme", ["light", "dark", "forced"])
def test_axe_finds_nothing_anywhere(browser: Any, batch: Path, scheme: str) -> None:
    base = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
    axe = Path(base.__file__).with_name("axe.min.js")
    # Only here the page's policy is off: axe is a script from elsewhere.
    forced = scheme == "forced"
    dark = {"forced_colors": "active", "color_scheme": "dark"}
    colours = dark if forced else {"color_scheme": scheme}
    with opened(browser, batch, script=axe.read_text(), bypass_csp=True, **colours) as page:

        def check(name: str) -> None:
            assert page.evaluate(AXE, COLOURS if scheme == "dark" else {}) == [], name
            shoot(page, f"{name}-{scheme}")

        choose(page)
        check("grid")
        dialogs = {"detail": "Enter", "help": "?", "export": "e"}
        for name, key in dialogs.items():
            go_to(page, "dunes-seed2-styleanime")
            press(page, key)
            check(name)
            press(page, "Escape")
        go_to(page, "fails")
        press(page, "Enter")
        check("failed")
        press(page, "Escape", "s", "ArrowRight", "s")
        check("many")
        press(page, "c")
        check("beside")
        press(page, "Escape", "m")
        check("matrix")
        press(page, "m", "g")
        check("groups")
        page.set_viewport_size({"width": 390, "height": 844})
        page.locator("#filters").click()
        check("sheet")


def test_a_telephone_shows_it_without_scrolling_sideways(browser: Any, batch: Path) -> None:
    with opened(browser, batch, viewport={"width": 360, "height": 740}, has_touch=True) as page:
        shoot(page, "phone")
        sideways = "document.documentElement.scrollWidth > innerWidth"
        assert not page.evaluate(sideways)
        page.get_by_role("button", name="Filters").tap()
        expect(page.locator("#panel")).to_be_visible()
        expect(page.get_by_label("Order", exact=True)).to_be_visible()  # with its name
        assert not page.evaluate(sideways)
        page.get_by_role("group", name="style").get_by_label("anime").tap()
        page.get_by_role("button", name="Show 4 rows").tap()
        expect(page.locator("#panel")).to_be_hidden()
        page.locator("#grid .tile").last.evaluate("tile => tile.scrollIntoView()")
        expect(page.locator("#search")).to_be_in_viewport(ratio=1)  # the bar stays
        page.locator("#grid .tile").first.tap()
        page.locator("#detail").get_by_role("button", name="Pick").tap()
        shoot(page, "phone-detail")
        assert page.evaluate("document.querySelector('#detail').scrollWidth <= innerWidth")
        page.get_by_role("button", name="Close").tap()
        expect(page.locator("#n-picked")).to_have_text("1 picked")


def test_the_night_fits_a_telephone_and_the_picture_has_the_room(browser: Any, batch: Path) -> None:
    phone = {"has_touch": True, "is_mobile": True}
    with opened(browser, batch, viewport={"width": 390, "height": 844}, **phone) as page:
        shoot(page, "phone-night")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        expect(page.locator("#exports")).to_be_in_viewport(ratio=1)
        small = page.locator("button:visible").evaluate_all(
            "all => all.filter(one => one.getBoundingClientRect().height < 43)"
            ".map(one => one.outerHTML)"
        )
        assert small == []
    with opened(browser, batch, viewport={"width": 844, "height": 390}, **phone) as page:
        page.locator("#grid .tile").first.tap()
        shoot(page, "phone-landscape")
        assert page.locator("#detail .stage").bounding_box()["height"] > 300


@pytest.mark.parametrize("left", [(), ("gallery.css",)])
def test_the_page_alone_says_what_is_missing(
    browser: Any, batch: Path, tmp_path: Path, left: tuple[str, ...]
) -> None:
    (tmp_path / "report").mkdir()
    for name in ("index.html", *left):
        shutil.copy(batch / "report" / name, tmp_path / "report")
    with opened(browser, tmp_path, quietly=False, rows=False) as page:
        expect(page.get_by_role("alert")).to_contain_text("ask for the whole folder")
        expect(page.get_by_role("alert")).to_be_visible()


def test_print_is_a_contact_sheet_of_what_is_shown(page: Any, tmp_path: Path) -> None:
    page.locator("#search").fill("dunes")
    expect(page.locator("#status")).to_have_text(f"4 of {ROWS} rows")
    page.evaluate("window.printed = {done: new Promise(done => window.print = done)}; 0")
    page.get_by_role("button", name="Print").click()
    page.evaluate("window.printed.done")
    page.emulate_media(media="print")

    expect(page.locator("#sheet figure")).to_have_count(4)
    expect(page.locator("#sheet figcaption b").first).to_have_text("dunes-seed1-stylerealistic ")
    expect(page.locator("#bar")).to_be_hidden()
    shoot(page, "print")


def test_without_script_the_page_still_says_what_happened(browser: Any, batch: Path) -> None:
    with opened(browser, batch, rows=False, java_script_enabled=False) as page:
        expect(page.locator(".figures .failed")).to_have_text("1 failed")
        expect(page.get_by_role("link", name="results.csv")).to_be_visible()
        expect(page.locator("#bar")).to_be_hidden()
        expect(page.locator(".about table").first).to_contain_text("=no \\u202eluck <b>today</b>")


def test_a_part_of_a_batch_says_that_it_is_one(
    browser: Any, batch: Path, says: Says, tmp_path: Path
) -> None:
    shutil.copytree(batch, tmp_path / "night")
    says("report", tmp_path / "night", "--where", "style=anime")
    with opened(browser, tmp_path / "night") as page:
        expect(page.locator("#status")).to_have_text("4 rows")
        expect(page.locator(".note")).to_contain_text("style=anime")


def test_a_folder_to_give_away_has_a_gallery_that_needs_nothing_else(
    browser: Any, batch: Path, says: Says, tmp_path: Path
) -> None:
    says("report", batch, "--where", "style=anime", "--to", tmp_path / "for-ada")
    there = shutil.move(tmp_path / "for-ada", tmp_path / "elsewhere")
    with opened(browser, Path(there)) as page:
        page.goto((Path(there) / "index.html").as_uri())
        page.wait_for_url("**/report/index.html")
        expect(page.locator("#status")).to_have_text("4 rows")
        expect(page.locator(".figures")).to_have_text("4 saved")
        expect(page.locator(".about")).to_have_count(0)
        expect(page.locator("#grid .tile img").first).to_have_js_property("complete", True)
        assert page.locator("#grid .tile img").first.evaluate("it => it.naturalWidth") > 0
        press(page, "ArrowRight", "p", "e")
        expect(page.locator("#export .told")).to_contain_text("whoever gave you this gallery")
        press(page, "Escape", "Enter")
        expect(page.locator("#detail")).not_to_contain_text("cost")


def test_a_script_among_the_pictures_is_no_script_of_the_page(
    browser: Any, batch: Path, tmp_path: Path
) -> None:
    """Even if markup from outside came to stand in the page, as an inline script or by a name."""
    other = tmp_path / "night"
    shutil.copytree(batch, other)
    (other / "images" / "evil.js").write_text("window.ran = true")
    index = other / "report" / "index.html"
    markup = '<script src="../images/evil.js"></script><script>window.ran = true</script>'
    text = index.read_text(encoding="utf-8").replace("<header", f"{markup}<header", 1)
    index.write_text(text, encoding="utf-8")

    with opened(browser, other, quietly=False) as page:
        assert page.evaluate("window.ran") is None
