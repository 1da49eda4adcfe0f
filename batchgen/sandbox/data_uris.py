"""Files that come inside of a body, as `data:` URIs: checked, and noted without their content.

That RunComfy takes them at all is not published. Source: docs/maintainers/wire.md, "Inputs".
"""

import base64
import binascii
import io
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from PIL import Image

from batchgen.sandbox.errors import invalid_input

MAX_FILE_BYTES = {"image": 50_000_000, "video": 100_000_000}
START = re.compile(r"data:([a-z]+)/[a-z0-9.+-]+;base64,", re.IGNORECASE)


def noted(value: Any) -> Any:
    """Return an input with `data:sha256:…` for each file in it, however the file is written.

    That is a `data:` URI in a body, and `{"file": path, "sha256": …}` in a client's journal.
    """
    if isinstance(value, str):
        return value if value[:5].lower() != "data:" else _note_of(value)
    if isinstance(value, list):
        return [noted(one) for one in value]
    if isinstance(value, dict):
        if {"file", "sha256"} <= value.keys() <= {"file", "sha256", "fit", "sent_sha256"}:
            return f"data:sha256:{value.get('sent_sha256', value['sha256'])}"
        return {name: noted(one) for name, one in value.items()}
    return value


def _note_of(uri: str) -> str:
    try:
        return f"data:sha256:{sha256(_content(uri)).hexdigest()}"
    except ValueError:
        return f"data:broken:{sha256(uri.encode(errors='replace')).hexdigest()}"


def _content(uri: str) -> bytes:
    """Return the file in a `data:` URI. Raises ValueError."""
    start = START.match(uri)
    if start is None:
        raise ValueError("Input should be a data: URI in base64")
    try:
        return base64.b64decode(uri[start.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError(f"Input should be valid base64: {error}") from None


def file_problems(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the problems of the files in a body, in the form of a 422's `detail`."""
    return [
        invalid_input(what, "data_uri", *place)[1]["detail"][0]
        for place, uri in _uris(given, ())
        if (what := _problem(uri))
    ]


def _uris(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str) and value[:5].lower() == "data:":
        yield place, value
    elif isinstance(value, list | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, one in items:
            yield from _uris(one, (*place, str(name)))


def _problem(uri: str) -> str:
    """Say why a file is not taken; "" where it is."""
    try:
        content = _content(uri)
    except ValueError as error:
        return str(error)
    kind = uri[5:].partition("/")[0].lower()
    if len(content) > MAX_FILE_BYTES.get(kind, len(content)):
        return f"File too large: {len(content)} bytes"
    if kind == "image":
        try:
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
        except Exception as error:  # noqa: BLE001  # Pillow's decoders raise exceptions of any type
            return f"Image cannot be decoded: {type(error).__name__}"
    return ""
