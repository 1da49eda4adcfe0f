"""Whatever a host sends for a paid request is saved, by what it is and under a safe name."""

import asyncio
import csv
import gzip
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import Outcome, error_of, media, query, states, table
from PIL import Image
from sandbox_client import Control
from servers import listening

pytestmark = pytest.mark.timing(download_tries=2)
SVG = b'<?xml version="1.0"?>\n<!-- drawn --><svg xmlns="http://www.w3.org/2000/svg"/>'
PAGE = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
UNDECODED = "kept as it came, not decoded"

Fetch = Callable[..., Outcome]


def picture(kind: str = "PNG") -> bytes:
    into = io.BytesIO()
    Image.new("RGB", (20, 10), "teal").save(into, kind)
    return into.getvalue()


@pytest.fixture
def fetch(run: Command, write: Write, sandbox: Control) -> Iterator[Fetch]:
    """Run a row, `heron`, whose output is `content` at a URL that ends in `name`."""
    answers: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[-1])
        await writer.drain()

    with listening(talk) as port:

        def fetch_it(
            name: str, content: bytes, *options: object, id: str = "heron", **headers: str
        ) -> Outcome:
            lines = [
                f"{key.replace('_', '-')}: {value}\r\n"
                for key, value in {**headers, "content_length": str(len(content))}.items()
            ]
            answers.append(f"HTTP/1.1 200 OK\r\n{''.join(lines)}\r\n".encode() + content)
            sandbox.fault(
                "media-other-host", times=None, value=f"http://127.0.0.1:{port}/out/{name}"
            )
            manifest = write("list.csv", table({id: "a heron"}))
            return run(manifest, "--media-host", f"127.0.0.1:{port}", *options)

        yield fetch_it


@pytest.mark.parametrize(
    ("name", "content", "kind", "path"),
    [
        ("picture.png", SVG, "image/svg+xml", "files/heron.svg"),
        ("model.glb?sign=x.png", b"glTF" + bytes(80), "binary/octet-stream", "files/heron.glb"),
        ("scan", b"II*\0" + bytes(80), "", "files/heron.tif"),
        ("scene.usdz", b"PK\3\4" + bytes(80), "application/zip", "files/heron.usdz"),
        ("picture.png", b"PK\3\4" + bytes(80), "image/png", "files/heron.zip"),
        ("speech.mp3", b"\xff\xf1\x50\x80\x1f\xfc" + bytes(80), "audio/mpeg", "files/heron.aac"),
        ("weights.safetensors", b"\x40" + bytes(80), "", "files/heron.safetensors"),
        ("cloud", b"\x40" + bytes(80), "model/splat", "files/heron.splat"),
        ("index.html", PAGE, "text/html", "files/heron.html"),
        ("facts.json", b'{"seed": 7}', "application/json", "files/heron.json"),
        ("scene.gltf", b'{"asset": {}}', "", "files/heron.gltf"),
        ("words.txt", b"a caption", "text/plain", "files/heron.txt"),
        ("words.txt", b"", "text/plain", "files/heron.txt"),
        ("caption", "a caption, “so”".encode(), "text/plain", "files/heron.txt"),
        ("mesh.obj", b"v 0 0 0\nv 1 0 0\n", "", "files/heron.obj"),
        ("setup.sh", b"rm -rf /", "text/x-sh", "files/heron.txt"),
        ("x.php", b"<?php system($_GET[0]); ?>", "text/plain", "files/heron.txt"),
        ("x.phtml", b"\x40" + bytes(80), "model/splat", "files/heron.splat"),
        ("x.aspx", b"<% eval request(0) %>", "", "files/heron.txt"),
        ("x.inetloc", b"<?xml version='1.0'?><plist/>", "", "files/heron.xml"),
        ("photo.png", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x0cmeta\0\0\0\0"
         + b"\0\0\0\x0cmdat\0\0\0\0", "image/png", "images/heron.heic"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_a_file_that_is_not_decoded_is_saved_and_said_so(
    fetch: Fetch, folder: Path, name: str, content: bytes, kind: str, path: str
) -> None:
    outcome = fetch(name, content, **{"content_type": kind} if kind else {})

    assert (outcome.code, states(folder)) == (0, {"heron": "saved"})
    assert [(folder / path).read_bytes()] == [content]
    journal_kind = "image" if path.startswith("images/") else "file"
    assert query(folder, "SELECT path, kind, note, width FROM outputs") == [
        (path, journal_kind, UNDECODED, None)
    ]
    assert f"{path}: {UNDECODED}" in outcome.stderr
    (row,) = csv.DictReader((folder / "results.csv").read_text(encoding="utf-8").splitlines())
    assert (row["files"], row["note"]) == (path, UNDECODED)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("picture.png", PAGE, "text/html"),
        ("picture", PAGE, "text/plain"),
        ("facts.json", PAGE, "text/html"),
        ("picture.png", b'{"error": "not ready"}', "application/json"),
        ("picture", b"[]", ""),
        ("picture.png", b"", "image/png"),
        ("picture", b"", ""),
        ("picture.svg", b"", "image/svg+xml"),
        ("picture.png", b"Not found", "text/plain"),
        ("model.glb", b"upstream timed out", ""),
        ("file", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ""),
    ],
    ids=itertools.count(),
)
def test_words_instead_of_a_file_are_the_hosts_error(
    fetch: Fetch, folder: Path, name: str, content: bytes, kind: str
) -> None:
    assert fetch(name, content, content_type=kind).code == 1
    assert states(folder) == {"heron": "completed"}
    assert media(folder) == []
    assert ("is text" if content else "is empty") in error_of(folder, "heron")


def test_bytes_that_nobody_has_a_name_for_are_saved_when_they_come_twice(
    fetch: Fetch, folder: Path
) -> None:
    content = b"\r\n" + picture()

    assert fetch("picture.png", content, content_type="image/png").code == 0
    assert media(folder) == ["files/heron.bin"]
    assert (folder / "files" / "heron.bin").read_bytes() == content
    ((note,),) = query(folder, "SELECT note FROM outputs")
    assert "twice the same: nobody can tell what kind of file it is" in note


@pytest.mark.parametrize("packed", [True, False], ids=["compressed", "named so only"])
def test_what_a_host_compresses_unasked_is_saved_as_it_was(
    fetch: Fetch, folder: Path, packed: bool
) -> None:
    content = gzip.compress(picture(), mtime=0) if packed else picture()

    assert fetch("heron.png", content, "--no-provenance", content_encoding="gzip").code == 0
    assert media(folder) == ["images/heron.png"]
    assert (folder / "images" / "heron.png").read_bytes() == picture()
    assert query(folder, "SELECT note FROM outputs") == [(None,)]


@pytest.mark.parametrize(
    ("encoding", "content", "why"),
    [
        ("gzip", gzip.compress(picture(), mtime=0)[:-20], "breaks off"),
        ("gzip", gzip.compress(picture(), mtime=0)[:20] + bytes(90), "damaged"),
        ("br", b"\x8b\x02\x80", "compressed (br)"),
    ],
    ids=["cut short", "damaged", "another way"],
)
def test_what_cannot_be_unpacked_is_not_saved(
    fetch: Fetch, folder: Path, encoding: str, content: bytes, why: str
) -> None:
    assert fetch("heron.png", content, content_encoding=encoding).code == 1
    assert media(folder) == []
    assert why in error_of(folder, "heron")


def test_no_json_output_can_have_the_name_of_a_sidecar(fetch: Fetch, folder: Path) -> None:
    fetch("facts.json", b'{"seed": 7}', "--sidecars", id="heron.zip")

    assert media(folder) == ["files/heron-zip.json", "files/heron-zip.json.json"]
    assert (folder / "files" / "heron-zip.json").read_bytes() == b'{"seed": 7}'


def test_the_gallery_names_such_a_file_and_never_opens_it(fetch: Fetch, folder: Path) -> None:
    fetch("index.html", PAGE, content_type="text/html")

    shown = (folder / "report" / "data" / "rows-1.js").read_text(encoding="utf-8")
    assert '["files/heron.html","file",null,null' in shown
