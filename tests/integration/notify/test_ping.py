"""Pings against monitors that are slow, silent, endless, gone or elsewhere."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from servers import HOST, Monitor, Talk, hangs_up, listening, silence

from batchgen.notify.ping import TRIES, send_ping
from batchgen.notify.ping_url import Ping

PATIENCE_S = 30.0
PATH = "/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def port(monitor: Monitor) -> Iterator[int]:
    with listening(monitor.talk) as found:
        yield found


def send(port: int, body: str = "", within: float = PATIENCE_S) -> str:
    return send_ping(Ping(f"http://{HOST}:{port}{PATH}?rid=1", body), within)


def test_a_ping_with_words_is_a_post_of_plain_text(monitor: Monitor, port: int) -> None:
    assert send(port, "Every row is saved.\n“ok” \ud800") == ""

    (ping,) = monitor.pings
    assert (ping.method, ping.path, ping.query) == ("POST", PATH, {"rid": "1"})
    assert ping.body == "Every row is saved.\n“ok” ?"
    assert "Content-Type: text/plain; charset=utf-8" in ping.headers
    assert "User-Agent: batchgen/" in ping.headers


def test_a_ping_without_words_is_a_get(monitor: Monitor, port: int) -> None:
    assert send(port) == ""
    assert [ping.method for ping in monitor.pings] == ["GET"]


def test_a_monitor_that_says_that_it_knows_no_such_check_did_not_take_it(
    monitor: Monitor, port: int
) -> None:
    monitor.said = "OK (not found)"

    assert send(port) == "it answered OK (not found)"


def test_a_refusal_is_told_and_not_tried_again(monitor: Monitor, port: int) -> None:
    monitor.status = 404

    assert send(port) == "it answered 404"
    assert len(monitor.pings) == 1


def test_an_error_of_the_monitor_is_tried_again_a_few_times() -> None:
    monitor = Monitor(status=503)
    with listening(monitor.talk) as port:
        why = send(port)

    assert why == "it answered 503"
    assert len(monitor.pings) == TRIES


def test_a_redirect_is_not_followed(monitor: Monitor, port: int) -> None:
    elsewhere = Monitor()
    with listening(elsewhere.talk) as other:
        monitor.status, monitor.where = 307, f"http://{HOST}:{other}/taken"

        why = send(port, "words")

    assert "307 and leads elsewhere" in why
    assert "taken" not in why
    assert elsewhere.pings == []


def test_an_answer_without_end_is_left_at_its_beginning(monitor: Monitor, port: int) -> None:
    monitor.forever = True

    assert send(port) == ""


@pytest.mark.parametrize("talk", [silence, hangs_up], ids=["silent", "hangs up"])
def test_a_monitor_that_does_not_answer_is_left_when_the_time_is_over(talk: Talk) -> None:
    before = time.monotonic()
    with listening(talk) as port:
        assert send(port, within=0.5) != ""

    assert time.monotonic() - before < PATIENCE_S


def test_a_monitor_that_is_gone_is_told() -> None:
    with closing(socket.socket()) as unused:
        unused.bind((HOST, 0))
        assert "Connect" in send(unused.getsockname()[1])


def test_certificates_that_cannot_be_read_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from batchgen.network.session import trusted_certificates

    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/none")
    trusted_certificates.cache_clear()
    try:
        assert "certificates" in send_ping(Ping(f"https://{HOST}:9{PATH}"), PATIENCE_S)
    finally:
        trusted_certificates.cache_clear()
