"""The Model API: requests to models, each of which has its price."""

import json
from collections.abc import Mapping
from typing import Any

from batchgen.sandbox import errors
from batchgen.sandbox.catalogue import SandboxModel, model_kind
from batchgen.sandbox.data_uris import file_problems
from batchgen.sandbox.ledger import LedgerRow
from batchgen.sandbox.media import MediaFormat, media_format, output_count, prompt_text
from batchgen.sandbox.outcomes import inline_picture, shared_outcomes
from batchgen.sandbox.service import Outcome, PollAnswer, Refusal, Terms
from batchgen.sandbox.state import SandboxState, timestamp


def first_url(answer: PollAnswer) -> str:
    found = next(iter(answer["output"].values()))
    return str(found[0] if isinstance(found, list) else found)


def with_output(answer: PollAnswer, value: Any) -> PollAnswer:
    """The output under its usual name, replaced."""
    kind = next(iter(answer["output"]))
    many = isinstance(answer["output"][kind], list)
    return answer | {"output": {kind: [value] if many else value}}


OUTCOMES: Mapping[str, Outcome] = {
    **shared_outcomes(first_url, with_output),
    "failed": lambda answer, value: answer | {"status": "failed", "output": None, "error": value},
    "canceled": lambda answer, value: answer | {"status": "canceled", "output": None},
    "empty-result": lambda answer, value: answer | {"output": {}},
    "null-output": lambda answer, value: answer | {"output": None},
    "bare-url": lambda answer, value: answer | {"output": first_url(answer)},
    "bare-list": lambda answer, value: answer | {"output": [first_url(answer)]},
    # As some models name it; `inline` is a data: URI.
    "inline-base64": lambda answer, value: (
        answer | {"output": {"images": [{"b64_json": inline_picture(value)}]}}
    ),
    # A URL of the input beside the output; value: the URL.
    "echo": lambda answer, value: (
        answer | {"output": {"input": {"image_url": value}, **answer["output"]}}
    ),
    "cost": lambda answer, value: answer | ({"cost": value} if "cost" in answer else {}),
}


class ModelService:
    """See `Service`. A target is a SandboxModel."""

    prefix = ""
    outcomes = OUTCOMES
    outcomes_in_status = frozenset({"failed", "canceled"})
    cancelled_status = 200
    position_in_result = True

    def find(self, state: SandboxState, subject: str) -> SandboxModel | None:
        return state.catalogue.find(subject, any_model=state.options.all_models)

    def refusal(
        self, state: SandboxState, target: SandboxModel, given: dict[str, Any]
    ) -> Refusal | None:
        if detail := target.problems(given) or file_problems(given):
            return Refusal(422, {"detail": detail})
        if state.left is not None and state.left < target.cost(state.options, given) - 1e-9:
            return Refusal(*errors.NO_BALANCE)
        return None

    def terms(self, state: SandboxState, target: SandboxModel, given: dict[str, Any]) -> Terms:
        return Terms(target.cost(state.options, given))

    def worded(self, state: SandboxState, status: int, body: Any) -> tuple[int, Any]:
        return status, body

    def text(self, given: dict[str, Any]) -> str:
        return prompt_text(given)

    def urls(self, state: SandboxState, row: LedgerRow) -> dict[str, str]:
        one = f"{state.base_url}/requests/{row.request_id}"
        return {f"{name}_url": f"{one}/{name}" for name in ("status", "result", "cancel")}

    def is_gone(self, state: SandboxState, row: LedgerRow, now: float) -> bool:
        return False

    def status(self, state: SandboxState, row: LedgerRow, word: str) -> PollAnswer:
        return {"status": word, **self.urls(state, row)}

    def result(self, state: SandboxState, row: LedgerRow, word: str, *, cost: bool) -> PollAnswer:
        answer: PollAnswer = {"status": word, "model_id": row.model, "output": None}
        answer["created_at"] = timestamp(row.accepted_at)
        if cost:
            answer["cost"] = row.price
        if word == "completed" and row.finish_at is not None:
            answer["output"] = self.output(state, row)
            answer["finished_at"] = timestamp(row.finish_at)
        return answer

    def output(self, state: SandboxState, row: LedgerRow) -> dict[str, Any]:
        """`{"image": url}`, or `{"images": [url, ...]}` where several were asked for."""
        urls = [state.media_url(row, n, form) for n, form in enumerate(self.files(state, row))]
        kind = model_kind(row.model)
        return (
            {kind: urls[0]} if len(urls) == 1 else {f"{kind}s" if kind != "audio" else kind: urls}
        )

    def cancel(self, state: SandboxState, row: LedgerRow, now: float) -> bool:
        """Only what is in the queue can be cancelled, and it is refunded."""
        if not state.queue.remove(row.request_id):
            return False
        state.ledger.store_cancellation(row, now)
        return True

    def files(self, state: SandboxState, row: LedgerRow) -> list[MediaFormat]:
        given = json.loads(row.input)
        return [media_format(model_kind(row.model), given)] * output_count(given)

    def picture(self, state: SandboxState, row: LedgerRow) -> str:
        return row.input
