"""The state of a running sandbox, which both origins share."""

import hashlib
import math
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

from batchgen.sandbox.catalogue import Catalogue
from batchgen.sandbox.deployments.catalogue import Deployment, any_deployment, load_deployments
from batchgen.sandbox.deployments.instances import InstanceQueue, Scaling
from batchgen.sandbox.faults import FaultPlan, seeded_fraction
from batchgen.sandbox.ledger import DEPLOYMENTS_PREFIX, Ledger, LedgerRow
from batchgen.sandbox.media import MediaFormat
from batchgen.sandbox.options import SandboxOptions
from batchgen.sandbox.queue import RequestQueue

STANDARD_NORMAL = NormalDist()
UNLIMITED_USD = 1000.0  # what the wallet shows where no balance was set


def timestamp(seconds: float, precision: str = "milliseconds") -> str:
    """ISO 8601 in UTC. precision: as `datetime.isoformat` names it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def duration(mean: float, spread: float, chance: float) -> float:
    """Return the seconds of a generation: lognormal with this mean and sigma. chance: in [0, 1)."""
    z = STANDARD_NORMAL.inv_cdf(min(max(chance, 1e-9), 1 - 1e-9))
    return mean * math.exp(spread * z - spread * spread / 2)


class TokenBucket:
    """A token bucket that holds the POSTs of a tenth of a second, and at least one. rate: per s."""

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


class SandboxState:
    """base_url and media_host are set once the ports are known."""

    def __init__(self, options: SandboxOptions) -> None:
        self.at_start = self.options = options
        self.catalogue = Catalogue(options.schemas)
        self.at_start_deployments = load_deployments(options.deployments)
        self.ledger = Ledger(options.folder)  # last, since it has to be closed
        self.base_url = self.media_host = ""
        self._begin()

    def _begin(self) -> None:
        ends, waiting = self.ledger.unfinished(self.options.slots)
        self.queue = RequestQueue(self.options.slots, ends)
        self.deployments = dict(self.at_start_deployments)
        self.pools: dict[str, InstanceQueue] = {}
        for row in waiting:
            self.queue_of(row.model).add(row.request_id, row.accepted_at, row.seconds)
        self.faults = FaultPlan(dict(self.options.dice), self.options.dice_seed)
        self.token_bucket = TokenBucket(self.options.rate)
        self.wallet = self.options.balance
        # polls, media, media_with_token, throttled, dropped; of this process only.
        self.counts: Counter[str] = Counter()
        # How often a request or file was asked for, counted only where a fault may depend on it.
        self.asked: Counter[str] = Counter()
        # When a poll was first answered with a request's end, Unix seconds; of this process only.
        self.seen: dict[str, float] = {}

    def reset(self) -> None:
        """Forget every request and fault, and go back to the options of the start."""
        self.ledger.wipe()
        self.options = self.at_start
        self._begin()

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Change options under way. Raises ValueError. A balance is what is left from now on."""
        self.options = self.options.changed(wanted)
        if "slots" in wanted:
            self.settle(time.time())
            self.queue.resize(self.options.slots, time.time())
        if "rate" in wanted:
            self.token_bucket = TokenBucket(self.options.rate)
        if "balance" in wanted:
            left = self.options.balance
            self.wallet = None if left is None else left + self.billed
        if "cold_start" in wanted:
            for id, pool in self.pools.items():
                pool.scaling = self.scaling(id)

    @property
    def billed(self) -> float:
        """USD so far: of requests to models, and of instances by the second."""
        return self.ledger.billed + self.ledger.instances_usd(time.time())

    @property
    def left(self) -> float | None:
        """USD left in the wallet; None is unlimited."""
        return None if self.wallet is None else round(self.wallet - self.billed, 6)

    def settle(self, now: float) -> None:
        """Bring the queues up to date, and note in the ledger which requests have started."""
        self.ledger.begin(self.queue.advance(now))
        for pool in self.pools.values():
            self.ledger.begin(pool.advance(now))

    def deployment(self, id: str) -> Deployment | None:
        """Return the deployment of this id; with `all_models` one that takes anything."""
        found = self.deployments.get(id)
        if found is None and self.options.all_models:
            found = self.deployments[id] = any_deployment(id)
        return found

    def queue_of(self, model: str) -> RequestQueue:
        """Return the queue of requests to a model or deployment, by its name in the ledger."""
        if not model.startswith(DEPLOYMENTS_PREFIX):
            return self.queue
        id = model.removeprefix(DEPLOYMENTS_PREFIX)
        if id not in self.pools:
            running = self.ledger.instances_of(id, time.time())
            self.pools[id] = InstanceQueue(self.scaling(id), running)
        return self.pools[id]

    def scaling(self, id: str) -> Scaling:
        """Return how many instances a deployment may have, and how they start."""
        deployment = self.deployment(id) or any_deployment(id)
        return deployment.scaling(self.options.cold_start)

    def change_deployment(self, id: str, changes: Mapping[str, Any]) -> Deployment:
        """Change a deployment as its owner would. Raises ValueError."""
        found = self.deployment(id)
        if found is None:
            raise ValueError(f"no such deployment: {id}; there are {', '.join(self.deployments)}")
        self.deployments[id] = found.changed(changes, timestamp(time.time(), "microseconds"))
        if id in self.pools:
            self.pools[id].scaling = self.scaling(id)
        return self.deployments[id]

    def seconds(self, input_sha256: str) -> float:
        """Return the seconds that this input takes, always the same for the same input."""
        chance = seeded_fraction(self.options.dice_seed, "seconds", input_sha256)
        return duration(self.options.seconds, self.options.spread, chance)

    def count(self, key: str) -> int:
        """Count a call of `key`, and return how many came before it."""
        self.asked[key] += 1
        return self.asked[key] - 1

    @property
    def origin(self) -> str:
        """The API's origin, `http://host:port`."""
        return self.base_url.removesuffix("/v1")

    def media_url(self, row: LedgerRow, n: int, form: MediaFormat) -> str:
        """Return the URL of a request's n-th file."""
        return f"http://{self.media_host}/media/{row.request_id}/{n}.{form.extension}"
