"""Files that were changed anyhow: checked, or refused in words; written into without harm."""

import io
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from batchgen.media.check import MediaBroken, check_file, examine
from batchgen.media.formats import JPEG, PNG, SIGNATURE_BYTES, WEBP, format_of
from batchgen.media.provenance import embed, make_provenance, read_provenance
from batchgen.media.xmp import NAMESPACE, add_provenance, find_provenance

FACTS = make_provenance(
    id="heron",
    model="a/b/c",
    input={"prompt": "a <heron> & \x01 \ud800", "seed": 7, "url": "https://u:p@x/y?z"},
    request_id="r-1",
    submitted_at="2026-01-02T03:04:05Z",
)


def _picture(kind: str, mode: str = "RGB", **how: object) -> bytes:
    into = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert(mode).save(into, kind, **how)
    return into.getvalue()


def _texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    info.add_text("parameters", "a heron", zip=True)
    return info


def _frames(kind: str) -> bytes:
    into = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(into, kind, save_all=True, append_images=frames[1:], duration=50)
    return into.getvalue()


def _with_facts(content: bytes) -> bytes:
    return embed(content, format_of(content), FACTS) or content


PLAIN = [
    _picture("PNG"),
    _picture("PNG", "P", pnginfo=_texts()),
    _picture("JPEG", exif=Image.Exif(), comment=b"x"),
    _picture("JPEG", "L", progressive=True),
    _picture("WEBP"),
    _picture("WEBP", "RGBA", lossless=True, xmp=b"<x/>"),
    _picture("GIF"),
    _picture("AVIF"),
    _picture("BMP"),
    _picture("TIFF"),
    _frames("GIF"),
    _frames("PNG"),
    _frames("WEBP"),
]
# The beginnings of films, sounds and others, each with a box or two of its structure.
OTHERS = [
    struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 8, b"mdat"),
    struct.pack(">I4s4sI", 16, b"ftyp", b"heic", 0) + struct.pack(">I4sI", 12, b"meta", 0),
    b"\x1a\x45\xdf\xa3\x84\x42\x82\x81w\x18\x53\x80\x67\x81\xec",
    b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28),
    b"OggS" + bytes(40),
    b"fLaC\0\0\0\x22" + bytes(60),
    b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + b"\xff\xfb\x90\0" + bytes(420),
    b"glTF" + struct.pack("<II", 2, 12),
    b"PK\3\4" + bytes(40),
]
SEEDS = [*PLAIN, *map(_with_facts, PLAIN[:6]), *OTHERS]
ODD = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"\0\0\0\0",
        b"\1",
    ]
)


@st.composite
def changed(draw, seeds):
    """A seed with some bytes changed, taken out, doubled or exchanged for another's."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(at + draw(st.integers(0, 40)), len(content))
        match draw(st.integers(0, 5)):
            case 0:
                new = draw(ODD)
                content[at : at + len(new)] = new
            case 1:
                content[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case 2:
                del content[at:end]
            case 3:
                content[at:at] = content[at:end] * draw(st.integers(1, 20))
            case 4:
                other = draw(st.sampled_from(seeds))
                content[at:end] = other[at : at + 60]
            case 5:
                content += draw(st.binary(max_size=8))
    if content[:4] == b"\x89PNG" and draw(st.booleans()):
        content = _with_sums(content)
    return bytes(content)


def _with_sums(content: bytearray) -> bytearray:
    """A PNG whose chunks have the checksums that they should have."""
    at = 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = zlib.crc32(content[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return content


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@fuzz
@given(content=changed(SEEDS), on_disk=st.booleans(), again=st.booleans())
def test_any_file_is_checked_or_refused_in_words(folder, content, on_disk, again) -> None:
    format = format_of(content[:SIGNATURE_BYTES])
    if format is None:
        return
    part = folder / "a.part"
    part.unlink(missing_ok=True)
    if on_disk:
        part.write_bytes(content)
    given = None if on_disk else content
    try:
        checked = check_file(part, format, given, FACTS)
    except MediaBroken as error:
        str(error).encode()
        if error.sha256 is None or not again:
            return
        checked = check_file(part, format, given, FACTS, {error.sha256})
        assert part.read_bytes() == content  # kept as it came
        assert checked.note
    assert checked.bytes == part.stat().st_size
    if checked.delivered_sha256 is None:
        assert part.read_bytes() == content


def _pixels(content: bytes, format) -> list[bytes]:
    with Image.open(io.BytesIO(content), formats=[format.pillow]) as picture:
        frames = []
        for n in range(min(getattr(picture, "n_frames", 1), 4)):
            picture.seek(n)
            frames.append(picture.convert("RGBA").tobytes())
        return frames


@fuzz
@given(changed(SEEDS))
def test_what_is_written_into_a_picture_changes_no_pixel_and_can_be_read(content) -> None:
    format = format_of(content[:SIGNATURE_BYTES])
    if format not in (PNG, JPEG, WEBP):
        return
    read_provenance(io.BytesIO(content))
    written = embed(content, format, FACTS)
    try:
        found = examine(io.BytesIO(content), format)
        pixels = _pixels(content, format)
    except Exception:  # noqa: BLE001  # no decoder takes it, with or without facts
        return
    if written is None:
        return
    assert examine(io.BytesIO(written), format)[:2] == found[:2]
    assert _pixels(written, format) == pixels
    assert read_provenance(io.BytesIO(written))["id"] == "heron"
    # Written once more, it is the same: nothing grows from night to night.
    assert embed(written, format, FACTS) == written


PIECES = st.sampled_from(
    [
        f'<rdf:Description rdf:about="" xmlns:batchgen="{NAMESPACE}"',
        "</rdf:Description>\n",
        "<batchgen:facts>{}</batchgen:facts>",
        NAMESPACE,
        "</rdf:RDF>",
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]>",
        "&a;",
        "<a>" * 5000,
        "]]>",
        "\ufeff",
        "CreatorTool",
        "\x00",
    ]
)
PACKETS = st.one_of(
    st.binary(max_size=60),
    st.lists(PIECES | st.text(max_size=4), max_size=8).map(
        lambda pieces: "".join(pieces).encode(errors="surrogatepass")
    ),
)


@fuzz
@given(PACKETS, st.integers(0, 4000))
def test_any_xmp_packet_is_kept_around_the_facts_or_left_alone(packet, room) -> None:
    find_provenance(packet)
    added = add_provenance(packet, FACTS, room)
    if added is None:
        return
    new, facts = added
    assert len(new) <= room
    assert find_provenance(new)["id"] == "heron"
    assert facts["id"] == "heron"
