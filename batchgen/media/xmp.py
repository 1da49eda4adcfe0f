"""XMP packets: write the provenance of a picture into one, or read it. Pure.

Sources: XMP Specification, Parts 1 and 3 (ISO 16684); IPTC Photo Metadata Standard 2025.1 for the
name of the model, `AISystemUsed`, and `DigitalSourceType` with its terms, IPTC's NewsCodes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchgen.core.identity import PROMPT_NAMES
from batchgen.media.formats import kind_of_extension, url_extension

Provenance = Mapping[str, Any]

NAMESPACE = "urn:batchgen:facts:1/"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"

_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    '</rdf:RDF></x:xmpmeta>\n<?xpacket end="r"?>'
)
_BEGIN = f'<rdf:Description rdf:about="" xmlns:batchgen="{NAMESPACE}"'
_END = "</rdf:Description>\n"
_CLOSE = "</rdf:RDF>"
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{_SOURCE_TYPES}trainedAlgorithmicMedia"
COMPOSITE = f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"  # of pictures that went in
# Words in the names of inputs that take pictures, where a URL does not tell what is behind it.
_PICTURE_INPUT = re.compile(r"image|img|photo|picture|mask|frame|video|face", re.IGNORECASE)
MAX_READ_BYTES = 1 << 22  # of a packet that is parsed
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# What XML cannot hold even escaped, so that JSON escapes it: controls, surrogates, U+FFFE.
ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add_provenance(
    old: bytes | None, facts: Provenance, max_bytes: int
) -> tuple[bytes, Provenance] | None:
    """Return an XMP packet with `facts`, and the facts that it has.

    old: the packet that the picture has. All of it stays, except facts that batchgen wrote.
    max_bytes: of the new packet. What does not fit is left out: first the description, then the
    input's values, the longest first; `left_out` in the returned facts names these.
    Returns None if `old` is not a packet of the usual form, or nothing fits.
    """
    if old is not None and len(old) > MAX_READ_BYTES:
        return None
    try:
        base = _without_ours(old.decode()) if old is not None else _EMPTY
    except UnicodeDecodeError:
        return None
    before, close, after = base.rpartition(_CLOSE)
    if not close or NAMESPACE in base:  # another program rewrote batchgen's facts
        return None
    room = max_bytes - len(base.encode())
    source_type = COMPOSITE if has_pictures(facts["input"]) else GENERATED
    for shorter, with_prompt in _shorter(facts):
        description = _description(shorter, base, source_type, with_prompt).encode()
        if len(description) <= room:
            packet = b"".join((before.encode(), description, close.encode(), after.encode()))
            readable = base == _EMPTY or find_provenance(packet) is not None
            return (packet, shorter) if readable else None
    return None


def _without_ours(packet: str) -> str:
    """Return a packet without the facts that batchgen wrote; linear, also for a hostile packet."""
    kept, at = [], 0
    while (begin := packet.find(_BEGIN, at)) >= 0 and (end := packet.find(_END, begin)) >= 0:
        kept.append(packet[at:begin])
        at = end + len(_END)
    return "".join((*kept, packet[at:]))


def has_pictures(value: Any, name: str = "") -> bool:
    """Return whether pictures or films went into an output, judged by its input.

    They are URLs or base64 there, or what `make_provenance` made of these. name: that of the input.
    """
    if isinstance(value, dict):
        return any(has_pictures(inner, key) for key, inner in value.items())
    if isinstance(value, list):
        return any(has_pictures(inner, name) for inner in value)
    if not isinstance(value, str) or name in PROMPT_NAMES:
        return False
    if value.startswith("data:"):
        return value.startswith(("data:image/", "data:video/"))
    if not value.startswith(("https://", "http://")):
        return False
    kind = kind_of_extension(url_extension(value))
    return kind in ("image", "video") or (not kind and _PICTURE_INPUT.search(name) is not None)


def _shorter(facts: Provenance) -> Iterator[tuple[Provenance, bool]]:
    """Yield facts with less and less in them, and whether the prompt is written as description."""
    yield facts, True
    yield facts, False
    input, left_out = dict(facts["input"]), []
    for name in sorted(input, key=lambda name: len(to_xml_json(input[name])), reverse=True):
        del input[name]
        left_out.append(name)
        yield {**facts, "input": dict(input), "left_out": list(left_out)}, False


def _description(facts: Provenance, base: str, source_type: str, with_prompt: bool) -> str:
    """Return an rdf:Description without the properties that `base` has already."""
    generator, model, prompt = str(facts["generator"]), str(facts["model"]), prompt_of(facts)
    properties = f"<batchgen:facts>{_escaped(to_xml_json(facts))}</batchgen:facts>"
    if "CreatorTool" not in base:
        properties += f'<xmp:CreatorTool xmlns:xmp="{_XMP}">{_legal(generator)}</xmp:CreatorTool>'
    if "AISystemUsed" not in base:
        properties += f'<iptc:AISystemUsed xmlns:iptc="{_IPTC}">{_legal(model)}</iptc:AISystemUsed>'
    if "DigitalSourceType" not in base:
        properties += (
            f'<iptc:DigitalSourceType xmlns:iptc="{_IPTC}">{source_type}</iptc:DigitalSourceType>'
        )
    if with_prompt and prompt and "dc:description" not in base:
        text = f'<rdf:Alt><rdf:li xml:lang="x-default">{_legal(prompt)}</rdf:li></rdf:Alt>'
        properties += f'<dc:description xmlns:dc="{_DC}">{text}</dc:description>'
    return f"{_BEGIN}>{properties}{_END}"


def find_provenance(packet: bytes) -> Provenance | None:
    """Return the facts in an XMP packet, also if another program has rewritten it."""
    from xml.etree import ElementTree  # imported here, since a run only writes packets

    if len(packet) > MAX_READ_BYTES:
        return None
    # XMP has no DTD, and a DTD can be an attack.
    if NAMESPACE.encode() not in packet or b"<!" in packet:
        return None
    try:
        for element in ElementTree.fromstring(packet.strip(b"\0 \r\n")).iter():
            text = element.text if element.tag == f"{{{NAMESPACE}}}facts" else None
            text = text or element.get(f"{{{NAMESPACE}}}facts")
            if text is not None:
                found = json.loads(text)
                return found if isinstance(found, dict) else None
    except (ElementTree.ParseError, ValueError, RecursionError):
        pass
    return None


def to_xml_json(value: Any) -> str:
    """Return a value as JSON text that XML can hold."""
    text = _encode(value)
    if text.isprintable():
        return text
    return ILLEGAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _legal(text: str) -> str:
    return _escaped(ILLEGAL.sub("\ufffd", text))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def prompt_of(facts: Provenance) -> str:
    """Return the prompt that the picture was made from; "" if its input has none."""
    input = facts.get("input")
    texts = (input.get(name) for name in PROMPT_NAMES) if isinstance(input, dict) else ()
    return next((text for text in texts if isinstance(text, str)), "")
