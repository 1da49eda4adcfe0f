"""What a person or a program agrees to before a run spends money, and its digest. Pure.

The digest has a part for each thing that can differ, so that a run can say which does:
`REQUESTS-ROWS-PRICES-LIMITS`. The requests are a number, the others are hashes.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from batchgen.core.prices import Price, SeenCost
from batchgen.core.targets import deployment_id
from batchgen.core.text import plural

REHEARSAL = "sandbox"  # in place of the service's address: its prices are pretend
_FORM = re.compile(r"(\d{1,9})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Terms:
    """requests: how many are sent. rows: the hash of their keys, in order, each of which is a hash
    of model, input and id. prices: of what a request costs, and where. limits: of what they are,
    and of what they leave.
    """

    requests: int
    rows: str
    prices: str
    limits: str

    def __str__(self) -> str:
        return f"{self.requests}-{self.rows}-{self.prices}-{self.limits}"

    def differences(self, now: "Terms") -> list[str]:
        """Say in words what is another than was agreed to; empty where nothing is."""
        words = {
            "rows": f"the rows ({plural(self.requests, 'request')} then,"
            f" {plural(now.requests, 'request')} now)",
            "prices": "what a request costs, or which service is asked",
            "limits": "the limits, or what they leave",
        }
        named = [part.name for part in fields(self)]
        found = {name for name in named if getattr(self, name) != getattr(now, name)}
        if "requests" in found:
            found.add("rows")
        return [text for name, text in words.items() if name in found]


def parse_terms(text: str) -> Terms:
    """Read a digest. Raises ValueError."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a digest; batchgen plan --json says it")
    return Terms(int(found[1]), found[2], found[3], found[4])


class RowTerms:
    """Collects the rows that are sent, without holding them."""

    def __init__(self) -> None:
        self.requests = 0
        self.models: set[str] = set()
        self._hash = hashlib.sha256()

    def add(self, key: str, model: str) -> None:
        self.requests += 1
        self.models.add(model)
        self._hash.update(f"{key}\n".encode())

    def terms(
        self,
        service: str,
        prices: Mapping[str, Price | None],
        seen: Mapping[str, SeenCost],
        limits: Sequence[tuple[str, float, float]],
        limit: int | None,
        serverless: str = "",
    ) -> Terms:
        """Return what is agreed to.

        service: its address, or REHEARSAL. prices, seen: of the models of the rows at least.
        limits: the option, USD, and USD that are left, of each limit of cost.
        limit: the most rows of the run; None is all.
        serverless: the address of the deployments' service, which counts if a row is sent there.
        """
        costs = [
            [model, _of_price(prices.get(model)), _of_seen(seen.get(model))]
            for model in sorted(self.models)
        ]
        left = [[option, usd, round(rest, 6)] for option, usd, rest in limits]
        known = [] if service == REHEARSAL else costs
        asked = [serverless] if any(map(deployment_id, self.models)) else []
        return Terms(
            self.requests,
            self._hash.hexdigest()[:32],
            _hash([service, known, *asked]),
            _hash([left, limit]),
        )


def _of_price(price: Price | None) -> object:
    """A price without the time at which somebody said it."""
    return price and [price.usd, price.unit, sorted(price.outputs.items()), price.floor]


def _of_seen(seen: SeenCost | None) -> object:
    return None if seen is None else [seen.request, seen.unit, seen.of]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
