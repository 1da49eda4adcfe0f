"""What a base URL of the API has to be, and the token: where it is found, kept and removed.

The first of these that has one: the environment, the file of `batchgen login`, that of `runcomfy
login`, which is read and never written.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from batchgen.config import DEFAULT_BASE_URL, TOKEN_VARIABLES
from batchgen.core.text import shell_quote
from batchgen.errors import TokenRefused, UsageError
from batchgen.files import config_folder, open_regular, sync_folder, write_whole
from batchgen.log import secrets
from batchgen.network.media_hosts import is_loopback

MODELS = "/v1"  # how the path of the API of models ends
SERVERLESS = "/prod/v2"  # and that of deployments
SERVERLESS_ORIGIN = "https://api.runcomfy.net"
MAX_TOKEN_BYTES = 1 << 16


def check_base_url(text: str, ending: str = MODELS) -> str:
    """Return the API's base without a slash at its end. Raises UsageError if it cannot be one.

    ending: MODELS or SERVERLESS.
    """
    base = text.strip().rstrip("/")
    usual = DEFAULT_BASE_URL if ending == MODELS else f"{SERVERLESS_ORIGIN}{SERVERLESS}"
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{base!r} is no URL.", "It looks like " + usual) from None
    if not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"{base!r} cannot be the API's base.", "It looks like " + usual)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise UsageError(
            f"{base!r} is not https, so your token would travel in the open.",
            "Only a server on this computer may be http.",
        )
    if not parts.path.endswith(ending):
        raise UsageError(f"{base!r} does not end in {ending}.", f"Did you mean {base}{ending}?")
    return base


def serverless_url(base: str) -> str | None:
    """Where the deployments of the API at `base` are; None where that cannot be known.

    Source: docs/maintainers/wire.md. Beside the sandbox's API stands its own.
    """
    if base == DEFAULT_BASE_URL:
        return f"{SERVERLESS_ORIGIN}{SERVERLESS}"
    parts = urlsplit(base)
    if not is_loopback(parts.hostname or ""):
        return None
    return f"{parts.scheme}://{parts.netloc}{SERVERLESS}"


def balance_url(base: str) -> str | None:
    """Where the wallet of the API at `base` is; None where that cannot be known."""
    found = serverless_url(base)
    return found and f"{found}/balance"


def find_token(environment: Mapping[str, str]) -> str:
    """Return the first token found. Raises TokenRefused; never with the token in its text.

    Source: docs/maintainers/wire.md, the names that RunComfy's documents and programs use.
    """
    return locate_token(environment)[0]


def locate_token(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the first token found, and the variable or file that has it. As `find_token`."""
    for name in TOKEN_VARIABLES:
        if environment.get(name):
            return check_token(environment[name], name), name
    own, of_runcomfy = own_token_file(environment), token_file(environment)
    if own is not None and (stored := _read_own(own)):
        return check_token(stored, str(own)), str(own)
    if of_runcomfy is not None and (logged_in := _read_runcomfys(of_runcomfy)):
        return check_token(logged_in, str(of_runcomfy)), str(of_runcomfy)
    files = " and ".join(str(path) for path in (own, of_runcomfy) if path is not None)
    where = f"there is none in {files}" if files else "there is no home folder with a token file"
    raise TokenRefused(
        f"There is no token: {', '.join(TOKEN_VARIABLES)} are not set and {where}."
        " Nothing was sent.",
        "Get one from your RunComfy profile, then store it: batchgen login\n"
        f"{TokenRefused.FOR_CRON}\n"
        "To try batchgen without an account: batchgen run LIST --sandbox",
    )


def _read_own(path: Path) -> str:
    """Return what `batchgen login` stored, "" where it stored nothing. Raises TokenRefused.

    As OpenSSH does with a private key, a file that others can read is refused: whoever reads it can
    spend the account's money.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise TokenRefused(
                    f"{path} can be read by others on this computer, so the token in it is not"
                    " used. Nothing was sent.",
                    f"chmod 600 {shell_quote(str(path))}\n"
                    "If others may have read it, make a new token in your RunComfy profile first,"
                    " and store that: batchgen login",
                )
            return file.read(MAX_TOKEN_BYTES).decode().removesuffix("\n")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        raise TokenRefused(
            f"{path} cannot be read as a token file. Nothing was sent.",
            "Store the token again: batchgen login",
        ) from None


def _read_runcomfys(path: Path) -> str:
    """Return what `runcomfy login` stored, "" where it stored nothing. Raises TokenRefused."""
    try:
        with open_regular(path) as file:
            found = json.load(file).get("access_token")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError):
        raise TokenRefused(
            f"{path} cannot be read as a token file.",
            "Store a token with batchgen login, which is found first, or run `runcomfy login`.",
        ) from None
    return found if isinstance(found, str) else ""


def check_token(found: str, where: str) -> str:
    """Return a token as it is. Raises TokenRefused, without showing it, if no header takes it.

    where: it stands.
    """
    # A header takes printable ASCII only, and httpx's complaint about anything else shows it.
    if not re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]+", found):
        raise TokenRefused(
            f"The token in {where} holds a space, a line break or a quotation mark that no token"
            " has. Nothing was sent.",
            "Copy it again, without anything around it.",
        )
    secrets.keep(found)
    return found


def own_token_file(environment: Mapping[str, str]) -> Path | None:
    """Where `batchgen login` keeps the token; None where there is no home for it."""
    folder = config_folder(environment)
    return folder and folder / "batchgen" / "token"


def token_file(environment: Mapping[str, str]) -> Path | None:
    """Where `runcomfy login` keeps its token; None where there is no home for it."""
    if folder := environment.get("RUNCOMFY_CONFIG_DIR"):
        return Path(folder) / "token.json"
    folder_of_all = config_folder(environment)
    return folder_of_all and folder_of_all / "runcomfy" / "token.json"


def token_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Every file that can hold the token, in the order in which they are asked."""
    files = own_token_file(environment), token_file(environment)
    return tuple(path for path in files if path is not None)


def token_file_is_readable_by_others(environment: Mapping[str, str]) -> bool:
    """Whether others on this computer can read RunComfy's token file, if that would be used."""
    path, own = token_file(environment), own_token_file(environment)
    if path is None or any(environment.get(name) for name in TOKEN_VARIABLES):
        return False
    if own is not None and own.exists():
        return False
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def store_token(environment: Mapping[str, str], token: str) -> Path:
    """Keep a token in batchgen's own configuration folder; return its file, of mode 0600.

    Raises TokenRefused if no header takes it, UsageError where there is no place, OSError.
    """
    check_token(token, "what you typed or piped in")
    path = _own_token_file(environment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    with write_whole(path) as file:
        file.write(f"{token}\n")
    return path


def remove_token(environment: Mapping[str, str]) -> Path | None:
    """Remove what `store_token` kept; return where it was, None if there was nothing.

    Raises UsageError where there is no place, OSError.
    """
    path = _own_token_file(environment)
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    sync_folder(path.parent)
    return path


def _own_token_file(environment: Mapping[str, str]) -> Path:
    path = own_token_file(environment)
    if path is None:
        what = "There is no home folder to keep a token in."
        raise UsageError(what, "Set HOME, or XDG_CONFIG_HOME to a folder of yours.")
    if path.parent.is_symlink():
        raise UsageError(
            f"{path.parent} is a link, and no token is written through links.",
            "Put a folder in its place, or set XDG_CONFIG_HOME to another one.",
        )
    return path
