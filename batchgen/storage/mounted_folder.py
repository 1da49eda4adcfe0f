"""A folder beside the batch folder as a destination, as on a disk of a network that is mounted.

Scratch files stay in the batch folder, on its local disk; a checked one is copied, synced and then
named. Nobody keeps other runs out there, so a file gets its name by a hard link, which replaces
none; where there are no such links it is renamed after a look.
"""

import asyncio
from pathlib import Path

from batchgen import files
from batchgen.errors import StorageDamaged
from batchgen.media.local_folder import LocalFolder


class MountedFolder(LocalFolder):
    """place: the folder, a whole path. folder: the batch's."""

    def __init__(self, place: str, folder: Path) -> None:
        super().__init__(Path(place), folder)
        self.place = place
        self._folder = folder

    async def require(self) -> None:
        """Raise StorageDamaged unless a file can be written there durably.

        The last folder of the path is made. One above it that is missing was probably not mounted.
        """
        await asyncio.to_thread(self._try_writing)

    def _try_writing(self) -> None:
        try:
            self._root.mkdir(mode=0o700, exist_ok=True)
            probe = files.temporary_path(self._root / "probe")
            try:
                with files.create_new_file(probe) as file:
                    file.write(b"batchgen")
                    file.flush()
                    files.sync_file(file.fileno())
            finally:
                probe.unlink(missing_ok=True)
            files.sync_folder(self._root)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise StorageDamaged(
                f"Media cannot be kept in {self.place}: {error.strerror or error}. Nothing was"
                " sent.",
                f"Is it mounted? {self._root.parent} has to be there." if missing else "",
            ) from error

    async def fetch(self, path: str, to: Path) -> None:
        """Copy a file to a new one. Raises FileNotFoundError where there is none."""
        await asyncio.to_thread(files.copy_file, self._root / path, to, self._folder)
