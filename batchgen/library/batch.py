"""A batch, read: its rows and its numbers, also while it runs."""

from collections.abc import Iterator
from contextlib import closing
from os import fspath
from pathlib import Path
from typing import Any, TypedDict

from batchgen.batch_folder import Folder, Holder
from batchgen.journal.follow import instances
from batchgen.journal.reader import Reader, find_holder, summary
from batchgen.library.keywords import AnyPath


class BatchFile(TypedDict):
    """An output of a row. All but `n` and `url` are None while it is not saved.

    path: relative to the batch folder. note: why it is not known to be whole; None if it is.
    """

    n: int
    kind: str | None
    url: str
    path: str | None
    bytes: int | None
    sha256: str | None
    content_type: str | None
    width: int | None
    height: int | None
    duration: float | None
    note: str | None


class BatchRow(TypedDict):
    """A row, as a line of results.jsonl has it. Times are ISO 8601, UTC; amounts USD.

    source: where in the manifest it stands. price: expected; cost: as the API says.
    listed: whether the manifest still has it.
    """

    position: int
    id: str
    source: str
    model: str
    input: dict[str, Any]
    meta: dict[str, Any]
    state: str
    request_id: str | None
    api_status: str | None
    attempts: int
    error_code: int | None
    error: str | None
    price: float | None
    cost: float | None
    created_at: str | None
    submitted_at: str | None
    completed_at: str | None
    saved_at: str | None
    listed: bool
    key: str
    outputs: list[BatchFile]


class Batch:
    """What a batch folder holds. Reading it costs a run nothing.

    Every method raises UsageError where there is no journal yet, and StorageDamaged.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"Batch({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        return self._folder.path

    def rows(self, *states: str) -> Iterator[BatchRow]:
        """Yield the rows in the order of the manifest, then those that it no longer has, from one
        moment, without holding them.

        states: only rows in one of these, as `rows("failed", "unknown")`; none is all.
        """
        with closing(Reader(self._folder.journal)) as reader, reader.one_moment():
            for row in reader.rows():
                if not states or row["state"] in states:
                    yield row  # type: ignore[misc]  # by reader.REQUEST_COLUMNS

    def status(self) -> dict[str, Any]:
        """Return the numbers of the batch, in the form of `batchgen status --json`:
        `schemas/output.schema.json` has it.
        """
        with closing(Reader(self._folder.journal)) as reader:
            numbers, runner = numbers_and_runner(self._folder, reader)
        numbers["run"]["running"] = runner is not None
        return numbers


def open_batch(batch: AnyPath) -> Batch:
    """Return a batch. batch: its folder, or the list that it is of.

    Raises UsageError where there is none, or more than one.
    """
    from batchgen.operations.find_batch import find_existing, known_batches

    return Batch(find_existing(fspath(batch), known_batches()))


def numbers_and_runner(folder: Folder, reader: Reader) -> tuple[dict[str, Any], Holder | None]:
    """Return the numbers of a batch, and who goes on with its last run; None if that is over."""
    for _ in range(2):
        with reader.one_moment():
            numbers, run = summary(reader), reader.last_run() or {}
            numbers["instances"] = instances(reader)
            numbers["machines"] = reader.machines()
        holder = find_holder(folder)
        if run.get("ended_at") or (holder and not holder.is_process(run.get("process"))):
            return numbers, None
        if holder:
            return numbers, holder
        # It was killed, or has ended since its numbers were read.
    return numbers, None
