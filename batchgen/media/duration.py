"""How long a film or a sound plays, from its header. Nothing is decoded.

What a header does not tell, or tells wrongly, is not known, which is no error.

Sources: ISO/IEC 14496-12 (`mvhd`, `mehd`); RFC 9559 (Matroska's `Info`); Microsoft's AVIMAINHEADER
and WAVEFORMATEX; RFC 3533, RFC 7845 and the Vorbis I specification (Ogg); RFC 9639 (FLAC);
ISO/IEC 11172-3 (MP3).
"""

import math
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

from batchgen.media.completeness import (
    WINDOW_BYTES,
    Content,
    CutShort,
    Unknown,
    boxes,
    descendants,
    element,
    mp3_frames,
    xing,
)
from batchgen.media.film_size import MAX_ELEMENTS, elements, inner
from batchgen.media.formats import (
    AVI,
    FLAC,
    M4A,
    MKV,
    MOV,
    MP3,
    MP4,
    OGG,
    WAV,
    WEBM,
    Format,
    mp3_frame_seconds,
)

MAX_SECONDS = 7 * 86400.0  # what states more is damaged


def duration(file: BinaryIO, format: Format) -> float | None:
    """Return the seconds that a file plays, to the millisecond; None where they are not known."""
    if (read := _READERS.get(format)) is None:
        return None
    try:
        found = read(Content(file))
    except (CutShort, Unknown, struct.error, ArithmeticError):
        return None
    if found is None or not math.isfinite(found) or not 0 < found <= MAX_SECONDS:
        return None
    return round(found, 3) or None


_NOT_KNOWN = 0xFFFFFFFF  # of the longer form it is above any limit


def _iso(content: Content) -> float | None:
    for name, body, stop in islice(boxes(content, 0, content.size), MAX_ELEMENTS):
        if name != b"moov":
            continue
        for begin, _ in descendants(content, body, stop, (b"mvhd",)):
            # The times of making and of change, which are longer in version 1, come first.
            is_long = content.number(begin, 1) == 1
            scale = content.number(begin + (20 if is_long else 12), 4)
            units = content.number(begin + (24 if is_long else 16), 8 if is_long else 4)
            if units == 0:  # a film in fragments has its length elsewhere, or nowhere
                for at, _ in descendants(content, body, stop, (b"mvex", b"mehd")):
                    units = content.number(at + 4, 8 if content.number(at, 1) == 1 else 4)
            return None if units == _NOT_KNOWN else float(units / scale)
    return None


_SEGMENT, _INFO, _SCALE, _DURATION = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489


def _matroska(content: Content) -> float | None:
    _, body, size = element(content, 0)
    for begin, stop in inner(content, body + (size or 0), content.size, _SEGMENT):
        for first, last in inner(content, begin, stop, _INFO):
            nanoseconds, units = 1_000_000, 0.0
            for name, at, end in elements(content, first, last):
                if name == _SCALE and end - at <= 8:
                    nanoseconds = content.number(at, end - at)
                elif name == _DURATION and end - at in (4, 8):
                    (units,) = content.unpack(">f" if end - at == 4 else ">d", at)
            return units * nanoseconds / 1e9
    return None


def _avi(content: Content) -> float | None:
    if content.take(12, 4) + content.take(20, 8) != b"LISThdrlavih":
        return None
    microseconds, *_, pictures = content.unpack("<5I", 32)
    return float(microseconds * pictures / 1e6)


def _wav(content: Content) -> float | None:
    at, bytes_a_second = 12, 0
    for _ in range(MAX_ELEMENTS):
        name, size = content.unpack("<4sI", at)
        at += 8
        if name == b"fmt ":
            (bytes_a_second,) = content.unpack("<I", at + 8)
        elif name == b"data":
            # A stream, or a file of more than 4 GB, states none or the largest size.
            return min(size or content.size, content.size - at) / bytes_a_second
        at += size + size % 2
    return None


def _mp3(content: Content) -> float | None:
    frames, each = 0, 0.0
    with suppress(Unknown):  # what follows the sound
        for at, length in mp3_frames(content):
            if not each:
                each = mp3_frame_seconds(content.read(at, 4))
                if any(xing(content.read(at, length))):
                    continue  # it holds numbers, and no sound
            frames += 1
    return frames * each


def _ogg(content: Content) -> float | None:
    packet = content.read(27 + content.number(26, 1), 16)
    hertz, skipped = 0, 0
    if packet.startswith(b"\x01vorbis"):
        (hertz,) = struct.unpack_from("<I", packet, 12)
    elif packet.startswith(b"OpusHead"):
        hertz, (skipped,) = 48000, struct.unpack_from("<H", packet, 10)
    window = content.read(max(content.size - WINDOW_BYTES, 0), WINDOW_BYTES)
    (samples,) = struct.unpack_from("<q", window, max(window.rfind(b"OggS"), 0) + 6)
    return float((samples - skipped) / hertz)


def _flac(content: Content) -> float | None:
    info = content.take(8, 18)
    return (int.from_bytes(info[13:]) & (1 << 36) - 1) / (int.from_bytes(info[10:13]) >> 4)


_READERS: Mapping[Format, Callable[[Content], float | None]] = {
    **dict.fromkeys((MP4, MOV, M4A), _iso),
    **dict.fromkeys((WEBM, MKV), _matroska),
    **{AVI: _avi, WAV: _wav, MP3: _mp3, OGG: _ogg, FLAC: _flac},
}
