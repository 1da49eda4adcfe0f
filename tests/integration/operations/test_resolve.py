"""resolve: a person settles what may have been billed; nothing is paid for without their word."""

import json
import os
import pty
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import Command, Write
from helpers import (
    PATIENT,
    TOKEN,
    Outcome,
    at_a_terminal,
    error_of,
    media,
    query,
    states,
    table,
    until,
)
from sandbox_client import Control

from batchgen.clock import from_iso, show_time
from batchgen.journal.receipts import Receipt, ReceiptLog

BRUSH = "atelier/brush-2/text-to-image"
NOBODYS = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture
def manifest(write: Write) -> str:
    """Three rows; their prompts say which."""
    return write("list.csv", table({"heron": "a heron", "fox": "a fox", "owl": "an owl"}))


@pytest.fixture
def lost(run: Command, folder: Path, sandbox: Control, manifest: str) -> str:
    """The answers for heron and fox were lost, owl is saved; the manifest."""
    sandbox.fault("lost", match="heron")
    sandbox.fault("lost", match="fox")
    run(manifest)
    assert states(folder) == {"heron": "unknown", "fox": "unknown", "owl": "saved"}
    return manifest


@pytest.fixture
def resolve(batchgen: Command, folder: Path, reach: list[str]) -> Command:
    """`resolve("--all", "--write-off")`"""
    return lambda *words: batchgen("resolve", folder, *reach, *words)


def request_of(sandbox: Control, prompt: str) -> str:
    """What a person finds in the account."""
    (found,) = (row for row in sandbox.ledger() if prompt in row["input"])
    return str(found["request_id"])


def receipts(folder: Path) -> dict[str, int]:
    """The attempt of each request_id in receipts.log."""
    with ReceiptLog(folder / "receipts.log") as found:
        return {receipt.request_id: receipt.attempt for receipt in found.since(0)}


# Looking


def test_unknown_rows_are_listed_with_what_helps_to_find_them(
    resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    outcome = resolve()

    assert outcome.code == 1
    assert outcome.stderr == ""
    ((sent_at,),) = query(folder, "SELECT submitted_at FROM requests WHERE id = 'heron'")
    assert (
        f"heron (list.csv:2), sent {show_time(from_iso(sent_at))}, $0.03, ideogram"
        in outcome.stdout
    )
    assert '{"prompt": "a heron"}' in outcome.stdout
    assert "its answer was lost" in outcome.stdout
    assert "2 unknown." in outcome.stdout
    assert "owl" not in outcome.stdout
    assert f"batchgen resolve {folder} --id ID --attach REQUEST_ID" in outcome.stdout
    assert states(folder)["heron"] == "unknown"
    assert sandbox.posts == 3


def test_the_list_is_json_for_scripts(resolve: Command, lost: str) -> None:
    outcome = resolve("--json")

    rows = json.loads(outcome.stdout)
    assert outcome.code == 1
    assert {row["id"]: row["input"] for row in rows} == {
        "heron": {"prompt": "a heron"},
        "fox": {"prompt": "a fox"},
    }
    assert {"source", "model", "sent_at", "price", "reason"} <= rows[0].keys()


def test_a_batch_without_unknown_rows_needs_nothing(
    run: Command, resolve: Command, manifest: str
) -> None:
    run(manifest)

    assert resolve().code == 0
    assert "no unknown rows" in resolve().stdout
    assert json.loads(resolve("--json").stdout) == []


def test_a_prompt_cannot_steer_the_terminal(
    run: Command, resolve: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost")
    run(write("list.jsonl", json.dumps({"id": "a\u202eb", "prompt": "red\x1b[31m\u202e"})))

    assert not {"\x1b", "\u202e"} & set(resolve().stdout)


# After a kill


@pytest.fixture
def killed(start: Callable[..., Popen[str]], folder: Path, sandbox: Control, manifest: str) -> str:
    """A run that was killed while the API had the request of heron, the only one; the manifest."""
    sandbox.fault("silent")
    child = start(manifest, "--limit", 1)
    until(child, lambda: sandbox.posts == 1)
    child.kill()
    child.wait()
    assert states(folder) == {"heron": "submitting", "fox": "pending", "owl": "pending"}
    return manifest


def keep_receipt(folder: Path, request_id: str) -> None:
    """As where the disk was full for the journal, and the run was killed then."""
    ((key, at),) = query(folder, "SELECT key, submitted_at FROM requests WHERE id = 'heron'")
    with ReceiptLog(folder / "receipts.log") as log:
        log.append(Receipt(key, 1, request_id, at))


def test_a_row_that_a_kill_caught_is_settled_without_another_run(
    resolve: Command, folder: Path, sandbox: Control, killed: str
) -> None:
    outcome = resolve()

    assert outcome.code == 1
    assert "the run ended before the API's answer was on disk" in outcome.stdout
    assert "1 unknown." in outcome.stdout
    assert states(folder)["heron"] == "unknown"
    assert resolve("--id", "heron", "--attach", request_of(sandbox, "heron")).code == 0
    assert states(folder)["heron"] == "submitted"


def test_a_row_that_a_kill_caught_is_named_to_the_first_command_that_settles_it(
    resolve: Command, batchgen: Command, folder: Path, killed: str
) -> None:
    assert batchgen("retry", folder, "--state", "unknown", "--id", "heron").code == 0
    assert states(folder)["heron"] == "pending"


def test_a_row_whose_receipt_no_run_has_read_is_not_unknown(
    run: Command, resolve: Command, folder: Path, sandbox: Control, killed: str
) -> None:
    keep_receipt(folder, request_of(sandbox, "heron"))
    outcome = resolve()

    assert outcome.code == 0
    assert "no unknown rows" in outcome.stdout
    assert states(folder)["heron"] == "submitted"
    assert run(killed).code == 0
    assert sandbox.posts == 3


def test_cancel_asks_about_a_request_that_is_known_by_its_receipt_alone(
    batchgen: Command, folder: Path, sandbox: Control, reach: list[str], killed: str
) -> None:
    keep_receipt(folder, request_of(sandbox, "heron"))

    outcome = batchgen("cancel", folder, *reach)
    assert "1 already in progress" in outcome.stdout
    assert states(folder)["heron"] == "submitted"


# Attaching


def test_an_attached_row_is_collected_unpaid_and_has_a_receipt(
    run: Command, resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    request_id = request_of(sandbox, "heron")
    outcome = resolve("--id", "heron", "--attach", request_id)

    assert outcome.code == 1  # fox is still unknown
    assert outcome.stdout == "1 row attached to its request; the next run collects it, unpaid.\n"
    assert states(folder) == {"heron": "submitted", "fox": "unknown", "owl": "saved"}
    assert receipts(folder)[request_id] == 1
    assert run(lost).code == 1
    assert states(folder) == {"heron": "saved", "fox": "unknown", "owl": "saved"}
    assert media(folder) == ["images/heron.png", "images/owl.png"]
    assert sandbox.posts == 3
    assert run(lost).code == 1
    assert sandbox.posts == 3


def test_the_last_row_that_is_settled_leaves_nothing_to_say(
    resolve: Command, sandbox: Control, lost: str
) -> None:
    resolve("--id", "heron", "--attach", request_of(sandbox, "heron"))
    outcome = resolve("--id", "fox", "--attach", request_of(sandbox, "fox"))

    assert outcome.code == 0


def test_a_lost_journal_is_rebuilt_with_the_attached_request(
    run: Command, resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    for id in ("heron", "fox"):
        resolve("--id", id, "--attach", request_of(sandbox, id))
    for name in ("batch.db", "batch.db-wal", "batch.db-shm"):
        (folder / name).unlink(missing_ok=True)

    assert run(lost).code == 0
    assert sandbox.posts == 3
    assert states(folder) == {"heron": "saved", "fox": "saved", "owl": "saved"}


def test_a_request_that_is_not_this_rows_is_refused_and_nothing_changes(
    resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    before = receipts(folder)
    for request_id, said in (
        (request_of(sandbox, "owl"), "another row's"),
        (NOBODYS, "knows no request"),
        ("a request/../x", "is no request_id"),
        ("x" * 129, "is no request_id"),
        (f"{NOBODYS}\n", "is no request_id"),
    ):
        outcome = resolve("--id", "heron", "--attach", request_id)

        assert (outcome.code, outcome.stdout) == (2, ""), request_id
        assert said in outcome.stderr
        assert states(folder)["heron"] == "unknown"
        assert receipts(folder) == before
    assert sandbox.posts == 3


def test_a_request_of_another_model_is_refused(
    run: Command, resolve: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", times=2)
    rows = f"id,model,prompt\nheron,,a heron\nfox,{BRUSH},a fox\n"
    run(write("list.csv", rows))
    brushed = request_of(sandbox, "fox")

    outcome = resolve("--id", "heron", "--attach", brushed)
    assert outcome.code == 2
    assert f"was made by {BRUSH}" in outcome.stderr
    assert states(folder) == {"heron": "unknown", "fox": "unknown"}
    assert resolve("--id", "fox", "--attach", brushed).code == 1
    assert states(folder) == {"heron": "unknown", "fox": "submitted"}


def test_an_answer_that_does_not_vouch_for_the_request_changes_nothing(
    resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    request_id = request_of(sandbox, "heron")
    before = receipts(folder)
    for fault, code in (
        ("500", 69),
        ("429", 69),
        ("html-200", 69),
        ("lost", 69),
        ("401", 77),
        ("400004", 77),
        ("403001", 2),
        ("404001", 2),
    ):
        # A connection that was dropped is asked once more.
        sandbox.fault(fault, on="result", times=2 if fault == "lost" else 1)
        outcome = resolve("--id", "heron", "--attach", request_id)

        assert (outcome.code, outcome.stdout) == (code, ""), fault
        assert "Nothing was changed" in outcome.stderr
        assert states(folder)["heron"] == "unknown"
        assert receipts(folder) == before
    assert resolve("--id", "heron", "--attach", request_id).code == 1
    assert states(folder)["heron"] == "submitted"


def test_a_request_that_failed_at_the_api_can_be_attached_and_fails(
    run: Command, resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    sandbox.fault("failed", match="heron", value="content policy")

    resolve("--id", "heron", "--attach", request_of(sandbox, "heron"))
    run(lost)
    assert states(folder)["heron"] == "failed"
    assert error_of(folder, "heron") == "content policy"


def test_an_id_that_two_unknown_rows_have_is_not_guessed(
    run: Command, resolve: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    for prompt in ("a heron", "a grey heron"):
        sandbox.fault("lost")
        run(write("list.csv", table({"heron": prompt})))

    outcome = resolve("--id", "heron", "--attach", request_of(sandbox, "a heron"))
    assert outcome.code == 2
    assert "2 unknown rows have the id heron" in outcome.stderr
    assert query(folder, "SELECT DISTINCT state FROM requests") == [("unknown",)]


# Writing off and sending again


def test_a_row_that_is_written_off_is_final_until_it_is_named(
    run: Command, resolve: Command, batchgen: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    outcome = resolve("--id", "heron", "--write-off")
    assert (outcome.code, outcome.stdout) == (1, "1 row written off.\n")
    assert states(folder) == {"heron": "written_off", "fox": "unknown", "owl": "saved"}
    assert "may have been billed" in error_of(folder, "heron")
    assert "1 written_off" in batchgen("status", folder).stdout
    assert run(lost).code == 1

    run(lost, "--retry-failed")
    batchgen("retry", folder)
    assert batchgen("retry", folder, "--state", "written_off").code == 2
    assert run(lost).code == 1
    assert states(folder)["heron"] == "written_off"
    assert sandbox.posts == 3

    assert batchgen("retry", folder, "--state", "written_off", "--id", "heron").code == 0
    run(lost)
    assert sandbox.posts == 4
    assert states(folder)["heron"] == "saved"


def test_a_batch_that_is_saved_or_written_off_is_done(
    run: Command, resolve: Command, sandbox: Control, lost: str
) -> None:
    assert resolve("--all", "--write-off").code == 0

    outcome = run(lost, "-q")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")
    assert "2 written off" in run(lost).stderr
    assert sandbox.posts == 3


def test_send_again_sends_and_pays_with_the_next_run_and_once(
    run: Command, resolve: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    outcome = resolve("--all", "--send-again")
    said = "2 rows queued again.\nThe next run submits them, with the same options.\n"
    assert (outcome.code, outcome.stdout) == (0, said)
    assert sandbox.posts == 3

    assert run(lost).code == 0
    assert sandbox.posts == 5
    assert run(lost).code == 0
    assert sandbox.posts == 5
    assert set(states(folder).values()) == {"saved"}


def test_only_the_rows_that_were_named_are_settled(
    resolve: Command, folder: Path, lost: str
) -> None:
    resolve("--id", "fox", "--send-again")

    assert states(folder) == {"heron": "unknown", "fox": "pending", "owl": "saved"}


def test_an_id_without_an_unknown_row_settles_none_of_those_named(
    resolve: Command, folder: Path, lost: str
) -> None:
    for id in ("owl", "nobody"):
        outcome = resolve("--id", "heron", "--id", id, "--send-again")
        assert outcome.code == 2
        assert f"No unknown row of the manifest has the id {id}." in outcome.stderr
        assert states(folder) == {"heron": "unknown", "fox": "unknown", "owl": "saved"}


def test_words_that_leave_a_doubt_settle_nothing(resolve: Command, folder: Path, lost: str) -> None:
    for words in (
        ["--write-off"],
        ["--send-again"],
        ["--attach", NOBODYS],
        ["--all", "--attach", NOBODYS],
        ["--id", "heron", "--id", "fox", "--attach", NOBODYS],
        ["--id", "heron", "--write-off", "--send-again"],
        ["--id", "heron", "--attach", NOBODYS, "--write-off"],
    ):
        assert resolve(*words).code == 2, words
        assert states(folder) == {"heron": "unknown", "fox": "unknown", "owl": "saved"}


def test_settling_waits_until_no_run_holds_the_batch(
    start: Callable[..., Popen[str]], resolve: Command, folder: Path, sandbox: Control, lost: str,
    write: Write,
) -> None:  # fmt: skip
    sandbox.set(seconds=1000)
    rows = {"heron": "a heron", "fox": "a fox", "owl": "an owl", "elk": "an elk"}
    child = start(write("list.csv", table(rows)), "-v")
    assert any("accepted as" in line for line in child.stderr or ())

    outcome = resolve("--all", "--write-off")
    assert outcome.code == 75
    assert f"process {child.pid} " in outcome.stderr
    assert re.search(r"It goes on since .* UTC.*: .*1 saved, 2 unknown", outcome.stderr)
    assert states(folder)["heron"] == "unknown"


@PATIENT
def test_a_rehearsals_unknown_rows_are_looked_up_in_the_ledger_of_its_sandbox(
    batchgen: Command, folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCOMFY_TOKEN")
    rows = {"heron": "a heron [[lost]]", "elk": "an elk [[refuse-5xx]]"}
    manifest = write("list.csv", table(rows))
    rehearsed = batchgen("run", manifest, "--out", folder, "--sandbox")
    assert "in the sandbox's ledger" in rehearsed.stderr
    assert "your RunComfy account" not in rehearsed.stderr

    listed = json.loads(batchgen("resolve", folder, "--json").stdout)
    found = {row["id"]: row["found"] for row in listed}
    (request_id,) = found["heron"]
    assert found["elk"] == []
    shown = batchgen("resolve", folder).stdout
    assert f"The sandbox's ledger: accepted as {request_id}\n" in shown
    assert "The sandbox's ledger: never accepted\n" in shown
    assert "your RunComfy account" not in shown

    refused = batchgen("resolve", folder, "--id", "heron", "--attach", NOBODYS)
    assert refused.code == 2
    assert "knows no request" in refused.stderr
    assert f"batchgen resolve {folder}" in refused.stderr
    assert batchgen("resolve", folder, "--id", "heron", "--attach", request_id).code == 1
    assert states(folder) == {"heron": "submitted", "elk": "unknown"}


# At a terminal


Talk = Callable[..., Outcome]


@pytest.fixture
def talk(folder: Path, reach: list[str]) -> Talk:
    """`talk("[k]eep", "w")`: resolve on a terminal; when it has said one, answer with the other."""

    def talk_to_it(*lines: str) -> Outcome:
        ours, theirs = pty.openpty()
        words = [sys.executable, "-m", "batchgen", "resolve", str(folder), *reach]
        with Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as child:
            os.close(theirs)
            said = ""
            for question, answer in zip(lines[::2], lines[1::2], strict=True):
                said += listen(ours, question)
                os.write(ours, f"{answer}\n".encode())
            said += listen(ours, None)
        os.close(ours)
        return Outcome(child.returncode, said, "")

    return talk_to_it


def listen(terminal: int, question: str | None) -> str:
    """What is said up to a question's end, up to the end of it all without one."""
    said = b""
    while question is None or question not in said.decode(errors="replace"):
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # how Linux says that the other side has left
            piece = b""
        if not piece:
            assert question is None, said.decode(errors="replace")
            break
        said += piece
    return said.decode(errors="replace")


def test_at_a_terminal_each_row_is_asked_about_and_keeping_changes_nothing(
    talk: Talk, folder: Path, sandbox: Control, lost: str
) -> None:
    owl = request_of(sandbox, "owl")
    wrong = ("[k]eep", "a", "request_id", owl, "[k]eep", "yes")
    outcome = talk(*wrong, "[k]eep", "", "[k]eep", "k")

    assert outcome.code == 1
    assert "another row's request" in outcome.stdout
    assert outcome.stdout.count("[k]eep") == 4
    assert states(folder) == {"heron": "unknown", "fox": "unknown", "owl": "saved"}
    assert sandbox.posts == 3


def test_at_a_terminal_a_request_can_be_attached_and_another_row_kept(
    talk: Talk, run: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    first, second = unknown(folder)
    request_id = request_of(sandbox, first)
    outcome = talk(f"{first}: [a]ttach", "a", "request_id", f" {request_id} ", "[k]eep", "k")

    assert outcome.code == 1
    assert states(folder) == {first: "submitted", second: "unknown", "owl": "saved"}
    assert request_id in receipts(folder)
    run(lost)
    assert states(folder)[first] == "saved"
    assert sandbox.posts == 3


def test_at_a_terminal_rows_can_be_written_off_and_sent_again(
    talk: Talk, run: Command, folder: Path, sandbox: Control, lost: str
) -> None:
    first, second = unknown(folder)
    given_up = ("[k]eep", "w", "Give it up?", "n", "[k]eep", "w", "Give it up?", "y")
    outcome = talk(*given_up, "[k]eep", "s", "Send it again?", "y")

    assert outcome.code == 0
    assert states(folder)[first] == "written_off"
    assert states(folder)[second] == "pending"
    assert sandbox.posts == 3


def unknown(folder: Path) -> list[str]:
    """The ids of unknown rows, in the order in which they are asked about."""
    rows = query(folder, "SELECT id FROM requests WHERE state = 'unknown' ORDER BY submitted_at")
    return [id for (id,) in rows]


def test_what_came_for_an_unknown_row_is_shown_without_the_token(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("odd-id", match="heron")
    sandbox.fault("status", value=[500, f"<p>Authorization: Bearer {TOKEN}</p>"], match="fox")
    run(write("list.csv", "id,prompt\nheron,a heron\nfox,a fox\n"))

    shown = batchgen("resolve", folder).stdout
    assert 'What came: 200 application/json {"request_id":20261126' in shown
    assert "What came: 500 application/json" in shown
    assert "Bearer [hidden]" in shown
    assert TOKEN.encode() not in (folder / "batch.db").read_bytes()
    listed = json.loads(batchgen("resolve", folder, "--json").stdout)
    assert "an id of another shape" in listed[0]["answer"]


def test_rows_that_are_settled_by_options_say_what_that_costs(
    resolve: Command, folder: Path, lost: str
) -> None:
    assert resolve("--id", "fox", "--write-off").stderr == (
        "It may have cost $0.03, which stays counted.\n"
    )
    assert resolve("--all", "--send-again").stderr == (
        "The next run pays $0.03 for it, again if it was accepted.\n"
    )


def test_at_a_terminal_rows_are_settled_by_options_after_a_yes(
    folder: Path, reach: list[str], lost: str
) -> None:
    def settle(typed: str, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "batchgen", "resolve", str(folder), *reach, *words]
        return at_a_terminal(typed, *command)

    for typed, option, question in (
        ("n\n", "--send-again", "again?"),
        ("\n", "--write-off", "up?"),
    ):
        code, shown = settle(typed, "--all", option)
        assert (code, f"{question} [y/N]" in shown, "$0.06" in shown) == (1, True, True)
        assert states(folder) == {"heron": "unknown", "fox": "unknown", "owl": "saved"}

    code, shown = settle("y\n", "--id", "fox", "--write-off")
    assert (code, "up? [y/N]" in shown, "$0.03" in shown) == (1, True, True)
    assert states(folder) == {"heron": "unknown", "fox": "written_off", "owl": "saved"}

    code, shown = settle("n\n", "--all", "--send-again", "--yes")
    assert (code, "[y/N]" in shown, "$0.03" in shown) == (0, False, True)
    assert states(folder) == {"heron": "pending", "fox": "written_off", "owl": "saved"}
