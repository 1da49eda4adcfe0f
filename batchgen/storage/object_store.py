"""An object store as a destination: S3 and all that speaks as it does, Google's and Azure's.

Scratch files are on the local disk, in the batch folder. An object is put only where there is none:
the store itself refuses to replace one, whoever else writes there. Each has the hash of its content
as metadata, by which a run knows what a killed one has put already.

A conditional put takes one request, so it holds the file in memory. A large file is sent in parts,
for which no such condition exists: its name is claimed first, by an empty object with its hash.

obstore is an extra, and is imported where it is needed. Why it:
docs/maintainers/decisions/0018-media-in-an-object-store.md.
"""

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from batchgen import files
from batchgen.core.addresses import split_media_place
from batchgen.core.timing import Timing
from batchgen.errors import UsageError
from batchgen.media.check import CheckedFile
from batchgen.media.formats import Format
from batchgen.media.local_folder import LocalFolder, candidate_paths
from batchgen.network.session import USER_AGENT
from batchgen.storage.faults import (
    Fault,
    StoreUnreachable,
    fault_of,
    is_missing_bucket,
    unreachable,
)

WHOLE_BYTES = 8 << 20  # of a file that is put in one request
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2
PUTS_AT_ONCE = 4
CHUNK_BYTES = 1 << 20  # of a file that is read back
MOST_NAMES = 100  # that are tried for a file; a store that says of each that it is taken is none
SHA256 = "sha256"  # the metadata of an object
WHOSE = "batchgen"  # the metadata of what may be replaced by us
MARK = ".batchgen"  # an object that shows at each start what the store allows
_MARK_TEXT = b"batchgen keeps media here. This object shows that the store replaces none.\n"
_CLASSES = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
NOTHING_LOST = "What was paid for is not lost: run the same command again to go on."

T = TypeVar("T")


class Found(NamedTuple):
    """What an object says of itself."""

    bytes: int
    attributes: Mapping[str, str]


class ObjectStore:
    """A `Destination`. Raises StoreUnreachable where the store fails, and as for its local part.

    place: as `parse_media_place` returns it. folder: the batch's.
    Raises UsageError where obstore is not installed.
    """

    def __init__(self, place: str, folder: Path, timing: Timing) -> None:
        self.place = place
        self._folder = folder
        self._timing = timing
        self._local = LocalFolder(folder)
        self._slots = asyncio.Semaphore(PUTS_AT_ONCE)
        self._failed: StoreUnreachable | None = None  # once it has; nobody waits as long again
        self._obstore, self._exceptions = _import_obstore()
        self._store = self._connect(timing.store_request, timing.store_retrying)

    def _connect(self, request_s: float, retrying_s: float) -> Any:
        """Return a connection; credentials are found by obstore, and stay there."""
        stores = importlib.import_module("obstore.store")
        scheme, bucket, prefix = split_media_place(self.place)
        plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        try:
            return getattr(stores, _CLASSES[scheme])(
                bucket,
                prefix=prefix or None,
                client_options={
                    "connect_timeout": timedelta(seconds=self._timing.connect),
                    "timeout": timedelta(seconds=request_s),
                    "user_agent": USER_AGENT,
                    "allow_http": plain,
                },
                retry_config={"retry_timeout": timedelta(seconds=retrying_s)},
            )
        except (self._exceptions.BaseError, ValueError) as error:
            raise unreachable(self.place, _fault(error), "Nothing was sent.") from None

    async def require(self) -> None:
        """Raise StoreUnreachable unless the store takes an object, refuses to replace it, and hands
        it out: asked with one small object, which stays. A person's patience is short.
        """
        timing = self._timing
        impatient = self._connect(timing.probe_step, timing.probe_step)
        put = partial(self._obstore.put_async, impatient, MARK, _MARK_TEXT, mode="create")

        async def is_refused() -> bool:
            try:
                await put()
            except self._exceptions.AlreadyExistsError:
                return True
            return False

        async def probe() -> Fault | None:
            if not await is_refused() and not await is_refused():
                return fault_of("NotSupportedError", "")
            found = await self._obstore.get_async(impatient, MARK)
            await found.bytes_async()
            return None

        fault: Fault | None
        try:
            async with asyncio.timeout(timing.probe_total):
                fault = await probe()
        except (self._exceptions.BaseError, OSError) as error:
            fault = _fault(error)
        if fault is not None:
            raise unreachable(self.place, fault, "Nothing was sent.")

    # -- the calls of a Destination ---------------------------------------------------------------

    def clear_scratch(self) -> None:
        self._local.clear_scratch()

    def scratch(self, format: Format, stem: str) -> Path:
        return self._local.scratch(format, stem)

    async def keep(
        self, file: CheckedFile, name: str, n: int, is_taken: Callable[[str], Awaitable[bool]]
    ) -> str:
        for path in islice(candidate_paths(file, name, n), MOST_NAMES):
            if not await is_taken(path) and await self._put_new(path, file):
                file.part.unlink(missing_ok=True)
                return path
        fault = Fault(f"says of every name for {name} that it is taken", again=False)
        raise unreachable(self.place, fault, NOTHING_LOST)

    async def keep_sidecar(self, path: str, text: str) -> None:
        # What somebody else has there stays.
        await self.put_ours(f"{path}.json", text.encode(), "application/json", "sidecar")

    @asynccontextmanager
    async def local_copy(self, path: str) -> AsyncIterator[Path]:
        copy = files.temporary_path(self._folder / Path(path).name)
        try:
            await self.fetch(path, copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    async def replace(self, file: CheckedFile, path: str) -> None:
        async with self._slots:
            if await self._find(path) is not None:
                n = 1
                while await self._find(aside := f"{path}.damaged-{n}") is not None:
                    n += 1
                await self._try(partial(self._obstore.copy_async, self._store, path, aside))
            await self._put_whole(path, file)
        file.part.unlink(missing_ok=True)

    # -- objects ----------------------------------------------------------------------------------

    async def put_ours(self, path: str, content: bytes, content_type: str, whose: str) -> bool:
        """Put an object, also in place of an earlier one of ours; return False for another's.

        whose: what tells ours, as metadata.
        """
        attributes = {"Content-Type": content_type, WHOSE: whose}
        async with self._slots:
            if await self._create(path, content, attributes):
                return True
            found = await self._find(path)
            if found is None or found.attributes.get(WHOSE) != whose:
                return False
            await self._put(path, content, attributes, mode="overwrite")
            return True

    async def fetch(self, path: str, to: Path) -> None:
        """Write an object into a new file. Raises FileNotFoundError where there is none."""
        await self._try(partial(self._fetch, path, to))

    async def _fetch(self, path: str, to: Path) -> None:
        found = await self._obstore.get_async(self._store, path)
        to.unlink(missing_ok=True)  # of a try that broke off
        with files.create_new_file(to) as file:
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                file.write(chunk)

    async def _put_new(self, path: str, file: CheckedFile) -> bool:
        """Put a file where nothing is, or where it is already; return False for another's object.

        Other files with the same content may be put at the same time: each puts the same.
        """
        async with self._slots:
            whole = file.bytes <= WHOLE_BYTES
            content = await asyncio.to_thread(file.part.read_bytes) if whole else b""
            if await self._create(path, content, _attributes(file)):
                if whole:
                    return True
            else:
                found = await self._find(path)
                if found is None or found.attributes.get(SHA256) != file.sha256:
                    return False
                if found.bytes == file.bytes:
                    return True
                if found.bytes:
                    return False
            await self._put_whole(path, file)
            return True

    async def _put_whole(self, path: str, file: CheckedFile) -> None:
        """Put a file at a name that is ours."""
        await self._put(
            path,
            file.part,
            _attributes(file),
            mode="overwrite",
            use_multipart=file.bytes > WHOLE_BYTES,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )

    async def _create(self, path: str, content: bytes, attributes: dict[str, str]) -> bool:
        """Put an object; return False where there is one already."""
        try:
            await self._put(path, content, attributes, mode="create")
        except self._exceptions.AlreadyExistsError:
            return False
        return True

    async def _put(self, path: str, content: Any, attributes: dict[str, str], **how: Any) -> None:
        put = partial(self._obstore.put_async, self._store, path, content)
        try:
            await self._try(partial(put, attributes=attributes, **how))
        except FileNotFoundError as error:  # no answer to a put, unless the bucket is gone
            raise unreachable(self.place, _fault(error), NOTHING_LOST) from None

    async def _find(self, path: str) -> Found | None:
        try:
            found = await self._try(partial(self._head, path))
        except FileNotFoundError:
            return None
        return Found(found.meta["size"], found.attributes)

    async def _head(self, path: str) -> Any:
        return await self._obstore.get_async(self._store, path, options={"head": True})

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do it, again where that may help. Raises FileNotFoundError where there is no object,
        AlreadyExistsError as the store says it, and StoreUnreachable.
        """
        for tries in range(1, self._timing.store_tries + 1):
            if self._failed is not None:
                raise self._failed
            try:
                return await call()
            except self._exceptions.AlreadyExistsError:
                raise
            except (self._exceptions.BaseError, FileNotFoundError) as error:
                missing = isinstance(error, FileNotFoundError)
                if missing and not is_missing_bucket(str(error)):
                    raise
                fault = _fault(error)
            if not fault.again or tries == self._timing.store_tries:
                break
            await asyncio.sleep(self._timing.backoff_first * 2 ** (tries - 1))
        self._failed = unreachable(self.place, fault, NOTHING_LOST)
        raise self._failed from None


def _attributes(file: CheckedFile) -> dict[str, str]:
    return {"Content-Type": file.format.content_type, SHA256: file.sha256}


def _fault(error: BaseException) -> Fault:
    return fault_of(type(error).__name__, str(error))


def _import_obstore() -> tuple[Any, Any]:
    try:
        # By name, since it is not always there to be checked.
        return importlib.import_module("obstore"), importlib.import_module("obstore.exceptions")
    except ImportError:
        raise UsageError.for_lack_of(
            "store",
            "--media in an object store needs a package that is not installed: obstore. Nothing"
            " was sent.",
        ) from None
