"""One walk through the gallery in Firefox, which opens it from disk as Chromium does."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import chromium
import firefox
import pytest
from chromium import Says

says = chromium.says  # a fixture


@pytest.fixture
def tab(says: Says, tmp_path: Path) -> Iterator[firefox.Tab]:
    if firefox.PROGRAM is None:
        pytest.skip("there is no Firefox here: firefox-esr")
    rows = [
        {"id": f"{prompt}-{seed}", "prompt": f"A {prompt}", "seed": seed}
        for prompt in ("heron", "fox", "owl")
        for seed in (1, 2)
    ]
    rows += [{"id": "clip", "model": "atelier/clips/text-to-video", "prompt": "A kite flies"}]
    (tmp_path / "night.json").write_text(json.dumps(rows), encoding="utf-8")
    done = says("run", tmp_path / "night.json", "--out", tmp_path / "night")
    assert done.returncode == 0, done.stderr
    (tmp_path / "home").mkdir()
    with firefox.opened(tmp_path / "night", tmp_path / "home") as found:
        yield found


def text(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).textContent"


FOCUSED = "document.activeElement.querySelector?.('.name')?.textContent"
SCALE = "document.querySelector('#detail .stage img').style.transform"


def shoot(tab: firefox.Tab, name: str) -> None:
    if folder := os.environ.get(chromium.SHOTS):
        tab.shoot(Path(folder) / f"firefox-{name}.png")


def test_a_walk_from_the_first_picture_to_the_exported_picks(
    tab: firefox.Tab, tmp_path: Path
) -> None:
    tab.until("document.querySelector('#grid .tile img')?.naturalWidth > 0")
    tab.until("document.querySelector('#grid video')?.videoWidth > 0")
    shoot(tab, "grid")

    # A cull by keys, from the first one on: a verdict goes on to the next picture
    tab.press("p", "x", "4", "p", "u", "p")
    tab.until(f"{FOCUSED} === 'fox-2'")
    assert tab.value(text("#n-picked")) == "2 picked"
    assert tab.value(text("#n-rejected")) == "1 rejected"

    # The picture, and zoom
    tab.press("Enter")
    tab.until("document.querySelector('#detail .stage img')?.naturalWidth > 0")
    assert tab.value(text("#detail h2")) == "fox-2"
    tab.press("z")
    tab.until(f"{SCALE}.includes('scale')")
    tab.press("z")
    tab.until(f"{SCALE} === ''")
    tab.wheel("#detail .stage", -300)
    tab.until(f"{SCALE}.includes('scale')")
    shoot(tab, "zoom")
    tab.press("Escape")
    tab.until(f"{FOCUSED} === 'fox-2'")

    # Two beside each other
    tab.press("s", "Right", "s", "c")
    tab.until("document.querySelectorAll('#beside[open] .view img').length === 2")
    shoot(tab, "compare")
    tab.press("Escape", "Escape")
    tab.until("!document.querySelector('dialog[open]')")

    # The matrix, and what the address keeps
    tab.press("m")
    tab.until("document.querySelectorAll('#matrix .tile').length === 7")
    shoot(tab, "matrix")
    tab.press("m")
    tab.click("#search")
    tab.press(*"fox", "Enter")
    tab.until(f"{text('#status')} === '2 of 7 rows'")
    tab.press("g")
    tab.until("document.querySelector('#grid .head')")
    tab.reload()
    tab.until(f"{text('#status')} === '2 of 7 rows' && document.querySelector('#grid .head')")
    assert tab.value("document.querySelector('#search').value") == "fox"
    assert tab.value(text("#n-picked")) == "2 picked"

    # Picks, exported
    tab.press("e")
    tab.until("document.querySelector('#export[open]')")
    shoot(tab, "export")
    tab.click("#export .download")
    path = tab.downloaded()
    assert path.name == "night-picks.csv"
    with path.open(encoding="utf-8", newline="") as file:
        picks = [(one["id"], one["verdict"], one["rating"]) for one in csv.DictReader(file)]
    assert picks == [("heron-1", "pick", ""), ("fox-1", "pick", "4")]
