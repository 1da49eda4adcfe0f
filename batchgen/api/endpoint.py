"""Where a batch's services are, and what opens them."""

import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batchgen import event_loop
from batchgen.api import credentials
from batchgen.config import RunOptions
from batchgen.core.text import shell_quote
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.errors import UsageError
from batchgen.files import state_folder
from batchgen.network.media_hosts import MediaHost, parse_media_host

if TYPE_CHECKING:
    from batchgen.api.runcomfy import RunComfy

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is and what opens it.

    base: of the Model API, without a slash at its end. serverless: of the deployments' API; "" is
        the one beside `base`, as far as that is known. output_nodes: of a workflow, whose outputs
        are kept; none is all. node_classes: of a workflow of the person's own, to be described.
    media_hosts: those that the person named.
    use_proxy: whether the environment's proxies apply.
    account: tells the accounts apart to which requests are sent, and is no secret; "" for one that
        no other batch has.
    shared_rate_file: where all batches of the account on this computer keep when the next request
        may go; None for an account that no other batch has.
    """

    base: str
    token: str
    media_hosts: tuple[MediaHost, ...]
    use_proxy: bool = True
    account: str = ""
    shared_rate_file: Path | None = None
    serverless: str = ""
    output_nodes: tuple[str, ...] = ()
    node_classes: tuple[str, ...] = ()

    def services(
        self, timing: Timing = DEFAULT_TIMING, now: Callable[[], float] = time.time
    ) -> "RunComfy":
        """now: gives the seconds since the epoch."""
        # Here, so that nothing loads aiohttp that asks nobody, as a plan without a token.
        from batchgen.api.client import ApiClient
        from batchgen.api.deployment_api import DeploymentApi
        from batchgen.api.model_api import ModelApi
        from batchgen.api.runcomfy import RunComfy

        base = self.serverless or credentials.serverless_url(self.base) or ""

        def client(base: str) -> ApiClient:
            return ApiClient(base, self.token, self.use_proxy, timing, now)

        models = ModelApi(client(self.base), credentials.balance_url(self.base))
        own = DeploymentApi(
            *(client(base), base, models, self.media_hosts, self.output_nodes, self.node_classes)
        )
        return RunComfy(models, own)

    def ask(self, question: "Callable[[RunComfy], Awaitable[T]]", timing: Timing) -> T:
        """Return the answer to a question, over a connection that is closed afterwards."""

        async def open_and_ask() -> T:
            async with self.services(timing) as services:
                return await question(services)

        return event_loop.run(open_and_ask())

    def download_hosts(self) -> tuple[MediaHost, ...]:
        """Return the hosts of outputs: those of the services, and those that the person named."""
        from batchgen.api.deployment_api import DeploymentApi
        from batchgen.api.model_api import ModelApi

        own = (*ModelApi.media_hosts, *DeploymentApi.media_hosts)
        return (*dict.fromkeys((*own, *self.media_hosts)),)


def find_endpoint(options: RunOptions) -> Endpoint:
    """Return the endpoint that the options name. Raises UsageError or TokenRefused."""
    try:
        hosts = tuple(parse_media_host(text) for text in options.media_hosts)
    except ValueError as error:
        raise UsageError(f"--media-host: {error}.") from None
    base = credentials.check_base_url(options.base_url)
    serverless = ""
    if options.serverless_url:
        serverless = credentials.check_base_url(options.serverless_url, credentials.SERVERLESS)
    token = credentials.find_token(os.environ)
    path = credentials.token_file(os.environ)
    if path is not None and credentials.token_file_is_readable_by_others(os.environ):
        command = f"chmod 600 {shell_quote(str(path))}"
        log.warning("%s can be read by others on this computer: %s", path, command)
    # What is not https stays on this computer: a proxy would read the token.
    shared = shared_rate_file(os.environ, base, token)
    account = account_name(base, token)
    return Endpoint(base, token, hosts, base.startswith("https:"), account, shared, serverless)


def account_name(base: str, token: str) -> str:
    """Return what tells accounts apart, in which the token cannot be read."""
    return hashlib.sha256(f"{base}\n{token}".encode()).hexdigest()[:32]


def shared_rate_file(environment: Mapping[str, str], base: str, token: str) -> Path | None:
    """Return the file in which an account's batches share their rate.

    It is below $XDG_STATE_HOME, else ~/.local/state; None where there is no home. The token is not
    in it, nor in its name.
    """
    folder = state_folder(environment)
    if folder is None:
        log.info(
            "There is no home folder, so the rate is not shared with other batches of this"
            " account. XDG_STATE_HOME names a folder for that."
        )
        return None
    return folder / account_name(base, token)
