"""A row's key in the journal, its readable id, and file names that every file system takes.

All results are the same on every computer and in every version: rows with other keys would be sent,
and paid for, again.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from batchgen.core.local_files import local_files, without_paths
from batchgen.core.targets import is_workflow
from batchgen.core.text import compose

ROW_DOMAIN = "batchgen row v1"
KEY_DOMAIN = "batchgen key v1"
MAX_NAME_BYTES = 150  # UTF-8; leaves room for "-12.png.part" below the 255 of most file systems
MAX_SLUG_CHARS = 40
# What RunComfy's clients accept as a request's id. Source: docs/maintainers/wire.md, "Requests".
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
PROMPT_NAMES = ("prompt", "text", "tags")  # what models call the prompt, most usual first

# Windows gives these names to devices, with any extension and in any folder.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)
_FORBIDDEN = frozenset('/\\<>:"|?*')
# Most ids, which are safe as they are: a short cut, since a million rows get names.
_SAFE = re.compile(r"[A-Za-z0-9_]+(?:[-. ][A-Za-z0-9_]+)*")

to_json = json.JSONEncoder(ensure_ascii=False).encode
_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode
_text = json.encoder.encode_basestring


def json_object(text: str | None) -> dict[str, Any] | None:
    """Return the object that a text is as JSON, such as a row's input; None if it is none."""
    try:
        value = json.loads(text or "")
    except (TypeError, ValueError, RecursionError):  # a journal's column can hold any type
        return None
    return value if isinstance(value, dict) else None


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be sent")
    return float.__repr__(value)


# What a plain value is as JSON. By exact type: a bool is an int as well.
_SERIALIZERS: dict[type, Callable[[Any], str]] = {
    str: _text,
    int: int.__repr__,
    float: _number,
    bool: lambda value: "true" if value else "false",
}


def row_digest(model: str, input: Mapping[str, Any], id: str | None) -> str:
    """Return the 64 hex digits that stand for a row's model, input and id.

    The order of the input's names makes no difference; 5 and 5.0 do, since they are sent so. Of a
    local file its content counts, and not its path.
    Raises ValueError where a text holds a lone surrogate or a number is not finite.
    """
    content = _canonical({"id": id, "input": without_paths(input), "model": model})
    return hashlib.sha256(f"{ROW_DOMAIN}\n{content}".encode()).hexdigest()


def canonical_json(model: str, input: Mapping[str, Any], id: str | None) -> tuple[str, str]:
    """Return a row's digest, and its input as JSON text with the names in their own order.

    Both at once, since a million rows need both: each plain value is serialized only once. A test
    compares the results with `row_digest` and `json.dumps`. Raises as `row_digest` does.
    """
    try:
        written = [_SERIALIZERS[type(value)](value) for value in input.values()]
    except KeyError:
        return row_digest(model, input, id), to_json(input)
    text, content, pick = _row_templates(model, tuple(input))
    label = "null" if id is None else _text(id)
    content %= (label, *[written[at] for at in pick])
    return hashlib.sha256(content.encode()).hexdigest(), text % tuple(written)


@lru_cache(maxsize=1000)
def _row_templates(model: str, names: tuple[str, ...]) -> tuple[str, str, list[int]]:
    """Return templates with %s for the values: the input as JSON, and what a digest is made of.

    The second begins with %s for the id, and has the names sorted. The list has, for each place in
    it, the index of its value in the first.
    """
    pick = sorted(range(len(names)), key=names.__getitem__)
    texts = [_text(name).replace("%", "%%") for name in names]
    plain = ", ".join(f"{text}: %s" for text in texts)
    ordered = ",".join(f"{texts[at]}:%s" for at in pick)
    label = _text(model).replace("%", "%%")
    content = f'{ROW_DOMAIN}\n{{"id":%s,"input":{{{ordered}}},"model":{label}}}'
    return f"{{{plain}}}", content, pick


def row_key(digest: str, n: int) -> str:
    """Return the journal's key, 32 hex digits, of the n-th row (from 0) that has this digest."""
    return hashlib.sha256(f"{KEY_DOMAIN}\n{digest}\n{n}".encode()).hexdigest()[:32]


def safe_name(text: str, max: int = 80) -> str:
    """Return a file stem made from `text` that every common file system takes as it is.

    At most `max` characters and 150 bytes, never empty, hidden, an option or a device name,
    without separators, control characters and invisible ones. Different texts can give equal names:
    compare them by `fold_name` before use.
    """
    if len(text) <= min(max, MAX_NAME_BYTES) and _SAFE.fullmatch(text):
        name = text
    else:
        name = compose("".join(map(_safe_character, text)))
        name = re.sub(r"-{2,}", "-", name).lstrip("-. ~")[:max]
        name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". -")
    if _DEVICE.fullmatch(name.partition(".")[0].rstrip()):
        name = f"_{name}"[:max].rstrip(". ")
    return name or "row"


def _safe_character(character: str) -> str:
    if character in _FORBIDDEN or character in "\t\n\r":
        return "-"
    category = unicodedata.category(character)
    # C*: controls, bidi and zero-width marks, surrogates, private and unassigned code points.
    if category[0] == "C":
        return ""
    return {"Zs": " ", "Zl": "-", "Zp": "-"}.get(category, character)


def slug(prompt: str) -> str:
    """Return a prompt's first words, lower-case and joined by `-`, in at most 40 characters.

    Letters of every script stay, with their marks. Empty where the prompt has no letter or digit.
    """
    text = unicodedata.normalize("NFC", prompt[: MAX_SLUG_CHARS * 8]).lower()
    text = text.replace("'", "").replace("’", "")
    if text.isascii():
        words = re.findall("[a-z0-9]+", text)
    else:
        words = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in text).split()
    result = ""
    for word in words:
        longer = f"{result}-{word}" if result else word
        if len(longer) > MAX_SLUG_CHARS:
            break
        result = longer
    return result or "".join(words[:1])[:MAX_SLUG_CHARS]


def readable_id(position: int, input: Mapping[str, Any]) -> str:
    """Return an id for a row that has none: `0007-a-lighthouse-at-dawn`.

    It is named by its first local file, else by its prompt: many photos have the same.
    """
    words = next((slug(stem(file["file"])) for _, file in local_files(input)), "")
    words = words or slug(prompt_of(input))
    return safe_name(f"{position:04d}-{words}" if words else f"{position:04d}")


def stem(path: str) -> str:
    """Return a file's name without its folders and its suffix."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def prompt_of(input: Mapping[str, Any]) -> str:
    """Return what is most likely the prompt; "" where there is no text."""
    found = ((name, input.get(name)) for name in (*PROMPT_NAMES, *input))
    texts = (value for name, value in found if not is_workflow(name, value))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def fold_name(name: str) -> str:
    """Return a form of a name that is equal for two names that a file system may not tell apart.

    macOS and Windows ignore case, macOS also how an accented letter is composed.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
