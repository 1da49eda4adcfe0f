"""Whether every picture belongs to its row: the bytes on disk against what the sandbox makes."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from batchgen.sandbox import media

from .scenarios import Scenario, sent

HEADER = 33  # bytes of a PNG's signature and IHDR


class Pictures(NamedTuple):
    """right: the ids whose file is theirs; wrong: whose file is not; missing: which have none."""

    right: set[str]
    wrong: set[str]
    missing: set[str]


def expected(scenario: Scenario, prompt: str) -> bytes:
    """The picture that the sandbox makes for a prompt."""
    stamped = media.stamp_png(sent(prompt), 0, scenario.picture_size)
    return media.pad_png(stamped, scenario.picture_bytes)


def same(found: bytes, delivered: bytes) -> bool:
    """Whether a file is what was delivered, but for what was written behind its header."""
    return found[:HEADER] == delivered[:HEADER] and found.endswith(delivered[HEADER:])


def look(scenario: Scenario, prompts: Mapping[str, str], folder: Path) -> Pictures:
    """Compare `folder/<id>.png` with its row, for every row; a file of no row is wrong too."""
    found = Pictures(set(), set(), set(prompts))
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.suffix == ".part":
            continue
        found.missing.discard(path.stem)
        prompt = prompts.get(path.stem)
        good = prompt is not None and same(path.read_bytes(), expected(scenario, prompt))
        (found.right if good else found.wrong).add(path.stem)
    return found
