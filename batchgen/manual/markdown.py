"""The Markdown that docs/ is written in, as blocks, and as text for a terminal. Pure."""

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from operator import ne

INDENT = 4
MAX_TERM = 24  # characters, of a table's first column beside which the second begins
_FENCE = re.compile(r"( *)(`{3,})(\S*)")
_HEADING = re.compile(r"(#{1,6}) (.+)")
_ITEM = re.compile(r"(- |\d+\. )(.*)")
_LABEL = re.compile(r"\([\w-]+\)=")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_STRONG = re.compile(r"(?<![\w*])\*{1,2}(?=\S)([^*\n]+?)(?<=\S)\*{1,2}(?![\w*])")


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """lines: as they are. language: the word behind the fence."""

    lines: tuple[str, ...]
    language: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list. mark: `- ` or `1. `."""

    mark: str
    text: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A term with its meaning, or a row of a table: its first cell, and the others."""

    term: str
    meaning: str


Block = Heading | Paragraph | Code | Item | Definition


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above.

    Raises KeyError if there is no such heading.
    """
    lines = iter(text.splitlines())
    for line in lines:
        found = _HEADING.fullmatch(line)
        if found and found[2] == heading:
            level = len(found[1])
            break
    else:
        raise KeyError(heading)
    fenced = False
    kept = []
    for line in lines:
        fenced ^= bool(_FENCE.match(line))
        found = None if fenced else _HEADING.fullmatch(line)
        if found and len(found[1]) <= level:
            break
        kept.append(line)
    return "\n".join(kept).strip("\n") + "\n"


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page, without links and marks of emphasis."""
    lines = iter([*text.splitlines(), ""])
    for line in lines:
        if fence := _FENCE.match(line):
            indent, ticks, language = fence.groups()
            inside = takewhile(partial(ne, indent + ticks), lines)
            code = tuple(line.removeprefix(indent) for line in inside)
            if not language.startswith("{"):  # else it is an order to Sphinx
                yield Code(code, language)
        elif found := _HEADING.fullmatch(line):
            yield Heading(len(found[1]), plain(found[2]))
        elif line.startswith("|"):
            rows = [line, *takewhile(lambda one: one.startswith("|"), lines)]
            yield from map(_row, rows[2:])
        elif line.strip() and not _LABEL.fullmatch(line):
            yield from _flowing([line, *takewhile(str.strip, lines)])


def _row(line: str) -> Definition:
    cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    first, *others = (plain(cell.strip().replace("\\|", "|")) for cell in cells)
    return Definition(first, "; ".join(filter(None, others)))


def _flowing(lines: list[str]) -> Iterator[Block]:
    """Yield the blocks of lines without a blank one: a list, a term with its meaning, or text."""
    if len(lines) > 1 and lines[1].startswith(": "):
        words = [lines[1][2:], *lines[2:]]
        yield Definition(plain(lines[0]), plain(" ".join(map(str.strip, words))))
        return
    mark, words = "", []
    for line in [*lines, "- "]:
        if found := _ITEM.fullmatch(line):
            if words:
                text = plain(" ".join(words))
                yield Item(mark, text) if mark else Paragraph(text)
            mark, words = found[1], [found[2]]
        else:
            words.append(line.strip())


def plain(text: str) -> str:
    """Return a text without links, backticks and marks of emphasis; code stays as it is."""
    parts = re.split(r"(`[^`]+`)", _LINK.sub(r"\1", text))
    return "".join(
        part[1:-1] if part.startswith("`") and len(part) > 1 else _STRONG.sub(r"\1", part)
        for part in parts
    )


def for_terminal(text: str, width: int, heading: Callable[[str], str] = lambda words: words) -> str:
    """Return a page as text of so many columns. heading: how a heading is shown."""
    out: list[str] = []
    before: Block | None = None
    for block in blocks(text):
        if before is not None and not _is_close(before, block):
            out.append("")
        match block:
            case Heading(_, words):
                out.append(heading(words))
            case Paragraph(words):
                out += _wrapped(words, width)
            case Code(lines):
                out += [f"{' ' * INDENT}{line}".rstrip() for line in lines]
            case Item(mark, words):
                out += _wrapped(words, width, first=mark, rest=" " * len(mark))
            case Definition(term, meaning):
                out += _defined(term, meaning, width)
        before = block
    return "\n".join(out) + "\n"


def _is_close(before: Block, block: Block) -> bool:
    """Whether there is no blank line between two blocks: items, and the code of one of them."""
    if isinstance(before, Item):
        return isinstance(block, Item | Code)
    return isinstance(before, Definition) and isinstance(block, Definition)


def _defined(term: str, meaning: str, width: int) -> list[str]:
    rest = " " * (INDENT + MAX_TERM)
    if len(term) <= MAX_TERM - 2 and meaning:
        first = f"{' ' * INDENT}{term:<{MAX_TERM}}"
        return _wrapped(meaning, width, first=first, rest=rest)
    indent = " " * INDENT
    return [*_wrapped(term, width, first=indent, rest=indent),
            *_wrapped(meaning, width, first=rest, rest=rest)]  # fmt: skip


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
