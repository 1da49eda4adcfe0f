"""A row's input -> the body of its request, with the local files that were checked.

Each file is copied to one that has no name, and hashed on the way: what the copy has is what is
sent, whoever writes to the file meanwhile. One body at a time, in a thread of its own.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from batchgen.api.body import Body, FilePart, StreamedBody
from batchgen.api.service import ReadKept, Shape
from batchgen.core.identity import json_object, to_json
from batchgen.core.local_files import MARK, FileChanged, is_local_file, local_files, uri_start
from batchgen.core.text import quote_value
from batchgen.files import FileRefused
from batchgen.inputs.find_files import LocalFiles
from batchgen.inputs.fit import CannotFit, fit
from batchgen.media.formats import SIGNATURE_BYTES, UNKNOWN, format_of
from batchgen.threads import Threads

COPY_BYTES = 1 << 20


def keeps_nothing(digest: str) -> Mapping[str, Any]:
    raise FileChanged(f"nothing is kept as {digest}")


class Payloads:
    """Makes the bodies of one run. Raises MemoryError where no thread can be started.

    files: which may be read. scratch: a folder on a disk, for the copies. kept: reads what the
        batch keeps.
    """

    def __init__(self, files: LocalFiles, scratch: Path, kept: ReadKept = keeps_nothing) -> None:
        self._files = files
        self._scratch = scratch
        self._kept = kept
        self._thread = Threads(1)

    def close(self) -> None:
        self._thread.shutdown()

    async def open(self, input: str, shape: Shape | None = None) -> Body:
        """Return the body for an input. Raises FileChanged, and OSError where the disk is full.

        input: JSON, as the journal has it. shape: as `Capabilities` has it.
        """
        if MARK not in input and shape is None:
            return input.encode()
        values = json_object(input)
        if values is None or (shape is None and not any(True for _ in local_files(values))):
            return input.encode()
        making = asyncio.wrap_future(self._thread.submit(self._make, values, shape))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close)
            raise

    def _make(self, values: Mapping[str, Any], shape: Shape | None) -> Body:
        content = values if shape is None else shape(values, self._kept)
        if any(True for _ in local_files(values)):
            return self._compose(content)
        return to_json(content).encode()

    def _compose(self, content: Mapping[str, Any]) -> StreamedBody:
        """Return the JSON text of a body, with the files in place of what stands for them."""
        with ExitStack() as stack:
            parts = [*_joined(self._parts(content, stack))]
            stack.pop_all()
        return StreamedBody(parts)

    def _parts(self, value: Any, stack: ExitStack) -> Iterator[bytes | FilePart]:
        if is_local_file(value):
            yield from self._file(value, stack)
        elif isinstance(value, list) and any(map(is_local_file, value)):
            for number, one in enumerate(value):
                yield b", " if number else b"["
                yield from self._parts(one, stack)
            yield b"]"
        elif isinstance(value, Mapping) and value:
            before = "{"
            for name, one in value.items():
                yield f"{before}{to_json(name)}: ".encode()
                before = ", "
                yield from self._parts(one, stack)
            yield b"}"
        else:
            yield to_json(value).encode()

    def _file(self, value: dict[str, str], stack: ExitStack) -> list[bytes | FilePart]:
        copy, size, content_type = self._copy(value["file"], value["sha256"])
        stack.enter_context(copy)
        if "fit" in value:
            copy, size, content_type = self._fit(copy, value["file"], value["sent_sha256"])
            stack.enter_context(copy)
        return [f'"{uri_start(content_type)}'.encode(), FilePart(copy, size), b'"']

    def _copy(self, path: str, sha256: str) -> tuple[BinaryIO, int, str]:
        """Return a copy of a file, its size and its type. Raises FileChanged and OSError."""
        try:
            source = self._files.open(path)
        except FileRefused as error:
            raise FileChanged(f"{quote_value(path)} {error.what}") from None
        except (OSError, ValueError) as error:
            raise FileChanged(_unreadable(path, error)) from None
        with source, ExitStack() as stack:
            copy = stack.enter_context(tempfile.TemporaryFile(dir=self._scratch))
            digest, size, head = hashlib.sha256(), 0, b""
            while True:
                try:
                    content = source.read(COPY_BYTES)
                except OSError as error:
                    raise FileChanged(_unreadable(path, error)) from None
                if not content:
                    break
                head = head or content[:SIGNATURE_BYTES]
                digest.update(content)
                copy.write(content)
                size += len(content)
            copy.flush()
            if digest.hexdigest() != sha256:
                raise FileChanged(f"{quote_value(path)} has changed since it was checked")
            stack.pop_all()
        return copy, size, (format_of(head) or UNKNOWN).content_type

    def _fit(self, source: BinaryIO, path: str, sha256: str) -> tuple[BinaryIO, int, str]:
        """As `_copy`, of the smaller picture that is sent in place of `source`."""
        with source:
            try:
                content, format, _ = fit(source)
            except CannotFit as error:
                raise FileChanged(f"{quote_value(path)} cannot be made smaller: {error}") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            what = f"{quote_value(path)} is made smaller otherwise than when it was checked"
            raise FileChanged(what)
        with ExitStack() as stack:
            copy = stack.enter_context(tempfile.TemporaryFile(dir=self._scratch))
            copy.write(content)
            copy.flush()
            stack.pop_all()
        return copy, len(content), format.content_type


def _joined(parts: Iterable[bytes | FilePart]) -> Iterator[bytes | FilePart]:
    """Yield the parts with all text between two files as one, since each is sent by itself."""
    text: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            text.append(part)
        else:
            yield b"".join(text)
            yield part
            text.clear()
    yield b"".join(text)


def _unreadable(path: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{quote_value(path)} cannot be read any more ({reason.lower()})"


def _close(making: "asyncio.Future[Body]") -> None:
    """Close a body that nobody waits for any more."""
    if not making.cancelled() and making.exception() is None:
        body = making.result()
        if isinstance(body, StreamedBody):
            body.close()
