"""PNG, JPEG and WebP as containers: read or replace the XMP packet in a file. Pure.

Nothing is decoded. All other bytes stay as they are, except the sizes and flags in the header of a
WebP. Sources: W3C PNG, third edition; XMP Specification, Part 3 (ISO 16684-3); WebP Container
Specification; RFC 6386 and 9649 for the size of a WebP's canvas; C2PA Specification, Appendix A.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from batchgen.media.formats import JPEG, PNG, WEBP, Format

_PNG_XMP = b"XML:com.adobe.xmp"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_KEYWORD_BYTES = 80  # of a text in a PNG, with the byte that ends it
MAX_TEXT_BYTES = 1 << 24  # of a compressed text, decompressed
MAX_SEGMENTS = 100_000  # a hostile file of 64 MB could have five million
# Of a packet. A JPEG's segment holds its length in 16 bits; the other formats have no such limit.
MAX_PACKET_BYTES = {PNG: 1 << 18, JPEG: 65502, WEBP: 1 << 18}


class UnsupportedPicture(ValueError):
    """A file that breaks its format's specification, or that must not be changed."""


class Segment(NamedTuple):
    """A chunk (PNG, WebP) or a segment (JPEG).

    start, end: its offsets in the file. body, stop: those of its content.
    """

    name: bytes
    start: int
    body: int
    stop: int
    end: int


def parse_segments(data: bytes, format: Format) -> list[Segment]:
    """Return all segments of a picture; of a JPEG, those before its first scan.

    Raises UnsupportedPicture if the file is cut off, if other data follow its end, or if it has a
    C2PA signature, which covers every byte.
    """
    try:
        segments = list(islice(_PARSERS[format](data), MAX_SEGMENTS))
    except struct.error as error:
        raise UnsupportedPicture("it breaks off") from error
    if len(segments) == MAX_SEGMENTS:
        raise UnsupportedPicture("it has too many segments")
    for name, _, body, stop, _ in segments:
        # A JPEG has its signature in JUMBF boxes in APP11.
        jumbf = name == b"\xeb" and data.startswith(b"JP", body, stop)
        if jumbf or name in (b"caBX", b"C2PA"):
            raise UnsupportedPicture("its maker signed it")
    return segments


def leading_segments(data: bytes, format: Format) -> Iterator[Segment]:
    """Yield the segments of a file up to its first error."""
    with suppress(UnsupportedPicture, struct.error):
        yield from _PARSERS[format](data)


def webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height, in pixels, of a WebP; 0 where its first 30 bytes do not tell."""
    name = head[12:16]
    if name == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if name == b"VP8L" and head[20:21] == b"\x2f" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        bits = int.from_bytes(head[26:30], "little")
        return bits & 0x3FFF, bits >> 16 & 0x3FFF  # the upper two bits are a scale
    return 0, 0


def find_packet(data: bytes, segments: Iterable[Segment]) -> bytes | None:
    """Return the first XMP packet; None if there is none."""
    return next(
        (found for segment in segments if (found := _packet(data, segment)) is not None), None
    )


def find_text(data: bytes, segments: Iterable[Segment], keyword: str) -> str | None:
    """Return the text that a PNG has under `keyword`; None if there is none."""
    wanted = keyword.encode()
    for segment in segments:
        if segment.name in (b"iTXt", b"tEXt", b"zTXt") and _keyword(data, segment) == wanted:
            return _text(data, segment).decode(errors="replace")
    return None


def replace_packet(
    data: bytes, format: Format, segments: list[Segment], packet: bytes, texts: Mapping[str, str]
) -> bytes:
    """Return `data` with `packet` in place of its own packet, or as a new segment.

    segments: what `parse_segments` returned for `data`.
    texts: for a PNG, by keyword; each replaces a text with the same keyword.
    Raises UnsupportedPicture if a WebP has no valid header chunk.
    """
    if format == PNG:
        new = {_PNG_XMP: packet, **{name.encode(): text.encode() for name, text in texts.items()}}
        return _png_with(data, segments, new)
    old = next((segment for segment in segments if _packet(data, segment) is not None), None)
    return (_jpeg_with if format == JPEG else _webp_with)(data, segments, old, packet)


def _packet(data: bytes, segment: Segment) -> bytes | None:
    if segment.name == b"iTXt":
        return _text(data, segment) if _keyword(data, segment) == _PNG_XMP else None
    if segment.name == b"\xe1" and data.startswith(_JPEG_XMP, segment.body, segment.stop):
        return data[segment.body + len(_JPEG_XMP) : segment.stop]
    if segment.name == b"XMP ":
        return data[segment.body : segment.stop]
    return None


# -- PNG ---------------------------------------------------------------------------------------


def _png(data: bytes) -> Iterator[Segment]:
    at, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data) or (name == b"IHDR") != (at == 8):
            raise UnsupportedPicture("it breaks off")
        yield Segment(name, at, at + 8, end - 4, end)
        at = end
    if at != len(data):
        raise UnsupportedPicture("something follows its end")


def _keyword(data: bytes, segment: Segment) -> bytes:
    return data[segment.body : min(segment.body + _KEYWORD_BYTES, segment.stop)].partition(b"\0")[0]


def _text(data: bytes, segment: Segment) -> bytes:
    """Return the text of a chunk; that of a zTXt stays compressed.

    For a chunk of the wanted keyword only: a file may hold many that unpack to MAX_TEXT_BYTES.
    """
    rest = data[segment.body : segment.stop].partition(b"\0")[2]
    if segment.name != b"iTXt":
        return rest
    text = rest[2:].split(b"\0", 2)[-1]  # language and translated keyword precede the text
    if rest.startswith(b"\1"):
        with suppress(zlib.error):
            text = zlib.decompressobj().decompress(text, MAX_TEXT_BYTES)
    return text


def _png_with(data: bytes, segments: list[Segment], texts: Mapping[bytes, bytes]) -> bytes:
    # After the header: many programs read no text that follows the image data.
    at = segments[0].end
    parts = [data[:at], *(_itxt(*named) for named in texts.items())]
    for segment in segments:
        if segment.name == b"iTXt" and _keyword(data, segment) in texts:
            parts.append(data[at : segment.start])
            at = segment.end
    return b"".join((*parts, data[at:]))


def _itxt(keyword: bytes, text: bytes) -> bytes:
    content = keyword + b"\0\0\0\0\0" + text
    check = zlib.crc32(content, zlib.crc32(b"iTXt"))
    return struct.pack(">I", len(content)) + b"iTXt" + content + struct.pack(">I", check)


# -- JPEG --------------------------------------------------------------------------------------


def _jpeg(data: bytes) -> Iterator[Segment]:
    """Yield the segments before the first scan."""
    at = 2
    while True:
        start = at
        while data[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        sign, marker, length = struct.unpack_from(">BBH", data, at)
        end = at + 2 + length
        if sign != 0xFF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9 or length < 2:
            raise UnsupportedPicture("a segment was expected")
        if end > len(data):
            raise UnsupportedPicture("it breaks off")
        if marker == 0xDA:
            # The bytes of an end marker cannot occur within a scan.
            if data.find(b"\xff\xd9", end) < 0:
                raise UnsupportedPicture("it has no end")
            return
        yield Segment(data[at + 1 : at + 2], start, at + 4, end, end)
        at = end


def _jpeg_with(data: bytes, segments: list[Segment], old: Segment | None, packet: bytes) -> bytes:
    new = b"\xff\xe1" + struct.pack(">H", 2 + len(_JPEG_XMP) + len(packet)) + _JPEG_XMP + packet
    if old is not None:
        return data[: old.start] + new + data[old.end :]
    at = 2
    for segment in segments:  # JFIF and Exif have to come first
        exif = segment.name == b"\xe1" and data.startswith(b"Exif\0", segment.body, segment.stop)
        if segment.name != b"\xe0" and not exif:
            break
        at = segment.end
    return data[:at] + new + data[at:]


# -- WebP --------------------------------------------------------------------------------------

_HAS_XMP, _HAS_ALPHA = 0x04, 0x10


def _webp(data: bytes) -> Iterator[Segment]:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 != len(data):
        raise UnsupportedPicture("it breaks off")
    at = 12
    while at < len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + length
        end = stop + length % 2
        if end > len(data):
            raise UnsupportedPicture("it breaks off")
        yield Segment(name, at, at + 8, stop, end)
        at = end


def _webp_with(data: bytes, segments: list[Segment], old: Segment | None, packet: bytes) -> bytes:
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + b"\0" * (len(packet) % 2)
    if old is not None:
        content = data[12 : old.start] + chunk + data[old.end :]
    elif len(segments) == 1:
        content = _vp8x(data, segments[0]) + data[12:] + chunk
    else:
        content = data[12:] + chunk
    if not content.startswith(b"VP8X\x0a\0\0\0"):
        raise UnsupportedPicture("it has no valid VP8X chunk")
    flags = bytes([content[8] | _HAS_XMP])
    size = struct.pack("<I", 4 + len(content))
    return b"".join((b"RIFF", size, b"WEBP", content[:8], flags, content[9:]))


def _vp8x(data: bytes, picture: Segment) -> bytes:
    """Return the header chunk of an extended file, for the picture chunk of a simple file."""
    width, height = webp_size(data)
    if not width or not height:
        raise UnsupportedPicture("it has no picture chunk")
    flags = _HAS_ALPHA if picture.name == b"VP8L" and data[24] & 0x10 else 0
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<II", 10, flags) + sides


_PARSERS = {PNG: _png, JPEG: _jpeg, WEBP: _webp}
