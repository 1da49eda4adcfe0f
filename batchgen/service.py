"""Where a batch's API is and how to get in: the real one, or the sandbox of a rehearsal."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen import config, event_loop
from batchgen.answers import Stop, after_submit
from batchgen.api import Api
from batchgen.config import Flags
from batchgen.errors import ServiceUnreachable, TokenRefused, UsageError
from batchgen.findings import balance_of
from batchgen.folder import Folder
from batchgen.hosts import MediaHost, media_host
from batchgen.journal import Journal
from batchgen.reply import Reply, describe
from batchgen.sharing import turn_file

log = logging.getLogger("batchgen")


@dataclass(frozen=True, slots=True)
class Service:
    """Where the API is and how to get in. use_proxy: whether the environment's proxies apply.

    turn_file: where all batches of the account on this computer keep their next turn; None if the
        account has no other.
    """

    base: str
    token: str
    media_hosts: tuple[MediaHost, ...]
    use_proxy: bool = True
    turn_file: Path | None = None

    def api(self) -> Api:
        return Api(self.base, self.token, self.use_proxy)


def service(flags: Flags) -> Service:
    """Raises UsageError or TokenRefused."""
    try:
        hosts = tuple(media_host(text) for text in flags.media_hosts)
    except ValueError as error:
        raise UsageError(f"--media-host: {error}.") from None
    base = config.base_url(flags.base_url, os.environ)
    token = config.token(os.environ)
    if config.token_file_is_open(os.environ):
        path = config.token_file(os.environ)
        log.warning("%s can be read by others on this computer: chmod 600 %s", path, path)
    # What is not https stays on this computer: a proxy would read the token.
    turns = turn_file(os.environ, base, token)
    return Service(base, token, hosts, use_proxy=base.startswith("https:"), turn_file=turns)


@contextmanager
def rehearsal(folder: Folder, schema: Path | None) -> Iterator[Service]:
    """Start the sandbox for the length of the block; its requests stay in the batch folder."""
    from batchgen import sandbox

    options = ["--schema", str(schema)] if schema is not None else []
    with sandbox.started(folder.sandbox, options=options) as address:
        hosts = (media_host(address.media_host),)
        yield Service(address.base_url, "sandbox", hosts, use_proxy=False)


@contextmanager
def reached(journal: Journal, folder: Folder, flags: Flags) -> Iterator[Service]:
    """The API that a batch's requests went to: its own sandbox, or the real one.

    Raises as `service` does.
    """
    if journal.remembered("sandbox"):
        with rehearsal(folder, None) as where:
            yield where
    else:
        yield service(flags)


def catalogue(service: Service) -> Callable[[str], dict[str, Any] | None]:
    """Return what asks the API about a model, once, and gives None where it knows no such model.

    It raises ServiceUnreachable where no answer came, and TokenRefused.
    """

    async def ask(model: str) -> Reply:
        async with service.api() as api:
            return await api.model(model)

    def fetch(model: str) -> dict[str, Any] | None:
        reply = event_loop.run(ask(model))
        if reply.status is None:
            raise ServiceUnreachable(
                f"RunComfy cannot be reached and asked about {model} ({describe(reply.error)})."
                " Nothing was sent.",
                "Run the same command again to go on.",
            )
        refuse_token(reply)
        found = reply.json()
        return found if reply.status == 200 and isinstance(found, dict) else None

    return fetch


def refuse_token(reply: Reply) -> None:
    """Raise TokenRefused if that is what an answer to a free question says."""
    if reply.status is not None and after_submit(reply, 0.0).stop is Stop.TOKEN:
        raise TokenRefused(
            "RunComfy refused the token. Nothing was sent.",
            TokenRefused.ANOTHER,
        )


def warn_of_balance(where: Service, cost_of_all: Callable[[], float]) -> None:
    """Say now that the money will not last; where nobody knows the balance, say nothing.

    cost_of_all: USD of the pending rows.
    """
    url = config.balance_url(where.base)
    cost = 0.0 if url is None else cost_of_all()
    if not cost or url is None:
        return

    async def ask() -> Reply:
        async with where.api() as api:
            return await api.balance(url)

    balance = balance_of(event_loop.run(ask()))
    if balance is not None and balance < cost:
        log.warning(
            "The balance is $%.2f and the pending rows cost about $%.2f: the run stops when it is"
            " used up.",
            balance,
            cost,
        )
