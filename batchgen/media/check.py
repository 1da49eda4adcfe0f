"""A download -> a checked, durable scratch file that says what it was made from.

A picture is decoded before it counts, and every other file of a known format must be whole by its
structure (docs/maintainers/architecture.md, "The order of writes", W4). These calls block:
check_pool.py runs them in another process.
"""

import hashlib
import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from batchgen import files
from batchgen.core.text import describe_error
from batchgen.media import provenance
from batchgen.media.completeness import has_tail, missing_part
from batchgen.media.containers import webp_size
from batchgen.media.duration import duration
from batchgen.media.film_size import film_size
from batchgen.media.formats import SIGNATURE_BYTES, UNKNOWN, WEBP, Format
from batchgen.media.xmp import Provenance

UNDECODED = "kept as it came, not decoded"
AFTER_END = "kept as it came, other data follow its end"
NOT_WHOLE = "kept as it came, twice the same"  # how the note on a broken file begins


class MediaError(Exception):
    """A file could not be had. str(error) is for people: without the URL's query."""


class MediaBroken(MediaError):
    """What arrived is not a whole file; another try may succeed.

    sha256: of what arrived, if all of it did; a host that sends the same again has nothing else.
    """

    def __init__(self, message: str, sha256: str | None = None) -> None:
        super().__init__(message)
        self.sha256 = sha256


class NoMemoryToDecode(MediaBroken):
    """There was no room for a picture's pixels, which says nothing of the file."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A whole, durable file under its scratch name `part`.

    bytes, sha256: of the file.
    width, height: pixels; duration: seconds that it plays; None where they are not known.
    delivered_sha256: of what the host sent, if facts were written into that; otherwise None.
    note: why it is not known to be whole, or not only that; None where it is.
    """

    part: Path
    format: Format
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    delivered_sha256: str | None = None
    note: str | None = None
    duration: float | None = None

    @property
    def host_sha256(self) -> str:
        """The hash of what the host sent."""
        return self.delivered_sha256 or self.sha256


class Costly(Exception):
    """A picture of more pixels than the caller wants decoded."""


class Examined(NamedTuple):
    """What was found in a file that is not broken. The fields are those of `CheckedFile`."""

    width: int | None = None
    height: int | None = None
    note: str | None = None
    duration: float | None = None


def check_file(
    part: Path,
    format: Format,
    content: bytes | None,
    facts: Provenance | None,
    sent_before: Collection[str] = (),
    *,
    max_picture_bytes: int = provenance.MAX_PICTURE_BYTES,
    max_pixels: int | None = None,
    refused: str = "",
    see: Callable[[Any], None] = lambda picture: None,
) -> CheckedFile:
    """Check a download, write `facts` into it if it is a picture, and make `part` durable.

    content: what the host sent; None if that is in the file `part` already.
    sent_before: hashes of what the host sent in earlier tries. What is broken and came before is
        kept as it is, with a note.
    max_picture_bytes: a larger picture that is in `part` gets no facts.
    max_pixels: of a picture that is decoded here; Costly is raised for a larger one.
    refused: why the file is taken for broken without a look at it; "" for a look.
    see: called with the picture, decoded by Pillow.
    Raises MediaBroken if it is not whole; OSError where the disk fails.
    """
    stays = facts is None or not format.pillow
    if content is None and (stays or part.stat().st_size > max_picture_bytes):
        return _check_on_disk(part, format, sent_before, max_pixels, refused, see)
    delivered = part.read_bytes() if content is None else content
    with_facts = provenance.embed(delivered, format, facts) if facts and not refused else None
    try:
        if refused:
            raise MediaBroken(refused)
        found = examine(io.BytesIO(with_facts or delivered), format, max_pixels, see)
    except MediaBroken as error:
        found, with_facts = _accept(error, _sha256(delivered), sent_before), None
    whole = with_facts or delivered
    if content is None:
        own: BinaryIO = open(files.open_in_place(part), "r+b")  # noqa: PTH123, SIM115
    else:
        own = files.create_new_file(part, part.parent.parent)
    with own as file:
        if content is not None or with_facts is not None:
            file.write(whole)
            file.truncate()
        file.flush()
        files.sync_file(file.fileno())
    delivered_sha256 = _sha256(delivered) if with_facts else None
    return CheckedFile(
        part,
        format,
        len(whole),
        _sha256(whole),
        delivered_sha256=delivered_sha256,
        **found._asdict(),
    )


def _check_on_disk(
    part: Path,
    format: Format,
    sent_before: Collection[str],
    max_pixels: int | None,
    refused: str,
    see: Callable[[Any], None],
) -> CheckedFile:
    """Check a file that stays as it is: it gets no facts, or is too large to be held in memory."""
    with part.open("rb") as file:
        files.sync_file(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        try:
            if refused:
                raise MediaBroken(refused)
            found = examine(file, format, max_pixels, see)
        except MediaBroken as error:
            found = _accept(error, sha256, sent_before)
        return CheckedFile(part, format, size, sha256, **found._asdict())


def _accept(error: MediaBroken, sha256: str, sent_before: Collection[str]) -> Examined:
    """Return the note on a broken file that came before. Raises MediaBroken for any other."""
    if sha256 not in sent_before or isinstance(error, NoMemoryToDecode):
        raise MediaBroken(str(error), sha256) from error
    return Examined(note=f"{NOT_WHOLE}: {error}")


def examine(
    source: BinaryIO,
    format: Format,
    max_pixels: int | None = None,
    see: Callable[[Any], None] = lambda picture: None,
) -> Examined:
    """Return what is found in a file. Raises MediaBroken if it is not whole.

    max_pixels: Costly is raised for a picture that has more, and would be decoded. see: as
    `check_file` has it.
    """
    if what := missing_part(source, format):
        raise MediaBroken(f"the file is cut short ({what})")
    if format.pillow:
        source.seek(0)
        found = _decode(source, format, max_pixels, see)
        if found.note is None and has_tail(source, format):
            found = found._replace(note=AFTER_END)
        return found
    if format == UNKNOWN:
        raise MediaBroken("nobody can tell what kind of file it is")
    note = UNDECODED if format.kind in ("file", "image") else None
    width, height = film_size(source, format) or (None, None)
    return Examined(width, height, note, duration(source, format))


def _decode(
    source: BinaryIO, format: Format, max_pixels: int | None, see: Callable[[Any], None]
) -> Examined:
    # Imported here, since a run leaves it to another process.
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is compared with that of the format below
    try:
        if format == WEBP:  # Pillow makes room for its pixels when it opens one
            width, height = webp_size(source.read(SIGNATURE_BYTES))
            source.seek(0)
            if width * height > format.max_pixels:
                return _undecoded(width, height)
            if max_pixels is not None and width * height > max_pixels:
                raise Costly
        with Image.open(source, formats=[format.pillow]) as picture:
            width, height = picture.size
            if width * height > format.max_pixels:
                return _undecoded(width, height)
            if max_pixels is not None and width * height > max_pixels:
                raise Costly
            picture.load()
            see(picture)
    except Costly:
        raise
    except MemoryError as error:
        raise NoMemoryToDecode("there is not enough memory to decode the picture") from error
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        raise MediaBroken(f"the picture is damaged ({describe_error(error)})") from error
    return Examined(width, height)


def _undecoded(width: int, height: int) -> Examined:
    return Examined(width, height, f"not decoded: it has {width} x {height} pixels")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
