"""A folder as a destination: `images/`, `videos/`, `audio/` and `files/` below it."""

import asyncio
import errno
import hashlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

from batchgen import files
from batchgen.media.check import CheckedFile
from batchgen.media.formats import FOLDERS, Format
from batchgen.media.provenance import sidecar

# A file system that has no hard links, such as exFAT, answers with one of these.
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


class LocalFolder:
    """A `Destination`. root: where the files are kept.

    scratch: the batch folder, whose lock keeps other runs out; None is `root` itself.
    """

    def __init__(self, root: Path, scratch: Path | None = None) -> None:
        self._root = root
        self._scratch = scratch or root
        self._durable_folders: set[Path] = set()
        self._sync_locks: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._next_syncs: dict[Path, asyncio.Task[None]] = {}

    def clear_scratch(self) -> None:
        for folder in FOLDERS.values():
            files.remove_temporary_files(self._scratch / folder, self._scratch)

    def scratch(self, format: Format, stem: str) -> Path:
        for root in {self._scratch, self._root}:
            folder = root / format.folder
            if folder not in self._durable_folders:
                files.make_folder(folder, root)
                files.sync_folder(root)  # or a power cut takes the folder with its pictures
                self._durable_folders.add(folder)
        # A new name each time: a check process of a killed run may still write to its own file.
        return files.temporary_path(self._scratch / format.folder / stem)

    async def keep(
        self, file: CheckedFile, name: str, n: int, is_taken: Callable[[str], Awaitable[bool]]
    ) -> str:
        part = await self._brought(file)
        try:
            for path in candidate_paths(file, name, n):
                target = self._root / path
                if not await is_taken(path) and (
                    link_new(part, target, self._root) or _has_content(target, file)
                ):
                    break
        finally:
            part.unlink(missing_ok=True)
        await self._sync_names(target.parent)
        file.part.unlink(missing_ok=True)
        return path

    async def _brought(self, file: CheckedFile) -> Path:
        """Return a durable scratch file beside where the file will be: itself, or a copy."""
        if self._scratch == self._root:
            return file.part
        part = files.temporary_path(self._root / file.format.folder / file.sha256[:16])
        await asyncio.to_thread(files.copy_file, file.part, part, self._root)
        return part

    async def _sync_names(self, folder: Path) -> None:
        """Make the names in `folder` durable. One sync serves all callers that wait for it."""
        if folder not in self._next_syncs:
            self._next_syncs[folder] = asyncio.create_task(self._sync(folder))
        await asyncio.shield(self._next_syncs[folder])

    async def _sync(self, folder: Path) -> None:
        async with self._sync_locks[folder]:
            del self._next_syncs[folder]  # a name that is added from now on needs another sync
            await asyncio.to_thread(files.sync_folder, folder)

    async def keep_sidecar(self, path: str, text: str) -> None:
        await asyncio.to_thread(self._write_sidecar, path, text)

    def _write_sidecar(self, path: str, text: str) -> None:
        with files.write_whole(sidecar(self._root / path), inside=self._root) as file:
            file.write(text)

    @asynccontextmanager
    async def local_copy(self, path: str) -> AsyncIterator[Path]:
        yield self._root / path

    async def replace(self, file: CheckedFile, path: str) -> None:
        target, part = self._root / path, await self._brought(file)
        with files.folder_of(target, self._root) as folder:
            if os.path.lexists(target):
                _rename(target.name, _free_name(target).name, folder)
            _rename(part.name, target.name, folder)
            os.fsync(folder)
        file.part.unlink(missing_ok=True)


def link_new(part: Path, target: Path, root: Path) -> bool:
    """Give `part` a second name; return False if that is taken. A rename would replace the file.

    Both are in one folder of the batch folder `root`.
    """
    with files.folder_of(target, root) as folder:
        try:
            os.link(part.name, target.name, src_dir_fd=folder, dst_dir_fd=folder)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
        # The batch folder's lock keeps other runs from taking the name in between.
        if os.path.lexists(target):
            return False
        _rename(part.name, target.name, folder)
        return True


def candidate_paths(file: CheckedFile, name: str, n: int) -> Iterator[str]:
    """Yield paths for the n-th output (from 1) of a row, without end."""
    for stem in candidate_stems(name, n, file.sha256):
        if file.format.extension == "json":  # or it could have the name of a sidecar
            stem = stem.replace(".", "-")
        yield f"{file.format.folder}/{stem}.{file.format.extension}"


def candidate_stems(name: str, n: int, sha256: str) -> Iterator[str]:
    """Yield file names without extension for the n-th output (from 1) of a row, without end.

    The plain name comes first, then the name with the beginning of the file's hash.
    """
    plain = name if n == 1 else f"{name}-{n}"
    yield plain
    yield f"{plain}.{sha256[:8]}"
    for number in count(2):
        yield f"{plain}.{sha256[:8]}.{number}"


def _rename(name: str, to: str, folder: int) -> None:
    os.rename(name, to, src_dir_fd=folder, dst_dir_fd=folder)


def _has_content(target: Path, file: CheckedFile) -> bool:
    with suppress(OSError), files.open_regular(target, follow=False) as found:
        return hashlib.file_digest(found, "sha256").hexdigest() == file.sha256
    return False


def _free_name(target: Path) -> Path:
    names = (target.with_name(f"{target.name}.damaged-{n}") for n in count(1))
    return next(name for name in names if not os.path.lexists(name))
