"""`validate --check-urls` asks the hosts of file inputs, and nobody inside this network."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import TOKEN, Outcome
from servers import Wire, certificate, listening, proxy, relay, self_signed, silence, trusted

from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.network import url_probe, url_rules
from batchgen.network.url_probe import UrlProbe
from batchgen.network.url_rules import (
    ProbeResponse,
    address_problem,
    needs_get,
    non_public_kind,
    response_problem,
    url_problem,
)

MODEL = "atelier/edits/image-to-image"
SCHEMA = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "image": {"type": "string", "format": "image_uri"},
        "images": {"type": "array", "format": "image_uris"},
        "masks": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "clip": {"type": "string", "format": "video_uri"},
    },
}
FILES, OTHER = "files.pictures.example", "other.pictures.example"
PNG = {"content-type": "image/png", "content-length": "70"}


# -- what is decided without asking ----------------------------------------------------------------

INSIDE = {
    "0.0.0.0": "the unspecified address",
    "::": "the unspecified address",
    "127.0.0.1": "a loopback address",
    "127.8.9.10": "a loopback address",
    "::1": "a loopback address",
    "10.0.0.1": "a private address",
    "172.16.0.1": "a private address",
    "172.31.255.255": "a private address",
    "192.168.1.20": "a private address",
    "fc00::1": "a private address",
    "fdff::1": "a private address",
    "fec0::1": "a private address",
    "169.254.169.254": "a link-local address",
    "fe80::1": "a link-local address",
    "fe80::1%eth0": "a link-local address",
    "224.0.0.1": "a multicast address",
    "ff02::1": "a multicast address",
    "ff0e::1": "a multicast address",
    "100.64.0.1": "a reserved address",
    "100.127.255.255": "a reserved address",
    "::ffff:10.0.0.1": "an IPv4 address in disguise",
    "::ffff:127.0.0.1": "an IPv4 address in disguise",
    "::ffff:93.184.215.14": "an IPv4 address in disguise",
    "64:ff9b::10.0.0.1": "a private address",
    "64:ff9b::169.254.169.254": "a link-local address",
    "2002:7f00:1::1": "a loopback address",
    "::127.0.0.1": "a reserved address",
}
NOT_GLOBAL = ["192.0.2.1", "198.18.0.1", "203.0.113.9", "240.0.0.1", "255.255.255.255", "0.1.2.3",
              "2001:db8::1", "2001::1", "5f00::1", "192.0.0.1"]  # fmt: skip
PUBLIC = ["93.184.215.14", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "11.0.0.1",
          "2606:2800:21f:cb07::1", "64:ff9b::8.8.8.8", "2002:808:808::1"]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_asked(address: str) -> None:
    assert non_public_kind(address) == INSIDE[address]


@pytest.mark.parametrize("address", NOT_GLOBAL)
def test_an_address_that_nobody_has_is_not_asked(address: str) -> None:
    assert non_public_kind(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_asked(address: str) -> None:
    assert non_public_kind(address) is None


def test_one_address_inside_is_one_too_many() -> None:
    flaw = address_problem("nas.example", ["93.184.215.14", "10.0.0.5"])

    assert flaw
    assert flaw.what == "is at 10.0.0.5, a private address, which RunComfy cannot reach"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/b.png",
        "https://a.example:8443/b.png",
        "HTTPS://A.EXAMPLE/b.png?signature=x@y",
        "https://93.184.215.14/b.png",
        "https://[2606:2800:21f:cb07::1]:444/b.png",
    ],
)
def test_an_https_url_of_any_host_and_port_may_be_asked(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/b.png",
        "ftp://a.example/b.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "//a.example/b.png",
        "https:///b.png",
        "https://user@a.example/b.png",
        "https://user:secret@a.example/b.png",
        "https://@a.example/b.png",
        "https://a.example:99999/b.png",
        "https://[::1/b.png",
    ],
)
def test_no_other_url_is_asked(url: str) -> None:
    assert url_problem(url)


def test_only_an_answer_to_head_that_says_everything_is_believed() -> None:
    assert not needs_get(ProbeResponse(200, PNG))
    assert not needs_get(ProbeResponse(302, {"location": "/b.png"}))
    assert not needs_get(ProbeResponse(429, {}))  # not asked twice for that
    for status in (400, 401, 403, 404, 405, 500, 501):
        assert needs_get(ProbeResponse(status, PNG))
    for more in ({"content-type": "text/html"}, {"content-length": "0"}):
        assert needs_get(ProbeResponse(200, PNG | more))
    assert needs_get(ProbeResponse(200, {"content-type": "image/png"}))


@pytest.mark.parametrize(
    ("kind", "size", "said"),
    [
        ("image", 50_000_000, None),
        ("image", 51_000_000, "sends 51 MB, and RunComfy recommends 50 MB at most"),
        ("video", 51_000_000, None),
        ("video", 101_000_000, "sends 101 MB, and RunComfy recommends 100 MB at most"),
        ("audio", 10**12, None),
        ("", 10**12, None),
    ],
)
def test_a_file_over_the_recommended_size_is_a_warning(
    kind: str, size: int, said: str | None
) -> None:
    whole = ProbeResponse(200, {"content-length": str(size)})
    piece = ProbeResponse(206, {"content-length": "1", "content-range": f"bytes 0-0/{size}"})

    for answer in (whole, piece):
        flaw = response_problem(answer, kind)
        assert (flaw.what if flaw else None) == said
        assert flaw is None or not flaw.sure


@pytest.mark.parametrize("text", ["", "*", "bytes 0-0/*", "bytes 0-0/-3", "x/" + "9" * 5000])
def test_a_size_that_the_host_does_not_say_is_no_problem(text: str) -> None:
    assert response_problem(ProbeResponse(206, {"content-range": text}), "image") is None


# -- asking ----------------------------------------------------------------------------------------


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


Answering = Callable[[Asked], tuple[int, dict[str, str], bytes] | None]


@dataclass
class Site:
    """Hosts on one port of this computer, behind TLS, and what they were asked.

    answers: by path. names: the addresses of each host. lookups: the hosts that were looked up.
    timing: of those who ask. public: addresses that are taken for public ones.
    pause: seconds before an answer. drips: whether it comes a byte at a time and never ends.
    offline: whether the name server is out of reach.
    """

    port: int = 0
    timing: Timing = DEFAULT_TIMING
    public: set[str] = field(default_factory=lambda: {"127.0.0.1"})
    answers: dict[str, Answering] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    pause: float = 0.0
    drips: bool = False
    offline: bool = False

    def url(self, path: str, host: str = FILES) -> str:
        return f"https://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]

    def says(
        self, path: str, status: int = 200, headers: dict[str, str] = PNG, body: bytes = b"x" * 70
    ) -> str:
        """Answer everything at `path` alike; return its URL."""
        self.answers[path] = lambda asked: (status, headers, body)
        return self.url(path)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        method, path, _ = first.split()
        named = (line.partition(": ") for line in lines)
        asked = Asked(method, path, {name.lower(): value for name, _, value in named})
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(self.pause)
        self.at_once -= 1
        while self.drips:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.05)
        found = self.answers[path](asked)
        if found is not None:
            status, headers, body = found
            more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {status} x\r\n{more}\r\n".encode())
            writer.write(body if method == "GET" else b"")
            await writer.drain()

    async def resolve(self, host: str, port: int) -> list[str]:
        self.lookups.append(host)
        if self.offline:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host[0].isdigit():
            return [host]
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]

    def address_kind(self, address: str) -> str | None:
        return None if address in self.public else non_public_kind(address)

    def probe(self, timing: Timing = DEFAULT_TIMING) -> UrlProbe:
        """A probe that resolves names as this site says."""
        return UrlProbe(self.timing, resolve=self.resolve, address_kind=self.address_kind)


Handed = dict[str, Any]


@pytest.fixture
def handed() -> Handed:
    """What `main` is called with for `check`; a site adds the probe that finds its hosts."""
    return {}


@pytest.fixture
def site(here: Path, handed: Handed) -> Iterator[Site]:
    """Two hosts with valid certificates."""
    site = Site(names={FILES: ["127.0.0.1"], OTHER: ["127.0.0.1"]})
    with (
        trusted(here) as authority,
        listening(site.talk, tls=certificate(authority, "*.pictures.example")) as site.port,
    ):
        handed["open_probe"] = site.probe
        yield site


Check = Callable[..., Outcome]


@pytest.fixture
def check(batchgen: Command, write: Write, handed: Handed) -> Check:
    """Validate a list with a row for each of `inputs`, named `row-1` and so on."""

    def check_it(*inputs: object, option: str = "--check-urls") -> Outcome:
        rows = [{"image": one} if isinstance(one, str) else one for one in inputs]
        lines = [json.dumps({"id": f"row-{n}", **row}) for n, row in enumerate(rows, start=1)]
        manifest = write("edits.jsonl", "\n".join(lines))
        schema = write("schema.json", json.dumps(SCHEMA))
        words = [option] if option else []
        options = ("--model", MODEL, "--schema", schema, *words)
        return batchgen("validate", manifest, *options, **handed)

    return check_it


def test_a_list_whose_files_are_all_there_is_valid(check: Check, site: Site) -> None:
    done = check(site.says("/a.png"), site.says("/b.png"))

    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == "2 rows in edits.jsonl, all valid. 2 URLs probed.\n"
    assert sorted(site.paths()) == ["HEAD /a.png", "HEAD /b.png"]


def test_without_the_option_nobody_is_asked(check: Check, site: Site) -> None:
    done = check(site.says("/a.png", 404), option="")

    assert (done.code, done.stdout) == (0, "1 row in edits.jsonl, all valid.\n")
    assert (site.asked, site.lookups) == ([], [])


def test_a_list_without_urls_says_so(check: Check, site: Site) -> None:
    done = check({"prompt": site.url("/no-file-input.png")})

    assert done.stdout == "1 row in edits.jsonl, all valid. There are no URLs to probe.\n"


def test_lists_of_urls_are_asked_about_too_and_the_place_in_them_is_said(
    check: Check, site: Site
) -> None:
    good, bad = site.says("/a.png"), site.says("/b.png", 404)

    done = check({"images": [good, bad]}, {"masks": [good, good, site.says("/c.png", 404)]})

    assert [line for line in done.stderr.splitlines() if line.startswith("edits")] == [
        f'edits.jsonl:1: row "row-1", images[2]: {FILES} answers 404 Not Found',
        f'edits.jsonl:2: row "row-2", masks[3]: {FILES} answers 404 Not Found',
    ]


def test_a_file_that_is_not_there_is_a_problem_of_its_row(check: Check, site: Site) -> None:
    done = check(site.says("/a.png"), site.says("/b.png?signature=secret", 404))

    assert (done.code, done.stdout) == (65, "")
    assert done.stderr == (
        f'edits.jsonl:2: row "row-2", image: {FILES} answers 404 Not Found\n'
        f"  {url_rules.REMEDY_LOGIN}\n"
        "1 problem in edits.jsonl. Nothing was sent.\n"
        "  2 URLs probed.\n"
    )


def test_a_url_in_many_rows_is_asked_once_and_told_once(check: Check, site: Site) -> None:
    bad = site.says("/a.png", 404)

    done = check(site.says("/b.png"), *[bad] * 40)

    assert site.paths().count("HEAD /a.png") == 1
    first, *_, last, _ = done.stderr.splitlines()
    assert first.startswith('edits.jsonl:2: row "row-2", image: ')
    assert first.endswith("answers 404 Not Found (and in 39 more rows)")
    assert last == "1 problem in edits.jsonl. Nothing was sent."


def test_problems_of_the_schema_and_of_urls_are_told_together(check: Check, site: Site) -> None:
    bad = site.says("/a.png", 404)

    done = check({"prompt": 7, "image": site.says("/unasked.png")}, bad)

    assert done.code == 65
    assert "prompt: 7 is not a text" in done.stderr
    assert "answers 404" in done.stderr
    assert "2 problems in edits.jsonl." in done.stderr
    assert {one.path for one in site.asked} == {"/a.png"}


def test_neither_token_nor_cookies_are_sent(check: Check, site: Site) -> None:
    cookie = PNG | {"set-cookie": "visit=1; Path=/; Domain=pictures.example"}

    check(*[site.says(f"/{n}.png", headers=cookie) for n in range(20)])

    assert len(site.asked) == 20
    for one in site.asked:
        assert not {"cookie", "authorization"} & one.headers.keys()
        assert TOKEN not in str(one)


@pytest.mark.parametrize("refusal", [400, 403, 404, 405, 500, 501, None])
def test_a_host_that_refuses_head_is_asked_for_the_first_byte(
    check: Check, site: Site, refusal: int | None
) -> None:
    part = {"content-type": "image/png", "content-length": "1", "content-range": "bytes 0-0/70"}

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        if asked.method == "GET":
            return 206, part, b"x"
        return (refusal, {}, b"") if refusal else None

    site.answers["/a.png"] = answer

    assert check(site.url("/a.png")).code == 0
    assert [one.method for one in site.asked] == ["HEAD", "GET"]
    assert site.asked[1].headers["range"] == "bytes=0-0"


def test_no_more_than_the_beginning_is_read_of_a_host_that_sends_everything(
    check: Check, site: Site
) -> None:
    endless = {"content-type": "image/png", "content-length": str(40_000_000)}
    site.answers["/a.png"] = lambda asked: (
        (405, {}, b"") if asked.method == "HEAD" else (200, endless, b"x" * 1000)
    )

    assert check(site.url("/a.png")).code == 0


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (401, PNG, b"", "answers 401 Unauthorized"),
        (403, PNG, b"", "answers 403 Forbidden"),
        (410, PNG, b"", "answers 410 Gone"),
        (418, PNG, b"", "answers 418 I'm a Teapot"),
        (204, {}, b"", "answers 204 No Content"),
        (302, {"content-length": "0"}, b"", "answers 302 Found"),
        (416, {"content-length": "0"}, b"", "sends an empty file"),
        (200, {"content-type": "image/png", "content-length": "0"}, b"", "sends an empty file"),
        (200, {"content-type": "text/html; charset=UTF-8"}, b"<", "sends a web page, not a file"),
        (200, {"content-type": "Application/XHTML+xml"}, b"<", "sends a web page, not a file"),
    ],
)
def test_what_runcomfy_could_not_use_is_a_problem(
    check: Check, site: Site, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    done = check(site.says("/a.png", status, headers, body))

    assert done.code == 65
    assert f'row "row-1", image: {FILES} {said}\n' in done.stderr


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
def test_what_may_be_otherwise_tonight_is_a_warning(check: Check, site: Site, status: int) -> None:
    done = check(site.says("/a.png", status))

    assert done.code == 0
    assert f'row "row-1", image: warning: {FILES} answers {status}' in done.stderr
    assert done.stdout.endswith("all valid. 1 URL probed, 1 warning.\n")


def test_a_host_that_says_429_is_left_alone(check: Check, site: Site) -> None:
    done = check(*[site.says(f"/{n}.png", 429) for n in range(30)])

    assert done.code == 0
    assert len(site.asked) <= url_probe.MAX_PROBES_PER_HOST
    assert done.stdout.endswith("30 URLs probed, 30 warnings.\n")
    assert f"and 20 more: image: warning: {FILES} answers 429 Too Many Requests" in done.stderr


def test_a_host_that_does_not_answer_is_left_alone_after_a_few(check: Check, site: Site) -> None:
    site.timing = replace(DEFAULT_TIMING, probe_step=0.1)
    wire = Wire()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.hearing(writer)
        await silence(reader, writer)

    with listening(mute) as site.port:
        done = check(*[site.url(f"/{n}.png") for n in range(30)])

    assert done.code == 0
    assert f"warning: {FILES} did not answer in" in done.stderr
    assert len(wire.heard) <= url_probe.MAX_TIMEOUTS_PER_HOST + url_probe.MAX_PROBES_PER_HOST


def test_a_host_that_answers_a_byte_at_a_time_is_given_up(check: Check, site: Site) -> None:
    site.timing = replace(DEFAULT_TIMING, probe_total=0.3)
    site.drips = True

    assert f"warning: {FILES} did not answer in" in check(site.says("/a.png")).stderr


def test_few_are_asked_at_once_and_fewer_of_one_host(check: Check, site: Site) -> None:
    site.pause = 0.25

    assert check(*[site.says(f"/{n}.png") for n in range(12)]).code == 0
    assert site.most_at_once <= url_probe.MAX_PROBES_PER_HOST

    site.names = {f"h{n}.pictures.example": ["127.0.0.1"] for n in range(20)}
    assert check(*[site.url("/1.png", host) for host in site.names]).code == 0
    assert url_probe.MAX_PROBES_PER_HOST < site.most_at_once <= url_probe.MAX_PROBES


# -- redirects -------------------------------------------------------------------------------------


def test_a_redirect_is_followed_to_another_host(check: Check, site: Site) -> None:
    site.says("/b.png")

    assert check(site.says("/a.png", 302, {"location": site.url("/b.png", OTHER)})).code == 0
    assert site.paths() == ["HEAD /a.png", "HEAD /b.png"]
    assert site.asked[1].headers["host"] == f"{OTHER}:{site.port}"


def test_the_end_of_a_redirect_is_judged(check: Check, site: Site) -> None:
    site.says("/login", headers={"content-type": "text/html"})

    done = check(site.says("/a.png", 307, {"location": site.url("/login", OTHER)}))

    assert f"{FILES} redirects to {OTHER}, which sends a web page, not a file\n" in done.stderr


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://other.pictures.example/b.png", f"{FILES} redirects to {OTHER}, which is named"),
        ("https://10.0.0.5/latest", "10.0.0.5, which is a private address"),
        ("https://169.254.169.254/", "169.254.169.254, which is a link-local address"),
        ("https://nas.pictures.example/", "nas.pictures.example, which is at 192.168.1.20"),
        ("https://user:pw@other.pictures.example/", "which is asked with a user name"),
        ("ftp://other.pictures.example/b.png", "which is named without https://"),
        ("file:///etc/passwd", "is named without https://"),
        ("https://[::1", "leads to an address that is no URL"),
    ],
)
def test_a_redirect_leads_nowhere_that_the_list_could_not_name(
    check: Check, site: Site, location: str, said: str
) -> None:
    site.names["nas.pictures.example"] = ["192.168.1.20"]

    done = check(site.says("/a.png", 301, {"location": location}))

    assert done.code == 65
    assert said in done.stderr
    assert site.paths() == ["HEAD /a.png"]


def test_redirects_are_followed_five_times(check: Check, site: Site) -> None:
    for n in range(5):
        site.says(f"/{n}", 302, {"location": f"/{n + 1}"})
    site.says("/5")
    assert check(site.url("/0")).code == 0

    site.says("/5", 302, {"location": "/0"})
    done = check(site.url("/0"))

    assert done.code == 65
    assert f"{FILES} redirects more than 5 times" in done.stderr


# -- who is asked ----------------------------------------------------------------------------------


def test_a_name_for_a_private_address_is_not_asked(check: Check, site: Site) -> None:
    site.names[FILES] = ["127.0.0.1", "10.0.0.5"]

    done = check(site.says("/a.png"))

    assert done.code == 65
    assert f"{FILES} is at 10.0.0.5, a private address, which RunComfy cannot reach" in done.stderr
    assert site.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]"])
def test_this_computer_is_not_asked_by_whatever_name(check: Check, here: Path, host: str) -> None:
    wire = Wire()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.hearing(writer)

    with listening(hear) as port:
        done = check(f"https://{host}:{port}/a.png")

    assert done.code == 65
    assert "a loopback address, which RunComfy cannot reach" in done.stderr
    assert wire.heard == []


def test_a_name_is_looked_up_once_and_what_was_judged_is_asked(check: Check, site: Site) -> None:
    # The name is known to the test alone: only the judged address can have led to the server.
    site.answers["/a.png"] = lambda asked: (405, {}, b"") if asked.method == "HEAD" else (
        200, PNG, b"x")  # fmt: skip

    assert check(site.url("/a.png")).code == 0
    assert site.lookups == [FILES]
    assert [one.headers["host"] for one in site.asked] == [f"{FILES}:{site.port}"] * 2


def test_the_next_address_of_a_host_is_asked_if_one_is_dead(check: Check, site: Site) -> None:
    site.public.add("::1")
    site.names[FILES] = ["::1", "127.0.0.1"]  # the server listens at the second only

    assert check(site.says("/a.png")).code == 0


def test_a_user_name_in_a_url_is_a_problem(check: Check, site: Site) -> None:
    done = check(f"https://me:secret@{FILES}:{site.port}/a.png")

    assert done.code == 65
    assert f"{FILES} is asked with a user name, and RunComfy has no login" in done.stderr
    assert "secret" not in done.stderr
    assert site.asked == []


def test_a_name_that_does_not_exist_is_a_problem(check: Check, site: Site) -> None:
    done = check("https://flies.pictures.example/a.png", f"https://{'a' * 64}.example/a.png")

    assert done.code == 65
    assert "flies.pictures.example has no address; the name may be misspelt" in done.stderr
    assert "2 problems" in done.stderr


def test_a_name_server_that_is_out_of_reach_is_a_warning(check: Check, site: Site) -> None:
    site.offline = True

    done = check(site.says("/a.png"))

    assert done.code == 0
    assert f"warning: {FILES} could not be reached (gaierror: " in done.stderr


def test_a_port_where_nobody_listens_is_a_problem(check: Check, site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = check(f"https://{FILES}:{taken.getsockname()[1]}/a.png")

    assert done.code == 65
    assert f"{FILES} refuses connections" in done.stderr


@pytest.mark.parametrize("fault", ["another name", "nobody vouches"])
def test_a_host_that_cannot_show_who_it_is_is_a_problem(
    check: Check, here: Path, handed: Handed, fault: str
) -> None:
    site = Site(names={FILES: ["127.0.0.1"]})
    with trusted(here) as authority:
        wrong = certificate(authority, "elsewhere.example")
        tls = wrong if fault == "another name" else self_signed(authority)
        with listening(site.talk, tls=tls) as site.port:
            handed["open_probe"] = site.probe
            done = check(site.says("/a.png"))

    assert done.code == 65
    assert f"{FILES} has no valid certificate (" in done.stderr
    assert site.asked == []


def test_a_host_that_hangs_up_is_a_warning(check: Check, site: Site) -> None:
    site.answers["/a.png"] = lambda asked: None

    done = check(site.url("/a.png"))

    assert done.code == 0
    assert f"warning: {FILES} could not be reached (RemoteProtocolError" in done.stderr


def test_what_a_proxy_does_not_let_through_is_a_warning(
    check: Check, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(proxy(Wire(), None, "407 Proxy Authentication Required")) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        refused = check(site.says("/a.png"))
    gone = check(site.says("/a.png"))
    unknown = check("https://flies.pictures.example/a.png")

    assert (refused.code, gone.code, unknown.code) == (0, 0, 0)
    assert f"warning: {FILES} could not be reached (ProxyError: 407" in refused.stderr
    assert f"warning: {FILES} could not be reached (ConnectError" in gone.stderr
    assert "warning: flies.pictures.example could not be reached (gaierror" in unknown.stderr


def test_a_proxy_of_the_environment_is_used(
    check: Check, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire()
    with listening(proxy(wire, relay(f"https://127.0.0.1:{site.port}"))) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert check(site.says("/a.png")).code == 0
        assert check("https://10.0.0.5/a.png").code == 65  # whatever the proxy could reach
        monkeypatch.setenv("NO_PROXY", "pictures.example")
        assert check(site.says("/a.png")).code == 0

    assert len(wire.heard) == 1
    assert wire.heard[0].startswith(f"CONNECT {FILES}:{site.port} ".encode())
    assert site.paths() == ["HEAD /a.png"] * 2
