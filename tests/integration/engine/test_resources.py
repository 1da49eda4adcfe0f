"""Short of descriptors, of memory, or buried in data: nothing is paid twice, and the next run ends.

The limits are the system's own, set on the real program in a process of its own.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import Command, Write
from helpers import PATIENT, error_of, many, media, query, states, table, tally
from PIL import Image
from sandbox_client import Control

from batchgen.media.download import DEFAULT_LIMITS
from batchgen.sandbox import Address

resource = pytest.importorskip("resource", reason="limits of a process are Unix's")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="prlimit and /proc, to limit and weigh a child, are Linux's"
)

MIB = 1 << 20
GO_ON = 75
BIG_ROWS = int(os.environ.get("BATCHGEN_BIG_ROWS", "1500"))
Start = Callable[..., "Popen[str]"]


def until(child: "Popen[str]", words: str) -> None:
    """Read what the child says until it says `words`."""
    assert child.stderr is not None
    said = ""
    for line in child.stderr:
        said += line
        if words in line:
            return
    raise AssertionError(said)


def ended(child: "Popen[str]") -> tuple[int, str]:
    """Its exit code, and what it said since."""
    _, said = child.communicate(timeout=120)
    assert "Traceback" not in said
    return child.returncode, said


def check_the_books(folder: Path, sandbox: Control) -> None:
    """No input was paid for twice, and each request is in the journal, or held as unknown."""
    billed = sandbox.billed_per_input()
    assert {*billed.values()} <= {1}
    found = query(folder, "SELECT request_id FROM requests WHERE request_id NOT NULL")
    known, paid = {id for (id,) in found}, {entry["request_id"] for entry in sandbox.ledger()}
    assert known <= paid
    assert len(paid - known) <= tally(folder).get("unknown", 0)


def under_way(
    start: Start, sandbox: Control, write: Write, *, rows: int, concurrency: int
) -> "Popen[str]":
    """Start a run of list.csv; return it when its first row has been accepted."""
    sandbox.set(seconds=0.2)
    write("list.csv", table(many(rows)))
    child = start("list.csv", "--concurrency", concurrency, "-v")
    until(child, "accepted as")
    return child


# Descriptors


def leave_descriptors(child: "Popen[str]", free: int) -> None:
    """Let the child open so many more files and connections than those that it keeps open."""
    kept = 2  # asyncio keeps a pair of sockets to wake itself; other connections come and go
    for entry in Path(f"/proc/{child.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kept += not str(entry.readlink()).startswith("socket:")
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (kept + free, hard))


def give_descriptors_back(child: "Popen[str]") -> None:
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (hard, hard))


@PATIENT
def test_a_run_that_gets_short_of_descriptors_pays_once_and_the_next_one_ends_well(
    start: Start, run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    child = under_way(start, sandbox, write, rows=20, concurrency=15)
    leave_descriptors(child, 9)
    code, _ = ended(child)

    assert code == (0 if tally(folder) == {"saved": 20} else GO_ON)
    assert tally(folder).keys() <= {"pending", "submitted", "completed", "saved"}
    check_the_books(folder, sandbox)

    assert run("list.csv").code == 0
    assert tally(folder) == {"saved": 20}
    assert sandbox.posts == sandbox.accepted == 20


@PATIENT
def test_without_a_descriptor_for_its_file_a_picture_is_left_to_the_next_run(
    start: Start, run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    child = under_way(start, sandbox, write, rows=3, concurrency=1)
    leave_descriptors(child, 2)  # one to ask, one to download
    code, said = ended(child)

    assert code == GO_ON
    assert "Too many open files" in said
    assert tally(folder) == {"completed": 1, "pending": 2}
    assert media(folder) == []
    check_the_books(folder, sandbox)
    assert run("list.csv").code == 0
    assert sandbox.posts == 3


def test_without_any_descriptor_rows_stay_pending_and_go_on_when_there_are_some_again(
    start: Start, folder: Path, sandbox: Control, write: Write
) -> None:
    child = under_way(start, sandbox, write, rows=6, concurrency=3)
    leave_descriptors(child, 0)
    until(child, "cannot be reached")
    give_descriptors_back(child)
    code, _ = ended(child)

    assert code == 0
    assert tally(folder) == {"saved": 6}
    assert query(folder, "SELECT DISTINCT attempts FROM requests") == [(1,)]
    check_the_books(folder, sandbox)
    assert sandbox.posts == 6


def test_a_program_with_too_few_descriptors_to_begin_with_sends_nothing(
    here: Path, folder: Path, reach: list[str], sandbox: Control, write: Write
) -> None:
    words = ["run", write("list.csv", table(many(1))), "--out", str(folder), *reach]
    command = ["/bin/sh", "-c", 'ulimit -n 8; exec "$0" "$@"', sys.executable, "-m", "batchgen"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)

    assert done.returncode == 74
    assert "Traceback" not in done.stderr
    assert sandbox.posts == 0


@PATIENT
def test_a_run_that_can_write_no_more_says_that_it_may_have_sent_something(
    start: Start, run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    child = under_way(start, sandbox, write, rows=6, concurrency=1)
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (0, hard))
    code, said = ended(child)

    assert code == GO_ON, said  # 74 would say that nothing was sent
    check_the_books(folder, sandbox)
    assert run("list.csv").code == 0
    assert sandbox.posts == 6


# Memory


def size_of(child: "Popen[str]") -> int:
    """The bytes of address space that a process has taken."""
    found = re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def leave_memory(child: "Popen[str]", free: int) -> None:
    """Let the child take so many more bytes."""
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_AS)
    resource.prlimit(child.pid, resource.RLIMIT_AS, (size_of(child) + free, hard))


class Host(BaseHTTPRequestHandler):
    """A media host of the test's own."""

    content = b""
    length: int | None = None

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.length or len(self.content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.content)
            if self.length is not None:
                self.rfile.read(1)  # keep it waiting until it hangs up

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[Callable[..., str]]:
    """Serve these bytes; return their URL. length: what the host claims, if it is not true."""
    servers: list[ThreadingHTTPServer] = []

    def serve(content: bytes, length: int | None = None) -> str:
        handler = type("", (Host,), {"content": content, "length": length})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        servers[-1].daemon_threads = True
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}/file.png"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def host_of(url: str) -> list[str]:
    return ["--media-host", url.split("/")[2]]


DECODE_WITHOUT_MEMORY = """
import hashlib, resource, sys
from pathlib import Path
from batchgen.media.check import MediaBroken, check_file
from batchgen.media.formats import PNG

content = Path("large.png").read_bytes()
sent_before = {hashlib.sha256(content).hexdigest()}
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 32 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    print(check_file(Path("part"), PNG, content, None, sent_before))
except MediaBroken as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_picture_that_there_is_no_memory_to_decode_is_not_taken_for_a_broken_one(
    here: Path,
) -> None:
    Image.new("1", (8_000, 8_000)).save(here / "large.png")  # 64 MB when it is decoded
    command = [sys.executable, "-c", DECODE_WITHOUT_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    # Also where it came before, so that a later run decodes it.
    assert done.stdout == "there is not enough memory to decode the picture\n", done.stderr


@PATIENT
def test_a_run_that_gets_short_of_memory_pays_once_and_the_next_one_ends_well(
    start: Start, run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    child = under_way(start, sandbox, write, rows=4, concurrency=2)
    leave_memory(child, MIB // 4)
    code, _ = ended(child)

    left = tally(folder)
    assert code == (0 if left == {"saved": 4} else GO_ON)
    # Of a request whose answer there was no memory to read nobody knows more.
    assert left.keys() <= {"pending", "submitted", "completed", "saved", "unknown"}
    check_the_books(folder, sandbox)
    unknown = {"unknown": left["unknown"]} if "unknown" in left else {}
    assert run("list.csv").code == (1 if unknown else 0)
    assert tally(folder) == {"saved": 4 - sum(unknown.values()), **unknown}
    assert sandbox.posts == 4


def test_a_manifest_that_does_not_fit_into_memory_sends_nothing_and_says_why(
    here: Path, folder: Path, reach: list[str], sandbox: Control, run: Command, write: Write
) -> None:
    write("list.json", f'[{{"prompt": "a heron"}}{" " * (60 * MIB)}]')
    words = ["run", "list.json", "--out", str(folder), *reach]
    limit = f'ulimit -v {110 << 10}; exec "$0" "$@"'
    command = ["/bin/sh", "-c", limit, sys.executable, "-m", "batchgen", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "Traceback" not in done.stderr
    assert "memory" in done.stderr
    assert done.returncode == GO_ON
    assert sandbox.posts == 0
    assert run("list.json").code == 0
    assert sandbox.posts == 1


# Too much data

WEIGHED = """
import atexit, re, sys
from pathlib import Path

def weigh():
    status = Path("/proc/self/status").read_text()
    peak.write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])

peak = Path(sys.argv.pop(1))
atexit.register(weigh)
"""
COMMAND_LINE = """
from batchgen.__main__ import main
main()
"""
# One try for a file of 64 MiB at most: two gigabytes take too long.
RESUMED = f"""
sys.path.append({str(Path(__file__).parents[2])!r})
from dataclasses import replace
from resume import resume
from batchgen.core.timing import DEFAULT_TIMING
from batchgen.media.download import DownloadLimits
from batchgen.sandbox import Address
timing, limits = replace(DEFAULT_TIMING, download_tries=1), DownloadLimits(max_file_bytes=64 << 20)
outcome = resume(Path(sys.argv[1]), Address(*sys.argv[2:]), timing=timing, limits=limits)
sys.exit(outcome.code)
"""
Weigh = Callable[..., float]


@pytest.fixture
def weigh(here: Path) -> Weigh:
    """Run a command in a process of its own; return its peak of memory in MiB."""

    def run_it(*words: object, code: int = 0, what: str = COMMAND_LINE) -> float:
        peak = here / "peak"
        command = [sys.executable, "-c", WEIGHED + what, str(peak), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return int(peak.read_text()) / 1024

    return run_it


def test_endless_files_bombs_and_huge_pictures_take_no_memory(
    weigh: Weigh, run: Command, folder: Path, here: Path, address: Address, sandbox: Control,
    write: Write,
) -> None:  # fmt: skip
    manifest = write("list.csv", table(many(6)))
    for out in (here / "plain", folder):
        run(manifest, "--limit", 0, "--out", out)
    at = (address.base_url, address.media_host)
    plain = weigh(here / "plain", *at, what=RESUMED)
    sandbox.reset()
    sandbox.fault("media-endless", match="number 1")
    sandbox.fault("media-gzip-bomb", match="number 2")
    sandbox.fault("media-huge-pixels", match="number 3")
    peak = weigh(folder, *at, code=1, what=RESUMED)

    found = states(folder)
    waiting = [id for id, state in found.items() if state == "completed"]
    assert waiting == ["row-1", "row-2"]
    assert "larger than" in error_of(folder, "row-1")
    [(note,)] = query(folder, "SELECT note FROM outputs JOIN requests USING (key) WHERE id='row-3'")
    assert "40000 x 40000 pixels" in note
    assert [path for path in media(folder) if path.endswith(".part")] == []
    assert peak - plain < 50


def test_endless_answers_take_no_memory_and_large_results_are_read_one_at_a_time(
    weigh: Weigh, folder: Path, here: Path, reach: list[str], sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", table(many(6)))
    plain = weigh("run", manifest, "--out", here / "plain", "--rate", "1000/s", *reach)
    sandbox.reset()
    sandbox.fault("big-answer", match="number 1", value="endless")
    sandbox.fault("big-answer", match="number 2", value="id-last")
    sandbox.fault("big-answer", match="number 3", value="endless", on="result")
    peak = weigh("run", manifest, "--out", folder, "--rate", "1000/s", *reach, code=1)

    assert tally(folder) == {"unknown": 1, "saved": 5}
    assert sandbox.posts == 6
    assert peak - plain < 64 + 50  # as much of a result is read

    write("list.csv", table(many(8)))
    sandbox.reset()
    sandbox.fault("large-result", times=None, value=16 * MIB)
    peak = weigh("run", manifest, "--out", here / "large", "--rate", "1000/s", *reach)
    assert tally(here / "large") == {"saved": 8}
    assert peak - plain < 4 * 16 + 50


def test_a_file_that_claims_to_be_larger_than_any_is_refused_before_it_is_fetched(
    run: Command,
    folder: Path,
    sandbox: Control,
    write: Write,
    host: Callable[..., str],
) -> None:
    length = DEFAULT_LIMITS.max_file_bytes + 1
    url = host(b"\x89PNG\r\n\x1a\n" + bytes(200), length=length)
    sandbox.fault("media-other-host", value=url)

    assert run(write("list.csv", table({"heron": "a heron"})), *host_of(url)).code == 1
    assert "larger than 2 GiB" in error_of(folder, "heron")
    assert media(folder) == []


# Many rows


def big_manifest(path: Path, rows: int) -> Path:
    """Rows of four kilobytes each: to keep them would show."""
    prompts = (f"A heron, number {n}, {'at the lake ' * 320}" for n in range(rows))
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".csv":
            file.write("id,prompt,seed\n")
            file.writelines(f'row-{n},"{text}",{n}\n' for n, text in enumerate(prompts))
        else:
            for n, text in enumerate(prompts):
                file.write(json.dumps({"id": f"row-{n}", "prompt": text, "seed": n}) + "\n")
    return path


def test_a_list_of_any_length_is_run_in_the_same_memory(
    weigh: Weigh, here: Path, reach: list[str], sandbox: Control
) -> None:
    peaks = []
    for rows in (BIG_ROWS // 4, BIG_ROWS):
        manifest = big_manifest(here / f"{rows}.csv", rows)
        out = here / f"out-{rows}"
        peaks.append(weigh("run", manifest, "--out", out, "--limit", 1, *reach, code=GO_ON))
        assert tally(out) == {"saved": 1, "pending": rows - 1}
    print(f"{BIG_ROWS} rows: {peaks[1]:.0f} MiB, a quarter of them: {peaks[0]:.0f} MiB")

    assert peaks[1] < 300
    assert peaks[1] - peaks[0] < 4
    assert sandbox.posts == 2


def test_a_list_of_any_length_is_validated_in_the_same_memory(weigh: Weigh, here: Path) -> None:
    peaks = [
        weigh("validate", big_manifest(here / f"{rows}.jsonl", rows))
        for rows in (BIG_ROWS // 4, BIG_ROWS)
    ]

    assert peaks[1] < 300
    assert peaks[1] - peaks[0] < 4


@PATIENT
def test_a_run_whose_journal_is_taken_away_ends_as_one_that_sent_something(
    start: Start, run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    sandbox.set(seconds=0.5)
    write("list.csv", table(many(2)))
    child = start("list.csv", "-v")
    until(child, "accepted as")
    for file in folder.glob("batch.db*"):
        file.unlink()
    code, said = ended(child)

    assert code == GO_ON, said  # 2 and 74 would say that nothing was sent
    assert "Traceback" not in said
    assert "Its reports could not be written" in said
    assert run("list.csv").code == 0
    assert sandbox.posts == 2


@PATIENT
def test_a_signal_is_heard_while_the_reports_are_written(
    start: Start, batchgen: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    write("list.csv", table(many(10_000)))
    for runs, number in enumerate((signal.SIGTERM, signal.SIGINT), 1):
        child = start("list.csv", "--limit", 1, "-v")
        until(child, "ended with exit code")
        child.send_signal(number)
        code, said = ended(child)

        assert code == 128 + number, said
        assert "while the reports were written" in said
        assert f"batchgen report {folder}" in said
        assert not (folder / "summary.json").exists()
        assert tally(folder) == {"saved": runs, "pending": 10_000 - runs}
        assert query(folder, "SELECT exit_code FROM runs") == [(GO_ON,)] * runs
    assert batchgen("report", folder, "--no-thumbnails").code == 0
    assert len((folder / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 10_000
    assert sandbox.posts == 2
