"""Which column of a list is the prompt, which the id, which are inputs and which metadata. Pure.

A guess is only ever written down for a person to see; a run guesses nothing.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.messages import model_id_problem
from batchgen.core.rows import RESERVED

MAX_SAMPLES = 200  # values of a column that are compared with an input's schema
# What lists call their prompts and ids, the most telling first; see `_plain`.
PROMPT_ALIASES = (
    *("prompt", "prompts", "prompt_text", "text_prompt", "prompt_en", "positive_prompt"),
    *("caption", "captions", "text", "description", "sentence", "query", "instruction", "title"),
)
ID_ALIASES = (
    *("id", "uid", "uuid", "guid", "slug", "key", "prompt_id", "image_id", "row_id", "item_id"),
    *("filename", "file_name", "name", "index", "idx", "no", "nr", "number"),
)


@dataclass(slots=True)
class ColumnFacts:
    """What is known of a column, or of a name of JSON objects, after the whole list was read.

    filled: how many rows have a value. words: of all texts together. texts: whether every value is
    one. distinct: whether no value comes twice; only asked of what may be ids. as_ids: whether each
    value can be an id. samples: the first values.
    """

    name: str
    filled: int = 0
    words: int = 0
    texts: bool = True
    distinct: bool = True
    as_ids: bool = True
    samples: list[Any] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def add(self, value: Any) -> None:
        """Count a row's value."""
        self.filled += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append(value)
        if isinstance(value, str):
            self.words += len(value.split())
        else:
            self.texts = False
        if not may_be_id(self.name) or not self.distinct:
            return
        text = isinstance(value, str) and bool(value.strip())
        self.as_ids &= text or (isinstance(value, int) and not isinstance(value, bool))
        before = len(self._seen)
        self._seen.add(hash(str(value)))
        if len(self._seen) == before:
            self.distinct = False
            self._seen.clear()


@dataclass(frozen=True, slots=True)
class Use:
    """What a name of the list is taken for. target: an input, `id` or `model`; None: metadata."""

    name: str
    target: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Guess:
    """uses: in the order of the list. columns, meta: the settings that say the same."""

    uses: list[Use]
    columns: dict[str, str]
    meta: list[str]

    @property
    def targets(self) -> set[str]:
        return {use.target for use in self.uses if use.target}


def may_be_id(name: str) -> bool:
    return _plain(name) in ID_ALIASES


def may_be_known(names: Collection[str], inputs: Collection[str]) -> bool:
    """Whether one of these names could be taken for something, as `KnowsAny` asks of a header."""
    plain = {_plain(one) for one in inputs} | {*PROMPT_ALIASES, *ID_ALIASES, *RESERVED}
    return any(_plain(name) in plain for name in names)


def guess_columns(
    facts: Sequence[ColumnFacts],
    inputs: Collection[str],
    fits: Callable[[str, Any], bool],
    given: Mapping[str, str],
) -> Guess:
    """Return what each column is.

    inputs: the names of the model's. fits: whether a value is valid as an input. given: the name in
        the list by the input, as the person said; the rest is guessed.
    """
    targets: dict[str, str] = {}  # by the name in the list
    whys: dict[str, str] = {}

    def take(fact: ColumnFacts, target: str, why: str) -> None:
        if fact.name not in targets and target not in targets.values():
            targets[fact.name], whys[fact.name] = target, why

    for target, source in given.items():
        targets[source], whys[source] = target, "as you said"
    for fact in facts:
        if fact.name == "id" and _is_id(fact):
            take(fact, "id", "by its name")
        elif fact.name == "model" and _are_models(fact):
            take(fact, "model", "by its name")
        elif fact.name in inputs and fact.name not in RESERVED:
            if _mostly_fits(fact, fact.name, fits):
                take(fact, fact.name, "by its name")
            else:
                whys.setdefault(fact.name, f"its values do not fit the input {fact.name}")
    for fact in facts:
        for name in inputs:
            if _plain(fact.name) == _plain(name) and fact.name != name:
                if _mostly_fits(fact, name, fits):
                    take(fact, name, "by its name")
                else:
                    whys.setdefault(fact.name, f"its values do not fit the input {name}")
    prompt = next((name for name in PROMPT_NAMES if name in inputs), None)
    if prompt and prompt not in targets.values() and (found := _find_prompt(facts, targets)):
        take(found, prompt, _why_prompt(found))
    for alias in ID_ALIASES:
        for fact in facts:
            if _plain(fact.name) == alias and _is_id(fact):
                take(fact, "id", "each value comes once")
    uses = [Use(f.name, targets.get(f.name), whys.get(f.name, "")) for f in facts]
    columns = {t: name for name, t in targets.items() if t != name or given.get(t) == name}
    meta = []
    for use in uses:
        if use.target is not None or use.name.startswith("_"):
            continue
        if use.name in RESERVED:  # these mean something by themselves, unless named otherwise
            columns[f"_{use.name}"] = use.name
        else:
            meta.append(use.name)
    return Guess(uses, columns, meta)


def _plain(name: str) -> str:
    """Return a name as models write theirs: `Aspect Ratio` is `aspect_ratio`."""
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).strip("_").casefold()


def _mostly_fits(fact: ColumnFacts, name: str, fits: Callable[[str, Any], bool]) -> bool:
    """Whether more than half of the values fit: the others are mistakes to be told of."""
    good = sum(fits(name, value) for value in fact.samples)
    return good * 2 > len(fact.samples) or not fact.samples


def _is_id(fact: ColumnFacts) -> bool:
    return fact.filled > 0 and fact.distinct and fact.as_ids


def _are_models(fact: ColumnFacts) -> bool:
    ids = (isinstance(v, str) and model_id_problem(v) is None for v in fact.samples)
    return bool(fact.samples) and all(ids)


def _find_prompt(facts: Sequence[ColumnFacts], taken: Mapping[str, str]) -> ColumnFacts | None:
    free = [f for f in facts if f.name not in taken and f.texts and f.filled]
    for alias in PROMPT_ALIASES:
        for fact in free:
            if _plain(fact.name) == alias:
                return fact
    # Otherwise what has the longest texts; a single word is no likely prompt.
    longest = max(free, key=lambda f: f.words / f.filled, default=None)
    if longest is not None and (len(free) == 1 or longest.words >= 3 * longest.filled):
        return longest
    return None


def _why_prompt(fact: ColumnFacts) -> str:
    return "by its name" if _plain(fact.name) in PROMPT_ALIASES else "it has the longest texts"
