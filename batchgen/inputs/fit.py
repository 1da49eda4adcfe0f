"""A picture that is larger than RunComfy's own clients send -> a smaller one, where --fit asks so.

The same picture always becomes the same bytes, by one version of Pillow: they are made when it is
checked, and again when it is sent, and compared.
"""

import io
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from batchgen.core.text import describe_error, show_bytes
from batchgen.media.formats import JPEG, PILLOW_FORMATS, PNG, Format

if TYPE_CHECKING:
    from PIL import Image

# What RunComfy's own nodes send, and what its pages call "about 4K". Source: wire.md, "Inputs".
MAX_BYTES = 6 << 20
MAX_SIDE_PX = 4096
STEP = 0.8  # of the sides, as long as the file is too large
MIN_SIDE_PX = 64


class CannotFit(Exception):
    """A picture that cannot be made smaller. str: why, for people."""


class Fitted(NamedTuple):
    """What is sent in place of a picture. words: what was made of it."""

    content: bytes
    format: Format
    words: str


def fit(source: BinaryIO) -> Fitted:
    """Return a picture of at most MAX_BYTES and MAX_SIDE_PX. Raises CannotFit.

    It is turned as its EXIF says, and keeps its colour profile and no other metadata. It becomes a
    JPEG, or where it is transparent a PNG.
    """
    from PIL import Image, ImageOps  # few lists ask for it

    try:
        source.seek(0)
        with Image.open(source, formats=PILLOW_FORMATS) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                raise CannotFit("it has several frames")
            opened.draft("RGB", (MAX_SIDE_PX, MAX_SIDE_PX))  # a JPEG is decoded smaller at once
            profile = opened.info.get("icc_profile")
            picture = ImageOps.exif_transpose(opened)
        return _encode(picture, profile)
    except CannotFit:
        raise
    except Exception as error:  # Pillow raises exceptions of any type
        raise CannotFit(describe_error(error)) from error


def _encode(picture: "Image.Image", profile: bytes | None) -> Fitted:
    from PIL import Image

    format = PNG if picture.has_transparency_data else JPEG
    picture = picture.convert("RGBA" if format == PNG else "RGB")
    side = min(max(picture.size), MAX_SIDE_PX)
    while side >= MIN_SIDE_PX:
        smaller = picture.copy()
        smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        smaller.save(file, format.pillow, quality=90, optimize=True, icc_profile=profile)
        content = file.getvalue()
        if len(content) <= MAX_BYTES:
            size = f"{smaller.width} x {smaller.height}"
            return Fitted(content, format, f"{format.pillow}, {size}, {show_bytes(len(content))}")
        side = int(side * STEP)
    raise CannotFit("no size of it is small enough")
