"""What a sandbox is told at its start, and what of it can be changed while it runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


FULL_QUEUES = ("waits", "429", "error")
KEEP_RESULTS_S = 7 * 86_400.0  # source: docs/maintainers/wire.md, "Serverless deployments"

# What can change under way, and what each may be, as on the command line (cli/sandbox.py).
CHANGEABLE: Mapping[str, Callable[[Any], bool]] = {
    "slots": _is_whole(1, 1_000_000),
    **dict.fromkeys(("seconds", "spread", "rate", "price", "cost_factor"), _is_number),
    "retry_after": lambda value: value in ("seconds", "date", "none"),
    "pricing_note": _is_text,
    "balance": lambda value: value is None or _is_number(value),
    "token": lambda value: value is None or _is_text(value),
    "dice_seed": _is_whole(-(2**63), 2**63),
    "picture_size": _is_whole(16, 8192),
    "picture_bytes": _is_whole(0, 2**30),
    "pictures": lambda value: value in ("drawn", "stamped"),
    **dict.fromkeys(("all_models", "cache", "errors_in_200"), _is_flag),
    **dict.fromkeys(("cold_start", "keep_results"), _is_number),
    "full_queue": lambda value: value in FULL_QUEUES,
}


@dataclass(frozen=True)
class SandboxOptions:
    """Every option of `batchgen sandbox`; the defaults are the command's.

    slots: requests that are generated at the same time.
    seconds, spread: mean generation time, and the sigma of its lognormal spread.
    rate: POSTs per second before a 429; 0 is no limit.
    price: USD of an output or a second, of models whose schema files name none.
    pricing_note: the catalogue's, of the same models. cost_factor: what is billed, by the price.
    retry_after: how a 429 says when to come back: "seconds", "date" or "none".
    balance: USD in the wallet before the ledger's first request; None is unlimited.
    token: the only token that is accepted; None takes any but the literal `refused`.
    dice: fault name -> probability; the dice are seeded with `dice_seed`.
    picture_size: the longer side, pixels. picture_bytes: PNG files are at least this large.
    pictures: "drawn" from the input, or one "stamped" with it, which costs next to nothing.
    idle_seconds: after so long an unused connection is closed.
    deployments: files, each with a deployment, beside the samples.
    cold_start: seconds until an instance of a deployment that was woken runs.
    full_queue: whether a deployment with too many requests "waits", or answers "429" or an "error".
    cache: whether a deployment's request that was made before has no outputs.
    errors_in_200: whether errors of deployments are answered with HTTP 200.
    keep_results: seconds for which a deployment's results are kept.
    """

    port: int = 0
    media_port: int = 0
    folder: Path | None = None
    exit_with_stdin: bool = False
    slots: int = 40
    seconds: float = 0.2
    spread: float = 0.3
    rate: float = 0.0
    retry_after: str = "seconds"
    price: float = 0.03
    pricing_note: str = ""
    cost_factor: float = 1.0
    balance: float | None = None
    token: str | None = None
    dice: Mapping[str, float] = field(default_factory=dict)
    dice_seed: int = 0
    schemas: tuple[Path, ...] = ()
    picture_size: int = 512
    picture_bytes: int = 0
    pictures: str = "drawn"
    idle_seconds: float = 5.0
    deployments: tuple[Path, ...] = ()
    cold_start: float = 0.0
    full_queue: str = "waits"
    cache: bool = True
    errors_in_200: bool = False
    keep_results: float = KEEP_RESULTS_S
    all_models: bool = False

    def changed(self, wanted: Mapping[str, Any]) -> "SandboxOptions":
        """Return the options with those in `wanted` changed.

        Raises ValueError for a name that does not exist or cannot change while it runs, and for a
        value that the command line would refuse.
        """
        if unknown := set(wanted) - CHANGEABLE.keys():
            raise ValueError(
                f"no such option: {', '.join(sorted(unknown))}; there are {sorted(CHANGEABLE)}"
            )
        for name, value in wanted.items():
            if not CHANGEABLE[name](value):
                raise ValueError(f"{name} cannot be {value!r}")
        return replace(self, **wanted)

    def shown(self) -> dict[str, Any]:
        """The options that can change, as JSON values."""
        return {name: value for name, value in asdict(self).items() if name in CHANGEABLE}
