"""A batch from its manifest to its pictures, over HTTP, with a real journal."""

import json
import signal
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import Command, Write
from helpers import (
    NEVER_ASKING,
    PATIENT,
    ROOT,
    TOKEN,
    PretendClock,
    change,
    many,
    media,
    query,
    states,
    table,
    tally,
)
from sandbox_client import Control

from batchgen.core.timing import Timing

SHARED = ROOT.parent / "shared"
BRUSH = "atelier/brush-2/text-to-image"
SERIES = "atelier/series/text-to-image"
CLIPS = "atelier/clips/text-to-video"
TUNES = "atelier/tunes/text-to-music"


def has_all_saved(folder: Path, count: int) -> bool:
    return tally(folder) == {"saved": count} and len(media(folder)) == count


# A night without trouble


def test_every_row_becomes_a_picture_a_line_in_the_report_and_an_entry_in_the_journal(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    outcome = run(write("list.csv", table(many(12))))

    assert outcome.code == 0
    assert outcome.stdout == ""
    assert "Every row is saved." in outcome.stderr
    assert states(folder) == dict.fromkeys(many(12), "saved")
    assert media(folder) == sorted(f"images/{id}.png" for id in many(12))
    assert sandbox.posts == sandbox.accepted == 12
    assert len((folder / "results.jsonl").read_text().splitlines()) == 12
    assert (folder / "report" / "index.html").is_file()
    assert query(folder, "SELECT exit_code, ended_at IS NULL FROM runs") == [(0, 0)]


def test_every_change_of_state_of_a_row_is_an_event(
    run: Command, folder: Path, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron"})))

    assert query(folder, 'SELECT event, "from", "to" FROM events ORDER BY seq') == [
        ("send", "pending", "submitting"),
        ("accepted", "submitting", "submitted"),
        ("done", "submitted", "completed"),
        ("saved", "completed", "saved"),
    ]


def test_the_input_is_sent_as_it_was_written_and_no_default_with_it(
    run: Command, sandbox: Control, write: Write
) -> None:
    prompt = "“Wärme”, 42 °C\nand a second line  "
    run(write("list.jsonl", json.dumps({"prompt": prompt, "seed": 7, "style": "anime"})))

    (request,) = sandbox.ledger()
    assert json.loads(request["input"]) == {"prompt": prompt, "seed": 7, "style": "anime"}


def test_the_summary_is_json_on_stdout(run: Command, write: Write) -> None:
    outcome = run(write("list.csv", table(many(2))), "--json")

    numbers = json.loads(outcome.stdout)
    assert numbers["counts"]["saved"] == numbers["rows"] == 2
    assert numbers["money_usd"]["committed"] == pytest.approx(0.06)


def test_a_quiet_run_that_needs_nobody_says_nothing(run: Command, write: Write) -> None:
    outcome = run(write("list.csv", table(many(2))), "--quiet")

    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


def test_a_quiet_run_says_what_needs_a_person(run: Command, write: Write) -> None:
    outcome = run(write("list.csv", table({"heron": "a heron [[422]]"})), "--quiet")

    assert outcome.code == 1
    assert "1 failed" in outcome.stderr


# The same command again


def test_a_run_over_a_batch_that_is_saved_sends_nothing(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(3)))
    run(manifest)

    assert run(manifest).code == 0
    assert sandbox.posts == 3
    assert has_all_saved(folder, 3)


def test_a_folder_that_was_moved_still_resumes(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(2)))
    run(manifest)
    elsewhere = folder.parent / "elsewhere"
    folder.rename(elsewhere)

    assert run(manifest, "--out", elsewhere).code == 0
    assert sandbox.posts == 2


def test_a_changed_row_is_a_new_request_and_the_old_picture_stays(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron", "fox": "a fox"})))
    before = (folder / "images" / "heron.png").read_bytes()

    assert run(write("list.csv", table({"heron": "a grey heron", "fox": "a fox"}))).code == 0
    assert sandbox.posts == 3
    assert media(folder) == ["images/fox.png", "images/heron.2.png", "images/heron.png"]
    assert (folder / "images" / "heron.png").read_bytes() == before
    assert (folder / "images" / "heron.2.png").read_bytes() != before


def test_a_row_that_was_taken_out_before_it_was_sent_is_not_sent(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", table({"heron": "a heron", "fox": "a fox"})), "--limit", 1)

    assert run(write("list.csv", table({"heron": "a heron"}))).code == 0
    assert sandbox.posts == 1
    assert states(folder) == {"heron": "saved"}


def test_a_row_that_was_taken_out_after_it_was_sent_is_still_collected(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
) -> None:
    manifest = write("list.csv", table({"heron": "a heron", "fox": "a fox"}))
    first = run(manifest, timing=NEVER_ASKING)
    assert (first.code, tally(folder)) == (75, {"submitted": 2})

    assert run(write("list.csv", table({"heron": "a heron"}))).code == 0
    assert sandbox.posts == 2
    assert states(folder) == {"heron": "saved", "fox": "saved"}


def test_requests_that_never_end_do_not_hold_a_run_for_ever(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    """It waited for one of their places, although nothing asked about them any more."""
    sandbox.set(seconds=100_000)
    manifest = write("list.csv", table(many(3)))
    found = run(manifest, "--concurrency", 2, timing=Timing(max_polling=60))

    assert (found.code, tally(folder)) == (75, {"submitted": 2, "pending": 1})
    assert "2 requests have not ended in an hour of asking" in found.stderr


def test_reordering_sends_nothing(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    rows = many(5)
    run(write("list.csv", table(rows)))

    assert run(write("list.csv", table(dict(reversed(rows.items()))))).code == 0
    assert sandbox.posts == 5
    assert [*states(folder)] == [*reversed(rows)]


def test_equal_rows_without_an_id_are_told_apart_by_counting(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.txt", "a heron\n" * 3))
    assert sandbox.posts == 3

    run(write("list.txt", "a heron\n" * 4))
    assert sandbox.posts == 4

    run(write("list.txt", "a heron\n" * 2))
    assert sandbox.posts == 4
    assert has_all_saved(folder, 4)


class ClockOfAnEditor(PretendClock):
    """Writes something else into a file whenever a run waits."""

    def __init__(self) -> None:
        super().__init__()
        self.file: Path | None = None

    async def sleep(self, seconds: float) -> None:
        if self.file:
            self.file.write_text("not,a\nmanifest,any more\n")
        await super().sleep(seconds)


@pytest.fixture
def clock() -> ClockOfAnEditor:
    return ClockOfAnEditor()


def test_a_change_of_the_file_during_the_run_changes_nothing_of_that_run(
    run: Command, here: Path, folder: Path, write: Write, clock: ClockOfAnEditor
) -> None:
    clock.file = here / write("list.csv", table(many(2)))

    assert run("list.csv", "--concurrency", 1).code == 0
    assert "any more" in clock.file.read_text()
    assert has_all_saved(folder, 2)


def test_failed_rows_wait_until_a_person_wants_them_sent_again(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", value="the model was tired")
    manifest = write("list.csv", table({"heron": "a heron"}))

    assert run(manifest).code == 1
    assert run(manifest).code == 1
    assert sandbox.posts == 1

    assert run(manifest, "--retry-failed").code == 0
    assert sandbox.posts == 2
    assert states(folder) == {"heron": "saved"}
    assert json.loads((folder / "summary.json").read_text())["money_usd"]["committed"] == 0.06


def test_an_unknown_row_is_sent_again_when_a_person_says_so(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost")
    manifest = write("list.csv", table({"heron": "a heron"}))
    run(manifest)
    assert states(folder) == {"heron": "unknown"}

    assert run(manifest, "--on-unknown", "resubmit").code == 0
    assert states(folder) == {"heron": "saved"}
    assert [*sandbox.billed_per_input().values()] == [2]


# What is wrong with a manifest


def test_duplicate_ids_name_both_lines_and_nothing_is_sent(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    outcome = run(write("list.csv", "id,prompt\nheron,one\nfox,two\nheron,three\n"))

    assert outcome.code == 65
    assert "list.csv:4" in outcome.stderr
    assert "list.csv:2" in outcome.stderr
    assert "Nothing was sent." in outcome.stderr
    assert sandbox.posts == 0
    assert not folder.exists()


def test_all_problems_of_a_manifest_are_shown_at_once(run: Command, write: Write) -> None:
    outcome = run(write("list.csv", "prompt,seed,style\na,12a,anime\nb,1,cubist\n"))

    assert outcome.code == 65
    assert "list.csv:2" in outcome.stderr
    assert "list.csv:3" in outcome.stderr
    assert "2 problems in list.csv. Nothing was sent." in outcome.stderr


def test_invalid_rows_can_be_skipped_and_are_in_the_report(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", "id,prompt,style\nheron,a heron,anime\nfox,a fox,cubist\n")
    outcome = run(manifest, "--skip-invalid")

    assert outcome.code == 1
    assert sandbox.posts == 1
    assert states(folder) == {"heron": "saved", "fox": "invalid"}
    shown = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert (shown[1]["id"], shown[1]["state"]) == ("fox", "invalid")
    assert "cubist" in shown[1]["error"]


def test_an_invalid_row_that_was_mended_is_sent(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    run(write("list.csv", "id,prompt,style\nfox,a fox,cubist\n"), "--skip-invalid")

    assert run(write("list.csv", "id,prompt,style\nfox,a fox,anime\n")).code == 0
    assert states(folder) == {"fox": "saved"}
    assert sandbox.posts == 1


# Limits


@pytest.mark.parametrize("place", ["option", "list"])
def test_a_limit_that_no_database_can_count_to_is_none(
    run: Command, write: Write, sandbox: Control, place: str
) -> None:
    huge = "9" * 20
    rows = "rows: [{prompt: a heron}]\n"
    if place == "list":
        outcome = run(write("list.yaml", f"limit: {huge}\n{rows}"))
    else:
        outcome = run(write("list.yaml", rows), "--limit", huge)

    assert (outcome.code, sandbox.posts) == (0, 1)


def test_a_limit_of_submissions_holds_and_the_next_run_goes_on(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(5)))
    outcome = run(manifest, "--limit", 2)

    assert outcome.code == 75
    assert tally(folder) == {"saved": 2, "pending": 3}
    assert sandbox.posts == 2
    assert run(manifest).code == 0
    assert sandbox.posts == 5


def test_a_refused_row_counts_as_a_submission_and_a_throttled_one_does_not(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("429", match="number 1")
    sandbox.fault("422", match="number 2")
    run(write("list.csv", table(many(5))), "--limit", 3)

    assert tally(folder) == {"saved": 2, "failed": 1, "pending": 2}


def test_the_cost_never_passes_its_limit(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(10)))
    outcome = run(manifest, "--max-cost", 0.10)

    assert outcome.code == 75
    assert "$0.10" in outcome.stderr
    assert sandbox.accepted == 3
    assert sandbox.billed_usd <= 0.10
    assert run(manifest, "--max-cost", 0.10).code == 75
    assert sandbox.accepted == 3
    assert run(manifest, "--max-cost", 0.30).code == 0
    assert has_all_saved(folder, 10)


def test_a_request_that_may_have_been_billed_counts_toward_the_limit_of_cost(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("lost", match="number 2")
    run(write("list.csv", table(many(5))), "--max-cost", 0.09)

    assert tally(folder) == {"saved": 2, "unknown": 1, "pending": 2}


def test_a_limit_of_cost_without_a_price_sends_nothing(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("404", times=None, on="model")
    outcome = run(write("list.csv", table(many(2))), "--max-cost", 1)

    assert outcome.code == 2
    assert "price:" in outcome.stderr
    assert sandbox.posts == 0


def test_a_price_in_the_manifest_takes_the_place_of_the_catalogues(
    run: Command, sandbox: Control, write: Write
) -> None:
    sandbox.fault("404", times=None, on="model")
    sandbox.fault("no-cost", times=None)
    rows = "price: 0.06\nmax_cost: 0.15\nrows: [one, two, three]\n"

    assert run(write("list.yaml", rows)).code == 75
    assert sandbox.accepted == 2


def test_an_unknown_price_is_said_out_loud(run: Command, folder: Path, sandbox: Control,
                                           write: Write) -> None:  # fmt: skip
    sandbox.fault("404", times=None, on="model")
    sandbox.fault("no-cost", times=None)
    outcome = run(write("list.csv", table(many(2))))

    assert outcome.code == 0
    assert "no price is known before billing" in outcome.stderr
    assert "not counted: 2 requests without a known price" in outcome.stderr


def test_after_the_time_limit_nothing_is_submitted_and_what_is_in_flight_is_collected(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    # The pretend clock jumps to the end of every wait, here the one for the only place.
    outcome = run(write("list.csv", table(many(3))), "--concurrency", 1, "--max-time", "1h")

    assert outcome.code == 75
    assert tally(folder) == {"saved": 1, "pending": 2}
    assert sandbox.posts == 1


# Lists and models as they are found


def test_rows_of_geneval_are_sent_without_what_is_no_input(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    lines = public("geneval/evaluation_metadata.jsonl").splitlines(keepends=True)[::30]
    outcome = run(write("list.jsonl", "".join(lines)), "--meta", "*")

    assert outcome.code == 0
    assert has_all_saved(folder, len(lines))
    assert {tuple(json.loads(row["input"])) for row in sandbox.ledger()} == {("prompt",)}
    (first,) = query(folder, "SELECT meta FROM requests WHERE position = 1")
    assert set(json.loads(first[0])) >= {"tag", "include"}


def test_a_text_with_crlf_and_no_last_newline_is_sent_line_by_line(
    run: Command, sandbox: Control, write: Write
) -> None:
    lines = public("t2i-compbench/color_val.txt").split("\r\n")[-12:]
    assert run(write("list.txt", "\r\n".join(lines))).code == 0

    sent = [json.loads(row["input"])["prompt"] for row in sandbox.ledger()]
    assert sorted(sent) == sorted(lines)


def test_rows_of_partiprompts_are_sent_exactly(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    head, *lines = public("parti/PartiPrompts.tsv").splitlines(keepends=True)
    odd = [line for line in lines if line[0] == '"' or line.split("\t")[0].strip().isdecimal()]
    chosen = odd + [line for line in lines if line not in odd][:: len(lines) // 14][: 20 - len(odd)]
    manifest = write("list.tsv", head + "".join(chosen))
    outcome = run(manifest, "--column", "prompt=Prompt", "--meta", "*")

    assert outcome.code == 0
    assert len(odd) == 5
    sent = [json.loads(row["input"])["prompt"] for row in sandbox.ledger()]
    assert sorted(sent) == sorted(line.split("\t")[0] for line in chosen)
    assert has_all_saved(folder, 20)


def public(name: str) -> str:
    path = SHARED / "data" / "prompts" / name
    if not path.is_file():
        pytest.skip("the public prompt lists are not beside this checkout")
    return path.read_bytes().decode()


def test_several_outputs_of_a_row_are_all_saved(
    run: Command, folder: Path, sandbox: Control, write: Write, schemas: dict[str, Path]
) -> None:
    rows = "id,prompt,num_images\nheron,a heron,3\nfox,a fox,1\n"
    outcome = run(write("list.csv", rows), "--model", SERIES, "--schema", schemas[SERIES])

    assert outcome.code == 0
    assert sandbox.posts == 2
    assert media(folder) == [f"images/{n}.png" for n in ("fox", "heron-2", "heron-3", "heron")]
    files = query(folder, "SELECT n, path FROM outputs WHERE path LIKE '%heron%' ORDER BY n")
    assert files == [(1, "images/heron.png"), (2, "images/heron-2.png"), (3, "images/heron-3.png")]


def test_videos_and_sounds_go_into_folders_of_their_own(
    run: Command, folder: Path, write: Write
) -> None:
    rows = [
        {"id": "heron", "model": CLIPS, "prompt": "a heron takes off"},
        {"id": "rain", "model": TUNES, "tags": "rain, slow"},
    ]
    assert run(write("list.json", json.dumps(rows))).code == 0
    assert media(folder) == ["audio/rain.wav", "videos/heron.mp4"]


def test_a_fetched_schema_is_kept_in_the_batch(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(1)))
    run(manifest, "--model", BRUSH)
    sandbox.fault("500", times=None, on="model")

    assert run(manifest, "--model", BRUSH).code == 0
    kept = json.loads((folder / "schemas" / f"{BRUSH}.json").read_text())
    assert kept["model_id"] == BRUSH
    assert kept["fetched_at"]


def test_a_model_without_a_schema_is_an_error_and_nothing_is_sent(
    run: Command, sandbox: Control, write: Write
) -> None:
    outcome = run(write("list.csv", table(many(1))), "--model", "nobody/knows/this")

    assert outcome.code == 2
    assert "There is no schema for nobody/knows/this" in outcome.stderr
    assert sandbox.posts == 0


# One model's trouble


def two_models(broken: int, fine: int) -> str:
    """Rows of both models in turn; the default model's carry the word `broken`."""
    lines = ["model,prompt"]
    for n in range(max(broken, fine)):
        lines += [f",broken {n}"] if n < broken else []
        lines += [f"{BRUSH},fine {n}"] if n < fine else []
    return "\n".join(lines)


def test_ten_refusals_alike_stop_their_model_and_no_other(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", times=None, match="broken")
    outcome = run(write("list.csv", two_models(broken=15, fine=12)))

    found = query(folder, "SELECT model, state, COUNT(*) FROM requests GROUP BY 1, 2 ORDER BY 1, 2")
    assert [(state, count) for _, state, count in found] == [
        ("saved", 12),
        ("failed", 10),
        ("pending", 5),
    ]
    assert outcome.code == 75
    assert "10 rows in a row failed" in outcome.stderr


def test_the_rows_of_a_stopped_model_are_tried_again_by_the_next_run(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("422", times=10)
    manifest = write("list.csv", table(many(12)))
    assert run(manifest).code == 75

    assert run(manifest).code == 1
    assert tally(folder) == {"failed": 10, "saved": 2}
    assert sandbox.posts == 12


def test_ten_failed_requests_alike_stop_their_model(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("failed", times=None, value="the same every time")
    outcome = run(write("list.csv", table(many(14))), "--concurrency", 1)

    assert outcome.code == 75
    assert tally(folder) == {"failed": 10, "pending": 4}


def test_the_first_row_of_each_model_goes_alone(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    # Whatever had been sent beside them would have met the empty balance, too.
    sandbox.fault("balance", times=None)
    outcome = run(write("list.csv", two_models(broken=9, fine=9)))

    assert outcome.code == 75
    assert sandbox.posts <= 2
    assert tally(folder) == {"pending": 18}


# Who may use a folder


def until(stream: Iterable[str], words: str) -> None:
    """Read a running command's lines up to the one that says this."""
    assert any(words in line for line in stream)


def test_a_folder_is_private_whatever_the_umask_and_of_two_runs_at_once_the_second_leaves(
    start: Callable[..., Popen[str]], run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=1000)
    first = start(write("list.csv", table(many(1))), "-v", umask=0)
    until(first.stderr, "accepted as")

    books = ("batch.db", "batch.db-wal", "batch.db-shm", "batchgen.log", "receipts.log")
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in books}
    assert modes == dict.fromkeys(books, 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    second = run(write("list.csv", table(many(3))))
    assert second.code == 75
    assert f"process {first.pid} " in second.stderr
    assert sandbox.posts == 1
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 143
    assert states(folder) == {"row-1": "submitted"}


def test_what_an_earlier_run_submitted_is_asked_about_at_once(
    run: Command, folder: Path, write: Write, clock: PretendClock
) -> None:
    manifest = write("list.csv", table(many(1)))
    run(manifest)
    change(folder, "DELETE FROM outputs")
    long_ago = "submitted_at = '2026-01-01T00:00:00.000Z'"
    change(folder, f"UPDATE requests SET state = 'submitted', {long_ago}")
    before = clock.ahead

    assert run(manifest).code == 0
    assert states(folder) == {"row-1": "saved"}
    assert clock.ahead - before < 1.0  # seconds


def test_a_rehearsal_does_not_mix_with_real_requests(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(1)))
    run(manifest)
    before = media(folder)

    outcome = batchgen("run", manifest, "--out", folder, "--sandbox")
    assert outcome.code == 2
    assert "real requests" in outcome.stderr
    assert media(folder) == before


@PATIENT
def test_a_rehearsal_needs_no_token_goes_on_where_it_was_and_real_requests_do_not_mix_with_it(
    run: Command,
    batchgen: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = write("list.csv", table(many(2)))
    with monkeypatch.context() as without:
        without.delenv("RUNCOMFY_TOKEN")
        assert batchgen("run", manifest, "--out", folder, "--sandbox", "--limit", 1).code == 75
        assert batchgen("run", manifest, "--out", folder, "--sandbox").code == 0
    assert has_all_saved(folder, 2)
    ((attempts,),) = query(folder, "SELECT SUM(attempts) FROM requests")
    assert attempts == 2

    outcome = run(write("list.csv", table(many(3))))
    assert outcome.code == 2
    assert "rehearsal" in outcome.stderr
    assert sandbox.posts == 0


# What others may see


def test_the_token_is_in_no_file_and_no_stream_and_goes_to_no_other_origin(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("media-redirect", match="number 1")
    sandbox.fault("lost", match="number 2")
    sandbox.fault("307", match="number 3")
    sandbox.fault("failed", match="number 4")
    manifest = write("list.csv", table(many(6)))
    outcomes = [run(manifest, "-v"), run(manifest, "-v")]

    written = [path for path in folder.rglob("*") if path.is_file()]
    assert folder / "batchgen.log" in written
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
    assert not any(TOKEN in outcome.stdout + outcome.stderr for outcome in outcomes)
    assert sandbox.counts()["media"] > 0
    assert sandbox.counts()["media_with_token"] == 0


# Where there is no terminal, no locale, no environment


def test_an_empty_environment_and_an_ascii_locale_change_no_text(
    start: Callable[..., Popen[str]], folder: Path, sandbox: Control, write: Write
) -> None:
    bare = {"RUNCOMFY_TOKEN": TOKEN, "LANG": "C"}
    prompt = "ein Fuchs über dem Eis, 狐"
    child = start(write("list.csv", table({"füchse-狐": prompt})), "-v", env=bare)
    _, said = child.communicate()

    assert child.returncode == 0
    assert "füchse-狐" in said
    assert media(folder) == ["images/füchse-狐.png"]
    assert json.loads(sandbox.ledger()[0]["input"])["prompt"] == prompt
    assert prompt in (folder / "results.jsonl").read_text(encoding="utf-8")
    assert prompt in (folder / "report" / "data" / "rows-1.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", ">&- 2>&- <&-"])
def test_a_run_whose_streams_are_closed_goes_on(
    start: Callable[..., Popen[str]], folder: Path, write: Write, closed: str
) -> None:
    child = start(write("list.csv", table(many(2))), "--json", closing=closed)

    assert child.wait() == 0
    assert has_all_saved(folder, 2)


def test_without_a_home_a_run_goes_on_and_says_what_it_cannot_share(
    run: Command, folder: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for a user id without an account, which containers run under.
    monkeypatch.setenv("HOME", "")
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "RUNCOMFY_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)

    run(write("list.csv", table(many(2))), "--limit", 1)
    outcome = run("list.csv")
    assert outcome.code == 0
    assert "There is no home folder, so the rate is not shared" in outcome.stderr
    assert has_all_saved(folder, 2)

    monkeypatch.delenv("RUNCOMFY_TOKEN")
    outcome = run("list.csv")
    assert outcome.code == 77
    assert "there is no home folder with a token file" in outcome.stderr


LATIN_1 = b"Gr\xfc\xdfe".decode(errors="surrogateescape")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes UTF-8 names only")
def test_a_list_whose_name_is_not_utf_8_is_run_and_every_command_knows_it(
    by_thread: Command, reach: list[str], here: Path
) -> None:
    manifest = f"{LATIN_1}.csv"
    (here / manifest).write_text(table({"heron": "a heron"}))

    assert by_thread("run", manifest, *reach).code == 0
    assert states(here / "out" / LATIN_1) == {"heron": "saved"}
    ((source,),) = query(here / "out" / LATIN_1, "SELECT source FROM requests")
    assert source == r"Gr\xfc\xdfe.csv:2"
    for command in ("validate", "plan", "status", "resolve", "verify", "cancel", "report"):
        assert by_thread(command, manifest).code == 0, command


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes UTF-8 names only")
def test_a_prompt_file_whose_name_is_not_utf_8_is_named_and_can_be_skipped(
    by_thread: Command, reach: list[str], here: Path
) -> None:
    (here / "texts").mkdir()
    (here / "texts" / "fox.txt").write_text("a fox")
    (here / "texts" / f"{LATIN_1}.txt").write_text("a heron")

    refused = by_thread("validate", "texts")
    assert refused.code == 65
    assert r"texts/Gr\xfc\xdfe.txt: its name is not UTF-8" in refused.stderr
    by_thread("run", "texts", "--skip-invalid", *reach)
    assert states(here / "out" / "texts")["fox"] == "saved"


def test_reasons_that_differ_in_ids_only_are_one_cause_to_see_and_to_retry(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    for n in (1, 2):
        sandbox.fault(
            "failed", match=f"number {n}", value=f"no memory on 10.0.0.{n} for job-{n}a77"
        )
    said = run(write("list.csv", table(many(3)))).stderr
    assert "2 failed: no memory on 10.0.0." in said

    (cause,) = json.loads((folder / "summary.json").read_text())["causes"]
    assert cause["rows"] == 2
    assert batchgen("retry", folder, "--cause", cause["cause"]).stdout.startswith("2 rows queued")


def test_a_report_that_could_not_be_written_is_not_named(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(2)))
    assert "report/index.html" in run(manifest, "--limit", 1).stderr
    (folder / "report" / "index.html").unlink()
    (folder / "report" / "index.html" / "in the way").mkdir(parents=True)

    ended = run(manifest)
    assert ended.code == 75
    assert "Its reports could not be written." in ended.stderr
    assert "index.html" not in ended.stderr


def test_a_cancelled_row_has_a_command_that_queues_it_again(
    run: Command, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.fault("canceled")
    ended = run(write("list.csv", table(many(1))))
    assert ended.code == 1

    command = f"batchgen retry {folder} --state cancelled"
    assert (
        f"To queue the cancelled rows again (the next run pays for them again):\n  {command}"
        in (ended.stderr)
    )
    assert (
        f"0 rows queued again.\nTo queue 1 cancelled row: {command}\n"
        in batchgen("retry", folder).stdout
    )
    assert "1 row queued again." in batchgen("retry", folder, "--state", "cancelled").stdout


@pytest.mark.parametrize("out", ["/dev/null", "list.csv"])
def test_what_is_no_folder_is_named_so(
    batchgen: Command, reach: list[str], sandbox: Control, write: Write, out: str
) -> None:
    manifest = write("list.csv", table(many(1)))
    for words in (["run", manifest], ["doctor", manifest, "--"]):
        ended = batchgen(*words, "--out", out, *reach)
        assert ended.code == (2 if words[0] == "run" else 1)
        assert f"{out} is no folder" in ended.stdout + ended.stderr
        assert "chmod" not in ended.stdout + ended.stderr
    assert sandbox.posts == 0
