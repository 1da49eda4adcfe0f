"""Placeholder pictures: a flat card that says what it is, the same for the same input and number.

The colour tells inputs apart; the text is the beginning of the prompt, and PLACEHOLDER.
"""

import hashlib
import io
import json
import re
import textwrap
import unicodedata
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

NOTICE = "PLACEHOLDER - batchgen sandbox"
MAX_PROMPT_CHARS = 400


def picture_size(given: dict[str, Any], longer: int) -> tuple[int, int]:
    """Return width and height in pixels: of `aspect_ratio` (`16:9`), or `width` and `height`.

    longer: the longer side, pixels. An input that has neither gets a square.
    """
    wide, high = 1.0, 1.0
    found = re.search(r"(\d+)\s*[:x_/]\s*(\d+)", str(given.get("aspect_ratio", "")))
    if found and int(found[1]) and int(found[2]):
        wide, high = float(found[1]), float(found[2])
    elif all(isinstance(given.get(side), int) and given[side] > 0 for side in ("width", "height")):
        wide, high = float(given["width"]), float(given["height"])
    scale = longer / max(wide, high)
    return max(round(wide * scale), 16), max(round(high * scale), 16)


@lru_cache(maxsize=32)
def load_font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def draw_card(given: dict[str, Any], prompt: str, n: int, longer: int) -> Image.Image:
    """Return the n-th picture for an input. longer: its longer side, pixels."""
    width, height = picture_size(given, longer)
    subject = json.dumps([given, prompt, n], sort_keys=True)
    # Half of the full brightness at most, so that white text can be read on it.
    colour = [byte // 2 for byte in hashlib.sha256(subject.encode()).digest()[:3]]
    card = Image.new("L", (width, height))
    text_size = min(max(min(width // 19, height // 13), 11), 64)
    columns = max(int(width / (text_size * 0.6)), 8)
    # The font that comes with Pillow has plain Latin letters only.
    plain = unicodedata.normalize("NFKD", prompt[:MAX_PROMPT_CHARS]).encode("ascii", "ignore")
    shown = textwrap.wrap(plain.decode(), columns, max_lines=4)
    lines = [*textwrap.wrap(NOTICE, columns), "", *shown]
    ImageDraw.Draw(card).multiline_text(
        (text_size // 2, text_size // 2), "\n".join(lines), 255, load_font(text_size)
    )
    # From the card's colour to white: a palette makes a file in half of the time.
    card.putpalette([c + (255 - c) * share // 255 for share in range(256) for c in colour])
    return card


def encode(picture: Image.Image, format: str) -> bytes:
    """format: PNG, JPEG or WEBP."""
    buffer = io.BytesIO()
    if format == "PNG":
        picture.save(buffer, format, compress_level=1)
    else:
        picture.convert("RGB").save(buffer, format, quality=88)
    return buffer.getvalue()
