"""Width and height of a film as it is shown, from its header. Nothing is decoded.

The sizes of what is no film, and of a header that is none that is known here, are not known.

Sources: ISO/IEC 14496-12 (`tkhd` and its matrix); RFC 9559 (Matroska); Microsoft's AVIMAINHEADER.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import BinaryIO

from batchgen.media.completeness import Content, CutShort, Unknown, boxes, descendants, element
from batchgen.media.formats import AVI, MKV, MOV, MP4, WEBM, Format

MAX_SIDE_PX = 1 << 16  # what states more is no film, but damaged
MAX_ELEMENTS = 10_000  # on one level of a file; the header is among the first
Size = tuple[int, int]


def film_size(file: BinaryIO, format: Format) -> Size | None:
    """Return width and height, in pixels, as players show it; None where they are not known."""
    read = _READERS.get(format)
    if read is None:
        return None
    try:
        found = read(Content(file))
    except (CutShort, Unknown, struct.error):
        return None
    return found if found and all(0 < side <= MAX_SIDE_PX for side in found) else None


def _iso(content: Content) -> Size | None:
    for name, body, stop in islice(boxes(content, 0, content.size), MAX_ELEMENTS):
        if name != b"moov":
            continue
        for begin, end in descendants(content, body, stop, (b"trak", b"tkhd")):
            # Behind the times, which are longer in version 1: the matrix, then 16.16 numbers.
            at = begin + (52 if content.number(begin, 1) else 40)
            if at + 44 > end:
                continue
            matrix = content.unpack(">9i", at)
            width, height = (side >> 16 for side in content.unpack(">II", at + 36))
            if width and height:  # a track of sound has none
                is_turned = not matrix[0] and bool(matrix[1])
                return (height, width) if is_turned else (width, height)
    return None


_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CLUSTER = 0x1F43B675
_WIDTHS, _HEIGHTS, _UNIT = (0x54B0, 0xB0), (0x54BA, 0xBA), 0x54B2  # as shown, else as stored


def _matroska(content: Content) -> Size | None:
    _, body, size = element(content, 0)
    for begin, stop in inner(content, body + (size or 0), content.size, _SEGMENT):
        for first, last in inner(content, begin, stop, _TRACKS):
            for start, end in inner(content, first, last, _TRACK):
                for at, until in inner(content, start, end, _VIDEO):
                    return _shown_size(content, at, until)
    return None


def _shown_size(content: Content, at: int, end: int) -> Size | None:
    values = {}
    for name, begin, stop in elements(content, at, end):
        if stop - begin <= 8:
            values[name] = content.number(begin, stop - begin)
    # A unit other than pixels is a proportion, or centimetres.
    kinds = slice(1, None) if values.get(_UNIT) else slice(None)
    for width, height in [*zip(_WIDTHS, _HEIGHTS, strict=True)][kinds]:
        if values.get(width) and values.get(height):
            return values[width], values[height]
    return None


def inner(content: Content, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    for name, begin, stop in elements(content, at, end):
        if name == wanted:
            yield begin, stop


def elements(content: Content, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield id, begin and end of the content of each element, up to the first of unknown size."""
    for _ in range(MAX_ELEMENTS):
        if at >= end:
            return
        name, begin, size = element(content, at)
        at = end if size is None else min(begin + size, end)
        yield name, begin, at
        if name == _CLUSTER:  # the pictures, behind the header
            return


def _avi(content: Content) -> Size | None:
    if content.take(12, 4) + content.take(20, 8) != b"LISThdrlavih":
        return None
    width, height = content.unpack("<II", 64)
    return width, height


_READERS: Mapping[Format, Callable[[Content], Size | None]] = {
    **dict.fromkeys((MP4, MOV), _iso),
    **dict.fromkeys((WEBM, MKV), _matroska),
    AVI: _avi,
}
