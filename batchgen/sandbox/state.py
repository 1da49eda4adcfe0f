"""All that one sandbox knows while it runs; both origins share it."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from batchgen.sandbox.catalogue import Catalogue
from batchgen.sandbox.faults import Book, roll
from batchgen.sandbox.ledger import Row, Store
from batchgen.sandbox.media import Gallery, prompt_of
from batchgen.sandbox.options import Options
from batchgen.sandbox.queue import Queue

BELL = NormalDist()
UNLIMITED_USD = 1000.0  # what the wallet shows where no balance was set


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def duration(mean: float, spread: float, dice: float) -> float:
    """Seconds that a generation takes: lognormal with this mean; dice in [0, 1)."""
    z = BELL.inv_cdf(min(max(dice, 1e-9), 1 - 1e-9))
    return mean * math.exp(spread * z - spread * spread / 2)


class Bucket:
    """A token bucket that holds a tenth of a second's worth of POSTs, and at least one."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.level = self.full = max(rate / 10, 1.0)
        self.seen = time.monotonic()

    def take(self, now: float) -> float:
        """Seconds until a POST would be let in; 0 lets this one in. now: monotonic."""
        if self.rate <= 0:
            return 0.0
        self.level = min(self.level + (now - self.seen) * self.rate, self.full)
        self.seen = now
        if self.level >= 1:
            self.level -= 1
            return 0.0
        return (1 - self.level) / self.rate


class Site:
    """base_url and media_host are set once the ports are known."""

    def __init__(self, options: Options) -> None:
        self.at_start = self.options = options
        self.store = Store(options.folder)
        self.catalogue = Catalogue(options.schemas)
        self.gallery = Gallery()
        self.base_url = self.media_host = ""
        self._begin()

    def _begin(self) -> None:
        ends, waiting = self.store.unfinished(self.options.slots)
        self.queue = Queue(self.options.slots, ends)
        for row in waiting:
            self.queue.add(row.request_id, row.accepted_at, row.seconds)
        self.book = Book(dict(self.options.dice), self.options.dice_seed)
        self.bucket = Bucket(self.options.rate)
        self.wallet = self.options.balance
        # polls, media, media_with_token, throttled, dropped; of this process only.
        self.counts: Counter[str] = Counter()
        # How often a request or file was asked for, counted only where trouble may depend on it.
        self.asked: Counter[str] = Counter()
        # When a poll was first answered with a request's end, Unix seconds; of this process only.
        self.seen: dict[str, float] = {}

    def reset(self) -> None:
        """Forget every request and fault, and go back to the options of the start."""
        self.store.wipe()
        self.options = self.at_start
        self._begin()

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Change options under way. Raises ValueError. A balance is what is left from now on."""
        self.options = self.options.changed(wanted)
        if "slots" in wanted:
            self.settle(time.time())
            self.queue.resize(self.options.slots, time.time())
        if "rate" in wanted:
            self.bucket = Bucket(self.options.rate)
        if "balance" in wanted:
            left = self.options.balance
            self.wallet = None if left is None else left + self.store.billed

    @property
    def left(self) -> float | None:
        """USD left in the wallet; None is without end."""
        return None if self.wallet is None else round(self.wallet - self.store.billed, 6)

    def settle(self, now: float) -> None:
        """Let the queue catch up with the time."""
        self.store.begin(self.queue.advance(now))

    def seconds(self, input_sha256: str) -> float:
        """How long this input takes; the same input takes the same time."""
        chance = roll(self.options.dice_seed, "seconds", input_sha256)
        return duration(self.options.seconds, self.options.spread, chance)

    def text(self, row: Row) -> str:
        """The prompt of a row, as far as faults may need it."""
        if not self.book.hooks and "[[" not in row.input:
            return ""
        return prompt_of(json.loads(row.input))

    def count(self, key: str) -> int:
        """How often `key` was counted before."""
        self.asked[key] += 1
        return self.asked[key] - 1

    def urls(self, request_id: str) -> dict[str, str]:
        one = f"{self.base_url}/requests/{request_id}"
        return {
            "status_url": f"{one}/status",
            "result_url": f"{one}/result",
            "cancel_url": f"{one}/cancel",
        }
