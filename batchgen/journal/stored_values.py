"""Whether a journal's values about files can have been written by batchgen. Pure.

A journal can come from another person, and its values become names of files. A value that passes
stays inside the batch folder. Everything that any version of batchgen has written passes.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

KINDS = ("image", "video", "audio", "file")
MAX_NAME_BYTES = 255  # that common file systems take
# Not hidden; without control characters and separators, also those of Windows.
_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f]+")
FOLDERS = ("images", "videos", "audio", "files")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_name(value: Any) -> bool:
    """Return whether this is the name of one file, or the stem of one."""
    return (
        isinstance(value, str)
        and _NAME.fullmatch(value) is not None
        and len(value.encode(errors="replace")) <= MAX_NAME_BYTES
    )


def is_path(value: Any) -> bool:
    """Return whether this is the path of an output, relative to the batch folder."""
    if not isinstance(value, str):
        return False
    folder, _, name = value.partition("/")
    return folder in FOLDERS and is_name(name)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_note(value: Any) -> bool:
    return isinstance(value, str)


_NEVER_NULL: Mapping[str, Callable[[Any], bool]] = {"key": is_name, "name": is_name, "n": _is_count}
_MAY_BE_NULL: Mapping[str, Callable[[Any], bool]] = {
    "path": is_path,
    "sha256": _is_sha256,
    "delivered_sha256": _is_sha256,
    "kind": KINDS.__contains__,
    "bytes": _is_count,
    "width": _is_count,
    "height": _is_count,
    "note": _is_note,
}


def odd(values: Mapping[str, Any]) -> str | None:
    """Return the first column whose value batchgen does not write; None if there is none.

    values: of a request, an output, or both, by column. Columns that are no part of a file's name
        or facts are not looked at.
    """
    for column, value in values.items():
        if column in _MAY_BE_NULL:
            if value is not None and not _MAY_BE_NULL[column](value):
                return column
        elif column in _NEVER_NULL and not _NEVER_NULL[column](value):
            return column
    return None
