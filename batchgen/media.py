"""Downloads: an output's URL -> a whole, checked, durable file in the batch folder.

Never with the token. `.part` in the same folder, size and first bytes checked, decoded, fsync, a
name that never replaces another file, fsync of the folder (faults.md, W4).
"""

import asyncio
import contextlib
import errno
import hashlib
import io
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import aiohttp
from PIL import Image

from batchgen import provenance
from batchgen.folder import sync_file, sync_folder
from batchgen.hosts import MediaHost, why_not
from batchgen.provenance import Facts
from batchgen.reply import describe
from batchgen.signatures import ENOUGH, Format, format_of
from batchgen.web import USER_AGENT, exact, proxy_for, session

FILE_LIMIT = 2 << 30  # the official CLI's
PIXEL_LIMIT = 150_000_000
HOPS = 3
HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
AT_ONCE = 8 << 20  # bytes that are read into memory to be checked
HELD = 1 << 20  # bytes that are held in memory before anything is written
TIMEOUT = aiohttp.ClientTimeout(total=None, connect=60, sock_connect=10, sock_read=30)
GRACE, SLOWEST = 60.0, 1024  # after a minute a download moves at 1 KiB/s at least, or is given up
GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN}

Image.MAX_IMAGE_PIXELS = None  # we look at the size ourselves before anything is decoded


class MediaError(Exception):
    """A file could not be had. str(error) is for people: without the URL's query."""


class MediaUntrusted(MediaError):
    """The URL is not one that we fetch."""


class MediaGone(MediaError):
    """The host says that there is no such file (any more)."""


class MediaBroken(MediaError):
    """What came is not a whole file of a known kind; another try may do better."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in its folder, still under its `.part` name; bytes, width and height counted there.

    sha256: of the file. delivered_sha256: of what the host sent, where that has no facts in it yet;
    None where the file is that.
    """

    part: Path
    format: Format
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    delivered_sha256: str | None = None


class Media:
    """root: the batch folder. hosts: those that the person named besides RunComfy's."""

    def __init__(self, root: Path, hosts: Iterable[MediaHost], use_proxy: bool) -> None:
        self._root = root
        self._hosts = tuple(hosts)
        self._made: set[Path] = set()  # the media folders whose names are durable
        self._use_proxy = use_proxy
        self._syncing: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: dict[Path, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "Media":
        self._session = session(TIMEOUT, use_proxy=self._use_proxy, at_once=32)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._session.close()

    def clear_parts(self) -> None:
        """Remove what runs before this one left half-done; their URLs are in the journal."""
        for folder in ("images", "videos", "audio"):
            for part in (self._root / folder).glob(".*.part"):
                part.unlink(missing_ok=True)

    async def fetch(self, url: str, stem: str, facts: Facts | None = None) -> Fetched:
        """Download `url` into a checked `.part` file.

        stem: a name of its own for the part, such as the row's key and the output's number.
        facts: written into a picture whose format has room for them; None is none.
        Raises MediaUntrusted, MediaGone, MediaBroken; OSError where the disk fails.
        """
        for _ in range(HOPS + 1):
            if reason := why_not(url, self._hosts):
                raise MediaUntrusted(f"the output's URL is not fetched: {reason}")
            try:
                outcome = await self._try(url, stem, facts)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise MediaBroken(f"the download broke off ({describe(error)})") from error
            if isinstance(outcome, Fetched):
                return outcome
            url = outcome
        raise MediaBroken(f"more than {HOPS} redirects")

    async def _try(self, url: str, stem: str, facts: Facts | None) -> Fetched | str:
        """Return the file, or the URL that the host redirects to."""
        proxy = proxy_for(url) if self._use_proxy else None
        async with self._session.get(
            exact(url), headers=HEADERS, allow_redirects=False, proxy=proxy
        ) as response:
            status = response.status
            if status in (301, 302, 303, 307, 308):
                return str(response.url.join(exact(response.headers.get("location", ""))))
            if status in GONE:
                raise MediaGone(f"the host of the output answered {status}")
            if status != HTTPStatus.OK:
                raise MediaBroken(f"the host of the output answered {status}")
            return await self._receive(response, stem, facts)

    async def _receive(
        self, response: aiohttp.ClientResponse, stem: str, facts: Facts | None
    ) -> Fetched:
        expected = response.headers.get("content-length", "")
        if expected.isdecimal() and int(expected) > FILE_LIMIT:
            raise MediaBroken(f"the download is larger than {FILE_LIMIT >> 30} GiB")
        chunks = _in_time(response.content.iter_any())
        head = b""
        async for chunk in chunks:
            head += chunk
            if len(head) >= ENOUGH:
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
        part = folder / f".{stem}.part"
        try:
            # What is small goes to the disk in the one step off the loop that checks it as well.
            content = await _up_to(HELD, head, chunks)
            size = len(content)
            if size > HELD:
                with part.open("wb") as file:
                    size = await _write(file, content, chunks)
            if expected.isdecimal() and int(expected) != size:
                raise MediaBroken(f"the download has {size} bytes of {expected}")
            if size == len(content):
                return await asyncio.to_thread(put, part, found, bytes(content), facts)
            return await asyncio.to_thread(tell, part, found, facts)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    async def keep(self, fetched: Fetched, name: str, n: int, taken: Callable[[str], bool]) -> Path:
        """Give a fetched file its name for good and make that durable. Return its path.

        taken: whether another row of the journal has the file at this relative path.
        """
        folder = fetched.part.parent
        for stem in stems(name, n, fetched.sha256):
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
        if size > FILE_LIMIT:
            raise MediaBroken(f"the download is larger than {FILE_LIMIT >> 30} GiB")
    return size


def too_slow(size: int, took: float) -> bool:
    """Whether `size` bytes in `took` seconds is a host that keeps us waiting for ever."""
    return took > GRACE and size < SLOWEST * took


def put(part: Path, found: Format, content: bytes, facts: Facts | None) -> Fetched:
    """Write a downloaded file, with the facts in it, and `inspect` it."""
    told = provenance.embedded(content, found, facts) if facts else None
    with part.open("wb") as file:
        file.write(told or content)
    fetched = inspect(part, found)
    if told is None:
        return fetched
    return replace(fetched, delivered_sha256=hashlib.sha256(content).hexdigest())


def tell(part: Path, found: Format, facts: Facts | None) -> Fetched:
    """Put the facts into a downloaded file and `inspect` it."""
    if facts is None:
        return inspect(part, found)
    with part.open("rb") as file:
        delivered = hashlib.file_digest(file, "sha256").hexdigest()
    told = provenance.write(part, found, facts)
    fetched = inspect(part, found)
    return replace(fetched, delivered_sha256=delivered) if told else fetched


def inspect(part: Path, found: Format) -> Fetched:
    """Decode, hash and fsync a downloaded file. Blocking: call it off the event loop.

    Raises MediaBroken if it cannot be decoded; OSError where the disk fails.
    """
    width = height = None
    with part.open("rb", buffering=0) as file:
        sync_file(file.fileno())
        size = os.fstat(file.fileno()).st_size
        # Read at once where it is small: each read of a thread waits for its turn in Python.
        content: BinaryIO = io.BytesIO(file.read()) if size <= AT_ONCE else file
        if found.pillow:
            width, height = decode(content, found)
            content.seek(0)
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    return Fetched(part, found, size, sha256, width, height)


def decode(source: Path | BinaryIO, found: Format) -> tuple[int, int]:
    """Return width and height of a picture that decodes whole. Raises MediaBroken."""
    try:
        with Image.open(source, formats=[found.pillow]) as picture:
            width, height = picture.size
            if width * height > PIXEL_LIMIT:
                raise MediaBroken(f"the picture claims {width} x {height} pixels")
            picture.load()
    except MediaBroken:
        raise
    except MemoryError as error:
        raise MediaBroken("there is not enough memory to decode the picture") from error
    except Exception as error:  # Pillow's decoders raise whatever they like about broken files
        raise MediaBroken(f"the picture is damaged ({describe(error)})") from error
    return width, height


def stems(name: str, n: int, sha256: str) -> Iterator[str]:
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
    if target.exists():
        return False
    part.rename(target)
    return True


def _same(target: Path, fetched: Fetched) -> bool:
    """Whether the file there is this one: a run died between the name and the journal."""
    with contextlib.suppress(OSError), target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == fetched.sha256
    return False
