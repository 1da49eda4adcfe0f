"""A picture says what it was made from, and is the same picture, to the pixel and the chunk."""

import io
import itertools
import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from batchgen.media import containers, provenance, xmp
from batchgen.media.formats import GIF, JPEG, MP4, PNG, WEBP, Format, format_of
from batchgen.media.provenance import embed, parameters, read_provenance, sidecar, sidecar_text

REQUEST = "5e3c9a52-8f7d-4c52-a6a3-0d7c3a1f2b11"
PROMPT = "A heron at dusk, “long” <exposure> & 鷺 🦢\nsecond line"
DC = "{http://purl.org/dc/elements/1.1/}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def about(prompt: str = PROMPT, **more: Any) -> xmp.Provenance:
    return provenance.make_provenance(
        id="heron",
        model="ideogram/ideogram-v2/generate",
        input={"prompt": prompt, "seed": 7, "style": "realistic", **more},
        request_id=REQUEST,
        submitted_at="2026-11-22T23:00:00.000Z",
    )


FACTS = about()
BEGIN = f'<rdf:Description rdf:about="" xmlns:batchgen="{xmp.NAMESPACE}"'


def with_checksum(chunk: bytes) -> bytes:
    """The chunk of a PNG. chunk: its name and content."""
    return struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))


# Pictures of many kinds


def noise(mode: str, size: tuple[int, int] = (37, 23)) -> Image.Image:
    return Image.effect_noise(size, 80).convert("RGB").convert(mode)


def exif() -> Image.Exif:
    found = Image.Exif()
    found[ExifTags.Base.Artist] = "somebody"
    return found


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    into = io.BytesIO()
    picture.save(into, kind, **options)
    return into.getvalue()


ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FRAMES = {"save_all": True, "append_images": [noise("RGB"), noise("RGB")], "duration": 50}
PALETTE = noise("RGB").quantize(16)
KINDS: dict[str, bytes] = {
    **{f"PNG {mode}": saved(noise(mode), "PNG") for mode in ("1", "L", "LA", "RGB", "RGBA")},
    "PNG 16 bit": saved(noise("I").convert("I;16"), "PNG"),
    "PNG palette": saved(PALETTE, "PNG", transparency=3),
    "PNG one pixel": saved(noise("RGB", (1, 1)), "PNG"),
    "PNG with profile and Exif": saved(
        noise("RGB"), "PNG", icc_profile=ICC, exif=exif(), dpi=(72, 72)
    ),
    "PNG animated": saved(noise("RGB"), "PNG", **FRAMES),
    **{f"JPEG {mode}": saved(noise(mode), "JPEG") for mode in ("L", "RGB", "CMYK")},
    "JPEG progressive": saved(noise("RGB"), "JPEG", progressive=True, quality=95),
    "JPEG with profile, Exif, comment": saved(
        noise("RGB"), "JPEG", icc_profile=ICC, exif=exif(), comment=b"\xff\xd9 hello"
    ),
    "WebP": saved(noise("RGB"), "WEBP"),
    "WebP one pixel": saved(noise("RGB", (1, 1)), "WEBP"),
    "WebP with alpha": saved(noise("RGBA"), "WEBP"),
    "WebP lossless": saved(noise("RGB"), "WEBP", lossless=True),
    "WebP lossless, alpha": saved(Image.new("RGBA", (9, 300), (1, 2, 3, 4)), "WEBP", lossless=True),
    "WebP with profile and Exif": saved(noise("RGB"), "WEBP", icc_profile=ICC, exif=exif()),
    "WebP animated": saved(noise("RGB"), "WEBP", **FRAMES),
}
every_kind = pytest.mark.parametrize("content", KINDS.values(), ids=KINDS.keys())
one_of_each = pytest.mark.parametrize(
    "content", [KINDS["PNG RGB"], KINDS["JPEG RGB"], KINDS["WebP"]]
)


def kind_of(content: bytes) -> Format:
    found = format_of(content)
    assert found is not None
    return found


def with_facts(content: bytes, facts: xmp.Provenance = FACTS) -> bytes:
    new = embed(content, kind_of(content), facts)
    assert new is not None
    return new


def facts_of(content: bytes) -> xmp.Provenance | None:
    return read_provenance(io.BytesIO(content))


def seen(content: bytes) -> list[tuple[Any, ...]]:
    """Every frame, and what else Pillow finds besides texts."""
    found = []
    with Image.open(io.BytesIO(content)) as picture:
        for frame in range(getattr(picture, "n_frames", 1)):
            picture.seek(frame)
            told = {k: v for k, v in picture.info.items() if k not in ("xmp", "parameters")}
            told.pop("XML:com.adobe.xmp", None)
            found.append((picture.mode, picture.size, picture.tobytes(), told))
    return found


def pieces(content: bytes) -> list[bytes]:
    """The chunks or segments, but for an XMP packet and the header of a WebP."""
    parts = containers.parse_segments(content, kind_of(content))
    return [
        content[part.start : part.end]
        for part in parts
        if part.name != b"VP8X" and containers.find_packet(content, [part]) is None
        if containers.find_text(content, [part], "parameters") is None
    ]


# Nothing else changes


@every_kind
def test_every_pixel_and_every_other_chunk_stays(content: bytes) -> None:
    new = with_facts(content)

    assert seen(new) == seen(content)
    assert pieces(new) == pieces(content)


@every_kind
def test_what_was_written_is_read_again(content: bytes) -> None:
    assert facts_of(content) is None
    assert facts_of(with_facts(content)) == FACTS


@pytest.mark.parametrize("content", [c for k, c in KINDS.items() if "WebP" not in k])
def test_the_new_bytes_are_in_one_place_near_the_beginning(content: bytes) -> None:
    new = with_facts(content)
    more = len(new) - len(content)
    at = next(at for at in range(len(content)) if content[at] != new[at])

    assert any(content == new[:at] + new[at + more :] for at in range(at - 8, at + 1))


@every_kind
def test_to_write_twice_is_to_write_the_last(content: bytes) -> None:
    other = about("something else", quality="high")

    assert with_facts(with_facts(content, other)) == with_facts(content)
    assert with_facts(with_facts(content, about("a" * 9000))) == with_facts(content)


# What a prompt may hold

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
PAIRS = (
    "𐀀\x00\ud800 \udfff",
    "\r\n\x85\u2028\ufeff\ufffe\uffff",
    "]]></x>&amp;",
    "\\ud83d",
    "🦢" * 5000,
)


@given(content=st.sampled_from(list(KINDS.values())), prompt=ANY_TEXT | st.sampled_from(PAIRS))
@settings(max_examples=60)
def test_any_prompt_comes_back_as_json_has_it(content: bytes, prompt: str) -> None:
    facts = about(prompt, negative_prompt=prompt[::-1])
    new = with_facts(content, facts)
    packet = containers.find_packet(new, containers.parse_segments(new, kind_of(new)))

    assert packet is not None
    # Two surrogates side by side are one character in JSON.
    assert xmp.find_provenance(packet) == json.loads(json.dumps(facts))
    assert seen(new) == seen(content)


def test_facts_of_a_jpeg_that_are_too_long_leave_out_the_longest_and_say_so() -> None:
    long = "a" * 40_000
    new = with_facts(KINDS["JPEG RGB"], about(long))
    assert facts_of(new) == about(long)
    assert new.count(long.encode()) == 1  # not as the description, too

    too_long = about("b" * 70_000, negative_prompt="no owls")
    found = facts_of(with_facts(KINDS["JPEG RGB"], too_long))
    assert found is not None
    assert found["left_out"] == ["prompt"]
    assert found["input"] == {"seed": 7, "style": "realistic", "negative_prompt": "no owls"}
    assert found["request_id"] == REQUEST


# What other programs see


@one_of_each
def test_pillow_finds_a_packet_with_the_prompt_as_description_and_the_model(content: bytes) -> None:
    with Image.open(io.BytesIO(with_facts(content))) as picture:
        packet = ElementTree.fromstring(picture.info["xmp"])

    assert packet.findtext(f".//{DC}description/{RDF}Alt/{RDF}li") == PROMPT
    (model,) = (e.text for e in packet.iter() if e.tag.endswith("}AISystemUsed"))
    assert model == FACTS["model"]


def source_types(content: bytes) -> list[str | None]:
    packet = containers.find_packet(content, containers.parse_segments(content, kind_of(content)))
    assert packet is not None
    tree = ElementTree.fromstring(packet.strip())
    return [e.text for e in tree.iter() if e.tag == f"{IPTC}DigitalSourceType"]


TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{TERMS}trainedAlgorithmicMedia"
COMPOSITE = f"{TERMS}compositeWithTrainedAlgorithmicMedia"


@one_of_each
def test_a_picture_says_that_a_model_made_it(content: bytes) -> None:
    assert source_types(with_facts(content)) == [GENERATED]
    assert source_types(with_facts(with_facts(content, about(image_url="https://h/a.png")))) == [
        GENERATED
    ]


@pytest.mark.parametrize(
    ("input", "source_type"),
    [
        ({"image_url": "https://host/a.png?sign=1"}, COMPOSITE),
        ({"images": ["https://host/1", "https://host/2"]}, COMPOSITE),
        ({"references": [{"url": "https://host/a.JPEG"}]}, COMPOSITE),
        ({"start": "data:image/png;base64,iVBORw0KGgo="}, COMPOSITE),
        ({"mask": "https://host/9f2c"}, COMPOSITE),
        ({"source": "https://host/film.mp4"}, COMPOSITE),
        ({"image_size": "square", "num_images": 2}, GENERATED),
        ({"webhook": "https://host/done"}, GENERATED),
        ({"audio_url": "https://host/a.mp3", "video_sound": "https://host/a.wav"}, GENERATED),
        ({"prompt": "https://host/a.png"}, GENERATED),
        ({"lora": "https://host/style.safetensors"}, GENERATED),
        ({"voice": "data:audio/wav;base64,UklGRg=="}, GENERATED),
    ],
    ids=itertools.count(),
)
def test_a_picture_says_whether_pictures_went_into_it(
    input: dict[str, Any], source_type: str
) -> None:
    given = {"prompt": PROMPT, **input}
    facts = provenance.make_provenance(
        id="heron", model="a/b", input=given, request_id=REQUEST, submitted_at=None
    )

    assert source_types(with_facts(KINDS["PNG RGB"], facts)) == [source_type]


def test_what_pictures_went_in_is_told_also_where_their_urls_do_not_fit() -> None:
    facts = about(image_urls=[f"https://host/{n}.png" for n in range(9000)])
    content = with_facts(KINDS["JPEG RGB"], facts)

    assert "image_urls" in (facts_of(content) or {})["left_out"]
    assert source_types(content) == [COMPOSITE]


@one_of_each
def test_a_source_type_that_is_there_stays_the_only_one(content: bytes) -> None:
    theirs = THEIRS.replace(
        b"<dc:description>",
        f'<i:DigitalSourceType xmlns:i="{IPTC[1:-1]}">{TERMS}digitalCapture</i:DigitalSourceType>'
        "<dc:description>".encode(),
    )

    new = with_facts(with_packet(content, theirs))
    assert source_types(new) == [f"{TERMS}digitalCapture"]
    assert facts_of(new) == FACTS


def test_a_png_has_the_parameters_that_viewers_look_for_before_its_pixels() -> None:
    facts = about(negative_prompt="owls", note='a, "b"')
    with Image.open(io.BytesIO(with_facts(KINDS["PNG RGB"], facts))) as picture:
        text = picture.info["parameters"]  # before it is loaded

    assert text == parameters(facts)
    assert text == (
        f"{PROMPT}\nNegative prompt: owls\n"
        "Seed: 7, Model: ideogram/ideogram-v2/generate, style: realistic,"
        ' note: "a, \\"b\\"", '
        f"Request: {REQUEST}, Version: {provenance.GENERATOR}"
    )


def test_chunks_have_the_checksum_that_png_asks_for() -> None:
    content = with_facts(KINDS["PNG RGB"])
    for piece in containers.parse_segments(content, PNG):
        (check,) = struct.unpack(">I", content[piece.stop : piece.end])
        assert check == zlib.crc32(content[piece.start + 4 : piece.stop])


# What others wrote

THEIRS = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF[1:-1]}"><rdf:Description rdf:about="" xmlns:dc="{DC[1:-1]}">'
    "<dc:description>theirs</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    + " " * 100
    + '<?xpacket end="w"?>'
).encode()


def with_packet(content: bytes, packet: bytes) -> bytes:
    kind = kind_of(content)
    return containers.replace_packet(
        content, kind, containers.parse_segments(content, kind), packet, {}
    )


@one_of_each
def test_a_packet_of_others_keeps_all_it_said(content: bytes) -> None:
    theirs = with_packet(content, THEIRS)
    new = with_facts(theirs)
    packet = containers.find_packet(new, containers.parse_segments(new, kind_of(new)))
    before, after = THEIRS.split(b"</rdf:RDF>")

    assert packet is not None
    assert packet.startswith(before)
    assert packet.endswith(b"</rdf:RDF>" + after)
    assert packet.count(b"dc:description>") == 2  # theirs alone: an opening and a closing one
    assert facts_of(new) == FACTS
    assert with_facts(with_facts(theirs, about("else"))) == new


@pytest.mark.parametrize(
    "packet",
    [b"", b"no XML", THEIRS.decode().encode("utf-16"), THEIRS.replace(b"<rdf:Desc", b"<oops", 1),
     THEIRS.replace(b'about=""', f'about="" xmlns:b="{xmp.NAMESPACE}" b:facts="{{}}"'.encode())],
    ids=["empty", "no XML", "UTF-16", "not well-formed", "ours, rewritten"],
)  # fmt: skip
@one_of_each
def test_a_packet_that_we_do_not_understand_is_left_alone(content: bytes, packet: bytes) -> None:
    if kind_of(content) == PNG and packet.startswith((b"\xff", b"\xfe")):
        packet = packet.replace(b"\0", b"")
    theirs = with_packet(content, packet)

    assert embed(theirs, kind_of(theirs), FACTS) is None


def test_facts_that_another_program_wrote_in_its_own_way_are_read() -> None:
    mark = f'rdf:about="" xmlns:b="{xmp.NAMESPACE}" b:facts="{{&quot;id&quot;:&quot;fox&quot;}}"'
    assert xmp.find_provenance(THEIRS.replace(b'rdf:about=""', mark.encode())) == {"id": "fox"}


@pytest.mark.parametrize("kind", ["tEXt", "iTXt"])
def test_the_parameters_of_others_stay_the_only_ones(kind: str) -> None:
    body = b"parameters\0" + (b"theirs" if kind == "tEXt" else b"\0\0\0\0theirs")
    check = struct.pack(">I", zlib.crc32(kind.encode() + body))
    chunk = struct.pack(">I", len(body)) + kind.encode() + body + check
    content = KINDS["PNG RGB"]
    new = with_facts(content[:-12] + chunk + content[-12:])

    assert chunk in new
    assert new.count(b"parameters\0") == 1
    assert facts_of(new) == FACTS


def png_chunk(content: bytes, name: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + body))
    return content[:-12] + struct.pack(">I", len(body)) + name + body + check + content[-12:]


def webp_chunk(content: bytes, name: bytes, body: bytes) -> bytes:
    new = content[8:] + name + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(new)) + new


SIGNED = {
    "PNG": png_chunk(KINDS["PNG RGB"], b"caBX", b"jumb"),
    "JPEG": KINDS["JPEG RGB"][:2] + b"\xff\xeb\0\x0aJP\0\1jumb" + KINDS["JPEG RGB"][2:],
    "WebP": webp_chunk(KINDS["WebP animated"], b"C2PA", b"jumb"),
}


@pytest.mark.parametrize("content", SIGNED.values(), ids=SIGNED.keys())
def test_a_picture_that_its_maker_signed_is_not_touched(content: bytes) -> None:
    assert seen(content)
    assert embed(content, kind_of(content), FACTS) is None


# What is odd


@every_kind
def test_a_picture_that_breaks_off_is_refused_wherever_it_does(content: bytes) -> None:
    step = max(len(content) // 150, 1)
    for size in {*range(16, len(content), step), *range(len(content) - 12, len(content))}:
        assert embed(content[:size], kind_of(content), FACTS) is None, size


# Hostile files: all of this takes milliseconds, and minutes where the work grows with the square


@pytest.mark.parametrize(
    "packet",
    [
        BEGIN * 14_000,
        (BEGIN + xmp.NAMESPACE) * 9_000 + THEIRS.decode(),
        BEGIN * 14_000 + "</rdf:Description>\n</rdf:RDF>",
        THEIRS.decode().replace("theirs", "</rdf:RDF>" * 90_000),
        "<a>" * 300_000 + xmp.NAMESPACE,
    ],
    ids=["beginnings", "and another's", "one end", "closings", "depth"],
)
def test_a_hostile_packet_takes_no_longer_than_its_length(packet: str) -> None:
    started = time.process_time()
    xmp.add_provenance(packet.encode(), FACTS, 1 << 18)
    xmp.find_provenance(packet.encode())

    assert time.process_time() - started < 5


def test_of_texts_that_unpack_to_much_only_the_wanted_one_is_unpacked() -> None:
    bomb = zlib.compress(bytes(17 << 20))
    texts = [(b"Comment", bomb)] * 300 + [(b"XML:com.adobe.xmp", bomb)]
    content = KINDS["PNG RGB"]
    end = containers.parse_segments(content, PNG)[0].end
    chunks = [b"iTXt" + name + b"\0\1\0\0\0" + text for name, text in texts]
    hostile = content[:end] + b"".join(map(with_checksum, chunks)) + content[end:]

    started = time.process_time()
    assert embed(hostile, PNG, FACTS) is None
    assert facts_of(hostile) is None
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text", ["data:" * 60_000, "data:a/" + "a" * 300_000, "data:a/b" + ";a" * 150_000]
)
def test_a_prompt_that_begins_like_a_file_takes_no_longer_than_its_length(text: str) -> None:
    started = time.process_time()
    assert about(f"{text} ;base64,")["input"]["prompt"] == f"{text} ;base64,"

    assert time.process_time() - started < 5


@given(data=st.data(), content=st.sampled_from(list(KINDS.values())))
@settings(max_examples=200)
def test_no_damage_makes_it_fail(data: st.DataObject, content: bytes) -> None:
    new = bytearray(with_facts(content))
    for at in data.draw(st.lists(st.integers(12, min(len(new), 2000) - 1), max_size=8)):
        new[at] = data.draw(st.integers(0, 255))
    kind = kind_of(content)

    again = embed(bytes(new), kind, FACTS)
    assert again is None or len(again) > len(content)
    packet = containers.find_packet(bytes(new), containers.leading_segments(bytes(new), kind))
    assert (
        packet is None
        or xmp.find_provenance(packet) is None
        or isinstance(xmp.find_provenance(packet), dict)
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\4\0\0\0WEBP", b"GIF89a" + bytes(60)],
)  # fmt: skip
def test_what_is_no_picture_has_no_facts(content: bytes) -> None:
    assert facts_of(content) is None
    for kind in (PNG, JPEG, WEBP):
        assert embed(content, kind, FACTS) is None


@pytest.mark.parametrize("kind", [GIF, MP4])
def test_other_formats_stay_as_they_are(kind: Format) -> None:
    assert embed(saved(noise("L"), "GIF"), kind, FACTS) is None


# The facts


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("https://host/a.png?X-Amz-Signature=5ecret&b", "https://host/a.png"),
        ("https://me:pass@w0rd@host:8/a#frag", "https://host:8/a"),
        ('see "s3://bucket/a?sig=1", and HTTP://b?x.', 'see "s3://bucket/a", and HTTP://b'),
        ("what is it? a/b: c@d.e #1", "what is it? a/b: c@d.e #1"),
        ("data:image/png;base64,iVBORw0KGgo=", "data:image/png (34 characters)"),
        (["http://h/a?b", {"url": "s3://c?d", "n": 1}], ["http://h/a", {"url": "s3://c", "n": 1}]),
    ],
)  # fmt: skip
def test_what_could_open_a_door_is_not_told(given: Any, told: Any) -> None:
    assert about(image_url=given)["input"]["image_url"] == told


@given(st.text("a:/?@#-+. \t", max_size=60))
def test_no_url_keeps_a_query(text: str) -> None:
    told = about(text)["input"]["prompt"]
    for word in told.split():
        _, found, rest = word.partition("a://")
        assert not found or "?" not in rest.partition("a://")[0]


def test_facts_name_the_request_and_nothing_about_this_computer() -> None:
    assert set(FACTS) == {
        *("generator", "id", "model", "input", "request_id", "output", "date"),
    }


def test_facts_hold_the_day_alone_so_that_a_rebuilt_journal_gives_the_same() -> None:
    later = provenance.make_provenance(
        id="heron",
        model=FACTS["model"],
        input=FACTS["input"],
        request_id=REQUEST,
        submitted_at="2026-11-22T23:00:00.123Z",
    )

    assert later == FACTS
    assert FACTS["date"] == "2026-11-22"


def test_a_sidecar_is_called_after_its_file_and_holds_the_facts() -> None:
    path = sidecar(Path("images/heron.png"))

    assert path == Path("images/heron.png.json")
    assert json.loads(sidecar_text(FACTS)) == FACTS
    assert json.loads(sidecar_text(about("\ud800")))["input"]["prompt"] == "\ud800"
