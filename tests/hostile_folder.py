"""A batch folder as somebody who means harm would hand it over, with everything at once.

What makes commands refuse the folder hides what comes behind it. So it is planted in layers, and a
test gives each command the folder with all of them, then without the first, and so on.
"""

import io
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from helpers import media
from PIL import Image

from batchgen.batch_folder import FOLDERS, REPLACED
from batchgen.files import COMPANIONS

# Escape codes that set a title and clear the screen, a forged line, bidi marks, markup, a formula.
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\r\nout/list: 9 rows, all saved\n"
    "\u202egnp.exe\u2066\u2028<script>alert(1)</script>=cmd|'/c calc'!A1"
)
URLS = (
    *("file:///etc/passwd", "javascript:alert(1)", "http://169.254.169.254/latest/meta-data"),
    *("https://user:secret@evil.example/a.png", f"https://evil.example/{HOSTILE}", "", HOSTILE),
)
TEXTS = {
    "requests": ("id", "source", "model", "error", "api_status", "result", "answer"),
    "outputs": ("content_type", "note"),
    "events": ("event", "detail"),
    "runs": ("process", "version", "manifest", "ending"),
}
ODD: tuple[Any, ...] = (b"\xff\x00", -(2**63), 1e300, float("inf"), "[" * 5000, "9" * 5000, "x\0y")


def open_to_others(batch: Path, outside: Path) -> None:
    for path in (batch, *(batch / name for name in FOLDERS)):
        if path.is_dir():
            path.chmod(0o777)


def links(batch: Path, outside: Path) -> None:
    """At every name that a command makes or writes in place, and under predictable other ones."""
    victims = [*outside.iterdir()]
    for n, name in enumerate(("receipts.log", ".lock", "batchgen.log", ".ballast", *REPLACED)):
        put(batch / name, lambda at, n=n: at.symlink_to(victims[n % len(victims)]))
    for ending in COMPANIONS[1:]:
        put(batch / f"batch.db{ending}", lambda at: at.hardlink_to(outside / "letter.odt"))
    for folder in ("schemas", "videos", "audio", "files", "sandbox"):
        put(batch / folder, lambda at: at.symlink_to(outside))


def put(path: Path, make: Callable[[Path], None]) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name} of before"))
    path.unlink(missing_ok=True)
    make(path)


def pipes(batch: Path, outside: Path) -> None:
    """And links where a file is replaced, which no command refuses."""
    for name in ("results.csv", "summary.json", "results.jsonl", "results-excel.csv"):
        put(batch / name, os.mkfifo)
        put(batch / f".{name}.part", lambda at: at.symlink_to(outside / "letter.odt"))
    for name in ("report/index.html", "report/data/batch.js", "report/data/rows-1.js"):
        if (batch / name).parent.is_dir():
            put(batch / name, lambda at: at.symlink_to(outside / "letter.odt"))
    first, *others = media(batch)
    put(batch / first, os.mkfifo)
    for name in others[:1]:
        put(batch / name, lambda at: at.symlink_to(outside / "letter.odt"))
    os.mkfifo(batch / "images" / f".{7:016x}-pipe.part")
    (batch / "images" / f".{8:016x}-link.part").symlink_to(outside / "letter.odt")
    (batch / "report" / "thumbs").mkdir(exist_ok=True)
    (batch / "report" / "thumbs" / f"{9:016x}.webp").symlink_to(outside / "letter.odt")


def schema(batch: Path, outside: Path) -> None:
    change(
        batch,
        """CREATE TRIGGER tidy AFTER INSERT ON runs BEGIN
            UPDATE requests SET state = 'pending', request_id = NULL; END;
        ALTER TABLE memory RENAME TO memory_2; CREATE VIEW memory AS SELECT * FROM memory_2;""",
    )


def paths(batch: Path, outside: Path) -> None:
    for n, path in enumerate(("../../outside/letter.odt", str(outside / "letter.odt"), "batch.db")):
        change(batch, "UPDATE outputs SET path = ? WHERE rowid = ?", path, n + 1)
    change(batch, "UPDATE outputs SET sha256 = '../../outside/x', kind = 'script' WHERE rowid = 4")
    change(batch, "UPDATE requests SET name = '../../../escaped' WHERE rowid = 5")


def values(batch: Path, outside: Path) -> None:
    """Values of any type in any column, another one in each row."""
    with closing(sqlite3.connect(batch / "batch.db")) as db, db:
        for table in ("requests", "outputs", "events", "runs", "spending", "memory"):
            names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
            for n, name in enumerate(names):
                if name not in ("key", "seq", "path"):
                    where = f"rowid % {len(names)} = {n}"
                    sql = f'UPDATE OR IGNORE {table} SET "{name}" = ? WHERE {where}'
                    db.execute(sql, (ODD[n % len(ODD)],))


def texts(batch: Path, outside: Path) -> None:
    """Texts that are allowed, and mean harm where they are shown; files beside them."""
    with closing(sqlite3.connect(batch / "batch.db")) as db, db:
        for table, names in TEXTS.items():
            for name in names:
                db.execute(f"UPDATE {table} SET {name} = {name} || ?", (HOSTILE,))
                db.execute(f"UPDATE {table} SET {name} = ? WHERE {name} IS NULL", (HOSTILE,))
        for n, url in enumerate(URLS):
            db.execute(f"UPDATE outputs SET url = ? WHERE rowid % {len(URLS)} = {n}", (url,))
        meta = json.dumps({HOSTILE: HOSTILE})
        db.execute("UPDATE requests SET meta = ?", (meta,))
        db.execute(f'CREATE VIEW "{HOSTILE}" AS SELECT 1')
        db.execute("CREATE VIEW endless AS WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT * FROM n)"
                   " SELECT * FROM n")  # fmt: skip
        db.execute("CREATE INDEX hers ON requests (id COLLATE NOCASE) WHERE state = 'unknown'")
        db.execute("INSERT INTO aliases VALUES (?, ?)", (HOSTILE, HOSTILE))
    with (batch / "receipts.log").open("r+b") as log:
        log.seek(len(log.read().rstrip(b"\0")))
        log.write(HOSTILE.encode() + b"\n" + os.urandom(200) + b"\n")
    (batch / "images" / "evil.js").write_text("alert(1)")
    (batch / "images" / "evil\x1b[2J\n.svg").write_text("<svg onload='alert(1)'/>")
    (batch / "schemas" / "atelier").mkdir(parents=True, exist_ok=True)
    pattern = {"model_id": "atelier/x", "input": {"$ref": "#", "pattern": "(a+)+$"}, "output": 7}
    (batch / "schemas" / "atelier" / "x.json").write_text(json.dumps(pattern))
    (batch / media(batch)[-1]).write_bytes(oversized())


@cache
def oversized() -> bytes:
    """A picture of more pixels than are decoded."""
    into = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(into, "PNG")
    return into.getvalue()


LAYERS = (open_to_others, links, pipes, schema, paths, values, texts)


def change(batch: Path, sql: str, *given: Any) -> None:
    with closing(sqlite3.connect(batch / "batch.db")) as db, db:
        if given:
            db.execute(sql, given)
        else:
            db.executescript(sql)


def plant(batch: Path, outside: Path, layers: tuple[Callable[[Path, Path], None], ...]) -> None:
    """Plant these layers. The journal's texts come before what hides them."""
    for layer in reversed(layers):
        layer(batch, outside)
