"""A file of ComfyUI's becomes a workflow that can be sent, or it is told what it is instead."""

import json
from typing import Any

import pytest

from batchgen.api.deployment_schema import deployment_document, describes_more
from batchgen.api.workflow_file import (
    NoExport,
    absent_parts,
    body,
    require_export,
    with_workflow,
    workflow_digest,
)

NODES: dict[str, Any] = {
    "4": {"class_type": "Loader", "inputs": {}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a heron", "clip": ["4", 1]}},
    "12": {"class_type": "LoadImage", "inputs": {"image": "heron.png"}},
}
OBJECT_INFO: dict[str, Any] = {
    "Loader": {"input": {}},
    "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {}], "clip": ["CLIP"]}}},
    "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
    "Other": {"input": {}},
}
FILE = {"file": "heron.png", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ([], "no JSON object"),
        ({}, "no nodes"),
        ({"nodes": [], "links": []}, "as ComfyUI's editor saves it"),
        ({"prompt": NODES}, "inside of prompt"),
        ({"workflow_api_json": NODES}, "inside of workflow_api_json"),
        ({"4": {"inputs": {}}}, "'4' is no node"),
        ({"4": {"class_type": 5, "inputs": {}}}, "'4' is no node"),
        ({"4": {"class_type": "A", "inputs": []}}, "'4' is no node"),
        ({"4": {"class_type": "A", "inputs": {"x": ["9", 0]}}}, "comes from node 9"),
        ({"4": {"class_type": "A", "inputs": {"x": FILE}}}, "the form of a local file"),
        ({"4": {"class_type": "A", "inputs": {"x": [{"y": FILE}]}}}, "the form of a local file"),
    ],
)
def test_what_is_no_export_is_told(found: Any, what: str) -> None:
    with pytest.raises(NoExport, match=what) as told:
        require_export(found)
    assert told.value.remedy


def test_the_editors_format_is_told_with_how_to_export() -> None:
    with pytest.raises(NoExport) as told:
        require_export({"nodes": [], "links": []})
    assert "Export Workflow (API)" in told.value.remedy


def test_an_export_is_taken_as_it_is() -> None:
    assert require_export(NODES) is NODES
    assert require_export({"4": {"class_type": "A"}}) == {"4": {"class_type": "A"}}


def test_titles_and_the_order_of_names_make_no_other_workflow() -> None:
    titled = {id: {**node, "_meta": {"title": id}} for id, node in reversed(NODES.items())}
    changed = json.loads(json.dumps(NODES).replace("a heron", "an owl"))

    assert workflow_digest(titled) == workflow_digest(NODES)
    assert workflow_digest(changed) != workflow_digest(NODES)
    assert workflow_digest(NODES) == (
        "sha256:b652fcd7879ef9704eb532701ba5ce933cc140e5317fa9a9659c234e536e68fb"
    )  # rows with another hash would be paid for again


def test_the_values_of_a_row_are_put_into_a_copy_of_the_workflow() -> None:
    before = json.dumps(NODES)

    sent = body({"6.text": "an owl", "12.image": FILE, "workflow": "sha256:1"}, lambda _: NODES)

    assert sent.keys() == {"workflow_api_json"}
    nodes = sent["workflow_api_json"]
    assert nodes["6"]["inputs"] == {"text": "an owl", "clip": ["4", 1]}
    assert nodes["12"]["inputs"] == {"image": FILE}
    assert json.dumps(NODES) == before


def test_without_a_workflow_overrides_alone_are_sent() -> None:
    def read(digest: str) -> dict[str, Any]:
        raise AssertionError(digest)

    sent = body({"6.text": "an owl"}, read)

    assert sent == {"overrides": {"6": {"inputs": {"text": "an owl"}}}}


def test_inputs_are_those_of_the_workflow_as_the_deployment_describes_them() -> None:
    own = {"payload": {"workflow_api_json": {"1": {"class_type": "Other", "inputs": {"x": 1}}}}}
    document = deployment_document("deployments/a", own, OBJECT_INFO, ["CLIPTextEncode"])

    found = with_workflow(document, {"6": NODES["6"]}, "sha256:1")

    assert found["input"]["properties"] == {
        "workflow": {"title": "Workflow", "type": "string", "enum": ["sha256:1"]},
        "6.text": {"title": "CLIPTextEncode", "type": "string", "default": "a heron"},
    }


def test_nodes_and_files_that_a_deployment_lacks_are_told() -> None:
    nodes = {**NODES, "5": {"class_type": "Loadr", "inputs": {}}}
    wanted = ["Loader", "CLIPTextEncode", "LoadImage", "Loadr"]
    document = deployment_document("deployments/a", {}, OBJECT_INFO, wanted)

    assert document["missing_nodes"] == ["Loadr"]
    assert [*absent_parts(document, nodes)] == [
        (
            "12.image",
            "the deployment has no file 'heron.png'",
            "Give each row a file or an address, as photo with nodes: photo: 12.image",
        ),
        ("", "node 5: the deployment has no nodes of the class Loadr", "Did you mean Loader?"),
    ]


@pytest.mark.parametrize("value", ["a.png", "https://example.com/a.png", ["4", 0], 5])
def test_a_file_that_is_there_or_somewhere_else_is_not_told(value: Any) -> None:
    document = deployment_document("deployments/a", {}, OBJECT_INFO, ["LoadImage"])
    node = {"class_type": "LoadImage", "inputs": {"image": value}}

    assert [*absent_parts(document, {"12": node})] == []


def test_nothing_is_missing_where_nobody_describes_the_nodes() -> None:
    document = deployment_document("deployments/a", {}, None, ["Loader"])

    assert document["missing_nodes"] == []
    assert [*absent_parts(document, NODES)] == []


def test_a_document_describes_more_where_other_nodes_were_asked_for() -> None:
    few = deployment_document("deployments/a", {}, OBJECT_INFO, ["Loader"])
    more = deployment_document("deployments/a", {}, OBJECT_INFO, ["Loader", "Loadr"])

    assert describes_more(more, few)
    assert not describes_more(few, more)
    assert not describes_more(more, more)
    assert not describes_more(few, {"object_info": {"Loader": {}}})
