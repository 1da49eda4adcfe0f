"""PNG, JPEG and WebP as containers: an XMP packet goes in or comes out, the picture stays. Pure.

Nothing is decoded, and every other byte stays, but for the counts in the header of a WebP.
Sources: W3C PNG, third edition; XMP Specification, Part 3 (ISO 16684-3); WebP Container
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
MAX_TEXT_BYTES = 1 << 24  # bytes of a packed text that are worth a look
MAX_SEGMENTS = 100_000  # pieces; a hostile file of 64 MB could have five million
# Bytes that we let a packet have. The segment of a JPEG counts its own in 16 bits; the others could
# take what they like, but nobody wants a picture that is mostly text.
MAX_PACKET_BYTES = {PNG: 1 << 18, JPEG: 65502, WEBP: 1 << 18}


class UnsupportedPicture(ValueError):
    """Not a whole picture as the specifications have it, or one that must stay as it is."""


class Segment(NamedTuple):
    """A chunk or segment: from start to end in the file, its content from body to stop."""

    name: bytes
    start: int
    body: int
    stop: int
    end: int


def parse_segments(data: bytes, format: Format) -> list[Segment]:
    """Return what a picture consists of; of a JPEG, what stands before its first scan.

    Raises Odd where the data are not whole, are followed by more, or where their maker has signed
    them: a C2PA signature covers every byte.
    """
    try:
        pieces = list(islice(_PIECES[format](data), MAX_SEGMENTS))
    except struct.error as error:
        raise UnsupportedPicture("it breaks off") from error
    if len(pieces) == MAX_SEGMENTS:
        raise UnsupportedPicture("it is made of very small pieces")
    for name, _, body, stop, _ in pieces:
        # A JPEG has its signature in JUMBF boxes in APP11.
        jumbf = name == b"\xeb" and data.startswith(b"JP", body, stop)
        if jumbf or name in (b"caBX", b"C2PA"):
            raise UnsupportedPicture("its maker signed it")
    return pieces


def leading_segments(data: bytes, format: Format) -> Iterator[Segment]:
    """Yield the pieces of data that may be odd or break off, up to there."""
    with suppress(UnsupportedPicture, struct.error):
        yield from _PIECES[format](data)


def find_packet(data: bytes, pieces: Iterable[Segment]) -> bytes | None:
    """Return the first XMP packet; None if there is none."""
    return next((found for piece in pieces if (found := _packet(data, piece)) is not None), None)


def find_text(data: bytes, pieces: Iterable[Segment], keyword: str) -> str | None:
    """Return the text that a PNG has under `keyword`; None if there is none."""
    wanted = keyword.encode()
    found = (_text(data, piece) for piece in pieces if piece.name in (b"iTXt", b"tEXt", b"zTXt"))
    return next((text.decode(errors="replace") for name, text in found if name == wanted), None)


def replace_packet(
    data: bytes, format: Format, pieces: list[Segment], packet: bytes, texts: Mapping[str, str]
) -> bytes:
    """Return `data` with `packet` in the place of the one it has, or as a new piece.

    pieces: those of `whole`. texts: more for a PNG by their keywords, in place of their namesakes.
    Raises Odd where there is no place for it.
    """
    if format == PNG:
        new = {_PNG_XMP: packet, **{name.encode(): text.encode() for name, text in texts.items()}}
        return _png_with(data, pieces, new)
    old = next((piece for piece in pieces if _packet(data, piece) is not None), None)
    return (_jpeg_with if format == JPEG else _webp_with)(data, pieces, old, packet)


def _packet(data: bytes, piece: Segment) -> bytes | None:
    if piece.name == b"iTXt":
        name, text = _text(data, piece)
        return text if name == _PNG_XMP else None
    if piece.name == b"\xe1" and data.startswith(_JPEG_XMP, piece.body, piece.stop):
        return data[piece.body + len(_JPEG_XMP) : piece.stop]
    if piece.name == b"XMP ":
        return data[piece.body : piece.stop]
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


def _text(data: bytes, piece: Segment) -> tuple[bytes, bytes]:
    """The keyword and the text of a chunk; that of a zTXt stays packed."""
    name, _, rest = data[piece.body : piece.stop].partition(b"\0")
    if piece.name != b"iTXt":
        return name, rest
    text = rest[2:].split(b"\0", 2)[-1]  # after a language, and the keyword in that
    if rest.startswith(b"\1"):
        with suppress(zlib.error):
            text = zlib.decompressobj().decompress(text, MAX_TEXT_BYTES)
    return name, text


def _png_with(data: bytes, pieces: list[Segment], texts: Mapping[bytes, bytes]) -> bytes:
    # Right after the header: many programs read no text that follows the picture.
    at = pieces[0].end
    parts = [data[:at], *(_itxt(*named) for named in texts.items())]
    for piece in pieces:
        if piece.name == b"iTXt" and _text(data, piece)[0] in texts:
            parts.append(data[at : piece.start])
            at = piece.end
    return b"".join((*parts, data[at:]))


def _itxt(keyword: bytes, text: bytes) -> bytes:
    content = keyword + b"\0\0\0\0\0" + text
    check = zlib.crc32(content, zlib.crc32(b"iTXt"))
    return struct.pack(">I", len(content)) + b"iTXt" + content + struct.pack(">I", check)


# -- JPEG --------------------------------------------------------------------------------------


def _jpeg(data: bytes) -> Iterator[Segment]:
    """The segments before the first scan."""
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
            # Nothing within a scan looks like the end of the picture.
            if data.find(b"\xff\xd9", end) < 0:
                raise UnsupportedPicture("it has no end")
            return
        yield Segment(data[at + 1 : at + 2], start, at + 4, end, end)
        at = end


def _jpeg_with(data: bytes, pieces: list[Segment], old: Segment | None, packet: bytes) -> bytes:
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(_JPEG_XMP) + len(packet)) + _JPEG_XMP + packet
    if old is not None:
        return data[: old.start] + segment + data[old.end :]
    at = 2
    for piece in pieces:  # JFIF and Exif both want to be first
        exif = piece.name == b"\xe1" and data.startswith(b"Exif\0", piece.body, piece.stop)
        if piece.name != b"\xe0" and not exif:
            break
        at = piece.end
    return data[:at] + segment + data[at:]


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


def _webp_with(data: bytes, pieces: list[Segment], old: Segment | None, packet: bytes) -> bytes:
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + b"\0" * (len(packet) % 2)
    if old is not None:
        content = data[12 : old.start] + chunk + data[old.end :]
    elif len(pieces) == 1:
        content = _vp8x(data, pieces[0]) + data[12:] + chunk
    else:
        content = data[12:] + chunk
    if not content.startswith(b"VP8X\x0a\0\0\0"):
        raise UnsupportedPicture("the chunk that says what is in it is missing")
    flags = bytes([content[8] | _HAS_XMP])
    size = struct.pack("<I", 4 + len(content))
    return b"".join((b"RIFF", size, b"WEBP", content[:8], flags, content[9:]))


def _vp8x(data: bytes, picture: Segment) -> bytes:
    """The first chunk of an extended file around `picture`, that of a simple one."""
    flags = 0
    if picture.name == b"VP8L" and data.startswith(b"\x2f", picture.body):
        bits = int.from_bytes(data[picture.body + 1 : picture.body + 5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _HAS_ALPHA if bits >> 28 & 1 else 0
    elif picture.name == b"VP8 " and data.startswith(b"\x9d\x01\x2a", picture.body + 3):
        bits = int.from_bytes(data[picture.body + 6 : picture.body + 10], "little")
        width, height = bits & 0x3FFF, bits >> 16 & 0x3FFF  # the other bits ask to be scaled
    else:
        width = height = 0
    if not width or not height:
        raise UnsupportedPicture("no picture was found in it")
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<II", 10, flags) + sides


_PIECES = {PNG: _png, JPEG: _jpeg, WEBP: _webp}
