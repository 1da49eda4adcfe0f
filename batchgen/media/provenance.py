"""What a picture was made from, in its own metadata: no pixel and nobody else's metadata changes.

An XMP packet holds the facts as JSON, the prompt as the description, and the model as IPTC's "AI
system used"; a PNG has also the text `parameters`, which is what viewers of generated pictures look
for. A picture that its maker has signed (C2PA) stays as it is: one more byte breaks the signature.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import batchgen
from batchgen.core.identity import PROMPT_NAMES
from batchgen.files import open_regular
from batchgen.media.containers import (
    MAX_PACKET_BYTES,
    UnsupportedPicture,
    find_packet,
    find_text,
    leading_segments,
    parse_segments,
    replace_packet,
)
from batchgen.media.formats import PNG, SIGNATURE_BYTES, Format, format_of
from batchgen.media.xmp import ILLEGAL, add_provenance, find_provenance, prompt_of, to_xml_json
from batchgen.media.xmp import Provenance as Facts

GENERATOR = f"batchgen {batchgen.__version__}"
OWN_MARK = "Version: batchgen "  # stands in a text that we wrote
MAX_PICTURE_BYTES = 64 << 20  # bytes of a picture that are read into memory to be written again
_URL = re.compile(
    r"""\b([a-z][a-z0-9+.-]{0,20}://)"""  # scheme
    r"""(?:[^\s/?#"'<>]*@)?([^\s?#"'<>]*)"""  # user and password; host and path
    r"""(?:[?#][^\s"'<>]*)?""",
    re.IGNORECASE,
)
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[\w=;.+-]*;base64,[\w+/=-]*", re.IGNORECASE)


# -- the facts -----------------------------------------------------------------------------------


def make_provenance(
    *,
    id: str,
    model: str,
    input: Mapping[str, Any],
    request_id: str | None,
    submitted_at: str | None,
    output: int = 1,
) -> Facts:
    """Return what is told about an output of a row, the `output`-th from 1.

    input: what was sent. URLs lose their query, where signatures stand, and their password;
    a file that is itself in the input is told by its type and length.
    submitted_at: ISO 8601, UTC.
    """
    return {
        "generator": GENERATOR,
        "id": id,
        "model": model,
        "input": _harmless(dict(input)),
        "request_id": request_id,
        "output": output,
        # No more of it: a journal rebuilt from receipts knows the time a little later, and has to
        # find that a picture fetched again is the file that lies there.
        "date": submitted_at and submitted_at[:10],
    }


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        if "://" in value:
            value = _URL.sub(r"\1\2", value)
        if ";base64," in value:
            value = _DATA.sub(
                lambda found: f"data:{found[1] or ''} ({len(found[0])} characters)", value
            )
        return value
    if isinstance(value, dict):
        return {name: _harmless(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_harmless(inner) for inner in value]
    return value


# -- into a picture and out of it ------------------------------------------------------------------


def embed(content: bytes, format: Format, facts: Facts) -> bytes | None:
    """Return the bytes of a picture with `facts` in it.

    None where it stays as it is: its format has no place for them, its maker signed it, or it is
    odd in any way.
    """
    if format not in MAX_PACKET_BYTES:
        return None
    try:
        pieces = parse_segments(content, format)
        fitted = add_provenance(find_packet(content, pieces), facts, MAX_PACKET_BYTES[format])
        if fitted is None:
            return None
        packet, told = fitted
        texts = {}
        if format == PNG and OWN_MARK in (find_text(content, pieces, "parameters") or OWN_MARK):
            texts["parameters"] = parameters(told)
        return replace_packet(content, format, pieces, packet, texts)
    except UnsupportedPicture:
        return None


def read_provenance(path: Path) -> Facts | None:
    """Return the facts that a picture holds; None if there are none, or none that can be read."""
    try:
        with open_regular(path) as file:
            head = file.read(SIGNATURE_BYTES)
            format = format_of(head)
            if format not in MAX_PACKET_BYTES:
                return None
            content = head + file.read(MAX_PICTURE_BYTES)
        packet = find_packet(content, leading_segments(content, format))
    except OSError:
        return None
    return find_provenance(packet) if packet is not None else None


# -- for other programs --------------------------------------------------------------------------


def parameters(facts: Facts) -> str:
    """The text `parameters`, in the form that the Stable Diffusion web UI began.

    The prompt, a line "Negative prompt: …" if there is one, and a line of "Name: value, …".
    """
    input = dict(facts["input"])
    prompt = prompt_of(facts)
    negative = input.pop("negative_prompt", None)
    for name in PROMPT_NAMES:
        if input.get(name) == prompt:
            del input[name]
            break
    named = {
        **({"Seed": input.pop("seed")} if "seed" in input else {}),
        "Model": facts["model"],
        **input,
        "Request": facts["request_id"],
        "Version": facts["generator"],
    }
    lines = [prompt, f"Negative prompt: {negative}" if negative else ""]
    lines.append(", ".join(f"{name}: {_plain(value)}" for name, value in named.items()))
    return ILLEGAL.sub("\ufffd", "\n".join(line for line in lines if line))


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else to_xml_json(value)
    return to_xml_json(text) if any(mark in text for mark in ',:\n"') else text


def sidecar(path: Path) -> Path:
    """Where a file's facts stand beside it: `heron.png.json`, which no output is called."""
    return path.with_name(f"{path.name}.json")


def sidecar_text(facts: Facts) -> str:
    return json.dumps(facts, ensure_ascii=True, indent=2) + "\n"
