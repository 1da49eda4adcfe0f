"""What is kept of a picture besides its pixels, and what a person can leave out."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import PretendClock, error_of, many, media, provenance_of, query, states, table
from PIL import Image
from resume import resume
from sandbox_client import Control

from batchgen.config import RunOptions
from batchgen.core.expiry import DAY_S
from batchgen.engine.collector import OutputOptions
from batchgen.media import provenance
from batchgen.media.check import check_file
from batchgen.media.download import DEFAULT_LIMITS, DownloadLimits
from batchgen.media.formats import PNG
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
    keeping = OutputOptions(provenance=False, sidecars=False, thumbnails=False, max_outputs=100)
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


SERIES = "atelier/series/text-to-image"


def test_of_a_row_with_many_outputs_some_are_fetched_and_the_rest_when_a_person_says_so(
    run: Command, folder: Path, sandbox: Control, write: Write
) -> None:
    manifest = write("list.csv", f"id,model,prompt,num_images\nheron,{SERIES},a heron,5\n")

    outcome = run(manifest, "--max-outputs", 2)

    assert outcome.code == 1
    assert states(folder) == {"heron": "completed"}
    assert len(media(folder)) == 2
    said = "it has 5 outputs, of which 3 are not fetched; --max-outputs 5 fetches them"
    assert said in outcome.stderr
    assert said in error_of(folder, "heron")
    urls = query(folder, "SELECT count(*), count(path) FROM outputs")
    assert urls == [(5, 2)]

    assert run(manifest, "--max-outputs", 2).code == 1
    assert len(media(folder)) == 2

    assert run(manifest, "--max-outputs", 5).code == 0
    assert states(folder) == {"heron": "saved"}
    assert len(media(folder)) == 5
    assert sandbox.posts == 1


def test_a_hundred_outputs_of_a_row_are_fetched_unless_a_person_says_otherwise() -> None:
    assert RunOptions().max_outputs == 100


def test_a_page_in_place_of_a_file_is_asked_for_as_long_as_results_are_kept(
    run: Command, folder: Path, sandbox: Control, clock: PretendClock, write: Write
) -> None:
    manifest = write("list.csv", table({"heron": "a heron"}))
    sandbox.fault("media-html", times=None)
    assert run(manifest).code == 1
    assert states(folder) == {"heron": "completed"}

    clock.ahead += 8 * DAY_S
    assert run(manifest).code == 1

    assert states(folder) == {"heron": "failed"}
    assert "is text (text/html" in error_of(folder, "heron")
    assert sandbox.posts == 1


def test_data_behind_the_end_of_a_picture_are_kept_and_told(
    tmp_path: Path,
) -> None:
    into = io.BytesIO()
    Image.new("RGB", (20, 10), "teal").save(into, "PNG")
    facts = provenance.make_provenance(
        id="heron", model="a/b/c", input={}, request_id="r-1", submitted_at=None
    )
    content = into.getvalue() + b"PK\3\4 and a program"

    found = check_file(tmp_path / "a.part", PNG, content, facts)

    assert found.note == "kept as it came, other data follow its end"
    assert (tmp_path / "a.part").read_bytes() == content
    assert (found.width, found.height) == (20, 10)
