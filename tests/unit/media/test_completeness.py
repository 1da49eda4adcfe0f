"""A file that ends early is told from a whole one, and no whole one is refused.

The samples were made with FFmpeg 7, libheif and Chromium's MediaRecorder from test patterns; `pipe`
is in the names of those that were written to a pipe, so that nothing could be filled in later.
"""

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchgen.media.completeness import missing_part
from batchgen.media.formats import (
    AVI,
    FLAC,
    GIF,
    JPEG,
    M4A,
    MKV,
    MOV,
    MP3,
    MP4,
    OGG,
    PNG,
    SIGNATURE_BYTES,
    WAV,
    WEBM,
    WEBP,
    Format,
    format_of,
)

SAMPLES = Path(__file__).with_name("samples")
# How many lengths of a sample look whole as well: those between the parts of a stream that does not
# say how many there are. Every other sample says it.
STREAMS = {
    "bare.mp3": 6,  # frames
    "pipe.mp3": 6,
    "tagged.mp3": 1,  # the tag at the end
    "fragmented.mp4": 3,  # fragments, and the index of them at the end
    "indexed.mp4": 1,  # the index at the end
    "recorder.mp4": 1,
    "recorder.webm": 14,  # blocks
    "pipe.webm": 5,
    "plain.ogg": 2,  # pages
    "pipe.flac": 2,  # frames
    "pipe.wav": 4878,  # nothing but samples
    "still.avif": 1,  # between its index and its data; it cannot be decoded then
}


def drawn(kind: str, **options: Any) -> bytes:
    into = io.BytesIO()
    picture = Image.effect_noise((24, 16), 80).convert("RGB")
    if "save_all" in options:
        options["append_images"] = [picture.rotate(90), picture.rotate(180)]
    picture.save(into, kind, **options)
    return into.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(kind: bytes, *chunks: bytes, size: int | None = None) -> bytes:
    content = kind + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content) if size is None else size) + content


def box(name: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(content) if size is None else size, name) + content


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8))
FTYP = box(b"ftyp", b"isom\0\0\2\0isommp41")
DRAWN = {
    "still.png": drawn("PNG"),
    "animated.png": drawn("PNG", save_all=True),
    "baseline.jpg": drawn("JPEG"),
    "progressive.jpg": drawn("JPEG", progressive=True, quality=95),
    "still.gif": drawn("GIF"),
    "animated.gif": drawn("GIF", save_all=True),
    "still.webp": drawn("WEBP"),
    "animated.webp": drawn("WEBP", save_all=True),
    "still.avif": drawn("AVIF"),
}
WHOLE = {**DRAWN, **{path.name: path.read_bytes() for path in sorted(SAMPLES.iterdir())}}


def missing(content: bytes, format: Format | None = None) -> str | None:
    found = format or format_of(content[:SIGNATURE_BYTES])
    assert found is not None
    return missing_part(io.BytesIO(content), found)


@pytest.mark.parametrize("name", WHOLE)
def test_what_real_encoders_write_is_whole(name: str) -> None:
    found = format_of(WHOLE[name][:SIGNATURE_BYTES])

    assert found is not None
    assert found.extension == name.rpartition(".")[2]
    assert missing(WHOLE[name]) is None


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_cut_anywhere_is_not_taken_for_whole(name: str) -> None:
    content = WHOLE[name]
    found = format_of(content[:SIGNATURE_BYTES])
    # A chunk of odd length has a byte behind it that means nothing.
    end = len(content) - (found in (WEBP, WAV, AVI) and content.endswith(b"\0"))

    taken = [size for size in range(64, end) if missing(content[:size], found) is None]
    assert len(taken) <= STREAMS.get(name, 0)


# What encoders leave behind the end, or never fill in


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\r\n", b"<!-- served by a cache -->" * 9])
@pytest.mark.parametrize(
    "name", ["still.png", "animated.png", "baseline.jpg", "still.gif", "animated.gif", "plain.wav"]
)
def test_what_follows_the_end_does_no_harm(name: str, tail: bytes) -> None:
    assert missing(WHOLE[name] + tail) is None


@pytest.mark.parametrize("name", ["plain.mp4", "plain.webm", "plain.mp3"])
def test_zeros_that_fill_the_last_sector_do_no_harm(name: str) -> None:
    assert missing(WHOLE[name] + b"\0" * 300) is None


ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)
LONG_TAG = b"ID3\4\0\0\0\0\1\0" + bytes(128)
BARE = WHOLE["bare.mp3"]


@pytest.mark.parametrize(
    "content",
    [
        BARE + ID3V1,
        BARE + APE,
        BARE + APE + ID3V1,
        LONG_TAG + BARE,
        LONG_TAG + LONG_TAG + BARE,
        WHOLE["plain.mp3"] + WHOLE["plain.mp3"],  # as speech is sent, part by part
        BARE + b"Lyrics3 or whatever else",
    ],
    ids=["ID3v1", "APE", "both", "ID3v2", "two tags", "joined", "unknown"],
)
def test_sound_with_tags_is_whole(content: bytes) -> None:
    assert missing(content, MP3) is None
    assert missing(WHOLE["plain.flac"] + ID3V1, FLAC) is None


@pytest.mark.parametrize("content", [BARE + ID3V1, BARE + APE, LONG_TAG + BARE])
def test_a_tag_that_is_cut_is_not_whole(content: bytes) -> None:
    assert missing(content[:-3], MP3)
    assert missing(LONG_TAG[:-3], MP3)
    assert missing(LONG_TAG, MP3) == "it has no sound"


class Counting(io.BytesIO):
    """Counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_tag_that_says_it_has_no_bytes_is_not_read_for_ever() -> None:
    """Found by a fuzzer: a sound of 450 bytes took four seconds."""
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    file = Counting(frame + b"APETAGEX" + struct.pack("<IIII8x", 2000, 0, 0, 0))

    assert missing_part(file, MP3) is None
    assert file.reads < 100


@pytest.mark.parametrize("stated", [0, 0xFFFFFFFF, 0x80000000, 0x7FFFF000])
def test_a_size_that_a_pipe_left_open_is_no_size(stated: int) -> None:
    sound = FMT + b"data" + struct.pack("<I", stated) + bytes(range(100))

    assert missing(riff(b"WAVE", sound, size=stated)) is None
    assert missing(riff(b"AVI ", chunk(b"LIST", bytes(9)), size=0)) is None


def test_a_size_that_counts_the_header_too_is_right_enough() -> None:
    content = riff(b"WAVE", FMT, chunk(b"data", bytes(100)))
    wrong = content[:4] + struct.pack("<I", len(content)) + content[8:]

    assert missing(wrong) is None
    assert missing(riff(b"WAVE", FMT, size=200)) is not None  # cut between two chunks


def test_a_large_avi_has_several_parts() -> None:
    second = riff(b"AVIX", chunk(b"LIST", bytes(40)))

    assert missing(WHOLE["plain.avi"] + second) is None
    assert missing(WHOLE["plain.avi"] + second[:-1])


@pytest.mark.parametrize(
    "content",
    [
        FTYP + box(b"moov", bytes(8)) + box(b"mdat", bytes(50), size=0),
        FTYP + box(b"moov", bytes(8)) + struct.pack(">I4sQ", 1, b"mdat", 66) + bytes(50),
        box(b"free", bytes(8)) + FTYP + box(b"mdat", bytes(50)) + box(b"moov", bytes(8)),
        box(b"wide") + box(b"mdat", bytes(50)) + box(b"moov", bytes(8)),
    ],
    ids=["to the end of the file", "64 bits", "free space first", "before 2001"],
)
def test_boxes_of_every_size_are_walked(content: bytes) -> None:
    assert format_of(content[:SIGNATURE_BYTES]) in (MP4, MOV)
    assert missing(content) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (FTYP + box(b"mdat", bytes(50)), "its index is missing"),
        (FTYP + box(b"moov", bytes(8)), "its media data are missing"),
        (FTYP + box(b"moov", bytes(8)) + box(b"moof", bytes(8)), "its media data are missing"),
    ],
)
def test_a_film_without_one_of_its_parts_is_not_whole(content: bytes, why: str) -> None:
    assert missing(content, MP4) == why


def test_media_data_without_a_size_are_compared_with_the_index() -> None:
    content = WHOLE["faststart.mp4"]
    at = content.index(b"mdat") - 4
    stream = content[:at] + b"\0\0\0\0" + content[at + 4 :]

    assert missing(stream) is None
    assert missing(stream[:-1]) == "at least 1 bytes are missing"


def test_samples_may_have_a_size_that_tells_nothing() -> None:
    """`pcm.mov` states the size of all samples at once, and so do old codecs, wrongly."""
    content = WHOLE["pcm.mov"]
    at = content.index(b"stsz") + 8
    assert content[at : at + 4] == b"\0\0\0\2"

    assert missing(content[:at] + b"\0\0\0\1" + content[at + 4 :]) is None


# Nothing that is given to it makes it fail

EVERY_FORMAT = (PNG, JPEG, GIF, WEBP, WAV, AVI, MP4, MOV, M4A, WEBM, MKV, OGG, MP3, FLAC)


@given(st.sampled_from(EVERY_FORMAT), st.binary(max_size=300))
def test_any_bytes_are_whole_or_not(format: Format, content: bytes) -> None:
    found = missing(content, format)

    assert found is None or found


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 9999), st.binary(min_size=1, max_size=20))
def test_a_damaged_file_is_whole_or_not(name: str, at: int, bytes_: bytes) -> None:
    content = WHOLE[name]
    at %= len(content)

    found = missing(content[:at] + bytes_ + content[at + len(bytes_) :], format_of(content[:64]))
    assert found is None or found
