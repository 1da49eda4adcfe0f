"""A workflow of the person's own: read from its file, kept once in the batch, read to be sent.

What is sent is made of the kept copy, if that still has the hash that the row has: the file may be
another by then.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from batchgen.api.workflow_file import (
    HOW_TO_EXPORT,
    Nodes,
    NoExport,
    absent_parts,
    node_classes,
    require_export,
    with_workflow,
    workflow_digest,
)
from batchgen.core.limits import Limits, how_to_raise, say_limit
from batchgen.core.local_files import FileChanged, FileUnusable
from batchgen.core.strict_json import (
    MOST_DEPTH,
    STRICT_DECODER,
    JsonRefused,
    is_deeper,
    lower_first,
)
from batchgen.core.targets import deployment_id
from batchgen.core.text import quote_value
from batchgen.files import (
    FileRefused,
    make_folder,
    open_regular,
    remove_temporary_files,
    write_json,
)

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class OwnWorkflow:
    """path: of its file, as messages name it. digest: as `workflow_digest` returns it.

    absent: what deployments do not have for it, as `absent_parts` yields it, by `deployments/ID`;
        of those whose documents were adapted.
    """

    path: str
    digest: str
    nodes: Nodes
    absent: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its nodes."""
        return node_classes(self.nodes)

    def adapt(self, model: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return the document that the rows of a model are checked by: that of a deployment has the
        inputs of this workflow.
        """
        if deployment_id(model) is None:
            return document
        self.absent[model] = [*absent_parts(document, self.nodes)]
        return with_workflow(document, self.nodes, self.digest)

    def keep(self, folder: Path) -> None:
        """Write a copy below `folder`, one of the batch folder's, unless the right one is there.

        Raises OSError, and LeadsOutside for a link.
        """
        path = kept_path(folder, self.digest)
        with suppress(FileChanged):
            _read_kept(path, self.digest)
            return
        make_folder(folder, folder.parent)
        remove_temporary_files(folder, folder.parent)
        write_json(path, self.nodes, folder.parent)


def read_workflow(
    path: Path, limits: Limits, open: Callable[[Path], BufferedReader] = open_regular
) -> OwnWorkflow:
    """Return the workflow in a file. Raises FileUnusable, whose words begin with the path.

    open: opens it if it may be read; raises FileRefused, OSError and ValueError.
    """
    try:
        with open(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(limits.workflow_bytes + 1)
    except FileRefused as error:
        raise FileUnusable(f"{path} {error.what}", error.remedy) from None
    except FileNotFoundError:
        raise FileUnusable(f"{path} is not there", "Write its path as it is.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        what = f"{path} cannot be read: {reason.lower()}"
        raise FileUnusable(what, "Look at its path and its permissions.") from None
    if len(content) > limits.workflow_bytes:
        size = max(size, len(content))
        what = f"{path} has {size:,} bytes; {say_limit(limits, 'workflow_bytes')}"
        raise FileUnusable(what, how_to_raise("workflow_bytes", size) or HOW_TO_EXPORT)
    try:
        nodes = _parse(content, limits.depth)
        digest = workflow_digest(nodes)
    except NoExport as error:
        raise FileUnusable(f"{path}: {error.what}", error.remedy) from None
    except UnicodeEncodeError:
        what = f"{path}: a text in it has half of a character, and cannot be sent"
        raise FileUnusable(what, HOW_TO_EXPORT) from None
    return OwnWorkflow(str(path), digest, nodes)


def kept_path(folder: Path, digest: str) -> Path:
    """Return the path of the copy of a workflow. digest: `sha256:…`, or what a row has for one."""
    found = _DIGEST.fullmatch(str(digest))
    if found is None:
        raise FileChanged(f"{quote_value(digest)} is not the hash of a workflow")
    return folder / f"{found[1]}.json"


class KeptWorkflows:
    """The workflows that a batch keeps below `folder`, for the bodies of its requests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: tuple[str, Nodes] | None = None

    def read(self, digest: str) -> Mapping[str, Any]:
        """Return the nodes of a workflow. Raises FileChanged where they are not what they were."""
        if self._last is None or self._last[0] != digest:
            self._last = digest, _read_kept(kept_path(self._folder, digest), digest)
        return self._last[1]


def _read_kept(path: Path, digest: str) -> Nodes:
    shown = f"the workflow that the batch keeps, {path}"
    try:
        with open_regular(path, follow=False) as file:
            nodes = _parse(file.read(), MOST_DEPTH)
        same = workflow_digest(nodes) == digest
    except FileRefused as error:
        raise FileChanged(f"{shown}, {error.what}") from None
    except FileNotFoundError:
        raise FileChanged(f"{shown}, is gone") from None
    except OSError as error:
        raise FileChanged(f"{shown}, cannot be read ({error.strerror or error})") from None
    except (NoExport, UnicodeEncodeError):
        same = False
    if not same:
        raise FileChanged(f"{shown}, has changed")
    return nodes


def _parse(content: bytes, depth: int) -> Nodes:
    """Return the nodes of a file. depth: the most lists and objects inside one another.

    Raises NoExport.
    """
    try:
        value = STRICT_DECODER.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NoExport("it is no text in UTF-8") from None
    except JsonRefused as error:
        named = f"{error.field}: " if error.field else ""
        raise NoExport(f"{named}{error.what}", error.remedy) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NoExport(f"it is no JSON ({where}: {lower_first(error.msg)})") from None
    except RecursionError:
        raise NoExport("it is nested too deeply") from None
    if is_deeper(value, depth):
        raise NoExport(f"it is nested deeper than {depth} levels", how_to_raise("depth", 2 * depth))
    return require_export(value)
