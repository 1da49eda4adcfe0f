"""Templates joined with the files of wildcards that they name, each of which is read once.

A file has an option in each line; blank lines and those that begin with `#` are none. What a file
names in its turn is read too. Files that name each other in a circle are a problem.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from batchgen.core.rows import Place
from batchgen.templates import measure
from batchgen.templates.grammar import (
    MAX_DEPTH,
    MAX_PICKED,
    Choice,
    Option,
    TemplateError,
    Wildcard,
    number_options,
    parse,
    parse_line,
)
from batchgen.templates.texts import Branch, Pick

MAX_CHARS = 2**24  # of all files together
MAX_LINES = 200_000
MAX_REFUSALS = 100  # of files; after so many mistakes no other is read
_TOO_DEEP = f"choices and files are nested more than {MAX_DEPTH} deep"


class CannotUnfold(Exception):
    """place: in a wildcard's file; None is the prompt itself. what, remedy: for a person."""

    def __init__(self, what: str, remedy: str = "", place: Place | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.place = place


class WildcardText(NamedTuple):
    """file: its name in messages. text: all of it."""

    file: str
    text: str


# Returns the file of a wildcard's name. Raises CannotUnfold.
ReadWildcard = Callable[[str], WildcardText]


class Wildcards:
    """All files that one list names. read: reads one of them."""

    def __init__(self, read: ReadWildcard) -> None:
        self._read = read
        self._picks: dict[str, Pick] = {}
        # Of files that cannot be used, so that none is read again for every prompt that names it.
        self._refusals: dict[str, CannotUnfold] = {}
        self._open: list[str] = []  # the names that are being read, each named by the one before
        self._chars = 0
        self._lines = 0

    def joined(self, prompt: str) -> Branch:
        """Return the template that a prompt is, with all that it names. Raises CannotUnfold."""
        try:
            return self._branch(Option(parse(prompt), 1.0, b""), 0)
        except TemplateError as error:
            what = f"{error.what}, at character {error.at + 1}"
            raise CannotUnfold(what, error.remedy) from None

    def _branch(self, option: Option, level: int) -> Branch:
        """level: choices and files that the option stands in."""
        parts = tuple(
            part if isinstance(part, str) else self._pick(part, level + 1) for part in option.parts
        )
        of_parts = (
            measure.of_text(part) if isinstance(part, str) else part.measure for part in parts
        )
        return Branch(parts, option.weight, option.token, measure.of_all(of_parts))

    def _pick(self, part: Choice | Wildcard, level: int) -> Pick:
        if level > MAX_DEPTH:
            raise TemplateError(part.at, _TOO_DEEP, "Write it less nested.")
        if isinstance(part, Wildcard):
            return self._named(part, level)
        lines = self._named(part.wildcard, level).options if part.wildcard else None
        there = len(part.options if lines is None else lines)
        most = there if part.high is None else part.high
        if most > there or part.low > most:
            what = f"{max(most, part.low)} options are to be picked, and there are {there}"
            raise TemplateError(part.at, what, "Write a smaller number before $$.")
        if most > MAX_PICKED:
            what = f"{most} options are to be picked for one prompt"
            raise TemplateError(part.at, what, f"Write {MAX_PICKED} or fewer before $$.")
        if lines is None:
            lines = tuple(self._branch(option, level) for option in part.options)
        return Pick.of(lines, part.low, most, part.separator)

    def _named(self, wildcard: Wildcard, level: int) -> Pick:
        name = wildcard.name
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            what = f"wildcards name each other in a circle, {circle}"
            raise TemplateError(wildcard.at, what, "Take one of them out.")
        if name not in self._picks:
            try:
                self._picks[name] = self._read_now(name, level)
            except CannotUnfold as error:
                if error.what != _TOO_DEEP:  # which it is here, and may not be elsewhere
                    self._refusals[name] = error
                if error.place:
                    raise
                raise TemplateError(wildcard.at, error.what, error.remedy) from None
        if level + self._picks[name].measure.height - 1 > MAX_DEPTH:
            raise TemplateError(wildcard.at, _TOO_DEEP, "Write it less nested.")
        return self._picks[name]

    def _read_now(self, name: str, level: int) -> Pick:
        """Raises CannotUnfold, without a place if there is no such file."""
        if refusal := self._refusals.get(name):
            raise refusal
        if len(self._refusals) >= MAX_REFUSALS:
            raise CannotUnfold(f"{MAX_REFUSALS} other files of wildcards cannot be used")
        found = self._read(name)
        self._open.append(name)
        try:
            return self._lines_of(found, level)
        finally:
            self._open.pop()

    def _lines_of(self, found: WildcardText, level: int) -> Pick:
        """Return the choice between the lines of a file. Raises CannotUnfold with their place."""
        self._chars += len(found.text)
        written = []
        for number, line in enumerate(found.text.split("\n"), start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            self._lines += 1
            if self._lines > MAX_LINES or self._chars > MAX_CHARS:
                what = f"the files of wildcards have more than {MAX_LINES:,} lines"
                if self._chars > MAX_CHARS:
                    what = f"the files of wildcards have more than {MAX_CHARS:,} characters"
                raise CannotUnfold(what, "Name shorter ones.", Place(found.file, number))
            written.append((Place(found.file, number, line.index(text) + 1), text))
        if not written:
            remedy = "Write an option in each line."
            raise CannotUnfold("the file has no options", remedy, Place(found.file))
        parsed, branches = [], []
        for place, text in written:
            with _told_at(place):
                parsed.append(parse_line(text))
        for (place, _), option in zip(written, number_options(parsed), strict=True):
            with _told_at(place):
                branches.append(self._branch(option, level))
        return Pick.of(tuple(branches), 1, 1, "")


@contextmanager
def _told_at(place: Place) -> Iterator[None]:
    """Turn a TemplateError of a line that begins at `place` into CannotUnfold."""
    try:
        yield
    except TemplateError as error:
        there = place._replace(column=place.column + error.at)
        raise CannotUnfold(error.what, error.remedy, there) from None
