"""What a sandbox is told at its start, and what of it can be changed while it runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# Where it listens and what it has loaded cannot change under way.
FIXED = frozenset(
    {"port", "media_port", "folder", "schemas", "dice", "idle_seconds", "exit_with_stdin"}
)


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
    all_models: bool = False

    def changed(self, wanted: Mapping[str, Any]) -> "SandboxOptions":
        """Return the options with those in `wanted` changed.

        Raises ValueError for a name that does not exist or cannot change while it runs.
        """
        changeable = {f.name for f in fields(self)} - FIXED
        if unknown := set(wanted) - changeable:
            raise ValueError(
                f"no such option: {', '.join(sorted(unknown))}; there are {sorted(changeable)}"
            )
        return replace(self, **wanted)

    def shown(self) -> dict[str, Any]:
        """The options that can change, as JSON values."""
        return {name: value for name, value in asdict(self).items() if name not in FIXED}
