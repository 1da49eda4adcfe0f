"""What a manifest may have read: regular files below its own folder, and what the person allows.

A list can come from a stranger, and what its `from:` names is sent as prompts. What the person
names on the command line is not held to this, except that a schema has to be a regular file.
"""

import os
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from batchgen.core.text import shell_quote
from batchgen.files import FileRefused, open_regular

# Beside the token file that is in use there may be another, of another configuration folder.
_TOKEN_FILE = f"{os.sep}runcomfy{os.sep}token.json"


@dataclass(frozen=True, slots=True)
class Reach:
    """What one manifest may have read.

    folder: the manifest's own; allowed: files and folders that the person named besides.
    secret: the token file, which is never read, whatever is allowed; None where there is none.
    """

    folder: Path
    allowed: tuple[Path, ...] = ()
    secret: Path | None = None

    def check_folder(self, path: Path) -> None:
        """Raises Refused unless the folder `path` is within reach. Its files are still opened one
        by one: they may be links."""
        self._refuse_outside(os.path.realpath(path))

    def open(self, path: Path) -> BufferedReader:
        """Raises Refused unless `path` leads to a regular file within reach; else as
        `open_regular`."""
        file = open_regular(path)
        try:
            status = os.fstat(file.fileno())
            real = os.path.realpath(path)
            self._refuse_secret(real, status)
            self._refuse_outside(real)
            # A link that was changed in between: what is open is not what was judged.
            if not os.path.samestat(Path(real).stat(), status):
                raise FileRefused("was replaced while it was opened", "Run the same command again.")
        except BaseException:
            file.close()
            raise
        return file

    def _refuse_outside(self, real: str) -> None:
        if _is_below(real, os.path.realpath(self.folder)):
            return
        for path in map(os.path.realpath, self.allowed):
            if real == path or _is_below(real, path):
                return
        raise FileRefused(
            "does not lie below the manifest's folder",
            "Move it beside the manifest, or name it on the command line:"
            f" --allow-path {shell_quote(real)}",
        )

    def _refuse_secret(self, real: str, status: os.stat_result) -> None:
        if real.casefold().endswith(_TOKEN_FILE) or self._is_secret(status):
            raise FileRefused("is the token file", "No manifest may read it: name another file.")

    def _is_secret(self, status: os.stat_result) -> bool:
        try:
            return self.secret is not None and os.path.samestat(self.secret.stat(), status)
        except OSError:
            return False


def _is_below(real: str, folder: str) -> bool:
    return real != folder and os.path.commonpath([real, folder]) == folder
