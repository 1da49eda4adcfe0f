"""Re-hash and decode every file of a batch; download again, unpaid, what is missing or damaged.

A damaged file is put aside, never thrown away, until a whole one is in its place.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchgen import service
from batchgen.api import Api
from batchgen.config import Flags
from batchgen.errors import BatchgenError, ServiceUnreachable, TokenRefused
from batchgen.findings import Doing, Finding, after_result
from batchgen.folder import Folder, sync_folder
from batchgen.journal import Journal
from batchgen.media import Fetched, Media, MediaBroken, MediaError, MediaGone, decode
from batchgen.signatures import ENOUGH, format_of
from batchgen.upkeep import opened

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class File:
    """A file that the journal says is saved."""

    key: str
    n: int
    id: str
    request_id: str | None
    url: str
    path: str
    sha256: str


@dataclass
class Found:
    """whole, restored: counts. lost: ids whose file would have to be paid for again.

    later: ids whose file could not be fetched now, and may still be had.
    """

    whole: int = 0
    restored: int = 0
    lost: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)


def verify(folder: Folder, flags: Flags, show: Show) -> Found:
    """Check every file, and restore what can be; `show` gets a line for each that is not whole.

    The account is needed only if something has to be downloaded again. Raises what `service` does.
    """
    found = Found()
    with opened(folder) as journal:
        broken: list[File] = []
        for file in files(journal):
            if reason := flaw(folder.path / file.path, file.sha256):
                show(f"{file.path}: {reason}")
                broken.append(file)
            else:
                found.whole += 1
        if broken:
            with service.reached(journal, folder, flags) as where:
                asyncio.run(_restore_all(journal, folder, where, broken, found, show))
    return found


def files(journal: Journal) -> Iterator[File]:
    rows = journal.rows(
        "SELECT o.key, o.n, r.id, r.request_id, o.url, o.path, o.sha256"
        " FROM outputs AS o JOIN requests AS r USING (key)"
        " WHERE o.path IS NOT NULL ORDER BY r.position, o.n"
    )
    return (File(*row) for row in rows)


def flaw(path: Path, sha256: str) -> str | None:
    """What is wrong with a saved file; None if it is whole."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return "it is not what was saved"
            file.seek(0)
            found = format_of(file.read(ENOUGH))
        if found is not None and found.pillow:
            decode(path, found)
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    except MediaBroken as error:
        return str(error)
    return None


async def _restore_all(
    journal: Journal,
    folder: Folder,
    where: service.Service,
    broken: list[File],
    found: Found,
    show: Show,
) -> None:
    async with where.api() as api, Media(folder.path, where.media_hosts, where.use_proxy) as media:
        for file in broken:
            try:
                await _restore(journal, folder, api, media, file)
            except TokenRefused:
                raise
            except (MediaError, BatchgenError) as error:
                show(f"{file.path}: not restored: {error}")
                # Only the host's own word means that a file is gone for good.
                gone = isinstance(error, MediaGone)
                (found.lost if gone else found.later).append(file.id)
            else:
                show(f"{file.path}: restored, unpaid")
                found.restored += 1


async def _restore(journal: Journal, folder: Folder, api: Api, media: Media, file: File) -> None:
    finding = await _ask(api, file)
    fresh = finding.doing is Doing.DONE and len(finding.urls) >= file.n
    url = finding.urls[file.n - 1] if fresh else file.url
    try:
        fetched = await media.fetch(url, f"{file.key}-{file.n}")
    except MediaGone as error:
        if finding.doing is Doing.ASK_AGAIN:  # only the stored URL is known to be gone
            raise ServiceUnreachable(f"RunComfy gave no clear answer ({finding.reason})") from error
        raise
    target = folder.path / file.path
    _put_aside(target)
    fetched.part.rename(target)
    sync_folder(target.parent)
    if fetched.sha256 != file.sha256:
        journal.file_replaced(file.key, file.n, _columns(fetched))


def _columns(fetched: Fetched) -> dict[str, Any]:
    return {
        "bytes": fetched.bytes,
        "sha256": fetched.sha256,
        "width": fetched.width,
        "height": fetched.height,
    }


async def _ask(api: Api, file: File) -> Finding:
    """Ask for the result, whose URLs are fresh. Raises TokenRefused."""
    reply = await api.result(file.request_id or "")
    finding = after_result(reply, file.request_id or "", 0.0)
    if finding.doing is Doing.TOKEN_REFUSED:
        raise TokenRefused(
            f"RunComfy refused the token ({finding.reason}). What is broken stays as it is.",
            TokenRefused.ANOTHER,
        )
    return finding


def _put_aside(target: Path) -> None:
    if target.exists():
        n = 1
        while (aside := target.with_name(f"{target.name}.damaged-{n}")).exists():
            n += 1
        target.rename(aside)
