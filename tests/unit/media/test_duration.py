"""How long a film or a sound plays is read from its header; nothing odd stops that."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.media.duration import duration
from batchgen.media.formats import MP3, MP4, PNG, SIGNATURE_BYTES, WAV, WEBM, Format, format_of

SAMPLES = Path(__file__).with_name("samples")
# As FFmpeg made them, from so much of a test pattern or a tone.
SECONDS = {
    **dict.fromkeys(("faststart.mp4", "plain.mp4", "plain.avi", "plain.mkv", "plain.webm"), 1.0),
    **dict.fromkeys(("large.wav", "pipe.wav", "plain.wav", "pcm.mov"), 0.3),
    **dict.fromkeys(("plain.flac", "plain.m4a", "plain.ogg"), 0.3),
    # 14 frames of 36 ms, of which an encoder puts some before and behind the tone.
    **dict.fromkeys(("bare.mp3", "pipe.mp3", "plain.mp3", "tagged.mp3"), 0.504),
    "recorder.mp4": 1.382,
}


def of(content: bytes, format: Format | None = None) -> float | None:
    format = format or format_of(content[:SIGNATURE_BYTES])
    assert format is not None
    return duration(io.BytesIO(content), format)


@pytest.mark.parametrize("sample", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_films_and_sounds_play_as_long_as_their_header_says(sample: Path) -> None:
    """A stream that is written before its end is known says nothing."""
    assert of(sample.read_bytes()) == SECONDS.get(sample.name)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def film(header: bytes, fragments: bytes = b"") -> bytes:
    return box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", header) + fragments)


def test_the_length_of_a_film_has_two_forms_and_may_be_unknown() -> None:
    short, long = ">B3x8xII", ">B3x16xIQ"
    assert of(film(struct.pack(short, 0, 600, 3750))) == 6.25
    assert of(film(struct.pack(long, 1, 600, 3750))) == 6.25
    assert of(film(struct.pack(short, 0, 90_000, 0xFFFFFFFF))) is None
    assert of(film(struct.pack(long, 1, 600, (1 << 64) - 1))) is None
    assert of(film(struct.pack(short, 0, 0, 3750))) is None  # units of no length
    whole = box(b"mvex", box(b"mehd", struct.pack(">B3xI", 0, 1200)))
    assert of(film(struct.pack(short, 0, 600, 0), whole)) == 2.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e300, 8 * 86400.0])
def test_a_length_that_no_film_has_is_not_known(seconds: float) -> None:
    content = (SAMPLES / "plain.webm").read_bytes()
    at = content.index(b"\x44\x89\x88") + 3  # milliseconds
    damaged = content[:at] + struct.pack(">d", seconds * 1000) + content[at + 8 :]
    assert of(damaged, WEBM) is None


def test_a_sound_of_no_rate_and_a_picture_play_for_no_time() -> None:
    content = (SAMPLES / "plain.wav").read_bytes()
    at = content.index(b"fmt ") + 16
    assert of(content[:at] + bytes(4) + content[at + 4 :], WAV) is None
    assert of(content, PNG) is None
    assert of(b"", MP4) is None
    assert of(b"\xff\xfb\x90\x00", MP3) is None  # less than a frame


@given(st.sampled_from(sorted(SAMPLES.iterdir())), st.integers(0, 10_000), st.binary(max_size=12))
def test_no_broken_header_stops_anything(sample: Path, at: int, other: bytes) -> None:
    content = sample.read_bytes()
    at %= len(content)
    format = format_of(content[:SIGNATURE_BYTES])
    for damaged in (content[:at] + other + content[at + len(other) :], content[:at] + other):
        found = of(damaged, format)
        assert found is None or found > 0
