"""A destination of another kind takes the files of a real batch, and nothing else has to change."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import many, media, provenance_of, query, states, table
from resume import resume
from sandbox_client import Control

from batchgen.core.timing import DEFAULT_TIMING
from batchgen.engine.collector import OutputOptions
from batchgen.files import write_whole
from batchgen.media import provenance
from batchgen.media.check import CheckedFile
from batchgen.media.destination import Destination
from batchgen.media.formats import PNG, Format
from batchgen.media.local_folder import LocalFolder
from batchgen.sandbox import Address

FILES = "SELECT path, sha256 FROM outputs ORDER BY path"


class ContentAddressed:
    """Names each file by its hash, as an object store might; equal files are one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count = 0

    def clear_scratch(self) -> None:
        for part in self._root.glob("scratch-*"):
            part.unlink()

    def scratch(self, format: Format, stem: str) -> Path:
        self._count += 1
        return self._root / f"scratch-{self._count}-{stem}"

    async def keep(
        self, file: CheckedFile, name: str, n: int, is_taken: Callable[[str], Awaitable[bool]]
    ) -> str:
        path = f"{file.format.folder}/{file.sha256}"
        await self.replace(file, path)
        return path

    async def keep_sidecar(self, path: str, text: str) -> None:
        with write_whole(provenance.sidecar(self._at(path))) as file:
            file.write(text)

    @asynccontextmanager
    async def local_copy(self, path: str) -> AsyncIterator[Path]:
        yield self._at(path)

    async def replace(self, file: CheckedFile, path: str) -> None:
        self._at(path).parent.mkdir(exist_ok=True)
        file.part.replace(self._at(path))

    def _at(self, path: str) -> Path:
        return self._root / path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def batch(run: Command, folder: Path, write: Write) -> Path:
    """Three rows that were not sent yet."""
    run(write("list.csv", table(many(3))), "--limit", 0)
    return folder


def test_a_batch_is_saved_in_another_destination(
    batch: Path, address: Address, sandbox: Control, store: Path
) -> None:
    keeping = OutputOptions(provenance=True, sidecars=True, thumbnails=False, max_outputs=100)
    outcome = resume(batch, address, destination=ContentAddressed(store), keeping=keeping)

    assert outcome.code == 0
    assert states(batch) == dict.fromkeys(many(3), "saved")
    assert media(batch) == []
    saved = query(batch, FILES)
    assert [path for path, _ in saved] == [f"images/{sha256}" for _, sha256 in saved]
    for path, sha256 in saved:
        assert hashlib.sha256((store / path).read_bytes()).hexdigest() == sha256
        beside = json.loads((store / f"{path}.json").read_text(encoding="utf-8"))
        assert beside == provenance_of(store / path)
    assert len([*store.rglob("*")]) == 1 + 3 + 3
    assert sandbox.posts == 3


def test_what_a_killed_run_left_in_another_destination_is_cleared(
    batch: Path, address: Address, store: Path
) -> None:
    (store / "scratch-7-half").write_bytes(b"half")
    resume(batch, address, destination=ContentAddressed(store))

    assert [*store.glob("scratch-*")] == []


def test_a_broken_download_leaves_nothing_in_another_destination(
    batch: Path, address: Address, sandbox: Control, store: Path
) -> None:
    sandbox.fault("media-html", times=3 * DEFAULT_TIMING.download_tries)

    assert resume(batch, address, destination=ContentAddressed(store)).code == 1
    assert [path for path in store.rglob("*") if path.is_file()] == []
    assert resume(batch, address, destination=ContentAddressed(store)).code == 0
    assert sandbox.posts == 3


def test_a_damaged_file_of_the_batch_folder_is_put_aside(tmp_path: Path) -> None:
    destination: Destination = LocalFolder(tmp_path)
    part = destination.scratch(PNG, "heron")
    (tmp_path / "images" / "heron.png").write_bytes(b"damaged")
    (tmp_path / "images" / "heron.png.damaged-1").write_bytes(b"damaged before")
    part.write_bytes(b"whole")

    asyncio.run(destination.replace(CheckedFile(part, PNG, 5, "", 1, 1), "images/heron.png"))

    found = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert found == {
        "heron.png": b"whole",
        "heron.png.damaged-1": b"damaged before",
        "heron.png.damaged-2": b"damaged",
    }
    assert asyncio.run(content_of(destination, "images/heron.png")) == b"whole"


async def content_of(destination: Destination, path: str) -> bytes:
    async with destination.local_copy(path) as copy:
        return copy.read_bytes()


def test_the_gallery_stays_in_the_batch_folder(batch: Path, address: Address, store: Path) -> None:
    resume(batch, address, destination=ContentAddressed(store))

    assert (batch / "report" / "index.html").is_file()
    assert not (store / "report").exists()
