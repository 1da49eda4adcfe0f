"""Whether a file is cut short, by the sizes that its own structure states. Nothing is decoded.

A file that ends early is told from a whole one wherever its format says how long it should be.
What a real encoder writes counts as whole: a stream that states no sizes, data after the end, tags.
Where a structure is none that is known here, nothing is said against the file.

Every walk is linear in the size of the file, and reads little of it at a time.

Sources: W3C PNG, third edition; GIF89a; ITU-T T.81, Annex B; Multimedia Programming Interface 1.0
and EBU Tech 3306 (RIFF, RF64); ISO/IEC 14496-12 (boxes); RFC 8794 and 9559 (EBML, Matroska); RFC
3533 (Ogg); RFC 9639 (FLAC); ISO/IEC 11172-3, ID3v2.4, APEv2 and the tag of Xing (MP3).
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import SEEK_END
from typing import Any, BinaryIO

from batchgen.media.formats import (
    AVI,
    AVIF,
    CR3,
    FLAC,
    GIF,
    HEIC,
    HEIF,
    JPEG,
    M4A,
    MKV,
    MOV,
    MP3,
    MP4,
    OGG,
    PNG,
    WAV,
    WEBM,
    WEBP,
    Format,
    mp3_frame_bytes,
)

WINDOW_BYTES = 1 << 16
APE_FOOTER_BYTES = 32  # and of its header; source: wiki.hydrogenaudio.org, "APEv2 specification"
MAX_READS = 5_000_000  # some seconds; a hostile file can have a part in every eight bytes


class CutShort(Exception):
    """str(error) is what is missing, for people."""


class Unknown(Exception):
    """The structure is none that is known here."""


class Content:
    """A file that is read here and there. size: in bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0
        self.size = file.seek(0, SEEK_END)

    def read(self, at: int, count: int) -> bytes:
        """Return the bytes there; fewer at the end of the file."""
        self._reads += 1
        if self._reads > MAX_READS:
            raise Unknown
        self._file.seek(at)
        return self._file.read(count)

    def require(self, end: int) -> None:
        if end > self.size:
            raise CutShort(f"at least {end - self.size} bytes are missing")

    def take(self, at: int, count: int) -> bytes:
        self.require(at + count)
        return self.read(at, count)

    def number(self, at: int, count: int) -> int:
        """Return an unsigned number, its most significant byte first."""
        return int.from_bytes(self.take(at, count), "big")

    def unpack(self, form: str, at: int) -> tuple[Any, ...]:
        return struct.unpack(form, self.take(at, struct.calcsize(form)))

    def begins(self, at: int, mark: bytes) -> bool:
        """Whether `mark` is there; cut short if the file ends within it."""
        found = self.read(at, len(mark))
        if found and len(found) < len(mark) and mark.startswith(found):
            self.require(at + len(mark))
        return found == mark

    def search(self, pattern: re.Pattern[bytes], at: int) -> int:
        """Return where two bytes that match `pattern` are found from `at` on; -1 if nowhere."""
        while len(window := self.read(at, WINDOW_BYTES)) > 1:
            if found := pattern.search(window):
                return at + found.start()
            at += len(window) - 1
        return -1


def missing_part(file: BinaryIO, format: Format) -> str | None:
    """Return in words what a file lacks; None if it is whole as far as its structure tells."""
    walk = _WALKS.get(format)
    if walk is None:
        return None
    try:
        walk(Content(file))
    except CutShort as error:
        return str(error)
    except Unknown:
        pass
    return None


def has_tail(file: BinaryIO, format: Format) -> bool:
    """Whether other data follow the end of a PNG; nobody who looks at it sees them."""
    try:
        return format == PNG and _end_of_png(content := Content(file)) < content.size
    except (CutShort, Unknown):
        return False


# -- pictures ------------------------------------------------------------------------------------


def _png(content: Content) -> None:
    _end_of_png(content)


def _end_of_png(content: Content) -> int:
    """Also of an animated one: its frames come before the end."""
    at, name = 8, b""
    while name != b"IEND":
        length, name = content.unpack(">I4s", at)
        if not name.isalpha():
            raise Unknown
        at += 12 + length
        content.require(at)
    return at


def _gif(content: Content) -> None:
    at = 13 + _palette_bytes(content.number(10, 1))
    while (kind := content.number(at, 1)) != 0x3B:
        if kind == 0x2C:
            at += 11 + _palette_bytes(content.number(at + 9, 1))
        elif kind == 0x21:
            at += 2
        else:
            raise Unknown
        while length := content.number(at, 1):
            at += 1 + length
        at += 1


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# Within a scan, FF 00 stands for the byte FF, and FF D0 to FF D7 divide it.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def _jpeg(content: Content) -> None:
    at = 2
    while True:
        sign, marker = content.take(at, 2)
        if sign != 0xFF or marker == 0:
            raise Unknown
        if marker == 0xD9:
            return
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 2
        else:
            at += 2 + content.number(at + 2, 2)
            content.require(at)
        if marker == 0xDA:
            at = content.search(_JPEG_MARKER, at)
            if at < 0:
                raise CutShort("it has no end marker")


# -- RIFF ----------------------------------------------------------------------------------------

# A program that writes to a pipe cannot know the size, and states none or a huge one.
_LARGEST_RIFF = 0x7FFF0000
_COUNTING_ERROR = 8  # some encoders count the header of the file, which has this many bytes


def _riff(content: Content) -> None:
    at = 0
    while at == 0 or content.begins(at, b"RIFF"):  # a large AVI has several parts
        (size,) = content.unpack("<I", at + 4)
        is_stated = 0 < size < _LARGEST_RIFF
        end = at + 8 + size if is_stated else content.size
        sound_is_due = content.read(at + 8, 4) == b"WAVE"
        at = _riff_chunks(content, at + 12, end, sound_is_due=sound_is_due)
        if is_stated and content.size + _COUNTING_ERROR < end:
            content.require(end)
        at = max(at, end)


def _riff_chunks(content: Content, at: int, end: int, *, sound_is_due: bool) -> int:
    """Walk the chunks from `at` to `end`; return where the last of them ends."""
    large = None  # of an RF64 file, whose chunk `data` states no size
    while at + 8 <= end and at != content.size:
        name, length = content.unpack("<4sI", at)
        if not name.isascii() or not name.decode().isprintable():
            raise Unknown
        if name == b"ds64":
            (large,) = content.unpack("<Q", at + 16)
        if name == b"data":
            sound_is_due = False
            length = large if length == 0xFFFFFFFF and large else length
        if length >= _LARGEST_RIFF and length != large:
            raise Unknown
        at += 8 + length
        content.require(at)
        at += length % 2
    if sound_is_due:
        raise CutShort("it has no sound")
    return at


# -- boxes: MP4, QuickTime, HEIF -----------------------------------------------------------------


def boxes(content: Content, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, begin and end of the content of each box from `at` on."""
    while at < end:
        size, name = content.unpack(">I4s", at)
        body = at + 8
        if size == 1:
            size = content.number(body, 8)
            body += 8
        elif size == 0 and name != b"\0\0\0\0":  # to the end of the file
            size = end - at
        if size < body - at or not name.strip(b" \xa9").isalnum():
            raise Unknown
        yield name, body, at + size
        at += size


def _iso(content: Content) -> None:
    seen: list[bytes] = []
    with suppress(Unknown):  # what follows the boxes
        for name, body, stop in boxes(content, 0, content.size):
            content.require(stop)
            seen.append(name)
            if name == b"moov":
                for end in _track_ends(content, body, stop):
                    content.require(end)
            elif name == b"sidx":
                content.require(_segments_end(content, body, stop))
    if not {b"moov", b"moof", b"meta"} & set(seen):
        raise CutShort("its index is missing")
    media = [name for name in seen if name in (b"moof", b"mdat")]
    if b"moov" in seen and (not media or media[-1] == b"moof"):
        raise CutShort("its media data are missing")


def _heif(content: Content) -> None:
    _iso(content)
    with suppress(Unknown):
        if any(name == b"mdat" for name, *_ in boxes(content, 0, content.size)):
            return
    raise CutShort("its media data are missing")


def descendants(
    content: Content, at: int, end: int, path: tuple[bytes, ...]
) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the content of each box at a path of names; none where it is odd."""
    with suppress(Unknown):
        for name, body, stop in boxes(content, at, end):
            if name == path[0] and stop <= end:
                if len(path) == 1:
                    yield body, stop
                else:
                    yield from descendants(content, body, stop, path[1:])


def _track_ends(content: Content, at: int, end: int) -> Iterator[int]:
    """Yield where the last samples of each track end. at, end: of the content of `moov`."""
    for begin, stop in descendants(content, at, end, (b"trak", b"mdia", b"minf", b"stbl")):
        tables = {}
        for name in (b"stco", b"co64", b"stsc", b"stsz"):
            for place in descendants(content, begin, stop, (name,)):
                tables[name] = place
        yield from _last_chunk_end(content, tables)


def _last_chunk_end(content: Content, tables: Mapping[bytes, tuple[int, int]]) -> Iterator[int]:
    """Yield where the last chunk of a track ends; nothing if the tables do not tell."""
    width = 4 if b"stco" in tables else 8
    names = (b"stco" if width == 4 else b"co64", b"stsc", b"stsz")
    if not all(name in tables for name in names):
        return
    offsets, runs, sizes = (tables[name] for name in names)
    last_offset = _last_entry(content, offsets, width)
    last_run = _last_entry(content, runs, 12)
    if last_offset is None or last_run is None:
        return
    chunk = int.from_bytes(last_offset, "big")
    count = int.from_bytes(last_run[4:8], "big")
    begin, stop = sizes
    each, samples = content.unpack(">II", begin + 4)
    count = min(count, samples)
    if each > 1:  # a size of 1 can stand for a sample of sound of any size
        yield chunk + each * count
    elif each == 0 and count > 0 and begin + 12 + 4 * samples <= stop:
        table = content.take(begin + 12 + 4 * (samples - count), 4 * count)
        yield chunk + sum(size for (size,) in struct.iter_unpack(">I", table))
    else:
        yield chunk


def _last_entry(content: Content, table: tuple[int, int], width: int) -> bytes | None:
    """Return the last entry of a table: version and flags, the number of entries, the entries."""
    begin, stop = table
    count = content.number(begin + 4, 4)
    if not count or begin + 8 + width * count > stop:
        return None
    return content.take(begin + 8 + width * (count - 1), width)


def _segments_end(content: Content, body: int, stop: int) -> int:
    """Return where the segments end that a `sidx` lists; they follow it."""
    version = content.number(body, 1)
    at = body + (20 if version == 0 else 28)
    first = content.number(at - 4, 4) if version == 0 else content.number(at - 8, 8)
    count = content.number(at + 2, 2)
    if at + 4 + 12 * count > stop:
        return 0
    entries = content.take(at + 4, 12 * count)
    sizes: list[int] = [size & 0x7FFFFFFF for size, *_ in struct.iter_unpack(">III", entries)]
    return stop + first + sum(sizes)


# -- EBML: WebM, Matroska ------------------------------------------------------------------------

_SEGMENT, _CLUSTER, _VOID = 0x18538067, 0x1F43B675, 0xEC
_BLOCKS = (0xA3, 0xA0)  # SimpleBlock, BlockGroup


def _ebml(content: Content) -> None:
    _, body, size = element(content, 0)
    at = body + (size or 0)
    name, at, size = _element_or_none(content, at)
    while name == _VOID:
        name, at, size = _element_or_none(content, at + (size or 0))
    if name != _SEGMENT:
        raise CutShort("its contents are missing")
    if size is not None:
        content.require(at + size)
        return
    # A stream states no sizes for its segment and clusters, so their children are walked as one
    # row, to the end of the file.
    has_media = False
    while at < content.size:
        name, at, size = _element_or_none(content, at)
        if name is None:
            break
        has_media = has_media or name in _BLOCKS or (name == _CLUSTER and bool(size))
        at += size or 0
        content.require(at)
    if not has_media:
        raise CutShort("its contents are missing")


def _element_or_none(content: Content, at: int) -> tuple[int | None, int, int | None]:
    try:
        return element(content, at)
    except Unknown:
        return None, at, None


def element(content: Content, at: int) -> tuple[int, int, int | None]:
    """Return id, begin and size of the content of an element; None for a size that is unknown."""
    width = 9 - content.number(at, 1).bit_length()
    if width > 4:
        raise Unknown
    name = content.number(at, width)
    at += width
    width = 9 - content.number(at, 1).bit_length()
    if width > 8:
        raise Unknown
    mask = (1 << 7 * width) - 1
    size = content.number(at, width) & mask
    return name, at + width, None if size == mask else size


# -- sound ---------------------------------------------------------------------------------------


def _ogg(content: Content) -> None:
    at = 0
    while at < content.size:
        if not content.begins(at, b"OggS"):
            raise Unknown
        sizes = content.take(at + 27, content.number(at + 26, 1))
        at += 27 + len(sizes) + sum(sizes)
        content.require(at)


def _mp3(content: Content) -> None:
    frames = stated_frames = 0
    for at, length in mp3_frames(content):
        if not frames:
            stated_frames, stated_bytes = xing(content.read(at, length))
            content.require(stated_bytes)
        frames += 1
    if not frames:
        raise CutShort("it has no sound")
    if frames < stated_frames:
        raise CutShort(f"it has {frames} frames of {stated_frames}")


def mp3_frames(content: Content) -> Iterator[tuple[int, int]]:
    """Yield begin and size of each frame of an MP3; tags between them are passed over."""
    at = 0
    while at < content.size:
        header = content.read(at, 4)
        if length := mp3_frame_bytes(header):
            content.require(at + length)
            yield at, length
            at += length
        elif content.begins(at, b"ID3"):
            size = content.take(at + 6, 4)
            footer = content.number(at + 5, 1) & 0x10 and 10
            at += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]) + footer
            content.require(at)
        elif content.begins(at, b"TAG"):
            at += 227 if content.begins(at, b"TAG+") else 128
            content.require(at)
        elif content.begins(at, b"APETAGEX"):
            is_header = content.unpack("<I", at + 20)[0] >> 29 & 1
            size = content.unpack("<I", at + 12)[0]
            if size < APE_FOOTER_BYTES:  # which is counted; with 0 the walk would go round here
                raise Unknown
            at += (APE_FOOTER_BYTES if is_header else 0) + size
            content.require(at)
        elif len(header) < 4 and header[0] == 0xFF:
            content.require(at + 4)
        else:
            raise Unknown


def xing(frame: bytes) -> tuple[int, int]:
    """Return the numbers of frames and bytes that the first frame states; 0 for none."""
    at = max(frame.find(b"Xing", 0, 64), frame.find(b"Info", 0, 64))
    if at < 0 or len(frame) < at + 16:
        return 0, 0
    flags, *numbers = struct.unpack_from(">III", frame, at + 4)
    stated_frames = numbers.pop(0) if flags & 1 else 0
    return stated_frames, numbers.pop(0) if flags & 2 else 0


_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_FLAC_FRAME_BYTES = 1 << 17  # that are searched where the file does not state its largest frame
_FLAC_CANDIDATES = 64


def _flac(content: Content) -> None:
    at, is_last, info = 4, False, b""
    while not is_last:
        head = content.number(at, 4)
        is_last, kind, length = bool(head >> 31), head >> 24 & 0x7F, head & 0xFFFFFF
        if (kind == 0) != (at == 4) or (kind == 0 and length < 34):
            raise Unknown
        info = info or content.take(at + 4, 34)
        at += 4 + length
        content.require(at)
    total = int.from_bytes(info[13:18], "big") & (1 << 36) - 1
    block = int.from_bytes(info[:2], "big")
    largest = int.from_bytes(info[7:10], "big") or _FLAC_FRAME_BYTES
    end = content.size
    if content.read(max(end - 128, at), 3) == b"TAG":  # ID3v1
        end -= 128
    begin = max(at, end - largest)
    window = content.read(begin, end - begin)
    starts = [found.start() for found in _FLAC_SYNC.finditer(window)]
    for start in starts[: -_FLAC_CANDIDATES - 1 : -1]:
        last_sample = _flac_frame_end(window[start : start + 16], block)
        if (
            last_sample is not None
            and (not total or last_sample == total)
            and not _crc(window[start:], 16, 0x8005)
        ):
            return
    raise CutShort("its last frame is not whole")


def _flac_frame_end(header: bytes, block: int) -> int | None:
    """Return how many samples there are up to the end of the frame with this header.

    block: the samples of each frame but the last, where all have the same number. None if it is no
    header, which its checksum tells.
    """
    header = header.ljust(16, b"\0")
    size_code, rate_code = header[2] >> 4, header[2] & 15
    ones = 8 - (header[4] ^ 0xFF).bit_length()  # of a number that is coded as UTF-8 would be
    if ones in (1, 8) or not size_code:
        return None
    at = 4 + max(ones, 1)
    number = header[4] & (0x7F >> ones)
    for byte in header[5:at]:
        number = number << 6 | byte & 0x3F
    match size_code:
        case 6:
            size, at = header[at] + 1, at + 1
        case 7:
            size, at = int.from_bytes(header[at : at + 2], "big") + 1, at + 2
        case _:
            size = 192 if size_code == 1 else 144 << size_code if size_code < 6 else 1 << size_code
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if _crc(header[: at + 1], 8, 0x07):
        return None
    return size + (number if header[1] & 1 else number * block)


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    """Return the CRC of `data`, begun with 0; it is 0 where `data` ends in their CRC."""
    table = _CRC_TABLES.setdefault(bits, _crc_table(bits, polynomial))
    crc, mask = 0, (1 << bits) - 1
    for byte in data:
        crc = (crc << 8 & mask) ^ table[crc >> bits - 8 ^ byte]
    return crc


_CRC_TABLES: dict[int, list[int]] = {}


def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc >> bits - 1 else 0)) & (1 << bits) - 1
        table.append(crc)
    return table


_WALKS: Mapping[Format, Callable[[Content], None]] = {
    **dict.fromkeys((WEBP, WAV, AVI), _riff),
    **dict.fromkeys((AVIF, CR3, MP4, MOV, M4A), _iso),
    **dict.fromkeys((HEIC, HEIF), _heif),
    **dict.fromkeys((WEBM, MKV), _ebml),
    **{PNG: _png, JPEG: _jpeg, GIF: _gif, OGG: _ogg, MP3: _mp3, FLAC: _flac},
}
