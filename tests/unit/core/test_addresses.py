"""Addresses that are told of a run: what is one, and that no error shows it."""

import pytest

from batchgen.core.addresses import parse_notify_urls, parse_ping_url


@pytest.mark.parametrize("url", ["https://hc-ping.com/abc", "http://127.0.0.1:3001/api/push/x?a=b"])
def test_a_web_address_can_be_pinged(url: str) -> None:
    assert parse_ping_url(url) == url


@pytest.mark.parametrize(
    "text",
    ["", "hc-ping.com/secret", "ftp://host/secret", "https:///secret", "https://host:x/secret",
     "https://host/sec ret", "https://host/secret\n", "https://[/secret"],
)  # fmt: skip
def test_anything_else_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_ping_url(text)
    assert "secret" not in str(refused.value)


def test_several_addresses_have_blanks_between_them() -> None:
    found = parse_notify_urls(" mailto://me:pass@example.com  ntfy://topic ")

    assert found == ("mailto://me:pass@example.com", "ntfy://topic")
    assert parse_notify_urls([*found]) == found


@pytest.mark.parametrize("text", ["", "secret", "ntfy:secret", "ntfy://ok secret"])
def test_what_is_no_address_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_notify_urls(text)
    assert "secret" not in str(refused.value)
