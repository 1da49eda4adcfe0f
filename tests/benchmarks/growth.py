"""What grows with the list: reading, memory, the first POST, a restart, `status`. batchgen alone.

One row is sent of each list, so that the time until its POST arrives is what came before it:
start-up, reading, validating and journaling all rows.
"""

import csv
import json
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox_client import Control

from batchgen.sandbox import Address, started

from .contenders import CONTENDERS, OUT
from .measure import Figures, launched, measure
from .scenarios import Scenario
from .table import table, written

ROWS = (1_000, 10_000, 100_000, 1_000_000)
FORMATS = ("csv", "jsonl")
AT_ONCE = (1, 10, 40, 100, 400)
IN_FLIGHT = 10_000
IN_FLIGHT_S = 60.0  # that each request takes there
WITH_FILES = 200_000  # rows of the list whose files are there, too
DONE = 0.99  # share of the rows that are saved before the restart
AT = "2026-01-01T00:00:00.000Z"

COLUMNS = (
    ("first_post", "first POST s", "{:.2f}"),
    ("rows_per_second", "rows/s", "{:.0f}"),
    ("peak_mib", "peak MiB", "{:.0f}"),
    ("seconds", "whole run s", "{:.2f}"),
    ("status", "status s", "{:.2f}"),
    ("restart", "restart: first POST s", "{:.2f}"),
    ("restart_peak_mib", "peak MiB", "{:.0f}"),
    ("restart_seconds", "whole run s", "{:.2f}"),
)


def write_list(path: Path, rows: int) -> None:
    """A list of that many rows, with ids; CSV or JSONL by the path's name."""
    pairs = ((f"row-{n:07d}", f"A heron at dawn, number {n}") for n in range(1, rows + 1))
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.writer(file)
            writer.writerow(("id", "prompt"))
            writer.writerows(pairs)
        else:
            file.writelines(json.dumps({"id": id, "prompt": p}) + "\n" for id, p in pairs)


def pretend_saved(journal: Path, share: float) -> None:
    """Let this share of the rows be saved, as a run would have left them, without their files.

    The only place here that knows the journal's tables.
    """
    with closing(sqlite3.connect(journal)) as db, db:
        ((last,),) = db.execute("SELECT MAX(position) FROM requests")
        chosen = "FROM requests WHERE state = 'pending' AND position <= ?"
        upto = (int(last * share),)
        name = "'images/' || name || '.png'"
        url = "'https://media.runcomfy.net/' || key"
        db.execute(
            "INSERT INTO outputs (key, n, kind, url, path, bytes, sha256, content_type, width,"
            f" height) SELECT key, 1, 'image', {url}, {name}, 21000, key || key, 'image/png', 768,"
            f" 768 {chosen}",
            upto,
        )
        db.execute(f"INSERT INTO spending SELECT key, 1, '{AT}', 0.03 {chosen}", upto)
        for event, old, new in (
            ("send", "pending", "submitting"),
            ("accepted", "submitting", "submitted"),
            ("done", "submitted", "completed"),
            ("saved", "completed", "saved"),
        ):
            db.execute(
                'INSERT INTO events (at, run, key, event, "from", "to", attempt, detail)'
                f" SELECT ?, 1, key, ?, ?, ?, 1, '' {chosen}",
                (AT, event, old, new, *upto),
            )
        db.execute(
            "UPDATE requests SET state = 'saved', request_id = 'made-up-' || position, attempts ="
            " 1, api_status = 'completed', price = 0.03, cost = 0.03, submitted_at = :at,"
            " completed_at = :at, saved_at = :at WHERE state = 'pending' AND position <= :upto",
            {"at": AT, "upto": upto[0]},
        )


def make_files(batch: Path) -> None:
    """Put a file in the place of each that `pretend_saved` has told of."""
    (batch / "images").mkdir(exist_ok=True)
    with closing(sqlite3.connect(batch / "batch.db")) as db:
        for (path,) in db.execute("SELECT path FROM outputs"):
            (batch / path).write_bytes(b"\x89PNG")


def run_one(folder: Path, file: str, address: Address, control: Control) -> Figures:
    """Run the list until one more row is saved; `first_post`: seconds from the start until then."""
    words = [
        *(sys.executable, "-m", "batchgen", "run", file, "--out", OUT, "--limit", "1"),
        *("--base-url", address.base_url, "--media-host", address.media_host, "--rate", "100/s"),
    ]
    before = control.posts
    used = launched(words, folder)
    arrived = control.log()[before:]
    if len(arrived) != 1:
        raise RuntimeError((folder / "said.txt").read_text(encoding="utf-8")[-2000:])
    return used | {"first_post": arrived[0]["arrived_at"] - used["started_at"]}


def grown(rows: int, form: str, *, with_files: bool = False) -> Figures:
    """The figures of one list: see COLUMNS. rows_per_second: rows over the time to the POST.

    with_files: the batch folder holds a file for each saved row when it is started again.
    """
    options = Scenario("growth", 1, picture_size=64).sandbox_options()
    with (
        tempfile.TemporaryDirectory(prefix="batchgen-bench-") as name,
        started(None, options=options) as address,
        Control(address.base_url) as control,
    ):
        folder, file = Path(name), f"list.{form}"
        write_list(folder / file, rows)
        first = run_one(folder, file, address, control)
        pretend_saved(folder / OUT / "batch.db", DONE)
        if with_files:
            make_files(folder / OUT)
        again = run_one(folder, file, address, control)
        status = launched([sys.executable, "-m", "batchgen", "status", OUT], folder)
        return {
            "first_post": first["first_post"],
            "rows_per_second": rows / first["first_post"],
            "peak_mib": first["peak_bytes"] / 2**20,
            "seconds": first["seconds"],
            "status": status["seconds"],
            "restart": again["first_post"],
            "restart_peak_mib": again["peak_bytes"] / 2**20,
            "restart_seconds": again["seconds"],
        }


def growth_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        [name, *(written(form, figures[key]) for key, _, form in COLUMNS)]
        for name, figures in found.items()
    ]
    return table(["rows", *(heading for _, heading, _ in COLUMNS)], lines)


def crowded(at_once: int, rows: int) -> Figures:
    """One run of batchgen with so many requests under way, as in the scenario `overhead`."""
    scenario = Scenario("crowded", rows, at_once=at_once, slots=max(at_once, 40))
    (batchgen,) = (one for one in CONTENDERS if one.name == "batchgen")
    return measure(batchgen, replace(scenario, told=10_000.0))


def in_flight(requests: int, seconds: float) -> Figures:
    """One run of batchgen with so many requests under way, each for so long, and a few more."""
    scenario = Scenario(
        "in flight",
        requests + requests // 5,
        at_once=requests,
        slots=requests,
        seconds=seconds,
        told=requests / 5,
        picture_size=64,
    )
    (batchgen,) = (one for one in CONTENDERS if one.name == "batchgen")
    return measure(batchgen, scenario)
