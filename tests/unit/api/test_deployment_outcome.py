"""What a deployment's answers mean, by codes and a form that models do not have."""

import json
from typing import Any

import pytest

from batchgen.api.deployment_outcome import (
    classify_deployment_result,
    classify_inference,
    instance_of,
    seconds_taken,
)
from batchgen.api.poll_outcome import (
    Cancelled,
    Completed,
    Failed,
    Missing,
    Running,
    Unauthorized,
    Unclear,
)
from batchgen.api.response import Response, decode
from batchgen.api.submit_outcome import (
    Accepted,
    Halt,
    HaltReason,
    ModelHalt,
    OutcomeUnknown,
    Rejected,
    Throttled,
)

NOW = 1_800_000_000.0
ID = "4829085f-1a4a"
A, B = "https://media.runcomfy.net/a.png", "https://media.runcomfy.net/b.png"


def answer(status: int, body: Any, *, body_sent: bool = True) -> Response:
    return decode(status, {}, json.dumps(body).encode(), None, NOW, body_sent=body_sent)


def error(code: int, message: str = "said") -> dict[str, Any]:
    return {"error_code": code, "error_message": message}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("code", "kind", "why"),
    [
        (10001, Halt, HaltReason.BALANCE),
        (10002, ModelHalt, None),
        (10003, ModelHalt, None),
        (401001, Halt, HaltReason.TOKEN),
        (403003, Halt, HaltReason.TOKEN),
        (404001, Rejected, None),
        (422001, Rejected, None),
    ],
)
def test_every_code_says_that_nothing_was_taken(
    status: int, code: int, kind: type, why: HaltReason | None
) -> None:
    outcome = classify_inference(answer(status, error(code)))

    assert isinstance(outcome, kind)
    assert getattr(outcome, "why", None) is why


def test_a_full_queue_slows_down_however_it_is_said() -> None:
    said = error(429001, "TooManyRequests: the queue of the deployment is full")

    for status in (200, 400, 429):
        assert isinstance(classify_inference(answer(status, said)), Throttled)


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, error(10001)), (503, error(10002)), (200, {}), (502, {"message": "queue full"})],
)
def test_whatever_is_not_clear_is_unknown(status: int, body: Any) -> None:
    assert isinstance(classify_inference(answer(status, body)), OutcomeUnknown)


def test_an_id_beside_an_error_was_accepted() -> None:
    for code in (10001, 10002, 401001):
        assert classify_inference(answer(200, {"request_id": ID, **error(code)})) == Accepted(ID)


def result(status: str = "succeeded", **more: Any) -> Any:
    return classify_deployment_result(answer(200, {"request_id": ID, "status": status, **more}), ID)


def file(url: str, type: str = "output") -> dict[str, str]:
    return {"url": url, "filename": "ComfyUI_00001_.png", "subfolder": "", "type": type}


def test_results_of_all_nodes_are_outputs_and_previews_and_texts_are_none() -> None:
    outputs = {
        "9": {"images": [file(A), file("https://media.runcomfy.net/preview.png", "temp")]},
        "15": {"gifs": [file(B)]},
        "16": {"text": ["https://example.com/terms"]},
        "12": {"images": [file("https://media.runcomfy.net/input.png", "input")]},
    }

    assert result(outputs=outputs) == Completed("succeeded", (A, B))


def test_chosen_nodes_alone_are_kept_under_the_numbers_that_they_have_among_all() -> None:
    outputs = {"9": {"images": [file(A)]}, "15": {"images": [file(B)]}}
    body = {"request_id": ID, "status": "succeeded", "outputs": outputs}

    def kept(*nodes: str) -> Any:
        outcome = classify_deployment_result(answer(200, body), ID, nodes)
        assert isinstance(outcome, Completed)
        assert outcome.urls == (A, B)
        return outcome.kept, outcome.note

    assert kept() == ({1: A, 2: B}, "")
    assert kept("15") == ({2: B}, "")
    assert kept("9", "15") == ({1: A, 2: B}, "")
    assert kept("99") == ({1: A, 2: B}, "no node of 99 has made an output, so all are kept")


def test_an_output_in_the_result_itself_is_kept_and_a_file_without_address_is_told() -> None:
    inline = {"b64_json": "iVBORw0KGgo" * 8, "type": "output"}
    preview = {**inline, "type": "temp"}

    assert result(outputs={"10": {"images": [preview]}, "9": {"images": [inline]}}) == Completed(
        "succeeded", ("data:",)
    )
    outcome = result(outputs={"9": {"images": [{"filename": "a.png", "type": "output"}]}})
    assert isinstance(outcome, Failed)
    assert "Look at it in your account" in outcome.reason


def test_a_lora_answers_as_a_model_does() -> None:
    assert result(output={"images": [A]}) == Completed("succeeded", (A,))


@pytest.mark.parametrize("outputs", [{}, None, {"9": {}}, {"10": {"images": [file(A, "temp")]}}])
def test_no_output_has_failed_with_what_to_change(outputs: Any) -> None:
    outcome = result(outputs=outputs)

    assert isinstance(outcome, Failed)
    assert "such as the seed" in outcome.reason


def test_a_failed_result_has_the_words_and_the_code_of_its_errors() -> None:
    errors = [{"errorCode": 500001, "error": "out\nof memory", "debugInfo": "node 31"}]

    assert result("failed", outputs={}, error=errors) == Failed("out of memory", 500001, "failed")


@pytest.mark.parametrize("code", ["9" * 5000, 10**30, True, "x", [1]])
def test_a_code_that_no_journal_holds_is_none(code: Any) -> None:
    found = result("failed", outputs={}, error=[{"errorCode": code, "error": "out of memory"}])

    assert found == Failed("out of memory", None, "failed")


def test_the_other_words_are_those_of_models() -> None:
    assert result("in_queue") == Running("in_queue")
    assert result("canceled") == Cancelled("canceled")


def test_errors_of_a_question_say_what_they_say_for_models() -> None:
    def asked(status: int, body: Any) -> Any:
        return classify_deployment_result(answer(status, body), ID)

    for status in (200, 401):
        assert isinstance(asked(status, error(401001)), Unauthorized)
        assert isinstance(asked(status, error(404001)), Missing)
    for code in (10001, 10002, 10003, 500001):
        assert isinstance(asked(400, error(code)), Unclear)
    assert isinstance(asked(503, {}), Unclear)


def test_the_time_that_a_request_took_is_from_its_acceptance_to_its_end() -> None:
    at = "2026-11-26T01:02:03.500000+00:00"

    def seconds(**times: Any) -> float | None:
        return seconds_taken(answer(200, times))

    assert seconds(created_at=at, finished_at="2026-11-26T01:02:15.750000+00:00") == 12.25
    for end in (
        None,
        "",
        5,
        "soon",
        "2026-11-26T01:02:15",
        "2026-11-26T01:02:03+00:00",
        "9999-01-01",
    ):
        assert seconds(created_at=at, finished_at=end) is None
    assert seconds_taken(answer(502, ["no object"])) is None


@pytest.mark.parametrize("said", [None, "", 5, "a\nb", "x" * 201, ["gpu"]])
def test_what_is_no_name_of_an_instance_is_none(said: Any) -> None:
    body = {"request_id": "r", "status": "in_progress", "instance_id": said}
    assert instance_of(answer(200, body)) is None
    assert instance_of(answer(200, {**body, "instance_id": "gpu-1"})) == "gpu-1"
