"""Between batchgen and the API stands a proxy, which may fail in ways of its own.

The API's name here exists nowhere, as behind many a proxy: the proxy alone knows the way.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import PATIENT, TOKEN, Outcome, many, query, table, tally
from sandbox_client import Control
from servers import (
    HOST,
    Talk,
    Wire,
    certificate,
    hangs_up,
    listening,
    proxy,
    relay,
    silence,
    trusted,
)

from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.sandbox import Address

API = "models.invalid"
ALL_SAVED = {"saved": 6}
ALL_PENDING = {"pending": 6}


IMPATIENT = Timing(connect=0.25, query_pool=0.25, submit_read=0.25, query_read=0.25)


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(6)))


@pytest.fixture
def behind(here: Path, address: Address) -> Iterator[str]:
    """The API as the proxy finds it; batchgen trusts its certificate."""
    with (
        trusted(here) as authority,
        listening(relay(address.base_url), tls=certificate(authority, API)) as port,
    ):
        yield f"https://{HOST}:{port}"


@pytest.fixture
def by_proxy(
    run: Command, manifest: str, behind: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run the manifest; the only way to the API is the proxy at a port of this computer."""

    def run_it(port: int, *options: object, timing: Timing = DEFAULT_TIMING) -> Outcome:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{HOST}:{port}")
        return run(manifest, "--base-url", f"https://{API}/v1", *options, timing=timing)

    return run_it


def check_that_nothing_was_sent(folder: Path, sandbox: Control) -> None:
    assert tally(folder) == ALL_PENDING
    assert query(folder, "SELECT event FROM events") == []  # no row was even about to be sent
    assert sandbox.posts == 0


def test_through_a_proxy_that_tunnels_a_batch_is_saved_and_the_proxy_sees_neither_token_nor_prompt(
    by_proxy: Callable[..., Outcome], folder: Path, sandbox: Control, behind: str
) -> None:
    wire = Wire()
    with listening(proxy(wire, relay(behind, wire))) as port:
        outcome = by_proxy(port)

    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == sandbox.accepted == 6
    assert wire.times(f"CONNECT {API}:443 HTTP/1.1") > 6
    assert wire.times(TOKEN) == wire.times("heron") == 0


NO_WAY: dict[str, Talk] = {
    "silence": silence,
    "an end": hangs_up,
    "502": proxy(Wire(), None, "502 Bad Gateway"),
    "503": proxy(Wire(), None, "503 Service Unavailable"),
    "a tunnel to silence": proxy(Wire(), silence),
    "a tunnel that ends": proxy(Wire(), hangs_up),
}


def test_a_proxy_that_does_not_get_through_is_an_outage_that_leaves_all_rows_pending(
    by_proxy: Callable[..., Outcome],
    folder: Path,
    sandbox: Control,
    behind: str,
) -> None:
    """In whatever way it fails, run after run."""
    for fault, talk in NO_WAY.items():
        with listening(talk) as port:
            outcome = by_proxy(port, "--max-time", "3s", timing=IMPATIENT)

        assert outcome.code == 69, fault
        assert outcome.stderr.count("RunComfy cannot be reached") == 1, fault
        check_that_nothing_was_sent(folder, sandbox)

    with listening(proxy(Wire(), relay(behind))) as port:
        assert by_proxy(port).code == 0
    assert tally(folder) == ALL_SAVED
    assert sandbox.posts == 6


def test_a_proxy_that_is_not_there_is_an_outage_too(
    by_proxy: Callable[..., Outcome], folder: Path, sandbox: Control
) -> None:
    with closing(socket.socket()) as taken:  # bound and not listening: it refuses
        taken.bind((HOST, 0))
        outcome = by_proxy(taken.getsockname()[1], "--max-time", "1h")

    assert outcome.code == 69
    assert outcome.stderr.count("RunComfy cannot be reached") == 1
    check_that_nothing_was_sent(folder, sandbox)


def test_a_proxy_that_wants_a_login_stops_the_run_at_once(
    by_proxy: Callable[..., Outcome], folder: Path, sandbox: Control, behind: str
) -> None:
    wire = Wire()
    with listening(proxy(wire, None, "407 Proxy Authentication Required")) as port:
        outcome = by_proxy(port)

    assert outcome.code == 69
    assert "407, message='Proxy Authentication Required'" in outcome.stderr
    assert "Check --base-url, the proxy and the certificate" in outcome.stderr
    check_that_nothing_was_sent(folder, sandbox)
    assert wire.times(TOKEN) == wire.times("heron") == 0

    with listening(proxy(Wire(), relay(behind))) as port:
        assert by_proxy(port).code == 0
    assert tally(folder) == ALL_SAVED


def test_an_api_on_this_computer_that_is_spoken_to_in_the_open_is_never_behind_a_proxy(
    run: Command, folder: Path, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire()
    with listening(proxy(wire, None, "407 Proxy Authentication Required")) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://{HOST}:{port}")
        outcome = run(manifest)

    assert wire.times(TOKEN) == wire.times("heron") == 0
    assert outcome.code == 0
    assert tally(folder) == ALL_SAVED


def test_a_proxy_of_a_kind_that_batchgen_does_not_speak_to_is_said_and_nothing_is_sent(
    run: Command, folder: Path, sandbox: Control, manifest: str, monkeypatch: Any
) -> None:
    for named in ("socks5://127.0.0.1:9", "ftp://127.0.0.1:9"):
        with monkeypatch.context() as environment:
            environment.setenv("HTTPS_PROXY", named)
            outcome = run(manifest, "--base-url", f"https://{API}/v1")

        assert outcome.code == 69, named
        assert "proxy cannot be used" in outcome.stderr, named
        check_that_nothing_was_sent(folder, sandbox)
    assert run(manifest).code == 0


@PATIENT
def test_a_rehearsal_needs_no_proxy_and_minds_none_that_cannot_be_used(
    batchgen: Command, here: Path, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "ftp://127.0.0.1:9")

    outcome = batchgen("run", manifest, "--sandbox", "--out", here / "rehearsal")

    assert outcome.code == 0, outcome.stderr
