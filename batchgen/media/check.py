"""A download -> a checked, durable `.part` file that says what it was made from.

Blocking, so it runs in a thread, or in a process of its own: see `checkers.py`. Pictures are
decoded whole before anything of them counts (faults.md, W4).
"""

import errno
import hashlib
import io
import json
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from batchgen import files
from batchgen.core.text import describe_error
from batchgen.media import provenance
from batchgen.media.formats import MAX_PIXELS, SIGNATURE_BYTES, Format, format_of
from batchgen.media.xmp import Provenance

Image.MAX_IMAGE_PIXELS = None  # we look at the size ourselves before anything is decoded


class MediaError(Exception):
    """A file could not be had. str(error) is for people: without the URL's query."""


class MediaBroken(MediaError):
    """What came is not a whole file of a known kind; another try may do better."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file in its folder, still under its `.part` name; bytes, width and height counted there.

    sha256: of the file. delivered_sha256: of what the host sent, where that has no facts in it yet;
    None where the file is that.
    """

    part: Path
    format: Format
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    delivered_sha256: str | None = None

    def columns(self) -> dict[str, Any]:
        """What the journal keeps of a file besides its name."""
        return {
            "kind": self.format.kind,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "delivered_sha256": self.delivered_sha256,
            "content_type": self.format.content_type,
            "width": self.width,
            "height": self.height,
        }


def check_file(
    part: Path, format: Format, content: bytes | None, facts: Provenance | None
) -> CheckedFile:
    """Decode a download, put `facts` into it if there are some, and make `part` durable.

    content: what the host sent; None where that is in `part` already.
    Raises MediaBroken if it cannot be decoded; OSError where the disk fails.
    """
    if content is None and (
        not format.pillow or part.stat().st_size > provenance.MAX_PICTURE_BYTES
    ):
        return _check_on_disk(part, format)
    delivered = part.read_bytes() if content is None else content
    told = provenance.embed(delivered, format, facts) if facts else None
    whole = told or delivered
    width, height = decode_picture(io.BytesIO(whole), format) if format.pillow else (None, None)
    if content is None:
        own: BinaryIO = open(files.open_in_place(part), "r+b")  # noqa: PTH123, SIM115
    else:
        own = files.create_new_file(part)
    with own as file:
        if content is not None or told is not None:
            file.write(whole)
            file.truncate()
        file.flush()
        files.sync_file(file.fileno())
    fetched = CheckedFile(part, format, len(whole), _sha256(whole), width, height)
    return replace(fetched, delivered_sha256=_sha256(delivered)) if told else fetched


def _check_on_disk(part: Path, format: Format) -> CheckedFile:
    """What is too large for the memory, or no picture, has no room for facts either."""
    with part.open("rb") as file:
        files.sync_file(file.fileno())
        width, height = decode_picture(file, format) if format.pillow else (None, None)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return CheckedFile(part, format, file.tell(), sha256, width, height)


def decode_picture(source: Path | BinaryIO, format: Format) -> tuple[int, int]:
    """Return width and height of a picture that decodes whole. Raises MediaBroken."""
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
    except Exception as error:  # Pillow's decoders raise whatever they like about broken files
        raise MediaBroken(f"the picture is damaged ({describe_error(error)})") from error
    return width, height


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- as a process of its own ---------------------------------------------------------------------


def main() -> None:
    """Check what is ordered until nobody is there any more who could."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever started us decides
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    for line in orders:
        order = json.loads(line)
        content = None if order["size"] is None else orders.read(order["size"])
        answer = _answer(Path(order["part"]), content, order["facts"])
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _answer(part: Path, content: bytes | None, facts: Provenance | None) -> dict[str, Any]:
    try:
        format = format_of(_head(part) if content is None else content[:SIGNATURE_BYTES])
        assert format is not None
        found = asdict(check_file(part, format, content, facts))
        del found["part"], found["format"]
        return found
    except MediaBroken as error:
        return {"broken": str(error)}
    except OSError as error:
        return {"errno": error.errno or errno.EIO}
    except MemoryError:
        return {"errno": errno.ENOMEM}
    except Exception:  # noqa: BLE001
        return {"mistake": traceback.format_exc()}


def _head(part: Path) -> bytes:
    with part.open("rb") as file:
        return file.read(SIGNATURE_BYTES)
