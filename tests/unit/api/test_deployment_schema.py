"""A workflow and the description of its nodes become the schema that rows are checked against."""

from typing import Any

import pytest

from batchgen.api.deployment_schema import (
    Conditions,
    conditions_of,
    deployment_document,
    overrides,
)

WORKFLOW: dict[str, Any] = {
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a heron", "clip": ["4", 1]}},
    "12": {"class_type": "LoadImage", "inputs": {"image": "heron.png"}},
    "31": {
        "class_type": "KSampler",
        "inputs": {"seed": 42, "cfg": 7.0, "sampler_name": "euler", "model": ["4", 0]},
        "_meta": {"title": "Sampler"},
    },
}
OBJECT_INFO: dict[str, Any] = {
    "CLIPTextEncode": {
        "input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}}
    },
    "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
    "KSampler": {
        "input": {
            "required": {
                "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
                "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
                "sampler_name": [["euler", "ddim"]],
                "scheduler": ["COMBO", {"options": ["normal", "karras"]}],
                "model": ["MODEL"],
            },
            "optional": {"fast": ["BOOLEAN", {}]},
        }
    },
    "Unused": {"input": {}},
}


def inputs(object_info: Any, workflow: Any = WORKFLOW) -> dict[str, Any]:
    found = {"id": "a", "payload": {"workflow_api_json": workflow}}
    document = deployment_document("deployments/a", found, object_info)
    properties: dict[str, Any] = document["input"]["properties"]
    return properties


def test_types_ranges_and_choices_are_those_of_the_nodes() -> None:
    text = {"title": "CLIPTextEncode", "type": "string", "default": "a heron"}
    seed = {"type": "integer", "minimum": 0, "maximum": 2**64 - 1, "default": 42}
    assert inputs(OBJECT_INFO) == {
        "6.text": text,
        "12.image": {
            "title": "LoadImage", "type": "string", "format": "image_uri", "default": "heron.png"
        },
        "31.seed": {"title": "Sampler", **seed},
        "31.cfg": {
            "title": "Sampler", "type": "number", "minimum": 0.0, "maximum": 100.0, "default": 7.0
        },
        "31.sampler_name": {
            "title": "Sampler", "type": "string", "enum": ["euler", "ddim"], "default": "euler"
        },
        "31.scheduler": {"title": "Sampler", "type": "string", "enum": ["normal", "karras"]},
        "31.fast": {"title": "Sampler", "type": "boolean"},
    }  # fmt: skip


def test_without_a_description_types_are_those_of_the_values() -> None:
    types = {name: one.get("type") for name, one in inputs(None).items()}

    assert types == {
        "6.text": "string",
        "12.image": "string",
        "31.seed": "number",
        "31.cfg": "number",
        "31.sampler_name": "string",
    }
    assert inputs(None)["12.image"]["format"] == "image_uri"


@pytest.mark.parametrize("declared", ["INT", [], {"type": "INT"}, None])
def test_an_input_that_is_declared_in_no_known_form_is_taken_as_the_workflow_has_it(
    declared: Any,
) -> None:
    described = {"KSampler": {"input": {"required": {"seed": declared}}}}

    assert inputs(described)["31.seed"]["type"] == "number"


def test_whatever_else_comes_is_no_input() -> None:
    for odd in (None, [], {"6": None}, {"6": {"inputs": []}}, {"6": {"class_type": 5}}):
        assert inputs(OBJECT_INFO, odd) == {}
    for described in ([], {"KSampler": []}, {"KSampler": {"input": {"required": {"seed": []}}}}):
        inputs(described)


def test_what_is_kept_suffices_to_emulate_it() -> None:
    found = {
        "id": "a", "name": "herons", "workflow_version": "v1", "secret": "x",
        "payload": {"workflow_api_json": WORKFLOW, "object_info_url": "https://x"},
    }  # fmt: skip

    document = deployment_document("deployments/a", found, OBJECT_INFO)

    assert document["payload"] == {"workflow_api_json": WORKFLOW}
    assert document["object_info"].keys() == {"CLIPTextEncode", "LoadImage", "KSampler"}
    assert "secret" not in document


def test_inputs_of_one_node_are_sent_together() -> None:
    assert overrides({"31.seed": 4, "6.text": "a.b", "31.cfg": 7.5}) == {
        "overrides": {
            "31": {"inputs": {"seed": 4, "cfg": 7.5}},
            "6": {"inputs": {"text": "a.b"}},
        }
    }


def test_what_holds_for_all_rows() -> None:
    found = {"workflow_version": "v2", "max_instances": 3, "is_enabled": True}

    assert conditions_of(found) == Conditions("v2", 3, "")
    assert conditions_of({**found, "is_enabled": False}).closed == "the deployment is disabled"
    assert conditions_of({}) == Conditions()
    assert conditions_of(None).closed != ""
