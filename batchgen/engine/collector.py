"""Fetches what completed requests produced, and says `saved` only when all of it is on disk."""

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from batchgen.api.poll_outcome import Completed, Failed
from batchgen.batch_folder import Folder
from batchgen.clock import to_iso
from batchgen.core.states import Event
from batchgen.engine.poller import Poller
from batchgen.engine.run_state import RunState
from batchgen.files import write_whole
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.writer import Journal, Output, Request
from batchgen.media import provenance, xmp
from batchgen.media.check import MediaBroken, MediaError
from batchgen.media.download import Downloader, MediaGone, MediaUntrusted

log = logging.getLogger(__name__)

MAX_DOWNLOADS = 8  # downloads


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is kept of each file besides it.

    provenance: its facts in it. sidecars: the same beside it, as JSON. thumbnails: for the gallery.
    """

    provenance: bool
    sidecars: bool
    thumbnails: bool


class Collector:
    def __init__(
        self,
        journal: Journal,
        writes: WriteQueue,
        folder: Folder,
        media: Downloader,
        poller: Poller,
        run_state: RunState,
        keeping: OutputOptions,
    ) -> None:
        self._keeping = keeping
        self._journal = journal
        self._writes = writes
        self._folder = folder
        self._media = media
        self._poller = poller
        self._state = run_state
        self._places = asyncio.Semaphore(MAX_DOWNLOADS)

    async def collect(self, row: Request) -> None:
        """Download what is not on disk yet. A row whose output cannot be had stays as it is."""
        errors: list[MediaError] = []
        missing = [output for output in self._journal.get_outputs(row.key) if output.path is None]
        for left, output in zip(range(len(missing) - 1, -1, -1), missing, strict=True):
            try:
                await self._collect_one(row, output, last=not (left or errors))
            except MediaError as error:
                errors.append(error)  # the row's other files were paid for, too
        # What may still be had keeps the row open.
        if errors:
            await self._not_collected(row, min(errors, key=lambda e: isinstance(e, MediaGone)))

    async def _not_collected(self, row: Request, error: MediaError) -> None:
        if isinstance(error, MediaGone):
            reason = f"paid, but gone: {error}"
            log.warning("%s: row %r: %s", row.source, row.id, reason)
            await self._writes.enqueue(
                lambda: self._journal.record_ended(row, Event.FAILED, None, reason)
            )
        else:
            log.warning("%s: row %r is not fetched yet: %s", row.source, row.id, error)
            await self._writes.enqueue(lambda: self._journal.set_error(row, str(error)))

    async def _collect_one(self, row: Request, output: Output, last: bool) -> None:
        asked_again = False
        tries = 0
        while True:
            try:
                return await self._fetch(row, output, last)
            except (MediaGone, MediaUntrusted):
                # Signed URLs expire before their files do, and a sandbox that was started again
                # has moved; a fresh result has fresh URLs, unpaid.
                if asked_again:
                    raise
                asked_again = True
                output = await self._with_fresh_url(row, output)
            except MediaBroken:
                tries += 1
                if tries == self._state.timing.download_tries:
                    raise
                await self._state.clock.sleep(self._state.backoff(tries))

    async def _with_fresh_url(self, row: Request, output: Output) -> Output:
        result = await self._poller.query(row)
        match result.outcome:
            case Completed(urls=urls) if len(urls) >= output.n:
                await self._writes.enqueue(
                    lambda: self._journal.replace_urls(row, urls, result.content)
                )
                return Output(output.key, output.n, urls[output.n - 1], None)
            case Failed(reason):
                raise MediaGone(reason)
        return output

    async def _fetch(self, row: Request, output: Output, last: bool) -> None:
        """last: no other file of the row is missing then."""
        facts = provenance.make_provenance(
            id=row.id,
            model=row.model,
            input=json.loads(row.input),
            request_id=row.request_id,
            submitted_at=None if row.submitted_at is None else to_iso(row.submitted_at),
            output=output.n,
        )
        told = facts if self._keeping.provenance else None
        async with self._places:
            fetched = await self._media.fetch(output.url, f"{row.key}-{output.n}", told)

        def taken(path: str) -> bool:
            return self._journal.path_owner(path) not in (None, row.key)

        path = await self._media.keep(fetched, row.name, output.n, taken)
        if self._keeping.sidecars:
            await asyncio.to_thread(_write_sidecar, path, facts)
        columns = {**fetched.columns(), "path": self._folder.relative(path)}
        if last:
            await self._writes.enqueue(lambda: self._journal.record_saved(row, output, columns))
            log.debug("%s: row %r: saved", row.source, row.id)
        else:
            await self._writes.enqueue(lambda: self._journal.record_file(output, columns))


def _write_sidecar(path: Path, facts: xmp.Provenance) -> None:
    with write_whole(provenance.sidecar(path)) as file:
        file.write(provenance.sidecar_text(facts))
