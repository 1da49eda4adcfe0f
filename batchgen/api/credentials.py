"""What a base URL of the API has to be, and the token, from environment or token file."""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from batchgen.config import DEFAULT_BASE_URL
from batchgen.errors import TokenRefused, UsageError
from batchgen.files import open_regular, user_folder
from batchgen.network.media_hosts import is_loopback

TOKEN_VARIABLES = ("RUNCOMFY_TOKEN", "RUNCOMFY_API_KEY", "RUNCOMFY_API_TOKEN", "YOUR_API_TOKEN")
BALANCE_PATH = "/prod/v2/balance"


def check_base_url(text: str) -> str:
    """Return the API's base without a slash at its end. Raises UsageError if it cannot be one."""
    base = text.strip().rstrip("/")
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{base!r} is no URL.", "It looks like " + DEFAULT_BASE_URL) from None
    if not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"{base!r} cannot be the API's base.", "It looks like " + DEFAULT_BASE_URL)
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

    Source: docs/maintainers/wire.md. Beside the sandbox's API stands its own.
    """
    if base == DEFAULT_BASE_URL:
        return f"https://api.runcomfy.net{BALANCE_PATH}"
    parts = urlsplit(base)
    if not is_loopback(parts.hostname or ""):
        return None
    return f"{parts.scheme}://{parts.netloc}{BALANCE_PATH}"


def find_token(environment: Mapping[str, str]) -> str:
    """Return the first token found. Raises TokenRefused; never with the token in its text.

    Source: docs/maintainers/wire.md, the names that RunComfy's documents and programs use.
    """
    for name in TOKEN_VARIABLES:
        if environment.get(name):
            return _checked_token(environment[name], name)
    path = token_file(environment)
    try:
        found = None
        if path is not None:
            with open_regular(path) as file:
                found = json.load(file).get("access_token")
    except FileNotFoundError:
        pass
    except (OSError, ValueError, AttributeError):
        raise TokenRefused(
            f"{path} cannot be read as a token file.",
            "Run `runcomfy login`, or set RUNCOMFY_TOKEN.",
        ) from None
    if isinstance(found, str) and found:
        return _checked_token(found, str(path))
    where = "there is no home folder with a token file" if path is None else f"{path} has none"
    raise TokenRefused(
        f"There is no token: {', '.join(TOKEN_VARIABLES)} are not set and {where}."
        " Nothing was sent.",
        "Get one from your RunComfy profile, then: export RUNCOMFY_TOKEN=…\n"
        "cron does not read what a shell exports: write the line RUNCOMFY_TOKEN=… at the top of the"
        " crontab (crontab -e), or log in once with `runcomfy login`, which writes that file.\n"
        "To try batchgen without an account, add --sandbox.",
    )


def _checked_token(found: str, where: str) -> str:
    # A header takes printable ASCII only, and httpx's complaint about anything else shows it.
    if not re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]+", found):
        raise TokenRefused(
            f"The token in {where} holds a space, a line break or a quotation mark that no token"
            " has. Nothing was sent.",
            "Copy it again, without anything around it.",
        )
    return found


def token_file(environment: Mapping[str, str]) -> Path | None:
    """Where `runcomfy login` keeps its token; None where there is no home for it."""
    if folder := environment.get("RUNCOMFY_CONFIG_DIR"):
        return Path(folder) / "token.json"
    folder_of_all = user_folder(environment, "XDG_CONFIG_HOME", ".config")
    return folder_of_all and folder_of_all / "runcomfy" / "token.json"


def token_file_is_readable_by_others(environment: Mapping[str, str]) -> bool:
    """Whether others on this computer can read the token file that would be used."""
    path = token_file(environment)
    if path is None or any(environment.get(name) for name in TOKEN_VARIABLES):
        return False
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
