"""What a file is, by its first bytes alone."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchgen.media.formats import SIGNATURE_BYTES, format_of

REST = bytes(range(100, 180))
FILES = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "jpg, exif": b"\xff\xd8\xff\xe1\0\x10Exif\0",
    "gif": b"GIF89a",
    "gif, older": b"GIF87a",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "avif": b"\0\0\0\x1cftypavif",
    "avif, sequence": b"\0\0\0\x1cftypavis",
    "mp4": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41",
    "mp4, other brand": b"\0\0\0\x18ftypmp42",
    "mov": b"\0\0\0\x14ftypqt  ",
    "webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm",
    "mkv": b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska",
    "avi": b"RIFF\x24\0\0\0AVI LIST",
    "m4a": b"\0\0\0\x20ftypM4A ",
    "m4a, audio book": b"\0\0\0\x20ftypM4B ",
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "mp3, with tags": b"ID3\x04\0",
    "mp3": b"\xff\xfb\x90\x44",
    "mp3, MPEG-2": b"\xff\xf3\x40\xc4",
    "ogg": b"OggS\0\x02",
    "flac": b"fLaC\0\0\0\x22",
}
KINDS = {
    "images": {"png", "jpg", "gif", "webp", "avif"},
    "videos": {"mp4", "mov", "webm", "mkv", "avi"},
    "audio": {"m4a", "wav", "mp3", "ogg", "flac"},
}
NO_MEDIA = {
    "nothing": b"",
    "one byte": b"\x89",
    "half a PNG's mark": b"\x89PNG\r\n",
    "a PNG that was read as text": b"\x89PNG\n\x1a\n",
    "HTML": b"<!DOCTYPE html><html><head>",
    "HTML after white space": b"\n\n  <html>",
    "JSON": b'{"error_code": 404001}',
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>',
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>',
    "text": b"Not found",
    "gzip": b"\x1f\x8b\x08\0",
    "zip": b"PK\x03\x04",
    "PDF": b"%PDF-1.7",
    "a program": b"\x7fELF\x02\x01",
    "another RIFF": b"RIFF\x24\0\0\0CDDA",
    "RIFF and no more": b"RIFF",
    "zeros": bytes(64),
    "words about what is free": b"The free tier has expired",
    "words about what is wide": b"The wide shot shows a heron.",
}


@pytest.mark.parametrize(("name", "head"), FILES.items(), ids=FILES.keys())
def test_the_first_bytes_tell_the_extension_and_the_folder(name, head):
    found = format_of((head + REST)[:SIGNATURE_BYTES])

    assert found is not None
    assert found.extension == name.partition(",")[0]
    assert found.extension in KINDS[found.folder]
    assert found.content_type.startswith(f"{found.kind}/")


@pytest.mark.parametrize("head", NO_MEDIA.values(), ids=NO_MEDIA.keys())
def test_what_is_no_media_has_no_format(head):
    assert format_of(head) is None


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_pictures_that_pillow_writes_are_known_by_pillows_name(name):
    if name not in Image.registered_extensions().values() or name not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {name}")
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, name)

    found = format_of(file.getvalue()[:SIGNATURE_BYTES])

    assert found is not None
    assert found.pillow == name


@given(st.binary(max_size=SIGNATURE_BYTES))
def test_any_bytes_have_a_format_or_none(head):
    found = format_of(head)

    assert found is None or found.folder in KINDS
