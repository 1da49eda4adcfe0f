"""A local file among a row's inputs: what stands for it wherever its bytes do not. Pure.

A manifest names a file by its path. A row's input, and so the journal and the report, has

    {"file": "photos/heron.png", "sha256": "<64 hex digits>"}

in its place: as the value of an input, or as an item of a list. Where --fit made a smaller picture
of it, `fit` says in words what was made, and `sent_sha256` is the hash of that. `sha256` alone is
part of the row's identity, so that a renamed file is the same row and a changed one is another.
What is sent is made from the file at the submission.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

# Of a request's body, encoded. Source: docs/maintainers/wire.md, "Inputs".
MAX_BODY_BYTES = 64 << 20
KINDS = {"image": "a picture", "video": "a video", "audio": "a sound"}  # of files, in words
_NAMES = {"file", "sha256"}
_NAMES_IF_FITTED = _NAMES | {"fit", "sent_sha256"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
# An input without it has no local file; in a text, JSON would escape the quotation marks.
MARK = '"sha256"'


class FileUnusable(Exception):
    """A path that is not sent. what: begins with the path. remedy: as in Problem."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


class FileChanged(Exception):
    """A local file or a workflow is not what was checked, so that its row is not sent.

    str: for people.
    """


class LocalFile(NamedTuple):
    """A file that was checked.

    path: as the manifest has it. bytes: its size. content_type: of what is sent.
    seen: what tells whether it was written to since, as `inputs.find_files` has it.
    fit, sent_sha256, fit_bytes: of the smaller picture that is sent; "" and 0 where it is itself.
    """

    path: str
    sha256: str
    bytes: int
    content_type: str
    seen: str
    fit: str = ""
    sent_sha256: str = ""
    fit_bytes: int = 0

    @property
    def input(self) -> dict[str, str]:
        """What stands for it in a row's input."""
        fitted = {"fit": self.fit, "sent_sha256": self.sent_sha256} if self.fit else {}
        return {"file": self.path, "sha256": self.sha256, **fitted}

    @property
    def sample(self) -> str:
        """A short text of the form in which it is sent, to be checked by a schema."""
        return f"{uri_start(self.content_type)}AAAA"

    @property
    def sent_chars(self) -> int:
        """How long the text is as which it is sent."""
        return len(uri_start(self.content_type)) + base64_size(self.fit_bytes or self.bytes)


# (path, kind of file: `image`, `video`, `audio`, or "" for any) -> the file; raises FileUnusable
FindFile = Callable[[str, str], LocalFile]


def is_path(text: str) -> bool:
    """Say whether a text where a file is expected means a local one, and not a URL."""
    return bool(text.strip()) and "://" not in text and not text.lower().startswith("data:")


def uri_start(content_type: str) -> str:
    """Return how a `data:` URI begins, before the file in base64."""
    return f"data:{content_type};base64,"


def base64_size(size: int) -> int:
    """Return how many characters so many bytes are in base64."""
    return (size + 2) // 3 * 4


def is_local_file(value: Any) -> TypeGuard[dict[str, str]]:
    """Say whether a value stands for a local file."""
    return (
        isinstance(value, dict)
        and value.keys() in (_NAMES, _NAMES_IF_FITTED)
        and all(isinstance(one, str) for one in value.values())
        and all(_SHA256.fullmatch(value.get(name, "0" * 64)) for name in ("sha256", "sent_sha256"))
    )


def local_files(input: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (name of the input, what stands for the file) for each local file of a row."""
    for name, value in input.items():
        for one in value if isinstance(value, list) else [value]:
            if is_local_file(one):
                yield name, one


def with_paths(input: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's input as a manifest writes it, with the paths of its files alone."""

    return _replaced(input, lambda file: file["file"])


def without_paths(input: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row's input without the paths of its files, which are no part of its identity."""
    if not any(True for _ in local_files(input)):
        return input
    return _replaced(input, lambda file: {"sha256": file["sha256"]})


def without_folders(input: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's input with only the names of its files, for whoever has another computer."""
    return _replaced(input, lambda file: {**file, "file": file["file"].rpartition("/")[2]})


def _replaced(input: Mapping[str, Any], by: Callable[[dict[str, str]], Any]) -> dict[str, Any]:
    """Return a row's input with something else in place of what stands for each local file."""

    def one(value: Any) -> Any:
        return by(value) if is_local_file(value) else value

    return {
        name: [*map(one, value)] if isinstance(value, list) else one(value)
        for name, value in input.items()
    }
