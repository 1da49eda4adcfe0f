"""Messages through apprise to servers on this computer: a mail server, and one that takes JSON."""

import asyncio
import base64
import email
import email.policy
import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Write
from helpers import PATIENT, TOKEN, many, table, until
from PIL import Image
from sandbox_client import Control
from servers import HOST, listening, silence

from batchgen.notify.contact_sheet import MAX_PICTURES, write_contact_sheet

# Messages are sent by a process.
pytestmark = pytest.mark.with_processes
needs_apprise = pytest.mark.usefixtures("apprise")
PASSWORD = "a-password-of-the-mail-server"


@pytest.fixture
def apprise() -> None:
    pytest.importorskip("apprise", reason="the extra `notify` is not installed")


@dataclass
class MailServer:
    """Takes every mail. Source: RFC 5321, RFC 4954."""

    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            if word == "EHLO":
                writer.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            elif word == "AUTH":
                self.logins.append(base64.b64decode(line.split()[2]).decode())
                writer.write(b"235 yes\r\n")
            elif word == "DATA":
                writer.write(b"354 go on\r\n")
                text = await reader.readuntil(b"\r\n.\r\n")
                policy = email.policy.default
                self.mails.append(email.message_from_bytes(text[:-5], policy=policy))
                writer.write(b"250 taken\r\n")
            else:
                writer.write(b"250 fine\r\n")


@dataclass
class JsonServer:
    """Takes what apprise's json:// posts. refuses: what has a file with it."""

    posts: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(maxsplit=1)[0])
        post = json.loads(await reader.readexactly(length))
        self.posts.append(post)
        status = b"500 no" if self.refuses and post["attachments"] else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def mail() -> MailServer:
    return MailServer()


@pytest.fixture
def mailto(mail: MailServer) -> Iterator[str]:
    with listening(mail.talk) as port:
        ends = "from=night@example.com&to=me@example.com"
        yield f"mailto://night:{PASSWORD}@{HOST}:{port}?smtp={HOST}&mode=insecure&{ends}"


@pytest.fixture
def server() -> JsonServer:
    return JsonServer()


@pytest.fixture
def url(server: JsonServer) -> Iterator[str]:
    with listening(server.talk) as port:
        yield f"json://{HOST}:{port}/key-0123456789"


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain", "html"))
    assert body is not None
    return str(body.get_content())


@needs_apprise
def test_each_address_is_told_what_happened_what_it_cost_and_what_to_do(
    run: Command, manifest: str, folder: Path, sandbox: Control, mail: MailServer, mailto: str,
    server: JsonServer, url: str,
) -> None:  # fmt: skip
    sandbox.fault("422", match="number 2")
    takes_no_pictures = JsonServer(refuses=True)
    gone = f"json://{HOST}:9/secret-0123456789"

    with listening(takes_no_pictures.talk) as port:
        urls = (gone, url, f"json://{HOST}:{port}/key-0123456789", mailto)
        told = [word for one in urls for word in ("--notify", one)]
        outcome = run(manifest, *told, "--notify-pictures", "-v")

    assert outcome.code == 1
    check_the_mail(mail, folder)

    (post,) = server.posts
    assert post["type"] == "failure"
    assert post["title"].startswith("list.csv: new: 1 failed. Not every row is saved")
    (sheet,) = post["attachments"]
    with Image.open(io.BytesIO(base64.b64decode(sheet["base64"]))) as picture:
        assert picture.format == "JPEG"
        assert picture.width > picture.height
        assert len(picture.getcolors(1 << 24) or []) > 3
    assert [len(post["attachments"]) for post in takes_no_pictures.posts] == [1, 0]

    (warning,) = (line for line in outcome.stderr.splitlines() if "could not be sent" in line)
    assert "The message could not be sent: address 1 (json) was not reached" in warning
    assert "address 3" not in warning
    for text in (outcome.stderr, (folder / "batchgen.log").read_text()):
        assert "secret-0123456789" not in text
        assert "key-0123456789" not in text

    run(manifest, "--notify", url)
    assert len(server.posts) == 1  # it is no news any more


def check_the_mail(mail: MailServer, folder: Path) -> None:
    (one,) = mail.mails
    assert mail.logins == [f"\0night\0{PASSWORD}"]
    assert one["To"] == "me@example.com"
    assert "list.csv: new: 1 failed. Not every row is saved: 1 failed." in one["Subject"]
    said = text_of(one)
    for words in ("2 saved, 1 failed", "$0.06", "1 failed: ", f"retry {folder}", "exit code 1"):
        assert words in said
    assert "a heron" not in said
    assert TOKEN not in said


@needs_apprise
def test_a_person_who_wants_to_be_told_of_each_run_is_told_of_one_that_went_well(
    saved: Callable[[int], Path], run: Command, server: JsonServer, url: str
) -> None:
    saved(3)
    words = ["--notify", url, "--notify-when", "always", "--notify-pictures"]
    run("list.csv", "-q", *words)

    (post,) = server.posts
    assert (post["type"], post["title"]) == ("success", "list.csv: Every row is saved.")
    assert post["attachments"] == []  # of a run that saved none


@needs_apprise
def test_a_run_that_did_not_begin_is_told_and_a_rehearsal_only_by_its_command_line(
    batchgen: Command, write: Write, server: JsonServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGEN_NOTIFY", url)
    manifest = write("list.csv", "id,prompt\nx,\n")

    assert batchgen("run", manifest, "--sandbox", "--notify-when", "always").code == 65
    assert server.posts == []
    assert batchgen("run", manifest).code == 65
    (post,) = server.posts
    assert post["title"] == "list.csv: 1 problem in list.csv. Nothing was sent."


@needs_apprise
@pytest.mark.timing(notify=3.0)
def test_a_server_that_says_nothing_is_left_after_the_time(run: Command, manifest: str) -> None:
    with listening(silence) as port:
        ends = "from=night@example.com&to=me@example.com"
        url = f"mailto://me:{PASSWORD}@{HOST}:{port}?smtp={HOST}&mode=insecure&{ends}"
        outcome = run(manifest, "--notify", url, "--notify-when", "always")

    assert outcome.code == 0
    assert "longer than 3 s" in outcome.stderr
    assert PASSWORD not in outcome.stderr


@needs_apprise
def test_an_address_that_apprise_does_not_know_stops_the_run_before_it_pays(
    run: Command, manifest: str, sandbox: Control, url: str
) -> None:
    outcome = run(manifest, "--notify", url, "--notify", "nosuch://secret-0123456789")

    assert outcome.code == 2
    assert "address 2 (nosuch) cannot be used" in outcome.stderr
    assert "Nothing was sent." in outcome.stderr
    assert "secret" not in outcome.stderr
    assert sandbox.posts == 0


@needs_apprise
@PATIENT
def test_a_rehearsal_notifies_an_address_of_its_own_command_line(
    batchgen: Command, manifest: str, server: JsonServer, url: str
) -> None:
    words = ["--sandbox", "--rate", "1000/s", "--notify-when", "always", "--notify", url]
    batchgen("run", manifest, *words)

    (post,) = server.posts
    assert "all pretend" in post["message"]
    assert post["attachments"] == []  # nobody asked for pictures


@needs_apprise
def test_no_list_of_processes_has_an_address(
    start: Callable[..., Any], manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("there is no /proc")
    with listening(silence) as port:
        url = f"json://{HOST}:{port}/key-0123456789"
        monkeypatch.setenv("BATCHGEN_NOTIFY", url)
        running = start(manifest, "--notify-when", "always")
        seen: dict[int, bytes] = {}

        def both() -> bool:
            seen.update(words_of(running.pid))
            return len(seen) == 2

        until(running, both)
        running.send_signal(signal.SIGTERM)
        running.communicate()

    assert any(b"notify_worker" in words for words in seen.values())
    assert not any(b"key-0123456789" in words for words in seen.values())


def words_of(pid: int) -> dict[int, bytes]:
    """The command lines of a process and its worker, as far as they are there."""
    found = {}
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (pid, *map(int, children)):
            words = Path(f"/proc/{one}/cmdline").read_bytes()
            if one == pid or b"notify_worker" in words:
                found[one] = words
    except OSError:
        pass
    return found


def test_without_apprise_nothing_is_paid(
    run: Command, manifest: str, sandbox: Control, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)  # as where it is not installed
    outcome = run(manifest, "--notify", url)

    assert outcome.code == 2
    assert f"{sys.executable} -m pip install 'batchgen[notify]'" in outcome.stderr
    assert sandbox.posts == 0


# -- the sheet -------------------------------------------------------------------------------------


def test_a_sheet_has_no_more_than_its_pictures_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.jpg"
    (tmp_path / "0.png").write_bytes(b"no picture")
    for number in range(1, 40):
        Image.new("RGBA", (30, 900), (number, 90, 0, 200)).save(tmp_path / f"{number}.png")

    assert write_contact_sheet(sheet, [tmp_path / f"{number}.png" for number in range(40)])
    with Image.open(sheet) as picture:
        assert picture.height < picture.width
        assert picture.width * picture.height < MAX_PICTURES * 300 * 300


def test_of_no_pictures_there_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no picture")

    assert not write_contact_sheet(tmp_path / "sheet.jpg", [tmp_path / "0.png"])
    assert not write_contact_sheet(tmp_path / "sheet.jpg", [])
