"""Where checked files are kept for good: the calls that a run and `verify` need of such a place.

`LocalFolder` is the batch folder; `MountedFolder` and `ObjectStore`, in storage/, are places
elsewhere. Which one a batch has is chosen in operations/batch.py.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from batchgen.media.check import CheckedFile
from batchgen.media.formats import Format


class Destination(Protocol):
    """path: what the journal keeps of a file: `FOLDER/NAME`, with the folder of its format.

    All raise OSError if the local disk fails, and an error of ours if another place does: what
    was to be kept stays in scratch then.
    """

    def clear_scratch(self) -> None:
        """Remove the scratch files that earlier runs left. The journal has their URLs."""

    def scratch(self, format: Format, stem: str) -> Path:
        """Return a path on a local disk, another one each time, for a download of a known format.
        Its folder is no link.

        stem: a file name that is unique in the batch, e.g. the row's key and the output's number.
        """

    async def keep(
        self, file: CheckedFile, name: str, n: int, is_taken: Callable[[str], Awaitable[bool]]
    ) -> str:
        """Move a checked file to its place, durably, without replacing another. Return its path.

        A run may have been killed between this and the journal's record, so a file with the same
        content counts as this one.

        name: the row's, safe as a file name. n: the output's number, from 1.
        is_taken: whether the journal has another row's file at a path.
        """

    async def keep_sidecar(self, path: str, text: str) -> None:
        """Write a text beside the kept file at `path`, durably; it replaces an earlier one."""

    def local_copy(self, path: str) -> AbstractAsyncContextManager[Path]:
        """Hand out where a kept file lies on a local disk for the block, to be read only.

        What is kept elsewhere is fetched for it. Raises FileNotFoundError, then or when it is read.
        """

    async def replace(self, file: CheckedFile, path: str) -> None:
        """Put a checked file at `path`, durably. A damaged one there is put aside, not deleted."""
