"""Prompts that unfold: the texts that one stands for, each once, or why it cannot be unfolded.

Refused is what nobody can have meant or pay for, before any of it is written out.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from batchgen.core.likeness import text_form
from batchgen.core.limits import DEFAULT_LIMITS, Limits, how_to_raise, say_limit
from batchgen.templates.measure import MOST
from batchgen.templates.texts import Branch, all_texts, drawn_texts
from batchgen.templates.wildcards import CannotUnfold, ReadWildcard, Wildcards

MEANT_ROWS = 1_000_000  # more of one prompt are a mistake
MAX_CHARS = 2**21  # of one text
MAX_STEPS = 10**8  # for all texts of one prompt; a step is about a microsecond
DRAWS_PER_TEXT = 20  # at most, since a text that was drawn before counts for nothing
FORM_DIGITS = 10


class Unfolded(NamedTuple):
    """A text. form: hex digits that stand for it, however it is written; "" if it is the only one.

    It stays the same when other texts come and go, so that an id can be made of it.
    """

    text: str
    form: str


class Unfolding:
    """How the prompts of one list unfold.

    read: reads the file of a wildcard. samples: of each prompt that has more texts; None is all.
    seed: by which they are drawn.
    """

    def __init__(
        self,
        read: ReadWildcard,
        samples: int | None = None,
        seed: int = 0,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._wildcards = Wildcards(read)
        self._samples = samples
        self._seed = seed
        self._limits = limits

    def texts(self, prompt: str) -> Iterator[Unfolded]:
        """Return the texts in order, without those that differ in their writing alone.

        Raises CannotUnfold, before the first of them.
        """
        whole = self._wildcards.joined(prompt)
        if all(isinstance(part, str) for part in whole.parts):
            return iter([Unfolded("".join(all_texts(whole.parts)), "")])
        count = whole.measure.texts
        if whole.measure.chars > MAX_CHARS:
            what = f"it unfolds into prompts of more than {MAX_CHARS:,} characters"
            raise CannotUnfold(what, "Write it shorter.")
        wanted = count if self._samples is None else min(count, self._samples)
        if wanted > self._limits.unfolded_rows:
            said = say_limit(self._limits, "unfolded_rows")
            raise CannotUnfold(f"it unfolds into {_shown(wanted)} rows; {said}", _way_out(wanted))
        if wanted < count:
            _check_steps(wanted * whole.measure.work)
            return self._sample(prompt, whole, wanted)
        _check_steps(count * whole.measure.steps)
        return _each_once(all_texts(whole.parts))

    def _sample(self, prompt: str, whole: Branch, wanted: int) -> Iterator[Unfolded]:
        draws = wanted * DRAWS_PER_TEXT
        draws = max(wanted, min(draws, MAX_STEPS // whole.measure.work))
        drawn = islice(drawn_texts(prompt, whole.parts, self._seed), draws)
        return islice(_each_once(drawn), wanted)


def _way_out(rows: int) -> str:
    if rows > MEANT_ROWS:
        return "Write it with fewer choices, or draw some of its texts, as with --samples 20."
    option = how_to_raise("unfolded_rows", rows, "If all of them are meant and to be paid for")
    return f"{option}\nTo draw some of them: --samples 20"


def _each_once(texts: Iterator[str]) -> Iterator[Unfolded]:
    seen = set()
    for text in texts:
        form = text_form(text)[:FORM_DIGITS]
        if form not in seen:
            seen.add(form)
            yield Unfolded(text, form)


def _check_steps(steps: int) -> None:
    if steps > MAX_STEPS:
        raise CannotUnfold("unfolding it takes too long", "Write it with fewer choices.")


def _shown(count: int) -> str:
    if count >= MOST:
        return f"10^{len(str(MOST)) - 1} or more"
    return f"{count:,}" if count < 10**15 else f"about 10^{len(str(count)) - 1}"
