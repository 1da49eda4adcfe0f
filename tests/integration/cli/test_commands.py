"""What a person does beside running: look, check, retry, cancel; and the errors they meet."""

import json
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from conftest import Command, Once, Write
from helpers import (
    NEVER_ASKING,
    PATIENT,
    PretendClock,
    change,
    error_of,
    many,
    media,
    query,
    states,
    table,
    tally,
)
from sandbox_client import Control

from batchgen.batch_folder import Folder
from batchgen.sandbox import Address

MODEL = "ideogram/ideogram-v2/generate"
BRUSH = "atelier/brush-2/text-to-image"


@pytest.fixture
def manifest(write: Write) -> str:
    """One row, `heron`."""
    return write("list.csv", table({"heron": "a heron"}))


# validate


def test_validate_counts_good_rows_and_needs_no_token(
    batchgen: Command, write: Write, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    outcome = batchgen("validate", write("list.csv", table(many(3))))

    assert (outcome.code, outcome.stdout) == (0, "3 rows in list.csv, all valid.\n")
    assert sorted(path.name for path in here.iterdir()) == ["list.csv"]


def test_validate_asks_the_service_that_it_is_told(
    batchgen: Command, write: Write, reach: list[str]
) -> None:
    manifest = write("list.csv", table(many(1)))

    assert batchgen("validate", manifest, "--model", BRUSH).code == 69
    outcome = batchgen("validate", manifest, "--model", BRUSH, *reach)
    assert (outcome.code, outcome.stdout) == (0, "1 row in list.csv, all valid.\n")


def test_validate_shows_every_problem_with_its_place(batchgen: Command, write: Write) -> None:
    outcome = batchgen("validate", write("list.csv", "id,prompt,seed\nfox,a,12a\nowl,,1\n"))

    assert outcome.code == 65
    assert "list.csv:2" in outcome.stderr
    assert 'row "fox", seed' in outcome.stderr
    assert 'row "owl"' in outcome.stderr
    assert outcome.stdout == ""


@pytest.mark.parametrize("words", [["validate"], ["run"]])
def test_a_manifest_that_is_not_there_is_said_plainly(batchgen: Command, words: list[str]) -> None:
    outcome = batchgen(*words, "nothing.csv")

    assert outcome.code == 2
    assert "nothing.csv" in outcome.stderr


def test_a_problem_of_one_kind_in_every_row_is_not_shown_a_thousand_times(
    batchgen: Command, write: Write
) -> None:
    outcome = batchgen("validate", write("list.csv", "prompt,style\n" + "a,cubist\n" * 50))

    assert outcome.stderr.count("cubist") < 15
    assert "and 40 more" in outcome.stderr
    assert "50 problems" in outcome.stderr


# status


def test_status_names_states_money_and_the_last_run(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="number 2")
    run(write("list.csv", table(many(3))))
    outcome = batchgen("status", folder)

    assert outcome.code == 0
    assert outcome.stderr == ""
    assert "3 rows" in outcome.stdout
    assert "2 saved" in outcome.stdout
    assert "1 failed" in outcome.stdout
    assert "$0.06" in outcome.stdout
    assert "Not every row is saved" in outcome.stdout


def test_status_takes_the_manifest_of_a_batch_in_its_usual_place(
    saved: Callable[[int], Path], batchgen: Command
) -> None:
    saved(1)

    outcome = batchgen("status", "list.csv", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.stdout)["counts"]["saved"] == 1


def test_while_a_run_holds_a_batch_its_status_can_be_asked_for_and_nothing_changes_it(
    start: Callable[..., Popen[str]],
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    manifest: str,
) -> None:
    sandbox.set(seconds=1000)
    child = start(manifest, "-v")
    assert any("accepted as" in line for line in child.stderr or ())

    outcome = batchgen("status", folder)
    assert outcome.code == 0
    assert "1 submitted" in outcome.stdout
    assert "oldest request in flight" in outcome.stdout
    assert f"running (process {child.pid}, since " in outcome.stdout
    for command in ("retry", "cancel"):
        outcome = batchgen(command, folder)
        assert outcome.code == 75
        assert f"process {child.pid} " in outcome.stderr

    child.kill()
    child.wait()
    assert "was killed; run it again to go on" in batchgen("status", folder).stdout


def test_status_says_how_far_a_run_is_that_has_no_journal_yet(
    batchgen: Command, here: Path, folder: Path
) -> None:
    batch = Folder(folder)
    batch.create()
    with batch.locked() as note:
        note("reading list.csv, 5,000 rows so far")
        for name in ("list.csv", folder):
            outcome = batchgen("status", name)
            assert outcome.code == 0
            assert f"process {os.getpid()} is reading list.csv, 5,000 rows so far" in outcome.stdout

    assert batchgen("status", "list.csv").code == 2


def test_a_journal_that_is_just_being_made_is_not_called_damaged(
    batchgen: Command, folder: Path, write: Write
) -> None:
    Folder(folder).create()
    with closing(sqlite3.connect(folder / "batch.db")) as empty:
        empty.execute("PRAGMA journal_mode = wal")  # what SQLite writes first of all

    for command in ("status", "report"):
        outcome = batchgen(command, folder)
        assert (outcome.code, outcome.stdout) == (2, "")
        assert "is just being made" in outcome.stderr
        assert "backup" not in outcome.stderr
    plan = batchgen("plan", write("list.csv", table(many(2))), "--out", folder)
    assert (plan.code, "2 rows: 2 new" in plan.stdout) == (0, True)


def test_status_tells_the_last_run_from_whoever_else_holds_the_folder(
    saved: Callable[[int], Path], batchgen: Command, folder: Path
) -> None:
    saved(1)
    change(folder, "UPDATE runs SET ended_at = NULL, ending = NULL, process = '1 on elsewhere'")
    with Folder(folder).locked():
        outcome = batchgen("status", folder)
        numbers = json.loads(batchgen("status", folder, "--json").stdout)

    assert "was killed; run it again to go on" in outcome.stdout
    assert f"now: process {os.getpid()} is at work in the folder" in outcome.stdout
    assert numbers["run"]["running"] is False


def test_status_tells_what_became_of_a_run_whose_token_was_refused(
    run: Command,
    batchgen: Command,
    folder: Path,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("list.csv", table(many(2)))
    run("list.csv", "--limit", 1)
    for token, said in (("refused", "RunComfy refused the token."), ("", "There is no token")):
        monkeypatch.setenv("RUNCOMFY_TOKEN", token)
        assert run("list.csv").code == 77
        assert f" UTC, {said}" in batchgen("status", folder).stdout
    assert query(folder, "SELECT exit_code FROM runs") == [(75,), (77,), (77,)]


def test_status_tells_why_the_first_run_of_a_list_sent_nothing(
    batchgen: Command,
    here: Path,
    reach: list[str],
    sandbox: Control,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("list.csv", table(many(2)))
    for token, said in (("", "There is no token"), ("refused", "RunComfy refused the token.")):
        monkeypatch.setenv("RUNCOMFY_TOKEN", token)
        assert batchgen("run", "list.csv", "-q", *reach).code == 77
        assert f" UTC, {said}" in batchgen("status", "list.csv").stdout

    monkeypatch.setenv("RUNCOMFY_TOKEN", "works")
    assert batchgen("run", "list.csv", *reach).code == 0
    assert sandbox.posts == 2


def test_a_refused_token_makes_no_journal_beside_the_files_of_a_lost_one(
    saved: Callable[[int], Path], run: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(1)
    for file in (*folder.glob("batch.db*"), folder / "receipts.log"):
        file.unlink()
    monkeypatch.setenv("RUNCOMFY_TOKEN", "")

    assert run("list.csv").code in (74, 77)
    assert not (folder / "batch.db").exists()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder as a backup's medium has it; for root it is mounted so."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    words = ["mount", "--bind", str(folder), str(folder)]
    if not shutil.which("mount") or subprocess.run(words, check=False).returncode != 0:
        pytest.skip("root may write anywhere, and nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_journal_on_a_medium_that_cannot_be_written_is_read_whole(
    saved: Callable[[int], Path], batchgen: Command, folder: Path, killed: bool
) -> None:
    saved(1)
    with closing(sqlite3.connect(folder / "batch.db", isolation_level=None)) as journal:
        journal.execute("UPDATE requests SET state = 'failed', error = 'no luck'")
        copies = {name: (folder / name).read_bytes() for name in ("batch.db", "batch.db-wal")}
    if killed:  # what the last transaction wrote is in -wal only, and -shm is not there
        for name, content in copies.items():
            (folder / name).write_bytes(content)
    with read_only(folder):
        for words in (["status", folder], ["plan", "list.csv", "--out", folder]):
            outcome = batchgen(*words)
            assert (outcome.code, outcome.stderr) == (0, "")
            assert "1 failed" in outcome.stdout
        outcome = batchgen("report", folder)
    assert outcome.code == 74
    assert "results.jsonl: " in outcome.stderr
    assert "backup" not in outcome.stderr


@pytest.mark.parametrize(
    "words",
    [
        *(["run", ""], ["plan", ""], ["validate", ""], ["config", "show", ""]),
        *(["status", ""], ["retry", ""], ["resolve", ""], ["cancel", ""], ["report", ""]),
        *(
            ["retry", "x", "--cause", ""],
            ["report", "x", "--to", ""],
            ["report", "x", "--picks", ""],
        ),
        *(["models", "fetch", BRUSH, "-o", ""], ["schedule", "install", "", "--at", "01:30"]),
    ],
    ids=" ".join,
)
def test_a_name_that_is_empty_is_refused(batchgen: Command, here: Path, words: list[str]) -> None:
    outcome = batchgen(*words)

    assert outcome.code == 2
    assert "empty, as of a variable that is not set" in outcome.stderr
    assert [*here.iterdir()] == []


@pytest.mark.parametrize("option", ["--out", "--schema", "--log-file"])
def test_a_path_that_is_empty_is_as_if_it_was_not_given(
    run: Command, folder: Path, here: Path, manifest: str, option: str
) -> None:
    assert run(manifest, option, "").code == 0
    assert tally(folder) == {"saved": 1}
    assert {path.name for path in here.iterdir()} == {"list.csv", "out"}


@pytest.mark.parametrize("words", [["status"], ["retry"], ["cancel"], ["report"]])
def test_a_batch_that_is_not_there_is_said_with_where_it_was_looked_for(
    batchgen: Command, here: Path, words: list[str]
) -> None:
    outcome = batchgen(*words, "spring.csv")

    assert outcome.code == 2
    assert "There is no batch in spring.csv, nor in out/spring." in outcome.stderr
    assert [*here.iterdir()] == []


# retry


@pytest.fixture
def two_failures(run: Command, folder: Path, sandbox: Control, write: Write, once: Once) -> str:
    """A batch with a saved row and two failed ones, which the sandbox has forgotten; its list."""

    def begin() -> None:
        sandbox.fault("failed", match="number 2", value="content policy")
        sandbox.fault("failed", match="number 3", value="out of memory")
        run(write("list.csv", table(many(3))))
        sandbox.reset()

    once("two failures", begin)
    assert states(folder) == {"row-1": "saved", "row-2": "failed", "row-3": "failed"}
    return "list.csv"


def test_retry_makes_all_failed_rows_pending_and_the_next_run_sends_them(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, two_failures: str
) -> None:
    outcome = batchgen("retry", folder)

    # No address of a service is taken from a journal.
    said = "2 rows queued again.\nThe next run submits them, with the same options.\n"
    assert outcome.stdout == said
    assert sandbox.posts == 0
    assert error_of(folder, "row-2") == "content policy"
    assert run(two_failures).code == 0
    assert sandbox.posts == 2


READING = [
    *("--model", BRUSH, "--column", "prompt=Your prompt", "--meta", "style"),
    *("--id", "{key}-{style}", "--max-cost", "5", "--price", "0.01"),
]


@pytest.fixture
def read_so(
    by_thread: Command,
    address: Address,
    sandbox: Control,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A batch that options and the environment made, with a failed row and an unknown one."""
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", address.base_url)
    sandbox.fault("failed", match="heron", value="no luck")
    sandbox.fault("lost", match="fox")
    write("list.csv", "key,Your prompt,style\n1,a heron,ink\n2,a fox,oil\n")
    by_thread("run", "list.csv", *READING)
    folder = Path("out/list")
    assert states(folder) == {"1-ink": "failed", "2-oil": "unknown"}
    return folder


def test_the_command_that_is_advised_sends_the_queued_rows_and_no_others(
    batchgen: Command, by_thread: Command, sandbox: Control, read_so: Path
) -> None:
    sandbox.fault("failed", times=2, value="no luck")
    advised = (
        f"batchgen run list.csv --model {BRUSH} --column 'prompt=Your prompt' --meta style"
        " --id '{key}-{style}' --max-cost 5.0 --price 0.01"
    )

    assert json.loads(batchgen("retry", read_so, "--json").stdout)["next"] == advised
    by_thread(*shlex.split(advised)[1:])
    assert (sandbox.posts, states(read_so)) == (3, {"1-ink": "failed", "2-oil": "unknown"})

    settled = batchgen("resolve", read_so, "--all", "--send-again", "-y").stdout
    assert settled.endswith(f"The next run submits them: {advised}\n")
    by_thread(*shlex.split(advised)[1:])
    assert (sandbox.posts, tally(read_so)) == (4, {"failed": 2})


def test_from_another_folder_the_list_of_the_batch_is_advised_and_not_its_namesake(
    batchgen: Command, write: Write, here: Path, monkeypatch: pytest.MonkeyPatch, read_so: Path
) -> None:
    """The command that was pasted there sent another list into the batch, and paid for it."""
    folder = read_so.resolve()
    listed = here / "list.csv"
    write("elsewhere/list.csv", "key,Your prompt,style\n7,a crane,ink\n")
    monkeypatch.chdir(here / "elsewhere")

    advised = json.loads(batchgen("retry", folder, "--json").stdout)["next"]
    assert advised.startswith(f"batchgen run {listed} --model {BRUSH} ")
    assert advised.endswith(f" --out {folder}")
    listed.unlink()
    assert json.loads(batchgen("retry", folder, "--json").stdout)["next"] is None


def test_of_an_older_batch_no_command_is_advised_and_of_a_strange_one_nothing_is(
    batchgen: Command, read_so: Path
) -> None:
    change(read_so, "DELETE FROM memory WHERE name = 'given'")
    said = "1 row queued again.\nThe next run submits them, with the same options.\n"
    assert batchgen("retry", read_so).stdout == said

    change(read_so, "UPDATE requests SET state = 'failed' WHERE id = '1-ink'")
    change(read_so, """INSERT INTO memory VALUES ('given', '{"on_finish": "reboot"}')""")
    outcome = batchgen("retry", read_so)
    assert (outcome.code, outcome.stdout) == (74, "")
    assert "is none that batchgen writes" in outcome.stderr


@pytest.mark.parametrize(
    "option", [["--column", "a=B", "--column", "a=C"], ["--node", "a=6.text", "--node", "a=7.text"]]
)
def test_an_input_that_is_given_twice_is_refused(
    batchgen: Command, manifest: str, option: list[str]
) -> None:
    outcome = batchgen("plan", manifest, *option)

    assert outcome.code == 2
    assert "'a' is given twice" in outcome.stderr


def test_retry_of_older_versions_takes_no_state(
    batchgen: Command, folder: Path, two_failures: str
) -> None:
    outcome = batchgen("retry", folder, "--older-versions", "--state", "failed")

    assert outcome.code == 2
    assert "Choose one of --older-versions" in outcome.stderr
    assert tally(folder) == {"saved": 1, "failed": 2}


def test_retry_can_name_a_cause(batchgen: Command, folder: Path, two_failures: str) -> None:
    assert batchgen("retry", folder, "--cause", "memory").code == 0
    assert states(folder) == {"row-1": "saved", "row-2": "failed", "row-3": "pending"}


@pytest.mark.parametrize("cause", ["422", "3.5", "job-7a77abc", "https://a.example/b"])
def test_a_cause_that_is_a_number_or_an_id_alone_is_not_that_of_every_failure(
    batchgen: Command, folder: Path, two_failures: str, cause: str
) -> None:
    error = "UPDATE requests SET error = ? WHERE id = ?"
    change(folder, error, "3 faces on 10.0.0.1 by job-9b22cde, see https://c.example/d", "row-2")
    change(folder, error, f"refused: {cause}", "row-3")

    assert batchgen("retry", folder, "--cause", cause).stdout.startswith("1 row queued")
    assert states(folder) == {"row-1": "saved", "row-2": "failed", "row-3": "pending"}


def test_retry_can_name_rows(batchgen: Command, folder: Path, two_failures: str) -> None:
    assert batchgen("retry", folder, "--id", "row-2").code == 0
    assert states(folder) == {"row-1": "saved", "row-2": "pending", "row-3": "failed"}


def test_retry_of_a_row_that_did_not_fail_changes_nothing(
    batchgen: Command, folder: Path, two_failures: str
) -> None:
    outcome = batchgen("retry", folder, "--id", "row-1", "--id", "row-2")

    assert outcome.code == 2
    assert "row-1" in outcome.stderr
    assert tally(folder) == {"saved": 1, "failed": 2}


def test_retry_of_unknown_rows_wants_each_one_named(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("lost")
    run(manifest)

    outcome = batchgen("retry", folder, "--state", "unknown")
    assert outcome.code == 2
    assert "--id" in outcome.stderr
    assert states(folder) == {"heron": "unknown"}

    assert batchgen("retry", folder, "--state", "unknown", "--id", "heron").code == 0
    assert run(manifest).code == 0
    assert sandbox.posts == 2


# cancel


def test_cancel_takes_back_what_is_queued_and_leaves_what_is_in_progress(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    reach: list[str],
) -> None:
    sandbox.set(seconds=1000, slots=1)
    manifest = write("list.csv", table(many(3)))
    run(manifest, timing=NEVER_ASKING)
    assert tally(folder) == {"submitted": 3}

    outcome = batchgen("cancel", folder, *reach)

    assert outcome.code == 0
    assert outcome.stdout.startswith("2 cancelled, 1 already in progress")
    assert tally(folder) == {"cancelled": 2, "submitted": 1}
    assert sandbox.billed_usd == pytest.approx(0.03)
    money = json.loads(batchgen("status", folder, "--json").stdout)["money_usd"]
    assert money["committed"] == pytest.approx(0.03)
    run(manifest)
    assert sandbox.posts == 3


def test_a_cancelled_row_can_be_retried(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    reach: list[str],
) -> None:
    manifest = write("list.csv", table(many(2)))
    sandbox.set(seconds=1000, slots=1)
    run(manifest, timing=NEVER_ASKING)
    batchgen("cancel", folder, *reach)
    sandbox.set(seconds=0, slots=40)
    ((cancelled,),) = query(folder, "SELECT id FROM requests WHERE state = 'cancelled'")

    assert batchgen("retry", folder, "--state", "cancelled").code == 0
    run(manifest)
    assert states(folder)[cancelled] == "saved"


@pytest.mark.parametrize("fault", ["500", "lost", "html-200", "empty-200"])
def test_a_cancellation_without_a_clear_answer_changes_no_row(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    manifest: str,
    reach: list[str],
    fault: str,
) -> None:
    sandbox.set(seconds=1000, slots=1)
    run(manifest, timing=NEVER_ASKING)
    sandbox.fault(fault, times=None, on="cancel")

    outcome = batchgen("cancel", folder, *reach)
    assert outcome.code == 69
    assert "1 without a clear answer" in outcome.stdout
    assert states(folder) == {"heron": "submitted"}


@PATIENT
def test_a_rehearsal_is_cancelled_in_its_own_sandbox(
    batchgen: Command,
    folder: Path,
    manifest: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    batchgen("run", manifest, "--out", folder, "--sandbox", timing=NEVER_ASKING)
    assert states(folder) == {"heron": "submitted"}

    outcome = batchgen("cancel", folder)
    assert outcome.code == 0
    assert "1 already in progress" in outcome.stdout


# models


def test_the_models_that_come_with_batchgen_are_listed_without_a_token(
    batchgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")

    listed = batchgen("models", "list").stdout
    assert listed.startswith(f"{MODEL}  comes with batchgen (20")
    assert listed.count("\n") == 1
    assert batchgen("models", "list", "--search", "nothing like it").stdout == ""


def test_the_catalogue_can_be_searched(
    batchgen: Command, sandbox: Control, reach: list[str]
) -> None:
    everything = batchgen("models", "list", "--online", *reach).stdout.splitlines()
    brushes = batchgen("models", "list", "--online", "--search", "brush", *reach).stdout

    assert len(everything) == len(set(everything)) == 6
    assert brushes == f"{BRUSH}  $0.03 per output  image-generation\n"


def test_a_model_is_shown_with_its_inputs(batchgen: Command) -> None:
    shown = batchgen("models", "show", MODEL).stdout

    assert "prompt: string (required)" in shown
    assert "seed: integer, minimum 0, maximum 2147483647" in shown


def test_a_model_that_a_batch_fetched_can_be_shown_from_there(
    run: Command, batchgen: Command, folder: Path, manifest: str
) -> None:
    run(manifest, "--model", BRUSH)

    assert batchgen("models", "show", BRUSH).code == 2
    assert "prompt: string" in batchgen("models", "show", BRUSH, "--batch", folder).stdout


def test_a_schema_that_names_no_model_serves_a_rehearsal(batchgen: Command, here: Path) -> None:
    """The sandbox was given the person's own file, and looked there for the model's name."""
    (here / "own.json").write_text('{"type": "object", "properties": {"prompt": {}}}')
    (here / "own.csv").write_text("prompt\nA fox\n")

    ran = batchgen("run", "own.csv", "--sandbox", "--model", "a/b/c", "--schema", "own.json")

    # The clock of the test may outrun the sandbox, which has accepted the request.
    assert "1 submitted" in ran.stderr or "1 saved" in ran.stderr


@pytest.mark.parametrize("content", ['{"type": "object"}', "[]", "no JSON", "[" * 100_000])
def test_a_sandbox_refuses_a_schema_of_no_model(
    batchgen: Command, here: Path, content: str
) -> None:
    (here / "own.json").write_text(content)

    refused = batchgen("sandbox", "--schema", "own.json")

    assert refused.code == 2
    assert "own.json is no schema" in refused.stderr


def test_a_fetched_schema_serves_a_run_without_the_catalogue(
    run: Command,
    batchgen: Command,
    here: Path,
    sandbox: Control,
    manifest: str,
    reach: list[str],
) -> None:
    fetched = batchgen("models", "fetch", BRUSH, "-o", "brush.json", *reach)
    assert (fetched.code, fetched.stdout) == (0, "brush.json\n")
    sandbox.fault("500", times=None, on="model")

    assert run(manifest, "--model", BRUSH, "--schema", "brush.json").code == 0


@pytest.mark.parametrize(
    ("words", "fault", "code"),
    [
        (["fetch", "nobody/knows/this"], None, 69),
        (["fetch", BRUSH], "html-200", 69),
        (["fetch", BRUSH], "lost", 69),
        (["fetch", BRUSH], "401", 77),
        (["list", "--online"], "503", 69),
        (["list", "--online"], "empty-200", 69),
        (["list", "--online"], "400004", 77),
    ],
)
def test_a_catalogue_that_gives_no_answer_is_said_plainly(
    batchgen: Command,
    here: Path,
    sandbox: Control,
    reach: list[str],
    words: list[str],
    fault: str | None,
    code: int,
) -> None:
    if fault is not None:
        sandbox.fault(fault, times=None, on="model")
    outcome = batchgen("models", *words, *reach)

    assert (outcome.code, outcome.stdout) == (code, "")
    assert outcome.stderr
    assert [*here.iterdir()] == []


# Token and address


def test_without_a_token_nothing_is_sent(
    run: Command, folder: Path, sandbox: Control, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    outcome = run(manifest)

    assert outcome.code == 77
    assert "RUNCOMFY_TOKEN" in outcome.stderr
    assert "--sandbox" in outcome.stderr
    assert sandbox.posts == 0


def test_a_token_with_a_line_break_or_a_quotation_mark_is_refused_unseen(
    run: Command, sandbox: Control, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in ("a-secret\n", "“a-secret”", "a-secret and more"):
        monkeypatch.setenv("RUNCOMFY_TOKEN", token)
        outcome = run(manifest)
        assert outcome.code == 77
        assert "a-secret" not in outcome.stderr
    assert sandbox.posts == 0


def test_a_token_that_the_api_refuses_sends_nothing_and_keeps_the_rows(
    run: Command, folder: Path, sandbox: Control, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv("RUNCOMFY_TOKEN", "refused")
        outcome = run(manifest)

    assert outcome.code == 77
    assert sandbox.posts == 0
    assert run(manifest).code == 0
    assert sandbox.posts == 1


def test_a_token_that_is_refused_at_the_first_post_keeps_the_rows(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("404", times=None, on="model")
    sandbox.set(token="another")

    assert run(manifest).code == 77
    assert states(folder) == {"heron": "pending"}
    assert sandbox.accepted == 0


def test_the_token_that_runcomfy_login_wrote_is_used(
    run: Command, here: Path, sandbox: Control, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    login = here / "no-login" / "token.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"access_token": "from-the-login"}))
    login.chmod(0o600)
    sandbox.set(token="from-the-login")

    assert run(manifest).code == 0
    login.chmod(0o644)
    assert "can be read by others" in run(manifest).stderr


@pytest.mark.parametrize(
    "base",
    ["http://model-api.runcomfy.net/v1", "ftp://127.0.0.1/v1", "https://127.0.0.1", "nonsense"],
)
def test_an_address_that_would_show_the_token_or_cannot_be_right_is_refused(
    batchgen: Command, folder: Path, manifest: str, base: str
) -> None:
    outcome = batchgen("run", manifest, "--out", folder, "--base-url", base)

    assert outcome.code == 2
    assert base in outcome.stderr
    assert not folder.exists()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody answers, and nobody else can."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_service_that_stays_unreachable_all_night_costs_no_row_and_the_next_run_sends_them(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    clock: PretendClock,
    closed_port: int,
) -> None:
    base = f"http://127.0.0.1:{closed_port}/v1"
    manifest = write("list.csv", table(many(5)))
    outcome = batchgen("run", manifest, "--out", folder, "--base-url", base)

    assert outcome.code == 69
    assert clock.ahead > 6 * 3600 - 60  # the rest of it was real
    assert tally(folder) == {"pending": 5}
    assert query(folder, "SELECT SUM(attempts), COUNT(submitted_at) FROM requests") == [(0, 0)]
    assert outcome.stderr.count("cannot be reached") == 1

    assert run(manifest).code == 0
    assert sandbox.posts == 5


# Words


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["run"],
        ["run", "list.csv", "--rate", "fast"],
        ["run", "list.csv", "--max-cost", "-1"],
        ["run", "list.csv", "--until", "25:00"],
        ["run", "list.csv", "--column", "prompt"],
        ["run", "list.csv", "--media-host", "http://x/"],
        ["retry", "list.csv", "--state", "saved"],
        ["models", "show", "nobody/knows/this"],
    ],
)
def test_words_that_make_no_sense_are_refused_and_nothing_happens(
    batchgen: Command, folder: Path, manifest: str, words: list[str]
) -> None:
    outcome = batchgen(*words)

    assert outcome.code == 2
    assert outcome.stderr
    assert outcome.stdout == ""
    assert not folder.exists()


def test_the_summary_survives_a_reader_that_left(
    start: Callable[..., Popen[str]], folder: Path, sandbox: Control, manifest: str
) -> None:
    child = start(manifest, "--json", stdout=PIPE)
    assert child.stdout is not None
    child.stdout.close()
    child.wait()

    assert media(folder) == ["images/heron.png"]
    assert child.stderr is not None
    assert "Traceback" not in child.stderr.read()
