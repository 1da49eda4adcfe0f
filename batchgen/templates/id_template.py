"""Ids that are made of what a row has: `{Category}-{number}`. Pure.

Many lists number anew in each category, so that no column alone tells two of their rows apart.
`{{` and `}}` stand for braces.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchgen.core.text import quote_value

EXAMPLE = "{Category}-{number}"
# A list from somebody else could name a long text a thousand times.
MAX_TEMPLATE_CHARS = 1000
MAX_ID_CHARS = 10_000
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


class Unfilled(Exception):
    """A row lacks what its id is made of. name: of it. what: what is wrong, in words.

    is_absent: whether the row has nothing of this name.
    """

    def __init__(self, name: str, what: str, *, is_absent: bool = False) -> None:
        super().__init__(what)
        self.name = name
        self.what = f"{what}, and the row's id is made of it"
        self.is_absent = is_absent


@dataclass(frozen=True, slots=True)
class IdTemplate:
    """text: as it was written. parts: its literal texts and its names, in turns, a text first."""

    text: str
    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[1::2]

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the id of a row. values: by name. Raises Unfilled."""
        filled = list(self.parts)
        for at in range(1, len(filled), 2):
            filled[at] = _as_text(filled[at], values)
        if sum(map(len, filled)) > MAX_ID_CHARS:
            longest = max(range(1, len(filled), 2), key=lambda at: len(filled[at]))
            raise Unfilled(self.parts[longest], "it is too long")
        return "".join(filled)


def parse_id_template(text: str) -> IdTemplate:
    """Return the template that a text is. Raises ValueError, with words for a person."""
    if len(text) > MAX_TEMPLATE_CHARS:
        raise ValueError(f"it has {len(text):,} characters, more than {MAX_TEMPLATE_CHARS:,}")
    parts, literal, at = [], "", 0
    for token in _TOKEN.finditer(text):
        literal += text[at : token.start()]
        at = token.end()
        if token[0] in ("{", "}"):
            raise ValueError(
                f"{quote_value(text)} has a {token[0]} without its other brace; write names as in"
                f" {EXAMPLE}, and a brace of the text twice"
            )
        if token[1] is None:
            literal += token[0][0]
        else:
            parts += [literal, token[1]]
            literal = ""
    if not parts:
        raise ValueError(f"{quote_value(text)} names no column; write names as in {EXAMPLE}")
    return IdTemplate(text, (*parts, literal + text[at:]))


def _as_text(name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name)
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if name not in values:
        raise Unfilled(name, "the row has nothing of this name", is_absent=True)
    if value is None or isinstance(value, str):
        raise Unfilled(name, "it is blank" if value else "it is empty")
    raise Unfilled(name, f"{quote_value(value)} is no text and no number")
