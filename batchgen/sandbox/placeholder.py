"""Placeholder pictures: drawn from prompt, seed and aspect ratio, always the same for the same.

Cut-paper landscapes in a few palettes, made at twice their size and scaled down, which smooths
every edge for the price of one pass. Each says what it is: nobody should take one for a result.
"""

import hashlib
import io
import math
import random
import re
import textwrap
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

NOTICE = "PLACEHOLDER - batchgen sandbox"
Colour = tuple[int, int, int]
Fonts = ImageFont.ImageFont | ImageFont.FreeTypeFont

# Sky above, sky below, sun, then the layers from far to near.
PALETTES = (
    "fde2c8 f7a072 fff4d6 e07a5f b5546a 7a3b69 3d2352",
    "cfe8ef 8fc1d4 fffbe6 5b9aa8 3f7b8a 28586b 143a4f",
    "f9d9e3 c9a7d8 fff0f5 9a7fc0 6f5aa6 4b3d85 2a2358",
    "fff1c1 f6c453 ffffff e59b2f b86b25 7d4520 47260f",
    "d7f0dd 9bd3ae fdfbe4 66b08a 3f8a6f 266456 12403c",
    "1d2b53 4a3f7a f6e7b4 5c4b8a 43376e 2c2550 181433",
    "ffd9c7 ff8a7a fff3e0 d9576b a23a66 6a2a5b 391a45",
    "e6edf2 b4c5d3 fff8ef 8298ab 5c7489 3c5265 202f3d",
)


def pixels(given: dict[str, Any], longer: int) -> tuple[int, int]:
    """Width and height for an input: its `aspect_ratio` (`16:9`), or `width` and `height`."""
    wide, high = 1.0, 1.0
    found = re.search(r"(\d+)\s*[:x_/]\s*(\d+)", str(given.get("aspect_ratio", "")))
    if found and int(found[1]) and int(found[2]):
        wide, high = float(found[1]), float(found[2])
    elif all(isinstance(given.get(side), int) and given[side] > 0 for side in ("width", "height")):
        wide, high = float(given["width"]), float(given["height"])
    scale = longer / max(wide, high)
    return max(round(wide * scale), 16), max(round(high * scale), 16)


def colours(palette: str) -> list[Colour]:
    return [(int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16)) for c in palette.split()]


def between(a: Colour, b: Colour, share: float) -> Colour:
    """The colour at `share` (0 to 1) of the way from a to b."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def draw_sky(pen: ImageDraw.ImageDraw, size: tuple[int, int], top: Colour, low: Colour) -> None:
    width, height = size
    steps = 24
    for step in range(steps):
        box = (0, height * step // steps, width, height * (step + 1) // steps)
        pen.rectangle(box, fill=between(top, low, step / (steps - 1)))


def draw_sun(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    sun: Colour,
    around: Colour,
    dice: random.Random,
) -> None:
    width, height = size
    x, y = width * dice.uniform(0.2, 0.8), height * dice.uniform(0.18, 0.42)
    radius = min(size) * dice.uniform(0.1, 0.19)
    for ring in (2.1, 1.65, 1.28, 1.0):
        reach = radius * ring
        pen.ellipse(
            (x - reach, y - reach, x + reach, y + reach),
            fill=between(sun, around, (ring - 1) / 1.3),
        )


def ridge(width: int, dice: random.Random, *, sharp: bool) -> Callable[[float], float]:
    """A line from -1 to 1 over x, of three waves; sharp makes mountains of hills."""
    waves = [(dice.uniform(0.6, 1.6) * 2**n, dice.uniform(0, math.tau), 0.6**n) for n in range(3)]
    total = sum(share for _, _, share in waves)

    def line(x: float) -> float:
        turns = ((math.tau * often * x / width + phase, share) for often, phase, share in waves)
        if sharp:
            return (
                sum(share * (2 / math.pi) * math.asin(math.sin(turn)) for turn, share in turns)
                / total
            )
        return sum(share * math.sin(turn) for turn, share in turns) / total

    return line


def draw_layers(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], layers: list[Colour], dice: random.Random
) -> None:
    width, height = size
    sharp, swing = dice.random() < 0.4, dice.uniform(0.05, 0.1)
    for number, colour in enumerate(layers):
        line = ridge(width, dice, sharp=sharp and number < len(layers) - 1)
        level = height * (0.5 + 0.42 * number / len(layers))
        across = range(0, width + width // 32, width // 64 or 1)
        points = [(x, level + line(x) * height * swing) for x in across]
        pen.polygon([(0, height), *points, (width, height)], fill=colour)


def draw_details(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], palette: list[Colour], dice: random.Random
) -> None:
    """Stars in a dark sky, birds in a light one."""
    width, height = size
    unit = min(size) / 100
    dark = sum(palette[0]) < 300
    for _ in range(50 if dark else dice.randrange(3, 9)):
        x, y = width * dice.uniform(0.05, 0.95), height * dice.uniform(0.04, 0.4)
        if dark:
            reach = unit * dice.uniform(0.2, 0.55)
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=palette[2])
            continue
        wing = unit * dice.uniform(1.4, 3)
        for side in (-1, 1):
            box = (x - wing + side * wing, y, x + wing + side * wing, y + wing * 1.6)
            pen.arc(box, 200, 340, fill=palette[6], width=max(round(unit * 0.5), 1))


@lru_cache(maxsize=32)
def font(size: int) -> Fonts:
    return ImageFont.load_default(size)


def write_notice(picture: Image.Image, prompt: str) -> None:
    """The prompt's first words, and below them, on a dark band, what this picture is."""
    width, height = picture.size
    size = min(max(min(width // 19, height // 13), 11), 64)
    columns = max(int(width / (size * 0.6)), 8)
    # The font that comes with Pillow has plain Latin letters only; boxes would say nothing.
    plain = unicodedata.normalize("NFKD", prompt[:400]).encode("ascii", "ignore").decode()
    said = textwrap.shorten(plain, columns * (2 if height > 200 else 1), placeholder="...")
    notice, lines = textwrap.wrap(NOTICE, columns), textwrap.wrap(said, columns)
    pen, step = ImageDraw.Draw(picture), round(size * 1.3)
    top = height - step * (len(notice) + len(lines)) - step // 2
    pen.rectangle((0, top, width, height), fill=(20, 20, 28))
    for number, text in enumerate(lines + notice):
        ink = (255, 255, 255) if number < len(lines) else (255, 200, 90)
        pen.text((size // 2, top + step // 4 + number * step), text, font=font(size), fill=ink)


def draw(given: dict[str, Any], prompt: str, n: int, longer: int) -> Image.Image:
    """The n-th picture for an input; longer: its longer side in pixels."""
    width, height = pixels(given, longer)
    subject = f"{prompt}|{given.get('seed', 0)}|{given.get('style', '')}|{n}"
    dice = random.Random(hashlib.sha256(subject.encode("utf-8", "replace")).digest())
    palette = colours(dice.choice(PALETTES))
    size = width * 2, height * 2
    large = Image.new("RGB", size, palette[0])
    pen = ImageDraw.Draw(large)
    draw_sky(pen, size, palette[0], palette[1])
    draw_sun(pen, size, palette[2], between(palette[0], palette[1], 0.4), dice)
    draw_layers(pen, size, palette[3:], dice)
    draw_details(pen, size, palette, dice)
    picture = large.reduce(2)
    write_notice(picture, prompt)
    return picture


def encode(picture: Image.Image, kind: str) -> bytes:
    """kind: PNG, JPEG or WEBP."""
    buffer = io.BytesIO()
    if kind == "PNG":
        # Few colours are in it, and a palette halves the time that a file takes to make.
        few = picture.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(buffer, kind, compress_level=1)
    else:
        picture.save(buffer, kind, quality=88)
    return buffer.getvalue()
