"""The formats of manifests: their names, their files' suffixes, and what reads them.

A new format is a reader module and an entry of FORMATS. No import here is slow, since the command
line needs the names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from batchgen.core.limits import Limits
from batchgen.manifest.decoding import DecodedLines
from batchgen.manifest.document import Document
from batchgen.manifest.read_csv import read_csv, read_tsv
from batchgen.manifest.read_json import read_json
from batchgen.manifest.read_jsonl import read_jsonl
from batchgen.manifest.read_text import read_text_lines
from batchgen.manifest.records import Item
from batchgen.manifest.separators import KnowsAny


@dataclass(frozen=True, slots=True)
class Format:
    """suffixes: of its files' names, in lower case and without the dot.

    One of the readers is set. Both raise Unreadable.
    read_lines: yields a file's items line by line, by (lines, which names are known).
    read_document: reads a whole file, (text, name in messages, limits), which can carry settings.
    """

    suffixes: tuple[str, ...]
    read_lines: Callable[[DecodedLines, KnowsAny], Iterator[Item]] | None = None
    read_document: Callable[[str, str, Limits], Document] | None = None


def _read_yaml(text: str, file: str, limits: Limits) -> Document:
    from batchgen.manifest.read_yaml import read_yaml  # here, since it brings PyYAML

    return read_yaml(text, file, limits)


FORMATS = {
    "csv": Format(("csv",), read_csv),
    "tsv": Format(("tsv", "tab"), read_tsv),
    "json": Format(("json",), read_document=read_json),
    "jsonl": Format(("jsonl", "ndjson"), read_jsonl),
    "yaml": Format(("yaml", "yml"), read_document=_read_yaml),
    "text": Format(("text", "txt"), read_text_lines),
}
FORMAT_OF_SUFFIX = {suffix: name for name, one in FORMATS.items() for suffix in one.suffixes}
