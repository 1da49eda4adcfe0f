"""The sandbox runs deployments as RunComfy does: workflows, instances, seconds, errors."""

import base64
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers import TOKEN
from PIL import Image
from sandbox_client import NO_CERTIFICATES, Control

from batchgen.errors import ServiceUnreachable, UsageError
from batchgen.sandbox import Address, started
from batchgen.sandbox.deployments.catalogue import load_deployment
from batchgen.sandbox.deployments.hardware import USD_PER_HOUR
from batchgen.sandbox.deployments.instances import InstanceQueue, Scaling
from batchgen.sandbox.deployments.node_types import NODE_TYPES
from batchgen.sandbox.deployments.samples import PHOTO, SAMPLES, SIZES, TEXT
from batchgen.sandbox.deployments.workflow import find_problems
from batchgen.sandbox.errors import REFUSALS
from batchgen.sandbox.ledger import requests_for
from batchgen.sandbox.queue import StartedRequest

WORKFLOW: dict[str, Any] = SAMPLES[0]["payload"]["workflow_api_json"]
FOR_EVER = 100_000.0
PLAINLY: dict[str, Any] = {"trust_env": False, "timeout": 20, "verify": NO_CERTIFICATES}


def heron(text: str = "a heron", **sampler: Any) -> dict[str, Any]:
    """A body that overrides the prompt, and inputs of the sampler."""
    found: dict[str, Any] = {"6": {"inputs": {"text": text}}}
    return {"overrides": found | ({"31": {"inputs": sampler}} if sampler else {})}


class Client(httpx.Client):
    """The owner of deployments, with a token."""

    def __init__(self, address: Address) -> None:
        token = {"Authorization": f"Bearer {TOKEN}"}
        super().__init__(base_url=address.serverless_url, headers=token, **PLAINLY)

    def ask(self, body: Any, deployment: str = TEXT) -> httpx.Response:
        return self.post(f"/deployments/{deployment}/inference", json=body)

    def order(self, text: str = "a heron", deployment: str = TEXT, **sampler: Any) -> str:
        answer = self.ask(heron(text, **sampler), deployment).raise_for_status().json()
        return f"/deployments/{deployment}/requests/{answer['request_id']}"

    def result(self, request: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"{request}/result").raise_for_status().json()
        return found

    def status(self, request: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"{request}/status").raise_for_status().json()
        return found

    def cancel(self, request: str) -> httpx.Response:
        return self.post(f"{request}/cancel")


@pytest.fixture
def api(address: Address, sandbox: Control) -> Iterator[Client]:
    with Client(address) as found:
        yield found


def files(result: dict[str, Any], node: str = "9") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result["outputs"][node]["images"]
    return found


def picture(api: Client, result: dict[str, Any]) -> bytes:
    with httpx.Client(**PLAINLY) as plain:
        return plain.get(files(result)[0]["url"]).raise_for_status().content


def as_uri(size: int = 16) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), "teal").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


# The API as documented


def test_a_workflow_is_run_and_its_pictures_are_delivered(api: Client) -> None:
    answer = api.ask(heron("a heron")).raise_for_status().json()
    status = api.get(answer["status_url"]).json()
    result = api.get(answer["result_url"]).json()

    assert set(answer) == {"request_id", "status_url", "result_url", "cancel_url"}
    assert status["status"] == "completed"
    assert result["status"] == "succeeded"
    assert result["instance_id"] == status["instance_id"]
    assert {one["type"] for one in files(result, "9")} == {"output"}
    assert {one["type"] for one in files(result, "10")} == {"temp"}
    assert set(files(result)[0]) == {"url", "filename", "subfolder", "type"}
    assert result["finished_at"][26:] == "+00:00"
    assert Image.open(io.BytesIO(picture(api, result))).size == (64, 64)


def test_every_second_request_is_named_under_v1_and_can_be_asked_for_there(api: Client) -> None:
    urls = [api.ask(heron(f"heron {n}")).json()["status_url"] for n in range(4)]

    assert ["/prod/v1/" in url for url in urls] == [True, False, True, False]
    assert {api.get(url).json()["status"] for url in urls} == {"completed"}


def test_a_node_may_make_several_files_and_a_text(api: Client) -> None:
    result = api.result(api.order("a heron", SIZES))
    batch = api.ask({"overrides": {"5": {"inputs": {"batch_size": 3}}}}).json()

    assert result["outputs"]["16"] == {"text": ["a heron"]}
    assert files(result, "15")[0]["subfolder"] == "large"
    assert [one["filename"] for one in files(api.get(batch["result_url"]).json())] == [
        "ComfyUI_00001_.png",
        "ComfyUI_00002_.png",
        "ComfyUI_00003_.png",
    ]


def test_a_whole_workflow_can_be_sent_in_place_of_overrides(api: Client) -> None:
    own = {
        "1": WORKFLOW["4"],
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "an owl", "clip": ["1", 1]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "owl"}},
    }
    answer = api.ask({"workflow_api_json": own}).raise_for_status().json()
    result = api.get(answer["result_url"]).json()

    assert files(result, "3")[0]["filename"] == "owl_00001_.png"


def test_deployments_are_listed_with_their_workflows_where_wanted(api: Client) -> None:
    every = api.get("/deployments").json()
    one = api.get("/deployments", params={"ids": [PHOTO], "includes": "payload"}).json()
    known = api.get(f"/deployments/{PHOTO}", params={"includes": "payload"}).json()

    assert [entry["id"] for entry in every] == [TEXT, PHOTO, SIZES]
    assert {"hardware", "max_instances", "queue_size", "status"} <= every[0].keys()
    assert "payload" not in every[0]
    assert one == [known]
    assert known["payload"]["workflow_api_json"]["12"]["class_type"] == "LoadImage"
    types = api.get(known["payload"]["object_info_url"]).json()
    sampler = types["KSampler"]["input"]["required"]
    assert sampler["seed"][1]["max"] == 2**64 - 1
    assert "euler" in sampler["sampler_name"][0]
    assert "lanczos" in types["ImageScaleBy"]["input"]["required"]["upscale_method"][1]["options"]


def test_the_samples_fit_what_is_said_of_their_nodes() -> None:
    for sample in SAMPLES:
        body = {"workflow_api_json": sample["payload"]["workflow_api_json"]}
        example = {"overrides": sample["payload"]["overrides"]}
        assert list(find_problems({}, NODE_TYPES, body)) == []
        assert list(find_problems(body["workflow_api_json"], NODE_TYPES, example)) == []


def test_object_info_may_be_on_another_origin(
    address: Address, api: Client, sandbox: Control
) -> None:
    elsewhere = f"http://{address.media_host}/object_info/{TEXT}.json"
    sandbox.change_deployment(TEXT, object_info_url=elsewhere)
    found = api.get(f"/deployments/{TEXT}", params={"includes": "payload"}).json()
    types = httpx.get(found["payload"]["object_info_url"], **PLAINLY).json()

    assert found["payload"]["object_info_url"] == elsewhere
    assert types == NODE_TYPES
    assert sandbox.counts()["media_with_token"] == 0


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON"])
def test_a_file_that_is_no_deployment_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "own.json").write_text(content)

    with pytest.raises(UsageError, match="is no deployment"):
        load_deployment(tmp_path / "own.json")


def test_a_sandbox_does_not_start_with_a_file_that_is_no_deployment(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text("{}")
    options = ["--deployment", str(tmp_path / "own.json")]

    with (
        pytest.raises(ServiceUnreachable, match="is no deployment"),
        started(None, options=options),
    ):
        pass


# The cache


def test_a_request_that_was_made_before_has_no_outputs(api: Client, sandbox: Control) -> None:
    first = api.result(api.order("a heron", seed=1))
    again = api.result(api.order("a heron", seed=1))
    other = api.result(api.order("a heron", seed=2))
    # As the workflow has it.
    spelled_out = api.result(api.order("a heron", seed=2, steps=WORKFLOW["31"]["inputs"]["steps"]))

    assert [bool(one["outputs"]) for one in (first, again, other, spelled_out)] == [
        True,
        False,
        True,
        False,
    ]
    assert again["status"] == "succeeded"
    assert all(row["billed"] for row in sandbox.ledger())


def test_what_was_cancelled_or_failed_is_not_in_the_cache(api: Client, sandbox: Control) -> None:
    sandbox.fault("failed", match="owl")
    sandbox.fault("slow", value=FOR_EVER)
    api.cancel(api.order("a heron"))
    api.result(api.order("an owl"))

    assert api.result(api.order("a heron"))["outputs"]
    assert api.result(api.order("an owl"))["outputs"]


def test_the_cache_can_be_left_out(api: Client, sandbox: Control) -> None:
    sandbox.set(cache=False)

    assert [bool(api.result(api.order())["outputs"]) for _ in range(2)] == [True, True]


# Instances and their bill


def test_instances_are_woken_up_to_their_number_and_the_rest_waits(
    api: Client, sandbox: Control
) -> None:
    sandbox.fault("slow", times=None, value=FOR_EVER)
    requests = [api.order(f"heron {n}") for n in range(4)]
    found = [api.status(request) for request in requests]

    assert [one["status"] for one in found] == ["in_progress"] * 2 + ["in_queue"] * 2
    assert [one.get("queue_position") for one in found] == [None, None, 0, 1]
    assert len({one["instance_id"] for one in found[:2]}) == 2
    assert len(sandbox.instances()) == 2


def test_a_cold_start_is_waited_for_and_billed(api: Client, sandbox: Control) -> None:
    sandbox.set(cold_start=FOR_EVER)
    request = api.order()

    assert api.status(request)["status"] == "in_queue"
    assert sandbox.counts()["by_status"] == {"in_queue": 1}
    (instance,) = sandbox.instances()
    assert instance["seconds"] > 0


def test_the_seconds_of_an_instance_are_billed_and_not_its_requests(
    api: Client, sandbox: Control
) -> None:
    for n in range(3):
        api.order(f"heron {n}")
    rows, (instance,) = sandbox.ledger(), sandbox.instances()

    assert {row["price"] for row in rows} == {0.0}
    assert instance["requests"] == 3
    assert instance["usd_per_second"] == pytest.approx(USD_PER_HOUR["AMPERE_48"] / 3600)
    assert instance["usd"] == pytest.approx(instance["seconds"] * instance["usd_per_second"])
    assert sandbox.billed_usd > 0


def test_file_names_repeat_between_instances(api: Client, sandbox: Control) -> None:
    sandbox.fault("slow", times=2, value=0.2)
    requests = [api.order(f"heron {n}") for n in range(2)]
    while any(api.status(request)["status"] != "completed" for request in requests):
        pass
    results = [api.result(request) for request in requests]

    assert len({one["instance_id"] for one in results}) == 2
    assert {files(one)[0]["filename"] for one in results} == {"ComfyUI_00001_.png"}
    assert picture(api, results[0]) != picture(api, results[1])


def begin(queue: InstanceQueue, id: str, at: float, seconds: float = 10.0) -> list[StartedRequest]:
    queue.add(id, at, seconds)
    return queue.advance(at)


def test_an_idle_instance_is_used_again_until_it_is_shut_down() -> None:
    queue = InstanceQueue(Scaling("d", "AMPERE_48", 0, 2, keep_warm=60, cold_start=100))
    (first,) = begin(queue, "a", 0)
    (warm,) = begin(queue, "b", 150)
    (cold,) = begin(queue, "c", 221)
    assert first.instance
    assert warm.instance
    assert cold.instance

    assert (first.started_at, first.finish_at) == (100, 110)
    assert (warm.started_at, warm.instance.id) == (150, first.instance.id)
    assert (cold.started_at, cold.instance.id == first.instance.id) == (321, False)


def test_an_instance_that_is_always_kept_has_no_cold_start() -> None:
    queue = InstanceQueue(Scaling("d", "AMPERE_48", 1, 1, keep_warm=60, cold_start=100))
    (first,) = begin(queue, "a", 0)
    (later,) = begin(queue, "b", 100_000)

    assert (first.started_at, later.started_at) == (0, 100_000)
    assert first.instance is later.instance


@contextmanager
def running(folder: Path) -> Iterator[tuple[Client, Control]]:
    """A sandbox of its own."""
    with started(folder) as address, Client(address) as api, Control(address.base_url) as control:
        yield api, control


def test_a_killed_sandbox_knows_its_instances(tmp_path: Path) -> None:
    with running(tmp_path) as (api, control):
        control.fault("slow", times=None, value=FOR_EVER)
        requests = [api.order(f"heron {n}") for n in range(3)]
        before = control.instances()
    with running(tmp_path) as (api, control):
        words = [api.status(request)["status"] for request in requests]
        after = control.instances()

    assert words == ["in_progress", "in_progress", "in_queue"]
    assert [one["instance_id"] for one in before] == [one["instance_id"] for one in after]


def test_a_running_request_can_be_cancelled_and_its_instance_takes_the_next(
    api: Client, sandbox: Control
) -> None:
    sandbox.change_deployment(TEXT, max_instances=1)
    sandbox.fault("slow", times=2, value=FOR_EVER)
    running, waiting, last = (api.order(f"heron {n}") for n in range(3))
    answers = [api.cancel(request) for request in (waiting, running, running, last)]
    rows = sandbox.ledger()

    assert [one.status_code for one in answers] == [202] * 4
    assert [one.json()["outcome"] for one in answers] == [
        *("cancelled", "cancelled", "not_cancellable", "not_cancellable")
    ]
    assert api.result(running)["status"] == "canceled"
    assert api.status(last)["status"] == "completed"
    assert [row["billed"] for row in rows] == [True, False, True]


# What is refused


def refused(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["error_code"]


def test_errors_have_the_codes_of_this_api(address: Address, api: Client) -> None:
    for token in ({}, {"Authorization": "Bearer refused"}):
        with httpx.Client(base_url=address.serverless_url, **PLAINLY) as stranger:
            answer = stranger.post(f"/deployments/{TEXT}/inference", json=heron(), headers=token)
            assert refused(answer) == (401, 401001)
            assert refused(stranger.get("/deployments", headers=token)) == (401, 401001)
    request = api.order()
    elsewhere = request.replace(TEXT, PHOTO)

    assert refused(api.ask(heron(), "none-such")) == (404, 404001)
    assert refused(api.get("/deployments/none-such")) == (404, 404001)
    for one in (elsewhere, f"{request}0"):
        assert refused(api.get(f"{one}/status")) == (404, 404001)
        assert refused(api.get(f"{one}/result")) == (404, 404001)
        assert refused(api.cancel(one)) == (404, 404001)


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ({"31": {"inputs": {"sampler_name": "eulr"}}}, "31.inputs.sampler_name", "value_not_in"),
        ({"31": {"inputs": {"steps": 0}}}, "31.inputs.steps", "value_smaller_than_min"),
        ({"31": {"inputs": {"cfg": 101}}}, "31.inputs.cfg", "value_bigger_than_max"),
        ({"31": {"inputs": {"seed": "42"}}}, "31.inputs.seed", "int_type"),
        ({"31": {"inputs": {"seed": True}}}, "31.inputs.seed", "int_type"),
        ({"31": {"inputs": {"colour": "red"}}}, "31.inputs.colour", "unknown_input"),
        ({"31": {"inputs": {"model": "sandbox"}}}, "31.inputs.model", "link_type"),
        ({"99": {"inputs": {}}}, "99", "unknown_node"),
        ({"31": {"seed": 3}}, "31", "object_type"),
        ([], "", "object_type"),
        (None, "", "missing"),
    ],
)
def test_an_override_that_does_not_fit_is_a_422_with_its_place(
    api: Client, sandbox: Control, body: Any, place: str, kind: str
) -> None:
    answer = api.ask({"overrides": body})
    (problem,) = answer.json()["detail"]

    assert refused(answer) == (422, 422001)
    assert ".".join(problem["loc"]) == f"body.overrides.{place}".removesuffix(".")
    assert problem["type"].startswith(kind)
    assert sandbox.ledger() == []


def test_a_workflow_that_does_not_fit_is_a_422(api: Client) -> None:
    broken = {"1": {"class_type": "KSampler", "inputs": {}}, "2": {"class_type": "Dream"}, "3": 4}
    detail = api.ask({"workflow_api_json": broken, **heron()}).json()["detail"]

    assert {problem["type"] for problem in detail} == {
        *("conflict", "missing", "unknown_class", "node_type")
    }


def test_a_file_comes_as_a_url_or_inside_and_is_noted_by_its_hash(
    api: Client, sandbox: Control
) -> None:
    def photo(value: str) -> httpx.Response:
        return api.ask({"overrides": {"12": {"inputs": {"image": value}}}}, PHOTO)

    assert photo("https://example.com/heron.png").status_code == 200
    assert photo(as_uri()).status_code == 200
    assert refused(photo("data:image/png;base64,AAAA")) == (422, 422001)
    assert refused(photo("heron-2.png")) == (422, 422001)
    assert "data:sha256:" in sandbox.ledger()[-1]["input"]


def test_a_disabled_or_deleted_deployment_accepts_nothing(api: Client, sandbox: Control) -> None:
    sandbox.change_deployment(TEXT, is_enabled=False)
    sandbox.change_deployment(PHOTO, is_deleted=True)

    assert refused(api.ask(heron())) == (400, 10002)
    assert refused(api.ask(heron(), PHOTO)) == (400, 10003)
    assert [(one["id"], one["status"]) for one in api.get("/deployments").json()] == [
        (TEXT, "disabled"),
        (SIZES, "standby"),
    ]
    sandbox.change_deployment(TEXT, is_enabled=True)
    assert api.ask(heron()).status_code == 200


def test_without_funds_deployments_are_disabled_until_somebody_enables_them(
    api: Client, sandbox: Control
) -> None:
    sandbox.set(balance=0)
    assert refused(api.ask(heron())) == (400, 10001)

    sandbox.set(balance=5)
    assert refused(api.ask(heron())) == (400, 10002)
    sandbox.change_deployment(TEXT, is_enabled=True)
    assert api.ask(heron()).status_code == 200


def test_errors_can_come_with_a_200(api: Client, sandbox: Control) -> None:
    sandbox.set(errors_in_200=True)
    sandbox.change_deployment(TEXT, is_enabled=False)

    assert refused(api.ask(heron())) == (200, 10002)
    assert refused(api.ask(heron(), "none-such")) == (200, 404001)


@pytest.mark.parametrize(("form", "status"), [("429", 429), ("error", 200)])
def test_a_full_queue_may_refuse(api: Client, sandbox: Control, form: str, status: int) -> None:
    sandbox.set(full_queue=form)
    sandbox.change_deployment(SIZES, queue_size=2)
    sandbox.fault("slow", times=None, value=FOR_EVER)
    for n in range(3):  # one runs, two wait
        api.order(f"heron {n}", SIZES)

    assert refused(api.ask(heron(), SIZES)) == (status, 429001)
    assert api.ask(heron()).status_code == 200  # another deployment has its own queue


def test_a_full_queue_has_room_again_although_nobody_asks_about_a_request(
    api: Client, sandbox: Control
) -> None:
    sandbox.set(full_queue="429", seconds=0.05)
    sandbox.change_deployment(SIZES, queue_size=1)
    end, accepted = time.monotonic() + 30, 0
    while accepted < 6:
        assert time.monotonic() < end
        accepted += api.ask(heron(), SIZES).status_code == 200


def test_results_and_files_expire(api: Client, sandbox: Control) -> None:
    request = api.order()
    url = files(api.result(request))[0]["url"]
    sandbox.set(keep_results=0)

    assert refused(api.get(f"{request}/result")) == (404, 404001)
    assert httpx.get(url, **PLAINLY).status_code == 404


def test_a_deployment_can_get_another_workflow(api: Client, sandbox: Control) -> None:
    before = api.get(f"/deployments/{TEXT}").json()
    other = {**WORKFLOW, "7": {**WORKFLOW["7"], "inputs": {"text": "grey", "clip": ["4", 1]}}}
    sandbox.change_deployment(TEXT, workflow_version="v2", workflow_api_json=other)
    after = api.get(f"/deployments/{TEXT}", params={"includes": "payload"}).json()

    assert (before["workflow_version"], after["workflow_version"]) == ("v1", "v2")
    assert after["updated_at"] > before["updated_at"]
    assert after["payload"]["workflow_api_json"]["7"]["inputs"]["text"] == "grey"


def test_the_command_line_has_the_options_of_deployments_and_serves_one_of_a_file(
    tmp_path: Path,
) -> None:
    own = {**SAMPLES[0], "id": "my-own", "object_info": {}, "fetched_at": "2026-11-26"}
    (tmp_path / "own.json").write_text(json.dumps(own))
    options = ["--cold-start", "3", "--full-queue", "429", "--no-cache", "--errors-in-200"]
    options += ["--keep-results", "60", "--deployment", str(tmp_path / "own.json")]
    with started(None, options=options) as address, Control(address.base_url) as control:
        found = control.set()
        with Client(address) as api:
            answer = api.ask(heron(), "my-own")
            shown = api.get("/deployments/my-own").json()

    assert answer.status_code == 200
    assert "request_id" in answer.json()  # an error may come with 200 here
    assert shown["id"] == "my-own"
    assert "fetched_at" not in shown
    wanted = {"cold_start": 3, "full_queue": "429", "cache": False, "errors_in_200": True}
    assert wanted | {"keep_results": 60} == {
        name: found[name] for name in (*wanted, "keep_results")
    }


@pytest.mark.parametrize("change", [{"colour": "red"}, {"max_instances": "2"}, {"is_enabled": 1}])
def test_a_change_that_is_none_is_refused(sandbox: Control, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        sandbox.change_deployment(TEXT, **change)


def test_a_request_is_found_by_the_input_that_a_client_kept(tmp_path: Path) -> None:
    uri = as_uri()
    digest = sha256(base64.b64decode(uri.partition(",")[2])).hexdigest()
    kept = {"12.image": {"file": "heron.png", "sha256": digest}, "31.seed": 7}
    sent = {"12": {"inputs": {"image": uri}}, "31": {"inputs": {"seed": 7}}}
    with running(tmp_path) as (api, _):
        request_id = api.ask({"overrides": sent}, PHOTO).raise_for_status().json()["request_id"]
    name = f"deployments/{PHOTO}"

    assert requests_for(tmp_path, [(name, kept), (name, {"31.seed": 8})]) == [[request_id], []]


# Faults are those of models


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("balance", 400, 10001),
        ("400004", 401, 401001),
        ("403001", 403, 403003),
        ("400001", 404, 404001),
        ("404001", 404, 404001),
        ("422", 422, 422001),
        ("error-in-200", 200, 10001),
    ],
)
def test_a_refusal_is_worded_as_this_api_does(
    api: Client, sandbox: Control, fault: str, status: int, code: int
) -> None:
    sandbox.fault(fault, on="submit", value=10001 if fault == "error-in-200" else None)

    assert refused(api.ask(heron())) == (status, code)
    assert sandbox.log()[0]["answer"] == fault
    assert sandbox.log()[0]["model"] == f"deployments/{TEXT}"


def test_a_forbidden_call_may_have_a_message_alone(api: Client, sandbox: Control) -> None:
    sandbox.fault("403")

    answer = api.ask(heron())
    assert (answer.status_code, answer.json()) == REFUSALS["403"]


def test_a_failed_result_lists_errors_and_its_status_says_completed(api: Client) -> None:
    request = api.order("a heron [[failed:no luck]]")
    result = api.result(request)

    assert api.status(request)["status"] == "completed"
    assert result["status"] == "failed"
    assert [one["error"] for one in result["error"]] == ["no luck"]
    assert set(result["error"][0]) == {"errorCode", "error", "debugInfo"}


@pytest.mark.parametrize(
    ("marker", "outputs"),
    [
        ("empty-result", {}),
        ("null-output", None),
        ("bare-list", None),
        ("inline", "data:image/png;base64,"),
        ("media-other-host:https://evil.example/x.png", "https://evil.example/x.png"),
    ],
)
def test_markers_in_a_prompt_rehearse_outcomes(api: Client, marker: str, outputs: Any) -> None:
    result = api.result(api.order(f"a heron [[{marker}]]"))

    if isinstance(outputs, str):
        assert files(result)[0]["url"].startswith(outputs)
    else:
        assert result.get("outputs") == outputs
    assert ("output" in result) == (marker == "bare-list")


def test_a_lost_answer_is_accepted_and_billed(api: Client, sandbox: Control) -> None:
    sandbox.fault("lost")
    with pytest.raises(httpx.RemoteProtocolError):
        api.order()
    sandbox.fault("drop")
    with pytest.raises(httpx.RemoteProtocolError):
        api.order("an owl")

    assert [row["model"] for row in sandbox.ledger()] == [f"deployments/{TEXT}"]
    assert sandbox.ledger()[0]["billed"]


@pytest.mark.parametrize("on", ["deployment", "object-info", "cancel", "status", "result"])
def test_every_call_can_meet_a_fault(
    address: Address, api: Client, sandbox: Control, on: str
) -> None:
    request = api.order()
    calls = {
        "deployment": lambda: api.get("/deployments"),
        "object-info": lambda: api.get(f"{address.serverless_url[:-8]}/object_info/{TEXT}.json"),
        "cancel": lambda: api.cancel(request),
        "status": lambda: api.get(f"{request}/status"),
        "result": lambda: api.get(f"{request}/result"),
    }
    sandbox.fault("503", on=on)

    assert [calls[on]().status_code for _ in range(2)] == [503, 202 if on == "cancel" else 200]


def test_files_meet_the_faults_of_media(api: Client) -> None:
    result = api.result(api.order("a heron [[media-corrupt]]"))
    sound = api.result(api.order("a heron"))

    with pytest.raises(OSError, match="unrecognized data"):
        Image.open(io.BytesIO(picture(api, result))).load()
    Image.open(io.BytesIO(picture(api, sound))).load()


def test_a_deployment_that_is_not_known_can_be_served_unchecked(
    api: Client, sandbox: Control
) -> None:
    sandbox.set(all_models=True)
    body = {"overrides": {"77": {"inputs": {"text": "a heron"}}}}
    answer = api.ask(body, "my-own").raise_for_status().json()

    assert files(api.get(answer["result_url"]).json())
