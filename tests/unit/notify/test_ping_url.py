"""What a monitor is asked for, by the convention that it follows."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from batchgen.notify.ping_url import MAX_BODY_CHARS, Moment, Ping, ping_request

CHECK = "https://hc-ping.com/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
KUMA = "https://kuma.example/api/push/Xk3dAbc9Ty?status=up&msg=OK&ping="
CRONITOR = "https://cronitor.link/p/0a1b2c3d4e/nightly?env=studio"
RUN = "0b42cdf5-1f2e-4b1c-9c50-0d7c0f0a6a10"
WORDS = "list.csv: Every row is saved.\n2 saved"


def ask(url: str, moment: Moment, **more: object) -> Ping | None:
    return ping_request(url, moment, RUN, text=WORDS, **more)  # type: ignore[arg-type]


def query(ping: Ping | None) -> dict[str, str]:
    assert ping is not None
    return dict(parse_qsl(urlsplit(ping.url).query))


@pytest.mark.parametrize(
    ("moment", "ending"), [(Moment.START, "/start"), (Moment.SUCCESS, ""), (Moment.FAIL, "/fail")]
)
def test_healthchecks_has_a_path_for_each_moment_and_the_words_as_the_body(
    moment: Moment, ending: str
) -> None:
    assert ask(CHECK, moment) == Ping(f"{CHECK}{ending}?rid={RUN}", WORDS)


def test_what_stands_in_the_query_stays_there() -> None:
    asked = ask("https://hc-ping.com/key/my-list/?create=1#x", Moment.FAIL)

    assert asked == Ping(f"https://hc-ping.com/key/my-list/fail?create=1&rid={RUN}", WORDS)


def test_success_goes_to_the_url_as_it_was_given() -> None:
    asked = ask("https://example.com/a%2Fb/", Moment.SUCCESS)

    assert asked == Ping(f"https://example.com/a%2Fb/?rid={RUN}", WORDS)


def test_a_body_is_no_longer_than_what_a_monitor_keeps() -> None:
    asked = ping_request(CHECK, Moment.FAIL, RUN, text="x" * 100_000)

    assert asked is not None
    assert len(asked.body) == MAX_BODY_CHARS


def test_uptime_kuma_has_it_in_the_query_and_knows_no_start() -> None:
    well = ask(KUMA, Moment.SUCCESS, seconds=4.5)
    amiss = ask(KUMA, Moment.FAIL, code=65)

    assert ask(KUMA, Moment.START) is None
    assert well is not None
    assert well.body == ""
    assert well.url.startswith("https://kuma.example/api/push/Xk3dAbc9Ty?")
    words = "list.csv: Every row is saved.; 2 saved"
    assert query(well) == {"status": "up", "msg": words, "ping": "4500"}
    assert query(amiss)["status"] == "down"


def test_uptime_kuma_is_told_of_no_longer_time_than_it_takes() -> None:
    assert query(ask(KUMA, Moment.SUCCESS, seconds=1e9))["ping"] == "86400000"


def test_cronitor_has_a_state_a_series_and_the_exit_code() -> None:
    start, amiss = ask(CRONITOR, Moment.START), ask(CRONITOR, Moment.FAIL, code=69)

    assert query(start) == {"env": "studio", "state": "run", "series": RUN}
    assert query(amiss) == {
        "env": "studio",
        "state": "fail",
        "series": RUN,
        "status_code": "69",
        "message": "list.csv: Every row is saved.; 2 saved",
    }
    assert query(ask(CRONITOR, Moment.SUCCESS))["state"] == "complete"
