"""The API of deployments: what it does not have in common with the Model API."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from batchgen.sandbox.data_uris import file_problems
from batchgen.sandbox.deployments.catalogue import Deployment
from batchgen.sandbox.deployments.workflow import (
    OutputFile,
    Workflow,
    all_texts,
    effective_workflow,
    output_files,
    output_texts,
    prompt_of,
    size_of,
)
from batchgen.sandbox.errors import error_body
from batchgen.sandbox.ledger import DEPLOYMENTS_PREFIX, LedgerRow, LedgerWork, canonical_input
from batchgen.sandbox.media import MediaFormat
from batchgen.sandbox.outcomes import inline_picture, shared_outcomes
from batchgen.sandbox.service import Outcome, PollAnswer, Refusal, Terms
from batchgen.sandbox.state import SandboxState, sha256, timestamp

NO_DEPLOYMENT = 404, error_body(404001, "Not Found: the deployment or request does not exist")
NO_FUNDS = 400, error_body(10001, "InsufficientFunds: the deployment is disabled")
DISABLED = 400, error_body(10002, "DeploymentDisabled: enable the deployment")
DELETED = 400, error_body(10003, "DeploymentDeleted: the deployment is gone")
BAD_TOKEN = 401, error_body(401001, "Unauthorized: API token missing, invalid or expired")
FORBIDDEN = 403, error_body(403003, "Forbidden: not your deployment or request")
FULL = 429, error_body(429001, "TooManyRequests: the queue of the deployment is full")
# The Model API's error code -> this API's answer
ERRORS = {400001: NO_DEPLOYMENT, 404001: NO_DEPLOYMENT, 400002: NO_FUNDS, 400004: BAD_TOKEN}
ERRORS[403001] = FORBIDDEN
OBJECT_INFO = "/object_info/"  # before an id and `.json`
WORDS = {"completed": "succeeded", "cancelled": "canceled"}


def first_file(answer: PollAnswer) -> tuple[str, str, dict[str, Any]]:
    """Return node, field and entry of the first file that is a result, not a preview."""
    return next(
        (node, field, file)
        for node, fields in answer["outputs"].items()
        for field, files in fields.items()
        for file in files
        if field != "text" and file["type"] == "output"
    )


def first_url(answer: PollAnswer) -> str:
    return str(first_file(answer)[2]["url"])


def with_url(answer: PollAnswer, url: Any) -> PollAnswer:
    """The first file, under another URL, as the only one."""
    node, field, file = first_file(answer)
    return answer | {"outputs": {node: {field: [file | {"url": url}]}}}


def failed(answer: PollAnswer, value: Any) -> PollAnswer:
    error = {"errorCode": 500001, "error": value, "debugInfo": "node 31, KSampler"}
    return answer | {"status": "failed", "outputs": {}, "error": [error]}


def input_shown(answer: PollAnswer, value: Any) -> PollAnswer:
    """A file of the input beside the outputs; value: its URL."""
    file = {"url": value, "filename": "heron.png", "subfolder": "", "type": "input"}
    return answer | {"outputs": {"12": {"images": [file]}, **answer["outputs"]}}


def bare(answer: PollAnswer, output: Any) -> PollAnswer:
    """`output` in place of `outputs`, as deployments of a LoRA answer."""
    return {name: value for name, value in answer.items() if name != "outputs"} | {"output": output}


OUTCOMES: Mapping[str, Outcome] = {
    **shared_outcomes(first_url, with_url),
    "failed": failed,
    "canceled": lambda answer, value: answer | {"status": "canceled", "outputs": {}},
    "empty-result": lambda answer, value: answer | {"outputs": {}},
    "null-output": lambda answer, value: answer | {"outputs": None},
    "bare-url": lambda answer, value: bare(answer, first_url(answer)),
    "bare-list": lambda answer, value: bare(answer, [first_url(answer)]),
    "inline-base64": lambda answer, value: (
        answer | {"outputs": {"9": {"images": [{"b64_json": inline_picture(value)}]}}}
    ),
    "echo": input_shown,
    # Whether a result has a cost is not known.
    "cost": lambda answer, value: answer | {"cost": value},
}


class DeploymentService:
    """See `Service`. A target is a Deployment."""

    prefix = DEPLOYMENTS_PREFIX
    outcomes = OUTCOMES
    outcomes_in_status = frozenset({"canceled"})
    cancelled_status = 202
    position_in_result = False

    def find(self, state: SandboxState, subject: str) -> Deployment | None:
        return state.deployment(subject)

    def refusal(
        self, state: SandboxState, target: Deployment, given: dict[str, Any]
    ) -> Refusal | None:
        if target.is_deleted:
            return Refusal(*DELETED)
        if state.left is not None and state.left <= 0:
            for id in [*state.deployments]:
                state.change_deployment(id, {"is_enabled": False})
            return Refusal(*NO_FUNDS)
        if not target.is_enabled:
            return Refusal(*DISABLED)
        if detail := target.problems(given) or file_problems(given):
            return Refusal(422, {"detail": detail})
        state.settle(time.time())  # or it would be full until somebody asks about a request
        queue = state.queue_of(self.prefix + target.id)
        if state.options.full_queue != "waits" and len(queue.tickets) >= target.queue_limit:
            state.counts["throttled"] += 1
            status, body = FULL
            return Refusal(200 if state.options.full_queue == "error" else status, body)
        return None

    def terms(self, state: SandboxState, target: Deployment, given: dict[str, Any]) -> Terms:
        workflow = canonical_input(effective_workflow(target.workflow, given))
        repeats = state.options.cache and state.ledger.was_done(
            target.id, sha256(workflow.encode())
        )
        return Terms(0.0, workflow, repeats)

    def worded(self, state: SandboxState, status: int, body: Any) -> tuple[int, Any]:
        if not isinstance(body, dict):
            return status, body
        status, body = ERRORS.get(body.get("error_code", 0), (status, body))
        if status == 422:
            body = error_body(422001, "Validation Error") | body
        return (200 if state.options.errors_in_200 and "error_code" in body else status), body

    def text(self, given: dict[str, Any]) -> str:
        return all_texts(given)

    def urls(self, state: SandboxState, row: LedgerRow) -> dict[str, str]:
        """Every second request's URLs name v1, as the real ones may."""
        base = f"{state.origin}/prod/{'v1' if row.seq % 2 else 'v2'}/{row.model}"
        one = f"{base}/requests/{row.request_id}"
        return {f"{name}_url": f"{one}/{name}" for name in ("status", "result", "cancel")}

    def is_gone(self, state: SandboxState, row: LedgerRow, now: float) -> bool:
        ended = row.cancelled_at or row.finish_at
        return ended is not None and now - ended > state.options.keep_results

    def status(self, state: SandboxState, row: LedgerRow, word: str) -> PollAnswer:
        answer: PollAnswer = {"status": word}
        instance = state.ledger.work(row.request_id).instance_id
        if instance is not None:
            answer["instance_id"] = instance
        return answer | self.urls(state, row)

    def result(self, state: SandboxState, row: LedgerRow, word: str, *, cost: bool) -> PollAnswer:
        work = state.ledger.work(row.request_id)
        answer: PollAnswer = {"status": WORDS.get(word, word), "outputs": {}}
        answer |= {
            "created_at": timestamp(row.accepted_at, "microseconds"),
            "finished_at": None,
            "instance_id": work.instance_id,
        }
        if word == "completed" and row.finish_at is not None:
            answer["finished_at"] = timestamp(row.finish_at, "microseconds")
            answer["outputs"] = self.outputs(state, row, work)
        return answer

    def outputs(self, state: SandboxState, row: LedgerRow, work: LedgerWork) -> dict[str, Any]:
        """`{node: {"images": [{url, filename, subfolder, type}]}}`, and `text` of text nodes."""
        workflow: Workflow = json.loads(work.workflow)
        found: dict[str, Any] = {}
        made = output_files(workflow)
        for n, file in enumerate(made):
            files = found.setdefault(file.node, {}).setdefault(file.field, [])
            of_node = sum(one.node == file.node for one in made)
            number = ((work.number or 1) - 1) * of_node + len(files) + 1
            entry = {"url": state.media_url(row, n, file.form)}
            files.append(entry | file_name(file, number, work.instance_id or ""))
        return found | {node: {"text": texts} for node, texts in output_texts(workflow).items()}

    def cancel(self, state: SandboxState, row: LedgerRow, now: float) -> bool:
        """What waits, and what runs; the seconds until then are billed."""
        pool = state.pools[row.model.removeprefix(self.prefix)]
        if pool.remove(row.request_id):
            state.ledger.store_cancellation(row, now)
            return True
        instance = None if row.cancelled_at else pool.stop(row.request_id, now)
        if instance is None:
            return False
        state.ledger.store_cancellation(row, now)
        state.ledger.store_instance(instance)
        return True

    def files(self, state: SandboxState, row: LedgerRow) -> list[MediaFormat]:
        workflow = json.loads(state.ledger.work(row.request_id).workflow)
        return [file.form for file in output_files(workflow)]

    def picture(self, state: SandboxState, row: LedgerRow) -> str:
        work = state.ledger.work(row.request_id)
        workflow = json.loads(work.workflow)
        shown = {"prompt": prompt_of(workflow), "work": int(work.sha256[:12], 16)}
        return canonical_input(shown | size_of(workflow))


def file_name(file: OutputFile, number: int, instance: str) -> dict[str, str]:
    """Return how ComfyUI calls a file. Each instance counts its own, so names repeat."""
    folder, _, prefix = file.prefix.rpartition("/")
    if file.type == "temp":
        letters = instance.replace("-", "")[:5].translate(str.maketrans("0123456789", "ghijklmnop"))
        folder, prefix = "", f"ComfyUI_temp_{letters}"
    name = f"{prefix}_{number:05}_.{file.form.extension}"
    return {"filename": name, "subfolder": folder, "type": file.type}


def shown_deployments(state: SandboxState, subject: str, query: str) -> Any:
    """Return the answer of `GET /prod/v2/deployments` and `…/{id}`; None where there is none.

    subject: an id, or "" for all. query: `ids=…` and `includes=payload`.
    """
    asked = parse_qs(query)
    shown = [
        one.shown(f"{state.origin}{OBJECT_INFO}{one.id}.json", asked.get("includes", ()))
        for one in state.deployments.values()
        if not one.is_deleted and (subject or one.id) == one.id
    ]
    if subject:
        return shown[0] if shown else None
    return [one for one in shown if one["id"] in asked.get("ids", [one["id"]])]
