"""A deployment's workflow -> the schema of its inputs, in the form of a model's. Pure.

The workflow is what ComfyUI exports for its API: `{NODE: {"class_type": …, "inputs": {…}}}`. The
types, ranges and choices are those of `object_info`: by class, `{"input": {"required": {NAME:
[TYPE, OPTIONS]}, "optional": …}}`, where TYPE is a name or the list of choices. Source:
docs/maintainers/wire.md, "Serverless deployments".
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_OBJECT_INFO_BYTES = 64 << 20  # with all nodes of a large installation
_UPLOADS = {"image_upload": "image", "video_upload": "video", "audio_upload": "audio"}
_KEPT = (
    *("id", "name", "workflow_id", "workflow_version", "hardware", "min_instances"),
    *("max_instances", "queue_size", "status", "is_enabled"),
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds now for all rows of a deployment.

    version: of its workflow; "" where RunComfy does not say. at_once: requests that it works on at
    the same time, None where RunComfy does not say. closed: why it takes none; "" if it does.
    hardware: of its instances; "" where RunComfy does not say.
    """

    version: str = ""
    at_once: int | None = None
    closed: str = ""
    hardware: str = ""


def conditions_of(document: Mapping[str, Any] | None) -> Conditions:
    """document: as `deployment_document` makes it, or the API's answer; None: there is none."""
    if document is None:
        return Conditions(closed="RunComfy has no such deployment in this account")
    hardware = document.get("hardware")
    kinds = hardware if isinstance(hardware, list) else [hardware]
    version, most = document.get("workflow_version"), document.get("max_instances")
    return Conditions(
        version if isinstance(version, str) else "",
        most if isinstance(most, int) and most > 0 else None,
        "the deployment is disabled" if document.get("is_enabled") is False else "",
        next((one for one in kinds if isinstance(one, str)), ""),
    )


def is_another(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether the workflow has changed since a document was stored."""
    names = ("workflow_version", "payload")
    return any(document.get(name) != before.get(name) for name in names)


def describes_more(document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a document has classes of nodes that one of before was not asked about."""

    def known(one: Mapping[str, Any]) -> set[str]:
        info = one.get("object_info")
        return {*(info if isinstance(info, Mapping) else ()), *(one.get("missing_nodes") or ())}

    return not known(document) <= known(before)


def overrides(input: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request: `{"overrides": {"6": {"inputs": {"text": …}}}}`.

    input: values by `NODE.INPUT`.
    """
    nodes: dict[str, dict[str, Any]] = {}
    for place, value in input.items():
        node, _, name = place.partition(".")
        nodes.setdefault(node, {"inputs": {}})["inputs"][name] = value
    return {"overrides": nodes}


def deployment_document(
    model: str, found: Mapping[str, Any], object_info: Any, wanted: Collection[str] = ()
) -> dict[str, Any]:
    """Return a deployment in the form of a catalogue's entry, to be kept as a schema is.

    The sandbox can emulate it by that file, since it has the workflow too.
    model: `deployments/ID`. found: the API's answer, with its payload. object_info: None where it
    cannot be had; then types are those of the values in the workflow. wanted: classes of nodes that
    are described beside those of the workflow; which of these there are not is in `missing_nodes`.
    """
    payload = found.get("payload")
    workflow = payload.get("workflow_api_json") if isinstance(payload, Mapping) else None
    info = object_info if isinstance(object_info, Mapping) else {}
    nodes = workflow if isinstance(workflow, Mapping) else {}
    used = {one.get("class_type") for one in nodes.values() if isinstance(one, Mapping)}
    used.update(wanted)
    return {
        "model_id": model,
        "display_name": found.get("name"),
        **{name: found[name] for name in _KEPT if name in found},
        "payload": {"workflow_api_json": dict(nodes)},
        "object_info": {kind: one for kind, one in info.items() if kind in used},
        "missing_nodes": sorted(kind for kind in wanted if info and kind not in info),
        "input": {"type": "object", "properties": input_properties(nodes, info)},
    }


def input_properties(nodes: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of each input of a workflow's nodes, by `NODE.INPUT`."""
    return {
        f"{node}.{name}": schema
        for node, one in nodes.items()
        if isinstance(one, Mapping) and "." not in str(node)
        for name, schema in _inputs(one, info)
    }


def uploaded(described: Any, name: str, value: Any) -> bool | None:
    """Whether a deployment has the file that a node loads; None where that cannot be told.

    described: by object_info, which has the files as choices. value: the input's.
    """
    declared = _declarations(described).get(name, [])
    options = declared[1] if len(declared) > 1 and isinstance(declared[1], Mapping) else {}
    choices = options.get("options") if declared[:1] == ["COMBO"] else (declared or [None])[0]
    is_upload = any(options.get(option) for option in _UPLOADS)
    if not (is_upload and isinstance(choices, list) and isinstance(value, str)):
        return None
    return value in choices or value.lower().startswith(("https://", "data:"))


def _inputs(node: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (name, schema) of each input of a node that takes a value."""
    kind = node.get("class_type")
    values = node.get("inputs")
    values = values if isinstance(values, Mapping) else {}
    declared = _declarations(info.get(kind) if isinstance(kind, str) else None)
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    title = title if isinstance(title, str) and title.strip() else kind
    for name in dict.fromkeys([*values, *declared]):
        value = values.get(name)
        if name in declared:
            schema = _declared(declared[name], kind, name)
        else:
            schema = None if is_link(value) else _like(value, kind, name)
        if schema is None:
            continue
        if value is not None and not is_link(value) and not isinstance(value, list | dict):
            schema["default"] = value
        yield str(name), {"title": str(title), **schema}


def _declarations(described: Any) -> dict[str, list[Any]]:
    """Return what object_info declares of each input of a class of nodes."""
    groups = described.get("input") if isinstance(described, Mapping) else None
    declared: dict[str, list[Any]] = {}
    for group in ("required", "optional"):
        if isinstance(groups, Mapping) and isinstance(groups.get(group), Mapping):
            # What is declared in no known form is taken as the workflow has it.
            declared |= {k: v for k, v in groups[group].items() if isinstance(v, list) and v}
    return declared


def _declared(declared: list[Any], kind: Any, name: str) -> dict[str, Any] | None:
    """Return the schema of an input by its declaration; None for what only a link can give."""
    type, options = declared[0], declared[1] if len(declared) > 1 else {}
    options = options if isinstance(options, Mapping) else {}
    if media := _media(kind, name, options):
        return {"type": "string", "format": f"{media}_uri"}
    if type == "COMBO":
        type = options.get("options")
        if not isinstance(type, list):
            return {}
    if isinstance(type, list):
        choices = [one for one in type if isinstance(one, str | int | float)]
        return (
            {"enum": choices}
            | ({"type": "string"} if all(isinstance(one, str) for one in choices) else {})
            if choices
            else {}
        )
    match type:
        case "INT" | "FLOAT":
            limits = {
                keyword: options[bound]
                for bound, keyword in (("min", "minimum"), ("max", "maximum"))
                if isinstance(options.get(bound), int | float)
            }
            return {"type": "integer" if type == "INT" else "number", **limits}
        case "STRING":
            return {"type": "string"}
        case "BOOLEAN":
            return {"type": "boolean"}
    return None


def _media(kind: Any, name: str, options: Mapping[str, Any]) -> str | None:
    """Return the kind of file behind an input that takes the URL of one."""
    for option, media in _UPLOADS.items():
        if options.get(option):
            return media
    if isinstance(kind, str) and kind.startswith("Load"):
        words = {"image": "image", "video": "video", "audio": "audio"}
        return words.get(name) if kind.lower().removeprefix("load").startswith(name) else None
    return None


def is_link(value: Any) -> bool:
    """Whether a value is the output of another node, `["4", 0]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def _like(value: Any, kind: Any, name: str) -> dict[str, Any]:
    """Return the schema of an input by the value that it has in the workflow."""
    if media := _media(kind, name, {}):
        return {"type": "string", "format": f"{media}_uri"}
    match value:
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
    return {}
