"""An existing batch: its journal under the lock, and the API that its requests went to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchgen.api.endpoint import Endpoint, find_endpoint
from batchgen.batch_folder import Folder
from batchgen.clock import Clock
from batchgen.config import RunOptions
from batchgen.journal.writer import Journal
from batchgen.network.media_hosts import parse_media_host


@contextmanager
def start_rehearsal(folder: Folder, schema: Path | None) -> Iterator[Endpoint]:
    """Start the sandbox for the length of the block; its requests stay in the batch folder."""
    from batchgen import sandbox

    options = ["--schema", str(schema)] if schema is not None else []
    with sandbox.started(folder.sandbox, options=options) as address:
        hosts = (parse_media_host(address.media_host),)
        yield Endpoint(address.base_url, "sandbox", hosts, use_proxy=False)


@contextmanager
def reach_endpoint(journal: Journal, folder: Folder, flags: RunOptions) -> Iterator[Endpoint]:
    """The API that a batch's requests went to: its own sandbox, or the real one.

    Raises as `service` does.
    """
    if journal.get_meta("sandbox"):
        with start_rehearsal(folder, None) as where:
            yield where
    else:
        yield find_endpoint(flags)


@contextmanager
def open_batch(folder: Folder) -> Iterator[Journal]:
    """The journal of an existing batch, held against runs."""
    with folder.locked():
        journal = Journal(folder.journal, Clock())
        try:
            yield journal
        finally:
            journal.close()
