"""The size of a film is read from its header, as players show it; nothing odd stops that."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.media.film_size import film_size
from batchgen.media.formats import AVI, MKV, MOV, MP4, PNG, SIGNATURE_BYTES, WEBM, format_of

SAMPLES = Path(__file__).with_name("samples")
FILMS = {
    **dict.fromkeys(("faststart.mp4", "fragmented.mp4", "indexed.mp4", "plain.mp4"), (32, 32)),
    **dict.fromkeys(("pipe.webm", "plain.webm", "plain.mkv", "plain.avi"), (32, 32)),
    **dict.fromkeys(("recorder.mp4", "recorder.webm"), (64, 48)),
}
UPRIGHT = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
TURNED = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def film(width: int, height: int, matrix: tuple[int, ...] = UPRIGHT, version: int = 0) -> bytes:
    """An MP4 with nothing but the header of a track, behind one of sound."""

    def track(width: int, height: int) -> bytes:
        times = bytes(51 if version else 39)
        size = struct.pack(">II", width << 16, height << 16)
        header = bytes([version]) + times + struct.pack(">9i", *matrix) + size
        return box(b"trak", box(b"tkhd", header))

    return box(b"ftyp", b"isom") + box(b"moov", track(0, 0) + track(width, height))


def of(content: bytes, kind: str = "mp4") -> tuple[int, int] | None:
    formats = {"mp4": MP4, "mov": MOV, "webm": WEBM, "mkv": MKV, "avi": AVI, "png": PNG}
    return film_size(io.BytesIO(content), formats[kind])


@pytest.mark.parametrize("sample", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_films_have_a_size_and_sound_has_none(sample: Path) -> None:
    content = sample.read_bytes()
    format = format_of(content[:SIGNATURE_BYTES])
    assert format is not None
    assert film_size(io.BytesIO(content), format) == FILMS.get(sample.name)


@pytest.mark.parametrize("version", [0, 1])
def test_a_film_that_a_telephone_took_upright_is_upright(version: int) -> None:
    assert of(film(720, 1280, version=version)) == (720, 1280)
    assert of(film(1280, 720, TURNED, version)) == (720, 1280)


def test_a_film_of_pixels_that_are_no_squares_has_the_size_that_it_is_shown_with() -> None:
    content = (SAMPLES / "plain.webm").read_bytes()
    # Its height, and a filler in the place of what follows: both as EBML elements of one level.
    video = content.index(b"\xb0\x81\x20\xba\x81\x20")
    end = video + 6
    assert of(content[:video] + b"\xb0\x81\x40\xba\x81\x20" + content[end:], "webm") == (64, 32)


@pytest.mark.parametrize("side", [0, 0xFFFF])
def test_a_size_that_no_film_has_is_not_known(side: int) -> None:
    assert of(film(side, 720)) == ((side, 720) if side else None)
    assert of(b"RIFF" + bytes(60) + b"\xff" * 8, "avi") is None


@given(st.sampled_from(sorted(FILMS)), st.integers(0, 4000), st.integers(0, 255))
def test_no_broken_header_stops_anything(name: str, at: int, byte: int) -> None:
    content = bytearray((SAMPLES / name).read_bytes())
    content[at % len(content)] = byte
    kind = name.rpartition(".")[2]
    for damaged in (bytes(content), bytes(content[: at % len(content)])):
        found = of(damaged, kind)
        assert found is None or all(side > 0 for side in found)
