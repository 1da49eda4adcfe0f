"""ComfyUI workflows in the API's format: overrides, what is wrong with them, what comes out.

A workflow is `{node: {"class_type": …, "inputs": {name: value}}}`; a value that is `[node, n]` is a
link to another node's n-th output. What a class of nodes takes is said by ComfyUI's `object_info`:
`{class: {"input": {"required": {name: [type, options]}, …}, …}}`, where a type is INT, FLOAT,
STRING, BOOLEAN, a list of choices, `COMBO` with the choices in its options, or a type of links.
"""

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from batchgen.sandbox.errors import invalid_input
from batchgen.sandbox.media import IMAGE_FORMATS, OTHER_FORMATS, PNG, MediaFormat, output_count

Workflow = dict[str, Any]
Problem = dict[str, Any]

KINDS: Mapping[str, tuple[type, ...]] = {
    "INT": (int,),
    "FLOAT": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
}
# class -> the name of its list in `outputs`, the type of its files, their format
FILE_NODES: Mapping[str, tuple[str, str, MediaFormat]] = {
    "SaveImage": ("images", "output", PNG),
    "PreviewImage": ("images", "temp", PNG),
    "SaveAnimatedWEBP": ("images", "output", IMAGE_FORMATS["webp"]),
    "SaveVideo": ("images", "output", OTHER_FORMATS["video"]),
    "VHS_VideoCombine": ("gifs", "output", OTHER_FORMATS["video"]),
    "SaveAudio": ("audio", "output", OTHER_FORMATS["audio"]),
}
TEXT_NODES = ("PreviewAny", "ShowText|pysssss")


class OutputFile(NamedTuple):
    """A file that a workflow makes. field: its list in `outputs`. prefix: of its name."""

    node: str
    field: str
    type: str
    form: MediaFormat
    prefix: str


def effective_workflow(base: Workflow, given: dict[str, Any]) -> Workflow:
    """Return the workflow that a body, which has no problem, runs."""
    if given.get("workflow_api_json") is not None:
        whole: Workflow = given["workflow_api_json"]
        return whole
    result = copy.deepcopy(base)
    for node, change in (given.get("overrides") or {}).items():
        inputs = result.setdefault(node, {}).setdefault("inputs", {})
        inputs |= change["inputs"] if isinstance(change, dict) else {}
    return result


def find_problems(
    base: Workflow,
    types: Mapping[str, Any],
    given: dict[str, Any],
    missing: Collection[str] | None = None,
) -> Iterator[Problem]:
    """Yield the problems of a body, in the form of a 422's `detail`.

    types: the object_info. missing: the classes of nodes that there are not; None is all others.
    """
    overrides, whole = given.get("overrides"), given.get("workflow_api_json")
    if whole is not None:
        if overrides:
            yield _problem("Overrides cannot come with a workflow", "conflict", "overrides")
        yield from _workflow_problems(whole, types, missing)
    elif overrides is None:
        yield _problem("Field required", "missing", "overrides")
    elif not isinstance(overrides, dict):
        yield _problem("Input should be an object", "object_type", "overrides")
    else:
        for node, change in overrides.items():
            yield from _override_problems(base, types, node, change)


def _problem(what: str, kind: str, *place: str) -> Problem:
    found: Problem = invalid_input(what, kind, *place)[1]["detail"][0]
    return found


def _override_problems(
    base: Workflow, types: Mapping[str, Any], node: str, change: Any
) -> Iterator[Problem]:
    place = ("overrides", node)
    if node not in base:
        yield _problem("The workflow has no such node", "unknown_node", *place)
        return
    if not isinstance(change, dict) or not isinstance(change.get("inputs"), dict):
        yield _problem("Input should be an object with inputs", "object_type", *place)
        return
    taken = _taken(types, base[node].get("class_type", ""))
    for name, value in change["inputs"].items():
        if name not in base[node].get("inputs", {}):
            yield _problem("The node has no such input", "unknown_input", *place, "inputs", name)
        elif found := value_problem(taken.get(name), value):
            yield _problem(*found, *place, "inputs", name)


def _workflow_problems(
    whole: Any, types: Mapping[str, Any], missing: Collection[str] | None
) -> Iterator[Problem]:
    place = "workflow_api_json"
    if not isinstance(whole, dict) or not whole:
        yield _problem("Input should be an object of nodes", "object_type", place)
        return
    for node, described in whole.items():
        kind = described.get("class_type") if isinstance(described, dict) else None
        inputs = described.get("inputs", {}) if isinstance(described, dict) else None
        if not isinstance(kind, str) or not isinstance(inputs, dict):
            yield _problem("Input should be a node with a class_type", "node_type", place, node)
            continue
        if kind in missing if missing is not None else types and kind not in types:
            yield _problem(f"There are no nodes of the class {kind}", "unknown_class", place, node)
        for name, spec in _taken(types, kind).items():
            if name not in inputs:
                if name in types[kind]["input"].get("required", {}):
                    yield _problem("Field required", "missing", place, node, "inputs", name)
            elif found := value_problem(spec, inputs[name]):
                yield _problem(*found, place, node, "inputs", name)


def _taken(types: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the inputs that a class of nodes takes, required ones first; {} for an unknown one."""
    groups = types.get(kind, {}).get("input", {})
    return {**groups.get("required", {}), **groups.get("optional", {})}


def value_problem(spec: Any, value: Any) -> tuple[str, str] | None:
    """Say what is wrong with an input's value and of which kind that is; None if nothing.

    spec: of object_info, `[type, options]`; None is not known, and takes anything.
    """
    if spec is None or is_link(value):
        return None
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        uploaded = options.get("image_upload") or options.get("video_upload")
        if value in choices or (uploaded and is_file(value)):
            return None
        return f"Value not in list: {value!r:.100}", "value_not_in_list"
    if kind not in KINDS:
        return f"Input should be a link to a {kind}", "link_type"
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        return f"Input should be of the type {kind}", f"{kind.lower()}_type"
    if "min" in options and value < options["min"]:
        return (
            f"Value {value} is smaller than the least, {options['min']}",
            "value_smaller_than_min",
        )
    if "max" in options and value > options["max"]:
        return f"Value {value} is larger than the most, {options['max']}", "value_bigger_than_max"
    return None


def is_link(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) is int
    )


def is_file(value: Any) -> bool:
    """Whether a value is a file that the service fetches or that came along."""
    return isinstance(value, str) and value.lower().startswith(("https://", "data:"))


def output_files(workflow: Workflow) -> list[OutputFile]:
    """Return the files that a workflow makes, those of one node together.

    One without a node that makes files makes a picture, as if its node 9 was a SaveImage.
    """
    count = max((output_count(_inputs(node)) for node in workflow.values()), default=1)
    found = [
        OutputFile(id, *FILE_NODES[kind], str(_inputs(node).get("filename_prefix", "ComfyUI")))
        for id, node in workflow.items()
        if (kind := _class_of(node)) in FILE_NODES
        for _ in range(count)
    ]
    return found or [OutputFile("9", *FILE_NODES["SaveImage"], "ComfyUI")]


def output_texts(workflow: Workflow) -> dict[str, list[str]]:
    """Return what the nodes that show a text show: the prompt."""
    return {
        id: [prompt_of(workflow)] for id, node in workflow.items() if _class_of(node) in TEXT_NODES
    }


def _class_of(node: Any) -> str:
    return str(node.get("class_type", "")) if isinstance(node, dict) else ""


def _inputs(node: Any) -> dict[str, Any]:
    found = node.get("inputs") if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def prompt_of(workflow: Workflow) -> str:
    """Return the text that a sampler's `positive` leads to, else the first text of all nodes."""
    for node in workflow.values():
        link = _inputs(node).get("positive")
        source = workflow.get(link[0]) if isinstance(link, list) and is_link(link) else None
        if isinstance(text := _inputs(source).get("text"), str):
            return text
    return next(iter(_texts(workflow)), "")


def _texts(nodes: Any) -> Iterator[str]:
    if isinstance(nodes, dict):
        for node in nodes.values():
            yield from (value for value in _inputs(node).values() if isinstance(value, str))


def all_texts(given: dict[str, Any]) -> str:
    """Return all texts of a body's inputs, one a line."""
    both = (given.get("overrides"), given.get("workflow_api_json"))
    return "\n".join(text for nodes in both for text in _texts(nodes))


def size_of(workflow: Workflow) -> dict[str, int]:
    """Return `width` and `height` of the first node that has both as numbers; {} if none has."""
    for node in workflow.values():
        size = {side: _inputs(node).get(side) for side in ("width", "height")}
        if all(type(value) is int for value in size.values()):
            return size  # type: ignore[return-value]  # they are whole numbers
    return {}
