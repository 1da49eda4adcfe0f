"""Where settings come from: a flag beats the manifest, that the environment, that the default."""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from batchgen.errors import TokenRefused, UsageError
from batchgen.hosts import is_loopback
from batchgen.money import Limits

if TYPE_CHECKING:  # the readers of manifests are not needed to find a batch
    from batchgen.manifest import Settings

T = TypeVar("T")

DEFAULT_MODEL = "ideogram/ideogram-v2/generate"
DEFAULT_BASE = "https://model-api.runcomfy.net/v1"
DEFAULT_RATE = 1.0
DEFAULT_CONCURRENCY = 16
TOKEN_NAMES = ("RUNCOMFY_TOKEN", "RUNCOMFY_API_KEY", "RUNCOMFY_API_TOKEN", "YOUR_API_TOKEN")
BALANCE_PATH = "/prod/v2/balance"
BASE_NAME = "RUNCOMFY_MODEL_API_BASE"


@dataclass(frozen=True, slots=True)
class Flags:
    """The options of `run` as they were given; None and empty where they were not."""

    out: Path | None = None
    rate: float | None = None
    concurrency: int | None = None
    limit: int | None = None
    max_cost: float | None = None
    max_cost_per_day: float | None = None
    max_cost_per_month: float | None = None
    max_time: float | None = None
    until: time | None = None
    retry_failed: bool = False
    on_unknown: str = "hold"
    skip_invalid: bool = False
    new_list: bool = False
    model: str | None = None
    schema: Path | None = None
    allow_path: tuple[Path, ...] = ()
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    meta: tuple[str, ...] = ()
    base_url: str | None = None
    media_hosts: tuple[str, ...] = ()
    sandbox: bool = False
    no_provenance: bool = False
    sidecars: bool = False
    no_thumbnails: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """What holds for a run after the merge. rate: POSTs per second; stop_after: seconds."""

    model: str
    schema: Path | None
    rate: float
    concurrency: int
    limit: int | None
    limits: Limits
    price: float | None
    prices: Mapping[str, float]
    stop_after: float | None
    until: float | None = None  # the same as seconds since the epoch: a computer may sleep


def merged(flags: Flags, settings: "Settings", manifest: Path | None, now: datetime) -> Config:
    """now: local time without a zone, for --until, the next time that clocks here show that."""
    ends = [_first(flags.max_time, settings.max_time)]
    until = flags.until or settings.until
    ends_at = None
    if until is not None:
        ends.append(seconds_until(until, now))
        ends_at = now.timestamp() + seconds_until(until, now)
    schema = flags.schema
    if schema is None and settings.schema is not None:
        folder = manifest.parent if manifest is not None else Path()
        schema = folder / settings.schema
    return Config(
        model=flags.model or settings.model or DEFAULT_MODEL,
        schema=schema,
        rate=flags.rate or settings.rate or DEFAULT_RATE,
        concurrency=flags.concurrency or settings.concurrency or DEFAULT_CONCURRENCY,
        limit=_first(flags.limit, settings.limit),
        limits=Limits(
            _first(flags.max_cost, settings.max_cost),
            _first(flags.max_cost_per_day, settings.max_cost_per_day),
            _first(flags.max_cost_per_month, settings.max_cost_per_month),
        ),
        price=settings.price,
        prices=settings.prices,
        stop_after=min((end for end in ends if end is not None), default=None),
        until=ends_at,
    )


def _first(flag: T | None, setting: T | None) -> T | None:
    return flag if flag is not None else setting


def seconds_until(until: time, now: datetime) -> float:
    """Return the seconds from `now` to the next time that local clocks show `until`."""
    then = now.replace(hour=until.hour, minute=until.minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return then.timestamp() - now.timestamp()


def default_out(manifest: str) -> Path:
    """The output folder of a manifest that names none: `out/<stem>` under the current folder."""
    stem = Path(manifest).resolve().stem if manifest != "-" else "stdin"
    return Path("out") / (stem or "batch")


def base_url(option: str | None, environment: Mapping[str, str]) -> str:
    """The API's base, without a slash at its end. Raises UsageError."""
    base = (option or environment.get(BASE_NAME) or DEFAULT_BASE).strip().rstrip("/")
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{base!r} is no URL.", "It looks like " + DEFAULT_BASE) from None
    if not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"{base!r} cannot be the API's base.", "It looks like " + DEFAULT_BASE)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise UsageError(
            f"{base!r} is not https, so your token would travel in the open.",
            "Only a server on this computer may be http.",
        )
    if not parts.path.endswith("/v1"):
        raise UsageError(f"{base!r} does not end in /v1.", f"Did you mean {base}/v1?")
    return base


def balance_url(base: str) -> str | None:
    """Where the wallet of the API at `base` is; None where that cannot be known.

    Source: api.md. Beside the sandbox's API stands its own.
    """
    if base == DEFAULT_BASE:
        return "https://api.runcomfy.net/prod/v2/balance"
    parts = urlsplit(base)
    return (
        f"{parts.scheme}://{parts.netloc}{BALANCE_PATH}"
        if is_loopback(parts.hostname or "")
        else None
    )


def token(environment: Mapping[str, str]) -> str:
    """Return the first token found. Raises TokenRefused; never with the token in its text.

    Source: api.md, the names that RunComfy's documents and programs use.
    """
    for name in TOKEN_NAMES:
        if environment.get(name):
            return _usable(environment[name], name)
    path = token_file(environment)
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("access_token")
    except FileNotFoundError:
        found = None
    except (OSError, ValueError, AttributeError):
        raise TokenRefused(
            f"{path} cannot be read as a token file.",
            "Run `runcomfy login`, or set RUNCOMFY_TOKEN.",
        ) from None
    if isinstance(found, str) and found:
        return _usable(found, str(path))
    raise TokenRefused(
        f"There is no token: {', '.join(TOKEN_NAMES)} are not set and {path} has none."
        " Nothing was sent.",
        "Get one from your RunComfy profile, then: export RUNCOMFY_TOKEN=…\n"
        "To try batchgen without an account, add --sandbox.",
    )


def _usable(found: str, where: str) -> str:
    # A header takes printable ASCII only, and httpx's complaint about anything else shows it.
    if not re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]+", found):
        raise TokenRefused(
            f"The token in {where} holds a space, a line break or a quotation mark that no token"
            " has. Nothing was sent.",
            "Copy it again, without anything around it.",
        )
    return found


def token_file(environment: Mapping[str, str]) -> Path:
    """Where `runcomfy login` keeps its token."""
    if folder := environment.get("RUNCOMFY_CONFIG_DIR"):
        return Path(folder) / "token.json"
    home = environment.get("XDG_CONFIG_HOME")
    folder_of_all = Path(home) if home else Path("~/.config").expanduser()
    return folder_of_all / "runcomfy" / "token.json"


def token_file_is_open(environment: Mapping[str, str]) -> bool:
    """Whether others on this computer can read the token file that would be used."""
    if any(environment.get(name) for name in TOKEN_NAMES):
        return False
    try:
        return bool(token_file(environment).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
