"""Downloads what completed requests produced, and records `saved` when all of it is durable."""

import asyncio
import json
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from batchgen.api.outputs import is_inline
from batchgen.api.poll_outcome import Completed, Failed
from batchgen.api.service import Services
from batchgen.clock import to_iso
from batchgen.core.expiry import PAID_BUT_GONE, has_expired
from batchgen.core.states import Event
from batchgen.engine.poller import Poller
from batchgen.engine.run_state import RunState
from batchgen.journal.files import StoredFile
from batchgen.journal.group_commit import WriteQueue
from batchgen.journal.writer import Journal, Output, Request
from batchgen.media import provenance
from batchgen.media.check import (
    AFTER_END,
    NOT_WHOLE,
    UNDECODED,
    CheckedFile,
    MediaBroken,
    MediaError,
)
from batchgen.media.destination import Destination
from batchgen.media.download import Downloader, MediaGone, MediaNoFile, MediaSlow, MediaUntrusted
from batchgen.media.xmp import Provenance

log = logging.getLogger(__name__)

MAX_DOWNLOADS = 8  # at a time


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is kept of an output besides its content.

    provenance: what it was made from, in its metadata. sidecars: the same in a JSON file beside it.
    thumbnails: a small picture for the gallery. max_outputs: of a row that are fetched.
    """

    provenance: bool
    sidecars: bool
    thumbnails: bool
    max_outputs: int


@dataclass(eq=False)
class Collector:
    _journal: Journal
    _writes: WriteQueue
    _destination: Destination
    _downloader: Downloader
    _poller: Poller
    _state: RunState
    _options: OutputOptions
    _services: Services
    _inline: asyncio.Lock = field(default_factory=asyncio.Lock)
    _slots: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, MAX_DOWNLOADS))
    # Extensions and notes of files that are no worse than others of their kind.
    _told: set[tuple[str, str]] = field(default_factory=set)

    async def collect(self, row: Request) -> None:
        """Download the outputs of a row that are not saved yet.

        If one cannot be had now, the row stays `completed` for the next run. If its host says that
        it does not exist, that counts only when results are not kept any longer: the row becomes
        `failed` then, unless another output is merely late. A URL that stands beside the outputs
        and cannot be fetched is left out. Outputs beyond `max_outputs` wait until a person raises
        that. Raises OSError where the disk fails.
        """
        errors: list[tuple[Output, MediaError]] = []
        outputs = await self._writes.read(lambda: self._journal.get_outputs(row.key))
        all_missing = [output for output in outputs if not output.path]
        missing = [output for output in all_missing if output.n <= self._options.max_outputs]
        for number, output in enumerate(missing, 1):
            try:
                last = number == len(all_missing) and not errors
                await self._collect_one(row, output, last=last)
            except MediaError as error:
                # And go on: the row's other outputs are paid for, too.
                errors.append((output, error))
        self._state.waiting.discard(row.key)
        if left := len(all_missing) - len(missing):
            for output, failed in errors:
                log.warning("%s: output %d: %s", row.where, output.n, failed)
            await self._record_left(row, all_missing[-1].n, left)
        elif errors:
            await self._settle(row, errors)

    async def _record_left(self, row: Request, made: int, left: int) -> None:
        """Say that outputs are left, which the journal has the URLs of."""
        what = (
            f"it has {made} outputs, of which {left} are not fetched;"
            f" --max-outputs {made} fetches them"
        )
        log.warning("%s: %s", row.where, what)
        await self._writes.enqueue(lambda: self._journal.set_error(row, what))

    async def _settle(self, row: Request, errors: list[tuple[Output, MediaError]]) -> None:
        """Leave out what is no output, and record what else could not be had, if anything."""
        outputs = await self._writes.read(lambda: self._journal.get_outputs(row.key))
        if any(output.path is not None for output in outputs):
            beside = await self._beside(row)
            left_out = [output for output, _ in errors if output.n in beside]
            for output, error in errors:
                if output in left_out:
                    log.info("%s: a URL beside its output is left out: %s", row.where, error)
            errors = [(output, error) for output, error in errors if output not in left_out]
            if not errors:
                await self._writes.enqueue(
                    lambda: self._journal.record_saved_without(row, left_out)
                )
                return
        await self._record_error(row, min((e for _, e in errors), key=_may_end))

    async def _beside(self, row: Request) -> frozenset[int]:
        """Return the numbers of the row's URLs that may be no outputs."""
        match (await self._poller.query(row)).outcome:
            case Completed(beside=numbers):
                return numbers
        return frozenset()

    async def _record_error(self, row: Request, error: MediaError) -> None:
        what = str(error)
        if isinstance(error, MediaUntrusted):
            what = f"{error}. {error.remedy}".strip()
        hopeless = isinstance(error, MediaUntrusted) and error.is_final
        if hopeless or (_may_end(error) and self._has_expired(row)):
            reason = f"{'paid, but not fetched' if hopeless else PAID_BUT_GONE}: {what}"
            log.warning("%s: %s", row.where, reason)
            await self._writes.enqueue(
                lambda: self._journal.record_ended(row, Event.FAILED, None, reason)
            )
        else:
            if isinstance(error, MediaGone):
                self._state.wait_for(row.key)
            log.warning("%s is not fetched yet: %s", row.where, what)
            await self._writes.enqueue(lambda: self._journal.set_error(row, what))

    def _has_expired(self, row: Request) -> bool:
        age = self._state.clock.now() - (row.submitted_at or 0.0)
        return has_expired(age, self._services.of(row.model).capabilities.results_kept_s)

    async def _collect_one(self, row: Request, output: Output, last: bool) -> None:
        """last: the row is `saved` with this output."""
        state = self._state
        has_fresh_url = False
        tries = gone_tries = 0
        gone_until = math.inf
        sent_before: set[str] = set()
        is_beside = False
        while True:
            try:
                return await self._fetch_and_keep(row, output, last, sent_before)
            except MediaUntrusted:
                # A restarted sandbox has another port. Asking for the result again is free and
                # gives fresh URLs.
                if has_fresh_url:
                    raise
            except MediaGone:
                # A signed URL expires before its file does; and a host may learn of a new file
                # later than the API.
                if has_fresh_url:
                    gone_tries += 1
                    gone_until = min(gone_until, state.time() + state.timing.missing_limit)
                    hopeless = is_beside or self._has_expired(row) or not state.may_submit
                    if hopeless or state.time() >= gone_until:
                        raise
                    state.wait_for(row.key)
                    await state.sleep_unless_stopped(state.backoff(gone_tries))
            except MediaBroken as error:
                if error.sha256 is not None:
                    sent_before.add(error.sha256)
                tries += 1
                if tries == state.timing.download_tries:
                    raise
                # A run that is to end waits for a slow host once, and not five times.
                if isinstance(error, MediaSlow) and state.outcome is not None:
                    raise
                await state.clock.sleep(state.backoff(tries))
                continue
            has_fresh_url = True
            output, is_beside = await self._with_fresh_url(row, output)

    async def _with_fresh_url(self, row: Request, output: Output) -> tuple[Output, bool]:
        """Return the output with a URL of now, and whether it may be no output at all."""
        result = await self._poller.query(row)
        match result.outcome:
            case Completed(urls=urls, beside=beside) as found if len(urls) >= output.n:
                await self._writes.enqueue(
                    lambda: self._journal.replace_urls(row, found.kept, result.content)
                )
                fresh = Output(output.key, output.n, urls[output.n - 1], None)
                return fresh, output.n in beside
            case Failed(reason):
                raise MediaGone(reason)
        return output, False

    async def _fetch_and_keep(
        self, row: Request, output: Output, last: bool, sent_before: Collection[str]
    ) -> None:
        facts = provenance.make_provenance(
            id=row.id,
            model=row.model,
            input=json.loads(row.input),
            request_id=row.request_id,
            submitted_at=None if row.submitted_at is None else to_iso(row.submitted_at),
            output=output.n,
        )
        stem = f"{row.key}-{output.n}"
        written = facts if self._options.provenance else None
        async with self._slots:
            if is_inline(output.url):
                checked = await self._receive_inline(row, output, stem, written, sent_before)
            else:
                checked = await self._downloader.fetch(output.url, stem, written, sent_before)

        async def is_taken(path: str) -> bool:
            owner = await self._writes.read(lambda: self._journal.path_owner(path))
            return owner not in (None, row.key)

        path = await self._destination.keep(checked, row.name, output.n, is_taken)
        self._tell_note(row, checked, path)
        if self._options.sidecars:
            text = provenance.sidecar_text(facts)
            await self._destination.keep_sidecar(path, text)
        file = stored_file(checked, path)
        if last:
            await self._writes.enqueue(lambda: self._journal.record_saved(row, output, file))
            log.debug("%s: saved", row.where)
        else:
            await self._writes.enqueue(lambda: self._journal.record_file(output, file))

    async def _receive_inline(
        self,
        row: Request,
        output: Output,
        stem: str,
        facts: Provenance | None,
        sent_before: Collection[str],
    ) -> CheckedFile:
        """Take an output out of the result itself, which is asked for again: one at a time."""
        async with self._inline:
            content = await self._poller.inline_output(row, output.n)
            if content is None:
                raise MediaBroken("the output is in the result itself, and cannot be decoded")
            content_type = output.url.removeprefix("data:")
            return await self._downloader.receive(content, content_type, stem, facts, sent_before)

    def _tell_note(self, row: Request, checked: CheckedFile, path: str) -> None:
        """Warn of a file that is not known to be whole; of what others are too, once."""
        if checked.note is None:
            return
        kind = (checked.format.extension, checked.note)
        level = logging.DEBUG if kind in self._told else logging.WARNING
        log.log(level, "%s: %s: %s", row.where, path, checked.note)
        if checked.note in (UNDECODED, AFTER_END):
            self._told.add(kind)
        self._state.not_whole += checked.note.startswith(NOT_WHOLE)


def _may_end(error: MediaError) -> bool:
    """Whether time may end the row: its host has no file for us, or nobody may fetch it."""
    return isinstance(error, MediaGone | MediaNoFile | MediaUntrusted)


def stored_file(checked: CheckedFile, path: str) -> StoredFile:
    """Return what the journal records of a checked file that is kept at `path`."""
    return StoredFile(
        path=path,
        kind=checked.format.kind,
        bytes=checked.bytes,
        sha256=checked.sha256,
        delivered_sha256=checked.delivered_sha256,
        content_type=checked.format.content_type,
        width=checked.width,
        height=checked.height,
        duration=checked.duration,
        note=checked.note,
    )
