"""Whatever the API answers, no row is paid for twice and none that was paid for is lost."""

import base64
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import (
    PATIENT,
    Outcome,
    PretendClock,
    error_of,
    many,
    media,
    query,
    states,
    table,
    tally,
)
from PIL import Image
from sandbox_client import Control

from batchgen.clock import WAKE_UP_MARGIN_S, from_iso
from batchgen.core.expiry import DAY_S
from batchgen.core.states import Event
from batchgen.core.timing import Timing
from batchgen.engine.held_rows import MAX_BLOCKED_IN_A_ROW
from batchgen.sandbox.deployments.samples import TEXT
from batchgen.sandbox.faults import ACCEPTED_FIRST, FAULTS, OUTCOME, POLL, SUBMIT

MODELS: tuple[str, ...] = ()
DEPLOYMENTS = ("--deployment", TEXT, "--node", "prompt=6.text", "--price", "0.03")
# The same answers mean the same for both; how the sandbox words an error differs.
BOTH = pytest.mark.parametrize("to", [MODELS, DEPLOYMENTS], ids=["models", "deployments"])


def hurry(fault: str, after: float = 0.25, **more: float) -> pytest.MarkDecorator:
    """A fault of silence counts as silence after so many seconds; a busy computer is silent for as
    long now and then, so that no other test may take it for that."""
    short = {"submit_read": after, "query_read": after} if "silent" in fault else {}
    return pytest.mark.timing(**short, **more)


@pytest.fixture
def manifest(write: Write) -> str:
    """One row, `heron`."""
    return write("list.csv", table({"heron": "a heron"}))


@dataclass(frozen=True)
class Night:
    """What becomes of a row whose submission meets a fault, and of the run an hour later.

    state, code: after the first run. then, then_code: after the second, which meets no fault.
    billed: how often the row is billed in the end.
    """

    state: str
    code: int
    then: str
    then_code: int
    billed: int


SAVED = Night("saved", 0, "saved", 0, billed=1)
REFUSED = Night("failed", 1, "failed", 1, billed=0)
NO_MONEY = Night("pending", 75, "saved", 0, billed=1)
NO_ENTRY = Night("pending", 77, "saved", 0, billed=1)
BLOCKED = Night("pending", 69, "saved", 0, billed=1)
NO_SUCH_MODEL = Night("pending", 75, "saved", 0, billed=1)
LOST = Night("unknown", 1, "unknown", 1, billed=1)
LOST_UNBILLED = Night("unknown", 1, "unknown", 1, billed=0)
REDIRECTED = Night("unknown", 69, "unknown", 1, billed=0)

AFTER_SUBMIT: dict[str, Night] = {
    **dict.fromkeys(("balance", "balance-402", "balance-429", "error-in-200"), NO_MONEY),
    **dict.fromkeys(("401", "400004"), NO_ENTRY),
    **dict.fromkeys(("403", "firewall", "307"), BLOCKED),
    "403001": NO_SUCH_MODEL,
    **dict.fromkeys(("400001", "404", "404001", "413", "422", "no-data-uri", "status"), REFUSED),
    **dict.fromkeys(("408", "409", "499", "refuse-5xx", "hangup", "drop"), LOST_UNBILLED),
    **dict.fromkeys(("500", "502", "503", "504", "lost", "lost-rst", "silent"), LOST),
    **dict.fromkeys(("html-200", "empty-200", "no-id", "odd-id", "cut-before-id"), LOST),
    **dict.fromkeys(("cut-after-id", "id-beside-error", "id-in-urls-only", "big-answer"), SAVED),
    "gzip": SAVED,
    # The first request of all has no other's id to be given; below, a second one has.
    "same-id": SAVED,
    "202": SAVED,
    "429": SAVED,
    "302": REDIRECTED,
}


# Where deployments have a code of their own.
AT_DEPLOYMENTS: dict[str, Night] = {"403001": NO_ENTRY}


def test_the_table_has_every_fault_that_can_strike_a_submission() -> None:
    on_submit = {name for name, fault in FAULTS.items() if fault.stages == SUBMIT}
    assert set(AFTER_SUBMIT) == on_submit | {"404001"}
    assert {name for name, night in AFTER_SUBMIT.items() if night == LOST} <= ACCEPTED_FIRST
    nights = {*AFTER_SUBMIT.values(), *AT_DEPLOYMENTS.values(), *(night for *_, night in FORMS)}
    assert nights == {*STOPPING, *PASSING.values(), REDIRECTED}


# The same faults in other words.
FORMS: list[tuple[str, object, Night]] = [
    ("error-in-200", 400004, NO_ENTRY),
    ("error-in-200", 403001, NO_SUCH_MODEL),
    ("error-in-200", 422001, REFUSED),
    ("error-in-200", 400001, REFUSED),
    ("error-in-200", 429, SAVED),
    ("error-in-200", 500001, LOST_UNBILLED),
    ("status", 451, REFUSED),
    ("status", 202, LOST_UNBILLED),
    ("status", 301, REDIRECTED),
    ("status", 308, BLOCKED),
    ("odd-id", "pred/8f-42", LOST),
    ("odd-id", ["8f-42"], LOST),
    ("status", [402, ""], NO_MONEY),
    ("status", [403, {"error": {"code": 400002}}], NO_MONEY),
    ("status", [429, {"detail": "insufficient credits"}], NO_MONEY),
    ("status", [400, []], REFUSED),
    ("status", [200, None], LOST_UNBILLED),
    ("status", [200, {"request_id": "../../etc/passwd"}], LOST_UNBILLED),
    ("status", [200, {"request_id": 7}], LOST_UNBILLED),
    ("big-answer", "id-last", LOST),
    ("big-answer", "endless", SAVED),
]
# They stop a run before any row is paid for.
STOPPING = (NO_MONEY, NO_ENTRY, BLOCKED, NO_SUCH_MODEL)
# A run goes on after them; all other faults have a run of their own.
PASSING = {"saved": SAVED, "refused": REFUSED, "lost": LOST, "lost, unbilled": LOST_UNBILLED}


def faults_of(*nights: Night, to: tuple[str, ...]) -> list[tuple[str, object, Night]]:
    """The faults with such nights, each with its value; without `silent`, whose runs hurry."""
    at_submit = AFTER_SUBMIT | (AT_DEPLOYMENTS if to else {})
    every = [(fault, None, night) for fault, night in at_submit.items()] + FORMS
    return [one for one in every if one[2] in nights and one[0] != "silent"]


@BOTH
@pytest.mark.parametrize("night", PASSING.values(), ids=PASSING)
def test_a_submission_that_meets_a_fault_is_billed_once_at_most(
    run: Command,
    folder: Path,
    sandbox: Control,
    clock: PretendClock,
    write: Write,
    night: Night,
    to: tuple[str, ...],
) -> None:
    """Of a list with a row for each fault, sent one after the other."""
    struck = faults_of(night, to=to)
    # `drop` strikes before the prompt was read, and the first of all has no other's id to be given.
    struck.sort(key=lambda one: one[0] not in ("drop", "same-id"))
    rows: dict[str, str] = {}
    fine: dict[str, str] = {}
    for number, (fault, value, _) in enumerate(struck):
        prompt = f"struck {number}."
        rows[f"{fault}-{number}"] = prompt
        sandbox.fault(fault, on="submit", value=value, match=None if fault == "drop" else prompt)
        if night.state == "unknown":  # three lost answers in a row would stop everything
            rows[f"fine-{number}"] = fine[f"fine-{number}"] = f"fine {number}."
    manifest = write("list.csv", table(rows))

    def billed() -> dict[str, int]:
        sent = [row["input"] for row in sandbox.ledger()]
        return {id: sum(prompt in input for input in sent) for id, prompt in rows.items()}

    of_fine = dict.fromkeys(fine, "saved")
    bill = dict.fromkeys(rows, night.billed) | dict.fromkeys(fine, 1)
    first = run(manifest, "--concurrency", 1, *to)
    assert states(folder) == dict.fromkeys(rows, night.state) | of_fine
    assert first.code == night.code
    assert billed() == bill

    clock.ahead += 3600  # what cron does an hour later
    second = run(manifest, *to)
    assert states(folder) == dict.fromkeys(rows, night.then) | of_fine
    assert second.code == night.then_code
    assert billed() == bill


@BOTH
def test_a_row_that_was_not_taken_is_sent_by_each_later_run_and_billed_once(
    run: Command,
    folder: Path,
    sandbox: Control,
    clock: PretendClock,
    manifest: str,
    to: tuple[str, ...],
) -> None:
    """In a week of nights, each with another fault that stops the run."""
    for number, (fault, value, night) in enumerate(faults_of(*STOPPING, to=to)):
        sandbox.fault(fault, on="submit", value=value)
        outcome = run(manifest, *to)
        assert (states(folder), outcome.code) == ({"heron": "pending"}, night.code), (fault, value)
        assert (sandbox.posts, sandbox.ledger()) == (number + 1, []), (fault, value)
        clock.ahead += 3600

    assert run(manifest, *to).code == 0
    assert states(folder) == {"heron": "saved"}
    assert len(sandbox.ledger()) == 1


@BOTH
@pytest.mark.parametrize(
    ("fault", "value", "night"),
    [
        pytest.param("silent", None, LOST, marks=hurry("silent")),
        *faults_of(REDIRECTED, to=MODELS),
    ],
)
def test_a_submission_that_is_redirected_or_never_answered_is_sent_once(
    run: Command,
    folder: Path,
    sandbox: Control,
    clock: PretendClock,
    manifest: str,
    fault: str,
    value: object,
    night: Night,
    to: tuple[str, ...],
) -> None:
    sandbox.fault(fault, on="submit", value=value)

    first = run(manifest, *to)
    assert (states(folder), first.code) == ({"heron": night.state}, night.code)
    assert len(sandbox.ledger()) == night.billed

    clock.ahead += 3600
    second = run(manifest, *to)
    assert (states(folder), second.code) == ({"heron": night.then}, night.then_code)
    assert len(sandbox.ledger()) == night.billed


# What is refused


def test_a_refused_row_says_which_input_was_wrong(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("422")
    outcome = run(manifest)

    assert error_of(folder, "heron") == "prompt: the sandbox was told so"
    assert "list.csv:2" in outcome.stderr
    assert query(folder, "SELECT error_code FROM requests") == [(422,)]


def test_one_refused_row_does_not_hold_up_the_others(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", match="number 2")
    sandbox.fault("400001", match="number 4")
    outcome = run(write("list.csv", table(many(6))))

    assert outcome.code == 1
    assert tally(folder) == {"saved": 4, "failed": 2}


@pytest.mark.parametrize(("fault", "code"), [("balance-429", 75), ("401", 77)])
def test_when_the_account_stops_in_mid_run_every_row_is_kept_and_few_are_asked(
    run: Command, folder: Path, sandbox: Control, write: Write, fault: str, code: int
) -> None:
    rows = {"first": "a fine row"} | many(30)
    sandbox.fault(fault, times=None, match="number")
    outcome = run(write("list.csv", table(rows)), "--concurrency", 4)

    assert outcome.code == code
    assert tally(folder) == {"saved": 1, "pending": 30}
    assert sandbox.posts <= 1 + 4


def test_an_account_that_runs_dry_pays_for_what_it_can_and_the_next_run_for_the_rest(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(balance=0.10)
    manifest = write("list.csv", table(many(8)))
    outcome = run(manifest)

    assert outcome.code == 75
    assert "balance used up" in outcome.stderr
    assert tally(folder) == {"saved": 3, "pending": 5}
    sandbox.set(balance=None)
    assert run(manifest).code == 0
    assert set(sandbox.billed_per_input().values()) == {1}


def test_a_stopped_run_does_not_ask_in_a_rush_about_a_row_that_the_api_does_not_know(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    """Nothing slowed its questions down, while those about other rows waited for a minute each."""
    sandbox.set(balance=0.04)
    sandbox.fault("404001", times=2)
    sandbox.fault("poll-500", times=None)
    outcome = run(write("list.csv", table(many(3))))

    assert outcome.code == 75, outcome
    assert tally(folder) == {"submitted": 1, "pending": 2}
    assert sandbox.counts()["polls"] < 10


# What something before the API refused


def one_by_one(run: Command, manifest: str) -> Outcome:
    return run(manifest, "--concurrency", 1)


@pytest.mark.parametrize("fault", ["firewall", "307"])
def test_a_row_that_alone_is_refused_before_the_api_fails_and_the_others_go_on(
    run: Command, folder: Path, sandbox: Control, write: Write, fault: str
) -> None:
    sandbox.fault(fault, times=None, match="number 3")
    manifest = write("list.csv", table(many(5)))
    outcome = one_by_one(run, manifest)

    assert outcome.code == 1
    assert tally(folder) == {"saved": 4, "failed": 1}
    assert "while others were accepted" in error_of(folder, "row-3")
    assert "list.csv:4: row 'row-3'" in outcome.stderr
    assert "token" not in outcome.stderr
    assert query(folder, "SELECT attempts FROM requests WHERE id = 'row-3'") == [(0,)]
    assert one_by_one(run, manifest).code == 1
    assert sandbox.posts == 5
    assert run(manifest, "--retry-failed").code == 69  # alone, nobody can tell whose fault it is
    assert sandbox.posts == 6
    assert sandbox.accepted == 4


def test_a_row_that_is_refused_last_stays_pending_until_another_one_is_accepted(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("firewall", times=None, match="number 3")
    outcome = one_by_one(run, write("list.csv", table(many(3))))
    assert (outcome.code, tally(folder)) == (75, {"saved": 2, "pending": 1})
    assert "list.csv:4: row 'row-3': refused before it reached RunComfy" in outcome.stderr

    outcome = one_by_one(run, write("list.csv", table(many(3))))
    assert (outcome.code, tally(folder)) == (69, {"saved": 2, "pending": 1})
    assert "row-3" in outcome.stderr

    outcome = one_by_one(run, write("list.csv", table(many(4))))
    assert (outcome.code, tally(folder)) == (1, {"saved": 3, "failed": 1})


def test_where_everything_is_refused_before_the_api_few_rows_are_asked_and_none_fails(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("firewall", times=None)
    outcome = run(write("list.csv", table(many(30))))

    assert outcome.code == 69
    assert tally(folder) == {"pending": 30}
    assert sandbox.posts == MAX_BLOCKED_IN_A_ROW
    assert "list.csv:2: row 'row-1'" in outcome.stderr


def test_the_token_is_blamed_for_a_403_only_if_a_free_question_is_refused_as_well(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("403")
    sandbox.fault("403", on="balance", times=None)
    outcome = run(manifest)

    assert (outcome.code, states(folder)) == (77, {"heron": "pending"})
    assert "list.csv:2: row 'heron'" in outcome.stderr
    assert "the token was refused" in outcome.stderr


def test_a_firewall_before_the_catalogue_keeps_nobody_from_paying_or_collecting(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("firewall", on="model", times=None)

    assert (run(manifest).code, states(folder)) == (0, {"heron": "saved"})


def test_a_model_that_is_not_allowed_keeps_its_rows_and_the_others_go_on(
    run: Command, folder: Path, sandbox: Control, write: Write, schemas: dict[str, Path]
) -> None:
    brush = "atelier/brush-2/text-to-image"
    sandbox.fault("403001", times=None, match="brush")
    rows = [f'{{"prompt": "brush {n}", "model": "{brush}"}}' for n in range(3)]
    rows += [f'{{"prompt": "number {n}"}}' for n in range(3)]
    outcome = run(write("list.jsonl", "\n".join(rows)), "--schema", schemas[brush])

    assert outcome.code == 75
    assert tally(folder) == {"pending": 3, "saved": 3}
    assert sandbox.posts == 4
    assert f"The other rows of {brush} stay pending" in outcome.stderr


@pytest.mark.parametrize(("balance", "others"), [(5.0, "saved"), (0.01, "pending")])
def test_a_402_counts_for_its_model_alone_only_if_the_balance_covers_the_row(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    schemas: dict[str, Path],
    balance: float,
    others: str,
) -> None:
    brush = "atelier/brush-2/text-to-image"
    sandbox.set(balance=balance)
    sandbox.fault("balance-402", times=None, match="brush")
    rows = [f'{{"prompt": "brush", "model": "{brush}", "id": "b"}}', '{"prompt": "fox", "id": "f"}']
    outcome = one_by_one(
        lambda manifest, *more: run(manifest, "--schema", schemas[brush], *more),
        write("list.jsonl", "\n".join(rows)),
    )

    assert outcome.code == 75
    assert states(folder) == {"b": "pending", "f": others}
    assert "row 'b'" in outcome.stderr


@pytest.mark.timing(query_read=0.5)
def test_a_row_that_was_not_accepted_is_not_sent_again_while_the_balance_is_asked_for(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("balance-402", times=None, match="heron")
    sandbox.fault("silent", on="balance", times=None)
    manifest = write("list.csv", table({"fox": "a fox", "heron": "a heron"}))

    assert run(manifest).code == 75
    assert states(folder) == {"fox": "saved", "heron": "pending"}
    assert sandbox.posts == 2


# What is throttled


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [
        ("7", 7),
        ("0", 1),
        ("-1", 1),
        ("1000000000", 3600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("abc", 0),
        ("none", 0),
    ],
)
def test_a_throttled_row_waits_as_it_was_told_within_reason_and_is_no_attempt(
    run: Command,
    folder: Path,
    sandbox: Control,
    manifest: str,
    retry_after: str,
    waits: float,
) -> None:
    sandbox.fault("429", value=retry_after)
    began = time.monotonic()
    outcome = run(manifest)
    took = time.monotonic() - began

    assert outcome.code == 0
    first, again = (
        from_iso(at)
        for (at,) in query(folder, "SELECT at FROM events WHERE event = ?", Event.SUBMIT)
    )
    # The journal writes milliseconds; the answer came after the first was sent.
    assert waits - WAKE_UP_MARGIN_S - 0.002 <= again - first < waits + 5 + took
    assert sandbox.posts == 2
    assert query(folder, "SELECT attempts FROM requests") == [(1,)]


def test_a_long_wait_is_announced_with_its_end(
    run: Command, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("429", value="600")
    assert "waiting until 20" in run(manifest).stderr


def test_throttling_all_night_long_loses_no_row(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("429", times=25)
    outcome = run(write("list.csv", table(many(10))))

    assert outcome.code == 0
    assert tally(folder) == {"saved": 10}
    assert sandbox.posts == 35
    assert set(sandbox.billed_per_input().values()) == {1}


# What is lost


def test_three_lost_answers_in_a_row_stop_everything(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", times=None)
    outcome = run(write("list.csv", table(many(20))))

    assert outcome.code == 75
    assert "3 answers in a row were lost" in outcome.stderr
    assert tally(folder) == {"unknown": 3, "pending": 17}


# The first row of all is answered.
@pytest.mark.parametrize(
    "fault", [pytest.param("silent", marks=hurry("silent", 2.0)), "503", "lost-rst"]
)
def test_when_the_api_stops_answering_in_mid_run_few_rows_are_exposed(
    run: Command, folder: Path, sandbox: Control, write: Write, fault: str
) -> None:
    rows = {"first": "a fine row"} | many(30)
    sandbox.fault(fault, times=None, match="number")
    outcome = run(write("list.csv", table(rows)), "--concurrency", 4)

    assert outcome.code == 75
    assert tally(folder)["saved"] == 1
    assert 3 <= tally(folder)["unknown"] <= 4 + 3
    assert set(sandbox.billed_per_input().values()) == {1}


def test_resubmitting_costs_an_unknown_row_one_more_request_a_run_at_most(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", times=None)
    manifest = write("list.csv", table(many(8)))
    for runs in (1, 2, 3):
        run(manifest, "--on-unknown", "resubmit")
        sent = Counter(post["input_sha256"] for post in sandbox.log())
        assert max(sent.values()) <= runs
    assert set(tally(folder)) == {"unknown", "pending"}


def test_an_unknown_row_says_what_may_have_happened_and_what_to_do(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("lost")
    outcome = run(manifest)

    assert "list.csv:2: row 'heron': the API took the request and its answer was lost" in (
        outcome.stderr
    )
    assert f"batchgen resolve {folder}" in outcome.stderr


def test_an_id_that_is_handed_out_twice_stops_a_run_that_has_nothing_left_to_send(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("same-id", match="number 2")
    outcome = run(write("list.csv", table(many(2))), "--concurrency", 1)

    assert outcome.code == 75
    assert states(folder) == {"row-1": "saved", "row-2": "unknown"}


def test_an_id_that_is_handed_out_twice_makes_the_second_row_unknown_and_stops(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("same-id", match="number 2")
    manifest = write("list.csv", table(many(4)))
    outcome = run(manifest, "--concurrency", 1)

    assert outcome.code == 75
    assert states(folder) == {
        "row-1": "saved",
        "row-2": "unknown",
        "row-3": "pending",
        "row-4": "pending",
    }
    assert run(manifest).code == 1
    assert tally(folder) == {"saved": 3, "unknown": 1}
    assert set(sandbox.billed_per_input().values()) == {1}


def test_a_paid_post_is_not_redirected_to_another_origin(
    run: Command, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("307")
    run(manifest)

    assert sandbox.posts == 1
    assert sandbox.counts()["media"] == 0


# What is asked about


NEVER_THE_END = {name for name, fault in FAULTS.items() if fault.stages == POLL} - {
    "poll-401",
    "poll-gzip",
    "404001",
}
# Not errors, but how the state of a request is told, which has to be another one before.
WORDS = {"not-ready", "odd-word", "pending-words", "back-to-queue", "upper-case", "succeeded"}


SILENT = {name for name in NEVER_THE_END if "silent" in name}


@BOTH
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(NEVER_THE_END - WORDS - SILENT, id="errors", marks=PATIENT),
        pytest.param(WORDS, id="words", marks=PATIENT),
        pytest.param(SILENT, id="silence", marks=hurry("silent", max_polling=1e7)),
    ],
)
def test_a_question_that_meets_a_fault_is_asked_again(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    faults: set[str],
    to: tuple[str, ...],
) -> None:
    """For a list with a row for each fault."""
    options: tuple[object, ...] = ()
    questions = 2
    if faults == WORDS:  # longer than a busy computer takes to the first question
        sandbox.set(seconds=1)
    else:  # no other row is answered while one meets its fault
        options = ("--concurrency", 1)
        questions = 3 + 1
    rows = {fault: f"met by {fault}." for fault in sorted(faults)}
    for fault, prompt in rows.items():
        sandbox.fault(fault, times=3, match=prompt)
    outcome = run(write("list.csv", table(rows)), *options, *to)

    assert (outcome.code, states(folder)) == (0, dict.fromkeys(rows, "saved"))
    assert sandbox.posts == len(rows)
    assert sandbox.counts()["polls"] >= len(rows) * questions


def test_an_answer_that_is_compressed_unasked_is_read(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("poll-gzip", times=None)

    assert (run(manifest).code, states(folder)) == (0, {"heron": "saved"})


def test_a_403_for_every_question_blames_the_token_if_another_one_is_refused_as_well(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("poll-firewall", times=None)
    sandbox.fault("403", on="balance", times=None)
    outcome = run(manifest)

    assert (outcome.code, states(folder)) == (77, {"heron": "submitted"})
    assert "list.csv:2: row 'heron': token refused" in outcome.stderr


def test_a_word_that_nobody_knows_is_named_once_on_screen_and_in_the_report(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.set(seconds=1000)
    sandbox.fault("odd-word", times=None, value="moderated")
    outcome = run(manifest)

    assert outcome.stderr.count("heron': RunComfy says 'moderated', which is no word we know") == 1
    assert "moderated" in error_of(folder, "heron")


def test_an_answer_that_says_nothing_is_named_on_screen_and_in_the_report(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("poll-html", times=None)
    outcome = run(manifest, timing=Timing(max_polling=60.0))

    assert outcome.code == 75
    assert "RunComfy gives no clear answer" in outcome.stderr
    assert "no clear answer" in error_of(folder, "heron")


def test_the_word_of_a_result_that_is_fetched_all_the_same_is_named(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("end-word", value="finished")
    outcome = run(manifest)

    assert outcome.code == 0
    assert "list.csv:2: row 'heron': RunComfy says 'finished'" in outcome.stderr
    assert query(folder, "SELECT api_status FROM requests") == [("finished",)]


def test_an_inline_output_goes_to_a_file_and_not_into_the_journal(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("inline")
    assert run(manifest).code == 0

    assert media(folder) == ["images/heron.png"]
    with Image.open(folder / "images" / "heron.png") as picture:
        assert (picture.size, picture.getpixel((3, 3))) == ((16, 16), (0, 128, 128))
    kept = b"".join(path.read_bytes() for path in folder.glob("batch.db*"))
    assert base64.b64encode((folder / "images" / "heron.png").read_bytes())[90:150] not in kept
    assert query(folder, "SELECT url FROM outputs") == [("data:image/png",)]
    assert len(query(folder, "SELECT result FROM requests")[0][0]) < 400


def test_a_url_beside_the_output_is_left_out_and_the_row_is_saved(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("echo")
    outcome = run(manifest)

    assert (outcome.code, media(folder)) == (0, ["images/heron-2.png"])
    assert "a URL beside its output is left out" in outcome.stderr
    assert query(folder, "SELECT detail FROM events WHERE event = 'saved'") == [
        ("left out: https://my-own-site.example/heron.png",)
    ]


def test_large_results_are_read_and_the_journal_stays_small(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("large-result", times=None, value=20 << 20)

    outcome = run(write("list.csv", table(many(4))))
    assert (outcome.code, tally(folder)) == (0, {"saved": 4})
    assert sum(path.stat().st_size for path in folder.glob("batch.db*")) < 2 << 20


@pytest.mark.parametrize("value", ["pondering", "", "completed?", "FAILING"])
def test_a_state_that_nobody_knows_means_that_the_request_still_runs(
    run: Command, folder: Path, sandbox: Control, manifest: str, value: str
) -> None:
    sandbox.set(seconds=1000)
    sandbox.fault("odd-word", times=None, value=value)

    assert run(manifest).code == 75
    assert states(folder) == {"heron": "submitted"}


def test_an_outage_while_asking_costs_neither_rows_nor_money(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("poll-drop", times=60)
    outcome = run(write("list.csv", table(many(6))))

    assert outcome.code == 0
    assert tally(folder) == {"saved": 6}
    assert sandbox.posts == 6


def test_a_token_that_is_refused_while_asking_leaves_the_row_submitted(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("poll-401")

    assert run(manifest).code == 77
    assert states(folder) == {"heron": "submitted"}
    assert run(manifest).code == 0
    assert sandbox.posts == 1


def test_a_request_that_the_api_does_not_know_yet_is_waited_for_without_a_place(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, write: Write
) -> None:
    sandbox.fault("404001", on="result", times=None, match="number 1")
    manifest = write("list.csv", table(many(3)))
    outcome = run(manifest, "--concurrency", 1)

    assert outcome.code == 75
    assert states(folder) == {"row-1": "submitted", "row-2": "saved", "row-3": "saved"}


def test_a_request_that_the_api_learns_of_later_is_collected(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, manifest: str
) -> None:
    sandbox.fault("404001", on="result", times=6)

    assert (run(manifest).code, states(folder)) == (0, {"heron": "saved"})
    assert clock.ahead < 300


def test_a_request_that_the_api_has_lost_fails_when_results_are_kept_no_longer(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, manifest: str
) -> None:
    sandbox.fault("404001", on="result", times=None)

    outcome = run(manifest)
    assert (outcome.code, states(folder)) == (75, {"heron": "submitted"})
    assert "does not exist or has expired" in error_of(folder, "heron")
    assert 300 <= clock.ahead < 400
    clock.ahead += 3 * DAY_S
    assert (run(manifest, "-q").stderr, states(folder)) == ("", {"heron": "submitted"})

    clock.ahead += 4 * DAY_S
    assert run(manifest).code == 1
    assert states(folder) == {"heron": "failed"}
    assert error_of(folder, "heron").startswith("paid, but gone")
    assert run(manifest).code == 1
    assert sandbox.posts == 1


def test_a_request_that_outlasts_our_patience_is_collected_by_the_next_run(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=1000)
    sandbox.fault("slow", value=0, match="number 2")
    manifest = write("list.csv", table(many(2)))

    outcome = run(manifest)
    assert outcome.code == 75
    assert "1 row not finished" in outcome.stderr
    assert states(folder) == {"row-1": "submitted", "row-2": "saved"}
    assert run(manifest).code == 75
    assert sandbox.posts == 2


# What comes of it


AFTER_RESULT = {
    "failed": ("failed", "generation failed"),
    "canceled": ("cancelled", "cancelled at RunComfy"),
    "empty-result": ("failed", "completed without any output"),
    "null-output": ("failed", "completed without any output"),
    "bare-url": ("saved", "None"),
    "bare-list": ("saved", "None"),
    "no-cost": ("saved", "None"),
    "number-cost": ("saved", "None"),
    "inline": ("saved", "None"),
    "inline-base64": ("saved", "None"),
    "url-blanks": ("saved", "None"),
    "echo": ("saved", "None"),
    "end-word": ("saved", "None"),
    "no-status": ("saved", "None"),
    "large-result": ("saved", "None"),
    "cost": ("saved", "None"),
}


def test_the_table_has_every_outcome() -> None:
    outcomes = {name for name, fault in FAULTS.items() if fault.stages == OUTCOME}
    assert set(AFTER_RESULT) == outcomes - {"failed-in-200", "media-other-host"}


@BOTH
@pytest.mark.parametrize("is_saved", [True, False], ids=["saved", "not saved"])
def test_an_outcome_is_recorded_and_the_row_is_not_sent_again(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    is_saved: bool,
    to: tuple[str, ...],
) -> None:
    """Of a list with a row for each outcome."""
    ends = {fault: end for fault, end in AFTER_RESULT.items() if (end[0] == "saved") is is_saved}
    rows = {fault: f"ends as {fault}." for fault in ends}
    for fault, prompt in rows.items():
        sandbox.fault(fault, match=prompt)
    manifest = write("list.csv", table(rows))

    assert run(manifest, *to).code == (0 if is_saved else 1)
    assert states(folder) == {fault: state for fault, (state, _) in ends.items()}
    for fault, (_, reason) in ends.items():
        assert error_of(folder, fault).startswith(reason), fault
    made = sorted(query(folder, "SELECT id FROM outputs JOIN requests USING (key)"))
    assert made == ([(fault,) for fault in sorted(ends)] if is_saved else [])
    assert len(media(folder)) == len(made)
    run(manifest, *to)
    assert sandbox.posts == len(rows)


def test_a_result_that_is_a_server_error_says_nothing_about_the_request(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("failed-in-200")
    a_minute = Timing(max_polling=60.0)

    assert run(manifest, timing=a_minute).code == 75
    assert states(folder) == {"heron": "submitted"}
    assert run(manifest, timing=a_minute).code == 75
    assert sandbox.posts == 1


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        ({"amount": 0.05, "currency": "USD"}, 0.05),
        ({"usd": "0.07"}, 0.07),
        (0, 0.0),
        ("a lot", 0.03),
        (-1, 0.03),
        (None, 0.03),
    ],
)
def test_what_the_api_says_about_the_cost_beats_the_price(
    run: Command, folder: Path, sandbox: Control, manifest: str, value: object, cost: float
) -> None:
    if value is None:
        sandbox.fault("no-cost")
    else:
        sandbox.fault("cost", value=value)
    outcome = run(manifest)

    assert f"${cost:.2f} spent" in outcome.stderr
