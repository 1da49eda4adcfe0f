"""A path in a manifest -> a local file that may be sent, or the reason why it may not."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path

from batchgen.core.local_files import KINDS, FileUnusable, LocalFile
from batchgen.core.text import closest_match, quote_value
from batchgen.files import FileRefused
from batchgen.inputs import fit as fitting
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.media.check import AFTER_END, MediaBroken, examine
from batchgen.media.formats import SIGNATURE_BYTES, Format, format_of

# Of a file. Source: docs/maintainers/wire.md, "Inputs"; what a body may hold is less for a film.
MAX_BYTES = {"image": 50_000_000, "video": 100_000_000}
MAX_REMEMBERED = 10_000  # files that were checked; several rows in a row often have the same
MAX_NEAR_NAMES = 1000  # of a folder, that are compared with one that is not there
MAX_HINTS = 20  # a list of a million wrong paths needs no million guesses

_EITHER = "Give the path of a file, relative to the manifest's folder, or a public https:// address"


@dataclass(eq=False)
class LocalFiles:
    """The local files that one manifest names.

    allowed: which of them may be read. keep: called with each file when it was checked.
    fit: whether large pictures are made smaller.
    """

    allowed: AllowedPaths
    keep: Callable[[LocalFile], None] = lambda file: None
    fit: bool = False

    def __post_init__(self) -> None:
        self._checked: OrderedDict[tuple[str, str], LocalFile] = OrderedDict()
        self._hints = 0

    def check(self, path: str, kind: str) -> LocalFile:
        """Return the file at `path` if all of it may be sent. Raises FileUnusable.

        kind: `image`, `video` or `audio`; "" for any of them.
        """
        known = self._checked.get((path, kind))
        if known is None:
            known = self._checked[path, kind] = self._check(path, kind)
            self.keep(known)
            if len(self._checked) > MAX_REMEMBERED:
                self._checked.popitem(last=False)
        return known

    def seen(self, path: str) -> str | None:
        """Return what tells whether a file was written to; None where it cannot be read."""
        try:
            with self.allowed.open(self.allowed.folder / path) as file:
                return _seen(file)
        except (OSError, ValueError):
            return None

    def open(self, path: str) -> BufferedReader:
        """Open a file for its submission. Raises FileRefused, OSError and ValueError."""
        return self.allowed.open(self.allowed.folder / path)

    def _check(self, path: str, kind: str) -> LocalFile:
        try:
            with self.open(path) as file:
                seen = _seen(file)
                format, size = _examine(file, path, kind, fit=self.fit)
                fitted = None
                if self.fit and format.kind == "image" and size > fitting.MAX_BYTES:
                    fitted = _fit(file, path)
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                if _seen(file) != seen:
                    what = f"{quote_value(path)} was written to while it was checked"
                    raise FileUnusable(what, "Run the same command again when it is finished.")
        except FileRefused as error:
            raise self._refused(path, error) from None
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise self._missing(path) from None
        except OSError as error:
            what = f"{quote_value(path)} cannot be read: {(error.strerror or str(error)).lower()}"
            raise FileUnusable(what, "Look at its permissions.") from None
        found = LocalFile(path, sha256, size, format.content_type, seen)
        if fitted is None:
            return found
        return found._replace(
            content_type=fitted.format.content_type,
            fit=fitted.words,
            sent_sha256=hashlib.sha256(fitted.content).hexdigest(),
            fit_bytes=len(fitted.content),
        )

    def _refused(self, path: str, error: FileRefused) -> FileUnusable:
        remedy = error.remedy
        if (self.allowed.folder / path).is_dir():
            return FileUnusable(f"{quote_value(path)} is a folder", "Name one of its files.")
        return FileUnusable(f"{quote_value(path)} {error.what}", remedy)

    def _missing(self, path: str) -> FileUnusable:
        what = f"{quote_value(path)} is neither an https:// address nor a file that is there"
        near = self._near(path)
        return FileUnusable(what, f"Did you mean {near}? {_EITHER}." if near else f"{_EITHER}.")

    def _near(self, path: str) -> str | None:
        """Return the path of a file that may be meant; None if there is none."""
        self._hints += 1
        if self._hints > MAX_HINTS or os.path.isabs(path):  # noqa: PTH117
            return None
        folder, name = os.path.split(path.replace("\\", "/"))
        if ".." in Path(folder).parts:
            return None
        try:
            with os.scandir(self.allowed.folder / folder) as entries:
                names = [one.name for one in islice(entries, MAX_NEAR_NAMES) if one.is_file()]
        except (OSError, ValueError):
            return None
        near = closest_match(name, sorted(one for one in names if not one.startswith(".")))
        return near and quote_value(os.path.join(folder, near))  # noqa: PTH118


def _seen(file: BufferedReader) -> str:
    """Return what changes whenever a file is written to, or another takes its place.

    The time of the change of its inode cannot be set, as that of its content can.
    """
    status = os.fstat(file.fileno())
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _fit(file: BufferedReader, path: str) -> fitting.Fitted:
    try:
        return fitting.fit(file)
    except fitting.CannotFit as error:
        what = f"{quote_value(path)} cannot be made smaller: {error}"
        raise FileUnusable(what, "Make it smaller with another program.") from None


def _examine(
    file: BufferedReader, path: str, kind: str, *, fit: bool = False
) -> tuple[Format, int]:
    """Return the format and the size of an open file that may be sent. Raises FileUnusable."""
    shown = quote_value(path)
    head = file.read(SIGNATURE_BYTES)
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise FileUnusable(f"{shown} is empty", "Name a file that is not.")
    format = format_of(head)
    if format is None or (kind and format.kind != kind):
        is_kind = "no picture, video or sound" if format is None else KINDS[format.kind]
        what = f"{shown} is {is_kind}" + (f", and the model takes {KINDS[kind]}" if kind else "")
        raise FileUnusable(what, f"Name {KINDS.get(kind, 'a picture, a video or a sound')}.")
    if format.kind == "image" and not format.pillow:
        what = f"{shown} is {format.extension.upper()}, which cannot be checked here"
        raise FileUnusable(what, "Convert it to PNG or JPEG.")
    most = MAX_BYTES.get(format.kind)
    if most is not None and size > most and not (fit and format.kind == "image"):
        what = f"{shown} has {size:,} bytes, and {KINDS[format.kind]} may have {most:,}"
        ways = ", or have that done with --fit" if format.kind == "image" else ""
        raise FileUnusable(what, f"Make it smaller{ways}.")
    file.seek(0)
    try:
        found = examine(file, format)
    except MediaBroken as error:
        raise FileUnusable(f"{shown}: {error}", "Name a file that is whole.") from None
    if format.kind == "image" and found.note not in (None, AFTER_END):
        raise FileUnusable(f"{shown} was {found.note}", "Make it smaller.")
    return format, size
