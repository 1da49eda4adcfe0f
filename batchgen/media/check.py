"""A download -> a checked, durable scratch file that says what it was made from.

A picture is decoded whole before it counts (docs/maintainers/architecture.md, "The order of
writes", W4). These calls block: check_pool.py runs them in threads and processes.
"""

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from batchgen import files
from batchgen.core.text import describe_error
from batchgen.media import provenance
from batchgen.media.formats import MAX_PIXELS, Format
from batchgen.media.xmp import Provenance

Image.MAX_IMAGE_PIXELS = None  # `decode_picture` compares the size with MAX_PIXELS


class MediaError(Exception):
    """A file could not be had. str(error) is for people: without the URL's query."""


class MediaBroken(MediaError):
    """What arrived is not a whole file of a known format; another try may succeed."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A whole, durable file under its scratch name `part`.

    bytes, sha256: of the file. width, height: pixels; None where it is no picture.
    delivered_sha256: of what the host sent, if facts were written into that; otherwise None.
    """

    part: Path
    format: Format
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    delivered_sha256: str | None = None

    @property
    def host_sha256(self) -> str:
        """The hash of what the host sent."""
        return self.delivered_sha256 or self.sha256


def check_file(
    part: Path,
    format: Format,
    content: bytes | None,
    facts: Provenance | None,
    max_picture_bytes: int = provenance.MAX_PICTURE_BYTES,
) -> CheckedFile:
    """Decode a download, write `facts` into it if there are some, and make `part` durable.

    content: what the host sent; None if that is in the file `part` already.
    max_picture_bytes: a larger picture that is in `part` gets no facts.
    Raises MediaBroken if it cannot be decoded; OSError where the disk fails.
    """
    if content is None and (not format.pillow or part.stat().st_size > max_picture_bytes):
        return _check_on_disk(part, format)
    delivered = part.read_bytes() if content is None else content
    with_facts = provenance.embed(delivered, format, facts) if facts else None
    whole = with_facts or delivered
    width, height = decode_picture(io.BytesIO(whole), format) if format.pillow else (None, None)
    if content is None:
        own: BinaryIO = open(files.open_in_place(part), "r+b")  # noqa: PTH123, SIM115
    else:
        own = files.create_new_file(part)
    with own as file:
        if content is not None or with_facts is not None:
            file.write(whole)
            file.truncate()
        file.flush()
        files.sync_file(file.fileno())
    checked = CheckedFile(part, format, len(whole), _sha256(whole), width, height)
    return replace(checked, delivered_sha256=_sha256(delivered)) if with_facts else checked


def _check_on_disk(part: Path, format: Format) -> CheckedFile:
    """Check a file that is too large to be read into memory, or is no picture. It gets no facts."""
    with part.open("rb") as file:
        files.sync_file(file.fileno())
        width, height = decode_picture(file, format) if format.pillow else (None, None)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return CheckedFile(part, format, file.tell(), sha256, width, height)


def decode_picture(source: BinaryIO, format: Format) -> tuple[int, int]:
    """Return width and height, in pixels, of a picture that decodes whole. Raises MediaBroken."""
    try:
        with Image.open(source, formats=[format.pillow]) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise MediaBroken(f"the picture claims {width} x {height} pixels")
            picture.load()
    except MediaBroken:
        raise
    except MemoryError as error:
        raise MediaBroken("there is not enough memory to decode the picture") from error
    except Exception as error:  # Pillow's decoders raise exceptions of any type
        raise MediaBroken(f"the picture is damaged ({describe_error(error)})") from error
    return width, height


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
