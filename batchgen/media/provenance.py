"""What a picture was made from, written into its metadata and read from it.

An XMP packet holds the provenance as JSON, the prompt as the description, the model as IPTC's "AI
system used", and IPTC's "digital source type", which says that a model made the picture. A PNG gets
the text `parameters` too, which viewers of generated pictures show. Pixels and other metadata stay.
A picture with a C2PA signature stays as it is, since one more byte would break the signature.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import batchgen
from batchgen.core.identity import PROMPT_NAMES
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
from batchgen.media.xmp import (
    ILLEGAL,
    Provenance,
    add_provenance,
    find_provenance,
    prompt_of,
    to_xml_json,
)

GENERATOR = f"batchgen {batchgen.__version__}"
OWN_MARK = "Version: batchgen "  # in each text `parameters` that batchgen wrote
MAX_PICTURE_BYTES = 64 << 20  # of a picture that is read into memory to get its provenance
_URL = re.compile(
    r"""\b([a-z][a-z0-9+.-]{0,20}://)"""  # scheme
    r"""(?:[^\s/?#"'<>]*@)?([^\s?#"'<>]*)"""  # user and password; host and path
    r"""(?:[?#][^\s"'<>]*)?""",
    re.IGNORECASE,
)
# Possessive, so that a text of many false beginnings takes no longer than others.
_DATA = re.compile(
    r"data:([\w.+-]++/[\w.+-]++)?+(?:;(?!base64,)[\w.+=-]*+)*+;base64,[\w+/=-]*+", re.IGNORECASE
)


# -- made ----------------------------------------------------------------------------------------


def make_provenance(
    *,
    id: str,
    model: str,
    input: Mapping[str, Any],
    request_id: str | None,
    submitted_at: str | None,
    output: int = 1,
) -> Provenance:
    """Return the provenance of a row's output, of which `output` is the number, from 1.

    input: what was sent. URLs lose their user, password and query, which may hold signatures; a
    file given as base64 is replaced by its type and length.
    submitted_at: ISO 8601, UTC.
    """
    return {
        "generator": GENERATOR,
        "id": id,
        "model": model,
        "input": without_secrets(dict(input)),
        "request_id": request_id,
        "output": output,
        # The day alone: a journal rebuilt from receipts has a slightly later time, and a picture
        # fetched again has to come out as the same file.
        "date": submitted_at and submitted_at[:10],
    }


def without_secrets(value: Any) -> Any:
    """Return a value without the logins, queries and fragments of its URLs, and without data."""
    if isinstance(value, str):
        if "://" in value:
            value = _URL.sub(r"\1\2", value)
        if ";base64," in value:
            value = _DATA.sub(
                lambda found: f"data:{found[1] or ''} ({len(found[0])} characters)", value
            )
        return value
    if isinstance(value, dict):
        return {name: without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return value


# -- written and read ----------------------------------------------------------------------------


def embed(content: bytes, format: Format, facts: Provenance) -> bytes | None:
    """Return the bytes of a picture with `facts` in it.

    None if it has to stay as it is: its format has no place for them, it has a C2PA signature, or
    it breaks its format's specification.
    """
    if format not in MAX_PACKET_BYTES:
        return None
    try:
        segments = parse_segments(content, format)
        fitted = add_provenance(find_packet(content, segments), facts, MAX_PACKET_BYTES[format])
        if fitted is None:
            return None
        packet, written = fitted
        texts = {}
        if format == PNG and OWN_MARK in (find_text(content, segments, "parameters") or OWN_MARK):
            texts["parameters"] = parameters(written)
        return replace_packet(content, format, segments, packet, texts)
    except UnsupportedPicture:
        return None


def read_provenance(picture: BinaryIO) -> Provenance | None:
    """Return the provenance in a picture; None if there is none that can be read."""
    head = picture.read(SIGNATURE_BYTES)
    format = format_of(head)
    if format not in MAX_PACKET_BYTES:
        return None
    content = head + picture.read(MAX_PICTURE_BYTES)
    packet = find_packet(content, leading_segments(content, format))
    return find_provenance(packet) if packet is not None else None


# -- for other programs --------------------------------------------------------------------------


def parameters(facts: Provenance) -> str:
    """Return the text `parameters` in the form of the Stable Diffusion web UI.

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
    """Return where a file's provenance is kept beside it: `heron.png.json`, no output's name."""
    return path.with_name(f"{path.name}.json")


def sidecar_text(facts: Provenance) -> str:
    return json.dumps(facts, ensure_ascii=True, indent=2) + "\n"
