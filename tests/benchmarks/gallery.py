"""How the gallery does in Chromium: first picture, filter, verdict, a frame of scrolling, heap.

The rows are one row of a rehearsal, again and again, with thumbnails of a night's size and two
fields to filter by. What a person waits for ends with a drawn frame.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from .table import table

ROWS = (400, 3_000, 100_000)
A_PIECE = 1000
THUMBS = 200  # different ones
TARGETS = {"first_picture": 900, "filter": 50, "verdict": 50, "frame": 26, "heap": 80}
COLUMNS = (
    ("first_picture", "first picture ms", "{:.0f}"),
    ("filter", "filter ms", "{:.0f}"),
    ("verdict", "verdict ms", "{:.0f}"),
    ("frame", "scroll frame ms", "{:.1f}"),
    ("frame_95", "95th ms", "{:.1f}"),
    ("heap", "heap MB", "{:.0f}"),
)

FIRST = """() => new Promise((seen) => {
    const look = () => {
        const picture = document.querySelector("#grid img");
        if (picture?.complete && picture.naturalWidth) seen(performance.now());
        else requestAnimationFrame(look);
    };
    look();
})"""
# Milliseconds from an act until the page has what it is to have, and that is drawn.
UNTIL = """([act, done]) => new Promise((told) => {
    const began = performance.now();
    const drawn = () => requestAnimationFrame(() => told(performance.now() - began));
    const look = () => (eval(done) ? drawn() : setTimeout(look));
    eval(act);
    look();
})"""
FILTER = "document.querySelector('#facets input').click()"
FILTERED = "/ of /.test(document.querySelector('#status').textContent)"
KEY = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'p', bubbles: true}))"
JUDGED = "document.querySelector('#n-picked').textContent.startsWith('1 ')"
FRAMES = """() => new Promise((told) => {
    const times = [];
    const frame = (now) => {
        times.push(now);
        window.scrollBy(0, 120);
        if (times.length < 120) requestAnimationFrame(frame);
        else told(times.slice(1).map((time, n) => time - times[n]));
    };
    requestAnimationFrame(frame);
})"""


def write_rows(batch: Path, rows: int) -> None:
    """Let the gallery of a batch have so many rows."""
    report = batch / "report"
    (report / "thumbs").mkdir(exist_ok=True)
    for n in range(THUMBS):
        noise = Image.effect_noise((768, 512), 60)
        noise.convert("RGB").save(report / "thumbs" / f"{n}.webp", quality=75)
    facts, (row, *_) = (read(report / "data" / name) for name in ("batch.js", "rows-1.js"))
    path, kind, _, _, *rest = row[6][0]
    pieces = -(-rows // A_PIECE)
    facts |= {"rows": rows, "pictures": rows, "pieces": pieces, "size": A_PIECE}
    (report / "data" / "batch.js").write_text(f"gallery.open({json.dumps(facts)});")
    for piece in range(pieces):
        some = []
        for n in range(piece * A_PIECE, min((piece + 1) * A_PIECE, rows)):
            one = list(row)
            one[:2] = n, f"row-{n}"
            prompt = f"A heron at dawn, number {n}"
            one[4] = {"prompt": prompt, "style": f"style {n % 4}", "seed": n % 8}
            one[6] = [[path, kind, 1536, 1024, *rest[:-1], f"thumbs/{n % THUMBS}.webp"]]
            one[7] = f"request-{n}"
            some.append(one)
        (report / "data" / f"rows-{piece + 1}.js").write_text(
            f"gallery.rows({piece + 1},{json.dumps(some)});"
        )


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    begin = min(at for at in (text.find("["), text.find("{")) if at >= 0)
    return json.loads(text[begin : text.rindex(")")])


def measured(browser: Any, batch: Path) -> dict[str, float]:
    """Return the figures of a visit in a new window: milliseconds, and MB of the heap."""
    window = browser.new_context(viewport={"width": 1280, "height": 860}, bypass_csp=True)
    page = window.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{batch.as_uri()}/report/index.html", wait_until="commit")
    found = {"first_picture": page.evaluate(FIRST)}
    page.wait_for_function("!document.querySelector('#loading').textContent")
    found["verdict"] = page.evaluate(UNTIL, [KEY, JUDGED])
    frames = sorted(page.evaluate(FRAMES))
    found |= {"frame": statistics.median(frames), "frame_95": frames[len(frames) * 95 // 100]}
    page.evaluate("gallery.pieces.want()")
    page.wait_for_function("gallery.pieces.all && !gallery.pieces.busy")
    page.wait_for_timeout(500)
    found["filter"] = page.evaluate(UNTIL, [FILTER, FILTERED])
    session = window.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    found["heap"] = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    window.close()
    return found


def gallery(rows: tuple[int, ...], rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians of so many visits, by the number of rows."""
    from chromium import started  # which skips a test where there is no Chromium

    found = {}
    with tempfile.TemporaryDirectory() as folder, started() as browser:
        for count in rows:
            batch = Path(folder, str(count))
            lines = Path(folder, "one.csv")
            lines.write_text("prompt\nA heron\n", encoding="utf-8")
            run = ("run", str(lines), "--sandbox", "--out", str(batch))
            subprocess.run(
                [sys.executable, "-m", "batchgen", *run], check=True, capture_output=True
            )
            write_rows(batch, count)
            visits = [measured(browser, batch) for _ in range(rounds)]
            found[str(count)] = {
                name: statistics.median(visit[name] for visit in visits) for name in visits[0]
            }
    return found


def gallery_table(found: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        [count, *(form.format(one[name]) for name, _, form in COLUMNS)]
        for count, one in found.items()
    ]
    targets = ["at most", *(str(TARGETS.get(name, "")) for name, *_ in COLUMNS)]
    return table(["rows", *(title for _, title, _ in COLUMNS)], [*rows, targets])
