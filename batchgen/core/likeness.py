"""When a row of an edited list asks for what was paid for already, only written differently. Pure.

A spreadsheet writes the id 0001 as 1 and ends lines in a cell by CRLF; pandas writes 7 as 7.0;
macOS takes accents apart; an editor leaves a blank or a line break at the end. The row's key then
differs, as it has to: what was sent was exactly what was written before.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from batchgen.core import identity
from batchgen.core.local_files import without_paths
from batchgen.core.targets import is_workflow
from batchgen.core.text import compose

# "\r\r\n" is a CRLF that was made of a CRLF. No character is looked at twice.
_LINE_BREAKS = re.compile(r"\r++\n?")
SHOWN_HASH = len("sha256:") + 12
_WHOLE_NUMBER = re.compile(r"(\d++)(?:\.0*+)?")


def request_form(model: str, input: str) -> str | None:
    """Return a digest that is equal for requests that differ in their writing alone.

    input: JSON. None where it is none of ours, as in a journal that somebody else changed.
    """
    values = identity.json_object(input)
    if values is None:
        return None
    try:
        content = json.dumps([model, _normal(without_paths(values))], sort_keys=True)
    except RecursionError:
        return None
    return sha256(content.encode()).hexdigest()


def prompt_form(input: str) -> str | None:
    """As `request_form`, of the prompt alone; None for an input without one."""
    values = identity.json_object(input) or {}
    prompts = (values.get(name) for name in identity.PROMPT_NAMES)
    prompt = next((text for text in prompts if isinstance(text, str) and text.strip()), None)
    return prompt and text_form(prompt)


def text_form(text: str) -> str:
    """As `request_form`, of a text."""
    return sha256(_normal_text(text).encode(errors="replace")).hexdigest()


def id_form(id: str | None) -> str:
    """Return a form of an id that is equal for two that a spreadsheet makes of each other.

    Empty for a row without an id.
    """
    text = _normal_text(str(id or "")).strip()
    number = _WHOLE_NUMBER.fullmatch(text)
    return number[1].lstrip("0") or "0" if number else text


def given_id(key: str, model: str, input: str, id: str, name: str) -> str | None:
    """Return the id of a row of the journal; None if the list gave it none.

    id, name: as the journal has them. A row without an id has its name as id, and no part of either
    in its key. The id of a row that was rewritten can differ from both.
    """
    if id != name:
        return id
    try:
        digest = identity.row_digest(model, identity.json_object(input) or {}, id)
    except (ValueError, RecursionError):
        return id
    return id if identity.row_key(digest, 0) == key else None


def input_changes(
    old: tuple[str, str], model: str, input: str, ids: tuple[str, str] | None = None
) -> tuple[str, ...]:
    """Return `name: old -> new` for the model and each input that differ.

    old: model and input of the row before; inputs are JSON. ids: of both rows, if they count too.
    """
    before = {"model": old[0], **json.loads(old[1])}
    now = {"model": model, **json.loads(input)}
    if ids is not None:
        before, now = {"id": ids[0], **before}, {"id": ids[1], **now}
    return tuple(
        f"{name}: {_shown(before, name)} -> {_shown(now, name)}"
        for name in dict.fromkeys([*before, *now])
        if _exact(before, name) != _exact(now, name)
    )


def _exact(values: Mapping[str, Any], name: str) -> str | None:
    """Return a value as a key is made from it: 5, 5.0 and true are three values."""
    return json.dumps(values[name], sort_keys=True) if name in values else None


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "(none)"
    if is_workflow(name, values[name]):
        return str(values[name][:SHOWN_HASH])
    text = json.dumps(values[name], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _normal(value: Any) -> Any:
    match value:
        case str():
            return _normal_text(value)
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _normal(one) for name, one in value.items()}
        case list():
            return [_normal(one) for one in value]
    return value


def _plain_breaks(found: re.Match[str]) -> str:
    return "\n" if found[0].endswith("\n") else "\n" * len(found[0])


def _normal_text(text: str) -> str:
    lines = _LINE_BREAKS.sub(_plain_breaks, compose(text)).split("\n")
    return "\n".join(line.rstrip() for line in lines).rstrip()
