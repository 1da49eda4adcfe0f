"""For the gallery's tests: Debian's Chromium, which opens a batch from disk and is overheard."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import TOKEN

from batchgen.sandbox import Address

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
# No sandbox, since tests may run as root in a container; the rest is to make no request of its own.
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PATIENCE = 30_000  # milliseconds until something that should appear is missed
sync_api.expect.set_options(timeout=PATIENCE)
Says = Callable[..., subprocess.CompletedProcess[str]]  # runs a command
SHOTS = "BATCHGEN_SHOTS"  # a folder for screenshots; without it none are taken


@contextmanager
def started() -> Iterator[Any]:
    if PROGRAM is None:
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Any,
    batch: Path,
    script: str = "",
    quietly: bool = True,
    rows: bool = True,
    **context: Any,
) -> Iterator[Any]:
    """Open the gallery of a batch; afterwards nothing was said in the console, nor asked for
    outside the batch folder.

    script: runs before the page's own. quietly: the console is to stay empty. rows: the page is
    to show rows, and is awaited until it does: what is asked of it before, by a key, is lost.
    context: as `Browser.new_context` takes it.
    """
    said: list[str] = []
    strayed: list[str] = []
    home = batch.resolve().as_uri() + "/"

    def asked(request: Any) -> None:
        if not request.url.startswith((home, "blob:")):  # a blob is a download of ours
            strayed.append(request.url)

    options = {"viewport": {"width": 1280, "height": 860}, "accept_downloads": True, **context}
    window = browser.new_context(**options)
    window.set_default_timeout(PATIENCE)
    window.on("page", lambda page: page.on("dialog", lambda d: said.append(d.message)))
    window.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    window.on("weberror", lambda error: said.append(str(error.error)))
    window.on("request", asked)
    if script:
        window.add_init_script(script)
    page = window.new_page()
    page.goto(f"{home}report/index.html", wait_until="domcontentloaded")
    if rows:
        sync_api.expect(page.locator("#grid .tile").first).to_be_visible()
    yield page
    window.close()
    assert not (quietly and said), said
    assert strayed == []


def shoot(page: Any, name: str) -> None:
    """Take a screenshot for a person to look at, where one asks for it."""
    if folder := os.environ.get(SHOTS):
        page.screenshot(path=Path(folder) / f"{name}.png")


# Resolves when what an event sets off is drawn: two timers, then a frame, after the page's own.
REDRAWN = """() => new Promise((drawn) => {
    const frame = () => requestAnimationFrame(() => requestAnimationFrame(drawn));
    setTimeout(() => setTimeout(frame));
})"""


def focused(page: Any) -> str:
    """The id of the row whose tile has the focus, once the page has done what was last asked."""
    page.evaluate(REDRAWN)  # a dialog that closes tells the page later that it is closed
    found: str = page.evaluate("document.activeElement.querySelector?.('.name')?.textContent ?? ''")
    return found


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def shown(page: Any) -> list[str]:
    """The ids of the tiles in the page."""
    found: list[str] = page.locator("#grid .tile .name").all_text_contents()
    return found


@pytest.fixture(scope="module")
def says(address: Address, tmp_path_factory: pytest.TempPathFactory) -> Says:
    """Run a command as a process: Playwright has this process's event loop."""
    home = tmp_path_factory.mktemp("home")
    environment = {name: v for name, v in os.environ.items() if not name.endswith("_proxy")}
    environment |= {"RUNCOMFY_TOKEN": TOKEN, "HOME": str(home), "XDG_STATE_HOME": str(home)}
    reach = ["--base-url", address.base_url, "--media-host", address.media_host]

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        more = ["--rate", "1000/s"] if words[0] == "run" else []
        if more and "--sandbox" not in words:
            more += reach
        line = [sys.executable, "-m", "batchgen", *map(str, words), *more]
        return subprocess.run(
            line, cwd=home, env=environment, capture_output=True, encoding="utf-8"
        )

    return command


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as found:
        yield found
