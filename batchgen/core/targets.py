"""What a row is sent to: a model, or a deployment of a person's own workflow. Pure.

Both are one text, which is part of the row's identity: a model's id, or `deployments/ID`, as in the
path under which RunComfy has it. No model has an id of two parts that begins so. Source:
docs/maintainers/wire.md, "Serverless deployments".
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

DEPLOYMENTS = "deployments/"
# The input of a row that is the hash of a workflow of the person's own; those of nodes have a dot.
WORKFLOW = "workflow"
# What lists call the inputs that nodes of ComfyUI call so.
_USUAL = {"text": "prompt", "prompt": "prompt", "seed": "seed", "noise_seed": "seed"}
_USUAL |= {"image": "image"}
_SEEDS = frozenset(name for name, usual in _USUAL.items() if usual == "seed")
_MAX_SEED = 2**31  # every node takes a seed below
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def deployment_target(id: str) -> str:
    """Return what stands for a deployment in place of a model. Raises ValueError."""
    if not _ID.fullmatch(id):
        raise ValueError(
            f"{id!r} is not the id of a deployment, as 12345678-1234-1234-1234-123456789abc"
        )
    return f"{DEPLOYMENTS}{id}"


def deployment_id(target: str) -> str | None:
    """Return the id of the deployment that a row is sent to; None where that is a model."""
    id = target.removeprefix(DEPLOYMENTS)
    return id if id != target and "/" not in id else None


def suggest_nodes(inputs: Iterable[str]) -> dict[str, str]:
    """Return what a list may call inputs of nodes, as `{"prompt": "6.text"}`: the likeliest ones.

    inputs: of a deployment, in the order of its workflow. Nothing in it says which of two texts is
    the prompt; the first is it mostly.
    """
    found: dict[str, str] = {}
    for place in inputs:
        name = _USUAL.get(place.partition(".")[2])
        if name is not None:
            found.setdefault(name, place)
    return found


def another_seed(input: Mapping[str, Any], key: str, inputs: Iterable[str] = ()) -> dict[str, int]:
    """Return other seeds for a row, by its inputs that are seeds, as `{"31.seed": 1830210}`.

    key: of the row, of which they are drawn: asked again, the answer is the same. inputs: of its
    workflow; of a row without a seed the first of these that is one is taken.
    """

    def drawn(text: str) -> int:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()) % _MAX_SEED

    def is_seed(place: str) -> bool:
        return place.partition(".")[2] in _SEEDS

    places = [*filter(is_seed, input)] or [*filter(is_seed, inputs)][:1]
    return {place: drawn(f"{key} {place} {input.get(place)}") for place in places}


def is_workflow(name: str, value: Any) -> bool:
    """Whether an input is the hash of a workflow; a model may have an input of that name."""
    return name == WORKFLOW and isinstance(value, str) and value.startswith("sha256:")


def parse_node_input(text: str) -> str:
    """Return `6.text`, an input of a node of a workflow, as it is. Raises ValueError."""
    node, dot, name = text.partition(".")
    if not (node and dot and name) or len(text) > 200:
        raise ValueError(f"{text!r} is not NODE.INPUT, as 6.text")
    return text
