"""The output files of requests: their names, formats and bytes."""

import io
import json
import math
import struct
import wave
import zlib
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image

from batchgen.sandbox.placeholder import draw_card, encode

OUTPUT_COUNT_INPUTS = (
    "num_images",
    "number_of_images",
    "num_outputs",
    "max_images",
    "batch_size",
    "n",
)


class MediaFormat(NamedTuple):
    """A format of files. pillow: Pillow's name for it, "" for audio and video. type: media type."""

    pillow: str
    extension: str
    type: bytes


PNG = MediaFormat("PNG", "png", b"image/png")
JPEG = MediaFormat("JPEG", "jpg", b"image/jpeg")
IMAGE_FORMATS = {"jpeg": JPEG, "jpg": JPEG, "webp": MediaFormat("WEBP", "webp", b"image/webp")}
OTHER_FORMATS = {
    "video": MediaFormat("", "mp4", b"video/mp4"),
    "audio": MediaFormat("", "wav", b"audio/wav"),
}
WEBM = MediaFormat("", "webm", b"video/webm")


def media_format(kind: str, given: dict[str, Any]) -> MediaFormat:
    """Return an output's format. kind: image, video or audio; an input may choose but the last."""
    chosen = str(given.get("output_format", "")).lower()
    if kind == "video" and chosen == WEBM.extension:
        return WEBM
    if kind != "image":
        return OTHER_FORMATS[kind]
    return IMAGE_FORMATS.get(chosen, PNG)


def output_count(given: dict[str, Any]) -> int:
    """Return the number of outputs that an input asks for, 1 to 16."""
    for name in OUTPUT_COUNT_INPUTS:
        try:
            return min(max(int(given[name]), 1), 16)
        except (KeyError, TypeError, ValueError):
            continue
    return 1


def prompt_text(given: dict[str, Any]) -> str:
    """Return all texts of an input, the prompt first: models have different names for it."""
    first = given.get("prompt")
    texts = [first] if isinstance(first, str) else []
    texts += [value for name, value in given.items() if isinstance(value, str) and name != "prompt"]
    return "\n".join(texts)


def box(name: bytes, *parts: bytes) -> bytes:
    """An MP4 box."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def full_box(name: bytes, flags: int, *parts: bytes) -> bytes:
    """An MP4 box with version 0 and flags."""
    return box(name, struct.pack(">I", flags), *parts)


# A picture of one colour in H.264, Constrained Baseline: its parameters and its only slice.
SIDE_PX = 64
SEQUENCE = bytes.fromhex("6742c00ad90426c044000003000400000300083c489920")
PARAMETERS = bytes.fromhex("68cb83cb20")
SLICE = bytes.fromhex("00000020658884057c4628000851c700011868e000260f2727275d75d75d75d75d75d780")
DURATION_MS = 1000
MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mp4(seed: int) -> bytes:
    """Return a second of a picture of one colour; what follows it there is the seed's own.

    Source: ISO/IEC 14496-12, and 14496-15 for `avc1`.
    """
    kind = box(b"ftyp", struct.pack(">4sI4s4s", b"isom", 512, b"isom", b"mp41"))
    media = box(b"mdat", SLICE, struct.pack(">I", seed) * 64)
    movie = struct.pack(">IIIIIH10x", 0, 0, 1000, DURATION_MS, 0x10000, 0x100)
    header = full_box(b"mvhd", 0, movie, MATRIX, struct.pack(">24xI", 2))
    return kind + media + box(b"moov", header, _film_track(offset=len(kind) + 8))


def _film_track(offset: int) -> bytes:
    """Return the track of a film whose only sample is at `offset` in the file."""
    place = struct.pack(">IIIII16x", 0, 0, 1, 0, DURATION_MS)
    size = struct.pack(">II", SIDE_PX << 16, SIDE_PX << 16)
    times = struct.pack(">IIIIHH", 0, 0, 1000, DURATION_MS, 0x55C4, 0)  # in no language
    handler = struct.pack(">I4s12x", 0, b"vide") + b"Sandbox\0"
    return box(
        b"trak",
        full_box(b"tkhd", 3, place, MATRIX, size),
        box(
            b"mdia",
            full_box(b"mdhd", 0, times),
            full_box(b"hdlr", 0, handler),
            box(
                b"minf",
                full_box(b"vmhd", 1, bytes(8)),
                box(b"dinf", full_box(b"dref", 0, struct.pack(">I", 1), full_box(b"url ", 1))),
                _sample_tables(offset),
            ),
        ),
    )


def _sample_tables(offset: int) -> bytes:
    picture = struct.pack(
        ">6xH16xHHIIIH32xHh", 1, SIDE_PX, SIDE_PX, 72 << 16, 72 << 16, 0, 1, 24, -1
    )
    decoder = b"\1" + SEQUENCE[1:4] + b"\xff\xe1" + struct.pack(">H", len(SEQUENCE)) + SEQUENCE
    decoder += b"\1" + struct.pack(">H", len(PARAMETERS)) + PARAMETERS
    sample = box(b"avc1", picture, box(b"avcC", decoder))
    return box(
        b"stbl",
        full_box(b"stsd", 0, struct.pack(">I", 1), sample),
        full_box(b"stts", 0, struct.pack(">III", 1, 1, DURATION_MS)),
        full_box(b"stsc", 0, struct.pack(">IIII", 1, 1, 1, 1)),
        full_box(b"stsz", 0, struct.pack(">III", 0, 1, len(SLICE))),
        full_box(b"stco", 0, struct.pack(">II", 1, offset)),
    )


def element(name: int, *parts: bytes) -> bytes:
    """An element of Matroska, its size in eight bytes."""
    content = b"".join(parts)
    head = name.to_bytes((name.bit_length() + 7) // 8, "big")
    return head + ((1 << 56) | len(content)).to_bytes(8, "big") + content


def webm(picture: Image.Image, seed: int) -> bytes:
    """Return a second of a picture in VP8, taken from a WebP; its title is the seed.

    Source: RFC 9559 (Matroska), RFC 6386 (VP8), RFC 9649 (WebP).
    """
    still = encode(picture, "WEBP")
    at = still.index(b"VP8 ")
    (length,) = struct.unpack_from("<I", still, at + 4)
    frame = still[at + 8 : at + 8 + length]
    one = b"\1"
    head = element(
        0x1A45DFA3, element(0x4282, b"webm"), element(0x4287, b"\4"), element(0x4285, b"\2")
    )
    times = (
        element(0x2AD7B1, (1_000_000).to_bytes(4, "big")),
        element(0x4489, struct.pack(">d", DURATION_MS)),
    )
    about = element(
        0x1549A966,
        *times,
        element(0x7BA9, b"%d" % seed),
        element(0x4D80, b"Sandbox"),
        element(0x5741, b"Sandbox"),
    )
    width, height = (struct.pack(">H", side) for side in picture.size)
    video = element(0xE0, element(0xB0, width), element(0xBA, height))
    track = element(
        0xAE,
        element(0xD7, one),
        element(0x73C5, one),
        element(0x83, one),
        element(0x86, b"V_VP8"),
        video,
    )
    # Of track 1, key frames: at once, and again near the end, or a player would be through at once.
    blocks = [
        element(0xA3, struct.pack(">BhB", 0x81, ms, 0x80), frame) for ms in (0, DURATION_MS - 40)
    ]
    cluster = element(0x1F43B675, element(0xE7, b"\0"), *blocks)
    return head + element(0x18538067, about, element(0x1654AE6B, track), cluster)


def wav(seed: int) -> bytes:
    """Return a quarter of a second of a tone of the seed's pitch; 8 kHz, 8 bit, mono."""
    pitch = 220 + seed % 660
    samples = bytes(round(128 + 90 * math.sin(math.tau * pitch * i / 8000)) for i in range(2000))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", ""))
        file.writeframes(samples)
    return buffer.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


@lru_cache(maxsize=1)
def padding(size: int) -> bytes:
    """Return a PNG chunk of `size` zeros that readers skip: ancillary, private, safe to copy."""
    return png_chunk(b"paDd", bytes(size))


IEND_BYTES = 12  # IEND: length, name, checksum


def pad_png(png: bytes, least: int) -> bytes:
    """Return a PNG of at least `least` bytes, by padding."""
    if len(png) >= least:
        return png
    return png[:-IEND_BYTES] + padding(least) + png[-IEND_BYTES:]


@lru_cache(maxsize=4)
def blank_png(longer: int) -> bytes:
    """Return the picture of all stamped files, with no prompt. longer: its longer side, pixels."""
    return encode(draw_card({}, "", 0, longer), PNG.pillow)


def stamp_png(canonical: str, n: int, longer: int) -> bytes:
    """Return the n-th PNG for an input: always the same picture, with the input's JSON as text.

    It takes microseconds where drawing takes milliseconds, and still identifies the input.
    """
    chunk = png_chunk(b"tEXt", f"Input {n}\0{canonical}".encode("utf-8", "replace"))
    png = blank_png(longer)
    return png[:-IEND_BYTES] + chunk + png[-IEND_BYTES:]


@lru_cache(maxsize=100)  # since a file may be asked for more than once
def make_file(form: MediaFormat, canonical: str, n: int, longer: int) -> bytes:
    """Return the n-th file for an input. canonical: its JSON. longer: as in draw_card."""
    seed = zlib.crc32(f"{canonical}|{n}".encode("utf-8", "replace"))
    if form.extension == "mp4":
        return mp4(seed)
    if form.extension == "wav":
        return wav(seed)
    given = json.loads(canonical)
    if form == WEBM:
        return webm(draw_card(given, prompt_text(given), n, longer), seed)
    return encode(draw_card(given, prompt_text(given), n, longer), form.pillow)
