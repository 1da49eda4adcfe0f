"""Where a batch's API is and how to get in: the real one, or the sandbox of a rehearsal."""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchgen.api import credentials
from batchgen.api.client import ApiClient
from batchgen.config import RunOptions
from batchgen.errors import UsageError
from batchgen.network.media_hosts import MediaHost, parse_media_host

log = logging.getLogger("batchgen")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the API is and how to get in. use_proxy: whether the environment's proxies apply.

    turn_file: where all batches of the account on this computer keep their next turn; None if the
        account has no other.
    """

    base: str
    token: str
    media_hosts: tuple[MediaHost, ...]
    use_proxy: bool = True
    turn_file: Path | None = None

    def api(self) -> ApiClient:
        return ApiClient(self.base, self.token, self.use_proxy)


def find_endpoint(options: RunOptions) -> Endpoint:
    """Raises UsageError or TokenRefused."""
    try:
        hosts = tuple(parse_media_host(text) for text in options.media_hosts)
    except ValueError as error:
        raise UsageError(f"--media-host: {error}.") from None
    base = credentials.check_base_url(options.base_url)
    token = credentials.find_token(os.environ)
    if credentials.token_file_is_readable_by_others(os.environ):
        path = credentials.token_file(os.environ)
        log.warning("%s can be read by others on this computer: chmod 600 %s", path, path)
    # What is not https stays on this computer: a proxy would read the token.
    turns = shared_rate_file(os.environ, base, token)
    return Endpoint(base, token, hosts, use_proxy=base.startswith("https:"), turn_file=turns)


def shared_rate_file(environment: Mapping[str, str], base: str, token: str) -> Path:
    """Where the account's next time is kept: below $XDG_STATE_HOME or ~/.local/state."""
    state = environment.get("XDG_STATE_HOME")
    folder = Path(state) if state else Path.home() / ".local" / "state"
    account = hashlib.sha256(f"{base}\n{token}".encode()).hexdigest()[:32]
    return folder / "batchgen" / account
