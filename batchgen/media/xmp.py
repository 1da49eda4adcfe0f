"""XMP packets: the facts about a picture go in or come out, what others said in it stays. Pure.

Source: XMP Specification, Parts 1 and 3 (ISO 16684); IPTC Photo Metadata Standard 2025.1 for the
name of the model, `AISystemUsed`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchgen.core.identity import PROMPT_NAMES

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
_OURS = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
_CLOSE = "</rdf:RDF>"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# What XML cannot hold in any form, so that JSON has to escape it: controls, surrogates, U+FFFE.
ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add_provenance(
    old: bytes | None, facts: Provenance, room: int
) -> tuple[bytes, Provenance] | None:
    """Return an XMP packet with `facts`, and with all that `old` has but earlier facts of ours.

    room: bytes that it may have. What does not fit is left out, the description first, then the
    longest of the input's values; `left_out` in the facts, which are returned too, names these.
    Returns None where `old` is not as we know packets, or nothing fits.
    """
    try:
        base = _OURS.sub("", old.decode()) if old is not None else _EMPTY
    except UnicodeDecodeError:
        return None
    before, close, after = base.rpartition(_CLOSE)
    if not close or NAMESPACE in base:  # another program wrote our facts in its own way
        return None
    room -= len(base.encode())
    for told, with_prompt in _shorter(facts):
        ours = _described(told, base, with_prompt).encode()
        if len(ours) <= room:
            packet = b"".join((before.encode(), ours, close.encode(), after.encode()))
            readable = base == _EMPTY or find_provenance(packet) is not None
            return (packet, told) if readable else None
    return None


def _shorter(facts: Provenance) -> Iterator[tuple[Provenance, bool]]:
    """Yield facts with ever less in them, and whether the prompt is to be their description."""
    yield facts, True
    yield facts, False
    input, gone = dict(facts["input"]), []
    for name in sorted(input, key=lambda name: len(to_xml_json(input[name])), reverse=True):
        del input[name]
        gone.append(name)
        yield {**facts, "input": dict(input), "left_out": list(gone)}, False


def _described(facts: Provenance, base: str, with_prompt: bool) -> str:
    """One rdf:Description; what `base` says already it does not say again."""
    generator, model, prompt = str(facts["generator"]), str(facts["model"]), prompt_of(facts)
    told = f"<batchgen:facts>{_escaped(to_xml_json(facts))}</batchgen:facts>"
    if "CreatorTool" not in base:
        told += f'<xmp:CreatorTool xmlns:xmp="{_XMP}">{_legal(generator)}</xmp:CreatorTool>'
    if "AISystemUsed" not in base:
        told += f'<iptc:AISystemUsed xmlns:iptc="{_IPTC}">{_legal(model)}</iptc:AISystemUsed>'
    if with_prompt and prompt and "dc:description" not in base:
        text = f'<rdf:Alt><rdf:li xml:lang="x-default">{_legal(prompt)}</rdf:li></rdf:Alt>'
        told += f'<dc:description xmlns:dc="{_DC}">{text}</dc:description>'
    return f"{_BEGIN}>{told}{_END}"


def find_provenance(packet: bytes) -> Provenance | None:
    """Return the facts in an XMP packet, in whatever form another program has left them."""
    from xml.etree import ElementTree  # here, since a run writes them only

    if NAMESPACE.encode() not in packet or b"<!" in packet:  # a DTD is none of XMP's business
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
    """The text that the picture was made from, "" if its input has none."""
    input = facts.get("input")
    texts = (input.get(name) for name in PROMPT_NAMES) if isinstance(input, dict) else ()
    return next((text for text in texts if isinstance(text, str)), "")
