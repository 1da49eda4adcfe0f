"""Downloads: an output's URL -> a whole, checked, durable file in the batch folder.

Never with the token. `.part` in the same folder, size and first bytes checked, decoded, fsync, a
name that never replaces another file, fsync of the folder (faults.md, W4).
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import aiohttp

from batchgen import files
from batchgen.core.text import describe_error
from batchgen.files import sync_folder
from batchgen.media.check import CheckedFile, MediaBroken, MediaError
from batchgen.media.check_pool import CheckPool
from batchgen.media.formats import SIGNATURE_BYTES, format_of
from batchgen.media.xmp import Provenance
from batchgen.network.media_hosts import MediaHost, rejection_reason
from batchgen.network.session import USER_AGENT, exact_url, open_session, proxy_for

MAX_FILE_BYTES = 2 << 30  # the official CLI's
MAX_REDIRECTS = 3
HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
MAX_BYTES_IN_MEMORY = 1 << 20  # bytes that are held in memory before anything is written
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=60, sock_connect=10, sock_read=30)
SPEED_GRACE_S, MIN_BYTES_PER_S = (
    60.0,
    1024,
)  # after a minute a download moves at 1 KiB/s at least, or is given up
GONE_STATUSES = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN}


class MediaUntrusted(MediaError):
    """The URL is not one that we fetch."""


class MediaGone(MediaError):
    """The host says that there is no such file (any more)."""


class Downloader:
    """root: the batch folder. hosts: those that the person named besides RunComfy's."""

    def __init__(self, root: Path, hosts: Iterable[MediaHost], use_proxy: bool) -> None:
        self._root = root
        self._hosts = tuple(hosts)
        self._made: set[Path] = set()  # the media folders whose names are durable
        self._use_proxy = use_proxy
        self._checkers = CheckPool()
        self._syncing: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: dict[Path, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "Downloader":
        self._session = open_session(DOWNLOAD_TIMEOUT, use_proxy=self._use_proxy, at_once=32)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._session.close()
        self._checkers.close()

    def clear_parts(self) -> None:
        """Remove what runs before this one left half-done; their URLs are in the journal."""
        for folder in ("images", "videos", "audio"):
            files.remove_temporary_files(self._root / folder)

    async def fetch(self, url: str, stem: str, facts: Provenance | None = None) -> CheckedFile:
        """Download `url` into a checked `.part` file.

        stem: a name of its own for the part, such as the row's key and the output's number.
        facts: written into a picture whose format has room for them; None is none.
        Raises MediaUntrusted, MediaGone, MediaBroken; OSError where the disk fails.
        """
        for _ in range(MAX_REDIRECTS + 1):
            if reason := rejection_reason(url, self._hosts):
                raise MediaUntrusted(f"the output's URL is not fetched: {reason}")
            try:
                outcome = await self._try(url, stem, facts)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise MediaBroken(f"the download broke off ({describe_error(error)})") from error
            if isinstance(outcome, CheckedFile):
                return outcome
            url = outcome
        raise MediaBroken(f"more than {MAX_REDIRECTS} redirects")

    async def _try(self, url: str, stem: str, facts: Provenance | None) -> CheckedFile | str:
        """Return the file, or the URL that the host redirects to."""
        proxy = proxy_for(url) if self._use_proxy else None
        async with self._session.get(
            exact_url(url), headers=HEADERS, allow_redirects=False, proxy=proxy
        ) as response:
            status = response.status
            if status in (301, 302, 303, 307, 308):
                return str(response.url.join(exact_url(response.headers.get("location", ""))))
            if status in GONE_STATUSES:
                raise MediaGone(f"the host of the output answered {status}")
            if status != HTTPStatus.OK:
                raise MediaBroken(f"the host of the output answered {status}")
            return await self._receive(response, stem, facts)

    async def _receive(
        self, response: aiohttp.ClientResponse, stem: str, facts: Provenance | None
    ) -> CheckedFile:
        expected = response.headers.get("content-length", "")
        if expected.isdecimal() and int(expected) > MAX_FILE_BYTES:
            raise MediaBroken(f"the download is larger than {MAX_FILE_BYTES >> 30} GiB")
        chunks = _in_time(response.content.iter_any())
        head = b""
        async for chunk in chunks:
            head += chunk
            if len(head) >= SIGNATURE_BYTES:
                break
        if not head:
            raise MediaBroken("the download is empty")
        found = format_of(head)
        if found is None:
            kind = response.headers.get("content-type", "no type")[:60]
            raise MediaBroken(f"the download is no picture, video or sound ({kind})")
        folder = self._root / found.folder
        if folder not in self._made:
            folder.mkdir(exist_ok=True, mode=0o700)
            sync_folder(self._root)  # or a power cut takes the folder with its pictures
            self._made.add(folder)
        # Another each time: a checker of a run that was killed may still write to its own.
        part = files.temporary_path(folder / stem)
        try:
            # What is small goes to the disk in the one step off the loop that checks it as well.
            content = await _up_to(MAX_BYTES_IN_MEMORY, head, chunks)
            size, held = len(content), len(content) <= MAX_BYTES_IN_MEMORY
            if not held:
                with files.create_new_file(part) as file:
                    size = await _write(file, content, chunks)
            if expected.isdecimal() and int(expected) != size:
                raise MediaBroken(f"the download has {size} bytes of {expected}")
            return await self._checkers.check(part, found, bytes(content) if held else None, facts)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    async def keep(
        self, fetched: CheckedFile, name: str, n: int, taken: Callable[[str], bool]
    ) -> Path:
        """Give a fetched file its name for good and make that durable. Return its path.

        taken: whether another row of the journal has the file at this relative path.
        """
        folder = fetched.part.parent
        for stem in candidate_stems(name, n, fetched.sha256):
            target = folder / f"{stem}.{fetched.format.extension}"
            if taken(target.relative_to(self._root).as_posix()):
                continue
            if _link(fetched.part, target) or _same(target, fetched):
                fetched.part.unlink(missing_ok=True)
                await self._synced(folder)
                return target
        raise AssertionError("stems() never ends")

    async def _synced(self, folder: Path) -> None:
        """Make durable what names are in `folder` by now. One sync serves all who wait for it."""
        if folder not in self._waiting:
            self._waiting[folder] = asyncio.create_task(self._sync(folder))
        await asyncio.shield(self._waiting[folder])

    async def _sync(self, folder: Path) -> None:
        async with self._syncing[folder]:
            del self._waiting[folder]  # for who comes from here on it may be too early
            await asyncio.to_thread(sync_folder, folder)


async def _in_time(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass on what arrives, each piece as it does: to collect them first would hide a slow host."""
    started = time.monotonic()
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if too_slow(size, time.monotonic() - started):
            raise MediaBroken("the download is slower than 1 KiB/s")
        yield chunk


async def _up_to(limit: int, head: bytes, chunks: AsyncIterator[bytes]) -> bytearray:
    """All of it, or a little more than `limit` bytes."""
    content = bytearray(head)
    if len(content) <= limit:
        async for chunk in chunks:
            content += chunk
            if len(content) > limit:
                break
    return content


async def _write(file: BinaryIO, head: bytearray, chunks: AsyncIterator[bytes]) -> int:
    file.write(head)
    size = len(head)
    async for chunk in chunks:
        file.write(chunk)
        size += len(chunk)
        if size > MAX_FILE_BYTES:
            raise MediaBroken(f"the download is larger than {MAX_FILE_BYTES >> 30} GiB")
    return size


def too_slow(size: int, took: float) -> bool:
    """Whether `size` bytes in `took` seconds is a host that keeps us waiting for ever."""
    return took > SPEED_GRACE_S and size < MIN_BYTES_PER_S * took


def candidate_stems(name: str, n: int, sha256: str) -> Iterator[str]:
    """Yield names for the n-th output (from 1) of a row, the plain one first; it never ends."""
    plain = name if n == 1 else f"{name}-{n}"
    yield plain
    yield f"{plain}.{sha256[:8]}"
    more = 2
    while True:
        yield f"{plain}.{sha256[:8]}.{more}"
        more += 1


def _link(part: Path, target: Path) -> bool:
    """Give `part` a second name, unless that name is taken: unlike a rename, never replacing."""
    try:
        os.link(part, target)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK):
            raise
    # exFAT and the like have no links. The folder's lock keeps other runs out meanwhile.
    if os.path.lexists(target):
        return False
    part.rename(target)
    return True


def _same(target: Path, fetched: CheckedFile) -> bool:
    """Whether the file there is this one: a run died between the name and the journal."""
    with contextlib.suppress(OSError), files.open_regular(target, follow=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == fetched.sha256
    return False
