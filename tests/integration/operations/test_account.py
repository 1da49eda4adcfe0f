"""Trouble with the account or the service in the middle of a batch: what stays, what is said, and
that the next start goes on by itself.
"""

import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Command, Write
from helpers import Outcome, PretendClock, many, query, table, tally
from sandbox_client import Control

from batchgen.sandbox import Address

BRUSH = "atelier/brush-2/text-to-image"
ALL_SAVED = {"saved": 6}


@pytest.fixture
def manifest(write: Write) -> str:
    """Six rows in turn; trouble that is matched to `number 4` comes in the middle."""
    return write("list.csv", table(many(6)))


@pytest.fixture
def one_by_one(run: Command, manifest: str) -> Callable[..., Outcome]:
    return lambda *options: run(manifest, "--concurrency", 1, *options)


def attempts(folder: Path) -> list[int]:
    return [n for (n,) in query(folder, "SELECT attempts FROM requests ORDER BY position")]


# Too fast


def test_a_storm_of_429s_costs_time_and_nothing_else(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, manifest: str
) -> None:
    sandbox.fault("429", times=40, value="60")
    outcome = run(manifest)

    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert attempts(folder) == [1] * 6
    assert sandbox.accepted == 6
    assert clock.ahead > 30 * 60
    assert "waiting until" in outcome.stderr
    assert "failed" not in outcome.stderr


def test_a_storm_in_the_middle_holds_neither_polls_nor_downloads(
    one_by_one: Callable[..., Outcome], folder: Path, sandbox: Control
) -> None:
    sandbox.fault("429", match="number 4", times=20, value="none")

    assert one_by_one().code == 0
    assert tally(folder) == ALL_SAVED
    assert attempts(folder) == [1] * 6


def test_a_storm_that_outlasts_the_time_limit_leaves_the_rows_pending(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("429", times=None, value="600")
    outcome = run(manifest, "--max-time", "1h")

    assert outcome.code == 75
    assert "time limit" in outcome.stderr
    assert tally(folder) == {"pending": 6}
    assert attempts(folder) == [0] * 6
    assert sandbox.posts <= 8


# Balance and token


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("balance", None),
        ("balance-429", None),
        ("error-in-200", 400002),
        ("status", [402, {"error_code": 400002}]),
    ],
)
def test_a_balance_that_is_used_up_in_the_middle_stops_once_and_leaves_the_rest_pending(
    run: Command, folder: Path, sandbox: Control, manifest: str, fault: str, value: Any
) -> None:
    for number in (4, 5, 6):
        sandbox.fault(fault, match=f"number {number}", value=value)
    outcome = run(manifest)

    assert outcome.code == 75
    assert outcome.stderr.count("balance used up") == 1
    assert "Top up the account and run the same command again to go on." in outcome.stderr
    assert tally(folder) == {"saved": 3, "pending": 3}
    assert attempts(folder) == [1, 1, 1, 0, 0, 0]
    assert sandbox.posts <= 6


@pytest.mark.parametrize(
    ("fault", "value", "code"),
    [
        ("balance", None, 75),
        ("balance-402", None, 75),
        ("balance-429", None, 75),
        ("error-in-200", 400002, 75),
        ("401", None, 77),
        ("400004", None, 77),
        ("error-in-200", 400004, 77),
        ("error-in-200", 403001, 75),
    ],
)
def test_after_the_account_was_mended_the_same_command_goes_on(
    one_by_one: Callable[..., Outcome],
    folder: Path,
    sandbox: Control,
    fault: str,
    value: Any,
    code: int,
) -> None:
    sandbox.fault(fault, match="number 4", value=value)
    assert one_by_one().code == code
    assert tally(folder) == {"saved": 3, "pending": 3}
    assert sandbox.posts == 4

    assert one_by_one().code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.accepted == 6


def test_a_wallet_pays_for_what_it_can_and_a_filled_one_for_the_rest(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.set(balance=0.1)
    assert run(manifest).code == 75
    assert tally(folder) == {"saved": 3, "pending": 3}
    assert run(manifest).code == 75
    assert sandbox.accepted == 3

    sandbox.set(balance=5.0)
    assert run(manifest).code == 0
    assert tally(folder) == ALL_SAVED


def test_an_empty_balance_keeps_nobody_from_collecting_what_is_paid(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("media-500", times=5, match="number 1")
    sandbox.set(balance=0.1)
    run(manifest)
    assert tally(folder) == {"completed": 1, "saved": 2, "pending": 3}

    assert run(manifest).code == 75
    assert tally(folder) == {"saved": 3, "pending": 3}
    assert sandbox.accepted == 3


@pytest.mark.parametrize("fault", ["401", "400004"])
def test_a_token_that_expires_while_polling_leaves_the_requests_to_the_next_start(
    run: Command, folder: Path, sandbox: Control, manifest: str, fault: str
) -> None:
    sandbox.fault(fault, on="result", times=None, match="number")
    outcome = run(manifest)

    assert outcome.code == 77
    assert outcome.stderr.count("token refused") == 1
    assert "batchgen login" in outcome.stderr
    found = tally(folder)
    assert found.keys() <= {"submitted", "pending"}
    assert found["submitted"] == sandbox.accepted


def test_after_a_refusal_in_mid_poll_the_next_start_collects_unpaid(
    one_by_one: Callable[..., Outcome], folder: Path, sandbox: Control
) -> None:
    sandbox.fault("401", on="result", match="number 4")
    assert one_by_one().code == 77
    assert tally(folder) == {"saved": 3, "submitted": 1, "pending": 2}

    assert one_by_one().code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == 6


# HTTP 200 with an error inside


@pytest.mark.parametrize(
    ("code", "state"), [(422001, "failed"), (400001, "failed"), (404001, "failed"), (429, "saved")]
)
def test_an_error_inside_a_200_is_that_rows_own(
    run: Command, folder: Path, sandbox: Control, manifest: str, code: int, state: str
) -> None:
    sandbox.fault("error-in-200", match="number 4", value=code)
    outcome = run(manifest)

    ((found,),) = query(folder, "SELECT state FROM requests WHERE id = 'row-4'")
    assert found == state
    assert tally(folder)["saved"] == (6 if state == "saved" else 5)
    assert outcome.code == (0 if state == "saved" else 1)
    assert sandbox.accepted == tally(folder)["saved"]


def test_an_error_inside_a_200_that_nobody_knows_may_have_been_billed(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.fault("error-in-200", match="number 4", value=599999)

    assert run(manifest).code == 1
    assert tally(folder) == {"saved": 5, "unknown": 1}
    run(manifest)
    assert sandbox.posts == 6


# One model


def test_a_broken_model_is_given_up_while_the_other_works_and_both_go_on_later(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    lines = [f",broken {n}\n{BRUSH},fine {n}\n" for n in range(14)]
    manifest = write("list.csv", "model,prompt\n" + "".join(lines))
    sandbox.fault("422", times=10, match="broken")

    outcome = run(manifest)
    assert outcome.code == 75
    assert outcome.stderr.count("10 rows in a row failed") == 1
    by_model = dict(
        query(folder, "SELECT model || ' ' || state, COUNT(*) FROM requests GROUP BY model, state")
    )
    assert by_model[f"{BRUSH} saved"] == 14
    assert tally(folder) == {"saved": 14, "failed": 10, "pending": 4}
    assert sandbox.posts == 24

    assert run(manifest).code == 1
    assert tally(folder) == {"saved": 18, "failed": 10}
    assert sandbox.posts == 28


# The service is away


class Line:
    """A way to the sandbox that can be cut: then connections are refused, as by a dead host."""

    def __init__(self, there: tuple[str, int]) -> None:
        self.port = 0
        self._there = there
        self._server: socketserver.ThreadingTCPServer | None = None
        self.mend()

    def mend(self) -> None:
        there = self._there

        class Pipe(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(there) as far:
                    ends = {self.request: far, far: self.request}
                    while True:
                        for end in select.select([*ends], [], [])[0]:
                            piece = end.recv(65536)
                            if not piece:
                                return
                            ends[end].sendall(piece)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", self.port), Pipe)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def cut(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def close(self) -> None:
        if self._server is not None:
            self.cut()


@pytest.fixture
def line(address: Address) -> Iterator[Line]:
    url = urlsplit(address.base_url)
    with closing(Line((url.hostname or "", url.port or 0))) as found:
        yield found


class ClockWithAppointment(PretendClock):
    """Calls `then` once, when it was moved `after` seconds ahead."""

    after, then = float("inf"), staticmethod(lambda: None)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.ahead >= self.after:
            self.after = float("inf")
            self.then()


@pytest.fixture
def clock() -> ClockWithAppointment:
    return ClockWithAppointment()


@pytest.fixture
def by_line(
    by_thread: Command, folder: Path, manifest: str, reach: list[str], line: Line
) -> Callable[..., Outcome]:
    """Run the manifest over the line."""
    base = f"http://127.0.0.1:{line.port}/v1"
    words = ["run", manifest, "--out", folder, "--rate", "1000/s", *reach, "--base-url", base]
    return lambda *options: by_thread(*words, *options)


def test_a_service_that_is_away_for_an_hour_costs_no_row_and_one_notice(
    by_line: Callable[..., Outcome],
    folder: Path,
    sandbox: Control,
    line: Line,
    clock: ClockWithAppointment,
) -> None:
    assert by_line("--limit", 2).code == 75
    line.cut()
    clock.after, clock.then = clock.ahead + 3600, line.mend
    outcome = by_line()

    assert clock.after == float("inf")  # the hour has passed
    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert attempts(folder) == [1] * 6
    assert sandbox.posts == 6
    assert outcome.stderr.count("cannot be reached") == 1
    assert outcome.stderr.count("answers again") == 1


def test_a_service_that_is_away_while_requests_are_in_flight_loses_none(
    by_line: Callable[..., Outcome],
    folder: Path,
    sandbox: Control,
    line: Line,
    clock: ClockWithAppointment,
) -> None:
    sandbox.fault("401", on="result", match="number 1")
    by_line("--limit", 1)
    assert tally(folder) == {"submitted": 1, "pending": 5}
    line.cut()
    clock.after, clock.then = clock.ahead + 3600, line.mend
    outcome = by_line()

    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == 6
    assert outcome.stderr.count("cannot be reached") == 1


def test_a_service_that_stays_away_leaves_the_rest_to_the_next_start(
    by_line: Callable[..., Outcome],
    folder: Path,
    sandbox: Control,
    line: Line,
    clock: ClockWithAppointment,
) -> None:
    by_line("--limit", 2)
    line.cut()
    outcome = by_line()

    assert outcome.code == 69
    assert "stayed unreachable for 6 hours" in outcome.stderr
    assert tally(folder) == {"saved": 2, "pending": 4}
    line.mend()
    assert by_line().code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == 6
