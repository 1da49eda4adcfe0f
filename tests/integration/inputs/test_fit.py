"""With --fit alone a large picture is sent smaller, and it is said what was made of it."""

import io
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import Command, Write
from helpers import query, states
from PIL import Image, ImageCms
from sandbox_client import Control

from batchgen.inputs.fit import MAX_BYTES, MAX_SIDE_PX, STEP, CannotFit, fit

MODEL = "atelier/retouch/edit"


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture that no format makes small."""
    some = os.urandom(100_003)  # as good as that much of it, and at hand sooner
    size = width * height * 3
    content = (some * (1 + size // len(some)))[:size]
    return Image.frombytes("RGB", (width, height), content).convert(mode)


def fitted(picture: Image.Image, name: str, **how: object) -> tuple[Image.Image, object]:
    file = io.BytesIO()
    picture.save(file, name, compress_level=0, **how)
    found = fit(file)
    assert fit(file) == found  # always the same
    assert len(found.content) <= MAX_BYTES
    return Image.open(io.BytesIO(found.content)), found


def test_a_picture_becomes_a_jpeg_that_is_small_enough() -> None:
    found, made = fitted(noise(4100, 2000), "PNG")

    assert (found.format, found.mode) == ("JPEG", "RGB")
    # With the longest side that there may be, it has too many bytes.
    assert max(found.size) == int(MAX_SIDE_PX * STEP)
    assert abs(found.width / found.height - 4.1 / 2) < 0.01
    assert f"JPEG, {found.width} x {found.height}, " in made.words  # type: ignore[attr-defined]


def test_a_transparent_picture_stays_transparent() -> None:
    picture = noise(400, 300, "RGBA")
    picture.putalpha(90)

    found, _ = fitted(picture, "PNG")
    assert found.format == "PNG"
    assert found.getpixel((5, 5))[3] == 90  # type: ignore[index]


def test_a_photo_is_turned_as_its_camera_says_and_keeps_its_colours_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    found, _ = fitted(noise(400, 200), "JPEG", exif=exif, icc_profile=profile)
    assert found.size == (200, 400)
    assert found.info["icc_profile"] == profile
    assert not found.getexif()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_what_is_no_picture_is_said(content: bytes) -> None:
    with pytest.raises(CannotFit):
        fit(io.BytesIO(content))


def test_a_picture_that_moves_is_not_made_to_stand() -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "teal")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])

    with pytest.raises(CannotFit, match="several frames"):
        fit(file)


# A run


@pytest.fixture
def photos(here: Path, write: Write) -> str:
    """A list of a large and a small picture; its name."""
    noise(1500, 1500).save(here / "large.png", compress_level=0)
    Image.new("RGB", (32, 32), "teal").save(here / "small.png")
    return write("list.csv", "id,prompt,image\nlarge,a,large.png\nsmall,b,small.png\n")


def inputs(folder: Path) -> dict[str, dict[str, str]]:
    found = query(folder, "SELECT id, input FROM requests ORDER BY position")
    return {id: json.loads(given)["image"] for id, given in found}


def test_only_what_is_large_is_made_smaller_and_it_is_said(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    outcome = run(photos, "--model", MODEL, "--fit")

    assert outcome.code == 0, outcome.stderr
    large, small = inputs(folder).values()
    assert small.keys() == {"file", "sha256"}
    assert large["sha256"] == sha256((here / "large.png").read_bytes()).hexdigest()
    assert f"1 picture made smaller to be sent, e.g. large.png: {large['fit']}." in outcome.stderr
    sent = {json.loads(row["input"])["image"] for row in sandbox.ledger()}
    assert sent == {f"data:sha256:{large['sent_sha256']}", f"data:sha256:{small['sha256']}"}
    assert json.loads((folder / "results.jsonl").read_text().splitlines()[0])["input"]["image"] == (
        large
    )


def test_it_is_the_same_row_with_and_without(
    run: Command, folder: Path, photos: str, sandbox: Control
) -> None:
    assert run(photos, "--model", MODEL, "--fit").code == 0
    before = inputs(folder)

    assert run(photos, "--model", MODEL).code == 0
    assert sandbox.posts == 2
    assert inputs(folder) == before  # what was sent stays noted as it was


def test_without_it_no_picture_is_changed(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    assert run(photos, "--model", MODEL).code == 0

    sent = {json.loads(row["input"])["image"] for row in sandbox.ledger()}
    assert f"data:sha256:{sha256((here / 'large.png').read_bytes()).hexdigest()}" in sent
    assert states(folder) == {"large": "saved", "small": "saved"}


def test_a_pending_row_is_sent_as_the_run_that_sends_it_says(
    run: Command, folder: Path, here: Path, photos: str, sandbox: Control
) -> None:
    assert run(photos, "--model", MODEL, "--fit", "--limit", 0).code == 75
    assert "fit" in inputs(folder)["large"]

    assert run(photos, "--model", MODEL).code == 0
    assert inputs(folder)["large"].keys() == {"file", "sha256"}


def test_a_plan_says_what_would_be_made(
    batchgen: Command, photos: str, schemas: dict[str, Path]
) -> None:
    words = ["--model", MODEL, "--schema", schemas[MODEL], "--price", "0.03", "--fit"]

    said = batchgen("plan", photos, *words).stdout
    assert "Of these 1 picture made smaller to be sent (--fit), e.g. large.png: JPEG, " in said
    assert json.loads(batchgen("plan", photos, *words, "--json").stdout)["fitted"] == 1
