"""The grammar of a prompt that unfolds: `A {red|blue} car, {2$$__light__}`. Pure.

docs/reference/unfolding.md has it as a whole. A template is a tuple of parts: texts, and choices
between options, which are templates again. A wildcard is a choice between the lines of a file.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

MAX_DEPTH = 32  # choices inside one another, those of wildcards' files among them
MAX_CHOICES = 10_000  # of one prompt
MAX_PICKED = 100  # options that one choice may put into one prompt
SEPARATOR = ", "

_ESCAPED = r"\\{}|_$:#"
_NAME = r"[^\s_\\{}|$#]+(?:[ _][^\s_\\{}|$#]+)*"
_TOKEN = re.compile(
    rf"\\(?P<escaped>[{_ESCAPED}])|__(?P<name>(?=.{{1,200}}?__){_NAME})__"
    rf"|(?P<mark>[{{}}|]|\$\$)|(?P<text>[^\\{{}}|_$]+|.)",
    re.DOTALL,
)
_BOUNDS = re.compile(r"(?P<low>\d{1,4})?(?P<to>-)?(?P<high>\d{1,4})?\$\$")
_SEPARATOR = re.compile(rf"(?P<text>(?:[^$\\{{}}|]|\\[{_ESCAPED}])*)\$\$")
_WEIGHT = re.compile(r"[ \t]*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::")
_ESCAPE = re.compile(rf"\\(?=[{_ESCAPED}])")
_TO_ESCAPE = re.compile(rf"[{_ESCAPED}]")
_LIKE = re.compile(r"\{[^{}|]*\|[^{}]*\}|__[^\W_][^\s_{}]*__")


class TemplateError(Exception):
    """A template that cannot be read. at: the character, from 0. what, remedy: for a person."""

    def __init__(self, at: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.at = at
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True, eq=False)
class Wildcard:
    """One line of a file. name: as it was written. at: the character where it begins, from 0."""

    name: str
    at: int


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """So many of the options, in their order. low, high: how many; None is all of them."""

    options: "tuple[Option, ...]"
    at: int
    low: int = 1
    high: int | None = 1
    separator: str = SEPARATOR

    @property
    def wildcard(self) -> Wildcard | None:
        """The wildcard that is the only option, whose lines are the options then."""
        parts = self.options[0].parts
        alone = len(self.options) == 1 and len(parts) == 1
        return parts[0] if alone and isinstance(parts[0], Wildcard) else None


Part = str | Choice | Wildcard
Template = tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One of a choice. weight: for a sample, relative to the others.

    token: stands for the text as it was written, and for which one it is among equal ones.
    """

    parts: Template
    weight: float
    token: bytes


def parse(text: str) -> Template:
    """Return the template that a prompt is. Raises TemplateError."""
    parser = _Parser(text)
    parts, end = parser.parts(0, 0, inside=False)
    if end < len(text):
        raise TemplateError(end, "a } has no {", "Write \\} if the brace itself is meant.")
    return parts


def parse_line(line: str) -> tuple[Template, float, str]:
    """Return the template, the weight and the text of a line of a wildcard's file.

    For `number_options`. Raises TemplateError.
    """
    weight, start = _weight(line, 0)
    parser = _Parser(line)
    parts, end = parser.parts(start, 0, inside=False)
    if end < len(line):
        raise TemplateError(end, "a } has no {", "Write \\} if the brace itself is meant.")
    return parts, weight, line[start:]


def number_options(options: Iterable[tuple[Template, float, str]]) -> tuple[Option, ...]:
    """Return options of which each has a token of its own, also where two are written alike."""
    seen: Counter[str] = Counter()
    numbered = []
    for parts, weight, text in options:
        token = blake2b(f"{seen[text]}\n{text}".encode(errors="surrogatepass"), digest_size=16)
        seen[text] += 1
        numbered.append(Option(parts, weight, token.digest()))
    return tuple(numbered)


def escape(text: str) -> str:
    """Return a template that unfolds into this text alone."""
    return _TO_ESCAPE.sub(r"\\\g<0>", text)


def looks_like_template(text: str) -> bool:
    """Whether a text that is sent as it stands has `{a|b}` or `__name__` in it."""
    return ("{" in text or "__" in text) and _LIKE.search(text) is not None


def _weight(text: str, at: int) -> tuple[float, int]:
    """Return the weight that begins at `at`, and where what has it begins."""
    found = _WEIGHT.match(text, at)
    if not found:
        return 1.0, at
    weight = float(found[1])
    if not weight:
        raise TemplateError(at, "a weight is more than zero", "Take the option out.")
    return weight, found.end()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._choices = 0

    def parts(self, at: int, depth: int, *, inside: bool) -> tuple[Template, int]:
        """Return the parts from `at` on, and where they end: at a `}`, or inside at a `|` too."""
        parts: list[Part] = []
        literal: list[str] = []

        def add(part: Part) -> None:
            if literal:
                parts.append("".join(literal))
                literal.clear()
            parts.append(part)

        while at < len(self._text) and (token := _TOKEN.match(self._text, at)):
            mark = token["mark"]
            if mark == "}" or (mark == "|" and inside):
                break
            at = token.end()
            if mark == "{" or token["name"]:
                self._choices += 1
                if self._choices > MAX_CHOICES:
                    what = f"there are more than {MAX_CHOICES:,} choices"
                    raise TemplateError(token.start(), what, "Write fewer; \\{ is a brace itself.")
            if mark == "{":
                choice, at = self._choice(token.start(), depth + 1)
                add(choice)
            elif mark == "$$" and inside:
                what = "what stands before $$ does not say how many options"
                remedy = "Write {2$$a|b|c} or {1-2$$a|b|c}, or \\$\\$ for the signs themselves."
                raise TemplateError(token.start(), what, remedy)
            elif token["name"]:
                add(Wildcard(token["name"], token.start()))
            else:
                literal.append(token["escaped"] or token[0])
        if literal:
            parts.append("".join(literal))
        return tuple(parts), at

    def _choice(self, start: int, depth: int) -> tuple[Choice, int]:
        """Return the choice whose { is at `start`, and where what follows it begins."""
        if depth > MAX_DEPTH:
            what = f"choices are nested more than {MAX_DEPTH} deep"
            raise TemplateError(start, what, "Write it less nested; \\{ is a brace itself.")
        at = start + 1
        bounds = _BOUNDS.match(self._text, at)
        separator = None
        if bounds:
            at = bounds.end()
            if separator := _SEPARATOR.match(self._text, at):
                at = separator.end()
        options: list[tuple[Template, float, str]] = []
        while True:
            weight, at = _weight(self._text, at)
            parts, end = self.parts(at, depth, inside=True)
            options.append((parts, weight, self._text[at:end]))
            if end == len(self._text):
                remedy = "Write } behind the last option, or \\{ if the brace itself is meant."
                raise TemplateError(start, "a { has no }", remedy)
            at = end + 1
            if self._text[end] == "}":
                break
        low, high = _range(bounds, start)
        between = _ESCAPE.sub("", separator["text"]) if separator else SEPARATOR
        choice = Choice(number_options(options), start, low, high, between)
        if not bounds and len(options) == 1 and choice.wildcard is None:
            remedy = "Write {a|b} to choose, or \\{ and \\} if the braces themselves are meant."
            raise TemplateError(start, "there is nothing to choose in these braces", remedy)
        return choice, at


def _range(bounds: re.Match[str] | None, start: int) -> tuple[int, int | None]:
    """Return the least and the most options of a choice; None is all."""
    if bounds is None:
        return 1, 1
    low, high = bounds["low"], bounds["high"]
    if low is None and high is None:
        what = "nothing stands before $$"
        raise TemplateError(start, what, "Write how many options, as {2$$a|b|c}.")
    least = 1 if low is None else int(low)
    if bounds["to"] is None:
        return least, least
    most = None if high is None else int(high)
    if most is not None and most < least:
        what = f"{least} to {most} options are none"
        raise TemplateError(start, what, f"Write {{{most}-{least}$$…}}.")
    return least, most
