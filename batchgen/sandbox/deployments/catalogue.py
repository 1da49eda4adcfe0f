"""The deployments that the sandbox serves: its own samples, and those of files.

A file has a deployment as the API answers it with its payload, and beside that its `object_info`.
One that describes some nodes only has `missing_nodes`, the classes that there are not. What else it
has is not looked at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchgen.errors import UsageError
from batchgen.sandbox.catalogue import read_described
from batchgen.sandbox.deployments.hardware import USUAL_HARDWARE
from batchgen.sandbox.deployments.instances import Scaling
from batchgen.sandbox.deployments.samples import SAMPLES
from batchgen.sandbox.deployments.workflow import Workflow, find_problems

CHANGES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "workflow_version": str,
    "hardware": list,
    "min_instances": int,
    "max_instances": int,
    "queue_size": int,
    "keep_warm_duration_in_seconds": (int, float),
    "is_enabled": bool,
    "is_deleted": bool,
    "workflow_api_json": dict,
    "object_info": dict,
    "object_info_url": str,
}


ANSWERED = (
    *("id", "name", "workflow_id", "workflow_version", "hardware", "min_instances"),
    *("max_instances", "queue_size", "keep_warm_duration_in_seconds", "status", "is_enabled"),
    *("created_at", "updated_at", "payload"),
)


@dataclass(frozen=True)
class Deployment:
    """described: as the API answers it, with its payload. is_deleted: it is known and gone.

    object_info_url: where object_info is said to be; None is here. missing_nodes: classes of nodes
        that there are not; None is all that object_info does not have.
    """

    described: dict[str, Any]
    object_info: dict[str, Any]
    is_deleted: bool = False
    takes_anything: bool = False
    object_info_url: str | None = None
    missing_nodes: tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        return str(self.described["id"])

    @property
    def workflow(self) -> Workflow:
        found: Workflow = self.described.get("payload", {}).get("workflow_api_json", {})
        return found

    @property
    def is_enabled(self) -> bool:
        return bool(self.described.get("is_enabled", True))

    @property
    def max_instances(self) -> int:
        return int(self.described.get("max_instances", 1))

    @property
    def queue_limit(self) -> int:
        """How many requests may wait where a full queue refuses."""
        return int(self.described.get("queue_size", 1)) * self.max_instances

    def scaling(self, cold_start: float) -> Scaling:
        """cold_start: seconds until an instance that was woken runs."""
        hardware = self.described.get("hardware") or [USUAL_HARDWARE]
        return Scaling(
            self.id, hardware[0], int(self.described.get("min_instances", 0)), self.max_instances,
            float(self.described.get("keep_warm_duration_in_seconds", 60)), cold_start,
        )  # fmt: skip

    def problems(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the problems of a body, in the form of a 422's `detail`."""
        if self.takes_anything:
            return []
        return list(find_problems(self.workflow, self.object_info, given, self.missing_nodes))

    def shown(self, object_info_url: str, includes: Iterable[str]) -> dict[str, Any]:
        """Return the API's answer; includes: `payload`, if it is wanted."""
        entry = {name: value for name, value in self.described.items() if name != "payload"}
        entry["status"] = "standby" if self.is_enabled else "disabled"
        if "payload" in includes:
            payload = self.described.get("payload", {})
            url = self.object_info_url or object_info_url
            entry["payload"] = {**payload, "object_info_url": url}
        return entry

    def changed(self, changes: Mapping[str, Any], updated_at: str) -> "Deployment":
        """Return the deployment with other values. Raises ValueError for what cannot be."""
        for name, value in changes.items():
            kind = CHANGES.get(name)
            if kind is None:
                raise ValueError(f"no such change: {name}; there are {', '.join(CHANGES)}")
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
                raise ValueError(f"{name} cannot be {value!r:.100}")
        rest = dict(changes)
        own = ("object_info", "object_info_url", "is_deleted")
        beside = {name: rest.pop(name) for name in own if name in rest}
        described = {**self.described, "updated_at": updated_at}
        if "workflow_api_json" in rest:
            workflow = {"workflow_api_json": rest.pop("workflow_api_json")}
            described["payload"] = {**described.get("payload", {}), **workflow}
        described |= rest
        return replace(self, described=described, **beside)


def load_deployment(path: Path) -> Deployment:
    """Read a file. Raises UsageError for one that is not regular, too large, or no deployment."""
    described = read_described(path)
    if not isinstance(described, dict) or not isinstance(described.get("id"), str):
        what = f"{path} is no deployment: it does not say which one it is."
        raise UsageError(what, 'Write it as {"id": "…", "payload": {…}, "object_info": {…}}.')
    return make_deployment(described)


def make_deployment(described: dict[str, Any]) -> Deployment:
    """described: as in a file; what the API does not answer is left out."""
    answered = {name: described[name] for name in ANSWERED if name in described}
    missing = described.get("missing_nodes")
    absent = tuple(map(str, missing)) if isinstance(missing, list) else None
    return Deployment(answered, described.get("object_info", {}), missing_nodes=absent)


def any_deployment(id: str) -> Deployment:
    """Return a deployment that takes any override."""
    described = {**SAMPLES[0], "id": id, "name": id, "payload": {"workflow_api_json": {}}}
    return replace(make_deployment(described), takes_anything=True, object_info={})


def load_deployments(files: Iterable[Path]) -> dict[str, Deployment]:
    """Return the samples and those of files, by id. Raises what load_deployment raises."""
    found = [*map(make_deployment, SAMPLES), *map(load_deployment, files)]
    return {one.id: one for one in found}
