"""Fuzz what reads the bytes of a file, guided by the lines of code that they reach: by hand only.

    python -m venv /tmp/atheris; /tmp/atheris/bin/pip install -e . atheris
    /tmp/atheris/bin/python tests/fuzz/by_coverage.py -max_total_time=600 -timeout=20 CORPUS

CORPUS is a folder; the files that the fuzzer keeps are added to it. The other options are
libFuzzer's. What raises or takes long is written into the current folder; it becomes a test.
"""

import io
import sys
from pathlib import Path

import atheris
from PIL import Image

with atheris.instrument_imports(include=["batchgen.media"]):
    from batchgen.media import provenance
    from batchgen.media.completeness import has_tail, missing_part
    from batchgen.media.formats import format_of
from batchgen.sandbox import media

FACTS = provenance.make_provenance(
    id="heron", model="a/b", input={"prompt": "x"}, request_id="r", submitted_at=None
)


def check(content: bytes) -> None:
    """A file has an answer; what is written into a picture can be read."""
    format = format_of(content)
    if format is None:
        return
    missing_part(io.BytesIO(content), format)
    if format.pillow:
        has_tail(io.BytesIO(content), format)
    provenance.read_provenance(io.BytesIO(content))
    if (written := provenance.embed(content, format, FACTS)) is not None:
        assert (provenance.read_provenance(io.BytesIO(written)) or {})["id"] == "heron"


def add_seeds(corpus: Path) -> None:
    """A small picture of each format, with provenance where it takes some, and a film."""
    corpus.mkdir(exist_ok=True)
    for kind in ("PNG", "JPEG", "WEBP", "GIF"):
        into = io.BytesIO()
        Image.effect_noise((9, 7), 80).convert("RGB").save(into, kind)
        content = into.getvalue()
        format = format_of(content)
        with_facts = format and provenance.embed(content, format, FACTS)
        (corpus / kind).write_bytes(with_facts or content)
    (corpus / "MP4").write_bytes(media.mp4(1))


if __name__ == "__main__":
    for word in sys.argv[1:]:
        if not word.startswith("-"):
            add_seeds(Path(word))
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
