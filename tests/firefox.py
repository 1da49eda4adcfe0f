"""For the gallery's walk: Debian's Firefox, without a window, driven by WebDriver BiDi.

Source of the protocol: https://w3c.github.io/webdriver-bidi/
"""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PROGRAM = shutil.which("firefox-esr")
# Seconds until something that should happen is missed: on a busy computer Firefox alone takes a
# minute to open its first page.
PATIENCE = 300
# It is to make no request of its own, and to ask nobody where a download goes.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.download.useDownloadDir": True,
    "browser.download.folderList": 2,
    "browser.download.alwaysOpenPanel": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "remote.active-protocols": 1,
    "services.settings.server": "http://127.0.0.1:9/",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}
VIEWPORT = {"width": 1280, "height": 860}
KEYS = {
    **{"Control": "\ue009", "Shift": "\ue008", "Enter": "\ue007", "Escape": "\ue00c", "Space": " "},
    **{"Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"},
}


class Tab:
    """A page in Firefox. said: what it wrote to the console, with the errors nobody caught."""

    def __init__(self, runner: asyncio.Runner, socket: Any, downloads: Path) -> None:
        self._runner, self._socket, self._sent = runner, socket, 0
        self._downloads = downloads
        self._context = ""
        self.said: list[str] = []

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command and return what it came to; what the page says meanwhile is kept."""

        async def exchange() -> Any:
            self._sent += 1
            await self._socket.send_json({"id": self._sent, "method": method, "params": params})
            while (found := await self._next()).get("id") != self._sent:
                pass
            return found

        found = self._runner.run(exchange())
        assert found["type"] == "success", found
        return found["result"]

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            found: dict[str, Any] = await self._socket.receive_json()
        if found.get("method") == "log.entryAdded":
            entry = found["params"]
            self.said.append(f"{entry['level']}: {entry['text']}")
        return found

    def open(self, address: str) -> None:
        self.ask("session.subscribe", events=["log.entryAdded"])
        (first,) = self.ask("browsingContext.getTree", maxDepth=0)["contexts"]
        self._context = first["context"]
        self.ask("browsingContext.setViewport", context=self._context, viewport=VIEWPORT)
        self.ask("browsingContext.navigate", context=self._context, url=address, wait="complete")

    def downloaded(self) -> Path:
        """Wait until a file is whole that was downloaded; return its path."""
        # The event that tells of it is not known to Firefox 140.
        end = time.monotonic() + PATIENCE
        while True:
            found = [path for path in self._downloads.iterdir() if path.stat().st_size]
            if found and found[0].suffix != ".part":
                return found[0]
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.02)

    def reload(self) -> None:
        self.ask("browsingContext.reload", context=self._context, wait="complete")

    def value(self, expression: str) -> Any:
        """Return what an expression of the page is, or what its promise comes to, by JSON."""
        script = f"Promise.resolve({expression}).then(found => JSON.stringify(found ?? null))"
        target = {"context": self._context}
        found = self.ask("script.evaluate", expression=script, target=target, awaitPromise=True)
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    def until(self, expression: str) -> None:
        """Wait until an expression of the page is true, looked at again and again."""
        assert self.value(
            f"""new Promise(done => {{
                const end = performance.now() + {PATIENCE * 100};
                const look = () => {{
                    if ({expression}) done(true);
                    else if (performance.now() > end) done(false);
                    else setTimeout(look, 20);
                }};
                look();
            }})"""
        ), f"it never came: {expression}"

    def press(self, *keys: str) -> None:
        """Press keys one after the other; `Control+z` holds the first."""
        actions: list[dict[str, str]] = []
        for key in keys:
            parts = [KEYS.get(part, part) for part in re.split(r"(?<=.)\+", key)]
            actions += [{"type": "keyDown", "value": part} for part in parts]
            actions += [{"type": "keyUp", "value": part} for part in reversed(parts)]
        self._act({"type": "key", "id": "keys", "actions": actions})

    def click(self, selector: str, *, times: int = 1) -> None:
        place = self._middle(selector)
        one = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        actions = [{"type": "pointerMove", **place}, *one * times]
        self._act({"type": "pointer", "id": "mouse", "actions": actions})

    def wheel(self, selector: str, pixels: int) -> None:
        turn = {"type": "scroll", "deltaX": 0, "deltaY": pixels, **self._middle(selector)}
        self._act({"type": "wheel", "id": "wheel", "actions": [turn]})

    def shoot(self, path: Path) -> None:
        found = self.ask("browsingContext.captureScreenshot", context=self._context)
        path.write_bytes(base64.b64decode(found["data"]))

    def _middle(self, selector: str) -> dict[str, int]:
        x, y = self.value(
            f"(({{left, top, width, height}}) => [left + width / 2, top + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        return {"x": round(x), "y": round(y)}

    def _act(self, *sources: dict[str, Any]) -> None:
        self.ask("input.performActions", context=self._context, actions=list(sources))


@contextmanager
def opened(batch: Path, home: Path) -> Iterator[Tab]:
    """Open the gallery of a batch from disk; afterwards nothing was said in the console.

    home: an empty folder for what Firefox keeps; downloads go to `downloads` in it.
    """
    if PROGRAM is None:
        pytest.skip("there is no Firefox here: firefox-esr")
    preferences = {**PREFERENCES, "browser.download.dir": str(home / "downloads")}
    (home / "downloads").mkdir()
    (home / "profile").mkdir()
    lines = [f"user_pref({json.dumps(n)}, {json.dumps(v)});\n" for n, v in preferences.items()]
    (home / "profile" / "user.js").write_text("".join(lines), encoding="utf-8")
    environment = {name: v for name, v in os.environ.items() if not name.endswith("_proxy")}
    firefox = subprocess.Popen(
        [PROGRAM, "--headless", "--remote-debugging-port=0", "--profile", home / "profile"],
        env={**environment, "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        assert firefox.stderr
        listening = re.compile("listening on (ws://.*)")
        found = next(filter(None, map(listening.search, firefox.stderr)))
        with asyncio.Runner() as runner, _connected(runner, found[1] + "/session") as socket:
            tab = Tab(runner, socket, home / "downloads")
            tab.ask("session.new", capabilities={})
            tab.open((batch.resolve() / "report" / "index.html").as_uri())
            yield tab
            tab.value("null")  # whatever the page said before it has come then
        assert tab.said == []
    finally:
        # It may never answer that it closes. Its processes are in its group.
        os.killpg(firefox.pid, signal.SIGKILL)
        firefox.communicate()


@contextmanager
def _connected(runner: asyncio.Runner, address: str) -> Iterator[Any]:
    async def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()  # which wants to know its event loop

    async def connect() -> Any:
        return await session.ws_connect(address, max_msg_size=0)

    session = runner.run(open_session())
    try:
        yield runner.run(connect())
    finally:
        runner.run(session.close())
