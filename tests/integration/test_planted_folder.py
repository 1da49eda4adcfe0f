"""A batch folder that somebody else made: nothing is written through its links, or beside it.

What lies outside is compared before and after; a command that refuses says which name is why.
"""

import grp
import json
import os
import pwd
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Once, Write, quick_sandbox
from helpers import TOKEN, change, many, media, query, states, table
from sandbox_client import Control

from batchgen.batch_folder import FOLDERS
from batchgen.files import COMPANIONS
from batchgen.journal import stored_values
from batchgen.journal.receipts import Receipt
from batchgen.report import gallery
from batchgen.sandbox import Address

SERIES = "atelier/series/text-to-image"
DAMAGED = 74
PRECIOUS = b"precious\n"
Plant = Callable[[Path, Path], None]
Do = Callable[[str], Any]

# What each command writes in place, besides the lock.
JOURNAL = tuple(f"batch.db{ending}" for ending in COMPANIONS)
IN_PLACE = (".lock", "receipts.log", "batchgen.log", ".ballast", *JOURNAL)
COMMANDS = ("run", "verify", "retry", "resolve", "cancel", "report")


def symbolic(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


LINKS = pytest.mark.parametrize("link", [symbolic, hard])


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(2)))


@pytest.fixture(scope="module")
def address(schemas: dict[str, Path]) -> Iterator[Address]:
    with quick_sandbox(schemas) as found:
        yield found


@pytest.fixture
def sandbox(address: Address) -> Iterator[Control]:
    """A sandbox that is not reset: it has to know the requests of `batch`. What it billed since a
    test began is compared."""
    with Control(address.base_url) as found:
        yield found
        found.set(seconds=0.0)


@pytest.fixture
def batch(run: Command, folder: Path, once: Once, manifest: str) -> Path:
    """A copy of what one run has left."""

    def begin() -> None:
        assert run(manifest).code == 0

    once("batch", begin)
    return folder


@pytest.fixture
def outside(here: Path) -> Iterator[Path]:
    """A folder of somebody's, which has to stay as it is."""
    place = here / "outside"
    (place / "data").mkdir(parents=True)
    for name in ("letter.odt", "x.part", "data/rows-9.js", "0123456789abcdef.webp"):
        (place / name).write_bytes(PRECIOUS)
        (place / name).chmod(0o644)
    before = look(place)
    yield place
    assert look(place) == before


def look(place: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(place)): (path.stat().st_mode, path.read_bytes())
        for path in place.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are checked by a thread, as `run` has it."""
    monkeypatch.setattr(sys, "executable", "/no/python")


@pytest.fixture
def do(
    batchgen: Command,
    run: Command,
    batch: Path,
    reach: list[str],
    write: Write,
    without_processes: None,
) -> Callable[[str], Any]:
    """Run a command on the batch, by its name; a run has another row to send."""

    def command(name: str) -> Any:
        if name == "run":
            return run(write("list.csv", table(many(3))))
        return batchgen(name, batch, *(reach if name in ("verify", "resolve", "cancel") else ()))

    return command


def put_in_place_of(path: Path, link: Plant, victim: Path) -> None:
    path.unlink(missing_ok=True)
    link(path, victim)


# -- the schema of the journal -------------------------------------------------------------------

PAYS_AGAIN = """CREATE TRIGGER tidy AFTER INSERT ON runs BEGIN
    UPDATE requests SET state = 'pending', request_id = NULL; END"""
COMPUTED = """DROP TABLE memory;
    CREATE TABLE memory (name TEXT PRIMARY KEY, value TEXT AS ('true'))"""
VIRTUAL = "DROP TABLE memory; CREATE VIRTUAL TABLE memory USING fts5(name, value)"
VIEW = """ALTER TABLE requests RENAME TO requests_2;
    CREATE VIEW Requests AS SELECT * FROM requests_2"""


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        (PAYS_AGAIN, "trigger 'tidy'"),
        (COMPUTED, "computed column in 'memory'"),
        (VIRTUAL, "table 'memory'"),
        (VIEW, "view 'Requests'"),
    ],
)
def test_a_journal_with_a_schema_of_somebody_else_is_refused(
    do: Do, batch: Path, sandbox: Control, sql: str, what: str
) -> None:
    billed = len(sandbox.ledger())
    with closing(sqlite3.connect(batch / "batch.db")) as db:
        db.executescript(sql)

    for command in (*COMMANDS, "status"):
        outcome = do(command)
        assert (outcome.code, len(sandbox.ledger())) == (DAMAGED, billed), command
        assert f"there is a {what}, and batchgen makes none" in outcome.stderr


def test_a_view_and_an_index_of_a_person_stay(do: Do, batch: Path) -> None:
    with closing(sqlite3.connect(batch / "batch.db")) as db:
        db.executescript(
            "CREATE VIEW mine AS SELECT id, no_such_function(error) AS x FROM requests;"
            "CREATE INDEX mine_too ON requests (model)"
        )

    assert [do(command).code for command in ("run", "verify", "report", "status")] == [0] * 4
    found = query(batch, "SELECT name FROM sqlite_schema WHERE name LIKE 'mine%' ORDER BY name")
    assert found == [("mine",), ("mine_too",)]


# -- links ------------------------------------------------------------------------------------


@LINKS
@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_written_in_place_has_to_be_a_file_of_its_own(
    do: Do, batch: Path, outside: Path, name: str, link: Plant
) -> None:
    put_in_place_of(batch / name, link, outside / "letter.odt")

    for command in COMMANDS:
        outcome = do(command)
        if name in JOURNAL or command == "run" or (name == ".lock" and command != "report"):
            assert outcome.code == DAMAGED, command
            assert str(batch / name) in outcome.stderr


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_link_to_nothing_does_not_make_the_file(
    do: Do, batch: Path, outside: Path, name: str
) -> None:
    put_in_place_of(batch / name, symbolic, outside / "new")

    for command in COMMANDS:
        do(command)


@pytest.mark.parametrize("name", [*FOLDERS, "schemas/atelier"])
def test_a_folder_in_the_batch_that_is_a_link_is_refused_by_every_command(
    do: Do, batch: Path, outside: Path, name: str
) -> None:
    path = batch / name
    if path.exists():
        path.rename(path.with_name("before"))
    path.parent.mkdir(exist_ok=True, parents=True)
    path.symlink_to(outside)

    for command in COMMANDS:
        outcome = do(command)
        assert outcome.code == DAMAGED, command
        assert f"{path} is a link" in outcome.stderr
        assert "Move what it points to into the batch folder" in outcome.stderr


def test_a_batch_folder_that_is_itself_a_link_is_its_owners_business(
    run: Command, batchgen: Command, folder: Path, here: Path, manifest: str
) -> None:
    (here / "big-disk").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(here / "big-disk")

    assert run(manifest).code == 0
    assert batchgen("report", folder).code == 0
    assert (here / "big-disk" / "results.csv").is_file()


@LINKS
def test_what_is_replaced_is_replaced_whatever_it_was_a_link_to(
    do: Do, batch: Path, outside: Path, link: Plant
) -> None:
    names = [path.relative_to(batch) for path in batch.rglob("*") if path.is_file()]
    kept = (*IN_PLACE, "sandbox", "schemas")
    replaced = [n for n in map(str, names) if not n.startswith(kept)]
    assert {"results.csv", "summary.json", "report/index.html", *media(batch)} <= {*replaced}
    for name in replaced:
        put_in_place_of(batch / name, link, outside / "letter.odt")

    assert [do(command).code for command in ("report", "verify", "run")] == [0, 0, 0]

    left = [name for name in replaced if (batch / name).samefile(outside / "letter.odt")]
    assert left == []


@LINKS
def test_no_part_has_a_name_that_can_be_foreseen(
    do: Do, batch: Path, outside: Path, link: Plant
) -> None:
    places = {"": ["results.csv", "results.jsonl", "summary.json"], "report": ["index.html"]}
    places |= {"report/data": ["batch.js", "rows-1.js"], "images": ["row-3.png"]}
    for place, names in places.items():
        for name in names:
            link(batch / place / f".{name}.part", outside / "x.part")

    assert [do(command).code for command in ("report", "run")] == [0, 0]


def test_only_parts_that_a_kill_left_are_cleared_away(do: Do, batch: Path, outside: Path) -> None:
    left = batch / "report" / "data" / f".{1:016x}-rows-1.js.part"
    left.write_bytes(b"half")
    linked = left.with_name(f".{2:016x}-rows-1.js.part")
    linked.symlink_to(outside / "x.part")
    others = left.with_name(".mine.part")
    others.touch()

    assert do("report").code == 0
    assert not left.exists()
    assert (linked.is_symlink(), others.exists()) == (True, True)


def test_a_journal_that_names_another_file_to_sqlite_is_refused(
    do: Do, batch: Path, outside: Path
) -> None:
    """SQLite deletes the super-journal that a hot journal names, whatever file that is."""
    victim = outside / "letter.odt"
    with closing(sqlite3.connect(batch / "batch.db")) as db:
        db.execute("PRAGMA journal_mode = delete")
        ((pages,), (size,)) = (db.execute(f"PRAGMA page_{w}").fetchone() for w in ("count", "size"))
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    head = magic + struct.pack(">5I", 0, 1, pages, 512, size)
    last = struct.pack(">I", (1 << 30) // size + 1) + name
    last += struct.pack(">2I", len(name), sum(name)) + magic
    (batch / "batch.db-journal").write_bytes(head.ljust(512, b"\0") + last)

    for command in COMMANDS:
        outcome = do(command)
        assert outcome.code == DAMAGED, command
        assert "batch.db-journal" in outcome.stderr


@pytest.mark.parametrize("name", [*IN_PLACE, "report/data/batch.js", "results.csv"])
def test_a_pipe_in_place_of_a_file_of_ours_keeps_nobody_waiting(
    do: Do, batch: Path, name: str
) -> None:
    (batch / name).unlink(missing_ok=True)
    os.mkfifo(batch / name)

    assert {do(command).code for command in COMMANDS} <= {0, 2, DAMAGED}  # 2: no batch there


def test_a_pipe_in_place_of_a_picture_keeps_nobody_waiting(do: Do, batch: Path) -> None:
    picture = batch / media(batch)[0]
    picture.unlink()
    os.mkfifo(picture)

    assert do("verify").code == 0
    assert picture.is_file()


def test_the_report_of_a_backup_made_of_hard_links_can_be_written(
    batchgen: Command, batch: Path, here: Path
) -> None:
    backup = here / "backup"
    backup.mkdir()
    for name in ("batch.db", "receipts.log", "batchgen.log", ".lock", ".ballast"):
        (backup / name).hardlink_to(batch / name)

    assert batchgen("report", backup).code == 0
    assert batchgen("status", backup).code == 0


# Each row is looked for among all amounts, which have no index any more.
SLOW = """DROP TABLE spending;
    CREATE TABLE spending (key TEXT, attempt INTEGER, at TEXT, usd FLOAT);
    CREATE TEMP TABLE many AS WITH RECURSIVE c(n) AS
        (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9000) SELECT n FROM c;
    INSERT INTO requests (key, id, name, folded, position, model, input, state, attempts)
        SELECT 'k' || n, 'i' || n, 'n' || n, 'n' || n, n, '', '{}', 'failed', 1 FROM many;
    INSERT INTO spending SELECT 'x' || n, 1, '2026-01-01T00:00:00.000Z', 0.0 FROM many"""


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_journal_that_would_keep_sqlite_busy_for_ever_is_given_up(
    do: Do, batch: Path, command: str
) -> None:
    with closing(sqlite3.connect(batch / "batch.db")) as db:
        db.executescript(SLOW)
    outcome = do(command)

    assert outcome.code == DAMAGED
    assert "takes more work than one of its size can need" in outcome.stderr


# -- a folder that others can write to --------------------------------------------------------


@pytest.mark.parametrize("name", ["", "images", "report/data"])
def test_a_folder_that_everybody_can_write_to_is_refused_for_writing(
    do: Do, batch: Path, sandbox: Control, name: str
) -> None:
    batch.chmod(0o755)  # a run makes it so that nobody reaches what is in it
    (batch / name).chmod(0o777)
    billed, before = len(sandbox.ledger()), look(batch)

    for command in COMMANDS:
        outcome = do(command)
        assert outcome.code == DAMAGED, command
        assert f"{batch / name}: everybody can write to it" in outcome.stderr
        assert "--allow-shared-folder" in outcome.stderr
    assert (len(sandbox.ledger()), look(batch)) == (billed, before)
    assert do("status").code == 0


@pytest.mark.parametrize("name", ["batch.db", "receipts.log", ".lock"])
def test_a_file_of_ours_that_everybody_can_write_to_is_refused_like_a_folder(
    do: Do, batch: Path, name: str
) -> None:
    batch.chmod(0o755)
    (batch / name).chmod(0o666)

    outcome = do("run")
    assert outcome.code == DAMAGED
    assert f"{batch / name}: everybody can write to it" in outcome.stderr
    said = f"{batch / name}: everybody can write to it, and have changed what is said here"
    assert said in do("status").stdout

    batch.chmod(0o700)
    assert do("run").code == 0
    assert "can write" not in do("status").stdout


def test_a_batch_that_another_computer_ran_last_is_said_to_be_so(do: Do, batch: Path) -> None:
    assert "was last run on" not in do("run").stderr
    change(batch, "UPDATE runs SET process = '7 on studio-2' WHERE id = 2")
    outcome = do("run")

    assert outcome.code == 0
    assert f"{batch} was last run on studio-2. If it is run there too" in outcome.stderr
    assert "was last run on" not in do("run").stderr


def test_a_person_may_trust_those_who_can_write_to_a_folder(
    run: Command,
    batchgen: Command,
    batch: Path,
    manifest: str,
    reach: list[str],
    without_processes: None,
) -> None:
    batch.chmod(0o777)
    trust = "--allow-shared-folder"

    assert run(manifest, trust).code == 0
    assert batchgen("verify", batch, trust, *reach).code == 0
    assert batchgen("report", batch, trust).code == 0


def test_what_nobody_else_can_reach_may_have_any_mode(
    run: Command, folder: Path, write: Write
) -> None:
    before = os.umask(0)
    try:
        assert run(write("list.csv", table(many(1)))).code == 0
        assert run(write("list.csv", table(many(2)))).code == 0
        (folder / "images").chmod(0o777)
        assert run(write("list.csv", table(many(3)))).code == 0
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_is_refused_for_writing(do: Do, batch: Path) -> None:
    os.chown(batch, 54321, -1)

    assert {command: do(command).code for command in COMMANDS} == dict.fromkeys(COMMANDS, DAMAGED)
    assert "user 54321, who owns it, can write to it" in do("report").stderr
    os.chown(batch, -1, 54321)
    os.chown(batch, os.geteuid(), -1)
    batch.chmod(0o775)
    assert "the group 54321 can write to it" in do("report").stderr


def test_the_group_that_a_user_has_alone_is_nobody_else(do: Do, batch: Path) -> None:
    """As with umask 002, which Debian and Fedora have where each user has a group of that name."""
    user = pwd.getpwuid(os.geteuid())
    if grp.getgrgid(user.pw_gid).gr_name != user.pw_name:
        pytest.skip("this user has no group of that name")
    os.chown(batch, -1, user.pw_gid)
    batch.chmod(0o775)

    assert do("report").code == 0


@pytest.mark.parametrize("name", ["images", "report"])
def test_a_folder_that_becomes_a_link_while_a_run_goes_on_is_not_written_to(
    start: Callable[..., Any],
    batch: Path,
    sandbox: Control,
    outside: Path,
    write: Write,
    name: str,
) -> None:
    sandbox.set(seconds=1.0)
    child = start(write("list.csv", table(many(3))), "-v")
    while "accepted as" not in child.stderr.readline():
        pass
    (batch / name).rename(batch / "before")
    (batch / name).symlink_to(outside)
    _, said = child.communicate(timeout=120)

    assert child.returncode == 75, said
    assert f"{batch / name} is a link" in said
    assert "Traceback" not in said


# -- values -----------------------------------------------------------------------------------

ODD_PATHS = (
    *("../../outside/letter.odt", "/etc/passwd", "images/../../outside/letter.odt", "images/"),
    *("images/a/b.png", "images\\b.png", "images/..", "images/.hidden", "report/index.html"),
    *("batch.db", "images/a\nb.png", "images/a\x7f.png", "images/" + "x" * 256, 7),
)
ODD = [
    *(("outputs", "path", value) for value in ODD_PATHS),
    *(("outputs", "sha256", v) for v in ("../../../outside/0123456789abcdef", "A" * 64, "")),
    ("outputs", "delivered_sha256", "../../x"),
    ("outputs", "kind", "script"),
    *(("outputs", name, "wide") for name in ("bytes", "width", "height")),
]


@pytest.mark.parametrize(("of", "column", "value"), ODD)
def test_a_file_that_batchgen_cannot_have_saved_is_no_file_to_the_report(
    do: Do, batch: Path, outside: Path, of: str, column: str, value: Any
) -> None:
    change(batch, f"UPDATE {of} SET {column} = ? WHERE rowid = 1", value)
    outcome = do("report")

    assert outcome.code == 0
    if column != "delivered_sha256":  # which the reports do not have
        assert f"row 'row-1': the {column}" in outcome.stderr
        lines = (batch / "results.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["outputs"][0]["path"] is None
        (_, first, *_) = (batch / "results.csv").read_text().splitlines()
        assert first.startswith("1,row-1,saved,,")
    assert "script" not in (batch / "report" / "data" / "rows-1.js").read_text()


@pytest.mark.parametrize("value", ODD_PATHS)
def test_verify_stops_at_a_path_that_is_none_of_ours(
    do: Do, batch: Path, outside: Path, value: Any
) -> None:
    before = {path: (batch / path).read_bytes() for path in media(batch)}
    change(batch, "UPDATE outputs SET path = ? WHERE rowid = 1", value)
    outcome = do("verify")

    assert outcome.code == DAMAGED
    assert "row 'row-1': the path" in outcome.stderr
    assert {path: (batch / path).read_bytes() for path in media(batch)} == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "../../../escaped"),
        ("name", "/tmp/escaped"),
        ("name", ".hidden"),
        ("name", "a\\b"),
        ("key", "../../escaped"),
    ],
)
@pytest.mark.parametrize("state", ["completed", "pending"])
def test_a_run_stops_at_a_row_that_would_be_saved_elsewhere(
    do: Do, batch: Path, sandbox: Any, outside: Path, column: str, value: str, state: str
) -> None:
    (key,) = query(batch, "SELECT key FROM requests WHERE id = 'row-1'")[0]
    change(batch, "UPDATE outputs SET path = NULL WHERE key = ?", key)
    if column == "key":
        change(batch, "UPDATE outputs SET key = ? WHERE key = ?", value, key)
    change(batch, f"UPDATE requests SET {column} = ?, state = ? WHERE id = 'row-1'", value, state)
    change(batch, "UPDATE memory SET value = '1' WHERE name = 'receipts_read'")
    files = media(batch)
    outcome = do("run")

    if not (column == "key" and state == "pending"):  # which the manifest has no longer
        assert outcome.code == 75  # the run was under way
        assert f"row 'row-1': the {column}" in outcome.stderr
        assert media(batch) == files
    assert [*batch.parent.parent.rglob("*escaped*")] == []


def test_an_output_whose_number_is_a_path_stops_the_run(do: Do, batch: Path) -> None:
    change(batch, "UPDATE outputs SET path = NULL, n = '/../../../escaped' WHERE rowid = 1")
    change(batch, "UPDATE requests SET state = 'completed' WHERE id = 'row-1'")
    outcome = do("run")

    assert outcome.code == 75  # the other rows may have been sent
    assert "the n '/../../../escaped'" in outcome.stderr
    assert [*batch.parent.parent.rglob("*escaped*")] == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("state", "0"), ("submitted_at", "yesterday"), ("error", b"\xff"), ("input", "[" * 5000)],
)
@pytest.mark.parametrize("command", ["run", "report"])
def test_a_value_that_batchgen_never_writes_is_named(
    do: Do, batch: Path, sandbox: Control, command: str, column: str, value: Any
) -> None:
    billed = len(sandbox.ledger())
    state = "saved" if column != "input" and command == "report" else "completed"
    change(batch, "UPDATE requests SET state = ? WHERE id = 'row-1'", state)
    change(batch, f"UPDATE requests SET {column} = ? WHERE id = 'row-1'", value)
    outcome = do(command)

    assert outcome.code in (DAMAGED, 75)  # 75: another row may have been sent
    where = "the state '0'" if column == "state" else f"row 'row-1': the {column}"
    assert where in outcome.stderr
    assert "Make room" not in outcome.stderr
    if command == "report":
        lines = (batch / "results.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["id"] == "row-2"
        assert "row-1" not in [json.loads(line)["id"] for line in lines]
    assert len(sandbox.ledger()) - billed <= (command == "run")


def test_an_amount_that_has_no_time_is_named(do: Do, batch: Path) -> None:
    change(batch, "UPDATE requests SET position = -1 WHERE id = 'row-1'")
    change(batch, "UPDATE spending SET at = NULL WHERE rowid = 1")
    change(batch, "UPDATE requests SET request_id = NULL, state = 'unknown' WHERE id = 'row-1'")
    outcome = do("report")

    assert outcome.code == DAMAGED
    assert "cannot be used: " in outcome.stderr


def test_a_pending_row_that_was_paid_for_is_not_sent(do: Do, batch: Path, sandbox: Control) -> None:
    billed = len(sandbox.ledger())
    change(batch, "UPDATE requests SET state = 'pending' WHERE id = 'row-1'")
    outcome = do("run")

    assert "row 'row-1': the request_id" in outcome.stderr
    assert len(sandbox.ledger()) == billed


def test_a_row_that_only_a_receipt_knows_gets_a_safe_name(do: Do, batch: Path) -> None:
    receipt = Receipt("/../../../ab", 1, "request-1", "2026-10-18T03:04:05.678Z")
    with (batch / "receipts.log").open("r+b") as log:
        log.seek(len(log.read().rstrip(b"\0")))
        log.write(receipt.line())
    do("run")

    names = [name for (name,) in query(batch, "SELECT name FROM requests")]
    assert "recovered-" in "".join(names)
    assert all(stored_values.is_name(name) for name in names)


def test_what_a_gallery_that_is_not_ours_names_is_no_thumbnail(batch: Path, outside: Path) -> None:
    data = batch / "report" / "data"
    facts = {"thumbnails": 1, "narrowed": None, "left_out": 0}
    (data / "batch.js").write_text(f"gallery.open({json.dumps(facts)});")
    picture = media(batch)[0]
    row = [None] * 6 + [[[picture, "../../../outside/letter.odt"]]]
    (data / "rows-1.js").write_text(f"gallery.rows(1,{json.dumps([row])});")
    gallery.make_thumbnails(batch / "report")
    (data / "batch.js").write_text("nothing")
    gallery.make_thumbnails(batch / "report")


# -- what the program makes itself ---------------------------------------------------------------


def test_every_value_that_the_program_writes_passes(
    run: Command,
    batchgen: Command,
    folder: Path,
    write: Write,
    reach: list[str],
    without_processes: None,
) -> None:
    ids = [
        "hero",
        "Hero",
        "HERO",
        "héron d'été",
        "鷺 の 夜明け",
        "con",
        "a/b",
        "a:b",
        "..",
        "x" * 200,
    ]
    ids += ["-option", "e\u0301", "👩‍🎨 at work", "a.b.c", "~home", "line\u2028break", " "]
    rows = "".join(json.dumps({"id": i, "prompt": f"p {n}", "num_images": 2}) + "\n"
                   for n, i in enumerate(ids))  # fmt: skip
    run(write("list.jsonl", rows), "--model", SERIES, "--skip-invalid", "--sidecars")

    saved = [id for id, state in states(folder).items() if state == "saved"]
    assert len(saved) >= len(ids) - 3
    columns = "key, name, n, kind, path, bytes, sha256, delivered_sha256, width, height"
    names = columns.split(", ")
    for values in query(folder, f"SELECT {columns} FROM requests JOIN outputs USING (key)"):
        assert stored_values.odd(dict(zip(names, values, strict=True))) is None, values
    outcome = batchgen("verify", folder, *reach)
    assert (outcome.code, outcome.stderr) == (0, "")
    outcome = batchgen("report", folder)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert TOKEN not in outcome.stdout
