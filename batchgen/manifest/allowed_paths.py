"""Which files a manifest may name: regular ones below its own folder, and those of --allow-path.

A manifest can come from a stranger, and the file that its `from:` names is sent as prompts. So what
a hidden name leads to, such as `.env` or `.config/`, is left alone unless the person names it or
something in it; token files and SSH's folder are never read. Files that are named on the command
line may be anywhere; a schema must be a regular file.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from batchgen.core.text import quote_value, shell_quote
from batchgen.files import FileRefused, open_regular

# The ends of token files' paths: besides those in use there may be others.
_TOKEN_FILES = (f"{os.sep}runcomfy{os.sep}token.json", f"{os.sep}batchgen{os.sep}token")
_SSH_FOLDER = ".ssh"  # of anybody's home


@dataclass(frozen=True, slots=True)
class AllowedPaths:
    """The files that one manifest may have read.

    folder: the manifest's own. extra: files and folders of --allow-path.
    secrets: the token files, which are refused even where they are allowed.
    """

    folder: Path
    extra: tuple[Path, ...] = ()
    secrets: tuple[Path, ...] = ()

    def check_folder(self, path: Path) -> None:
        """Raise FileRefused unless the folder `path` is allowed.

        Each of its files still has to be opened by `open`: it may be a link.
        """
        self._check_place(os.path.realpath(path))

    def open(self, path: Path) -> BufferedReader:
        """Open a regular file that is allowed, after every link.

        Raises FileRefused for any other; OSError and ValueError as `open_regular` does.
        """
        file = open_regular(path)
        try:
            status = os.fstat(file.fileno())
            real = os.path.realpath(path)
            if real.casefold().endswith(_TOKEN_FILES) or self._is_secret(status):
                remedy = "No manifest may read it: name another file."
                raise FileRefused("is the token file", remedy)
            self._check_place(real)
            # The link was changed in between: the open file is not the one that was checked.
            if not os.path.samestat(Path(real).stat(), status):
                raise FileRefused("was replaced while it was opened", "Run the same command again.")
        except BaseException:
            file.close()
            raise
        return file

    def _check_place(self, real: str) -> None:
        """Raise FileRefused unless what lies at `real`, after every link, is allowed."""
        if _is_of_ssh(real):
            remedy = "No manifest may read what lies there: name another file."
            raise FileRefused("lies in the folder of SSH's keys", remedy)
        extra = [os.path.realpath(path) for path in self.extra]
        allowed = (os.path.realpath(self.folder), *extra)
        folders = [path for path in allowed if _is_below(real, path)]
        if real in extra or not all(hidden := [_hidden_name(real, path) for path in folders]):
            return
        if not hidden:
            what = "does not lie below the manifest's folder"
            remedy = "Move it beside the manifest, or name it on the command line: --allow-path"
        else:
            what = f"lies behind a hidden name, {quote_value(hidden[0])}"
            remedy = "If all of it may be sent, name it on the command line: --allow-path"
        raise FileRefused(what, f"{remedy} {shell_quote(real)}")

    def _is_secret(self, status: os.stat_result) -> bool:
        for secret in self.secrets:
            with suppress(OSError):
                if os.path.samestat(secret.stat(), status):
                    return True
        return False


def _is_below(real: str, folder: str) -> bool:
    return real != folder and os.path.commonpath([real, folder]) == folder


def _hidden_name(real: str, folder: str) -> str:
    """Return the first hidden name on the way from a folder to what lies below it, else ""."""
    names = Path(real).relative_to(folder).parts
    return next((name for name in names if name.startswith(".")), "")


def _is_of_ssh(real: str) -> bool:
    """Whether this is SSH's folder or below it, by its name or by a link of that name at home."""
    own = os.path.realpath(os.path.expanduser(f"~/{_SSH_FOLDER}"))  # noqa: PTH111  # raises nothing
    return _SSH_FOLDER in Path(real.casefold()).parts or real == own or _is_below(real, own)
