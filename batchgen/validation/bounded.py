"""jsonschema whose work is bounded, for schemas and values that somebody else wrote. Pure.

A schema of a few lines can keep jsonschema busy for years: a pattern that backtracks (ReDoS), or
definitions that each refer to the next one twice. So each keyword that is applied is counted, and
patterns are matched by RE2, whose time grows with the length of the text only (R. Cox, Regular
Expression Matching in the Wild, 2010). RE2 has no look-around and no back-references: a pattern
that it does not compile is not checked on any computer, so that a list that is valid here is valid
everywhere.
"""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from batchgen.core.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from jsonschema import ValidationError

Keyword = Callable[[Any, Any, Any, Any], "Iterator[ValidationError] | None"]

MOST_PATTERNS = 100  # of a schema; compiling each can take a tenth of a second
MAX_PATTERN_CHARS = 4000
# RE2 takes a time by length of text times size of program where its quick way, a DFA, needs more
# memory than it has. Compiling optional repetitions takes time by the square of their number.
MAX_PATTERN_BYTES = 1 << 18  # of memory for a compiled pattern
MAX_PROGRAM = 4000  # instructions
INSTRUCTIONS_A_STEP = 20_000  # some 60 µs
LONG_RUN = 50  # a row may take this part of `schema_steps` where many rows are checked
FIRST_ROWS = 20  # that may take all steps, and more of them by what others left


class TooMuchWork(Exception):
    """A value that would need too many steps to be checked, or too deep a recursion.

    A step is a keyword, a value of an enum, or some matching of a pattern.
    has_end: whether more steps would do.
    """

    def __init__(self, *, has_end: bool) -> None:
        super().__init__()
        self.has_end = has_end


class BoundedValidator:
    """Checks values against one schema of Draft 2020-12, which nothing is fetched for.

    steps: the most for one row.
    """

    def __init__(self, schema: dict[str, Any], steps: int = DEFAULT_LIMITS.schema_steps) -> None:
        self._steps = self._left = steps
        self._in_all = FIRST_ROWS * steps
        self._schema = schema

    @cached_property
    def _validator(self) -> Any:
        # Only where a row asks for it: importing jsonschema takes a fifth of what `validate` does.
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend
        from referencing import Registry

        keywords = Draft202012Validator.VALIDATORS | _KEYWORDS
        counted = {name: self._counted(keyword) for name, keyword in keywords.items()}
        bounded: Any = extend(Draft202012Validator, counted)  # type: ignore[no-untyped-call]
        nothing_fetched: Registry[Any] = Registry()
        return bounded(self._schema, registry=nothing_fetched)

    def begin_row(self) -> bool:
        """Count the steps anew; return False where the rows so far have taken too many."""
        self._in_all += self._steps // LONG_RUN - (self._steps - max(self._left, 0))
        self._in_all = min(self._in_all, FIRST_ROWS * self._steps)
        self._left = self._steps
        return self._in_all > 0

    def errors(self, value: Any, schema: dict[str, Any] | None = None) -> list[Any]:
        """Return the ValidationErrors of a value. Raises TooMuchWork.

        schema: a part of the whole schema that this value has to fit; None: the whole.
        """
        part = self._validator if schema is None else self._validator.evolve(schema=schema)
        try:
            return list(part.iter_errors(value))
        except BaseException as error:
            # referencing's map is Rust's: where the stack ends inside of it, it panics instead.
            if not isinstance(error, RecursionError) and type(error).__name__ != "PanicException":
                raise
            raise TooMuchWork(has_end=False) from None

    def is_valid(self, value: Any, schema: dict[str, Any]) -> bool:
        """Return whether a value fits a part of the schema; False if that takes too much work."""
        try:
            return not self.errors(value, schema)
        except TooMuchWork:
            return False

    def _counted(self, keyword: Keyword) -> Keyword:
        def check(
            validator: Any, wanted: Any, value: Any, schema: Any
        ) -> "Iterator[ValidationError] | None":
            self._left -= 1 + (len(wanted) if isinstance(wanted, list | dict) else 0)
            if keyword is _pattern and isinstance(value, str):
                size = found.size if (found := compile_pattern(wanted)) else 0
                self._left -= len(value) * size // INSTRUCTIONS_A_STEP
            if self._left < 0:
                raise TooMuchWork(has_end=True)
            return keyword(validator, wanted, value, schema)

        return check


class CompiledPattern(NamedTuple):
    """found: whether a text has the pattern. size: of the program, in instructions."""

    found: Callable[[str], bool]
    size: int


@lru_cache(maxsize=2 * MOST_PATTERNS)
def compile_pattern(pattern: str) -> CompiledPattern | None:
    """Return a search for a pattern that is linear in the text.

    None if RE2 does not compile it, or if it is so large that it takes long.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        return None
    import re2  # type: ignore[import-untyped]  # few schemas have a pattern

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        return None
    if compiled.programsize > MAX_PROGRAM:
        return None
    search = compiled.search
    return CompiledPattern(lambda text: search(text) is not None, compiled.programsize)


def _unfit(message: str) -> "ValidationError":
    from jsonschema import ValidationError

    return ValidationError(message)


def _pattern(
    _validator: Any, pattern: str, value: Any, _schema: Any
) -> "Iterator[ValidationError]":
    compiled = compile_pattern(pattern) if isinstance(value, str) else None
    if compiled is not None and not compiled.found(value):
        yield _unfit(f"{value!r} does not match {pattern!r}")


def _multiple_of(
    validator: Any, step: int | float, value: Any, _schema: Any
) -> "Iterator[ValidationError]":
    # As they are written: 0.3 is a multiple of 0.1, although not for the processor.
    if validator.is_type(value, "number") and Fraction(str(value)) % Fraction(str(step)):
        yield _unfit(f"{value!r} is not a multiple of {step!r}")


def _unique_items(
    validator: Any, wanted: bool, value: Any, _schema: Any
) -> "Iterator[ValidationError]":
    if wanted and validator.is_type(value, "array") and len(set(map(_text, value))) < len(value):
        yield _unfit(f"{value!r} has non-unique elements")


def _text(value: Any) -> str:
    """Return a text that is the same for equal values of JSON: 1 and 1.0, but not 1 and true."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


_KEYWORDS: dict[str, Keyword] = {
    "pattern": _pattern,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
}
