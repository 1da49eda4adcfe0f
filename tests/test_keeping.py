"""What is kept of a picture besides its pixels, and what a person can leave out."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import many, media, provenance_of, query, table
from resume import resume
from sandbox_client import Control

from batchgen.engine.collector import OutputOptions
from batchgen.media import provenance
from batchgen.media.download import DEFAULT_LIMITS, DownloadLimits
from batchgen.sandbox import Address

HASHES = "SELECT path, sha256, delivered_sha256 FROM outputs ORDER BY path"
LIMITS = pytest.mark.parametrize(
    "limits", [DEFAULT_LIMITS, DownloadLimits(max_bytes_in_memory=0)], ids=["small", "large"]
)


@pytest.fixture
def manifest(write: Write) -> str:
    return write("list.csv", table(many(3)))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@LIMITS
def test_a_picture_says_what_it_was_made_from_and_both_hashes_are_kept(
    run: Command, folder: Path, address: Address, manifest: str, limits: DownloadLimits
) -> None:
    run(manifest, "--limit", 0)
    assert resume(folder, address, limits=limits).code == 0

    found = query(folder, HASHES)
    assert [path for path, *_ in found] == media(folder)
    for path, here, delivered in found:
        assert here == sha256(folder / path) != delivered
        row = Path(path).stem
        ((request_id, sent),) = query(
            folder, f"SELECT request_id, input FROM requests WHERE id = '{row}'"
        )
        facts = provenance_of(folder / path) or {}
        assert (facts["id"], facts["request_id"]) == (row, request_id)
        assert facts["input"] == json.loads(sent)


@LIMITS
def test_without_provenance_a_picture_is_what_was_delivered(
    run: Command, folder: Path, address: Address, manifest: str, limits: DownloadLimits
) -> None:
    run(manifest)
    delivered = {path: sent for path, _, sent in query(folder, HASHES)}
    other = folder.with_name("plain")
    run(manifest, "--limit", 0, "--out", other)
    keeping = OutputOptions(provenance=False, sidecars=False, thumbnails=False)
    assert resume(other, address, limits=limits, keeping=keeping).code == 0

    plain = query(other, HASHES)
    assert {path: here for path, here, _ in plain} == delivered
    assert {sent for *_, sent in plain} == {None}
    assert {path: sha256(other / path) for path in delivered} == delivered
    assert [provenance_of(other / path) for path in delivered] == [None] * 3


def test_sidecars_tell_the_same_beside_each_file(run: Command, folder: Path, manifest: str) -> None:
    run(manifest, "--sidecars")

    pictures = [path for path in media(folder) if path.endswith(".png")]
    assert len(pictures) == 3
    for path in pictures:
        beside = json.loads(provenance.sidecar(folder / path).read_text(encoding="utf-8"))
        assert beside == provenance_of(folder / path)


def test_a_run_makes_thumbnails_unless_it_is_told_not_to(
    run: Command, folder: Path, sandbox: Control, manifest: str
) -> None:
    sandbox.set(picture_size=600, picture_bytes=70_000)
    run(manifest)
    assert len([*(folder / "report" / "thumbs").glob("*.webp")]) == 3

    other = folder.with_name("plain")
    run(manifest, "--no-thumbnails", "--out", other)
    assert not (other / "report" / "thumbs").exists()
    assert ".webp" not in (other / "report" / "data" / "rows-1.js").read_text(encoding="utf-8")


def test_a_person_can_leave_the_provenance_out(run: Command, folder: Path, manifest: str) -> None:
    run(manifest, "--no-provenance")

    assert [provenance_of(folder / path) for path in media(folder)] == [None] * 3
