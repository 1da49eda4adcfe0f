"""Where the outputs are in a result. Pure. Source: docs/maintainers/wire.md, "Outputs".

`output` is `{"image": url}`, `{"images": [url, …]}`, the same for video and audio, a bare URL or a
bare list (older docs), or has names that we do not know. So every URL in it counts, but those under
the names of outputs count more: a model may repeat its input beside them, or name its terms.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from batchgen.api.response import decode_json

# Where a result without `output` has been seen to keep what it made.
OUTPUT_NAMES = {"output", "outputs", "result", "data"}
MADE_NAMES = {"image", "images", "video", "videos", "audio", "audios", "file", "files"}
INPUT_NAMES = {"input", "inputs", "prompt", "params", "parameters", "request", "arguments"}
MAX_DEPTH = 8
MAX_KEPT_CHARS = 4096  # of one text in a result that is kept in the journal
MAX_KEPT_RESULT = 1 << 20
_URL = re.compile(r"\s*https?:", re.IGNORECASE)
_DATA = re.compile(r"\s*data:([^,;]{0,100})[^,]{0,200},", re.IGNORECASE)
_BASE64_NAME = re.compile(r"b64|base64", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")


@dataclass(frozen=True, slots=True)
class FoundOutput:
    """A URL, or an output that is in the result itself.

    url: to fetch it from; of an inline output `data:TYPE` alone, without its content.
    text: what the result has. is_made: it is under a name of outputs, and of no input. is_input: it
        is inline, and under a name of inputs.
    """

    url: str
    text: str
    is_made: bool
    is_input: bool = False

    @property
    def is_inline(self) -> bool:
        return is_inline(self.url)


def is_inline(url: str) -> bool:
    return url.startswith("data:")


def find_outputs(body: Mapping[str, Any]) -> list[FoundOutput]:
    """Return the outputs of a result, each once, in order. body: the whole result."""
    output = body.get("output")
    if output is None:
        output = {name: body[name] for name in body if name in OUTPUT_NAMES | MADE_NAMES}
    found: dict[str, FoundOutput] = {}
    for text, path in _texts(output, ()):
        if (url := _as_url(text, path)) and text.strip() not in found:
            inside = {name.lower() for name in path}
            made = not path or (bool(inside & MADE_NAMES) and not inside & INPUT_NAMES)
            is_input = is_inline(url) and bool(inside & INPUT_NAMES)
            found[text.strip()] = FoundOutput(url, text.strip(), made, is_input)
    # A local file that was sent is repeated beside the outputs: it would be kept as one.
    made_any = any(one.is_made for one in found.values())
    return [one for one in found.values() if not (one.is_input and made_any)]


def beside(outputs: list[FoundOutput]) -> frozenset[int]:
    """Return the numbers, from 1, of URLs that stand beside outputs and may be none themselves."""
    if not any(output.is_made for output in outputs):
        return frozenset()
    return frozenset(n for n, output in enumerate(outputs, 1) if not output.is_made)


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every text with the names that lead to it."""
    if isinstance(value, str):
        if value[:1] in ("{", "[") and len(path) < MAX_DEPTH:  # some models answer JSON in JSON
            yield from _texts(decode_json(value.encode()), (*path, ""))
        else:
            yield value, tuple(name for name in path if name)
    elif isinstance(value, list | dict) and len(path) < MAX_DEPTH:
        # A list adds no name, but it is a level.
        items = value.items() if isinstance(value, dict) else (("", inner) for inner in value)
        for name, inner in items:
            yield from _texts(inner, (*path, str(name)))


def _as_url(text: str, path: tuple[str, ...]) -> str:
    """Return what the text says about an output: its URL, `data:TYPE`, or "" for nothing."""
    if _URL.match(text):
        # As browsers do it: blanks around a URL and line breaks in it do not belong to it.
        return re.sub(r"[\t\r\n]", "", text.strip()).replace(" ", "%20")
    if data := _DATA.match(text):
        return f"data:{data[1].strip().lower()}"
    if path and _BASE64_NAME.search(path[-1]) and _BASE64.fullmatch(text.strip()):
        return "data:"
    return ""


def inline_content(body: Any, n: int) -> bytes | None:
    """Return the content of the n-th output of a result; None where it is not inline, or broken."""
    outputs = find_outputs(body) if isinstance(body, Mapping) else []
    if not 0 < n <= len(outputs) or not outputs[n - 1].is_inline:
        return None
    text = outputs[n - 1].text
    head = _DATA.match(text)
    content = text[head.end() :] if head else text
    if head and not re.search(r";\s*base64\s*,$", head[0], re.IGNORECASE):
        return unquote_to_bytes(content)
    if head and "%" in content[:4096]:
        content = unquote_to_bytes(content).decode("latin-1")
    try:
        plain = content.translate(_TO_STANDARD)
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


# The alphabet for URLs, and line breaks.
_TO_STANDARD = str.maketrans({"-": "+", "_": "/", "=": None, "\n": None, "\r": None, " ": None})


def without_content(body: Any) -> str:
    """Return a result as JSON for the journal, with long texts and inline outputs cut."""
    return json.dumps(_cut(body, ""), ensure_ascii=False)[:MAX_KEPT_RESULT]


def _cut(value: Any, name: str, depth: int = 0) -> Any:
    if isinstance(value, str):
        is_content = bool(_DATA.match(value) or _BASE64_NAME.search(name))
        if len(value) > (100 if is_content else MAX_KEPT_CHARS):
            return f"{value[:60]}… ({len(value)} characters)"
        return value
    if isinstance(value, list | dict) and depth > 50:
        return "…"
    if isinstance(value, dict):
        return {key[:MAX_KEPT_CHARS]: _cut(inner, key, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, name, depth + 1) for inner in value[:MAX_KEPT_CHARS]]
    return value
