"""What was checked is what is sent, from a file that nobody holds in memory."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import change, query, states, tally
from PIL import Image
from sandbox_client import Control
from servers import listening, relay

from batchgen.api.body import StreamedBody
from batchgen.core.local_files import FileChanged
from batchgen.inputs.find_files import LocalFiles
from batchgen.inputs.payload import Payloads
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.sandbox import Address

MODEL = "atelier/retouch/edit"
NAMES = ("heron", "owl", "fox")


def picture(path: Path, colour: str = "teal") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), colour).save(path)
    return path


@pytest.fixture
def photos(here: Path, write: Write) -> str:
    """A list of three rows, each with a picture of its own; its name."""
    for name, colour in zip(NAMES, ("teal", "olive", "red"), strict=True):
        picture(here / "photos" / f"{name}.png", colour)
    rows = (f"{name},{name} as a woodcut,photos/{name}.png\n" for name in NAMES)
    return write("list.csv", "id,prompt,image\n" + "".join(rows))


@pytest.fixture
def payloads(here: Path) -> Iterator[Payloads]:
    with closing(Payloads(LocalFiles(AllowedPaths(here)), here)) as found:
        yield found


def whole(payloads: Payloads, **input: object) -> bytes:
    """The body for an input, as it is sent."""
    body = asyncio.run(payloads.open(json.dumps(input, ensure_ascii=False)))
    assert isinstance(body, StreamedBody)
    content = b"".join(body)
    assert len(content) == len(body)
    body.close()
    return content


def stands_for(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": sha256(path.read_bytes()).hexdigest()}


def uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


# The body


@pytest.mark.parametrize("tail", [b"", b"x", b"xx", b"x" * 100_000])
def test_a_body_is_the_input_with_the_files_as_data_uris(
    payloads: Payloads, here: Path, tail: bytes
) -> None:
    one, other = picture(here / "a.png"), picture(here / "b.png", "red")
    with one.open("ab") as file:
        file.write(tail)
    plain = {"prompt": "“Wärme”, 42 °C\n", "seed": 7.0, "lora": {"path": "a"}, "n": None}

    sent = whole(
        payloads,
        **plain,
        image=stands_for(one),
        references=[stands_for(one), "https://example.com/a.png", stands_for(other)],
    )
    assert json.loads(sent) == {
        **plain,
        "image": uri(one),
        "references": [uri(one), "https://example.com/a.png", uri(other)],
    }


def test_between_two_files_the_text_of_a_body_is_one_piece(payloads: Payloads, here: Path) -> None:
    """Each piece is written to the connection by itself, and a workflow has hundreds of values."""
    file = stands_for(picture(here / "a.png"))
    nodes = {f"{n}": {"class_type": "Text", "inputs": {"text": "a", "seed": n}} for n in range(300)}
    input = {"first": file, "nodes": nodes, "last": {"image": file}}

    body = asyncio.run(payloads.open(json.dumps(input)))

    assert isinstance(body, StreamedBody)
    assert len([*body]) == 5
    body.close()


def test_a_body_without_files_is_the_text_of_the_journal(payloads: Payloads) -> None:
    for text in ('{"prompt": "a",  "seed":7}', '{"prompt": "\\"sha256\\"", "x": {"sha256": 1}}'):
        assert asyncio.run(payloads.open(text)) == text.encode()


def test_a_file_that_is_written_to_while_it_is_sent_is_sent_as_it_was(
    payloads: Payloads, here: Path
) -> None:
    path = picture(here / "a.png")
    before = uri(path)
    body = asyncio.run(payloads.open(json.dumps({"image": stands_for(path)})))
    with path.open("r+b") as file:
        file.write(b"something else")

    assert isinstance(body, StreamedBody)
    assert json.loads(b"".join(body)) == {"image": before}
    body.close()


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        (lambda path: picture(path, "red"), "has changed since it was checked"),
        (Path.unlink, "cannot be read any more (no such file or directory)"),
        (lambda path: [path.unlink(), os.mkfifo(path)], "is not a regular file"),
        (lambda path: [path.unlink(), path.symlink_to("/etc/hostname")], "does not lie below"),
    ],
)  # fmt: skip
def test_a_file_that_is_another_now_gives_no_body(
    payloads: Payloads, here: Path, meanwhile: Callable[[Path], object], why: str
) -> None:
    path = picture(here / "a.png")
    input = json.dumps({"image": stands_for(path)})
    meanwhile(path)

    with pytest.raises(FileChanged) as raised:
        asyncio.run(payloads.open(input))
    assert why in str(raised.value)
    assert "a.png" in str(raised.value)


# A run


def test_the_service_gets_the_files_and_the_first_row_goes_alone(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    assert run(photos, "--model", MODEL).code == 0

    assert tally(folder) == {"saved": 3}
    sent = [json.loads(row["input"])["image"] for row in sandbox.ledger()]
    hashes = [stands_for(here / "photos" / f"{name}.png")["sha256"] for name in NAMES]
    assert sorted(sent) == sorted(f"data:sha256:{one}" for one in hashes)
    assert [*folder.glob("*.part"), *folder.glob("tmp*")] == []
    first, *others = [at for (at,) in query(folder, "SELECT at FROM events WHERE event = 'send'")]
    ((accepted,),) = query(folder, "SELECT MIN(at) FROM events WHERE event = 'accepted'")
    assert first < accepted <= min(others)


def test_an_unchanged_list_with_unchanged_files_is_not_read_again(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    unread = " has not changed since it was read last."
    for _ in range(3):
        assert run(photos, "--model", MODEL, "--limit", 1).code in (0, 75)
    log = folder / "batchgen.log"
    assert log.read_text().count(unread) == 2

    # The same bytes, at another time: read again, and nothing is new.
    path = here / "photos" / "owl.png"
    shutil.copy(path, here / "copy.png")
    (here / "copy.png").replace(path)
    assert run(photos, "--model", MODEL).code == 0
    assert log.read_text().count(unread) == 2
    assert sandbox.posts == 3


def test_a_file_that_changes_during_the_run_is_not_sent_and_the_others_are(
    run: Command,
    folder: Path,
    here: Path,
    photos: str,
    sandbox: Control,
    schemas: dict[str, Path],
    address: Address,
) -> None:
    owl = here / "photos" / "owl.png"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (here / "changed").exists():  # the price is asked for when the list has been read
            (here / "changed").touch()
            picture(owl, "black")
        await relay(address.base_url)(reader, writer)

    words = ["--model", MODEL, "--schema", schemas[MODEL]]
    with listening(talk) as port:
        outcome = run(photos, *words, "--base-url", f"http://127.0.0.1:{port}/v1")
    assert outcome.code == 75
    assert (
        "list.csv:3: row 'owl': 'photos/owl.png' has changed since it was checked. It was not"
        " sent, and stays pending." in outcome.stderr
    )
    assert states(folder) == {"heron": "saved", "owl": "pending", "fox": "saved"}
    assert sandbox.posts == 2

    assert run(photos, *words).code == 0  # the changed picture is another row, and is paid for
    assert states(folder) == dict.fromkeys(NAMES, "saved")
    assert sandbox.posts == 3


def test_a_service_that_takes_no_data_uri_stops_the_model_and_says_what_works(
    run: Command, folder: Path, photos: str, sandbox: Control
) -> None:
    sandbox.fault("no-data-uri", times=None)
    outcome = run(photos, "--model", MODEL)

    assert outcome.code == 75
    assert "list.csv:2: row 'heron': it refused the first local file" in outcome.stderr
    assert "what works for sure is the public https:// address of a file" in outcome.stderr
    assert states(folder) == dict.fromkeys(NAMES, "pending")
    assert sandbox.posts == 1


def test_a_refusal_of_another_input_fails_its_row_alone(
    run: Command, folder: Path, photos: str, sandbox: Control
) -> None:
    sandbox.fault("422", match="heron")  # of the prompt
    assert run(photos, "--model", MODEL).code == 1

    assert states(folder) == {"heron": "failed", "owl": "saved", "fox": "saved"}


def test_a_refusal_after_a_file_was_taken_fails_its_row_alone(
    run: Command, folder: Path, photos: str, sandbox: Control
) -> None:
    run(photos, "--model", MODEL, "--limit", 1)
    sandbox.fault("no-data-uri", match="owl")

    assert run(photos, "--model", MODEL).code == 1
    assert states(folder) == {"heron": "saved", "owl": "failed", "fox": "saved"}


def test_an_answer_that_repeats_the_file_leaves_no_trace_of_it(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    sent = uri(here / "photos" / "heron.png")
    detail = [{"loc": ["body", "image"], "msg": f"not taken: {sent}", "input": sent}]
    sandbox.fault("status", value=[422, {"detail": detail}], match="heron")
    sandbox.fault("status", value=[500, {"message": "no", "input": sent}], match="owl")
    outcome = run(photos, "--model", MODEL, "-v")

    assert outcome.code == 75
    content = sent.partition(",")[2]
    assert content[:60] not in outcome.stderr
    for path in folder.rglob("*"):
        if path.is_file():
            assert content[:60].encode() not in path.read_bytes(), path


def test_a_lost_answer_to_a_row_with_a_file_is_settled_as_any_other(
    run: Command, batchgen: Command, folder: Path, photos: str, sandbox: Control, reach: list[str]
) -> None:
    sandbox.fault("lost", match="owl")
    assert run(photos, "--model", MODEL).code == 1
    assert states(folder)["owl"] == "unknown"
    assert "owl.png" in batchgen("resolve", folder).stdout
    assert batchgen("status", folder).code == 0

    assert batchgen("resolve", folder, "--id", "owl", "--send-again", "--yes").code == 0
    assert run(photos, "--model", MODEL).code == 0
    assert batchgen("verify", folder, *reach).code == 0
    assert sandbox.posts == 4


def test_a_journal_of_a_stranger_sends_no_file_that_its_list_may_not_name(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    run(photos, "--model", MODEL, "--limit", 2)
    secret = picture(here.parent / "secret.png", "pink")
    stands = {"file": str(secret), "sha256": sha256(secret.read_bytes()).hexdigest()}
    text = json.dumps({"prompt": "fox as a woodcut", "image": stands})
    change(folder, "UPDATE requests SET input = ? WHERE id = 'fox'", text)
    outcome = run(photos, "--model", MODEL)

    assert outcome.code == 0
    sent = [json.loads(row["input"])["image"] for row in sandbox.ledger()]
    assert f"data:sha256:{stands['sha256']}" not in sent


# Memory

STREAM = """
import asyncio, json, resource, sys
from pathlib import Path
from batchgen.inputs.find_files import LocalFiles
from batchgen.inputs.payload import Payloads
from batchgen.manifest.allowed_paths import AllowedPaths

from batchgen.api.client import ApiClient
from batchgen.core.timing import DEFAULT_TIMING

here, base, sha256 = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
text = json.dumps({"prompt": "a", "film": {"file": "film.bin", "sha256": sha256}})

async def nothing():
    pass

async def main():
    payloads = Payloads(LocalFiles(AllowedPaths(here)), here)
    async with ApiClient(base, "a-token", False, DEFAULT_TIMING) as client:
        async def one():
            body = await payloads.open(text)
            answer = await client.post_once("/models/a/b", body, nothing)
            assert answer.request_id == "r", answer
            body.close()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.gather(*(one() for _ in range(4)))
    payloads.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


def test_four_bodies_of_64_mib_need_no_memory(here: Path) -> None:
    path = here / "film.bin"
    piece = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(47):
            file.write(piece)
    digest = sha256(path.read_bytes()).hexdigest()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        assert left > 62 << 20
        while left > 0:
            left -= len(await reader.read(1 << 20))
        answer = b'{"request_id": "r"}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ")
        writer.write(b"%d\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()

    with listening(talk) as port:
        words = [str(here), f"http://127.0.0.1:{port}/v1", digest]
        found = subprocess.run(
            [sys.executable, "-c", STREAM, *words], capture_output=True, text=True, check=False
        )
    assert found.returncode == 0, found.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(found.stdout) * unit < 12 << 20, found.stdout
    assert [*here.glob("tmp*")] == []
