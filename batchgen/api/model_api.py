"""RunComfy's Model API as a `Service`. Source: docs/maintainers/wire.md."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from batchgen.api.body import Body
from batchgen.api.client import ApiClient, Commit, OverClient
from batchgen.api.outputs import inline_content, is_inline, without_content
from batchgen.api.poll_outcome import (
    Cancelled,
    Completed,
    PollOutcome,
    classify_cancel,
    classify_result,
    parse_balance,
)
from batchgen.api.response import Response
from batchgen.api.service import Capabilities, PollResult
from batchgen.api.submit_outcome import (
    HaltReason,
    SubmitOutcome,
    classify_submit,
    refusal_of_question,
    refuses_token,
)
from batchgen.core.expiry import RESULTS_KEPT_S
from batchgen.core.text import describe_error
from batchgen.errors import ServiceUnreachable, TokenRefused
from batchgen.network.media_hosts import MediaHost

MAX_KEPT_AS_IT_CAME = 1 << 16  # bytes
CATALOGUE_PAGE = 100  # models
MAX_PAGE_BYTES = 8 << 20  # a model of 80 KiB is a large one


class ModelApi(OverClient):
    """The API below `client`'s base, which ends in `/v1`. To be entered and left like its client.

    balance_url: of the wallet; None where nobody knows it.
    """

    capabilities = Capabilities(cancels_running=False, results_kept_s=RESULTS_KEPT_S)
    # Source: docs/maintainers/wire.md; the official command line refuses other hosts.
    media_hosts = (MediaHost(".runcomfy.net"), MediaHost(".runcomfy.com"))

    def __init__(self, client: ApiClient, balance_url: str | None = None) -> None:
        super().__init__(client)
        self._balance_url = balance_url

    # -- requests --------------------------------------------------------------------------------

    async def submit(self, model: str, body: Body, commit: Commit) -> SubmitOutcome:
        return classify_submit(await self._client.post_once(_model_path(model), body, commit))

    async def result(self, model: str, request_id: str) -> PollResult:
        # It answers with the state as long as there is no output, so nothing else is asked.
        response = await self._client.ask(f"/requests/{request_id}/result?include_cost=true")
        return poll_result(response, classify_result(response, request_id))

    async def inline_output(self, model: str, request_id: str, n: int) -> bytes | None:
        response = await self._client.ask(f"/requests/{request_id}/result")
        return inline_content(response.body, n) if response.status == 200 else None

    async def cancel(self, model: str, request_id: str) -> bool | None:
        return await cancel_request(
            self._client,
            f"/requests/{request_id}",
            "status",
            lambda response: classify_result(response, request_id),
        )

    async def refusal(self, model: str) -> HaltReason | None:
        return refusal_of_question(await self.ask_account(model))

    async def ask_account(self, model: str) -> Response:
        """Return the answer to a free question that needs the token."""
        # The balance needs a token whatever the catalogue does.
        if self._balance_url is None:
            return await self._client.ask(_model_path(model))
        return await self._client.ask_url(self._balance_url)

    # -- catalogue and wallet --------------------------------------------------------------------

    async def describe(self, model: str) -> dict[str, Any] | None:
        """Return the catalogue's entry of a model; None where it knows no such model.

        Raises ServiceUnreachable where no answer came, and TokenRefused.
        """
        response = await self._client.ask(_model_path(model))
        require_answer(response, model)
        raise_if_refused(response)
        found = response.body
        return found if response.status == 200 and isinstance(found, dict) else None

    async def list_models(self, search: str, offset: int) -> list[Any]:
        """Return a page of the catalogue's entries, from the `offset`-th on; empty at its end.

        Raises ServiceUnreachable where the answer is no such list, and TokenRefused.
        """
        query = urlencode({"search": search, "limit": CATALOGUE_PAGE, "offset": offset})
        response = await self._client.ask(f"/models?{query}", max_bytes=MAX_PAGE_BYTES)
        models = response.body.get("models") if isinstance(response.body, dict) else None
        if response.status == 200 and isinstance(models, list):
            return models[:CATALOGUE_PAGE]
        raise_if_refused(response)
        raise ServiceUnreachable(
            "RunComfy's catalogue gave no list of models.",
            "Name the model as its page does, and its schema with --schema.",
        )

    @property
    def knows_balance(self) -> bool:
        return self._balance_url is not None

    async def balance(self) -> float | None:
        """Return the USD in the wallet; None where nobody says."""
        if self._balance_url is None:
            return None
        return parse_balance(await self._client.ask_url(self._balance_url))


def _model_path(model: str) -> str:
    return f"/models/{quote(model, safe='/')}"


def poll_result(response: Response, outcome: PollOutcome) -> PollResult:
    """Return the answer to a question, which means `outcome`, as the engine takes it."""
    body = response.body
    model = body.get("model_id") if isinstance(body, dict) else None
    # Inline outputs become files; the journal is not for them, nor for anything of their size.
    inline = isinstance(outcome, Completed) and any(map(is_inline, outcome.urls))
    inline = inline or b";base64," in response.content  # it may repeat the input
    small = len(response.content) <= MAX_KEPT_AS_IT_CAME and not inline
    return PollResult(
        outcome,
        response.content.decode(errors="replace") if small else without_content(body),
        type(response.error).__name__ if response.status is None else "",
        model if isinstance(model, str) else None,
    )


async def cancel_request(
    client: ApiClient, path: str, state: str, classify: Callable[[Response], PollOutcome]
) -> bool | None:
    """Ask for a request below `path` to be cancelled; return what `Service.cancel` does.

    state: the endpoint that tells of a request. classify: says what that answers.
    """
    answer = classify_cancel(await client.ask(f"{path}/cancel", "POST"))
    if answer is None:  # the request's own state may say more
        response = await client.ask(f"{path}/{state}")
        if isinstance(classify(response), Cancelled):
            return True
    return answer


def require_answer(response: Response, what: str) -> None:
    """Raise ServiceUnreachable if no answer came to a free question about `what`."""
    if response.status is None:
        raise ServiceUnreachable(
            f"RunComfy cannot be reached and asked about {what}"
            f" ({describe_error(response.error)}). Nothing was sent.",
            "Run the same command again to go on.",
        )


def raise_if_refused(
    response: Response, refuses: Callable[[Response], bool] = refuses_token
) -> None:
    """Raise TokenRefused if that is what the answer to a free question says, by `refuses`."""
    if refuses(response):
        raise TokenRefused("RunComfy refused the token. Nothing was sent.", TokenRefused.ANOTHER)
