"""The scenarios, and for each the time that no client could beat. Values in, values out."""

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchgen.sandbox.faults import seeded_fraction
from batchgen.sandbox.ledger import canonical_input
from batchgen.sandbox.state import duration, sha256

DICE_SEED = 4
# About 1 % of each. Those that hang for minutes (silent, media-stall, …) are left out, since they
# would measure time-outs; so are those that are the account's (no balance, a refused token).
TROUBLES = (
    *("429", "500", "refuse-5xx", "lost", "hangup", "cut-before-id"),
    *("poll-429", "poll-500", "poll-garbage", "poll-drop"),
    *("failed", "media-500", "media-short", "media-corrupt", "media-drop"),
)


@dataclass(frozen=True)
class Scenario:
    """rows: how many; at_once: submitted and unfinished, at most, in every contender.

    seconds, spread: the mean generation time, and the sigma of its lognormal spread.
    slots: requests that the API generates at once.
    allowed: POSTs per second that the API lets in, 0 is all; told: what the client was told.
    picture_size, picture_bytes: the longer side in pixels, and the least size of the file.
    """

    name: str
    rows: int
    at_once: int = 40
    seconds: float = 0.0
    spread: float = 0.0
    slots: int = 40
    allowed: float = 0.0
    told: float = 2000.0
    picture_size: int = 768
    picture_bytes: int = 0
    troubles: tuple[str, ...] = ()

    @property
    def chance(self) -> float:
        """How probable each trouble is."""
        return 0.01

    def sandbox_options(self) -> list[str]:
        options = {
            "seconds": self.seconds,
            "spread": self.spread,
            "slots": self.slots,
            "rate": self.allowed,
            "picture-size": self.picture_size,
            "picture-bytes": self.picture_bytes,
            "pictures": "stamped",
            "seed-dice": DICE_SEED,
            "idle-seconds": 30,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return words + [
            word for name in self.troubles for word in ("--fault", f"{name}={self.chance}")
        ]

    def prompts(self) -> dict[str, str]:
        """Each row's prompt by its id, in the order of the manifest."""
        return {f"row-{n:06d}": f"A heron at dawn, number {n}" for n in range(1, self.rows + 1)}

    def latencies(self) -> list[float]:
        """The seconds that the API takes for each row: the same in every run and contender."""
        return [
            duration(
                self.seconds,
                self.spread,
                seeded_fraction(DICE_SEED, "seconds", sha256(text.encode())),
            )
            for text in map(sent, self.prompts().values())
        ]

    def ideal(self) -> float | None:
        """The seconds that no client could beat; None where only the computers set a limit.

        Each row may be submitted when the rate allows it and a place is free, in the order of the
        manifest, and is there the moment it is finished: no time for start-up, network or disk.
        A bucket that is full at the start lets the first few in at once.
        """
        if not (self.seconds or self.allowed) or self.troubles:
            return None
        burst = max(self.allowed / 10, 1.0)
        places = [0.0] * min(self.slots, self.at_once)
        for n, latency in enumerate(self.latencies()):
            allowed_at = max(0.0, n + 1 - burst) / self.allowed if self.allowed else 0.0
            heapq.heapreplace(places, max(allowed_at, places[0]) + latency)
        return max(places)


def sent(prompt: str) -> str:
    """The canonical JSON of what is sent for a prompt."""
    return canonical_input({"prompt": prompt})


SCENARIOS = (
    Scenario("overhead", 2000),
    Scenario("realistic", 400, seconds=2.0, spread=0.5),
    Scenario("ratelimited", 600, seconds=0.5, spread=0.5, allowed=20.0, told=20.0),
    Scenario("overtold", 600, seconds=0.5, spread=0.5, allowed=20.0, told=60.0),
    Scenario("bigmedia", 100, at_once=20, picture_bytes=4_000_000),
    Scenario("faulty", 400, seconds=0.5, spread=0.5, troubles=TROUBLES),
)


def chosen(names: Sequence[str], share: float = 1.0, rows: int | None = None) -> list[Scenario]:
    """The scenarios of these names, or all; share: how many of their rows, or else `rows`.

    Raises ValueError for a name that does not exist.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    found = [known[name] for name in names or known]
    return [replace(one, rows=rows or max(round(one.rows * share), 5)) for one in found]


def manifest(scenario: Scenario) -> str:
    """The rows as JSON lines, which every contender reads."""
    rows = ({"id": id, "prompt": prompt} for id, prompt in scenario.prompts().items())
    return "".join(json.dumps(row) + "\n" for row in rows)
