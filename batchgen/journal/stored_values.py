"""Whether what a journal says of files is what we would have written ourselves.

A journal can come from somebody else, and its values become names of files. What passes here stays
in the batch folder: a superset of all that any version of batchgen has written.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

KINDS = ("image", "video", "audio")
LONGEST = 255  # bytes of a name, which is what common file systems take
# Not hidden; without separators, of Windows too, and control characters.
_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f]+")
_FOLDERS = {"images", "videos", "audio"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_name(value: Any) -> bool:
    """Whether this is the name of one file or the stem of one."""
    return (
        isinstance(value, str)
        and _NAME.fullmatch(value) is not None
        and len(value.encode(errors="replace")) <= LONGEST
    )


def is_path(value: Any) -> bool:
    """Whether this is the path of an output, as seen from the batch folder."""
    if not isinstance(value, str):
        return False
    folder, _, name = value.partition("/")
    return folder in _FOLDERS and is_name(name)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


_ALWAYS: Mapping[str, Callable[[Any], bool]] = {"key": is_name, "name": is_name, "n": _is_count}
_IF_ANY: Mapping[str, Callable[[Any], bool]] = {
    "path": is_path,
    "sha256": _is_sha256,
    "delivered_sha256": _is_sha256,
    "kind": KINDS.__contains__,
    "bytes": _is_count,
    "width": _is_count,
    "height": _is_count,
}


def odd(values: Mapping[str, Any]) -> str | None:
    """Return the column whose value we would never have written; None if there is none.

    values: those of a request, an output, or both, by column; others are not looked at.
    """
    for column, value in values.items():
        if column in _IF_ANY:
            if value is not None and not _IF_ANY[column](value):
                return column
        elif column in _ALWAYS and not _ALWAYS[column](value):
            return column
    return None
