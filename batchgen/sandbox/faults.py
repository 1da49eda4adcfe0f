"""Which fault applies to a call: by a control hook, by a marker in the prompt, or by chance. Pure.

A marker is `[[name]]` or `[[name:value]]` anywhere in the prompt. Where the fault takes no value
of its own, the value is a number: so many calls of that row meet the fault, then it is over.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from batchgen.sandbox.errors import REFUSALS

# The names of HTML 4, which Pillow knows too.
_COLOUR = re.compile(
    "#[0-9a-f]{6}|aqua|black|blue|fuchsia|gray|green|lime|maroon|navy|olive|purple|red|silver|teal"
    "|white|yellow"
)
OPERATIONS = (
    *("submit", "status", "result", "cancel", "media", "model", "balance"),
    *("deployment", "object-info"),
)
SUBMIT = ("submit",)
POLL = ("status", "result")
MEDIA = ("media",)
# Not calls, but decisions about one request: how long it takes, and how it ends.
PACE = ("pace",)
OUTCOME = ("outcome",)

SERVER_ERRORS = ("500", "502", "503", "504")
# The request is accepted and billed; the fault is in the answer.
ACCEPTED_FIRST = frozenset(
    {*SERVER_ERRORS, "lost", "lost-rst", "silent", "html-200", "empty-200", "big-answer"}
    | {"cut-after-id", "cut-before-id", "id-beside-error", "no-id", "id-in-urls-only", "same-id"}
    | {"odd-id", "gzip", "202"}
)


def _is_code(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**9


def _is_status(value: Any) -> bool:
    return type(value) is int and 200 <= value <= 599


def _is_answer(value: Any) -> bool:
    """A status, or [status, body]."""
    return _is_status(value) or (
        isinstance(value, list) and len(value) == 2 and _is_status(value[0])
    )


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1e6


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 2**30


def _is_header(value: Any) -> bool:
    return type(value) in (int, float) or (
        isinstance(value, str) and value.isascii() and value.isprintable()
    )


def _is_colour(value: Any) -> bool:
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


@dataclass(frozen=True)
class Fault:
    """stages: the operations that it applies to. value: its default.

    takes_value: whether a marker's value is the fault's own, not a number of times.
    anywhere: whether a hook may apply it to any operation. accepts: whether it can have a value.
    """

    stages: tuple[str, ...]
    value: Any = None
    takes_value: bool = False
    anywhere: bool = False
    accepts: Callable[[Any], bool] = lambda value: True


def _table() -> dict[str, Fault]:
    plain = ("hangup", "drop", "firewall", "302", "307", *REFUSALS, *sorted(ACCEPTED_FIRST))
    table = {name: Fault(SUBMIT, anywhere=True) for name in plain}
    table |= {
        "404001": Fault(POLL, anywhere=True),
        "refuse-5xx": Fault(SUBMIT, 503, takes_value=True, anywhere=True, accepts=_is_status),
        "status": Fault(SUBMIT, 418, takes_value=True, anywhere=True, accepts=_is_answer),
        "error-in-200": Fault(SUBMIT, 400002, takes_value=True, anywhere=True, accepts=_is_code),
        "429": Fault(SUBMIT, "1", takes_value=True, anywhere=True, accepts=_is_header),
        "odd-id": Fault(SUBMIT, 20_261_126, takes_value=True, anywhere=True),
        "big-answer": Fault(SUBMIT, "id-first", takes_value=True, anywhere=True),
        "slow": Fault(PACE, 5.0, takes_value=True, accepts=_is_duration),
    }
    polls = ("500", "401", "404", "429", "garbage", "html", "empty", "drop", "rst", "silent")
    odd_answers = ("cut", "other-id", "gzip", "firewall")
    table |= {f"poll-{what}": Fault(POLL) for what in (*polls, *odd_answers)}
    table |= {
        name: Fault(POLL)
        for name in ("not-ready", "pending-words", "back-to-queue", "upper-case", "succeeded")
    }
    table["poll-429"] = Fault(POLL, "1", accepts=_is_header)
    table["odd-word"] = Fault(POLL, "warming_up", takes_value=True)
    table |= {
        "failed": Fault(OUTCOME, "generation failed", takes_value=True),
        "failed-in-200": Fault(OUTCOME, 500001, takes_value=True, accepts=_is_code),
        "cost": Fault(OUTCOME, {"amount": 0.03, "currency": "USD"}, takes_value=True),
        "inline": Fault(OUTCOME, "teal", takes_value=True, accepts=_is_colour),
        "inline-base64": Fault(OUTCOME, "olive", takes_value=True, accepts=_is_colour),
        "echo": Fault(OUTCOME, "https://my-own-site.example/heron.png", takes_value=True),
        "end-word": Fault(OUTCOME, "done", takes_value=True),
        "large-result": Fault(OUTCOME, 3 * 2**20, takes_value=True, accepts=_is_size),
        "media-other-host": Fault(OUTCOME, "https://evil.example/x.png", takes_value=True),
    }
    outcomes = ("canceled", "empty-result", "null-output", "bare-url", "bare-list", "no-cost")
    others = ("number-cost", "url-blanks", "no-status")
    table |= {name: Fault(OUTCOME) for name in (*outcomes, *others)}
    answers = ("403", "404", "500", "html", "json", "empty", "short", "stall", "slow")
    contents = (
        "endless",
        "gzip-bomb",
        "truncated",
        "corrupt",
        "redirect-loop",
        "wrong-type",
        "huge-pixels",
    )
    table |= {f"media-{what}": Fault(MEDIA) for what in (*answers, *contents, "expired", "drop")}
    table["media-redirect"] = Fault(MEDIA, takes_value=True, accepts=_is_header)
    return table


FAULTS: dict[str, Fault] = _table()


class AppliedFault(NamedTuple):
    """A fault that applies to a call, with its value."""

    name: str
    value: Any


@dataclass
class Hook:
    """A fault set from outside: for `left` calls (None: until reset) whose prompt has `match`."""

    name: str
    stages: tuple[str, ...]
    left: int | None = 1
    match: str | None = None
    value: Any = None


def make_hook(
    name: str,
    times: int | None = 1,
    on: str | None = None,
    match: str | None = None,
    value: Any = None,
) -> Hook:
    """Return a hook as a test describes it.

    on: one of OPERATIONS; None takes the fault's own.

    Raises ValueError for an unknown name, one that cannot apply there, or a value of another type.
    """
    if times is not None and (type(times) is not int or times < 1):
        raise ValueError(f"times is {times!r}; it has to be a whole number above 0, or null")
    if not isinstance(match, str | None):
        raise ValueError(f"match is {match!r}; it has to be a text, or null")
    if not isinstance(name, str) or name not in FAULTS:
        raise ValueError(f"no such fault: {name}; there are {', '.join(FAULTS)}")
    fault = FAULTS[name]
    stages = fault.stages
    if on is not None and on not in OPERATIONS:
        raise ValueError(f"no such operation: {on}; there are {', '.join(OPERATIONS)}")
    if on is not None and (fault.anywhere or on in stages):
        stages = (on,)
    elif on is not None and stages in (SUBMIT, MEDIA, POLL):
        raise ValueError(f"{name} cannot strike on {on}")
    if wrong := value_problem(name, value):
        raise ValueError(wrong)
    return Hook(name, stages, times, match, fault.value if value is None else value)


def value_problem(name: str, value: Any) -> str | None:
    """Say in a sentence why a fault cannot have a value; None if it can, or has its own."""
    if value is None or FAULTS[name].accepts(value):
        return None
    return f"the fault {name} cannot have the value {value!r:.100}"


def marker_problem(text: str) -> str | None:
    """Say why the first marker in a prompt that can do nothing cannot; None if all can."""
    problems = (
        value_problem(name, value) for name, value in find_markers(text) if FAULTS[name].takes_value
    )
    return next(filter(None, problems), None)


# Not greedy; the last of several brackets closes it: `[[status:[402, "x"]]]`. The lengths keep the
# time in proportion to a prompt's.
MARKER = re.compile(r"\[\[([a-z0-9-]{1,40})(?::(.{0,2000}?))?\]\](?!\])", re.DOTALL)
MAX_MARKERS = 100  # places in a prompt where one may begin; what stands behind is prompt


def find_markers(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the faults of the markers in a prompt. Values are read as JSON, or else are text."""
    end = 0
    for start in islice(re.finditer(r"\[\[", text), MAX_MARKERS):
        if start.start() < end or not (match := MARKER.match(text, start.start())):
            continue
        end = match.end()
        name, value = match.groups()
        if name in FAULTS:
            try:
                yield name, None if value is None else json.loads(value)
            except (ValueError, RecursionError):
                yield name, value


def seeded_fraction(seed: int, *of: object) -> float:
    """Return a number in [0, 1), always the same for the same seed and subject."""
    subject = "|".join(map(str, (seed, *of)))
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:7], "big") / 2**56


class FaultPlan:
    """Which faults may apply: hooks, and probabilities by the fault's name (`dice`).

    A probability is tried by seed, input and how often the call was made, not by the order in which
    calls arrive: a run with sixteen workers meets the same faults as a run with one.
    """

    def __init__(self, dice: dict[str, float], seed: int) -> None:
        self.dice = dice
        self.seed = seed
        self.hooks: list[Hook] = []
        self.calls = 0

    def drops_connection(self, operation: str) -> bool:
        """Whether this call is dropped before its body is read: only `drop` does that."""
        if self.hooks and self._hooked(operation, None):
            return True
        if "drop" not in self.dice or operation not in FAULTS["drop"].stages:
            return False
        self.calls += 1
        return seeded_fraction(self.seed, "drop", self.calls) < self.dice["drop"]

    def pick(self, stage: str, text: str, key: str, nth: Callable[[], int]) -> AppliedFault | None:
        """Return the fault that applies to a call, if any.

        stage: an operation, or "pace" or "outcome".
        text: the prompt. key: the hash of the input, on which chance depends.
        nth: returns how many such calls there were before; called at most once.
        """
        if self.hooks and (found := self._hooked(stage, text)):
            return found
        if not self.dice and "[[" not in text:
            return None
        before = nth()
        return self._marked(stage, text, before) or self._rolled(stage, key, before)

    def _hooked(self, stage: str, text: str | None) -> AppliedFault | None:
        """text: the prompt; None while only the head of the call was read."""
        for entry in self.hooks:
            early = entry.name == "drop" and entry.match is None
            if stage not in entry.stages or early != (text is None):
                continue
            if entry.match is not None and entry.match not in (text or ""):
                continue
            if entry.left is not None:
                entry.left -= 1
                if entry.left <= 0:
                    self.hooks.remove(entry)
            return AppliedFault(entry.name, entry.value)
        return None

    def _marked(self, stage: str, text: str, before: int) -> AppliedFault | None:
        for name, value in find_markers(text):
            fault = FAULTS[name]
            if stage not in fault.stages:
                continue
            if fault.takes_value:
                return AppliedFault(name, fault.value if value is None else value)
            if not isinstance(value, int) or before < value:
                return AppliedFault(name, fault.value)
        return None

    def _rolled(self, stage: str, key: str, before: int) -> AppliedFault | None:
        for name, probability in self.dice.items():
            if stage not in FAULTS[name].stages or name == "drop":
                continue
            if seeded_fraction(self.seed, name, key, before) < probability:
                return AppliedFault(name, FAULTS[name].value)
        return None
