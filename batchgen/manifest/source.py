"""Where a manifest's bytes are, what form they have, and how people call the file."""

from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batchgen.errors import UsageError
from batchgen.manifest import read_csv, read_json, read_jsonl, read_yaml
from batchgen.manifest.allowed_paths import Reach
from batchgen.manifest.decoding import DecodedLines, decode_whole
from batchgen.manifest.document import Document
from batchgen.manifest.read_text import read_folder, read_text_lines
from batchgen.manifest.records import Item

FORMATS = ("csv", "tsv", "json", "jsonl", "yaml", "text")
STDIN = "<stdin>"

_SUFFIXES = {name: name for name in FORMATS} | {
    "tab": "tsv",
    "ndjson": "jsonl",
    "yml": "yaml",
    "txt": "text",
}

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """A manifest to read. path: None for standard input. format: of FORMATS, or `folder`.

    seen: size and time of change, in ns, before anything was read of it.
    reach: what may be read of it; None for a file that the person named, which may be a pipe.
    """

    file: str
    format: str
    path: Path | None
    stream: BinaryIO | None = None
    seen: tuple[int, int] = (0, 0)
    reach: Reach | None = None

    @property
    def is_document(self) -> bool:
        """Whether it is read as one piece, and can carry settings."""
        return self.format in ("json", "yaml")

    def document(self) -> Document:
        """Raises Unreadable and OSError."""
        with self._open() as stream:
            text = decode_whole(stream, self.file)
        read = read_json.read_json if self.format == "json" else read_yaml.read_yaml
        return read(text, self.file)

    def items(self) -> Iterator[Item]:
        """Stream a form that is no document. Raises Unreadable and OSError."""
        if self.format == "folder" and self.path is not None:
            reach = self.reach or Reach(self.path)
            yield from read_folder(self.path, self.file, reach.open)
            return
        read = {"csv": read_csv.read_csv, "tsv": read_csv.read_tsv, "jsonl": read_jsonl.read_jsonl}
        with self._open() as stream:
            yield from read.get(self.format, read_text_lines)(DecodedLines(stream, self.file))

    def _open(self) -> "closing[BinaryIO] | nullcontext[BinaryIO]":
        if self.path is not None:
            return closing(self.reach.open(self.path) if self.reach else self.path.open("rb"))
        if self.stream is None:
            raise UsageError("There is no standard input to read the manifest from.")
        return nullcontext(self.stream)


def find_source(
    name: str | Path | None,
    *,
    format: str | None = None,
    stream: BinaryIO | None = None,
    folder: Path | None = None,
) -> ManifestSource:
    """Return the source of this name. None and `-` are standard input, unless there is a `folder`.

    folder: what a relative name is relative to, if it is not the current folder.
    Raises UsageError where there is nothing of this name, or its form cannot be told.
    """
    if format is not None and format not in _SUFFIXES:
        raise UsageError(f"{format!r} is not a format.", f"Formats are {', '.join(FORMATS)}.")
    given = None if format is None else _SUFFIXES[format]
    if name is None or (folder is None and str(name) == "-"):
        if given is None:
            raise UsageError(
                "Standard input has no name that would tell its format.",
                f"Add --format, one of {', '.join(FORMATS)}.",
            )
        return ManifestSource(STDIN, given, None, stream)
    path = Path(name) if folder is None else folder / name
    file = str(name) if folder is None else str(path)
    try:
        is_folder = path.is_dir()
        status = path.stat()
        seen = (status.st_size, status.st_mtime_ns)
        found = True
    except (OSError, ValueError):
        found = is_folder = False
    if not found:
        raise UsageError(f"There is no file {file}.", "Look at the spelling and the folder.")
    if is_folder:
        return ManifestSource(file, "folder", path, seen=seen)
    by_name = _SUFFIXES.get(path.suffix.lower().removeprefix("."))
    if given is None and (sheet := path.suffix.lower()) in _SPREADSHEETS:
        raise UsageError(
            f"batchgen does not read {sheet}: {file}.", "Save it as CSV UTF-8, and run that."
        )
    if given is None and by_name is None:
        raise UsageError(
            f"The name {file} does not tell the file's format.",
            f"Add --format, one of {', '.join(FORMATS)}.",
        )
    return ManifestSource(file, given or by_name or "", path, seen=seen)
