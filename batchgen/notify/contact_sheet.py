"""A sheet of small pictures, as a photographer has it, for a message."""

import math
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from batchgen.media.thumbnails import make_thumbnail

MAX_PICTURES = 12
COLUMNS = 4
SIDE_PX = 240
GAP_PX = 8
MAX_PIXELS = 25_000_000  # of a picture that is decoded for it


def write_contact_sheet(path: Path, pictures: Iterable[Path]) -> bool:
    """Write a JPEG with the first pictures; return whether any could be shown.

    A picture that cannot be decoded is left out.
    """
    from PIL import Image

    small: list[Image.Image] = []
    with tempfile.TemporaryDirectory() as folder:
        for picture, number in zip(pictures, count(), strict=False):
            thumbnail = Path(folder) / f"{number}.webp"
            make_thumbnail(MAX_PIXELS, picture, thumbnail)
            if thumbnail.exists():
                with Image.open(thumbnail, formats=["WEBP"]) as image:
                    image.thumbnail((SIDE_PX, SIDE_PX))
                    small.append(image.convert("RGBA"))
            if len(small) == MAX_PICTURES:
                break
    if not small:
        return False
    columns = min(len(small), COLUMNS)
    rows = math.ceil(len(small) / columns)
    step = SIDE_PX + GAP_PX
    sheet = Image.new("RGB", (columns * step + GAP_PX, rows * step + GAP_PX), "white")
    for number, one in enumerate(small):
        row, column = divmod(number, columns)
        left = GAP_PX + column * step + (SIDE_PX - one.width) // 2
        top = GAP_PX + row * step + (SIDE_PX - one.height) // 2
        sheet.paste(one, (left, top), one)
    sheet.save(path, "JPEG", quality=85)
    return True
