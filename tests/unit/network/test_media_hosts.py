"""Which URLs of pictures are fetched: RunComfy's, and those of hosts that the person named."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.api.model_api import ModelApi
from batchgen.network.media_hosts import (
    host_to_name,
    is_loopback,
    parse_media_host,
    rejection_reason,
)

HOSTS = ModelApi.media_hosts
FETCHED = [
    "https://media.runcomfy.net/a.png",
    "https://media.runcomfy.com/a.png",
    "https://a.b.c.runcomfy.net/a.png?signature=x%2Fy#part",
    "https://a-1.runcomfy.net:443/a.png",
    "https://a.runcomfy.net:/a.png",
    "HTTPS://MEDIA.RUNCOMFY.NET/A.PNG",
    "https://media.RunComfy.com",
]
REFUSED = {
    "another host": "https://evil.example/a.png",
    "the bare domain": "https://runcomfy.net/a.png",
    "look-alike suffix": "https://evilruncomfy.net/a.png",
    "our name as a subdomain": "https://media.runcomfy.net.evil.com/a.png",
    "our name in the path": "https://evil.com/media.runcomfy.net",
    "our name in the query": "https://evil.com?media.runcomfy.net",
    "our name in the fragment": "https://evil.com#.runcomfy.net",
    "backslash": "https://evil.com\\.runcomfy.net/a.png",
    "backslash and at": "https://evil.com\\@media.runcomfy.net/a.png",
    "encoded dot": "https://evil.com%2Eruncomfy.net/a.png",
    "encoded slash": "https://evil.com%2F.runcomfy.net/a.png",
    "semicolon": "https://evil.com;.runcomfy.net/a.png",
    "comma": "https://evil.com,.runcomfy.net/a.png",
    "underscore": "https://a_b.runcomfy.net/a.png",
    "user": "https://user@media.runcomfy.net/a.png",
    "user and password": "https://user:secret@media.runcomfy.net/a.png",
    "our name as the user": "https://media.runcomfy.net@evil.com/a.png",
    "empty user": "https://@media.runcomfy.net/a.png",
    "http": "http://media.runcomfy.net/a.png",
    "ftp": "ftp://media.runcomfy.net/a.png",
    "file": "file://media.runcomfy.net/etc/passwd",
    "data": "data:image/png;base64,AAAA",
    "no scheme": "//media.runcomfy.net/a.png",
    "no slashes": "https:media.runcomfy.net/a.png",
    "three slashes": "https:///media.runcomfy.net/a.png",
    "no host": "https://",
    "nothing": "",
    "another port": "https://media.runcomfy.net:8443/a.png",
    "port 80": "https://media.runcomfy.net:80/a.png",
    "port 0": "https://media.runcomfy.net:0/a.png",
    "port that is none": "https://media.runcomfy.net:x/a.png",
    "port too large": "https://media.runcomfy.net:70000/a.png",
    "trailing dot": "https://media.runcomfy.net./a.png",
    "two dots": "https://media..runcomfy.net/a.png",
    "leading dot": "https://.runcomfy.net/a.png",
    "space": "https://media.runcomfy.net /a.png",
    "space before": " https://media.runcomfy.net/a.png",
    "newline": "https://evil.com\n.runcomfy.net/a.png",
    "tab": "https://evil.com\t.runcomfy.net/a.png",
    "NUL": "https://evil.com\0.runcomfy.net/a.png",
    "DEL": "https://evil.com\x7f.runcomfy.net/a.png",
    "C1 control": "https://evil.com\x85.runcomfy.net/a.png",
    "unicode letter": "https://mediа.runcomfy.net/a.png",
    "unicode full stop": "https://evil.com。runcomfy.net/a.png",
    "full-width letters": "https://ｍedia.runcomfy.net/a.png",
    "unicode slash": "https://evil.com\u2044.runcomfy.net/a.png",
    "unicode that becomes a slash": "https://evil.com\u2100.runcomfy.net/a.png",
    "soft hyphen": "https://me\u00addia.runcomfy.net/a.png",
    "loopback": "https://localhost/a.png",
    "IPv4": "https://127.0.0.1/a.png",
    "IPv4, metadata": "https://169.254.169.254/latest/meta-data",
    "IPv4, decimal": "https://2130706433/a.png",
    "IPv4, hex": "https://0x7f000001/a.png",
    "IPv4, hex parts": "https://0x7f.0.0.1/a.png",
    "IPv4, octal": "https://0177.0.0.1/a.png",
    "IPv4, short": "https://127.1/a.png",
    "IPv6": "https://[::1]/a.png",
    "IPv6, mapped": "https://[::ffff:127.0.0.1]/a.png",
    "IPv6, zone": "https://[fe80::1%25eth0]/a.png",
    "IPv6, broken": "https://[::1/a.png",
}


@pytest.mark.parametrize("url", FETCHED)
def test_what_runcomfy_hosts_is_fetched(url):
    assert rejection_reason(url, HOSTS) is None


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
def test_nothing_else_is_fetched(url):
    assert rejection_reason(url, HOSTS)


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
def test_a_host_that_the_person_named_opens_no_other(url):
    named = [
        parse_media_host(text) for text in ("cdn.example.org", ".example.net", "127.0.0.1:8000")
    ]

    assert rejection_reason(url, [*HOSTS, *named])


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("cdn.example.org", "https://cdn.example.org/a.png"),
        ("CDN.Example.org", "https://cdn.EXAMPLE.org/a.png"),
        ("cdn.example.org:443", "https://cdn.example.org/a.png"),
        ("cdn.example.org:8443", "https://cdn.example.org:8443/a.png"),
        (".example.org", "https://a.example.org/a.png"),
        (".example.org", "https://a.b.example.org/a.png"),
        (".example.org:8443", "https://a.example.org:8443/a.png"),
        ("localhost:8000", "http://localhost:8000/a.png"),
        ("localhost", "http://localhost/a.png"),
        ("localhost:8000", "https://localhost:8000/a.png"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/a.png"),
        ("127.8.9.1:8000", "http://127.8.9.1:8000/a.png"),
    ],
)
def test_a_host_that_the_person_named_is_fetched_from(named, url):
    assert rejection_reason(url, HOSTS) is not None
    assert rejection_reason(url, [*HOSTS, parse_media_host(named)]) is None


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("cdn.example.org", "http://cdn.example.org/a.png"),
        ("cdn.example.org", "https://cdn.example.org:8443/a.png"),
        ("cdn.example.org:8443", "https://cdn.example.org/a.png"),
        ("cdn.example.org", "https://a.cdn.example.org/a.png"),
        ("cdn.example.org", "https://evilcdn.example.org/a.png"),
        ("cdn.example.org", "https://user@cdn.example.org/a.png"),
        (".example.org", "https://example.org/a.png"),
        (".example.org", "https://evilexample.org/a.png"),
        (".example.org", "http://a.example.org/a.png"),
        (".0.0.1", "https://127.0.0.1/a.png"),
        (".localhost", "http://a.localhost/a.png"),
        ("localhost:8000", "http://localhost:8001/a.png"),
        ("localhost:8000", "http://localhost/a.png"),
        ("localhost:8000", "http://127.0.0.1:8000/a.png"),
        ("localhost", "http://localhost.evil.com/a.png"),
        ("127.0.0.1:8000", "http://2130706433:8000/a.png"),
        ("127.0.0.1:8000", "http://127.1:8000/a.png"),
        ("2130706433:8000", "http://2130706433:8000/a.png"),
        ("10.0.0.5", "https://10.0.0.5/a.png"),
        ("169.254.169.254", "https://169.254.169.254/latest"),
        ("0x7f000001", "https://0x7f000001/a.png"),
    ],
)
def test_naming_a_host_opens_that_host_and_port_only_and_addresses_only_for_loopback(named, url):
    assert rejection_reason(url, [*HOSTS, parse_media_host(named)])


def test_no_host_is_allowed_unless_the_service_or_the_person_names_it():
    assert rejection_reason("https://media.runcomfy.net/a.png", [])


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", ":8000", "https://cdn.example.org", "cdn.example.org/", "a b", "*.example.org"),
        *("user@cdn.example.org", "cdn.example.org:x", "cdn.example.org:-1"),
        *("[::1]:8000", "..example.org", "cdn.example.org.", "a:1:2", "cdn_1.example.org"),
    ],
)
def test_what_is_no_host_cannot_be_named(text):
    with pytest.raises(ValueError, match="is not HOST or HOST:PORT"):
        parse_media_host(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_only_this_computer_is_loopback(host, expected):
    assert is_loopback(host) is expected


URL_LETTERS = "htps:/.@\\\u2100\u212arucomfynet[]:0123456789?#%"


@given(
    st.text(URL_LETTERS, max_size=12),
    st.sampled_from(["", ".runcomfy.net", "@a.runcomfy.net", ".runcomfy.com:443"]),
    st.text(URL_LETTERS, max_size=6),
)
def test_what_is_fetched_is_runcomfys_for_the_client_too(before, name, after):
    url = f"https://{before}{name}{after}"

    if rejection_reason(url, HOSTS) is None:
        assert httpx.URL(url).host.endswith((".runcomfy.net", ".runcomfy.com"))
        assert httpx.URL(url).port in (None, 443)
        assert not httpx.URL(url).userinfo


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://evil.example/x.png", "evil.example"),
        ("https://cdn.runcomfy.net:8443/x.png", "cdn.runcomfy.net:8443"),
        ("http://127.0.0.1:8000/x.png", "127.0.0.1:8000"),
        ("http://evil.example/x.png", None),
        ("https://169.254.169.254/x.png", None),
        ("https://user@evil.example/x.png", None),
        ("https://evil.example\\.runcomfy.net/x.png", None),
        ("https://[::1]/x.png", None),
        ("file:///etc/passwd", None),
        ("https://evil.example:99999/x.png", None),
    ],
)
def test_a_host_that_a_person_may_allow_is_named(url, host):
    assert host_to_name(url) == host
    if host is not None:
        assert rejection_reason(url, [parse_media_host(host)]) is None
