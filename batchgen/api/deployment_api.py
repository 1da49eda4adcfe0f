"""RunComfy's serverless deployments as a `Service`. Source: docs/maintainers/wire.md.

A row is sent to `deployments/ID`, and its input has the inputs of nodes by `NODE.INPUT`, as
`6.text`. What it does not have stays as it is in the workflow: the deployment's own, or one of the
person's that is sent whole.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from batchgen.api.body import Body
from batchgen.api.client import ApiClient, Commit, OverClient
from batchgen.api.deployment_outcome import (
    as_of_a_model,
    classify_deployment_result,
    classify_inference,
    instance_of,
    is_token_refused,
    seconds_taken,
)
from batchgen.api.deployment_schema import MAX_OBJECT_INFO_BYTES, deployment_document
from batchgen.api.model_api import (
    MAX_PAGE_BYTES,
    ModelApi,
    cancel_request,
    poll_result,
    raise_if_refused,
    require_answer,
)
from batchgen.api.outputs import inline_content
from batchgen.api.poll_outcome import QUEUED_WORDS, Running
from batchgen.api.response import Response
from batchgen.api.service import Capabilities, PollResult
from batchgen.api.submit_outcome import HaltReason, SubmitOutcome, refusal_of_question
from batchgen.api.workflow_file import body
from batchgen.core.expiry import RESULTS_KEPT_S
from batchgen.core.targets import deployment_id
from batchgen.core.text import describe_error
from batchgen.errors import ServiceUnreachable, UsageError
from batchgen.log import warn
from batchgen.network.media_hosts import MediaHost, host_to_name, rejection_reason


class DeploymentApi(OverClient):
    """The API below `client`'s base, which ends in `/prod/v2`. To be entered and left.

    base: its address; "" where nobody knows it, and then every call raises UsageError.
    models: the same account's, which has the wallet. hosts: that a workflow's description may be
    fetched from beside the API itself, without the token. output_nodes: whose outputs are kept.
    node_classes: of a workflow of the person's own, which are to be described too.
    """

    capabilities = Capabilities(
        cancels_running=True,
        results_kept_s=RESULTS_KEPT_S,
        repeats_need_change=True,
        shape=body,
    )
    media_hosts = ModelApi.media_hosts

    def __init__(
        self,
        client: ApiClient,
        base: str,
        models: ModelApi,
        hosts: tuple[MediaHost, ...] = (),
        output_nodes: tuple[str, ...] = (),
        node_classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(client)
        self._base = base
        self._models = models
        self._output_nodes = output_nodes
        self._node_classes = node_classes
        self._hosts = (*self.media_hosts, *hosts)

    # -- requests --------------------------------------------------------------------------------

    async def submit(self, model: str, body: Body, commit: Commit) -> SubmitOutcome:
        path = f"{self._path(model)}/inference"
        return classify_inference(await self._client.post_once(path, body, commit))

    async def result(self, model: str, request_id: str) -> PollResult:
        # The status says `completed` of a request that failed, so the result alone is asked.
        response = await self._client.ask(f"{self._request_path(model, request_id)}/result")
        outcome = classify_deployment_result(response, request_id, self._output_nodes)
        if isinstance(outcome, Running) and outcome.api_status in QUEUED_WORDS:
            outcome = await self._with_position(model, request_id, outcome)
        return replace(
            poll_result(response, outcome),
            seconds=seconds_taken(response),
            instance=instance_of(response),
        )

    async def _with_position(self, model: str, request_id: str, waits: Running) -> Running:
        """Return the outcome with the position in the queue, which the status alone says."""
        if waits.queue_position is not None:
            return waits
        response = await self._client.ask(f"{self._request_path(model, request_id)}/status")
        found = classify_deployment_result(response, request_id)
        return replace(waits, queue_position=getattr(found, "queue_position", None))

    async def inline_output(self, model: str, request_id: str, n: int) -> bytes | None:
        response = await self._client.ask(f"{self._request_path(model, request_id)}/result")
        if response.status != 200 or not isinstance(response.body, dict):
            return None
        return inline_content(as_of_a_model(response.body), n)

    async def cancel(self, model: str, request_id: str) -> bool | None:
        return await cancel_request(
            self._client,
            self._request_path(model, request_id),
            "result",
            lambda response: classify_deployment_result(response, request_id),
        )

    async def refusal(self, model: str) -> HaltReason | None:
        response = await self._client.ask(self._path(model))
        if is_token_refused(response):
            return HaltReason.TOKEN
        return refusal_of_question(response)

    async def balance(self) -> float | None:
        """Return the USD in the wallet; None where nobody says."""
        return await self._models.balance()

    # -- deployments -----------------------------------------------------------------------------

    async def describe(self, model: str) -> dict[str, Any] | None:
        """Return what is known of a deployment, with the schema of its inputs; None without it.

        Raises ServiceUnreachable where no answer came, and TokenRefused.
        """
        response = await self._client.ask(f"{self._path(model)}?includes=payload")
        _require_usable(response, model)
        found = response.body
        if response.status != 200 or not isinstance(found, dict) or "id" not in found:
            return None
        payload = found.get("payload")
        url = payload.get("object_info_url") if isinstance(payload, dict) else None
        info = await self._object_info(url)
        return deployment_document(model, found, info, self._node_classes)

    async def list_deployments(self) -> list[dict[str, Any]]:
        """Return the deployments of the account. Raises as `describe`."""
        self._require_base()
        response = await self._client.ask("/deployments", max_bytes=MAX_PAGE_BYTES)
        _require_usable(response, "its deployments")
        if response.status != 200 or not isinstance(response.body, list):
            raise ServiceUnreachable("RunComfy gave no list of deployments.", "Try again later.")
        return [one for one in response.body if isinstance(one, dict)]

    async def _object_info(self, url: Any) -> Any:
        """Return ComfyUI's description of the nodes; None where it cannot be had.

        Where it is hosted is not known, so the token goes along to the API's own origin only.
        """
        if not isinstance(url, str) or not url:
            return None
        own = urlsplit(self._base)
        here = MediaHost(own.hostname or "", own.port)
        if why := rejection_reason(url, [here, *self._hosts]):
            named = host_to_name(url)
            remedy = f" To fetch it all the same, add --media-host {named}." if named else ""
            warn(f"What ranges and choices the nodes have is not fetched, since {why}.{remedy}")
            return None
        is_own = url.startswith(f"{own.scheme}://{own.netloc}/")
        response = await self._client.ask_url(
            url, max_bytes=MAX_OBJECT_INFO_BYTES, with_token=is_own
        )
        if response.status == 200 and isinstance(response.body, dict):
            return response.body
        why = describe_error(response.error) if response.error else f"answer {response.status}"
        warn(
            f"What ranges and choices the nodes have could not be fetched ({why}), so values are"
            " checked by their types alone."
        )
        return None

    def _require_base(self) -> None:
        if not self._base:
            raise UsageError(
                "Deployments are at another address than models, and beside a base URL of your own"
                " nobody knows which. Nothing was sent.",
                "Say it with --serverless-url URL, which ends in /prod/v2.",
            )

    def _path(self, model: str) -> str:
        """Return the path of a deployment below the base. Raises UsageError without a base."""
        self._require_base()
        return f"/deployments/{quote(deployment_id(model) or '', safe='')}"

    def _request_path(self, model: str, request_id: str) -> str:
        return f"{self._path(model)}/requests/{request_id}"


def _require_usable(response: Response, what: str) -> None:
    """Raise ServiceUnreachable if no answer came about `what`, TokenRefused if that is it."""
    require_answer(response, what)
    raise_if_refused(response, is_token_refused)
