"""`doctor` against a real service, a real folder and what can be wrong with each."""

import fcntl
import json
import os
import socket
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from helpers import many, table

from batchgen.core.timing import DEFAULT_TIMING
from batchgen.doctor.examine import impatient
from batchgen.journal.receipts import count_receipts


@pytest.fixture
def examine(batchgen, reach):
    """What doctor says of a list against the sandbox: exit code, and findings by their check."""

    def examine_it(*words, options=()):
        outcome = batchgen("doctor", *words, "--json", "--", *reach, *options)
        assert outcome.stderr == ""
        found = json.loads(outcome.stdout)
        assert found["exit_code"] == outcome.code
        return outcome.code, {one["check"]: one for one in found["findings"]}

    return examine_it


@pytest.fixture
def manifest(write):
    return write("list.csv", table(many(2)))


def statuses(findings):
    return {check: one["status"] for check, one in findings.items()}


@contextmanager
def serving(answer):
    """A server on this computer whose answers `answer(handler)` writes; yields its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def answering(content, date):
    def answer(handler):
        body = json.dumps(content).encode()
        handler.send_response_only(200)
        handler.send_header("Date", date)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_before_a_good_night_everything_is_in_order_and_nothing_is_made(
    examine, manifest, sandbox, here
):
    code, found = examine(manifest, options=["--max-cost", "5"])

    assert code == 0
    assert {check for check, status in statuses(found).items() if status != "ok"} == set()
    assert list(found) == [
        *("settings", "token", "network", "service", "clock", "folder", "lock", "journal"),
        *("receipts", "list", "price", "limit", "space", "disk", "balance", "schedule"),
    ]
    assert found["token"]["said"] == "that of RUNCOMFY_TOKEN is accepted"
    assert found["list"]["said"] == "2 rows; a run would send 2 requests"
    assert found["price"]["said"] == "ideogram/ideogram-v2/generate: $0.03 for an output"
    assert found["balance"]["said"] == "$1,000.00; tonight costs about $0.06"
    assert sandbox.posts == 0
    assert not (here / "out").exists()


def test_it_is_read_without_colours_one_line_each(batchgen, manifest, reach):
    outcome = batchgen("doctor", manifest, "--", *reach)

    *lines, _ = outcome.stdout.splitlines()
    assert "ok    token     that of RUNCOMFY_TOKEN is accepted" in lines
    assert "warn  limit     no limit of cost" in lines
    assert lines[lines.index("warn  limit     no limit of cost") + 1].startswith(" " * 16)
    assert outcome.stdout.splitlines()[-1] == "0 failed, 1 to look at. Nothing was sent."
    quiet = batchgen("-q", "doctor", manifest, "--", *reach).stdout.splitlines()
    assert [line[:4] for line in quiet] == ["warn", "    "]


def test_who_will_be_told_is_said_without_what_is_secret(examine, manifest, monkeypatch, sandbox):
    monkeypatch.setenv("BATCHGEN_PING", "https://hc-ping.com/5bf66975-d4c7")

    code, found = examine(manifest, options=["--max-cost", "5", "--on-finish", "true"])

    assert (code, found["told"]["status"]) == (0, "ok")
    assert found["told"]["said"] == "a monitor at hc-ping.com, a command of yours"


def test_an_address_that_would_stop_the_night_is_found_in_the_evening(examine, manifest):
    code, found = examine(manifest, options=["--notify", "nosuch://secret-0123456789"])

    assert (code, found["told"]["status"]) == (1, "fail")
    assert "secret" not in json.dumps(found)


def test_what_a_list_that_is_not_trusted_says_of_others_is_to_look_at(examine, write):
    code, found = examine(write("list.yaml", "on_finish: ./publish.sh\nrows: [a heron]\n"))

    assert (code, found["told"]["status"]) == (0, "warn")
    assert found["told"]["said"].startswith("on_finish of the list will not be obeyed")


def test_without_a_list_what_needs_none_is_looked_at(batchgen, reach, monkeypatch):
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", reach[1])
    outcome = batchgen("doctor", "--json")

    found = {one["check"] for one in json.loads(outcome.stdout)["findings"]}
    assert outcome.code == 0
    assert found == {*("settings", "token", "network", "service", "clock", "balance", "schedule")}


def test_no_byte_of_a_batch_is_changed(examine, run, manifest, folder):
    run(manifest)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files_in(folder)}

    code, found = examine(manifest, options=["--out", folder, "--max-cost", "5"])
    assert code == 0
    assert found["journal"]["said"] == "whole; 2 saved of 2 rows"
    assert found["receipts"]["said"] == "2 receipts can be read"
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files_in(folder)} == before


def files_in(folder):
    """All but what SQLite makes itself to read with: memory to share, and an empty log."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return sorted(path for path in found if path.name != "batch.db-shm")


def test_the_room_is_reckoned_by_the_sizes_so_far(examine, run, write, folder):
    run(write("list.csv", table(many(2))))
    size = sum(path.stat().st_size for path in (folder / "images").iterdir())
    write("list.csv", table(many(50)))

    _, found = examine("list.csv", options=["--out", folder])
    need = size / 2 * 48 * 1.1 + (64 << 20)
    assert f"48 rows need about {need / 1e6:.0f} MB, by the sizes so far" in found["space"]["said"]


# -- the token -------------------------------------------------------------------------------------


def test_without_a_token_all_that_needs_none_is_still_told(examine, manifest, monkeypatch):
    monkeypatch.delenv("RUNCOMFY_TOKEN")

    code, found = examine(manifest)
    assert code == 77
    assert found["token"]["status"] == "fail"
    assert "batchgen login" in found["token"]["remedy"]
    assert found["folder"]["status"] == "ok"
    assert found["list"]["said"] == "2 rows; a run would send 2 requests"


def test_a_token_that_is_refused_is_told_and_where_it_stands(examine, manifest, monkeypatch):
    monkeypatch.setenv("RUNCOMFY_TOKEN", "refused")

    code, found = examine(manifest)
    assert (code, found["token"]["said"]) == (77, "that of RUNCOMFY_TOKEN was refused")
    assert found["service"]["status"] == "ok"


def test_a_stored_token_that_others_can_read_is_told_with_the_command(
    batchgen, examine, manifest, monkeypatch
):
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen" / "token"
    path.parent.mkdir(mode=0o700)
    path.write_text("sk-0123456789\n")
    path.chmod(0o644)
    monkeypatch.delenv("RUNCOMFY_TOKEN")

    code, found = examine(manifest)
    assert code == 77
    assert f"chmod 600 {path}" in found["token"]["remedy"]
    path.chmod(0o600)
    code, found = examine(manifest)
    assert found["token"]["said"] == f"that of {path} is accepted"


# -- the service -----------------------------------------------------------------------------------


def test_a_service_that_cannot_be_reached_is_69(examine, manifest):
    code, found = examine(manifest, options=["--base-url", "http://127.0.0.1:9/v1"])

    assert code == 69
    assert found["service"]["status"] == "fail"
    assert "127.0.0.1 cannot be reached" in found["service"]["said"]
    assert found["folder"]["status"] == "ok"


@pytest.mark.timing(query_read=0.2, query_pool=0.2)
def test_a_service_that_takes_a_question_and_never_answers_is_not_waited_for(examine, manifest):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        code, found = examine(manifest, options=["--base-url", base])

    assert (code, found["service"]["status"]) == (69, "fail")


def test_a_person_waits_ten_seconds_for_an_answer_where_a_run_waits_longer():
    found = impatient(DEFAULT_TIMING)

    assert (found.query_read, found.query_pool) == (10.0, 10.0)
    assert impatient(replace(DEFAULT_TIMING, query_read=0.5)).query_read == 0.5


def test_a_proxy_that_refuses_is_told_as_a_proxy(examine, manifest, monkeypatch):
    def refuse(handler):
        handler.send_error(403)

    with serving(refuse) as base:
        proxy = base.removesuffix("/v1").replace("//", "//mo:secret-word@")
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        code, found = examine(manifest, options=["--base-url", "https://api.invalid/v1"])

    assert code == 69
    assert "HTTPS_PROXY" in found["service"]["remedy"]
    assert "through the proxy http://[hidden]@127.0.0.1" in found["network"]["said"]


def test_certificates_that_cannot_be_read_are_told(examine, manifest, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    code, found = examine(manifest, options=["--base-url", "https://api.invalid/v1"])

    assert code == 69
    assert found["service"]["status"] == "fail"


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_off_is_seen_by_the_date_of_an_answer(examine, manifest, hours):
    there = format_datetime(datetime.now(UTC) - timedelta(hours=hours), usegmt=True)
    with serving(answering({"balance_usd": 5.0}, there)) as base:
        code, found = examine(manifest, options=["--base-url", base])

    way = "ahead of" if hours > 0 else "behind"
    assert code == 1
    assert found["clock"]["said"] == f"2 hours {way} the service's"


@pytest.mark.parametrize("date", ["yesterday", "Thu, 99 Nov 9999 99:99:99 GMT", ""])
def test_a_date_that_is_none_says_nothing_of_the_clock(examine, manifest, date):
    with serving(answering({"balance_usd": 5.0}, date)) as base:
        _, found = examine(manifest, options=["--base-url", base])

    assert found["clock"]["said"] == "no answer had a date to compare it with"


def test_a_balance_that_does_not_last_is_told_before_the_night(examine, manifest, sandbox):
    sandbox.set(balance=0.05)

    code, found = examine(manifest)
    assert (code, found["balance"]["said"]) == (1, "$0.05; tonight costs about $0.06")


# -- the batch -------------------------------------------------------------------------------------


def test_a_batch_that_a_run_holds_is_told(examine, run, manifest, folder):
    run(manifest)
    with (folder / ".lock").open("r+b") as lock:
        lock.write(b"process 4711 on there\nrunning\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, found = examine(manifest, options=["--out", folder])

    assert code == 0
    assert found["lock"]["status"] == "warn"
    assert "process 4711" in found["lock"]["said"]


def test_a_damaged_journal_is_told_and_the_rest_is_looked_at(examine, run, manifest, folder):
    run(manifest)
    with (folder / "batch.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)

    code, found = examine(manifest, options=["--out", folder])
    assert (code, found["journal"]["status"]) == (1, "fail")
    assert found["journal"]["remedy"]
    assert found["space"]["status"] == "ok"


def test_receipts_that_cannot_be_read_are_counted(run, examine, manifest, folder):
    run(manifest)
    path = folder / "receipts.log"
    lines = path.read_bytes().strip(b"\0").splitlines(keepends=True)
    path.write_bytes(b"".join(line.replace(b"Z ", b"Y ") for line in lines) + lines[0])

    assert count_receipts(path) == (1, 2)
    _, found = examine(manifest, options=["--out", folder])
    assert found["receipts"]["said"] == "2 of 3 cannot be read"


def test_a_folder_that_cannot_be_written_is_told(examine, manifest, here):
    if os.geteuid() == 0:
        pytest.skip("root can write anywhere")
    (here / "closed").mkdir(mode=0o500)

    code, found = examine(manifest, options=["--out", here / "closed" / "list"])
    assert (code, found["folder"]["said"]) == (1, f"{here / 'closed'} cannot be written")


def test_a_folder_that_others_can_write_to_is_told_as_a_run_would(examine, run, manifest, folder):
    run(manifest)
    folder.chmod(0o777)

    code, found = examine(manifest, options=["--out", folder])
    assert (code, found["folder"]["status"]) == (1, "fail")
    assert f"chmod go-w {folder}" in found["folder"]["remedy"]


def test_a_folder_of_a_rehearsal_is_none_for_a_real_run(examine, run, manifest, folder):
    run(manifest)
    with closing(sqlite3.connect(folder / "batch.db")) as journal, journal:
        journal.execute("INSERT OR REPLACE INTO memory VALUES ('sandbox', 'true')")

    code, found = examine(manifest, options=["--out", folder])
    assert (code, found["journal"]["status"]) == (1, "fail")
    assert "holds a rehearsal" in found["journal"]["said"]


def test_a_list_with_problems_is_told_with_the_command_that_shows_them(examine, write):
    manifest = write("list.csv", "id,prompt,seed\n1,a heron,x\n2,a fox,y\n")

    code, found = examine(manifest)
    assert (code, found["list"]["said"]) == (1, "2 problems in list.csv")
    assert found["list"]["remedy"] == "batchgen validate list.csv"


def test_a_limit_that_stops_the_night_is_told(examine, manifest):
    _, found = examine(manifest, options=["--max-cost", "0.05"])

    assert found["limit"]["status"] == "warn"
    assert found["limit"]["said"] == "--max-cost leaves $0.05; tonight costs about $0.06"


def test_a_limit_that_is_kept_for_later_runs_counts(examine, run, batchgen, manifest, folder):
    run(manifest, "--limit", 1)
    batchgen("set", folder, "max-cost=0.05", "--keep")

    _, found = examine(manifest, options=["--out", folder, "--max-cost", "5"])
    said = "max-cost of batchgen set leaves $0.02; tonight costs about $0.03"
    assert (found["limit"]["status"], found["limit"]["said"]) == ("warn", said)


def test_a_pipe_as_a_list_is_not_waited_for(batchgen, here):
    os.mkfifo("list.csv")
    outcome = batchgen("doctor", "list.csv", "--json")

    assert outcome.code == 2
    assert "list.csv is a pipe or a device, and cannot be read at night." in outcome.stderr


def test_a_list_that_is_not_there_is_2(batchgen, here):
    for words in (["nowhere.csv"], ["-"], ["nowhere.csv", "--as-scheduled"], ["--as-scheduled"]):
        assert batchgen("doctor", *words).code == 2


def test_a_configuration_with_a_problem_comes_first(batchgen, manifest, own):
    own("rat = 1\n")

    outcome = batchgen("doctor", manifest, "--json")
    ((found),) = json.loads(outcome.stdout)["findings"]
    assert (outcome.code, found["check"], found["status"]) == (1, "settings", "fail")
    assert "Did you mean rate?" in found["remedy"]
