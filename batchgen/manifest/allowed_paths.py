"""Which files a manifest may name: regular ones below its own folder, and those of --allow-path.

A manifest can come from a stranger, and the file that its `from:` names is sent as prompts. Files
that are named on the command line may be anywhere; a schema must be a regular file.
"""

import os
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from batchgen.core.text import shell_quote
from batchgen.files import FileRefused, open_regular

# The end of any token file's path: besides the one in use there may be others.
_TOKEN_FILE = f"{os.sep}runcomfy{os.sep}token.json"


@dataclass(frozen=True, slots=True)
class AllowedPaths:
    """The files that one manifest may have read.

    folder: the manifest's own. extra: files and folders of --allow-path.
    secret: the token file, which is refused even where it is allowed; None where there is none.
    """

    folder: Path
    extra: tuple[Path, ...] = ()
    secret: Path | None = None

    def check_folder(self, path: Path) -> None:
        """Raise FileRefused unless the folder `path` is allowed.

        Each of its files still has to be opened by `open`: it may be a link.
        """
        self._refuse_outside(os.path.realpath(path))

    def open(self, path: Path) -> BufferedReader:
        """Open a regular file that is allowed, after every link.

        Raises FileRefused for any other; OSError and ValueError as `open_regular` does.
        """
        file = open_regular(path)
        try:
            status = os.fstat(file.fileno())
            real = os.path.realpath(path)
            if real.casefold().endswith(_TOKEN_FILE) or self._is_secret(status):
                remedy = "No manifest may read it: name another file."
                raise FileRefused("is the token file", remedy)
            self._refuse_outside(real)
            # The link was changed in between: the open file is not the one that was checked.
            if not os.path.samestat(Path(real).stat(), status):
                raise FileRefused("was replaced while it was opened", "Run the same command again.")
        except BaseException:
            file.close()
            raise
        return file

    def _refuse_outside(self, real: str) -> None:
        extra = map(os.path.realpath, self.extra)
        if not _is_below(real, os.path.realpath(self.folder)) and not any(
            real == path or _is_below(real, path) for path in extra
        ):
            remedy = "Move it beside the manifest, or name it on the command line: --allow-path"
            what = "does not lie below the manifest's folder"
            raise FileRefused(what, f"{remedy} {shell_quote(real)}")

    def _is_secret(self, status: os.stat_result) -> bool:
        try:
            return self.secret is not None and os.path.samestat(self.secret.stat(), status)
        except OSError:
            return False


def _is_below(real: str, folder: str) -> bool:
    return real != folder and os.path.commonpath([real, folder]) == folder
