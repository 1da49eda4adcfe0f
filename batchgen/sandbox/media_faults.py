"""How each fault on the media origin delivers a file: a table of small functions."""

import io
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image

from batchgen.sandbox.api_faults import LOGIN_PAGE
from batchgen.sandbox.call import HTML, JSON, HttpCall
from batchgen.sandbox.media import JPEG, png_chunk
from batchgen.sandbox.placeholder import encode

PNG_START = b"\x89PNG\r\n\x1a\n"
BOMB_BYTES = 256 * 2**20
BOMB_CRC = 0x2A0E7DBB  # of that many zeros, which take a fifth of a second to sum up
HUGE_SIDE_PX = 40_000


@dataclass(frozen=True)
class MediaDelivery:
    """A file that is to be delivered. kind: its media type. value: the fault's, if it has one."""

    call: HttpCall
    content: bytes
    kind: bytes
    value: Any = None


MediaFault = Callable[[MediaDelivery], Awaitable[None]]


def instead(status: int, body: bytes, kind: bytes) -> MediaFault:
    return lambda to: to.call.answer(status, body, kind=kind)


def altered(change: Callable[[bytes], bytes]) -> MediaFault:
    """A whole answer with a right length, and wrong bytes."""
    return lambda to: to.call.answer(200, change(to.content), kind=to.kind)


async def half(to: MediaDelivery) -> None:
    """The length of the whole, and half of the bytes."""
    await to.call.begin(200, length=len(to.content), kind=to.kind)
    await to.call.send_part(to.content[: len(to.content) // 2])


async def short(to: MediaDelivery) -> None:
    await half(to)
    await to.call.hang_up()


async def stall(to: MediaDelivery) -> None:
    await half(to)
    await to.call.gone()


async def slow(to: MediaDelivery) -> None:
    """A byte per second."""
    await to.call.begin(200, length=len(to.content), kind=to.kind)
    for at in range(len(to.content)):
        last = at == len(to.content) - 1
        await to.call.send_part(to.content[at : at + 1], more=not last)
        if last or await to.call.gone_within(1.0):
            return


async def endless(to: MediaDelivery) -> None:
    await to.call.begin(200, kind=to.kind)
    await to.call.send_part(to.content[:-12])
    while not to.call.closed:
        await to.call.send_part(bytes(2**16))


async def redirect(to: MediaDelivery) -> None:
    """value: the URL to go to; None is this file once more, and then it is delivered."""
    if to.call.query == "hop=1":
        await to.call.answer(200, to.content, kind=to.kind)
        return
    there = str(to.value or f"{to.call.path}?hop=1").encode()
    await to.call.answer(302, b"", (b"location", there))


async def redirect_loop(to: MediaDelivery) -> None:
    hop = int(to.call.query.removeprefix("hop=") or 0) + 1
    await to.call.answer(302, b"", (b"location", f"{to.call.path}?hop={hop}".encode()))


def repeated_zeros(piece: int, times: int, bits: int) -> bytes:
    """Compressed zeros, `piece * times` of them, for the price of compressing one piece.

    A full flush leaves a stream at a byte's edge with nothing remembered, so that what follows
    may be repeated. bits: zlib's window bits, negative for a raw stream.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    start = packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + one * times + b"\x03\x00"  # an empty last block


@lru_cache(maxsize=1)
def gzip_bomb() -> bytes:
    """256 MiB of zeros as gzip, about 256 KiB."""
    piece = bytes(2**20)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    stream = repeated_zeros(len(piece), BOMB_BYTES // len(piece), -15)
    return head + stream + struct.pack("<II", BOMB_CRC, BOMB_BYTES)


@lru_cache(maxsize=1)
def huge_picture() -> bytes:
    """A PNG of 40,000 x 40,000 black pixels, one bit each, in about 200 KiB."""
    row, rows = 1 + HUGE_SIDE_PX // 8, 100
    total = row * HUGE_SIDE_PX
    # Adler-32 of zeros alone has a closed form: the low half stays 1, the high half counts.
    check = struct.pack(">HH", total % 65521, 1)
    stream = repeated_zeros(row * rows, HUGE_SIDE_PX // rows, 15) + check
    head = struct.pack(">IIBBBBB", HUGE_SIDE_PX, HUGE_SIDE_PX, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", stream), (b"IEND", b""))
    return PNG_START + b"".join(png_chunk(name, content) for name, content in parts)


def corrupt(content: bytes) -> bytes:
    """Flip bytes in the middle, which in a PNG is pixel data."""
    middle = (len(content) + max(content.find(b"IDAT"), 0)) // 2
    end = middle + 16
    return content[:middle] + bytes(b ^ 0x5A for b in content[middle:end]) + content[end:]


def as_jpeg(content: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return encode(picture, JPEG.pillow)
    except OSError:
        return encode(Image.new("RGB", (64, 64)), JPEG.pillow)


EXPIRED_BODY = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"

MEDIA_FAULTS: dict[str, MediaFault] = {
    "media-404": instead(404, b"not found", b"text/plain"),
    "media-403": instead(403, EXPIRED_BODY, b"application/xml"),
    "media-500": instead(500, b"internal error", b"text/plain"),
    "media-expired": instead(410, EXPIRED_BODY, b"application/xml"),
    "media-html": instead(200, LOGIN_PAGE, HTML),
    "media-json": instead(200, b'{"error":"not ready"}', JSON),
    "media-empty": instead(200, b"", b"image/png"),
    "media-truncated": altered(lambda content: content[: len(content) // 2]),
    "media-corrupt": altered(corrupt),
    "media-wrong-type": altered(as_jpeg),
    "media-huge-pixels": altered(lambda content: huge_picture()),
    "media-short": short,
    "media-stall": stall,
    "media-slow": slow,
    "media-drop": lambda to: to.call.hang_up(),
    "media-endless": endless,
    "media-gzip-bomb": lambda to: to.call.answer(
        200, gzip_bomb(), (b"content-encoding", b"gzip"), kind=to.kind
    ),
    "media-redirect": redirect,
    "media-redirect-loop": redirect_loop,
}
