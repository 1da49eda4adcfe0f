"""Check every saved file of a batch; download again, unpaid, what is missing or damaged.

A damaged file is put aside, not deleted, when a whole one is in scratch. The provenance in a
picture is compared with the journal.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from batchgen import event_loop, files
from batchgen.api.endpoint import Endpoint
from batchgen.api.outputs import is_inline
from batchgen.api.poll_outcome import Completed, Unauthorized, Unclear
from batchgen.api.service import Service
from batchgen.batch_folder import Folder
from batchgen.clock import from_iso
from batchgen.config import RunOptions
from batchgen.core.expiry import PAID_BUT_GONE, has_expired
from batchgen.core.states import State
from batchgen.core.timing import Timing
from batchgen.engine.collector import stored_file
from batchgen.errors import BatchgenError, ServiceUnreachable, TokenRefused
from batchgen.journal.files import SavedFile
from batchgen.journal.writer import Journal
from batchgen.media import provenance
from batchgen.media.check import MediaBroken, MediaError
from batchgen.media.check_pool import CheckPool
from batchgen.media.destination import Destination
from batchgen.media.download import Downloader, MediaGone
from batchgen.media.formats import SIGNATURE_BYTES, Format, format_of
from batchgen.media.xmp import Provenance
from batchgen.operations import batch
from batchgen.operations.batch import find_destination, open_batch

LineSink = Callable[[str], None]


@dataclass
class VerifyResult:
    """whole, restored: counts of files. lost: ids of rows whose file the host no longer has.

    later: ids of rows whose file could not be downloaded now, and perhaps can be later.
    gone: ids of rows that were paid for and whose file was never there, or not for long enough.
    waiting: ids of rows that are paid for and not on disk yet; a run asks for them again.
    """

    whole: int = 0
    restored: int = 0
    lost: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def verify(folder: Folder, flags: RunOptions, show: LineSink, timing: Timing) -> VerifyResult:
    """Check every file, and restore what can be; `show` gets a line for each that is not whole.

    The account is needed only if something has to be downloaded. Raises what `find_endpoint` and
    `find_destination` do.
    """
    result = VerifyResult()
    with (
        open_batch(folder, timing, files=True) as journal,
        event_loop.started() as runner,
        closing(CheckPool(timeout_s=timing.file_check)) as pool,
    ):
        destination = find_destination(journal, folder, flags, timing)

        async def decode(copy: Path, format: Format) -> None:
            await pool.check(copy, format, None, None)

        damaged: list[SavedFile] = []
        for file in journal.saved_files():
            problem, other_request = runner.run(inspect_file(destination, file, decode))
            if problem:
                row = journal.id_of_request(other_request) if other_request else None
                whose = "" if row is None else f", but the picture of row {row!r}"
                show(f"{file.path}: {problem}{whose}")
                damaged.append(file)
                continue
            result.whole += 1
            if file.note is not None:
                show(f"{file.path}: {file.note}")
            if other_request:
                says = f"request {other_request}; the journal has {file.request_id}"
                show(f"{file.path}: it is whole, but says that it is {says}")
        for failed in journal.requests_in(State.FAILED):
            if failed.error and failed.error.startswith(PAID_BUT_GONE):
                show(f"{failed.id}: {failed.error}")
                result.gone.append(failed.id)
        for completed in journal.requests_in(State.COMPLETED):
            show(f"{completed.id}: not fetched yet: {completed.error or 'no run has asked for it'}")
            result.waiting.append(completed.id)
        if damaged:
            with batch.reach_endpoint(journal, folder, flags) as endpoint:
                work = _restore_all(journal, destination, endpoint, timing, damaged, result, show)
                runner.run(work)
    return result


async def inspect_file(
    destination: Destination, file: SavedFile, decode: Callable[[Path, Format], Awaitable[None]]
) -> tuple[str | None, str | None]:
    """Return what is wrong with a saved file, and the other request that its provenance names.

    Each is None where there is nothing to tell. decode: raises MediaBroken for a file that is not
        whole. Raises StoreUnreachable, which says nothing of the file.
    """
    problem: str | None = None
    facts: Provenance = {}
    try:
        async with destination.local_copy(file.path) as copy:
            with files.open_regular(copy) as content:
                facts = provenance.read_provenance(content) or {}
                content.seek(0)
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
                content.seek(0)
                format = format_of(content.read(SIGNATURE_BYTES))
            if sha256 != file.sha256:
                problem = "changed since it was saved"
            elif format is not None and file.note is None:
                await decode(copy, format)
    except FileNotFoundError:
        problem = "it is missing"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror or error})"
    except MediaBroken as error:
        problem = str(error)
    request_id = facts.get("request_id")
    is_other = isinstance(request_id, str) and request_id != file.request_id
    return problem, request_id if is_other else None


async def _restore_all(
    journal: Journal,
    destination: Destination,
    endpoint: Endpoint,
    timing: Timing,
    damaged: list[SavedFile],
    result: VerifyResult,
    show: LineSink,
) -> None:
    async with (
        endpoint.services(timing) as services,
        Downloader(
            destination, endpoint.download_hosts(), endpoint.use_proxy, timing
        ) as downloader,
    ):
        for file in damaged:
            try:
                is_same = await _restore(
                    journal, destination, services.of(file.model), downloader, file
                )
            except TokenRefused:
                raise
            except (MediaError, BatchgenError) as error:
                show(f"{file.path}: not restored: {error}")
                # A file is gone for good only if its host says so.
                gone = isinstance(error, MediaGone)
                (result.lost if gone else result.later).append(file.id)
            else:
                changed = "" if is_same else "; the host's file is not the one of before"
                show(f"{file.path}: restored, unpaid{changed}")
                result.restored += 1


async def _restore(
    journal: Journal,
    destination: Destination,
    service: Service,
    downloader: Downloader,
    file: SavedFile,
) -> bool:
    """Replace a damaged file by a whole one. Return whether the host sent the same as before.

    Raises TokenRefused, ServiceUnreachable and what `Downloader.fetch` raises.
    """
    outcome = (await service.result(file.model, file.request_id or "")).outcome  # with fresh URLs
    if isinstance(outcome, Unauthorized):
        what = f"RunComfy refused the token ({outcome.reason}). What is broken stays as it is."
        raise TokenRefused(what, TokenRefused.ANOTHER)
    url = file.url
    if isinstance(outcome, Completed) and len(outcome.urls) >= file.n:
        url = outcome.urls[file.n - 1]
    facts = None
    if file.delivered_sha256 is not None:  # the file on disk has provenance written into it
        facts = provenance.make_provenance(
            id=file.id,
            model=file.model,
            input=json.loads(file.input),
            request_id=file.request_id,
            submitted_at=file.submitted_at,
            output=file.n,
        )
    stem = f"{file.key}-{file.n}"
    try:
        if is_inline(url):
            content = await service.inline_output(file.model, file.request_id or "", file.n)
            if content is None:
                raise MediaGone("RunComfy has no such result now")
            content_type = url.removeprefix("data:")
            checked = await downloader.receive(content, content_type, stem, facts, ())
        else:
            checked = await downloader.fetch(url, stem, facts)
    except MediaGone as error:
        if isinstance(outcome, Unclear):  # a fresh URL may still work
            raise ServiceUnreachable(f"RunComfy gave no clear answer ({outcome.reason})") from error
        sent_at = 0.0 if file.submitted_at is None else from_iso(file.submitted_at)
        if not has_expired(journal.clock.now() - sent_at, service.capabilities.results_kept_s):
            # As for a run: what is said not to exist counts when results are kept no longer.
            raise ServiceUnreachable(str(error)) from error
        raise
    await destination.replace(checked, file.path)
    if (checked.sha256, checked.delivered_sha256) != (file.sha256, file.delivered_sha256):
        journal.record_file(file, stored_file(checked, file.path))
    return checked.host_sha256 == (file.delivered_sha256 or file.sha256)
