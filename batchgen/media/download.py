"""From an output's URL to a checked file in the destination's scratch space.

The token is never sent. The host, the size, the first bytes and the whole picture are checked
(docs/maintainers/architecture.md, "The order of writes", W4).
"""

import zlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from batchgen import files
from batchgen.core.text import describe_error
from batchgen.core.timing import Timing
from batchgen.media.check import CheckedFile, MediaBroken, MediaError
from batchgen.media.check_pool import CheckPool
from batchgen.media.destination import Destination
from batchgen.media.formats import SIGNATURE_BYTES, format_of, other_format, url_extension
from batchgen.media.xmp import Provenance
from batchgen.network.deadline import Deadline
from batchgen.network.http import aiohttp
from batchgen.network.media_hosts import MediaHost, host_to_name, rejection_reason
from batchgen.network.session import (
    USER_AGENT,
    exact_url,
    headers_of,
    open_session,
    proxy_finder,
    timeouts,
)

MAX_CONNECTIONS = 32
HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
REDIRECT_STATUSES = {301, 302, 303, 307, 308}
# Of a body that the host compressed although nobody asked for that.
UNPACKED_PIECE_BYTES = 1 << 16
FREELY_UNPACKED_BYTES = 16 << 20
MAX_UNPACK_RATIO = 100  # beyond FREELY_UNPACKED_BYTES; no picture comes near it
GONE_STATUSES = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN}


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """max_file_bytes: of one file; that of RunComfy's own command line.

    max_bytes_in_memory: of a file that is held in memory until it is checked; a larger one is
        written to disk as it arrives.
    """

    max_file_bytes: int = 2 << 30
    max_bytes_in_memory: int = 1 << 20
    max_redirects: int = 3


DEFAULT_LIMITS = DownloadLimits()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that is to be fetched. extension: of its URL. The others are those of `fetch`."""

    stem: str
    extension: str
    facts: Provenance | None
    sent_before: Collection[str]


class MediaUntrusted(MediaError):
    """The URL's host or scheme is not allowed.

    host: that a person may allow; None where nothing helps. redirected: the URL itself is allowed,
    and its host led elsewhere; it may not do so the next time.
    """

    def __init__(self, what: str, host: str | None, *, redirected: bool) -> None:
        super().__init__(f"the output's URL is not fetched: {what}")
        self.host = host
        self.is_final = host is None and not redirected

    @property
    def remedy(self) -> str:
        if self.is_final:
            return "Open it yourself: its URL is in the table outputs of batch.db."
        return "" if self.host is None else f"If you trust that host, add --media-host {self.host}."


class MediaSlow(MediaBroken):
    """Its host sends so little that it would take for ever."""


class MediaNoFile(MediaBroken):
    """A page or nothing came in place of the file."""


class MediaGone(MediaError):
    """The host says that the file does not exist (any more)."""


@dataclass(eq=False)
class Downloader:
    _destination: Destination
    _hosts: Collection[MediaHost]  # from which files are fetched
    _use_proxy: bool  # whether the environment's proxy applies
    _timing: Timing
    _limits: DownloadLimits = DEFAULT_LIMITS
    _report: Path | None = None  # as `CheckPool` has it

    def __post_init__(self) -> None:
        self._proxy_for = proxy_finder(use_proxy=self._use_proxy)
        self._check_pool = CheckPool(self._report, timeout_s=self._timing.file_check)

    async def __aenter__(self) -> "Downloader":
        timing = self._timing
        timeout = timeouts(timing.download_pool, timing.connect, timing.download_read)
        self._session = open_session(timeout, use_proxy=self._use_proxy, at_once=MAX_CONNECTIONS)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()
        self._check_pool.close()

    async def fetch(
        self,
        url: str,
        stem: str,
        facts: Provenance | None = None,
        sent_before: Collection[str] = (),
    ) -> CheckedFile:
        """Download `url` into a checked scratch file.

        stem: a file name that is unique in the batch, e.g. the row's key and the output's number.
        facts: written into a picture whose format has room for them; None writes nothing.
        sent_before: as `check_file` takes it.
        Raises MediaUntrusted, MediaGone, MediaBroken; OSError where the disk fails.
        """
        wanted = _Wanted(stem, url_extension(url), facts, sent_before)
        for hop in range(self._limits.max_redirects + 1):
            if reason := rejection_reason(url, self._hosts):
                raise MediaUntrusted(reason, host_to_name(url), redirected=hop > 0)
            deadline = Deadline()
            try:
                async with deadline:
                    result = await self._request(url, wanted, deadline)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                if deadline.expired:
                    raise MediaSlow(self._too_slow()) from error
                raise MediaBroken(f"the download broke off ({describe_error(error)})") from error
            if isinstance(result, CheckedFile):
                return result
            url = result
        raise MediaBroken(f"more than {self._limits.max_redirects} redirects")

    def _too_slow(self) -> str:
        timing = self._timing
        least = f"{timing.download_bytes_per_s >> 10} KiB/s"
        return f"the download is slower than {least}, or takes {timing.download_total / 3600:g} h"

    async def _request(self, url: str, wanted: _Wanted, deadline: Deadline) -> CheckedFile | str:
        """Return the file, or the URL that the host redirects to."""
        deadline.within(self._timing.download_pool + self._timing.download_read)
        proxy = self._proxy_for(url)
        async with self._session.get(
            exact_url(url), headers=HEADERS, allow_redirects=False, proxy=proxy
        ) as response:
            status = response.status
            if status in REDIRECT_STATUSES:
                return str(response.url.join(exact_url(headers_of(response).get("location", ""))))
            if status in GONE_STATUSES:
                raise MediaGone(f"the host of the output answered {status}")
            if status != HTTPStatus.OK:
                raise MediaBroken(f"the host of the output answered {status}")
            return await self._receive(response, wanted, deadline)

    async def _receive(
        self, response: aiohttp.ClientResponse, wanted: _Wanted, deadline: Deadline
    ) -> CheckedFile:
        headers = headers_of(response)
        announced = headers.get("content-length", "")
        if announced.isdecimal():
            self._refuse_oversize(int(announced))
        chunks = _refusing_short(self._paced(response.content.iter_any(), deadline), announced)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":  # which nobody asked for
            chunks = _decoded(chunks, encoding)
        content_type = headers.get("content-type", "no type")[:60]
        extension = wanted.extension or url_extension(str(response.url))
        return await self._keep(chunks, content_type, replace(wanted, extension=extension))

    async def receive(
        self,
        content: bytes,
        content_type: str,
        stem: str,
        facts: Provenance | None,
        sent_before: Collection[str],
    ) -> CheckedFile:
        """Make a checked scratch file of an output that came in the result itself.

        content_type: by the result; "" where it does not say. The others: as `fetch`.
        """

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        return await self._keep(pieces(), content_type, _Wanted(stem, "", facts, sent_before))

    async def _keep(
        self, chunks: AsyncIterator[bytes], content_type: str, wanted: _Wanted
    ) -> CheckedFile:
        content = bytearray(await _read_until(SIGNATURE_BYTES, b"", chunks))
        head = bytes(content)
        format = format_of(head) or other_format(
            head[:SIGNATURE_BYTES], content_type, wanted.extension
        )
        if format is None:
            what = f"is text ({content_type}), and no file" if content else "is empty"
            raise MediaNoFile(f"the download {what}")
        part = self._destination.scratch(format, wanted.stem)
        try:
            # A file that is held in memory is written by the call that checks it, off the loop.
            limit = self._limits.max_bytes_in_memory
            content = await _read_until(limit + 1, content, chunks)
            in_memory = len(content) <= limit
            if not in_memory:
                with files.create_new_file(part, part.parent.parent) as file:
                    await self._write(file, content, chunks)
            held = bytes(content) if in_memory else None
            return await self._check_pool.check(
                part, format, held, wanted.facts, wanted.sent_before
            )
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    async def _paced(
        self, chunks: AsyncIterator[bytes], deadline: Deadline
    ) -> AsyncIterator[bytes]:
        """Yield each chunk as it arrives, as long as the download moves; then stop `deadline`."""
        timing = self._timing
        deadline.at_speed(
            timing.download_bytes_per_s, grace=timing.download_grace, total=timing.download_total
        )
        async for chunk in chunks:
            deadline.received(len(chunk))
            yield chunk
        deadline.stop()  # to check the file has a limit of its own

    async def _write(
        self, file: BinaryIO, content: bytes | bytearray, chunks: AsyncIterator[bytes]
    ) -> None:
        """Write `content` and the rest of the download."""
        size = file.write(content)
        async for chunk in chunks:
            size += file.write(chunk)
            self._refuse_oversize(size)

    def _refuse_oversize(self, size: int) -> None:
        limit = self._limits.max_file_bytes
        if size > limit:
            raise MediaBroken(f"the download is larger than {limit >> 30} GiB")


async def _refusing_short(chunks: AsyncIterator[bytes], announced: str) -> AsyncIterator[bytes]:
    """Yield each chunk. announced: the size, by the header. Raises MediaBroken if it differs."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        yield chunk
    if announced.isdecimal() and int(announced) != size:
        raise MediaBroken(f"the download has {size} bytes of {announced}")


async def _decoded(chunks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """Yield what a host sent compressed. Raises MediaBroken where that cannot be undone.

    Some hosts name an encoding that they have not applied, so a file may come as it is.
    """
    packed = unpacked = 0
    unpacker = None
    async for chunk in chunks:
        if packed == 0:
            if encoding in ("gzip", "x-gzip") and chunk.startswith(b"\x1f\x8b"):
                unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            elif format_of(chunk) is None:
                raise MediaBroken(f"the host sent it compressed ({encoding[:20]}), unasked")
        packed += len(chunk)
        if unpacker is None:
            yield chunk
            continue
        try:
            while chunk and not unpacker.eof:
                piece = unpacker.decompress(chunk, UNPACKED_PIECE_BYTES)
                chunk, unpacked = unpacker.unconsumed_tail, unpacked + len(piece)
                if unpacked > max(MAX_UNPACK_RATIO * packed, FREELY_UNPACKED_BYTES):
                    raise MediaBroken("the host sent it compressed to less than a hundredth")
                yield piece
        except zlib.error as error:
            raise MediaBroken(f"what the host sent compressed is damaged ({error})") from error
    if unpacker is not None and not unpacker.eof:
        raise MediaBroken("what the host sent compressed breaks off")


async def _read_until(
    size: int, content: bytes | bytearray, chunks: AsyncIterator[bytes]
) -> bytearray:
    """Return `content` and the chunks that follow it, until it has `size` bytes or all."""
    content = bytearray(content)
    while len(content) < size and (chunk := await anext(chunks, None)) is not None:
        content += chunk
    return content
