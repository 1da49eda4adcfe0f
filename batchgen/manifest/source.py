"""Where a manifest's bytes are, what format they have, and the file's name in messages."""

import stat
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batchgen.core.identity import PROMPT_NAMES
from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.text import show_undecoded
from batchgen.errors import UsageError
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.manifest.decoding import DecodedLines, decode_whole
from batchgen.manifest.document import Document
from batchgen.manifest.file_kinds import KIND_OF_SUFFIX
from batchgen.manifest.formats import FORMAT_OF_SUFFIX, FORMATS
from batchgen.manifest.read_media_folder import read_media_folder
from batchgen.manifest.read_text import read_folder, read_text_unless_other
from batchgen.manifest.records import Item
from batchgen.manifest.separators import KnowsAny

STDIN = "<stdin>"
FOLDER = "folder"  # the format of a folder of .txt files, which nobody has to name


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """A manifest to read. path: None for standard input. format: of FORMATS, or FOLDER.

    file: its name in messages.
    is_named: whether the person named the format; else it follows from the file's name.
    seen: size and time of change, in ns, before anything was read of it.
    allowed: what may be read of it; None for a file that the person named, which may be a pipe.
    limits: what it may take.
    input: of a folder of media files, which input each of them is; "" for a folder of texts.
    """

    file: str
    format: str
    path: Path | None
    stream: BinaryIO | None = None
    is_named: bool = False
    seen: tuple[int, int] = (0, 0)
    allowed: AllowedPaths | None = None
    limits: Limits = DEFAULT_LIMITS
    input: str = ""

    @property
    def is_media_folder(self) -> bool:
        return self.format == FOLDER and bool(self.input)

    def document(self) -> Document | None:
        """Read a format that can carry settings; None for any other. Raises Unreadable, OSError."""
        read = FORMATS[self.format].read_document if self.format in FORMATS else None
        if read is None:
            return None
        with self._open() as stream:
            text = decode_whole(stream, self.file, self.limits)
        return read(text, self.file, self.limits)

    def items(self, knows_any: KnowsAny, prompt: str = PROMPT_NAMES[0]) -> Iterator[Item]:
        """Stream a format that is no document. Raises Unreadable and OSError.

        knows_any: by which a table is known as such. prompt: the input that a text is.
        """
        if self.format == FOLDER and self.path is not None:
            allowed = self.allowed or AllowedPaths(self.path)
            if self.input:
                where = self.path, self.file, self.input, prompt, allowed.folder
                yield from read_media_folder(*where, allowed.open, self.limits)
                return
            yield from read_folder(self.path, self.file, allowed.open, self.limits)
        elif read := FORMATS[self.format].read_lines:
            if self.format == "text" and not self.is_named:
                read = read_text_unless_other
            with self._open() as stream:
                yield from read(DecodedLines(stream, self.file, self.limits), knows_any)

    def _open(self) -> "closing[BinaryIO] | nullcontext[BinaryIO]":
        if self.path is not None:
            return closing(self.allowed.open(self.path) if self.allowed else self.path.open("rb"))
        if self.stream is None:
            raise UsageError("There is no standard input to read the manifest from.")
        return nullcontext(self.stream)


def find_source(
    name: str | Path | None,
    *,
    format: str | None = None,
    stream: BinaryIO | None = None,
    folder: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ManifestSource:
    """Return the source of this name. None and `-` are standard input, unless there is a `folder`.

    format: a name or a suffix of FORMATS; None takes the one of the file's suffix.
    folder: what a relative name is relative to, if it is not the current folder.
    limits: of the source.
    Raises UsageError where there is nothing of this name, or its format cannot be told.
    """
    if format is not None and format not in FORMAT_OF_SUFFIX:
        raise UsageError(f"{format!r} is not a format.", f"Formats are {', '.join(FORMATS)}.")
    given = None if format is None else FORMAT_OF_SUFFIX[format]
    add_format = f"Add --format, one of {', '.join(FORMATS)}."
    if name is None or (folder is None and str(name) == "-"):
        if given is None:
            raise UsageError("Standard input has no name that would tell its format.", add_format)
        return ManifestSource(STDIN, given, None, stream, is_named=True, limits=limits)
    if str(name) == "":
        what = "The name of the list is empty, as of a variable that is not set. Nothing was sent."
        raise UsageError(what, "Name a file, a folder, or - for standard input.")
    path = Path(name) if folder is None else folder / name
    file = show_undecoded(str(name if folder is None else path))
    try:
        status = path.stat()
    except (OSError, ValueError):
        what = f"There is no file {file}."
        raise UsageError(what, "Look at the spelling and the folder.") from None
    seen = (status.st_size, status.st_mtime_ns)
    if stat.S_ISDIR(status.st_mode):
        return ManifestSource(file, FOLDER, path, seen=seen, limits=limits)
    suffix = path.suffix.lower()
    if given is None and (kind := KIND_OF_SUFFIX.get(suffix)):
        raise UsageError(f"batchgen does not read {suffix}: {file} is {kind.name}.", kind.remedy)
    form = given or FORMAT_OF_SUFFIX.get(suffix.removeprefix("."))
    if form is None:
        raise UsageError(f"The name {file} does not tell the file's format.", add_format)
    is_named = given is not None
    return ManifestSource(file, form, path, is_named=is_named, seen=seen, limits=limits)
