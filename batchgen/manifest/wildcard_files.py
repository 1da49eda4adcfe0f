"""The files of a list's wildcards: `__light/dawn__` is `light/dawn.txt` beside the manifest.

Or in the folder `wildcards` there, where other programs have them. The rules of `allowed_paths.py`
hold for them too, since a list may come from a stranger.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from batchgen.core.text import closest_match, escape_unprintable, show_undecoded
from batchgen.files import FileRefused
from batchgen.manifest.allowed_paths import AllowedPaths
from batchgen.manifest.decoding import decode_whole
from batchgen.manifest.records import Unreadable
from batchgen.templates.wildcards import MAX_CHARS, CannotUnfold, WildcardText

FOLDER = "wildcards"
SUFFIX = ".txt"
MAX_BYTES = 4 * MAX_CHARS
MAX_NAMES = 10_000  # that are looked through for the one that was meant


class WildcardFiles:
    """digests: what stands for the place and the bytes of each file that was read, by its name."""

    def __init__(self, allowed: AllowedPaths) -> None:
        self._allowed = allowed
        self.digests: dict[str, str] = {}

    def read(self, name: str) -> WildcardText:
        """Return the file of a wildcard. Raises CannotUnfold."""
        try:
            path, data = self._bytes(name)
            text = decode_whole(BytesIO(data), show_undecoded(str(path)))
        except FileNotFoundError:
            near = closest_match(name, self._names())
            meant = f"Did you mean __{escape_unprintable(near)}__? " if near else ""
            what = f"there is no {name}{SUFFIX} beside the list, nor in {FOLDER}/"
            remedy = f"{meant}Write \\_\\_ if the underscores themselves are meant."
            raise CannotUnfold(what, remedy) from None
        except FileRefused as error:
            raise CannotUnfold(f"{name}{SUFFIX} {error.what}", error.remedy) from None
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise CannotUnfold(f"{name}{SUFFIX} cannot be read: {reason}") from None
        except Unreadable as error:
            problem = error.problem
            raise CannotUnfold(problem.what, problem.remedy, problem.place) from None
        self.digests[name] = _digest(path, data)
        return WildcardText(show_undecoded(str(path)), text)

    def current(self, names: Iterable[str]) -> dict[str, str]:
        """Return what `digests` would be if these were read now; "" for one that cannot be."""
        found = dict.fromkeys(names, "")
        for name in found:
            with suppress(FileRefused, OSError, ValueError):
                found[name] = _digest(*self._bytes(name))
        return found

    def _bytes(self, name: str) -> tuple[Path, bytes]:
        """Raises FileNotFoundError, and as `AllowedPaths.open` does."""
        for folder in self._folders():
            path = folder / f"{name}{SUFFIX}"
            with suppress(FileNotFoundError, NotADirectoryError), self._allowed.open(path) as file:
                if os.fstat(file.fileno()).st_size > MAX_BYTES:
                    raise FileRefused(f"is larger than {MAX_BYTES >> 20} MiB", "Make it smaller.")
                return path, file.read()
        raise FileNotFoundError(name)

    def _folders(self) -> tuple[Path, Path]:
        return self._allowed.folder, self._allowed.folder / FOLDER

    def _names(self) -> list[str]:
        """Return the names of wildcards that have a file in one of the folders themselves."""
        return [name.removesuffix(SUFFIX) for name in self._entries() if name.endswith(SUFFIX)]

    def _entries(self) -> Iterator[str]:
        for folder in self._folders():
            with suppress(OSError), os.scandir(folder) as found:
                for _, entry in zip(range(MAX_NAMES), found, strict=False):
                    if not entry.name.startswith("."):
                        yield entry.name


def _digest(path: Path, data: bytes) -> str:
    return hashlib.sha256(str(path).encode(errors="surrogatepass") + b"\0" + data).hexdigest()
