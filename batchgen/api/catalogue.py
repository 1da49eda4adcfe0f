"""What a command asks the catalogue and the wallet before anything is paid for."""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from batchgen import event_loop
from batchgen.api.catalogue_price import parse_price
from batchgen.api.deployment_schema import (
    Conditions,
    conditions_of,
    describes_more,
    is_another,
)
from batchgen.api.endpoint import Endpoint
from batchgen.clock import to_iso
from batchgen.core.prices import Price
from batchgen.core.targets import DEPLOYMENTS, deployment_id
from batchgen.core.text import closest_match
from batchgen.core.timing import Timing
from batchgen.errors import ServiceUnreachable, TokenRefused
from batchgen.log import warn

if TYPE_CHECKING:
    from batchgen.api.runcomfy import RunComfy

T = TypeVar("T")


class Catalogue:
    """Asks with one client, which is opened for the first question. To be closed.

    A model is asked about once. A service that could not be reached is not asked again, since each
    try can take as long as a connection may.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timing: Timing,
        now: Callable[[], float] = time.time,
    ) -> None:
        """now: gives the seconds since the epoch."""
        self._endpoint = endpoint
        self._timing = timing
        self._now = now
        self._entries: dict[str, dict[str, Any] | None] = {}
        self._unreachable: ServiceUnreachable | None = None
        self._stack = ExitStack()
        self._client: tuple[asyncio.Runner, RunComfy] | None = None

    def close(self) -> None:
        """Close the client; another question opens it again."""
        self._client = None
        self._stack.close()

    def describe(self, model: str) -> dict[str, Any] | None:
        """Return a model's entry, which has its schema; None where there is no such model.

        Raises ServiceUnreachable where no answer came, and TokenRefused.
        """
        self._ask_about({model})
        return self._entries[model]

    def similar(self, model: str) -> str | None:
        """Return the id that was most likely meant by `model`; None if none is near or known."""

        async def ask(services: "RunComfy") -> str | None:
            if deployment_id(model) is not None:
                found = await services.deployments.list_deployments()
                return closest_match(model, (f"{DEPLOYMENTS}{one.get('id')}" for one in found))
            for part in dict.fromkeys(model.split("/")):
                page = await services.models.list_models(part, offset=0)
                ids = (str(one.get("model_id")) for one in page if isinstance(one, dict))
                if near := closest_match(model, ids):
                    return near
            return None

        with suppress(ServiceUnreachable, TokenRefused):
            return None if self._unreachable else self._answer(ask)
        return None

    def newer(self, model: str, stored: dict[str, Any]) -> dict[str, Any] | None:
        """Return the entry of a deployment whose workflow is another than in a stored document.

        Also where the stored one lacks nodes that are needed now. None for a model, whose schema a
        batch keeps, and where nobody can be asked.
        """
        if deployment_id(model) is None:
            return None
        with suppress(ServiceUnreachable, TokenRefused):
            found = self.describe(model)
            if found is None:
                return None
            if is_another(found, stored):
                warn(
                    f"{model}: its workflow has changed since"
                    f" {stored.get('fetched_at') or 'it was fetched'}: version"
                    f" {conditions_of(stored).version or '?'} then,"
                    f" {conditions_of(found).version or '?'} now. What was made stays as it is."
                )
                return found
            if describes_more(found, stored):
                return found
        return None

    def conditions(self, models: Iterable[str]) -> dict[str, Conditions]:
        """Return what holds now for rows of these, as far as they are deployments.

        Raises as `describe`.
        """
        wanted = [model for model in models if deployment_id(model) is not None]
        self._ask_about(wanted)
        return {model: conditions_of(self._entries[model]) for model in wanted}

    def price(self, model: str) -> Price | None:
        """Return what a model costs; None where that cannot be known. Raises as `describe`."""
        return parse_price(self.describe(model) or {}, to_iso(self._now()))

    def prices(self, models: Collection[str]) -> dict[str, Price | None]:
        """As `price`, of several models, which are asked about at the same time."""
        self._ask_about(models)
        return {model: self.price(model) for model in models}

    def balance(self) -> float | None:
        """Return the USD in the wallet; None where nobody says."""
        if self._unreachable is not None or not self._endpoint.services().models.knows_balance:
            return None
        return self._answer(lambda services: services.models.balance())

    def _ask_about(self, models: Collection[str]) -> None:
        missing = [model for model in models if model not in self._entries]
        if not missing:
            return
        if self._unreachable is not None:
            raise self._unreachable

        async def ask(services: "RunComfy") -> list[dict[str, Any] | None]:
            asking = [services.of(model).describe(model) for model in missing]
            found = await asyncio.gather(*asking, return_exceptions=True)
            for error in found:
                if isinstance(error, BaseException):
                    raise error
            return found  # type: ignore[return-value]  # what is left is no error

        try:
            self._entries |= zip(missing, self._answer(ask), strict=True)
        except ServiceUnreachable as error:
            self._unreachable = error
            raise

    def _answer(self, question: "Callable[[RunComfy], Coroutine[Any, Any, T]]") -> T:
        if self._client is None:
            runner = self._stack.enter_context(event_loop.started())
            services = runner.run(self._endpoint.services(self._timing).__aenter__())
            self._stack.callback(lambda: runner.run(services.__aexit__(None, None, None)))
            self._client = runner, services
        runner, services = self._client
        return runner.run(question(services))
