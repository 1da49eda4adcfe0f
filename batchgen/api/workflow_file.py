"""A workflow of the person's own, as ComfyUI exports it for its API. Pure.

It is `{NODE: {"class_type": …, "inputs": {NAME: value}}}`, where a value that is `["4", 0]` is the
output of another node. A row has its hash, as the input `workflow` beside the inputs of nodes; what
is sent is the whole of it with these in their places. Source: docs/maintainers/wire.md, "Serverless
deployments".
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batchgen.api.deployment_schema import input_properties, is_link, overrides, uploaded
from batchgen.core.local_files import is_local_file
from batchgen.core.targets import WORKFLOW
from batchgen.core.text import closest_match, quote_value

HOW_TO_EXPORT = "In ComfyUI: File, Export Workflow (API); in older ones, Save (API Format)."

Nodes = dict[str, dict[str, Any]]


class NoExport(ValueError):
    """What is no workflow that can be sent. remedy: what would be one."""

    def __init__(self, what: str, remedy: str = HOW_TO_EXPORT) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def require_export(found: Any) -> Nodes:
    """Return the nodes of a file's JSON value. Raises NoExport."""
    if not isinstance(found, dict):
        raise NoExport("it is no JSON object of nodes")
    if isinstance(found.get("nodes"), list):
        raise NoExport("it is a workflow as ComfyUI's editor saves it, not an export for the API")
    for name in ("prompt", "workflow_api_json"):
        if isinstance(found.get(name), dict) and "class_type" not in found[name]:
            raise NoExport(f"the workflow is inside of {name}", "Write what stands there alone.")
    if not found:
        raise NoExport("it has no nodes")
    for id, node in found.items():
        if not (
            isinstance(node, dict)
            and isinstance(node.get("class_type"), str)
            and isinstance(node.get("inputs", {}), dict)
        ):
            raise NoExport(f"{quote_value(id)} is no node with a class_type and inputs")
        for name, value in node.get("inputs", {}).items():
            if is_link(value) and value[0] not in found:
                what = f"node {id}, {name}: it comes from node {value[0]}, which is not there"
                raise NoExport(what, "Export the workflow again.")
            if _stands_for_a_file(value):
                raise NoExport(f"node {id}, {name}: it has the form of a local file of a row")
    return found


def workflow_digest(nodes: Nodes) -> str:
    """Return `sha256:…`, equal for workflows that make the same.

    The order of names, blanks, and the titles of nodes make no difference.
    """
    bare = {
        id: {name: value for name, value in node.items() if name != "_meta"}
        for id, node in nodes.items()
    }
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def node_classes(nodes: Nodes) -> tuple[str, ...]:
    return (*sorted({node["class_type"] for node in nodes.values()}),)


def with_workflow(document: Mapping[str, Any], nodes: Nodes, digest: str) -> dict[str, Any]:
    """Return a deployment's document with the inputs of this workflow in place of its own."""
    own = {WORKFLOW: {"title": "Workflow", "type": "string", "enum": [digest]}}
    properties = own | input_properties(nodes, _described(document))
    return {**document, "input": {"type": "object", "properties": properties}}


def absent_parts(document: Mapping[str, Any], nodes: Nodes) -> Iterator[tuple[str, str, str]]:
    """Yield (input, what is wrong, remedy) of what a deployment does not have for this workflow.

    input: `12.image`, which is right where a row has another value; "" for what no row can mend.
    """
    info = _described(document)
    missing = set(document.get("missing_nodes") or ())
    for id, node in nodes.items():
        kind = node["class_type"]
        if kind in missing:
            near = closest_match(kind, info)
            remedy = f"Did you mean {near}?" if near else "Install it there, or take the node out."
            yield "", f"node {id}: the deployment has no nodes of the class {kind}", remedy
        for name, value in node.get("inputs", {}).items():
            if uploaded(info.get(kind), name, value) is False:
                place = f"{id}.{name}"
                remedy = f"Give each row a file or an address, as photo with nodes: photo: {place}"
                yield place, f"the deployment has no file {quote_value(value)}", remedy


def body(input: Mapping[str, Any], kept: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the body of a request: `{"overrides": …}`, or `{"workflow_api_json": …}`.

    input: values by `NODE.INPUT`, and the hash of a workflow where there is one. kept: returns its
    nodes.
    """
    values = dict(input)
    digest = values.pop(WORKFLOW, None)
    if digest is None:
        return overrides(values)
    whole = kept(digest)
    nodes = {id: {**node, "inputs": dict(node.get("inputs", {}))} for id, node in whole.items()}
    for place, value in values.items():
        id, _, name = place.partition(".")
        nodes.setdefault(id, {"inputs": {}})["inputs"][name] = value
    return {"workflow_api_json": nodes}


def _described(document: Mapping[str, Any]) -> Mapping[str, Any]:
    info = document.get("object_info")
    return info if isinstance(info, Mapping) else {}


def _stands_for_a_file(value: Any) -> bool:
    """Whether a value, or one inside of it, is taken for a local file where a body is made."""
    if isinstance(value, dict):
        return is_local_file(value) or any(map(_stands_for_a_file, value.values()))
    return isinstance(value, list) and any(map(_stands_for_a_file, value))
