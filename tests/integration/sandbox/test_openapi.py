"""The sandbox answers as the APIs' description says, in order and in trouble."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from helpers import ROOT, TOKEN
from jsonschema import Draft202012Validator
from sandbox_client import NO_CERTIFICATES, Control

from batchgen.sandbox import Address
from batchgen.sandbox.deployments.samples import SIZES, TEXT
from batchgen.sandbox.errors import REFUSALS

DESCRIBED: dict[str, Any] = json.loads((ROOT / "schemas" / "runcomfy.openapi.json").read_text())
MODEL = "ideogram/ideogram-v2/generate"
OPERATIONS = {
    one["operationId"]: one
    for path in DESCRIBED["paths"].values()
    for method, one in path.items()
    if method in ("get", "post")
}

# The others come from what stands before the API, such as a proxy.
OWN = {int(status) for status in OPERATIONS["submit"]["responses"] if status.isdecimal()}


@pytest.fixture
def api(address: Address) -> Iterator[httpx.Client]:
    with httpx.Client(
        headers={"Authorization": f"Bearer {TOKEN}"},
        base_url=address.base_url,
        trust_env=False,
        timeout=20,
        verify=NO_CERTIFICATES,
    ) as client:
        yield client


def fits(operation: str, answer: httpx.Response) -> Any:
    """Check an answer against its description; return its body."""
    responses = OPERATIONS[operation]["responses"]
    described = (
        responses.get(str(answer.status_code)) or responses[f"{answer.status_code // 100}XX"]
    )
    schema = described["content"]["application/json"]["schema"]
    body = answer.json()
    Draft202012Validator({**schema, "components": DESCRIBED["components"]}).validate(body)
    return body


def test_every_schema_of_the_description_is_one() -> None:
    for schema in DESCRIBED["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_is_answered_as_described(api: httpx.Client, address: Address) -> None:
    submitted = fits("submit", api.post(f"/models/{MODEL}", json={"prompt": "a heron"}))
    request = f"/requests/{submitted['request_id']}"

    assert fits("status", api.get(f"{request}/status"))["status"] == "completed"
    result = fits("result", api.get(f"{request}/result", params={"include_cost": "true"}))
    assert {"output", "cost"} <= result.keys()
    assert fits("cancel", api.post(f"{request}/cancel"))["outcome"] == "not_cancellable"
    assert fits("model", api.get(f"/models/{MODEL}"))["model_id"] == MODEL
    assert fits("models", api.get("/models", params={"limit": 1}))["total"] > 1
    balance = api.get(address.base_url.removesuffix("/v1") + "/prod/v2/balance")
    assert fits("balance", balance)["currency"] == "USD"


def test_a_request_in_the_queue_is_described_too(api: httpx.Client, sandbox: Control) -> None:
    sandbox.fault("slow", value=1000.0)
    submitted = fits("submit", api.post(f"/models/{MODEL}", json={"prompt": "a heron"}))
    request = f"/requests/{submitted['request_id']}"

    assert fits("status", api.get(f"{request}/status"))["status"] != "completed"
    assert fits("result", api.get(f"{request}/result"))["output"] is None


@pytest.mark.parametrize("fault", [name for name, (status, _) in REFUSALS.items() if status in OWN])
def test_every_refusal_is_described(api: httpx.Client, sandbox: Control, fault: str) -> None:
    sandbox.fault(fault, on="submit")

    assert fits("submit", api.post(f"/models/{MODEL}", json={"prompt": "a heron"}))


def test_the_refusal_of_a_senseless_marker_is_described(api: httpx.Client) -> None:
    answer = api.post(f"/models/{MODEL}", json={"prompt": "a heron [[status:abc]]"})

    assert (answer.status_code, fits("submit", answer)["detail"][0]["type"]) == (422, "marker")


@pytest.mark.parametrize("call", ["status", "result", "cancel"])
@pytest.mark.parametrize("request_id", ["none-such", "a.b"])
def test_an_unknown_request_is_described(api: httpx.Client, call: str, request_id: str) -> None:
    method = api.post if call == "cancel" else api.get

    assert fits(call, method(f"/requests/{request_id}/{call}"))["error_code"] in (400001, 404001)


# Deployments


@pytest.fixture
def serverless(address: Address) -> Iterator[httpx.Client]:
    token = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=address.serverless_url,
        headers=token,
        trust_env=False,
        timeout=20,
        verify=NO_CERTIFICATES,
    ) as client:
        yield client


HERON = {"overrides": {"6": {"inputs": {"text": "a heron"}}}}


def test_every_call_of_a_deployment_is_answered_as_described(
    serverless: httpx.Client, sandbox: Control
) -> None:
    body = {"overrides": {"6": {"inputs": {"text": "a heron"}}, "31": {"inputs": {"seed": 1}}}}
    first = fits("run", serverless.post(f"/deployments/{SIZES}/inference", json=body))
    again = fits("run", serverless.post(f"/deployments/{SIZES}/inference", json=body))
    sandbox.fault("slow", value=1000.0)
    later = fits("run", serverless.post(f"/deployments/{SIZES}/inference", json=HERON))
    paths = [f"/deployments/{SIZES}/requests/{one['request_id']}" for one in (first, again, later)]
    found = [
        (
            fits("run-status", serverless.get(f"{path}/status")),
            fits("run-result", serverless.get(f"{path}/result")),
        )
        for path in paths
    ]
    cancelled = serverless.post(f"{paths[2]}/cancel")

    assert [status["status"] for status, _ in found] == ["completed"] * 2 + ["in_progress"]
    assert [len(result["outputs"]) for _, result in found] == [4, 0, 0]
    assert fits("run-cancel", cancelled)["outcome"] == "cancelled"
    assert fits("run-result", serverless.get(f"{paths[2]}/result"))["status"] == "canceled"


def test_deployments_are_described(serverless: httpx.Client) -> None:
    payload = {"includes": "payload"}

    assert len(fits("deployments", serverless.get("/deployments", params=payload))) == 3
    assert fits("deployment", serverless.get(f"/deployments/{TEXT}", params=payload))["payload"]
    assert fits("deployment", serverless.get("/deployments/none-such"))["error_code"] == 404001


def test_a_failed_result_is_described(serverless: httpx.Client, sandbox: Control) -> None:
    sandbox.fault("failed")
    answer = fits("run", serverless.post(f"/deployments/{TEXT}/inference", json=HERON))
    result = serverless.get(f"/deployments/{TEXT}/requests/{answer['request_id']}/result")

    assert fits("run-result", result)["error"][0]["error"] == "generation failed"


@pytest.mark.parametrize("in_200", [False, True])
@pytest.mark.parametrize(
    ("change", "code"),
    [({"is_enabled": False}, 10002), ({"is_deleted": True}, 10003), ({}, 422001)],
)
def test_what_a_deployment_refuses_is_described(
    serverless: httpx.Client, sandbox: Control, change: dict[str, bool], code: int, in_200: bool
) -> None:
    sandbox.set(errors_in_200=in_200)
    sandbox.change_deployment(TEXT, **change)
    body = {"overrides": {"6": {"inputs": {"txt": "a heron"}}}}

    assert (
        fits("run", serverless.post(f"/deployments/{TEXT}/inference", json=body))["error_code"]
        == code
    )


@pytest.mark.parametrize("call", ["status", "result", "cancel"])
def test_an_unknown_request_of_a_deployment_is_described(
    serverless: httpx.Client, call: str
) -> None:
    method = serverless.post if call == "cancel" else serverless.get

    answer = fits(f"run-{call}", method(f"/deployments/{TEXT}/requests/none-such/{call}"))
    assert answer["error_code"] == 404001


def test_the_bodies_that_are_sent_are_described() -> None:
    body = OPERATIONS["run"]["requestBody"]["content"]["application/json"]["schema"]
    schema = Draft202012Validator({**body, "components": DESCRIBED["components"]})

    assert schema.is_valid(HERON)
    assert not schema.is_valid({})
    assert not schema.is_valid({"overrides": {"6": {"text": "a heron"}}})
