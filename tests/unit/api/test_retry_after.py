"""What a Retry-After header asks for, in any of its forms and in none."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.retry_after import parse_retry_after

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
HEADERS = {
    "nothing": (None, None),
    "seconds": ("120", 120.0),
    "seconds with spaces": (" 120 ", 120.0),
    "a fraction": ("2.5", 2.5),
    "zero": ("0", 1.0),
    "negative": ("-1", 1.0),
    "very long": ("1000000000", 3600.0),
    "more than a number holds": ("9" * 400, 3600.0),
    "inf": ("inf", 3600.0),
    "-inf": ("-inf", 1.0),
    "nan": ("nan", None),
    "a word": ("abc", None),
    "empty": ("", None),
    "date": (formatdate(NOW + 90, usegmt=True), 90.0),
    "date, RFC 850": ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
    "date, asctime": ("Sun Nov  6 08:50:37 1994", 60.0),
    "date, another zone": ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
    "date, unknown zone": ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0),
    "past date": (formatdate(NOW - 90, usegmt=True), 1.0),
    "far date": ("Fri, 06 Nov 2094 08:49:37 GMT", 3600.0),
    "impossible date": ("Sun, 31 Feb 1994 08:49:37 GMT", None),
    "impossible zone": ("Sun, 06 Nov 1994 08:50:37 +9999", None),
}


@pytest.fixture(params=["UTC0", "HERE-9"], ids=["in UTC", "nine hours east"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(("header", "wait"), HEADERS.values(), ids=HEADERS.keys())
def test_a_header_is_seconds_from_now_within_a_second_and_an_hour_or_nothing(header, wait):
    assert parse_retry_after(header, NOW) == wait


@given(st.text() | st.text("SunMoOctGMT0123456789:,+- ") | st.floats().map(str))
def test_whatever_the_header_the_wait_is_bounded(header):
    wait = parse_retry_after(header, NOW)

    assert wait is None or 1.0 <= wait <= 3600.0
