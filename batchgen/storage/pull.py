"""Files of a batch from its store into its folder, where they would be without one.

What is there stays as it is. A file gets its name only when its hash is that of the journal.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchgen import files
from batchgen.media.formats import FOLDERS
from batchgen.media.local_folder import link_new
from batchgen.storage.mounted_folder import MountedFolder
from batchgen.storage.object_store import ObjectStore

AT_ONCE = 8
Elsewhere = ObjectStore | MountedFolder
# A file's path, as the journal has it, and the SHA-256 of its content.
Wanted = tuple[str, str | None]


@dataclass
class Pulled:
    """here, fetched: counts of files that were here, and that are here now.

    left: paths of others: missing in the store, changed there, or kept from their name by another.
    """

    here: int = 0
    fetched: int = 0
    left: list[str] = field(default_factory=list)


def wanted_files(rows: Iterator[dict[str, Any]]) -> Iterator[Wanted]:
    """Yield the files of rows, as `Reader.rows` has them."""
    for row in rows:
        for output in row["outputs"]:
            if output["path"]:
                yield output["path"], output["sha256"]


async def pull(
    store: Elsewhere, folder: Path, wanted: Iterator[Wanted], show: Callable[[str], None]
) -> Pulled:
    """Fetch what is missing in the batch folder; `show` gets a line for each file that is left.

    Raises StoreUnreachable, and OSError where the disk fails.
    """
    for name in FOLDERS.values():
        files.make_folder(folder / name, folder)
        files.remove_temporary_files(folder / name, folder)
    found = Pulled()

    async def work() -> None:
        for path, sha256 in wanted:
            if problem := await _pull_one(store, folder, path, sha256, found):
                show(f"{path}: {problem}")
                found.left.append(path)

    working = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*working)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for name in FOLDERS.values():
            files.sync_folder(folder / name)
    return found


async def _pull_one(
    store: Elsewhere, folder: Path, path: str, sha256: str | None, found: Pulled
) -> str:
    """Return why a file is neither here nor fetched; "" where it is."""
    target = folder / path
    there = await asyncio.to_thread(_hash_of, target)
    if there is not None:
        found.here += there == sha256
        return "" if there == sha256 else "another file here has its name, and stays"
    part = files.temporary_path(target)
    try:
        await store.fetch(path, part)
        if await asyncio.to_thread(_hash_of, part) != sha256:
            return "changed in the store since it was saved"
        link_new(part, target, folder)
        found.fetched += 1
    except FileNotFoundError:
        return "it is missing in the store"
    finally:
        part.unlink(missing_ok=True)
    return ""


def _hash_of(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none, "" for what is no regular file."""
    try:
        with files.open_regular(path, follow=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError:
        return ""
